import * as v from "valibot";
import { AppError, type Mistake } from "./errors.ts";
import {
  type EventType,
  type EventTypes,
  IDENTIFIER_RULE,
  isIdentifier,
  isObject,
  kindOf,
} from "./event_types.ts";

/** Most events in one body (contract, section 4). */
export const MAX_EVENTS = 1000;

/** Deepest nesting of objects and arrays in an event: deeper ones break receivers' JSON parsers. */
export const MAX_DEPTH = 1000;

/** Most mistakes that one answer lists. */
export const MAX_MISTAKES = 1000;

/** Longest event, in characters, of which every mistake is listed: of a longer one, the first. */
const LISTED_UP_TO = 65_536;

/** Longest `timestamp`, in characters. */
const MAX_TIMESTAMP = 64;

/** What `POST /ingest` takes: `application/json` or `application/x-ndjson`. */
export type Format = "json" | "ndjson";

/** A body, read. */
export interface Parsed {
  /** Whether the body was one event, and not an array or lines: then so is the answer. */
  readonly single: boolean;
  /** At least one, in the order of the body. */
  readonly events: readonly ParsedEvent[];
}

/** One event of a body. */
export interface ParsedEvent {
  /**
   * The event's own text, cut out and never re-serialised: its UTF-8 is what came and what is
   * delivered. A single body's is all of it; elsewhere without the white space around it.
   */
  readonly payload: string;
  readonly type: string;
  /** As posted, an RFC 3339 date-time. */
  readonly timestamp: string;
  /** The body's own `id`, which makes a repetition known, or null. */
  readonly key: string | null;
  readonly business: string | null;
  /** Id of the appointment, business or service that the event is about, or null. */
  readonly subject: string | null;
  /** The appointment's confirmation number, for search only, or null. */
  readonly confirmation: string | null;
}

/**
 * Reads what was posted to `/ingest`. Of a member that is there twice, the last one counts, as in
 * `JSON.parse`; the payload keeps both.
 *
 * Throws an `AppError`: `malformed` with the place of the mistake where it is no UTF-8 or no JSON,
 * `invalid` with a pointer per mistake where it is no event (the pointer of an array's element or
 * of a line begins with its index), `too_large` for more than `MAX_EVENTS`.
 */
export function parseIngest(bytes: Uint8Array, format: Format, types: EventTypes): Parsed {
  const text = decode(bytes);
  if (format === "ndjson") return parseLines(text, types);
  const value = parseJson(text, 0);
  return Array.isArray(value) ? parseArray(value, text, types) : parseSingle(value, text, types);
}

function parseSingle(value: unknown, text: string, types: EventTypes): Parsed {
  const mistakes: Mistake[] = [];
  const event = readEvent(value, text, "", types, mistakes);
  if (event === undefined) throw invalid(mistakes);
  return { single: true, events: [event] };
}

function parseArray(values: readonly unknown[], text: string, types: EventTypes): Parsed {
  if (values.length > MAX_EVENTS) throw tooMany(`An array of ${values.length} events`);
  return readAll(values, elementsOf(text), types, "The array has no event");
}

function parseLines(text: string, types: EventTypes): Parsed {
  const values: unknown[] = [];
  const texts: string[] = [];
  for (let start = 0, line = 0; start < text.length; line++) {
    const newline = text.indexOf("\n", start);
    const end = newline < 0 ? text.length : newline;
    const content = text.slice(start, end);
    start = end + 1;
    if (/^[ \t\r]*$/.test(content)) continue;
    if (values.length === MAX_EVENTS) throw tooMany(`A body of more than ${MAX_EVENTS} lines`);
    values.push(parseJson(content, line));
    texts.push(content.trim());
  }
  return readAll(values, texts, types, "The body has no line");
}

function readAll(
  values: readonly unknown[],
  texts: readonly string[],
  types: EventTypes,
  none: string,
): Parsed {
  if (values.length === 0) throw invalid([{ pointer: "", message: `${none}; post at least one` }]);
  const mistakes: Mistake[] = [];
  const events: ParsedEvent[] = [];
  for (const [index, value] of values.entries()) {
    const event = readEvent(value, texts[index] ?? "", `/${index}`, types, mistakes);
    if (event !== undefined) events.push(event);
    if (mistakes.length >= MAX_MISTAKES) break;
  }
  if (mistakes.length > 0) throw invalid(mistakes);
  return { single: false, events };
}

/** The event, or undefined after adding what is wrong with it to `mistakes`. */
function readEvent(
  value: unknown,
  payload: string,
  at: string,
  types: EventTypes,
  mistakes: Mistake[],
): ParsedEvent | undefined {
  const before = mistakes.length;
  const mistake = (pointer: string, message: string) =>
    void mistakes.push({ pointer: at + pointer, message });
  if (!isObject(value)) {
    mistake("", `Must be an object {event, timestamp, data}, not ${kindOf(value)}`);
    return undefined;
  }
  // Anything as deep as that is at least twice as long.
  if (payload.length > 2 * MAX_DEPTH && isTooDeep(payload)) {
    mistake("", `Is nested too deeply: at most ${MAX_DEPTH} objects and arrays in one another`);
    return undefined;
  }
  const type = readType(value.event, types, mistake);
  const timestamp = readTimestamp(value.timestamp, mistake);
  const key = readIdentifier(value.id, "/id", mistake);
  const named = readIdentifier(value.business, "/business", mistake);
  if (!isObject(value.data)) mistake("/data", mustBe("an object", value.data));
  else if (type !== undefined) checkData(type, value.data, payload.length, mistake);
  if (mistakes.length > before || type === undefined) return undefined;
  const found = identify(type, value.data);
  return { payload, type: type.name, timestamp, key, ...found, business: found.business ?? named };
}

type Report = (pointer: string, message: string) => void;

function readType(value: unknown, types: EventTypes, mistake: Report): EventType | undefined {
  if (typeof value !== "string") {
    mistake("/event", mustBe("a string", value));
    return undefined;
  }
  const type = types.get(value);
  if (type === undefined) {
    const name = JSON.stringify(value.length > 64 ? `${value.slice(0, 64)}…` : value);
    mistake("/event", `Unknown event type ${name}; known are ${types.names.join(", ")}`);
  }
  return type;
}

function readTimestamp(value: unknown, mistake: Report): string {
  if (typeof value === "string" && isDateTime(value)) return value;
  mistake(
    "/timestamp",
    typeof value === "string"
      ? "Must be an RFC 3339 date-time such as 2025-10-31T15:30:00Z"
      : mustBe("a string", value),
  );
  return "";
}

function readIdentifier(value: unknown, pointer: string, mistake: Report): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === "string" && isIdentifier(value)) return value;
  mistake(
    pointer,
    typeof value === "string" ? `Must have ${IDENTIFIER_RULE}` : mustBe("a string", value),
  );
  return null;
}

function checkData(type: EventType, data: unknown, length: number, mistake: Report): void {
  // Half a million wrong items in one array would otherwise become as many objects.
  const result = v.safeParse(type.schema, data, { abortEarly: length > LISTED_UP_TO });
  for (const issue of result.issues ?? []) {
    // Only documented names and indices are in there: nothing that a pointer must escape.
    const path = (issue.path ?? []).map((item) => `/${item.key}`).join("");
    mistake(`/data${path}`, issue.message);
  }
  for (const found of type.check?.(data) ?? []) mistake(`/data${found.pointer}`, found.message);
}

/** What of valid data is known outside of it. Where each stands is the documentation's. */
function identify(
  type: EventType,
  data: unknown,
): Pick<ParsedEvent, "business" | "subject" | "confirmation"> {
  const subject = type.subject === null ? undefined : member(data, type.subject);
  const id = textOrNull(member(subject, "id"));
  switch (type.subject) {
    case "appointment": {
      const number = textOrNull(member(subject, "confirmationNumber"));
      return {
        business: textOrNull(member(member(subject, "business"), "id")),
        subject: id,
        confirmation: number !== null && isIdentifier(number) ? number : null,
      };
    }
    case "business":
      return { business: id, subject: id, confirmation: null };
    case "service":
      return {
        business: textOrNull(member(subject, "businessId")),
        subject: id,
        confirmation: null,
      };
    case null:
      return { business: null, subject: null, confirmation: null };
  }
}

function member(value: unknown, name: string): unknown {
  return isObject(value) ? value[name] : undefined;
}

function textOrNull(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

function mustBe(expected: string, value: unknown): string {
  return value === undefined ? "Is missing" : `Must be ${expected}, not ${kindOf(value)}`;
}

function invalid(mistakes: readonly Mistake[]): AppError {
  const [first] = mistakes;
  const place = first === undefined || first.pointer === "" ? "" : ` at ${first.pointer}`;
  const more = mistakes.length > 1 ? ` (and ${mistakes.length - 1} more)` : "";
  return new AppError("invalid", `Invalid payload${place}: ${first?.message}${more}`, {
    errors: mistakes.slice(0, MAX_MISTAKES),
  });
}

function tooMany(what: string): AppError {
  return new AppError("too_large", `${what} is too large; post at most ${MAX_EVENTS} at a time`);
}

const DATE_TIME =
  /^(?!0000)(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/i;

/** Whether a text is an RFC 3339 date-time of a day that exists. PostgreSQL has no year 0000. */
function isDateTime(text: string): boolean {
  if (text.length > MAX_TIMESTAMP) return false;
  const match = DATE_TIME.exec(text);
  if (match === null) return false;
  const day = Number(match[3]);
  // Years before 100 mean 19xx to Date; the calendar repeats every 400 years.
  return day <= 28 ||
    day <= new Date(Date.UTC(2000 + Number(match[1]) % 400, Number(match[2]), 0)).getUTCDate();
}

const UTF8 = { fatal: true, ignoreBOM: true };
const DECODER = new TextDecoder("utf-8", UTF8);

function decode(bytes: Uint8Array): string {
  let text;
  try {
    text = DECODER.decode(bytes);
  } catch {
    throw new AppError("malformed", `Invalid UTF-8 at byte ${validBytes(bytes)}`);
  }
  if (!text.startsWith("\ufeff")) return text;
  throw new AppError("malformed", "The body begins with a byte order mark; post it without one");
}

/** How many bytes come before the first one that cannot be UTF-8. */
function validBytes(bytes: Uint8Array): number {
  let good = 0;
  let bad = bytes.length + 1;
  while (bad - good > 1) {
    const middle = (good + bad) >>> 1;
    try {
      new TextDecoder("utf-8", UTF8).decode(bytes.subarray(0, middle), { stream: true });
      good = middle;
    } catch {
      bad = middle;
    }
  }
  return good;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;

/** The texts of a JSON array's elements. `text` has been parsed, so brackets match. */
function elementsOf(text: string): string[] {
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
      elements.push(text.slice(start, at).trim());
      start = at + 1;
    }
  }
  return elements;
}

function isTooDeep(text: string): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === QUOTE) at = closingQuote(text, at);
    else if (isClosing(char)) depth--;
    else if (isOpening(char) && ++depth > MAX_DEPTH) return true;
  }
  return false;
}

function isOpening(char: number): boolean {
  return char === 0x7b || char === 0x5b;
}

function isClosing(char: number): boolean {
  return char === 0x7d || char === 0x5d;
}

/** Where the string that opens at `at` closes. `text` has been parsed, so it does. */
function closingQuote(text: string, at: number): number {
  for (;;) {
    at = text.indexOf('"', at + 1);
    let backslashes = 0;
    while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return at;
  }
}

/** `JSON.parse` of a text that begins on that line (from 0) of the body. */
function parseJson(text: string, line: number): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const { at, wanted } = faultOf(text);
    const before = text.slice(0, at).split("\n");
    const place = `line ${line + before.length}, column ${(before.at(-1) ?? "").length + 1}`;
    throw new AppError("malformed", `Malformed JSON at ${place}: ${wanted}`);
  }
}

/** The first mistake in a JSON text: its offset, and what should be there. */
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

/**
 * Finds the mistake in a text that `JSON.parse` refused: its own messages give no dependable place.
 * Keeps a stack of its own, so nesting cannot exhaust the program's.
 */
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

/** The end of the string that opens at `at`, or what is wrong in it. */
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

/** The end of what a sticky pattern matches at `at`; `at` where it does not match. */
function match(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}
