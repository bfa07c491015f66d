/**
 * Whole columns as one parameter each: a statement of the engine writes hundreds of rows.
 *
 * Numbers, booleans and UUIDs become array literals. Texts are joined by U+001E (record separator) for
 * `string_to_array(…, chr(30), '')`, which needs no escaping and so costs a third. JSON text cannot hold
 * that character; `foreignTexts` replaces it in anything else. An empty text becomes null.
 *
 * A column of nothing but nulls is an empty array: next to a full one, `unnest` adds them for free.
 */

const SEPARATOR = "\x1e";

/** Literal of an array of numbers, booleans, plain texts, and nulls. */
export function literal(values: readonly (number | boolean | string | null)[]): string {
  return isBlank(values) ? "{}" : `{${JSON.stringify(values).slice(1, -1)}}`;
}

/** Literal of an array of UUIDs. Without quotes, which cost as much to read as a quarter of a UUID. */
export function uuidLiteral(values: readonly string[]): string {
  return `{${values.join(",")}}`;
}

/** Texts without control characters, and nulls. */
export function texts(values: readonly (string | null)[]): string {
  return isBlank(values) ? "" : values.join(SEPARATOR);
}

/** Texts of unknown origin: NUL, which PostgreSQL refuses, and the separator become U+FFFD. */
export function foreignTexts(values: readonly (string | null)[]): string {
  // deno-lint-ignore no-control-regex
  return texts(values.map((value) => value?.replace(/[\x00\x1e]/g, "\ufffd") ?? null));
}

function isBlank(values: readonly unknown[]): boolean {
  return values.every((value) => value === null);
}
