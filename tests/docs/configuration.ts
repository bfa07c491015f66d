/**
 * The reference of the configuration: keys, types, bounds and defaults from the schemas that read the file, words
 * and examples from the comments of config.example.yaml, and so from one place each.
 */

import * as v from "valibot";
import { databaseSchema } from "../../lib/config/database.ts";
import { endpointSchema } from "../../lib/config/endpoint.ts";
import { SECTIONS } from "../../lib/config/load.ts";
import * as sections from "../../lib/config/sections.ts";

/** A key of the file, or of a mapping in it. */
export interface Key {
  /** `server.tls.cert`, `endpoints[].id`. */
  readonly path: string;
  /** With unit and bounds. */
  readonly kind: string;
  /** As YAML; undefined if there is none. */
  readonly preset: string | undefined;
  readonly is_required: boolean;
}

/** What config.example.yaml has about a key. */
export interface Shown {
  /** Its comment, as one text. */
  readonly about: string;
  /** The line without its comment, `timeout: 10s`. */
  readonly example: string;
}

// Nothing is read by them here.
const around = { directory: "/", env: () => undefined, production: false };
const context = { ...around, secrets: new Map() };
const rules = { allow_loopback: true, allow_networks: [], own_listener: [] };
const endpoint = endpointSchema({ ...context, types: [], urlMistake: () => undefined });

/** The schema of each section, as lib/config/load.ts uses them. */
const SCHEMAS: Readonly<Record<string, v.GenericSchema>> = {
  environment: sections.environmentSchema,
  server: sections.serverSchema(around),
  database: databaseSchema(context),
  encryption_key: sections.encryptionKeySchema(around),
  ip_ranges: sections.ipRangesSchema,
  secrets: v.record(v.string(), sections.secretSchema(around)),
  ingest: sections.ingestSchema(context),
  admin: sections.adminSchema(context),
  events: v.optional(v.array(sections.eventTypeSchema(around, [])), []),
  delivery: sections.deliverySchema,
  retention: sections.retentionSchema,
  alerts: sections.alertsSchema(context, rules),
  portal: sections.portalSchema,
  endpoints: v.optional(v.array(endpoint), []),
};

/** What is in force after the next start only, besides everything below. */
export const AT_START = [
  "server.listen",
  "database",
  "encryption_key",
  "delivery.source_address",
];
/** Of these, what a reload does put in force. */
export const RELOADED = ["database.min_free"];

/** Every key that the schemas know, in the order of the file. */
export function keysOfSchemas(): readonly Key[] {
  const missing = SECTIONS.filter((name) => SCHEMAS[name] === undefined);
  if (missing.length > 0) throw new Error(`tests/docs/configuration.ts lacks ${missing}`);
  return SECTIONS.flatMap((name) => keysOf(name, SCHEMAS[name] as v.GenericSchema));
}

// The parts of valibot's schemas that are looked at.
interface Schema {
  readonly type: string;
  readonly default?: unknown;
  readonly wrapped?: Schema;
  readonly entries?: Readonly<Record<string, Schema>>;
  readonly item?: Schema;
  readonly value?: Schema;
  /** Of a list: how many entries it may have. */
  readonly requirement?: number;
  readonly pipe?: readonly Schema[];
  readonly metadata?: {
    readonly kind?: string;
    readonly preset?: string;
    readonly one_of?: readonly [Schema, Schema];
  };
}

function keysOf(path: string, given: v.GenericSchema): readonly Key[] {
  const outer = unwrap(given as unknown as Schema);
  return keysWithin(path, outer);
}

interface Unwrapped {
  readonly schema: Schema;
  readonly preset: unknown;
  readonly is_required: boolean;
}

// `optional` and `nullish`, also within a pipe.
function unwrap(schema: Schema): Unwrapped {
  const optional = find(schema, ({ type }) => type === "optional" || type === "nullish");
  if (optional?.wrapped === undefined) return { schema, preset: undefined, is_required: true };
  return { schema: optional.wrapped, preset: optional.default, is_required: false };
}

function keysWithin(path: string, { schema, preset, is_required }: Unwrapped): readonly Key[] {
  const [one] = find(schema, ({ metadata }) => metadata?.one_of !== undefined)?.metadata?.one_of ??
    [];
  const entries = find(schema, (part) => part.entries !== undefined)?.entries;
  const list = find(schema, ({ type }) => type === "array")?.item;
  const named = find(schema, ({ type }) => type === "record")?.value;
  const elsewhere = find(schema, ({ metadata }) => metadata?.preset !== undefined)?.metadata
    ?.preset;
  const key = { path, preset: presetOf(preset) ?? elsewhere, is_required };
  const inside = (at: string, part: Schema) => keysWithin(at, unwrap(part));
  if (entries !== undefined) {
    const below = Object.entries(entries).flatMap(([name, entry]) =>
      inside(`${path}.${name}`, entry)
    );
    return [{ ...key, kind: "a mapping", preset: undefined }, ...below];
  }
  if (named !== undefined) {
    return [{ ...key, kind: `a mapping of names; each value ${kindOf(named)}`, preset: "{}" }];
  }
  if (list !== undefined) {
    const [first, ...below] = inside(`${path}[]`, list);
    const max = find(schema, ({ type }) => type === "max_length")?.requirement ?? Infinity;
    const bound = max > 1000 ? "" : `, at most ${max}`;
    if (below.length === 0) return [{ ...key, kind: `a list${bound}; each entry ${first?.kind}` }];
    return [{ ...key, kind: `a list of mappings${bound}` }, ...below];
  }
  return [{
    ...key,
    kind: one === undefined ? kindOf(schema) : `${kindOf(one)}; or a list of them`,
  }];
}

function kindOf(schema: Schema): string {
  const kind = find(schema, ({ metadata }) => metadata?.kind !== undefined)?.metadata?.kind;
  if (kind === undefined) throw new Error(`A ${schema.type} without a kind`);
  return kind;
}

/** The outermost part of a schema for which `is` holds; in a pipe the last one. */
function find(schema: Schema, is: (part: Schema) => boolean): Schema | undefined {
  const parts = schema.pipe ?? [];
  const here = parts.findLast((part, index) => index > 0 && is(part));
  if (here !== undefined) return here;
  const [inner] = parts;
  return inner === undefined ? is(schema) ? schema : undefined : find(inner, is);
}

function presetOf(preset: unknown): string | undefined {
  if (preset === undefined || preset === null || JSON.stringify(preset) === "{}") return undefined;
  if (!Array.isArray(preset)) return String(preset);
  return `[${preset.join(", ")}]`;
}

// --- words -----------------------------------------------------------------------------------------------

/** What the comments of the example say about each key of `known`. */
export function shownIn(example: string, known: ReadonlySet<string>): ReadonlyMap<string, Shown> {
  const found = new Map<string, Shown>();
  const stack: { column: number; path: string }[] = [];
  let words: string[] = [];
  for (const line of example.split("\n")) {
    const read = keyLineOf(line, stack, known);
    if (read === undefined) {
      const [, text] = /^\s*#\s?(.*)$/.exec(line) ?? [];
      if (text === undefined) words = [];
      else words.push(text.trim().replace(/^#\s*/, ""));
      continue;
    }
    const [code = "", more] = read.text.split(/\s+# /);
    const about = [...words, ...(more === undefined ? [] : [more])].join(" ").trim();
    const before = found.get(read.path);
    // A second example of a key, `# trusted_proxies: [10.0.0.5/32]`, shows more than an empty list.
    found.set(read.path, { about: about || (before?.about ?? ""), example: code.trim() });
    words = [];
  }
  return found;
}

/** The key of a line, commented out or not, and the line from there on; undefined if it is of another kind. */
function keyLineOf(
  line: string,
  stack: { column: number; path: string }[],
  known: ReadonlySet<string>,
): { readonly path: string; readonly text: string } | undefined {
  const [, indent = "", inner = "", dash, rest = ""] =
    /^( *)(?:# )?( *)(?:# )?(- )?([a-z_]+:(?: .*)?)$/.exec(line) ?? [];
  if (rest === "") return undefined;
  const column = indent.length + inner.length + (dash === undefined ? 0 : 2);
  const above = stack.filter((entry) => entry.column < column).at(-1);
  const name = rest.slice(0, rest.indexOf(":"));
  const path = above === undefined
    ? name
    : [`${above.path}.${name}`, `${above.path}[].${name}`].find((path) => known.has(path));
  if (path === undefined || !known.has(path)) return undefined;
  while ((stack.at(-1)?.column ?? -1) >= column) stack.pop();
  stack.push({ column, path });
  return { path, text: rest };
}

// --- the page ----------------------------------------------------------------------------------------------

/** The reference as Markdown: one heading for each section, and one for each key in it. */
export function referenceOf(keys: readonly Key[], shown: ReadonlyMap<string, Shown>): string {
  return keys.map((key) => {
    const { about, example } = shown.get(key.path) ?? { about: "", example: "" };
    const is_section = !/[.[]/.test(key.path);
    return [
      `${is_section ? "##" : "###"} ${key.path}`,
      `${sentence(key)} ${effectOf(key.path)}`.trim(),
      about,
      ...(example.endsWith(":") || example === "" ? [] : [`Example: \`${example}\``]),
    ].filter((part) => part !== "").join("\n\n");
  }).join("\n\n");
}

function sentence({ kind, preset, is_required, path }: Key): string {
  const [first = ""] = kind;
  const capital = kind.replace(first, first.toUpperCase())
    .replace(/\b(?:file:PATH|env:NAME|HOST:PORT|booking\.\*)|(?<=, or )\*$/gi, "`$&`");
  if (preset !== undefined) return `${capital}. Default: \`${preset}\`.`;
  return is_required && path.includes(".") ? `${capital}. Required.` : `${capital}. Optional.`;
}

function effectOf(path: string): string {
  const within = (list: readonly string[]) =>
    list.some((start) => path === start || path.startsWith(`${start}.`));
  if (path === "database") return "";
  return within(AT_START) && !within(RELOADED) ? "Takes a restart." : "";
}
