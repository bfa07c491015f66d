/**
 * The texts that a JSON text may have been before a program parsed it and wrote it again: other white
 * space, key order, numbers (`75.50` for `75.5`) and escapes (`\u00fc` for `ü`, `\/` for `/`).
 */

import { EVENT_TYPES } from "./event_types.ts";
import { isDeeperThan } from "./json_text.ts";

/** A text that means the same, and how it differs, in words. */
export interface Rewriting {
  readonly text: string;
  readonly how: string;
}

/** Deeper texts are not rewritten: the walk over them is recursive. */
const MAX_DEPTH = 200;
/** Most numbers that are varied one by one, and most texts that come of it. */
const MAX_VARIED = 12;
const MAX_MIXTURES = 5_000;
/** Ways to write a number that are combined with those of others. */
const MAX_COMBINED = 5;

/**
 * The texts that programs make of a text, with one rule for all of its numbers; the likeliest first. None
 * if it is not JSON, or nested too deeply.
 */
export function* rewritingsOf(text: string): Generator<Rewriting> {
  for (const { order, escaped } of orderings(text)) {
    const numbers = UNIFORM.flatMap((rule) =>
      escaped.map(({ hows, tokens }) => ({ hows, tokens: mapTokens(tokens, isNumber, rule) }))
    );
    for (const one of distinct(numbers)) yield* layOut(text, order, one, LAYOUTS);
  }
}

/** The same with each number in a way of its own: there are many such texts. */
export function* mixedRewritingsOf(text: string): Generator<Rewriting> {
  for (const { order, escaped } of orderings(text)) {
    for (const numbers of mixtures(order)) {
      for (const { hows, tokens } of escaped) {
        const mixed = tokens.map((token, at) => numbers.get(at) ?? token);
        yield* layOut(text, order, { hows, tokens: mixed }, LAYOUTS.slice(0, 3));
      }
    }
  }
}

/** The text's tokens in each order, and these with each kind of escapes. */
function orderings(
  text: string,
): { readonly order: readonly string[]; readonly escaped: readonly Tokens[] }[] {
  const tree = parse(text);
  if (tree === undefined) return [];
  return distinct(ORDERS.map(({ how, sort }) => ({ hows: [how], tokens: write(sort(tree)) })))
    .map(({ hows, tokens }) => ({
      order: tokens,
      escaped: distinct(ESCAPES.map(({ how, escape }) => ({
        hows: [...hows, how],
        tokens: mapTokens(tokens, isString, escape),
      }))),
    }));
}

/** A text's tokens, and how they differ, in words. */
interface Tokens {
  readonly hows: readonly string[];
  readonly tokens: readonly string[];
}

function mapTokens(
  tokens: readonly string[],
  isChanged: (token: string) => boolean,
  change: (token: string) => string,
): string[] {
  return tokens.map((token) => isChanged(token) ? change(token) : token);
}

/** Without those whose tokens another one before has as well. */
function distinct(all: readonly Tokens[]): Tokens[] {
  const seen = new Map<string, Tokens>();
  for (const one of all) {
    const key = one.tokens.join("\n");
    if (!seen.has(key)) seen.set(key, one);
  }
  return [...seen.values()];
}

// --- parsing and order ---------------------------------------------------------------------------------

/** A value with its tokens as they are written. */
type Tree =
  | string
  | { readonly items: readonly Tree[] }
  | { readonly members: readonly (readonly [key: string, value: Tree])[] };

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

function parse(text: string): Tree | undefined {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  if (isDeeperThan(MAX_DEPTH, text)) return undefined;
  const tokens = text.match(TOKEN) ?? [];
  let at = 0;
  const next = (): Tree => {
    const token = tokens[at++] ?? "";
    if (token !== "{" && token !== "[") return token;
    const end = token === "{" ? "}" : "]";
    const items: Tree[] = [];
    const members: [string, Tree][] = [];
    while (tokens[at] !== end) {
      if (tokens[at] === ",") at++;
      if (token === "[") items.push(next());
      else {
        const key = tokens[at] ?? "";
        at += 2; // and the colon
        members.push([key, next()]);
      }
    }
    at++;
    return token === "[" ? { items } : { members };
  };
  return next();
}

function write(tree: Tree): string[] {
  if (typeof tree === "string") return [tree];
  const parts = "items" in tree
    ? tree.items.map(write)
    : tree.members.map(([key, value]) => [key, ":", ...write(value)]);
  const inner = parts.flatMap((part, index) => index === 0 ? part : [",", ...part]);
  return "items" in tree ? ["[", ...inner, "]"] : ["{", ...inner, "}"];
}

const ORDERS: readonly { readonly how: string; readonly sort: (tree: Tree) => Tree }[] = [
  { how: "", sort: (tree) => tree },
  { how: "with sorted keys", sort: (tree) => sortBy(tree, () => 0) },
  {
    how: "with its keys in the documentation's order",
    sort: (tree) => sortBy(tree, ranksOf(tree)),
  },
];

/** Members by their rank, those of equal rank by name. */
function sortBy(tree: Tree, rank: (path: string) => number, path = ""): Tree {
  if (typeof tree === "string") return tree;
  if ("items" in tree) return { items: tree.items.map((item) => sortBy(item, rank, path)) };
  const members = tree.members
    .map(([key, value]) => [key, sortBy(value, rank, path + key)] as const)
    .toSorted(([a], [b]) => rank(path + a) - rank(path + b) || (a < b ? -1 : a > b ? 1 : 0));
  return { members };
}

/** The places of members in the sample of the same event type; others come after those. */
function ranksOf(tree: Tree): (path: string) => number {
  if (typeof tree === "string" || "items" in tree) return () => 0;
  const name = tree.members.find(([key]) => key === '"event"')?.[1];
  const type = EVENT_TYPES.find((type) => JSON.stringify(type.name) === name);
  const ranks = new Map<string, number>();
  const walk = (value: unknown, path: string) => {
    if (typeof value !== "object" || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      const place = path + JSON.stringify(key);
      ranks.set(place, ranks.size);
      walk(inner, place);
    }
  };
  walk(JSON.parse(type?.sample ?? "{}"), "");
  return (path) => ranks.get(path) ?? Infinity;
}

// --- numbers -------------------------------------------------------------------------------------------

function isNumber(token: string): boolean {
  return /^-?\d/.test(token);
}

function isInteger(token: string): boolean {
  return Number.isInteger(Number(token));
}

/** Rules for all numbers, as a program has one: as they are, JavaScript's, two decimals, floats. */
const UNIFORM: readonly ((token: string) => string)[] = [
  (token) => token,
  (token) => JSON.stringify(Number(token)),
  (token) => isInteger(token) ? token : decimals(token, 2),
  (token) => decimals(token, 2),
  (token) => isInteger(token) ? decimals(token, 1) : token,
];

/** Numbers by the place of their token, each in a way of its own; the fewest changed first. */
function* mixtures(tokens: readonly string[]): Generator<ReadonlyMap<number, string>> {
  const places = tokens.flatMap((token, at) => isNumber(token) ? [at] : []).slice(0, MAX_VARIED);
  let layer: readonly ReadonlyMap<number, string>[] = [new Map()];
  let left = MAX_MIXTURES;
  for (let changed = 1; changed <= places.length; changed++) {
    const next: ReadonlyMap<number, string>[] = [];
    for (const numbers of layer) {
      // After the last one changed, so that no set of changes comes twice.
      const last = Math.max(-1, ...numbers.keys());
      for (const at of places.filter((at) => at > last)) {
        const writings = writingsOf(tokens[at] ?? "");
        for (const [nth, writing] of writings.entries()) {
          if (left-- <= 0) return;
          const one = new Map(numbers).set(at, writing);
          if (nth < MAX_COMBINED) next.push(one);
          if (nth < MAX_COMBINED || changed === 1) yield one;
        }
      }
    }
    layer = next;
  }
}

/** A number as other programs write it, the likeliest first: trailing zeros, none, with an exponent. */
function writingsOf(token: string): string[] {
  const value = Number(token);
  const shortest = JSON.stringify(value);
  const [digits = "", exponent = "0"] = value.toExponential().split("e");
  const power = Number(exponent);
  const signed = `${power < 0 ? "-" : "+"}${Math.abs(power)}`;
  const two = `${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  const exponents = [String(power), signed, two].flatMap((power) =>
    [digits, digits.includes(".") ? digits : `${digits}.0`].flatMap((digits) => [
      `${digits}e${power}`,
      `${digits}E${power}`,
    ])
  );
  const padded = [2, 1, 3, 4].map((count) => decimals(token, count));
  const zeros = value === 0 ? ["-0.0", "-0"] : [];
  const all = [
    ...zeros,
    shortest,
    ...padded.slice(0, 2),
    ...exponents.slice(0, 2),
    ...padded,
    ...exponents,
  ];
  return [...new Set(all)].filter((one) => one !== token && Number(one) === value);
}

function decimals(token: string, count: number): string {
  const plain = JSON.stringify(Number(token));
  if (plain.includes("e")) return token;
  const [whole = "", fraction = ""] = plain.split(".");
  return `${whole}.${fraction.padEnd(count, "0")}`;
}

// --- escapes -------------------------------------------------------------------------------------------

const ASCII = /[\u0080-\uffff]/g;
const HTML = /[<>&\u2028\u2029]/g;
// System.Text.Json of .NET.
const CAUTIOUS = /[<>&'+`\u0080-\uffff]/g;

const ESCAPES: readonly { readonly how: string; readonly escape: (token: string) => string }[] = [
  { how: "", escape: (token) => token },
  { how: "with \\u00fc as ü and \\/ as /", escape: plain },
  { how: "in ASCII", escape: (token) => coded(plain(token), ASCII) },
  { how: "in ASCII", escape: (token) => coded(plain(token), ASCII, true) },
  { how: "with slashes escaped", escape: (token) => slashed(plain(token)) },
  {
    how: "in ASCII, with slashes escaped",
    escape: (token) => slashed(coded(plain(token), ASCII)),
  },
  {
    how: "in ASCII, with slashes escaped",
    escape: (token) => slashed(coded(plain(token), ASCII, true)),
  },
  { how: "with <, > and & escaped", escape: (token) => coded(plain(token), HTML) },
  { how: "in ASCII, with <, > and & escaped", escape: cautious },
];

function isString(token: string): boolean {
  return token.startsWith('"');
}

function plain(token: string): string {
  return JSON.stringify(JSON.parse(token));
}

function cautious(token: string): string {
  return coded(plain(token), CAUTIOUS, true).replace(/(?<=.)\\"(?=.)/g, "\\u0022");
}

function slashed(token: string): string {
  return token.replaceAll("/", "\\/");
}

function coded(token: string, pattern: RegExp, upper = false): string {
  return token.replace(pattern, (char) => {
    const hex = char.charCodeAt(0).toString(16).padStart(4, "0");
    return `\\u${upper ? hex.toUpperCase() : hex}`;
  });
}

// --- layout --------------------------------------------------------------------------------------------

interface Layout {
  readonly how: string;
  /** Null: on one line. */
  readonly indent: string | null;
  readonly comma: string;
  readonly colon: string;
  /** Whether a list without lists and objects is on one line. */
  readonly flat_lists?: boolean;
}

const LAYOUTS: readonly Layout[] = [
  { how: "without white space", indent: null, comma: ",", colon: ":" },
  { how: "indented by 2 spaces", indent: "  ", comma: ",", colon: ": " },
  { how: "in one line with spaces", indent: null, comma: ", ", colon: ": " },
  { how: "indented by 4 spaces", indent: "    ", comma: ",", colon: ": " },
  { how: "indented by tabs", indent: "\t", comma: ",", colon: ": " },
  {
    how: "indented by 2 spaces, with lists in one line",
    indent: "  ",
    comma: ",",
    colon: ": ",
    flat_lists: true,
  },
  { how: "indented by 3 spaces", indent: "   ", comma: ",", colon: ": " },
];

/** Tokens in the text's own white space, if they are in its order, then in each layout. */
function* layOut(
  text: string,
  before: readonly string[],
  { hows, tokens }: Tokens,
  layouts: readonly Layout[],
): Generator<Rewriting> {
  const changed = changedNumbers(before, tokens);
  const describe = (layout: string) =>
    [layout, ...hows, changed].filter((how) => how !== "").join(", ");
  if (hows[0] === "") {
    let at = 0;
    const kept = text.replace(TOKEN, () => tokens[at++] ?? "");
    if (kept !== text) yield { text: kept, how: describe("") };
  }
  for (const layout of layouts) {
    const laid = joinTokens(tokens, layout);
    const how = describe(layout.how);
    yield { text: laid, how };
    yield { text: `${laid}\n`, how: `${how}, with a newline at its end` };
  }
}

function changedNumbers(before: readonly string[], after: readonly string[]): string {
  const pairs = before.flatMap((token, at) =>
    isNumber(token) && after[at] !== token ? [`${after[at]} for ${token}`] : []
  );
  const shown = [...new Set(pairs)].slice(0, 3).join(", ");
  return pairs.length === 0 ? "" : `with other numbers: ${shown}`;
}

function joinTokens(
  tokens: readonly string[],
  { indent, comma, colon, flat_lists = false }: Layout,
): string {
  let depth = 0;
  let is_flat = false;
  let joined = "";
  const line = () => indent === null || is_flat ? "" : `\n${indent.repeat(depth)}`;
  tokens.forEach((token, at) => {
    if (token === "{" || token === "[") {
      depth++;
      joined += token;
      is_flat = flat_lists && token === "[" && isFlat(tokens, at);
      if (tokens[at + 1] !== "}" && tokens[at + 1] !== "]") joined += line();
    } else if (token === "}" || token === "]") {
      depth--;
      const is_empty = tokens[at - 1] === "{" || tokens[at - 1] === "[";
      joined += is_empty ? token : line() + token;
      is_flat = false;
    } else if (token === ",") joined += is_flat ? ", " : comma + line();
    else joined += token === ":" ? colon : token;
  });
  return joined;
}

function isFlat(tokens: readonly string[], at: number): boolean {
  for (at++; at < tokens.length; at++) {
    if (/^[[\]{]$/.test(tokens[at] ?? "")) return tokens[at] === "]";
  }
  return false;
}
