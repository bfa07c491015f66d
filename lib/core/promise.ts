/** The documentation's promise: events are delivered within 30 seconds. Which deliveries it covers, and which keep it. */

/** The promised time, in milliseconds. */
export const PROMISE_MS = 30_000;

/** A delivery, as far as the promise depends on it. */
interface Owed {
  readonly test: boolean;
  /** Whether a retry or a replay brought it back. */
  readonly renewed: boolean;
  /** Whether it tries whether an automatic pause may end. */
  readonly probe?: boolean;
  /** Since when it is owed, in milliseconds since 1970. */
  readonly owed_ms: number;
}

/** An endpoint, as far as the promise depends on it. */
interface Terms {
  readonly concurrency: number | null;
  readonly rate_limit_per_s: number | null;
  readonly retry_ms: readonly number[];
  /** When a pause of it ended last, in milliseconds since 1970, or null. */
  readonly resumed_ms: number | null;
}

/**
 * Whether the promise covers a delivery. It does not where somebody asked for a delay: tests and replays are sent when
 * they are asked for, an endpoint's own limits and its first wait come before the promise, and a pause holds
 * everything back.
 */
export function isPromised(owed: Owed, endpoint: Terms | undefined): boolean {
  if (endpoint === undefined || owed.test || owed.renewed || owed.probe === true) return false;
  return endpoint.concurrency === null && endpoint.rate_limit_per_s === null &&
    (endpoint.retry_ms[0] ?? 0) === 0 &&
    (endpoint.resumed_ms === null || endpoint.resumed_ms < owed.owed_ms);
}

/** What an attempt says about the promise, as a sum: `uncounted_attempts` stores it. */
export const PROMISE = {
  /** A first attempt of a delivery that the promise covers: each of these has one. */
  covered: 1,
  /** That attempt began in time. */
  begun: 2,
  /** An attempt of such a delivery that delivered in time. */
  delivered: 4,
} as const;

/** An attempt of a delivery that the promise covers. Times in milliseconds since it is owed. */
interface Made {
  /** Of the delivery, from 1. */
  readonly number: number;
  readonly outcome: string;
  readonly began_ms: number;
  readonly ended_ms: number;
}

/** The sum of `PROMISE` for an attempt of a delivery that the promise covers. */
export function keptBy({ number, outcome, began_ms, ended_ms }: Made): number {
  const first = number !== 1 ? 0 : PROMISE.covered + (began_ms <= PROMISE_MS ? PROMISE.begun : 0);
  return first + (outcome === "delivered" && ended_ms <= PROMISE_MS ? PROMISE.delivered : 0);
}
