/**
 * The rules of an endpoint, however it is set up: by the configuration file or through the admin API.
 * Mistakes are sentences with their remedy and never contain a secret.
 */

import { listed, show } from "./errors.ts";
import { EVENT_NAME } from "./event_types.ts";
import { matchesType } from "./matching.ts";

const DAY_MS = 86_400_000;

/** Limits of an endpoint's settings. */
export const LIMITS = {
  timeout_ms: { min: 100, max: 300_000 },
  /** Each wait before an attempt; the number of waits is the number of attempts. */
  retry_ms: { min: 0, max: 30 * DAY_MS, entries: 20 },
  concurrency: { min: 1, max: 4096 },
  /** Attempts begun in a second. */
  rate_per_s: { max: 100_000 },
  patterns: 200,
  businesses: 10_000,
  /** Characters. */
  description: 500,
  headers: 50,
  /** Characters. */
  header_value: 4096,
  /** Characters of a PEM text that comes through the API. */
  pem: 65_536,
} as const;

/** The mistake of an endpoint that has both a secret and `unsigned: true`. */
export const SIGNED_AND_UNSIGNED = "Must have either a secret or unsigned: true, not both";

/** A mistake in one entry of a list. */
export interface EntryMistake {
  readonly index: number;
  readonly message: string;
}

/** The mistake in an entry of `events`, or undefined. `types` are the names of the known types. */
export function patternMistake(pattern: string, types: readonly string[]): string | undefined {
  const isPattern = pattern === "*" || EVENT_NAME.test(pattern) ||
    (pattern.endsWith(".*") && EVENT_NAME.test(pattern.slice(0, -1) + "x"));
  if (!isPattern) {
    return `Must be an event type, a pattern such as booking.*, or *, not ${show(pattern)}`;
  }
  return types.some((type) => matchesType([pattern], type))
    ? undefined
    : `No event type matches ${show(pattern)}; known types are ${listed(types)}`;
}

/**
 * Entries of `events` that select nothing that another entry does not select. Only the first
 * `LIMITS.patterns` are compared; anything but text is skipped.
 */
export function overlaps(patterns: readonly unknown[]): readonly EntryMistake[] {
  const texts = textsOf(patterns.slice(0, LIMITS.patterns));
  return texts.flatMap(({ index, text }) => {
    const other = texts.find((wider) =>
      wider.text === text ? wider.index < index : matchesType([wider.text], text)
    );
    if (other === undefined) return [];
    const message = other.text === text
      ? `${show(text)} is listed twice`
      : `${show(text)} is selected by ${show(other.text)} already; remove one of them`;
    return [{ index, message }];
  });
}

/** Entries that are in a list already. Anything but text is skipped. */
export function repetitions(values: readonly unknown[]): readonly EntryMistake[] {
  const seen = new Set<string>();
  return textsOf(values).flatMap(({ index, text }) => {
    if (seen.has(text)) return [{ index, message: `${show(text)} is listed twice` }];
    seen.add(text);
    return [];
  });
}

function textsOf(values: readonly unknown[]): { index: number; text: string }[] {
  return values.flatMap((text, index) => typeof text === "string" ? [{ index, text }] : []);
}

// Headers that the sender writes itself, that belong to one connection (RFC 9110, 7.6.1), or that
// change how the request is read.
const RESERVED_HEADERS = new Set([
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
  "traceparent",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "user-agent",
  "via",
]);
const RESERVED_PREFIXES = ["x-bookme-", "webhook-", "proxy-", "sec-"];

/**
 * Mistakes in the headers that an endpoint adds to its requests, by header. `headers` maps names to
 * values of any type. Values are never shown: they may be credentials.
 */
export function headerMistakes(
  headers: Readonly<Record<string, unknown>>,
): readonly { readonly name: string; readonly message: string }[] {
  const names = Object.keys(headers);
  return names.flatMap((name, index) => {
    const twin = names.find((other, at) =>
      at < index && other.toLowerCase() === name.toLowerCase()
    );
    const message = index >= LIMITS.headers
      ? `Must have at most ${LIMITS.headers} headers`
      : twin === undefined
      ? nameMistake(name) ?? valueMistake(headers[name])
      : `Same header as ${show(twin)}; upper and lower case do not differ`;
    return message === undefined ? [] : [{ name, message }];
  });
}

// RFC 9110, 5.1.
function nameMistake(name: string): string | undefined {
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/.test(name)) {
    return "A header's name must have 1 to 100 letters, digits or -";
  }
  const lower = name.toLowerCase();
  return RESERVED_HEADERS.has(lower) || RESERVED_PREFIXES.some((prefix) => lower.startsWith(prefix))
    ? "Reserved for the sender or the connection"
    : undefined;
}

function valueMistake(value: unknown): string | undefined {
  if (typeof value !== "string") return "Must be text; write it in quotes";
  if (value.length > LIMITS.header_value) {
    return `Must have at most ${LIMITS.header_value} characters`;
  }
  if (!/^[\x20-\x7e\t]*$/.test(value)) {
    return "Must have only printable ASCII characters, no line breaks";
  }
  return value !== value.trim() ? "Must not begin or end with a space" : undefined;
}
