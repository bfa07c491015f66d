import { Composer, CST, type Document, isMap, isScalar, isSeq, Lexer, LineCounter } from "yaml";
import { Parser, type YAMLParseError } from "yaml";
import { hideSecrets, looksSecret } from "../core/secret.ts";
import { decodeUtf8, validUtf8Length } from "../core/utf8.ts";
import { type ConfigMistake, MAX_MISTAKES } from "./error.ts";

/** Largest configuration file, in bytes. */
export const MAX_BYTES = 1024 * 1024;

// The parsers' work for one token is bounded, so bounding tokens bounds their time: about a tenth of a
// second, or 1,400 endpoints.
const MAX_TOKENS = 100_000;

// The configuration nests four levels deep, which is twelve entries on the parser's stack. The
// composer recurses, and some thousands exhaust the call stack.
const MAX_STACK = 40;

// Control characters other than tab, newline and next line (YAML 1.2, 5.1), and carriage returns within
// a line, which editors and the parser count differently.
// deno-lint-ignore no-control-regex
const FORBIDDEN = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]|\r(?!\n)/;

/** Keys and indexes from the root to a value. */
export type Path = readonly (string | number)[];

/** The part of an entry that a mistake is about. */
export type At = "key" | "hidden key" | "value";

/** A YAML file as plain data, with the places of its values. */
export interface YamlFile {
  /** Mappings have no prototype, and no keys of `Object.prototype`. */
  readonly data: unknown;
  /** Mistakes in a file that could be read: duplicate keys, inexact numbers. */
  readonly mistakes: readonly ConfigMistake[];
  /**
   * A mistake at the value of `path`, or at its key, which "hidden key" does not show. If the value is
   * missing, at the innermost mapping or list that exists.
   */
  mistakeAt(path: Path, message: string, at?: At): ConfigMistake;
  /** Line of the value of `path`. */
  lineOf(path: Path): number;
}

/** The mistakes of a file that is not YAML of the accepted kind. */
export class YamlError extends Error {
  override readonly name = "YamlError";
  readonly mistakes: readonly ConfigMistake[];

  constructor(mistakes: readonly ConfigMistake[]) {
    super(mistakes[0]?.message ?? "Not YAML");
    this.mistakes = mistakes;
  }
}

/**
 * Reads one YAML 1.2 document (core schema). Refuses anchors, aliases, tags and directives, which a
 * configuration does not need and attacks on YAML do. Throws a `YamlError`.
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

/** A path as messages show it: `endpoints[0].headers.X-Tenant`. */
function formatPath(path: Path, isHidden: (path: Path) => boolean): string {
  let text = "";
  for (const [index, part] of path.entries()) {
    if (typeof part === "number") text += `[${part}]`;
    else {
      const label = isHidden(path.slice(0, index + 1)) ? "…" : keyLabel(part);
      text += (text === "" ? "" : ".") + label;
    }
  }
  return text;
}

/** A key as messages show it, or … if it may be a secret in the wrong place. */
export function keyLabel(key: string): string {
  return /^[\w.*-]{1,40}$/.test(key) && !looksSecret(key) ? key : "…";
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
  isHidden: (path: Path) => boolean = () => false,
): ConfigMistake {
  const { line, col } = lines.linePos(offset);
  return {
    line,
    column: col,
    path: formatPath(path, isHidden),
    message: hideSecrets(message),
  };
}

/** The token tree, made without recursion. Stops at tokens that are refused or out of bounds. */
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
      stop(at, "Too much for one file; use the admin API for this many endpoints");
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

const SECOND_DOCUMENT = "Second document; a configuration has only one";

const REFUSED: Readonly<Record<string, string>> = {
  anchor: "Anchors (&) are not supported; repeat the value, or quote it if the & is part of it",
  alias: "Aliases (*) are not supported; repeat the value, or quote it if the * is part of it",
  tag: "Tags (!) are not supported; remove the tag, or quote the value if the ! is part of it",
  "directive-line": "Directives (%) are not supported; remove the line",
};

// The parser's own messages for these quote the file, and so perhaps a secret.
const REWORDED: Readonly<Record<string, string>> = {
  UNEXPECTED_TOKEN:
    "Unexpected here; check for a missing or extra quote, bracket or comma before it",
  BAD_DQ_ESCAPE: "Invalid escape; double the backslash or use single quotes",
  BAD_SCALAR_START: "Quote a value that begins with this character",
  NON_STRING_KEY: "A key must be text",
};

function syntaxMistake(lines: LineCounter, error: YAMLParseError): ConfigMistake {
  const message = REWORDED[error.code] ?? error.message;
  return mistakeOf(lines, error.pos[0], message.replace(/\.$/, ""));
}

/** The offsets of a key and its value, and the places inside of the value. */
interface Place {
  readonly key: number;
  readonly value: number;
  /** A key without a colon, as a value becomes by a comma too many. Messages must not show it. */
  readonly is_bare?: boolean;
  readonly inside: Map<string | number, Place>;
}

function toFile(document: Document.Parsed, lines: LineCounter): YamlFile {
  const mistakes: ConfigMistake[] = [];
  const root: Place = { key: 0, value: 0, inside: new Map() };
  const data = toData(document.contents, [], root, (offset, message, path) => {
    mistakes.push(mistakeOf(lines, offset, message, path, (each) => isBare(root, each)));
  }, (offset) => lines.linePos(offset).line);
  return {
    data,
    mistakes,
    mistakeAt(path, message, at = "value") {
      const hides = (each: Path) =>
        isBare(root, each) || (at === "hidden key" && each.length === path.length);
      const place = placeOf(root, path);
      return mistakeOf(lines, at === "value" ? place.value : place.key, message, path, hides);
    },
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

function isBare(root: Place, path: Path): boolean {
  let place: Place | undefined = root;
  for (const part of path) place = place?.inside.get(part);
  return place?.is_bare === true;
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
    const is_bare = key !== undefined && inner === null;
    const there: Place = { key: key ?? value, value, is_bare, inside: new Map() };
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
      // Deno may have removed __proto__ from Object.prototype; other readers of the data have not.
      if (name === "__proto__" || name in Object.prototype) {
        report(at, "Not a valid key; remove it", [...path, name]);
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
    report(place.value, "Number without an exact value; quote it if it is text", path);
    return isScalar(node) ? node.source : null;
  }
  return value;
}

function isExact(value: number): boolean {
  return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
}

// An empty value has no place of its own and gets its key's.
function offsetOf(node: unknown): number | undefined {
  if (isScalar(node)) {
    return node.source === "" && !node.type?.startsWith("QUOTE") ? undefined : node.range?.[0];
  }
  return isMap(node) || isSeq(node) ? node.range?.[0] : undefined;
}
