// JSON Schema's patterns lack the u flag, so surrogate pairs are spelled out: a lone surrogate, which
// no UTF-8 database column can hold, must not match.
const PRINTABLE_CHARACTER = String
  .raw`(?:[^\x00-\x1f\x7f-\x9f\ud800-\udfff]|[\ud800-\udbff][\udc00-\udfff])`;

/**
 * Text of 1 to `max` characters that PostgreSQL can store, on one line: no control characters, no lone
 * surrogates. A character is a code point, everywhere in the program.
 */
export function printable(max: number): RegExp {
  return new RegExp(`^${PRINTABLE_CHARACTER}{1,${max}}$`);
}

/** The rule of `printable(max)` in words. */
export function printableRule(max: number): string {
  return `1 to ${max} characters, none of them a control character`;
}

/** Most characters of an identifier. */
export const MAX_IDENTIFIER = 255;

/** Text that can identify something. */
export const IDENTIFIER = printable(MAX_IDENTIFIER);

/** The rule of `IDENTIFIER` in words. */
export const IDENTIFIER_RULE = printableRule(MAX_IDENTIFIER);

/** Separates a request's key from an event's place in the request; no identifier contains it. */
export const KEY_PLACE = "\x1f";

/** Whether a text can identify something: 1 to 255 characters, well formed, none of them control. */
export function isIdentifier(text: string): boolean {
  return IDENTIFIER.test(text);
}
