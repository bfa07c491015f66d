import * as v from "valibot";
import { type Cidr, isPrivate, parseCidr } from "../core/address.ts";
import { LIMITS } from "../core/endpoint_rules.ts";
import { AppError, invalid, listed, show } from "../core/errors.ts";
import { isObject } from "../core/json.ts";
import { nearest } from "../core/nearest.ts";
import { Secret, secretMistake } from "../core/secret.ts";
import { formatDuration, parseDuration } from "../core/units.ts";
import { MAX_MISTAKES } from "./error.ts";
import { isReference, resolveSecret, type Surroundings } from "./references.ts";
import { keyLabel } from "./yaml.ts";

/** Surroundings of the sections that name secrets. */
export interface Context extends Surroundings {
  /** The secrets of the file by name; null for one that has a mistake of its own. */
  readonly secrets: ReadonlyMap<string, Secret | null>;
}

/**
 * A value that `read` turns into its meaning. An `AppError` from `read` becomes the mistake. `kind` says what it
 * is, with unit and bounds, for docs/configuration.md.
 */
export function leaf<T>(kind: string, read: (value: unknown) => T) {
  return v.pipe(
    v.unknown(),
    v.metadata({ kind }),
    v.rawTransform<unknown, T>(({ dataset, addIssue, NEVER }) => {
      try {
        if (dataset.value === null) throw invalid("Has no value; write one or remove the key");
        return read(dataset.value);
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        addIssue({ message: error.message });
        return NEVER;
      }
    }),
  );
}

/** The same, for docs/configuration.md with a default that is not the schema's own, because it depends on others. */
export function withPreset<T>(schema: v.GenericSchema<unknown, T>, preset: string) {
  return v.pipe(schema, v.metadata({ preset }));
}

/** A mapping with these keys and no others. */
export function table<const E extends v.ObjectEntries>(entries: E) {
  return v.pipe(
    v.custom<Record<string, unknown>>(isObject, "Must be a mapping of keys to values"),
    v.looseObject(entries, "Missing; this key is required"),
    v.rawCheck(({ dataset, addIssue }) => {
      const input: Record<string, unknown> = { ...dataset.value as Record<string, unknown> };
      const unknown = Object.keys(input).filter((key) => !Object.hasOwn(entries, key));
      for (const key of unknown.slice(0, MAX_MISTAKES)) {
        const { message, is_shown } = unknownKey(key, Object.keys(entries));
        const value = is_shown ? input[key] : HIDDEN;
        addIssue({ message, path: [{ type: "object", origin: "key", input, key, value }] });
      }
    }),
  );
}

/** The value, in an issue's path, of a key that must not be shown. */
export const HIDDEN = Symbol("hidden");

/**
 * The message for a key that is not one of `known`. It is shown if it is like a known one, or a short
 * word: anything else may be a secret after a comma too many.
 */
export function unknownKey(
  key: string,
  known: readonly string[],
): { readonly message: string; readonly is_shown: boolean } {
  const near = nearest(key, known);
  const message = near === undefined
    ? `Unknown key; known keys are ${known.join(", ")}`
    : `Unknown key; did you mean ${near}?`;
  return { message, is_shown: near !== undefined || /^[a-z][a-z_]{0,15}$/.test(key) };
}

/** A list. Its length is checked before its entries. */
export function list<const S extends v.GenericSchema>(item: S, max = 10_000) {
  return v.pipe(
    v.custom<unknown[]>(Array.isArray, "Must be a list; write it in [ ]"),
    v.maxLength(max, `Must have at most ${max} entries`),
    v.array(item),
  );
}

/** One value, or a list of them that `several` reads; a list either way. */
export function oneOrMore<T>(
  one: v.GenericSchema<unknown, T>,
  several: v.GenericSchema<unknown, T[]>,
) {
  return v.pipe(
    v.lazy((input) => Array.isArray(input) ? several : v.pipe(one, v.transform((only) => [only]))),
    v.metadata({ one_of: [one, several] }),
  );
}

/** Text, as YAML reads it without or in quotes. Throws an `AppError` for anything else. */
export function asText(value: unknown): string {
  if (typeof value === "string") return value;
  throw invalid(
    typeof value === "object" ? "Must be text" : "Must be text; write it in quotes",
  );
}

/** Text that matches; `kind` is the pattern in words. */
export function textLike(pattern: RegExp, kind: string) {
  return leaf(kind, (value) => {
    const read = asText(value);
    if (!pattern.test(read)) throw invalid(`Must be ${kind}, not ${show(read)}`);
    return read;
  });
}

/** A description of something, for people. */
export const description = leaf(`1 to ${LIMITS.description} characters`, (value) => {
  const read = asText(value).trim();
  const max = LIMITS.description;
  if (read === "" || [...read].length > max) throw invalid(`Must have 1 to ${max} characters`);
  return read;
});

/** A number from `min` to `max`. */
export function number(min: number, max: number, kind: "integer" | "share") {
  const name = kind === "integer" ? "an integer" : "a number";
  return leaf(`${name}, ${min} to ${max}`, (value) => {
    const whole = kind === "share" || Number.isInteger(value);
    if (typeof value !== "number" || !whole || !(value >= min && value <= max)) {
      throw invalid(`Must be ${name} from ${min} to ${max}, not ${show(value)}`);
    }
    return value;
  });
}

/** A duration like `30s`, in milliseconds. */
export function duration(min_ms: number, max_ms: number) {
  const range = `${formatDuration(min_ms)} to ${formatDuration(max_ms)}`;
  return leaf(`a duration, ${range}`, (value) => {
    const read = parseDuration(value);
    if (read < min_ms || read > max_ms) {
      throw invalid(`Must be from ${range}, not ${show(value)}`);
    }
    return read;
  });
}

/** One of these words. */
export function oneOf<const T extends string>(...names: readonly T[]) {
  return leaf(names.map((name) => `\`${name}\``).join(" or "), (value): T => {
    const found = names.find((name) => name === value);
    if (found === undefined) throw invalid(`Must be ${names.join(" or ")}, not ${show(value)}`);
    return found;
  });
}

/** `true` or `false`. */
export const bool = leaf("true or false", (value) => {
  if (typeof value !== "boolean") throw invalid(`Must be true or false, not ${show(value)}`);
  return value;
});

/** A network in CIDR notation. */
export const cidr = leaf("a network, such as 10.0.0.0/8", (value): Cidr => {
  const read = asText(value);
  // The longest network has 43 characters; messages repeat nothing longer.
  if (read.length > 60) throw invalid("Must be a network like 10.0.0.0/8");
  return parseCidr(read);
});

/** A private network: endpoints in listed networks may use plain http, so public ones may not be listed. */
export const privateCidr = v.pipe(
  cidr,
  v.metadata({ kind: "a private network, such as 10.20.0.0/16" }),
  v.check(
    isPrivate,
    "Must be a private network, such as 10.0.0.0/8; public addresses need no listing, but https",
  ),
);

/** The rule of a secret. */
export interface SecretRule {
  /** Whether it may be the value itself, besides a name or a reference. */
  readonly literal: boolean;
  readonly mistake: (value: string, production: boolean) => string | undefined;
}

/** The rule of secrets that sign: by name or reference only. */
export const SIGNING: SecretRule = { literal: false, mistake: secretMistake };

/** A secret by its name in `secrets`, or by a reference. */
export function secret(context: Context, rule: SecretRule) {
  const literal = rule.literal ? ", or the value itself (not in production)" : "";
  return leaf(`a name of secrets, env:NAME or file:PATH${literal}`, (value): Secret => {
    const read = asText(value);
    const named = context.secrets.get(read);
    // The mistake is reported at the secret itself; this stand-in is never used.
    if (named === null) return new Secret("");
    if (named === undefined && !rule.literal && !isReference(read)) {
      const names = [...context.secrets].filter(([, found]) => found !== null)
        .map(([name]) => keyLabel(name));
      throw invalid(
        "No secret of that name; " +
          (names.length === 0 ? "add it to secrets" : `secrets has ${listed(names)}`),
      );
    }
    const resolved = named?.reveal() ?? resolveSecret(read, context);
    const mistake = rule.mistake(resolved, context.production);
    if (mistake !== undefined) throw invalid(mistake);
    return new Secret(resolved);
  });
}

/** Secrets that sign: one, or during a rotation two in a list, `[new, old]`. */
export function signingSecrets(context: Context) {
  const one = secret(context, SIGNING);
  const several = v.pipe(
    v.custom<unknown[]>(Array.isArray),
    v.check(
      ({ length }) => length === 1 || length === 2,
      "Must have one or two secrets: during a rotation [new, old]",
    ),
    v.array(one),
    v.checkItems(
      // An empty one stands in for a secret with a mistake of its own.
      (secret, index, secrets) =>
        index === 0 || secret.reveal() === "" || secret.reveal() !== secrets[0]?.reveal(),
      "Same secret as the first one; a rotation needs two different ones",
    ),
  );
  return oneOrMore(one, several);
}

/** Adds a mistake at a key, an index or a path of them in a mapping or list; empty: at itself. */
export type AddMistake = (
  at: string | number | readonly (string | number)[],
  message: string,
) => void;

/** Checks a value as a whole, whatever mistakes its parts have. */
export function check<T>(find: (value: unknown, add: AddMistake) => void) {
  return v.rawCheck<T>(({ dataset: { value }, addIssue }) =>
    find(value, (at, message) => {
      const [first, ...rest] = (Array.isArray(at) ? at : [at]).map((key) => pathItem(value, key));
      addIssue(first === undefined ? { message } : { message, path: [first, ...rest] });
    })
  );
}

/** The step of an issue's path into `input`. */
export function pathItem(input: unknown, key: string | number): v.IssuePathItem {
  return { type: "unknown", origin: "value", input, key, value: undefined };
}
