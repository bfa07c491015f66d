import { isIP } from "node:net";
import * as v from "valibot";
import { type Cidr, isPrivate, parseCidr } from "../core/address.ts";
import { AppError, messageOf } from "../core/errors.ts";
import { IDENTIFIER_RULE, isIdentifier } from "../core/event_types.ts";
import { matchesType } from "../core/matching.ts";
import { nearest } from "../core/nearest.ts";
import { parseSealKey } from "../core/seal.ts";
import { Secret } from "../core/secret.ts";
import { DEFAULTS } from "./config.ts";
import { MAX_MISTAKES } from "./error.ts";
import { headersMistakes } from "./headers.ts";
import {
  databaseUrlMistake,
  filePath,
  isReference,
  readText,
  resolveSecret,
  signingMistake,
  type Surroundings,
  tokenMistake,
} from "./references.ts";
import { parseDuration, parseRate, parseSize, show } from "./units.ts";
import { keyLabel } from "./yaml.ts";

/** What the sections are read against. */
export interface Context extends Surroundings {
  /** The secrets of the file by name; null for one that has a mistake of its own. */
  readonly secrets: ReadonlyMap<string, Secret | null>;
}

/** What endpoints are read against, besides. */
export interface EndpointContext extends Context {
  /** Names of the event types in force. */
  readonly types: readonly string[];
  /** What is wrong with an endpoint's URL, in words, or undefined. */
  readonly urlMistake: (url: string) => string | undefined;
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const DAY = 24 * 3_600_000;

const MAX_RETRIES = 20;
const MAX_PATTERNS = 200;
const MAX_CONCURRENCY = 4096;
const MAX_SCHEMA_DEPTH = 64;

// --- the pieces -----------------------------------------------------------------------------------

/** A value that `read` turns into what it means. An `AppError` of its says what is wrong. */
function leaf<T>(read: (value: unknown) => T) {
  return v.pipe(
    v.unknown(),
    v.rawTransform<unknown, T>(({ dataset, addIssue, NEVER }) => {
      try {
        if (dataset.value === null) throw invalid("Has no value; write one or take the key out");
        return read(dataset.value);
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        addIssue({ message: error.message });
        return NEVER;
      }
    }),
  );
}

/** A mapping with these keys and no others. */
function table<const E extends v.ObjectEntries>(entries: E) {
  return v.pipe(
    v.custom<Record<string, unknown>>(isTable, "Must be a mapping of keys to values"),
    v.looseObject(entries, "Missing; this key must be there"),
    v.rawCheck(({ dataset, addIssue }) => {
      const input: Record<string, unknown> = { ...dataset.value as Record<string, unknown> };
      const unknown = Object.keys(input).filter((key) => !Object.hasOwn(entries, key));
      for (const key of unknown.slice(0, MAX_MISTAKES)) {
        addIssue({
          message: unknownKey(key, Object.keys(entries)),
          path: [{ type: "object", origin: "key", input, key, value: input[key] }],
        });
      }
    }),
  );
}

/** A list. Its length is looked at before its entries. */
function list<const S extends v.GenericSchema>(item: S, max = 10_000) {
  return v.pipe(
    v.custom<unknown[]>(Array.isArray, "Must be a list; write it in [ ]"),
    v.maxLength(max, `Must have at most ${max} entries`),
    v.array(item),
  );
}

/** Whether a value is a mapping of YAML. */
export function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The message for a key that is not one of `known`. */
export function unknownKey(key: string, known: readonly string[]): string {
  const near = nearest(key, known);
  return near === undefined
    ? `Unknown key; there are ${known.join(", ")}`
    : `Unknown key; did you mean ${near}?`;
}

function asText(value: unknown): string {
  if (typeof value === "string") return value;
  throw invalid(
    typeof value === "object" ? "Must be text" : "Must be text; write it in quotes",
  );
}

function textLike(pattern: RegExp, rule: string) {
  return leaf((value) => {
    const read = asText(value);
    if (!pattern.test(read)) throw invalid(`${rule}, not ${show(read)}`);
    return read;
  });
}

const description = leaf((value) => {
  const read = asText(value).trim();
  if (read === "" || read.length > 500) throw invalid("Must have 1 to 500 characters");
  return read;
});

function number(min: number, max: number, kind: "integer" | "share") {
  return leaf((value) => {
    const whole = kind === "share" || Number.isInteger(value);
    if (typeof value !== "number" || !whole || !(value >= min && value <= max)) {
      const wanted = kind === "integer" ? "an integer" : "a number";
      throw invalid(`Must be ${wanted} from ${min} to ${max}, not ${show(value)}`);
    }
    return value;
  });
}

function duration(min_ms: number, min: string, max_ms: number, max: string) {
  return leaf((value) => {
    const read = parseDuration(value);
    if (read < min_ms || read > max_ms) {
      throw invalid(`Must be from ${min} to ${max}, not ${show(value)}`);
    }
    return read;
  });
}

function oneOf<const T extends string>(...names: readonly T[]) {
  return leaf((value): T => {
    const found = names.find((name) => name === value);
    if (found === undefined) throw invalid(`Must be ${names.join(" or ")}, not ${show(value)}`);
    return found;
  });
}

const bool = leaf((value) => {
  if (typeof value !== "boolean") throw invalid(`Must be true or false, not ${show(value)}`);
  return value;
});

const cidr = leaf((value): Cidr => {
  const read = asText(value);
  // The longest network has 43 characters; nothing longer is repeated in a message.
  if (read.length > 60) throw invalid("Must be a network like 10.0.0.0/8");
  return parseCidr(read);
});

// What is listed may be sent to over plain http, so a public network must not be.
const privateCidr = v.pipe(
  cidr,
  v.check(
    isPrivate,
    "Must be a private network, such as 10.0.0.0/8; public addresses need no listing, and are sent " +
      "to over https only",
  ),
);

const timeout = duration(100, "100ms", 5 * MINUTE, "5m");
const retry = v.pipe(
  list(duration(0, "0s", 30 * DAY, "30d"), MAX_RETRIES),
  v.minLength(1, "Must have at least one entry: the wait before the first attempt, such as 0s"),
);
const concurrency = number(1, MAX_CONCURRENCY, "integer");

/** An event type's name: at least two parts. */
/** An event type's name. */
export const EVENT_NAME = /^[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+$/;
const ENDPOINT_ID = /^[a-z0-9][a-z0-9_-]{0,62}$/;

interface SecretRule {
  /** Whether a text that is neither a name nor a reference is the value itself. */
  readonly literal: boolean;
  readonly mistake: (value: string, production: boolean) => string | undefined;
}

/** A secret by its name in `secrets`, or by a reference. */
function secret(context: Context, rule: SecretRule) {
  return leaf((value): Secret => {
    const read = asText(value);
    const named = context.secrets.get(read);
    // Its own place has the mistake; what stands in for it here is never used.
    if (named === null) return new Secret("");
    if (named === undefined && !rule.literal && !isReference(read)) {
      throw invalid(`No secret of that name; ${namesOf(context.secrets)}`);
    }
    const resolved = named?.reveal() ?? resolveSecret(read, context);
    const mistake = rule.mistake(resolved, context.production);
    if (mistake !== undefined) throw invalid(mistake);
    return new Secret(resolved);
  });
}

function namesOf(secrets: ReadonlyMap<string, unknown>): string {
  const names = [...secrets.keys()].map(keyLabel);
  return names.length === 0 ? "add it to secrets" : `secrets has ${some(names)}`;
}

function some(names: readonly string[]): string {
  return names.slice(0, 20).join(", ") + (names.length > 20 ? ", …" : "");
}

const SIGNING: SecretRule = { literal: false, mistake: signingMistake };

// --- the sections ---------------------------------------------------------------------------------

export const environmentSchema = v.optional(
  oneOf("development", "production"),
  DEFAULTS.environment,
);

/** One entry of `secrets`. */
export function secretSchema(around: Surroundings) {
  return secret({ ...around, secrets: new Map() }, { literal: true, mistake: signingMistake });
}

export function serverSchema(around: Surroundings) {
  return v.nullish(
    v.pipe(
      table({
        listen: v.optional(leaf(readListen), DEFAULTS.listen),
        trusted_proxies: v.nullish(list(cidr), []),
      }),
      v.rawCheck(({ dataset, addIssue }) => {
        if (!dataset.typed || !around.production) return;
        const { listen, trusted_proxies } = dataset.value;
        if (!isLoopback(listen.host) && trusted_proxies.length === 0) {
          addIssue({ message: EXPOSED, path: [pathItem(dataset.value, "listen")] });
        }
        if (trusted_proxies.some((network) => network.prefix === 0)) {
          addIssue({ message: ANYBODY, path: [pathItem(dataset.value, "trusted_proxies")] });
        }
      }),
    ),
    {},
  );
}

const EXPOSED =
  "In production the admin pages must not be reachable from outside without TLS; listen on " +
  "127.0.0.1, or put a TLS proxy in front and name it in server.trusted_proxies";
const ANYBODY =
  "In production not everybody can be a trusted proxy: anybody could claim any address; name the " +
  "proxy's own network";

function readListen(value: unknown): { host: string; port: number } {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(String(value));
  const [, ipv6, name, digits] = found ?? [];
  const port = Number(digits);
  const valid = ipv6 === undefined
    ? name !== undefined && (isIP(name) === 4 || /[a-z]/i.test(name))
    : isIP(ipv6) === 6;
  if (!valid || port > 65535) {
    throw invalid(`Must be HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080, not ${show(value)}`);
  }
  return { host: ipv6 ?? name ?? "", port };
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

export function databaseSchema(context: Context) {
  return v.nullish(
    v.pipe(
      table({
        directory: v.optional(leaf((value) => filePath(asText(value), context))),
        url: v.optional(secret(context, { literal: true, mistake: databaseUrlMistake })),
      }),
      v.check(
        (database) => database.directory === undefined || database.url === undefined,
        "Must have either directory (embedded) or url (a server), not both",
      ),
    ),
    {},
  );
}

const MAX_KEYS = 10;

/** One key or a list of them: the first one seals, all of them open. Never in the file itself. */
export function encryptionKeySchema(around: Surroundings) {
  const one = leaf((value): Secret => {
    const read = asText(value);
    if (!isReference(read)) {
      throw invalid("Must be env:NAME or file:PATH; a key must not stand in the file");
    }
    const resolved = resolveSecret(read, around);
    parseSealKey(resolved);
    return new Secret(resolved);
  });
  const several = v.pipe(
    list(one, MAX_KEYS),
    v.minLength(1, "Must have at least one key: the one that seals"),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const ids = dataset.value.map((key) => parseSealKey(key.reveal()).id);
      for (const [index, id] of ids.entries()) {
        if (ids.indexOf(id) < index) {
          addIssue({
            message: "The same key as before it",
            path: [pathItem(dataset.value, index)],
          });
        }
      }
    }),
  );
  return v.pipe(
    v.optional(
      v.lazy((input) =>
        Array.isArray(input) ? several : v.pipe(one, v.transform((only) => [only]))
      ),
    ),
    v.transform((keys) => keys ?? []),
  );
}

export const ipRangesSchema = v.nullish(
  table({
    development: v.nullish(list(cidr), [...DEFAULTS.ip_ranges.development]),
    production: v.nullish(list(cidr), [...DEFAULTS.ip_ranges.production]),
  }),
  {},
);

export function ingestSchema(context: Context) {
  const one = secret(context, SIGNING);
  const several = v.pipe(
    v.array(one),
    v.check(
      (secrets) => secrets.length >= 1 && secrets.length <= 2,
      "Must have one or two secrets: the one in force and, while it is rotated, the other",
    ),
  );
  return v.nullish(
    table({
      secret: v.optional(
        v.lazy((input) =>
          Array.isArray(input) ? several : v.pipe(one, v.transform((only) => [only]))
        ),
      ),
      max_body: v.optional(
        leaf((value) => {
          const read = parseSize(value);
          if (read < 1024 || read > 64 * 1024 * 1024) {
            throw invalid(`Must be from 1KiB to 64MiB, not ${show(value)}`);
          }
          return read;
        }),
        DEFAULTS.max_body,
      ),
      max_age: v.optional(duration(SECOND, "1s", 365 * DAY, "365d")),
    }),
    {},
  );
}

export function adminSchema(context: Context) {
  return v.nullish(
    table({
      tokens: v.nullish(
        list(table({
          name: textLike(/^[\w.-]{1,64}$/, "Must have 1 to 64 letters, digits, _, . or -"),
          token: secret(context, { literal: true, mistake: tokenMistake }),
          role: oneOf("admin", "viewer"),
        })),
        [],
      ),
      public: v.nullish(list(oneOf("metrics", "openapi")), []),
    }),
    {},
  );
}

export const deliverySchema = v.nullish(
  table({
    timeout: v.optional(timeout, DEFAULTS.timeout),
    retry: v.optional(retry, [...DEFAULTS.retry]),
    concurrency: v.optional(concurrency, DEFAULTS.concurrency),
    allow_networks: v.nullish(list(privateCidr), []),
    source_address: v.optional(leaf((value) => {
      const read = asText(value);
      if (isIP(read) === 0) {
        throw invalid(`Must be an IP address of this machine, not ${show(read)}`);
      }
      return read;
    })),
  }),
  {},
);

const kept = duration(SECOND, "1s", 3650 * DAY, "3650d");

export const retentionSchema = v.nullish(
  table({
    events: v.optional(kept, DEFAULTS.retention.events),
    attempts: v.optional(kept, DEFAULTS.retention.attempts),
  }),
  {},
);

export const alertsSchema = v.nullish(
  table({
    failure_rate: v.optional(number(0.001, 1, "share"), DEFAULTS.alerts.failure_rate),
    window: v.optional(duration(SECOND, "1s", 30 * DAY, "30d"), DEFAULTS.alerts.window),
    min_attempts: v.optional(number(1, 1_000_000, "integer"), DEFAULTS.alerts.min_attempts),
    to: v.nullish(list(textLike(/^[\w-]{1,64}$/, "Must be the id of an endpoint")), []),
  }),
  {},
);

/** One entry of `events`. `builtIn` are the names that are taken. */
export function eventTypeSchema(around: Surroundings, builtIn: readonly string[]) {
  return table({
    name: leaf((value) => {
      const read = asText(value);
      if (!EVENT_NAME.test(read) || read.length > 100) {
        throw invalid(`Must be a dotted name such as booking.moved, not ${show(read)}`);
      }
      if (builtIn.includes(read)) {
        throw invalid(`${show(read)} is built in; take the entry out or choose another name`);
      }
      return read;
    }),
    description,
    schema: v.optional(leaf((value) => readJsonSchema(asText(value), around))),
  });
}

function readJsonSchema(text: string, around: Surroundings): Record<string, unknown> {
  const source = readText(filePath(text, around), false);
  let schema: unknown;
  try {
    schema = JSON.parse(source);
  } catch {
    throw invalid(`File ${show(text)} is not JSON`);
  }
  if (!isTable(schema)) throw invalid(`File ${show(text)} is not a JSON Schema: not an object`);
  if (isDeeper(schema, MAX_SCHEMA_DEPTH)) throw invalid(`File ${show(text)} is nested too deeply`);
  return schema;
}

// Level by level, because recursion is what a deep one is made to break.
function isDeeper(value: unknown, max: number): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; depth <= max; depth++) {
    level = level.flatMap((item) =>
      typeof item === "object" && item !== null ? Object.values(item) : []
    );
    if (level.length === 0) return false;
  }
  return true;
}

/** One entry of `endpoints`. */
export function endpointSchema(context: EndpointContext) {
  return v.pipe(
    table({
      id: leaf(readEndpointId),
      url: leaf((value) => {
        const read = asText(value);
        const mistake = context.urlMistake(read);
        if (mistake !== undefined) throw invalid(mistake);
        return read;
      }),
      secret: v.optional(secret(context, SIGNING)),
      unsigned: v.optional(bool, false),
      events: v.pipe(
        list(leaf((value) => readPattern(asText(value), context.types)), MAX_PATTERNS),
        v.minLength(1, 'Selects nothing; write ["*"] for every event'),
        v.rawCheck(({ dataset, addIssue }) => overlaps(dataset.value, addIssue)),
      ),
      businesses: v.optional(v.pipe(
        list(leaf(readBusiness)),
        v.minLength(1, "Must name a business; take the key out for all of them"),
        v.rawCheck(({ dataset, addIssue }) => repeated(dataset.value, addIssue)),
      )),
      headers: v.optional(
        v.pipe(
          v.custom<Record<string, string>>(isTable, "Must be a mapping of names to values"),
          v.rawTransform(({ dataset: { value }, addIssue }) => {
            const add = (name: string, message: string) =>
              addIssue({ message, path: [pathItem(value, name)] });
            const headers = resolveHeaders(value, context, add);
            for (const { name, message } of headersMistakes(headers)) add(name, message);
            return headers;
          }),
        ),
        {},
      ),
      timeout: v.optional(timeout),
      retry: v.optional(retry),
      concurrency: v.optional(concurrency),
      rate_limit: v.optional(leaf((value) => {
        const read = parseRate(value);
        if (read === 0 || read > 100_000) {
          throw invalid(`Must be above 0 and at most 100000/s, not ${show(value)}`);
        }
        return read;
      })),
      tls: v.optional(tlsSchema(context)),
      description: v.optional(description),
    }),
    v.rawCheck(({ dataset, addIssue }) => {
      for (const { key, message } of conflicts(dataset.value)) {
        addIssue({ message, path: [pathItem(dataset.value, key)] });
      }
    }),
  );
}

// Values may be credentials, so they may stand elsewhere, as secrets do. One that cannot be resolved
// has its mistake and stays as it is.
function resolveHeaders(
  headers: Readonly<Record<string, unknown>>,
  around: Surroundings,
  add: (name: string, message: string) => void,
): Record<string, string> {
  const resolve = (name: string, value: unknown) => {
    try {
      return typeof value === "string" && isReference(value) ? resolveSecret(value, around) : value;
    } catch (error) {
      add(name, messageOf(error));
      return value;
    }
  };
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, resolve(name, value)]),
  ) as Record<string, string>;
}

function tlsSchema(context: Context) {
  const pem = (kind: string) =>
    leaf((value) => {
      const read = asText(value);
      if (!isReference(read)) throw invalid("Must be file:PATH or env:NAME");
      const content = resolveSecret(read, {
        ...context,
        production: kind.endsWith("KEY") && context.production,
      });
      if (!new RegExp(`^-----BEGIN ([A-Z]+ )*${kind}-----$`, "m").test(content)) {
        throw invalid(`Must name a PEM file with a ${kind.toLowerCase()}`);
      }
      return content;
    });
  return v.pipe(
    table({
      ca: v.optional(pem("CERTIFICATE")),
      cert: v.optional(pem("CERTIFICATE")),
      key: v.optional(v.pipe(pem("PRIVATE KEY"), v.transform((key) => new Secret(key)))),
    }),
    v.check(
      (tls) => (tls.cert === undefined) === (tls.key === undefined),
      "Must have cert and key together, or neither",
    ),
  );
}

function readEndpointId(value: unknown): string {
  const read = asText(value);
  if (!ENDPOINT_ID.test(read)) {
    throw invalid(
      `Must have 1 to 63 lower-case letters, digits, _ or -, beginning with a letter or digit, ` +
        `not ${show(read)}`,
    );
  }
  if (read.startsWith("ep_")) {
    throw invalid("Must not begin with ep_, as the ids do that the admin API makes");
  }
  return read;
}

/** A pattern of event types, as written. Throws an `AppError` where it selects none of `types`. */
export function readPattern(pattern: string, types: readonly string[]): string {
  const valid = pattern === "*" || EVENT_NAME.test(pattern) ||
    (pattern.endsWith(".*") && EVENT_NAME.test(pattern.slice(0, -1) + "x"));
  if (!valid) {
    throw invalid(`Must be an event type, a pattern such as booking.*, or *, not ${show(pattern)}`);
  }
  if (!types.some((type) => matchesType([pattern], type))) {
    throw invalid(`No event type matches ${show(pattern)}; there are ${some(types)}`);
  }
  return pattern;
}

function readBusiness(value: unknown): string {
  const read = asText(value);
  if (!isIdentifier(read)) throw invalid(`Must have ${IDENTIFIER_RULE}`);
  return read;
}

type AddIssue = (info: { message: string; path: [v.IssuePathItem] }) => void;

/** An event type that another entry selects already would be owed once all the same. */
export function overlaps(patterns: unknown, addIssue: AddIssue): void {
  const read = entriesOf(patterns).slice(0, MAX_PATTERNS);
  for (const [index, pattern] of read.entries()) {
    const other = read.find((wider, at) =>
      (at < index && wider === pattern) ||
      (wider !== pattern && wider !== null && pattern !== null && matchesType([wider], pattern))
    );
    if (other === undefined || other === null) continue;
    addIssue({
      message: other === pattern
        ? `${show(pattern)} is there twice`
        : `${show(pattern)} is selected by ${show(other)} already; take one of them out`,
      path: [pathItem(patterns, index)],
    });
  }
}

/** Adds an issue for each text that is there twice. */
export function repeated(values: unknown, addIssue: AddIssue): void {
  const seen = new Set<string>();
  for (const [index, value] of entriesOf(values).entries()) {
    if (value !== null && seen.has(value)) {
      addIssue({ message: `${show(value)} is there twice`, path: [pathItem(values, index)] });
    }
    if (value !== null) seen.add(value);
  }
}

function entriesOf(values: unknown): readonly (string | null)[] {
  return Array.isArray(values)
    ? values.map((value) => typeof value === "string" ? value : null)
    : [];
}

/** What does not go together in an endpoint, whatever else is wrong with it. */
function conflicts(endpoint: unknown): readonly { key: string; message: string }[] {
  if (!isTable(endpoint)) return [];
  const found: { key: string; message: string }[] = [];
  if (endpoint.secret === undefined && endpoint.unsigned === false) {
    found.push({
      key: "secret",
      message: "Missing; name a secret, or say unsigned: true for deliveries nobody can verify",
    });
  }
  if (endpoint.secret !== undefined && endpoint.unsigned === true) {
    found.push({
      key: "unsigned",
      message: "Must have either a secret or unsigned: true, not both",
    });
  }
  if (endpoint.tls !== undefined && String(endpoint.url).startsWith("http:")) {
    found.push({ key: "tls", message: "Has no meaning for an http: URL" });
  }
  return found;
}

function pathItem(input: unknown, key: string | number): v.IssuePathItem {
  return { type: "unknown", origin: "value", input, key, value: undefined };
}

function invalid(message: string): AppError {
  return new AppError("invalid", message);
}
