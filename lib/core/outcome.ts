/** Why an attempt did not deliver (contract, section 6). */
export const REASONS = [
  "http_4xx",
  "http_5xx",
  "redirect",
  "timeout",
  "dns",
  "tls",
  "connection",
  "protocol",
  "blocked",
  "gone",
  "interrupted",
] as const;

/** Every outcome. Only ever added to at the end: the database has places in it, for seconds. */
export const OUTCOMES = ["delivered", ...REASONS] as const;

/** Why an attempt failed. */
export type Reason = typeof REASONS[number];

/**
 * Where the time of an attempt went, in milliseconds; null for a phase that it did not reach or need. A
 * phase in which the attempt failed has the time until then.
 */
export interface Phases {
  /** Until the name was resolved. */
  readonly dns_ms: number | null;
  /** Until one of the addresses accepted the connection: those tried before it are included. */
  readonly connect_ms: number | null;
  /** The TLS handshake. */
  readonly tls_ms: number | null;
  /** From the moment that the request was handed to the system to the end of the response's head. */
  readonly waiting_ms: number | null;
  /** Whether the connection had carried an earlier request; null if none was tried. */
  readonly reused: boolean | null;
}

/** The phases of an attempt that never reported back. */
export const NO_PHASES: Phases = {
  dns_ms: null,
  connect_ms: null,
  tls_ms: null,
  waiting_ms: null,
  reused: null,
};

/** The outcome of an attempt: data, never thrown. */
export interface Outcome {
  readonly outcome: "delivered" | Reason;
  /** HTTP status, or null without an answer. */
  readonly status: number | null;
  /** The raw cause, such as `ECONNREFUSED 127.0.0.1:9`; null if the status says it all. */
  readonly cause: string | null;
  /** From the start of the attempt to its end, in milliseconds. */
  readonly duration_ms: number;
  readonly phases: Phases;
  /**
   * When the receiver's certificate ends, as its handshake showed it, in milliseconds since 1970. Null on
   * a reused connection, without TLS, and if a handshake failed for another reason than an expired one.
   */
  readonly certificate_ends_at: number | null;
  /** The wait that a `Retry-After` asked for, in milliseconds, or null. */
  readonly retry_after_ms: number | null;
  /** Address and port of the receiver, or null without a connection. */
  readonly address: string | null;
  /** Of a `protocol` failure the first bytes that came, as the body below an empty head. */
  readonly response: ResponseRecord | null;
}

/** The outcome of an attempt that never reported back. */
export const INTERRUPTED: Outcome = {
  outcome: "interrupted",
  status: null,
  cause: "The attempt never reported back",
  duration_ms: 0,
  phases: NO_PHASES,
  certificate_ends_at: null,
  retry_after_ms: null,
  address: null,
  response: null,
};

/** The stored part of an answer. */
export interface ResponseRecord {
  /** Status line and header fields as they came, at most 8 KiB, lines separated by \r\n. */
  readonly head: string;
  /** At most 64 KiB. */
  readonly body: Uint8Array;
  /** Whether the answer had more than `body`. */
  readonly truncated: boolean;
}

/** The texts that `statusRange` reads. */
export const STATUS_CODE = /^[1-9](\d\d|xx)$/;

/** The first and last status of `401` or `4xx`. */
export function statusRange(code: string): readonly [first: number, last: number] {
  return [Number(code.replace("xx", "00")), Number(code.replace("xx", "99"))];
}

/** The outcome of a status. Statuses from 600 count as 5xx (RFC 9110, 15). */
export function outcomeOfStatus(status: number): "delivered" | Reason {
  if (status >= 200 && status < 300) return "delivered";
  if (status >= 300 && status < 400) return "redirect";
  if (status === 410) return "gone";
  return status < 500 ? "http_4xx" : "http_5xx";
}

/** The three forms of an HTTP date (RFC 9110, 5.6.7); the last has no zone and means GMT. */
const HTTP_DATES = [
  /^[A-Za-z]{3}, \d{2} [A-Za-z]{3} \d{4} \d{2}:\d{2}:\d{2} GMT$/,
  /^[A-Za-z]{6,9}, \d{2}-[A-Za-z]{3}-\d{2} \d{2}:\d{2}:\d{2} GMT$/,
  /^[A-Za-z]{3} [A-Za-z]{3} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/,
];
/** Longest wait, in seconds: a century; longer ones count as this. */
const MAX_RETRY_AFTER_S = 3_200_000_000;

/**
 * The wait that a `Retry-After` field asks for (RFC 9110, 10.2.3: seconds or an HTTP date), in
 * milliseconds, or null if it is absent, malformed or in the past.
 */
export function parseRetryAfter(value: string | undefined, now_ms: number): number | null {
  const text = value?.trim() ?? "";
  if (/^\d+$/.test(text)) return Math.min(Number(text), MAX_RETRY_AFTER_S) * 1000;
  if (!HTTP_DATES.some((form) => form.test(text))) return null;
  const at = Date.parse(text.endsWith("GMT") ? text : `${text} GMT`);
  return Number.isNaN(at) || at <= now_ms ? null : at - now_ms;
}
