import { show } from "./units.ts";

// What the sender writes itself, what belongs to one connection (RFC 9110, 7.6.1), and what would
// change how the request is read.
const RESERVED = new Set([
  "accept-encoding",
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "date",
  "expect",
  "host",
  "http2-settings",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "user-agent",
  "via",
]);
const RESERVED_PREFIXES = ["x-bookme-", "webhook-", "proxy-", "sec-"];

const MAX_HEADERS = 50;
const MAX_VALUE_LENGTH = 4096;

/**
 * What is wrong with the headers that an endpoint adds to its requests, by header. `headers` maps
 * names to values of any type. Values are never shown: they may be credentials.
 */
export function headersMistakes(
  headers: Readonly<Record<string, unknown>>,
): readonly { readonly name: string; readonly message: string }[] {
  const names = Object.keys(headers);
  return names.flatMap((name, index) => {
    const twin = names.find((other, at) =>
      at < index && other.toLowerCase() === name.toLowerCase()
    );
    const message = index >= MAX_HEADERS
      ? `Must have at most ${MAX_HEADERS} headers`
      : twin === undefined
      ? nameMistake(name) ?? valueMistake(headers[name])
      : `The same header as ${show(twin)}; names are compared without their case`;
    return message === undefined ? [] : [{ name, message }];
  });
}

/** What is wrong with a header's name (RFC 9110, 5.1), in words, or undefined. */
export function nameMistake(name: string): string | undefined {
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/.test(name)) {
    return "A header's name has 1 to 100 letters, digits or -";
  }
  const lower = name.toLowerCase();
  return RESERVED.has(lower) || RESERVED_PREFIXES.some((prefix) => lower.startsWith(prefix))
    ? "Reserved; the sender writes this header itself or the connection needs it"
    : undefined;
}

function valueMistake(value: unknown): string | undefined {
  if (typeof value !== "string") return "Must be text; write it in quotes";
  if (value.length > MAX_VALUE_LENGTH) return `Must have at most ${MAX_VALUE_LENGTH} characters`;
  if (!/^[\x20-\x7e\t]*$/.test(value)) {
    return "Must have only printable ASCII characters, no line breaks";
  }
  return value !== value.trim() ? "Must not begin or end with a space" : undefined;
}
