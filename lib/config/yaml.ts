import { Composer, CST, type Document, isMap, isScalar, isSeq, Lexer, LineCounter } from "yaml";
import { Parser, type YAMLParseError } from "yaml";
import { decodeUtf8, validUtf8Length } from "../core/utf8.ts";
import { type ConfigMistake, MAX_MISTAKES } from "./error.ts";

/** Largest configuration file, in bytes. */
export const MAX_BYTES = 1024 * 1024;

// What the parsers do for one token is bounded, so bounding tokens bounds their time: about a tenth
// of a second, or 1,400 endpoints.
const MAX_TOKENS = 100_000;

// The configuration nests four levels deep, which is twelve entries on the parser's stack. The
// composer recurses and would exhaust the call stack at some thousands.
const MAX_STACK = 40;

// Control characters other than tab, newline and next line (YAML 1.2, 5.1), and a carriage return
// that does not end a line: an editor shows other line numbers than the parser counts.
// deno-lint-ignore no-control-regex
const FORBIDDEN = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]|\r(?!\n)/;

/** Keys and indexes from the root to a value. */
export type Path = readonly (string | number)[];

/** A YAML file as plain data, with the place of everything in it. */
export interface YamlFile {
  /** Mappings have no prototype; the keys of `Object.prototype` are never in them. */
  readonly data: unknown;
  /** What makes the file unusable although it could be read: duplicate keys, inexact numbers. */
  readonly mistakes: readonly ConfigMistake[];
  /**
   * A mistake at the value of `path` (or at its key), or where it would be: at the innermost
   * mapping or list that is there.
   */
  mistakeAt(path: Path, message: string, at?: "key" | "value"): ConfigMistake;
  /** Line of the value of `path`. */
  lineOf(path: Path): number;
}

/** Thrown for a file that is no YAML of the kind taken here. */
export class YamlError extends Error {
  override readonly name = "YamlError";
  readonly mistakes: readonly ConfigMistake[];

  constructor(mistakes: readonly ConfigMistake[]) {
    super(mistakes[0]?.message ?? "Not YAML");
    this.mistakes = mistakes;
  }
}

/**
 * Reads one YAML 1.2 document (core schema). Takes neither anchors, aliases, tags nor directives: a
 * configuration does not need them, and they are how YAML is attacked. Throws a `YamlError`.
 */
export function parseYaml(bytes: Uint8Array): YamlFile {
  const text = decode(bytes);
  const lines = lineCounter(text);
  const forbidden = FORBIDDEN.exec(text);
  if (forbidden !== null) {
    const code = forbidden[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
    throw new YamlError([mistakeOf(lines, forbidden.index, `Control character U+${code}`)]);
  }
  const tokens = tokenize(text, lines);
  const [document] = new Composer({ uniqueKeys: false, stringKeys: true, logLevel: "error" })
    .compose(tokens, true, text.length);
  if (document === undefined || document.errors.length > 0) {
    const errors = document?.errors.slice(0, MAX_MISTAKES) ?? [];
    throw new YamlError(errors.map((error) => syntaxMistake(lines, error)));
  }
  return toFile(document, lines);
}

/** The path in the way it is written in messages: `endpoints[0].headers.X-Tenant`. */
function formatPath(path: Path): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else text += (text === "" ? "" : ".") + keyLabel(part);
  }
  return text;
}

/** A key as messages show it. One that may be a value in the wrong place is not shown. */
export function keyLabel(key: string): string {
  return /^[\w.*-]{1,40}$/.test(key) && !key.includes("whsec_") ? key : "…";
}

function decode(bytes: Uint8Array): string {
  const text = decodeUtf8(bytes, { drop_bom: true });
  if (text !== undefined) return text;
  const prefix = bytes.subarray(0, validUtf8Length(bytes));
  const valid = decodeUtf8(prefix, { cut: true, drop_bom: true }) ?? "";
  throw new YamlError([
    mistakeOf(lineCounter(valid), valid.length, "Invalid UTF-8; save the file as UTF-8"),
  ]);
}

function lineCounter(text: string): LineCounter {
  const lines = new LineCounter();
  lines.addNewLine(0);
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) {
    lines.addNewLine(at + 1);
  }
  return lines;
}

function mistakeOf(
  lines: LineCounter,
  offset: number,
  message: string,
  path: Path = [],
): ConfigMistake {
  const { line, col } = lines.linePos(offset);
  return { line, column: col, path: formatPath(path), message };
}

/** The token tree, made without recursion, and only of what is taken here and in bounds. */
function tokenize(text: string, lines: LineCounter): CST.Token[] {
  const parser = new Parser();
  const tokens: CST.Token[] = [];
  const mistakes: ConfigMistake[] = [];
  const stop = (offset: number, message: string): never => {
    throw new YamlError([...mistakes, mistakeOf(lines, offset, message)]);
  };
  let documents = 0;
  let count = 0;
  let previous = "";
  for (const lexeme of new Lexer().lex(text)) {
    const at = parser.offset;
    const refused = previous === CST.SCALAR ? undefined : REFUSED[CST.tokenType(lexeme) ?? ""];
    if (refused !== undefined) mistakes.push(mistakeOf(lines, at, refused));
    previous = lexeme;
    for (const token of parser.next(lexeme)) {
      tokens.push(token);
      if (token.type === "document" && ++documents > 1) stop(token.offset, SECOND_DOCUMENT);
    }
    count += costOf(lexeme);
    if (parser.stack.length > MAX_STACK) stop(at, "Nested too deeply");
    if (count > MAX_TOKENS || mistakes.length > MAX_MISTAKES) {
      stop(at, "Too much in one file; make endpoints in such numbers through the admin API");
    }
  }
  for (const token of parser.end()) {
    tokens.push(token);
    if (token.type === "document" && ++documents > 1) stop(token.offset, SECOND_DOCUMENT);
  }
  if (mistakes.length > 0) throw new YamlError(mistakes);
  return tokens;
}

// Every escape in double quotes can be a mistake of its own.
function costOf(lexeme: string): number {
  return lexeme.startsWith('"') ? lexeme.split("\\").length : 1;
}

const SECOND_DOCUMENT = "A second document; a configuration is one";

const REFUSED: Readonly<Record<string, string>> = {
  anchor: "Anchors (&) are not taken; write the value out, or in quotes if the & belongs to it",
  alias: "Aliases (*) are not taken; write the value out, or in quotes if the * belongs to it",
  tag: "Tags (!) are not taken; take it out, or write the value in quotes if the ! belongs to it",
  "directive-line": "Directives (%) are not taken; take the line out",
};

// The parser's own words for these quote what they found, which may be a secret.
const REWORDED: Readonly<Record<string, string>> = {
  UNEXPECTED_TOKEN: "Unexpected here; is a quote, bracket or comma missing or too many before it?",
  BAD_DQ_ESCAPE: "Invalid escape; double the backslash or use single quotes",
  BAD_SCALAR_START: "A value beginning with this character must be in quotes",
  NON_STRING_KEY: "A key must be text",
};

function syntaxMistake(lines: LineCounter, error: YAMLParseError): ConfigMistake {
  const message = REWORDED[error.code] ?? error.message;
  return mistakeOf(lines, error.pos[0], message.replace(/\.$/, ""));
}

/** Where a value and its key begin, and the same for what is in it. */
interface Place {
  readonly key: number;
  readonly value: number;
  readonly inside: Map<string | number, Place>;
}

function toFile(document: Document.Parsed, lines: LineCounter): YamlFile {
  const mistakes: ConfigMistake[] = [];
  const root: Place = { key: 0, value: 0, inside: new Map() };
  const data = toData(document.contents, [], root, (offset, message, path) => {
    mistakes.push(mistakeOf(lines, offset, message, path));
  }, (offset) => lines.linePos(offset).line);
  return {
    data,
    mistakes,
    mistakeAt: (path, message, at = "value") =>
      mistakeOf(lines, placeOf(root, path)[at], message, path),
    lineOf: (path) => lines.linePos(placeOf(root, path).value).line,
  };
}

function placeOf(root: Place, path: Path): Place {
  let place = root;
  for (const part of path) {
    const inner = place.inside.get(part);
    if (inner === undefined) return { ...place, key: place.value };
    place = inner;
  }
  return place;
}

type Report = (offset: number, message: string, path: Path) => void;

function toData(
  node: unknown,
  path: Path,
  place: Place,
  report: Report,
  lineOf: (offset: number) => number,
): unknown {
  const enter = (step: string | number, inner: unknown, key: number | undefined): unknown => {
    const value = offsetOf(inner) ?? key ?? place.value;
    const there: Place = { key: key ?? value, value, inside: new Map() };
    place.inside.set(step, there);
    return toData(inner, [...path, step], there, report, lineOf);
  };
  if (isSeq(node)) return node.items.map((item, index) => enter(index, item, undefined));
  if (isMap(node)) {
    const data: Record<string, unknown> = Object.create(null);
    for (const { key, value } of node.items) {
      const name = String(isScalar(key) ? key.value : key);
      const at = offsetOf(key) ?? place.value;
      const before = place.inside.get(name);
      // Deno may have taken __proto__ out of Object.prototype; data is read elsewhere, too.
      if (name === "__proto__" || name in Object.prototype) {
        report(at, "Not a key that can be used; take it out", [...path, name]);
      } else if (before !== undefined) {
        report(at, `Duplicate key, already in line ${lineOf(before.key)}`, [...path, name]);
      } else {
        data[name] = enter(name, value, at);
      }
    }
    return data;
  }
  const value = isScalar(node) ? node.value : null;
  if (typeof value === "number" && !isExact(value)) {
    report(place.value, "A number that cannot be kept exactly; if it is text, quote it", path);
    return isScalar(node) ? node.source : null;
  }
  return value;
}

function isExact(value: number): boolean {
  return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
}

// An empty value has no place of its own: its key's stands for it.
function offsetOf(node: unknown): number | undefined {
  if (isScalar(node)) {
    return node.source === "" && !node.type?.startsWith("QUOTE") ? undefined : node.range?.[0];
  }
  return isMap(node) || isSeq(node) ? node.range?.[0] : undefined;
}
