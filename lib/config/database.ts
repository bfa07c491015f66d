/** The section `database`, and how the address of a server is read. */

import { userInfo } from "node:os";
import { resolve } from "node:path";
import * as v from "valibot";
import {
  type AddressMistake,
  type AddressResult,
  type AddressSources,
  type DatabaseAddress,
  formatAddressMistake,
  mayHavePassword,
  parseDatabaseUrl,
  resolveDatabaseAddress,
} from "../core/database_address.ts";
import { invalid } from "../core/errors.ts";
import { isObject } from "../core/json.ts";
import { Secret, textMistake } from "../core/secret.ts";
import { parseDuration, parseSize } from "../core/units.ts";
import { type DatabaseConfig, DEFAULTS } from "./config.ts";
import {
  type AddMistake,
  asText,
  check,
  type Context,
  duration,
  leaf,
  list,
  oneOrMore,
  secret,
  table,
  withPreset,
} from "./fields.ts";
import { filePath, isReference, readPem, resolveSecret, type Surroundings } from "./references.ts";

const MAX_HOSTS = 32;

/** Keys of the section that make up an address, with libpq's names of them. */
const KEYS = { host: "host", port: "port", name: "dbname", user: "user", password: "password" };
const TLS_KEYS = { mode: "sslmode", ca: "sslrootcert", cert: "sslcert", key: "sslkey" };

const text = leaf("text", asText);
const texts = oneOrMore(text, v.pipe(list(text, MAX_HOSTS), v.minLength(1, "Must have an entry")));
const port = leaf("a port", (value) => {
  if (typeof value === "number" || typeof value === "string") return String(value);
  throw invalid("Must be a port, or a list of ports");
});

/** `database`: an embedded one by its directory, or a server by its URL or by keys. */
export function databaseSchema(context: Context) {
  return v.nullish(
    v.pipe(
      table({
        directory: v.optional(
          withPreset(
            leaf("a path, or env:NAME", (value) => filePath(asText(value), context)),
            DEFAULTS.directory,
          ),
        ),
        min_free: v.optional(leaf("a size", parseSize), DEFAULTS.min_free),
        url: v.optional(urlSchema(context)),
        host: v.optional(texts),
        port: v.optional(oneOrMore(port, list(port, MAX_HOSTS))),
        name: v.optional(text),
        user: v.optional(text),
        password: v.optional(secret(context, { literal: true, mistake: textMistake })),
        tls: v.optional(table({
          mode: v.optional(text),
          ca: v.optional(
            leaf("file:PATH, env:NAME or system", (value) => asReference(value, ["system"])),
          ),
          cert: v.optional(leaf("file:PATH or env:NAME", (value) => asReference(value))),
          key: v.optional(leaf("file:PATH or env:NAME", (value) => asReference(value))),
        })),
        connect_timeout: v.optional(
          withPreset(duration(1000, 86_400_000), DEFAULTS.connect_timeout),
        ),
      }),
      check(findMistakes(context)),
      v.transform((database) => toConfig(database, context)),
    ),
    {},
  );
}

/**
 * The server's address in a URL. Throws an `AppError` with every mistake in it, none of which shows a
 * part of it.
 */
export function readDatabaseUrl(url: string, around: Surroundings): DatabaseAddress {
  const result = parseDatabaseUrl(url, sourcesOf(around));
  if ("address" in result) return result.address;
  throw invalid(result.mistakes.map(formatAddressMistake).join("; "));
}

type Section = Readonly<Record<string, unknown>>;

function urlSchema(context: Context) {
  return v.pipe(
    leaf(
      "a URL, a name of secrets, env:NAME or file:PATH",
      (value) => parseDatabaseUrl(urlOf(asText(value), context), sourcesOf(context)),
    ),
    v.rawTransform<AddressResult, DatabaseAddress>(({ dataset: { value }, addIssue, NEVER }) => {
      if ("address" in value) return value.address;
      for (const mistake of value.mistakes) addIssue({ message: formatAddressMistake(mistake) });
      return NEVER;
    }),
  );
}

function urlOf(text: string, context: Context): string {
  const named = context.secrets.get(text);
  if (named === null) throw invalid("The secret of that name has a mistake");
  if (named !== undefined) return named.reveal();
  // A URL without a password is no secret, so it may be in the file in production too.
  const is_open = !isReference(text) && !mayHavePassword(text);
  return resolveSecret(text, is_open ? { ...context, production: false } : context);
}

function asReference(value: unknown, words: readonly string[] = []): string {
  const read = asText(value);
  if (!isReference(read) && !words.includes(read)) throw invalid("Must be file:PATH or env:NAME");
  return read;
}

function sourcesOf(around: Surroundings): AddressSources {
  return {
    env: around.env,
    read: (path, kind) =>
      readPem(
        isReference(path) ? path : `file:${path}`,
        kind === "key" ? "PRIVATE KEY" : "CERTIFICATE",
        around,
      ),
    os_user() {
      try {
        return userInfo().username;
      } catch {
        // No name for this user's number, as in many containers, or no permission to ask.
        return undefined;
      }
    },
  };
}

function findMistakes(context: Context) {
  return (section: unknown, add: AddMistake): void => {
    if (!isObject(section)) return;
    const { directory, url, connect_timeout } = section;
    const has_keys = hasKeys(section);
    if ([directory !== undefined, url !== undefined, has_keys].filter(Boolean).length > 1) {
      add(
        [],
        "Must have either directory (embedded), or url, or host and the keys that go with it, not both",
      );
    } else if (connect_timeout !== undefined && url === undefined && !has_keys) {
      add("connect_timeout", "Has no meaning for an embedded database");
    }
    if (!has_keys || url !== undefined || directory !== undefined) return;
    const result = resolveDatabaseAddress(parametersOf(section), sourcesOf(context));
    if ("address" in result) return;
    for (const mistake of result.mistakes) reportAtKey(mistake, add);
  };
}

function reportAtKey(mistake: AddressMistake, add: AddMistake): void {
  const keyOf = (names: Readonly<Record<string, string>>) =>
    mistake.variable === undefined
      ? Object.entries(names).find(([, name]) => name === mistake.parameter)?.[0]
      : undefined;
  const key = keyOf(KEYS);
  const inner = keyOf(TLS_KEYS);
  if (key !== undefined) add(key, mistake.message);
  else if (inner !== undefined) add(["tls", inner], mistake.message);
  else add([], formatAddressMistake(mistake));
}

/** Whether a section, as written, is about a server. */
export function isServer(section: Section): boolean {
  return section["url"] !== undefined || hasKeys(section);
}

function hasKeys(section: Section): boolean {
  return [...Object.keys(KEYS), "tls"].some((key) => section[key] !== undefined);
}

/** The section's keys under libpq's names. Values of a wrong type have mistakes of their own. */
function parametersOf(section: Section): Record<string, string> {
  const tls = isObject(section["tls"]) ? section["tls"] : undefined;
  const parameters: Record<string, string> = {};
  const put = (name: string, value: unknown) => {
    const entries = Array.isArray(value) ? value : [value];
    const read = entries.map((entry) => entry instanceof Secret ? entry.reveal() : entry);
    if (read.every((entry) => typeof entry === "string")) parameters[name] = read.join(",");
  };
  for (const [key, name] of Object.entries(KEYS)) put(name, section[key]);
  if (tls !== undefined) {
    // Keys for TLS mean that it is wanted, and wanted to be worth something.
    put("sslmode", tls["mode"] ?? "verify-full");
    const files = Object.entries(TLS_KEYS).slice(1).filter(([key]) => tls[key] !== undefined);
    const are_named = files.every(([key]) =>
      tls[key] === "system" || isReference(String(tls[key]))
    );
    if (are_named) { for (const [key, name] of files) put(name, tls[key]); }
  }
  return parameters;
}

function toConfig(
  section: Section & {
    readonly directory?: string | undefined;
    readonly min_free: number;
    readonly url?: DatabaseAddress | undefined;
    readonly connect_timeout?: number | undefined;
  },
  context: Context,
): DatabaseConfig {
  const connect_timeout_ms = section.connect_timeout ?? parseDuration(DEFAULTS.connect_timeout);
  if (section.url !== undefined) {
    return { kind: "server", address: section.url, connect_timeout_ms };
  }
  if (!hasKeys(section)) {
    const directory = section.directory ?? resolve(context.directory, DEFAULTS.directory);
    return { kind: "embedded", directory, min_free_bytes: section.min_free };
  }
  const result = resolveDatabaseAddress(parametersOf(section), sourcesOf(context));
  if ("address" in result) return { kind: "server", address: result.address, connect_timeout_ms };
  // A file changed since the check, which found no mistake in it.
  throw invalid(result.mistakes.map(formatAddressMistake).join("; "));
}
