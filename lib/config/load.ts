import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { type AddressRules, checkEndpointUrl, parseCidr } from "../core/address.ts";
import { AppError } from "../core/errors.ts";
import { EVENT_TYPES, OPERATIONAL_NAMES } from "../core/event_types.ts";
import { isObject } from "../core/json.ts";
import type { Secret } from "../core/secret.ts";
import { addressRules, type ChatTarget, type Config, type EndpointConfig } from "./config.ts";
import { databaseSchema } from "./database.ts";
import { endpointConfig, endpointSchema } from "./endpoint.ts";
import { ConfigError, type ConfigMistake, MAX_MISTAKES } from "./error.ts";
import { type Context, HIDDEN, unknownKey } from "./fields.ts";
import { readBytes, type Surroundings } from "./references.ts";
import * as sections from "./sections.ts";
import {
  type At,
  keyLabel,
  MAX_BYTES,
  parseYaml,
  type Path,
  YamlError,
  type YamlFile,
} from "./yaml.ts";

const MAX_TYPES = 500;
const MAX_ENDPOINTS = 5000;

/** The file's keys, in the order of the example. */
export const SECTIONS = [
  "environment",
  "server",
  "database",
  "encryption_key",
  "ip_ranges",
  "secrets",
  "ingest",
  "admin",
  "events",
  "delivery",
  "retention",
  "alerts",
  "portal",
  "endpoints",
];

/**
 * Reads and checks the configuration file. `env` looks up environment variables. Throws a
 * `ConfigError` with all mistakes. Reads files, and changes nothing.
 */
export function loadConfig(
  path: string,
  env: (name: string) => string | undefined,
): Config {
  const { config, mistakes } = inspectConfig(path, env);
  if (config === undefined || mistakes.length > 0) throw new ConfigError(path, mistakes);
  return config;
}

/** The SHA-256 of a file's bytes in hexadecimal digits: two daemons, or a command, read the same file. */
export function digestOfFile(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/**
 * The same without throwing: with mistakes, a section that has one is as if left out, and so is an entry
 * of a list. Undefined if the file cannot be read at all.
 */
export function inspectConfig(
  path: string,
  env: (name: string) => string | undefined,
): { readonly config: Config | undefined; readonly mistakes: readonly ConfigMistake[] } {
  const absolute = resolve(path);
  try {
    const reader = makeReader(parseYaml(readFile(absolute)));
    const config = build(reader, { path: absolute, directory: dirname(absolute), env });
    return { config: deepFreeze(config), mistakes: reader.mistakes };
  } catch (error) {
    if (error instanceof YamlError) return { config: undefined, mistakes: error.mistakes };
    throw error;
  }
}

/** The bytes of a configuration file. Throws a `YamlError` that says how to get one. */
export function readFile(path: string): Uint8Array {
  try {
    return readBytes(path, MAX_BYTES);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const remedy = error.code === "not_found"
      ? "; start with `cp config.example.yaml config.yaml`, or name another one with --config"
      : "";
    throw new YamlError([{ line: 0, column: 0, path: "", message: error.message + remedy }]);
  }
}

/** Reads sections of the file and collects their mistakes. */
interface Reader {
  readonly mistakes: ConfigMistake[];
  readonly lineOf: YamlFile["lineOf"];
  /** The raw value at a path, or undefined. */
  at(path: Path): unknown;
  report(path: Path, message: string, at?: At): void;
  /** The meaning of the value at `path`, or undefined if it has mistakes. */
  read<T>(path: Path, schema: v.GenericSchema<unknown, T>): T | undefined;
  /** The meaning of a section, or its default if it has mistakes. */
  section<T>(name: string, schema: v.GenericSchema<unknown, T>): T;
  /** The entries of a list section that have no mistakes. */
  entries<T>(name: string, schema: v.GenericSchema<unknown, T>, max: number): readonly T[];
}

function makeReader(file: YamlFile): Reader {
  const mistakes = [...file.mistakes];
  const root = file.data ?? {};
  if (!isObject(root)) {
    throw new YamlError([file.mistakeAt([], "Must be a mapping of keys to values")]);
  }
  const reader: Reader = {
    mistakes,
    lineOf: file.lineOf,
    at: (path) => path.reduce<unknown>(step, root),
    report: (path, message, at) => mistakes.push(file.mistakeAt(path, message, at)),
    read(path, shape) {
      const result = v.safeParse(shape, reader.at(path));
      if (result.success) return result.output;
      for (const issue of result.issues) {
        const inner = issue.path?.map((item) => item.key as string | number) ?? [];
        const last = issue.path?.at(-1);
        const at = last?.origin !== "key" ? "value" : last.value === HIDDEN ? "hidden key" : "key";
        reader.report([...path, ...inner], issue.message, at);
      }
      return undefined;
    },
    section: (name, shape) => reader.read([name], shape) ?? v.parse(shape, undefined),
    entries<T>(name: string, shape: v.GenericSchema<unknown, T>, max: number) {
      const value = reader.at([name]) ?? [];
      if (!Array.isArray(value)) reader.report([name], "Must be a list; write it in [ ]");
      const list = Array.isArray(value) ? value : [];
      if (list.length > max) reader.report([name, max], `Must have at most ${max} entries`);
      const entries: T[] = [];
      for (const index of list.slice(0, max).keys()) {
        if (mistakes.length > MAX_MISTAKES) break;
        const entry = reader.read([name, index], shape);
        if (entry !== undefined) entries.push(entry);
      }
      return entries;
    },
  };
  const unknown = Object.keys(root).filter((key) => !SECTIONS.includes(key));
  for (const key of unknown.slice(0, MAX_MISTAKES)) {
    const { message, is_shown } = unknownKey(key, SECTIONS);
    reader.report([key], message, is_shown ? "key" : "hidden key");
  }
  return reader;
}

function step(value: unknown, key: string | number): unknown {
  if (typeof key === "number") return Array.isArray(value) ? value[key] : undefined;
  return isObject(value) ? value[key] : undefined;
}

interface Source {
  readonly path: string;
  readonly directory: string;
  readonly env: (name: string) => string | undefined;
}

function build(reader: Reader, { path, directory, env }: Source): Config {
  const environment = reader.section("environment", sections.environmentSchema);
  const around: Surroundings = { directory, env, production: environment === "production" };
  const context: Context = { ...around, secrets: readSecrets(reader, around) };
  const server = reader.section("server", sections.serverSchema(around));
  const database = reader.section("database", databaseSchema(context));
  const encryption_keys = reader.section("encryption_key", sections.encryptionKeySchema(around));
  const ip_ranges = reader.section("ip_ranges", sections.ipRangesSchema);
  const ingest = reader.section("ingest", sections.ingestSchema(context));
  const admin = reader.section("admin", sections.adminSchema(context));
  const delivery = reader.section("delivery", sections.deliverySchema);
  const retention = reader.section("retention", sections.retentionSchema);
  const portal = reader.section("portal", sections.portalSchema);
  const builtIn = EVENT_TYPES.map((type) => type.name);
  const event_types = reader.entries(
    "events",
    sections.eventTypeSchema(around, builtIn),
    MAX_TYPES,
  );

  refuseRepeated(reader, ["events"], "name");
  refuseRepeated(reader, ["admin", "tokens"], "name");
  refuseRepeated(reader, ["endpoints"], "id");
  refuseSharedTokens(reader, admin.tokens);

  const settings = {
    environment,
    server,
    delivery: {
      timeout_ms: delivery.timeout,
      retry_ms: delivery.retry,
      concurrency: delivery.concurrency,
      allow_networks: delivery.allow_networks,
      source_address: delivery.source_address ?? null,
    },
  };
  const rules = rulesOf(reader, settings);
  return {
    path,
    environment,
    server,
    database,
    encryption_keys,
    ip_ranges,
    ingest: {
      secrets: ingest.secret ?? [],
      max_body_bytes: ingest.max_body,
      max_age_ms: ingest.max_age ?? null,
    },
    admin,
    event_types: event_types.map(({ name, description, schema }) =>
      schema === undefined ? { name, description } : { name, description, schema }
    ),
    delivery: settings.delivery,
    retention,
    alerts: readAlerts(reader, context, rules),
    portal,
    endpoints: readEndpoints(reader, context, builtIn, settings, rules),
    endpoint_lines: new Map(
      namesAt(reader, ["endpoints"], "id").map(({ name, path }) => [name, reader.lineOf(path)]),
    ),
  };
}

function readSecrets(reader: Reader, around: Surroundings): ReadonlyMap<string, Secret | null> {
  const value = reader.at(["secrets"]) ?? {};
  if (!isObject(value)) {
    reader.report(["secrets"], "Must be a mapping of names to env:NAME, file:PATH or values");
    return new Map();
  }
  return new Map(
    Object.keys(value).map((name) => {
      if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(name)) {
        reader.report(["secrets", name], "A secret's name has 1 to 63 letters, digits, _, . or -");
      }
      return [name, reader.read(["secrets", name], sections.secretSchema(around)) ?? null];
    }),
  );
}

/** Where endpoints and targets of alerts may be. */
function rulesOf(
  reader: Reader,
  settings: Pick<Config, "environment" | "server" | "delivery">,
): AddressRules {
  const rules = addressRules(settings);
  // A mistake in the networks must not become a mistake of each endpoint in them.
  const known = !reader.mistakes.some(({ path }) => path.startsWith("delivery"));
  return known ? rules : { ...rules, allow_networks: ["0.0.0.0/0", "::/0"].map(parseCidr) };
}

function readAlerts(reader: Reader, context: Context, rules: AddressRules): Config["alerts"] {
  const { window, chat, mail, heartbeat, auto_pause, ...rest } = reader.section(
    "alerts",
    sections.alertsSchema(context, rules),
  );
  return {
    ...rest,
    window_ms: window,
    chat: named(chat),
    mail: mail ?? null,
    heartbeat: heartbeat == null ? null : { url: heartbeat.url, every_ms: heartbeat.every },
    auto_pause_ms: auto_pause ?? null,
  };
}

/** Chat targets with names to tell them apart: `slack`, `teams`, `slack-2`. */
function named(chat: readonly Omit<ChatTarget, "name">[]): ChatTarget[] {
  return chat.map((target, index) => {
    const before = chat.slice(0, index).filter(({ kind }) => kind === target.kind).length;
    return { name: before === 0 ? target.kind : `${target.kind}-${before + 1}`, ...target };
  });
}

function readEndpoints(
  reader: Reader,
  context: Context,
  builtIn: readonly string[],
  settings: Pick<Config, "delivery">,
  rules: AddressRules,
): readonly EndpointConfig[] {
  const endpoints = reader.entries(
    "endpoints",
    endpointSchema({
      ...context,
      types: [
        ...new Set([...builtIn, ...namesAt(reader, ["events"], "name").map(({ name }) => name)]),
        ...OPERATIONAL_NAMES,
      ],
      urlMistake: (url) => checkEndpointUrl(url, rules).mistake,
    }),
    MAX_ENDPOINTS,
  );
  return endpoints.map((endpoint) => endpointConfig(endpoint, settings.delivery));
}

/** Reports repeated values of `key` in a list, whatever other mistakes its entries have. */
function refuseRepeated(reader: Reader, list: Path, key: string): void {
  const first = new Map<string, Path>();
  for (const { name, path } of namesAt(reader, list, key)) {
    const before = first.get(name);
    if (before === undefined) first.set(name, path);
    else {
      const line = reader.lineOf(path);
      const other = reader.lineOf(before);
      reader.report(
        path,
        `Duplicate ${key} ${keyLabel(name)} in line ${line}, already in line ${other}`,
      );
    }
  }
}

function namesAt(
  reader: Reader,
  list: Path,
  key: string,
): readonly { readonly name: string; readonly path: Path }[] {
  const value = reader.at(list);
  return (Array.isArray(value) ? value.slice(0, MAX_ENDPOINTS) : []).flatMap((entry, index) => {
    const name = step(entry, key);
    return typeof name === "string" ? [{ name, path: [...list, index, key] }] : [];
  });
}

/** Reports tokens with two names: the audit log needs one name for each. */
function refuseSharedTokens(reader: Reader, tokens: Config["admin"]["tokens"]): void {
  const first = new Map<string, number>();
  for (const [index, { token }] of tokens.entries()) {
    const before = first.get(token.reveal());
    if (before === undefined) first.set(token.reveal(), index);
    else {
      const line = reader.lineOf(["admin", "tokens", before]);
      const message = `Same token as in line ${line}; give each name its own`;
      reader.report(["admin", "tokens", index, "token"], message);
    }
  }
}

/** Freezes a value and everything in it. The deepest part of a configuration is a JSON Schema. */
function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
