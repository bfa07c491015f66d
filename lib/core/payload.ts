import * as v from "valibot";
import { AppError, jsonPointer, type Mistake, shorten } from "./errors.ts";
import type { EventType, EventTypes } from "./event_types.ts";
import { IDENTIFIER_RULE, isIdentifier } from "./identifier.ts";
import { isObject, kindOf, typeMistake } from "./json.ts";
import { elementsOf, isDeeperThan, parseJson } from "./json_text.ts";
import { isDateTime } from "./time.ts";
import { readUtf8 } from "./utf8.ts";

/** Most events in one body (contract, section 4). */
export const MAX_EVENTS = 1000;

/** Deepest nesting of objects and arrays in an event: deeper ones break receivers' JSON parsers. */
const MAX_DEPTH = 1000;

/** Most mistakes that one answer lists. */
export const MAX_MISTAKES = 1000;

/** Longest event, in characters, whose mistakes are all listed: of a longer one, only the first. */
const LISTED_UP_TO = 65_536;

/** The formats of `POST /ingest`: `application/json` and `application/x-ndjson`. */
export type Format = "json" | "ndjson";

/** The events of a body. */
export interface Parsed {
  /** Whether the body was one event, and not an array or lines; the answer has the same form. */
  readonly single: boolean;
  /** At least one, in the order of the body. */
  readonly events: readonly ParsedEvent[];
}

/** One event of a body. */
export interface ParsedEvent {
  /**
   * The event's own text, cut out and never re-serialised: its UTF-8 bytes are those that came, and
   * those that are delivered. The whole of a single body; in an array or lines without the white
   * space around it.
   */
  readonly payload: string;
  readonly type: string;
  /** As posted, an RFC 3339 date-time. */
  readonly timestamp: string;
  /** The event's own `id`, by which a repetition is recognised, or null. */
  readonly key: string | null;
  /** From `data`, else the `business` member, else the header; null if none names one. */
  readonly business: string | null;
  /** Id of the event's appointment, business or service, or null. */
  readonly subject: string | null;
  /**
   * The appointment or service whose business the event sets or inherits, as `appointment:apt_789`; null
   * if it is about neither.
   */
  readonly subject_key: string | null;
  /** The appointment's confirmation number, for search only, or null. */
  readonly confirmation: string | null;
}

/** Context in which the events of a body are read. */
interface Reading {
  readonly types: EventTypes;
  /** Value of the request's `X-BookMe-Business`, or null. */
  readonly business: string | null;
}

/**
 * Reads a body of `POST /ingest`. `business` is the value of its header `X-BookMe-Business`. The last of several members with one name counts, as in
 * `JSON.parse`; the payload keeps them all.
 *
 * Throws an `AppError`: `malformed` with the place of the mistake in UTF-8 or JSON, `invalid` with a
 * pointer for each mistake in an event (in an array or lines it begins with the event's index),
 * `too_large` for more than `MAX_EVENTS`.
 */
export function parseIngest(
  bytes: Uint8Array,
  format: Format,
  types: EventTypes,
  business: string | null = null,
): Parsed {
  const text = readUtf8(bytes);
  if (text.startsWith("\ufeff")) {
    throw new AppError("malformed", "The body begins with a byte order mark; post it without one");
  }
  const reading = { types, business };
  if (format === "ndjson") return parseLines(text, reading);
  const value = parseJson(text);
  return Array.isArray(value)
    ? parseArray(value, text, reading)
    : parseSingle(value, text, reading);
}

function parseSingle(value: unknown, text: string, reading: Reading): Parsed {
  const mistakes: Mistake[] = [];
  const event = readEvent(value, text, "", reading, mistakes);
  if (event === undefined) throw invalid(mistakes);
  return { single: true, events: [event] };
}

function parseArray(values: readonly unknown[], text: string, reading: Reading): Parsed {
  if (values.length > MAX_EVENTS) throw tooMany(`An array of ${values.length} events`);
  return readAll(values, elementsOf(text), reading, "The array has no event");
}

function parseLines(text: string, reading: Reading): Parsed {
  const values: unknown[] = [];
  const texts: string[] = [];
  for (let start = 0, line = 1; start < text.length; line++) {
    const newline = text.indexOf("\n", start);
    const end = newline < 0 ? text.length : newline;
    const content = text.slice(start, end);
    start = end + 1;
    if (/^[ \t\r]*$/.test(content)) continue;
    if (values.length === MAX_EVENTS) throw tooMany(`A body of more than ${MAX_EVENTS} lines`);
    values.push(parseJson(content, line));
    texts.push(content.trim());
  }
  return readAll(values, texts, reading, "The body has no line");
}

function readAll(
  values: readonly unknown[],
  texts: readonly string[],
  reading: Reading,
  none: string,
): Parsed {
  if (values.length === 0) throw invalid([{ pointer: "", message: `${none}; post at least one` }]);
  const mistakes: Mistake[] = [];
  const events: ParsedEvent[] = [];
  for (const [index, value] of values.entries()) {
    const event = readEvent(value, texts[index] ?? "", `/${index}`, reading, mistakes);
    if (event !== undefined) events.push(event);
    if (mistakes.length >= MAX_MISTAKES) break;
  }
  if (mistakes.length > 0) throw invalid(mistakes);
  return { single: false, events };
}

/** The event, or undefined after adding its mistakes to `mistakes`. */
function readEvent(
  value: unknown,
  payload: string,
  at: string,
  { types, business }: Reading,
  mistakes: Mistake[],
): ParsedEvent | undefined {
  const before = mistakes.length;
  const mistake = (pointer: string, message: string) =>
    void mistakes.push({ pointer: at + pointer, message });
  if (!isObject(value)) {
    mistake("", `Must be an object {event, timestamp, data}, not ${kindOf(value)}`);
    return undefined;
  }
  if (isDeeperThan(MAX_DEPTH, payload)) {
    mistake("", `Is nested too deeply: at most ${MAX_DEPTH} levels of objects and arrays`);
    return undefined;
  }
  const type = readType(value.event, types, mistake);
  const timestamp = readTimestamp(value.timestamp, mistake);
  const key = readIdentifier(value.id, "/id", mistake);
  const named = readIdentifier(value.business, "/business", mistake);
  if (!isObject(value.data)) mistake("/data", typeMistake("an object", value.data));
  else if (type !== undefined) checkData(type, value.data, payload.length, mistake);
  if (mistakes.length > before || type === undefined) return undefined;
  const found = identify(type, value.data);
  checkBusinesses(type, [found.business, named, business], mistake);
  if (mistakes.length > before) return undefined;
  return {
    payload,
    type: type.name,
    timestamp,
    key,
    ...found,
    business: found.business ?? named ?? business,
  };
}

type Report = (pointer: string, message: string) => void;

function readType(value: unknown, types: EventTypes, mistake: Report): EventType | undefined {
  if (typeof value !== "string") {
    mistake("/event", typeMistake("a string", value));
    return undefined;
  }
  const type = types.get(value);
  if (type === undefined) {
    const name = JSON.stringify(shorten(value, 64));
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
      : typeMistake("a string", value),
  );
  return "";
}

function readIdentifier(value: unknown, pointer: string, mistake: Report): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === "string" && isIdentifier(value)) return value;
  mistake(
    pointer,
    typeof value === "string" ? `Must have ${IDENTIFIER_RULE}` : typeMistake("a string", value),
  );
  return null;
}

function checkData(type: EventType, data: unknown, length: number, mistake: Report): void {
  // Otherwise half a million wrong items in one array become as many objects.
  const result = v.safeParse(type.schema, data, { abortEarly: length > LISTED_UP_TO });
  for (const issue of result.issues ?? []) {
    const path = (issue.path ?? []).map(({ key }) => key);
    mistake(jsonPointer(["data", ...path]), issue.message);
  }
  for (const found of type.check?.(data) ?? []) mistake(`/data${found.pointer}`, found.message);
}

const BUSINESS_AT = {
  appointment: "/data/appointment/business/id",
  business: "/data/business/id",
  service: "/data/service/businessId",
};

/** Refuses an event if `data`, `business` member and header name different businesses. */
function checkBusinesses(
  { subject }: EventType,
  [inner, member, header]: readonly [string | null, string | null, string | null],
  mistake: Report,
): void {
  const place = subject === null ? "" : BUSINESS_AT[subject];
  if (inner !== null && member !== null && inner !== member) {
    mistake("/business", `Must be the business of ${place}, or be left out`);
  }
  const named = inner ?? member;
  if (header !== null && named !== null && named !== header) {
    mistake(
      inner === null ? "/business" : place,
      "Must be the business of the header X-BookMe-Business; post other businesses' events without it",
    );
  }
}

/** The identifiers in valid data, at the documentation's places. */
function identify(
  type: EventType,
  data: unknown,
): Pick<ParsedEvent, "business" | "subject" | "subject_key" | "confirmation"> {
  const subject = type.subject === null ? undefined : member(data, type.subject);
  const id = textOrNull(member(subject, "id"));
  switch (type.subject) {
    case "appointment": {
      const number = textOrNull(member(subject, "confirmationNumber"));
      return {
        business: textOrNull(member(member(subject, "business"), "id")),
        subject: id,
        subject_key: id === null ? null : `appointment:${id}`,
        confirmation: number !== null && isIdentifier(number) ? number : null,
      };
    }
    case "business":
      return { business: id, subject: id, subject_key: null, confirmation: null };
    case "service":
      return {
        business: textOrNull(member(subject, "businessId")),
        subject: id,
        subject_key: id === null ? null : `service:${id}`,
        confirmation: null,
      };
    case null:
      return { business: null, subject: null, subject_key: null, confirmation: null };
  }
}

function member(value: unknown, name: string): unknown {
  return isObject(value) ? value[name] : undefined;
}

function textOrNull(value: unknown): string | null {
  return typeof value === "string" ? value : null;
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
  return new AppError("too_large", `${what} is too large; post at most ${MAX_EVENTS} at once`);
}
