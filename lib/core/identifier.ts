// JSON Schema's patterns lack the u flag, so surrogate pairs are spelled out: a lone surrogate, which
// no UTF-8 database column can hold, must not match.
const PRINTABLE_CHARACTER = String
  .raw`(?:[^\x00-\x1f\x7f-\x9f\ud800-\udfff]|[\ud800-\udbff][\udc00-\udfff])`;

/** Text that PostgreSQL can store, on one line: no control characters, no lone surrogates. */
export const PRINTABLE = new RegExp(`^${PRINTABLE_CHARACTER}*$`);

/** Text that can identify something: 1 to 255 printable characters. */
export const IDENTIFIER = new RegExp(`^${PRINTABLE_CHARACTER}{1,255}$`);

/** The rule of `IDENTIFIER` in words. */
export const IDENTIFIER_RULE = "1 to 255 characters, none of them a control character";

/** Separates a request's key from an event's place in the request; no identifier contains it. */
export const KEY_PLACE = "\x1f";

/** Whether a text can identify something: 1 to 255 characters, well formed, none of them control. */
export function isIdentifier(text: string): boolean {
  return IDENTIFIER.test(text);
}
