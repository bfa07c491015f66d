/**
 * JSON as text: the place of a mistake, the texts of an array's elements, the depth of nesting.
 * Every scan is linear and keeps its own stack, so no text can exhaust the program's.
 */

import { AppError } from "./errors.ts";

/**
 * `JSON.parse`. Throws an `AppError` `malformed` with line and column of the mistake, never with a
 * piece of the text: it may be a secret. `first_line` is the line that the text begins on.
 */
export function parseJson(text: string, first_line = 1): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const { at, wanted } = faultOf(text);
    const before = text.slice(0, at).split("\n");
    const line = first_line + before.length - 1;
    const column = (before.at(-1) ?? "").length + 1;
    throw new AppError("malformed", `Malformed JSON at line ${line}, column ${column}: ${wanted}`);
  }
}

/**
 * The texts of a JSON array's elements, without the white space around them. `text` must be valid
 * JSON: its brackets match.
 */
export function elementsOf(text: string): string[] {
  const elements: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === QUOTE) {
      at = closingQuote(text, at);
    } else if (isOpening(char)) {
      if (++depth === 1) start = at + 1;
    } else if (isClosing(char) ? --depth === 0 : char === COMMA && depth === 1) {
      const element = text.slice(start, at).trim();
      // Only an empty array has an empty element.
      if (element !== "") elements.push(element);
      start = at + 1;
    }
  }
  return elements;
}

/** Whether more than `max` objects and arrays are nested in one another. `text` must be valid JSON. */
export function isDeeperThan(max: number, text: string): boolean {
  // Every level takes two characters at least.
  if (text.length <= 2 * max) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === QUOTE) at = closingQuote(text, at);
    else if (isClosing(char)) depth--;
    else if (isOpening(char) && ++depth > max) return true;
  }
  return false;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;

function isOpening(char: number): boolean {
  return char === 0x7b || char === 0x5b;
}

function isClosing(char: number): boolean {
  return char === 0x7d || char === 0x5d;
}

/** The place where the string that opens at `at` closes. */
function closingQuote(text: string, at: number): number {
  for (;;) {
    at = text.indexOf('"', at + 1);
    let backslashes = 0;
    while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return at;
  }
}

/** The first mistake in a JSON text: its offset, and what is expected there. */
interface Fault {
  readonly at: number;
  readonly wanted: string;
}

const WANTED = {
  value: "expected a value",
  item: "expected a value or ]",
  key: "expected a member name in double quotes",
  member: "expected a member name in double quotes or }",
  colon: "expected a colon",
  next: "expected a comma or the closing bracket",
  end: "expected nothing more",
} as const;

// Finds the mistake in a text that `JSON.parse` refused: its messages give no dependable place.
function faultOf(text: string): Fault {
  const closers: string[] = [];
  let want: keyof typeof WANTED = "value";
  let at = match(SPACE, text, 0);
  while (at < text.length) {
    const char = text.charAt(at);
    const within = closers.at(-1);
    let end = at + 1;
    if (char === within && (want === "next" || want === "item" || want === "member")) {
      closers.pop();
      want = closers.length === 0 ? "end" : "next";
    } else if (want === "next" && char === ",") {
      want = within === "}" ? "key" : "value";
    } else if (want === "colon" && char === ":") {
      want = "value";
    } else if ((want === "value" || want === "item") && (char === "{" || char === "[")) {
      closers.push(char === "{" ? "}" : "]");
      want = char === "{" ? "member" : "item";
    } else if (want === "colon" || want === "next" || want === "end") {
      return { at, wanted: WANTED[want] };
    } else {
      const isKey: boolean = want === "key" || want === "member";
      if (char === '"') {
        const fault = stringFault(text, at);
        if (typeof fault !== "number") return fault;
        end = fault;
      } else {
        end = isKey ? at : match(SCALAR, text, at);
      }
      if (end === at) return { at, wanted: WANTED[want] };
      want = isKey ? "colon" : closers.length === 0 ? "end" : "next";
    }
    at = match(SPACE, text, end);
  }
  return { at, wanted: `the text ends; ${WANTED[want]}` };
}

const SPACE = /[ \t\n\r]*/y;
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
// deno-lint-ignore no-control-regex
const PLAIN = /[^"\\\x00-\x1f]*/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/** The end of the string that opens at `at`, or its mistake. */
function stringFault(text: string, at: number): number | Fault {
  at++;
  for (;;) {
    at = match(PLAIN, text, at);
    if (at === text.length) return { at, wanted: "the text ends within a string" };
    if (text.charAt(at) === '"') return at + 1;
    const end = match(ESCAPE, text, at);
    if (end === at) {
      const isEscape = text.charAt(at) === "\\";
      return { at, wanted: isEscape ? "no such escape" : "a control character must be escaped" };
    }
    at = end;
  }
}

/** The end of the match of a sticky pattern at `at`; `at` without a match. */
function match(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}
