import { AppError } from "./errors.ts";

const ENCODER = new TextEncoder();
const borrowed = new Uint8Array(64 * 1024);

/**
 * The text's UTF-8 bytes. Read them at once: the next call overwrites them. A new array for each text
 * costs ten times as much as encoding and feeds the garbage collector.
 */
export function borrowUtf8(text: string): Uint8Array {
  // No character of a JavaScript string takes more than three bytes.
  if (text.length * 3 > borrowed.length) return ENCODER.encode(text);
  return borrowed.subarray(0, ENCODER.encodeInto(text, borrowed).written);
}

const STRICT = { fatal: true, ignoreBOM: true };
const DECODER = new TextDecoder("utf-8", STRICT);

/** How to decode. */
export interface Utf8Options {
  /** The bytes may end within a character, whose part is left out. */
  readonly cut?: boolean;
  /** Leave out a byte order mark. */
  readonly drop_bom?: boolean;
}

/** The text of UTF-8 bytes, or undefined if they are not valid. */
export function decodeUtf8(bytes: Uint8Array, options: Utf8Options = {}): string | undefined {
  const { cut = false, drop_bom = false } = options;
  try {
    // A decoder that streams keeps the part of a character for the next call.
    const text = cut
      ? new TextDecoder("utf-8", STRICT).decode(bytes, { stream: true })
      : DECODER.decode(bytes);
    return drop_bom && text.startsWith("\ufeff") ? text.slice(1) : text;
  } catch {
    return undefined;
  }
}

/** The text of a body in UTF-8. Throws an `AppError` `malformed` with the place of the mistake. */
export function readUtf8(bytes: Uint8Array, options: Utf8Options = {}): string {
  const text = decodeUtf8(bytes, options);
  if (text !== undefined) return text;
  throw new AppError("malformed", `Invalid UTF-8 at byte ${validUtf8Length(bytes)}`);
}

/** The number of bytes before the first one that cannot be UTF-8. */
export function validUtf8Length(bytes: Uint8Array): number {
  // A prefix is valid up to the first wrong byte, which halving therefore finds.
  let good = 0;
  let bad = bytes.length + 1;
  while (bad - good > 1) {
    const middle = (good + bad) >>> 1;
    if (decodeUtf8(bytes.subarray(0, middle), { cut: true }) === undefined) bad = middle;
    else good = middle;
  }
  return good;
}
