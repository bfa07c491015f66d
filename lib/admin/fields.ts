import * as v from "valibot";
import { MAX_IDENTIFIER, printable, printableRule } from "../core/identifier.ts";
import { typeMistake } from "../core/json.ts";
import { dayExists } from "../core/time.ts";
import { DURATION, formatDuration, parseDuration } from "../core/units.ts";

/**
 * Pieces of the schemas that requests are validated by. They type the functions of this folder and
 * make the OpenAPI document too, so each has its JSON Schema.
 */

/** The message for a value of another JSON type. */
export function must(expected: string): (issue: v.BaseIssue<unknown>) => string {
  return ({ input }) => typeMistake(expected, input);
}

/** One line of text that PostgreSQL can store: no NUL, no lone surrogate. */
export function text(max: number) {
  // Not maxLength: to valibot, a character beyond U+FFFF is two.
  return v.pipe(
    v.string(must("a string")),
    v.regex(printable(max), `Must have ${printableRule(max)}`),
  );
}

/** Text of one line that can identify something: a business, a subject, a type. */
export const identifier = text(MAX_IDENTIFIER);

/** A whole number in a range. */
export function integer(min: number, max: number) {
  const rule = `Must be an integer from ${min} to ${max}`;
  return v.pipe(
    v.number(must("a number")),
    v.integer(rule),
    v.minValue(min, rule),
    v.maxValue(max, rule),
  );
}

/** True or false. */
export const bool = v.boolean(must("true or false"));

/** An array of that many items. */
export function list<const S extends v.GenericSchema>(item: S, min: number, max: number) {
  return v.pipe(
    v.array(item, must("an array")),
    v.minLength(min, `Must have at least ${min} entry`),
    v.maxLength(max, `Must have at most ${max} entries`),
  );
}

/** One of these names. */
export function oneOf<const T extends readonly string[]>(names: T) {
  return v.picklist(names, `Must be ${names.join(", ")}`);
}

/** A time in a request: ISO 8601 with its zone. Comes out in UTC, with milliseconds. */
export const moment = v.pipe(
  v.string(must("a string")),
  v.isoTimestamp("Must be a time like 2026-11-24T10:00:00Z"),
  v.check(
    // Date.parse reads 30 February as 2 March.
    (value) => Date.parse(value) >= 0 && dayExists(value),
    "Must be a time that exists, from 1970 on",
  ),
  v.transform((value) => new Date(value).toISOString()),
  v.string(),
  v.isoTimestamp(),
);

/** `500ms`, `30s`, `15m`, `6h`, `30d`. Comes out in milliseconds. */
export function duration(min_ms: number, max_ms: number) {
  return v.pipe(
    v.string(must("a string")),
    v.regex(DURATION, "Must be a duration with its unit, such as 30s, 15m or 24h"),
    v.check((value) => {
      // The pipe continues after the rule above has refused.
      if (!DURATION.test(value)) return true;
      const read = parseDuration(value);
      return read >= min_ms && read <= max_ms;
    }, `Must be from ${formatDuration(min_ms)} to ${formatDuration(max_ms)}`),
    v.transform((value): number => parseDuration(value)),
  );
}

/** A rate: `50/s`, `300/m`, `1000/h`. */
export const rate = v.pipe(
  v.string(must("a string")),
  v.regex(/^[1-9]\d{0,5}\/[smh]$/, "Must be a rate, such as 50/s, 300/m or 1000/h"),
);

/** Adds a description, which the OpenAPI document shows. */
export function described<const S extends v.GenericSchema>(schema: S, description: string) {
  return v.pipe(schema, v.description(description));
}
