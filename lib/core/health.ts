/** How an endpoint is doing, the worst first. */
export const HEALTHS = [
  "failing",
  "unsendable",
  "retrying",
  "paused",
  "delivering",
  "unused",
] as const;
/** One of them. */
export type Health = typeof HEALTHS[number];

/** The facts that an endpoint's health is judged by. Times in milliseconds since 1970. */
export interface HealthFacts {
  readonly paused: boolean;
  /** Whether this daemon can send to it. */
  readonly sendable: boolean;
  /** End of the last attempt that delivered, or null. */
  readonly last_success_at: number | null;
  /** End of the first attempt that failed after that, or null. */
  readonly failing_since: number | null;
  /** Attempts of the last hour. */
  readonly delivered: number;
  readonly failed: number;
  /** Deliveries that have not ended. */
  readonly pending: number;
}

/** A receiver that restarts fails for a minute or two: only after this long without success it is failing. */
const PATIENCE_MS = 300_000;
/** Five failures without any success are no restart. */
const MANY_FAILURES = 5;

/** Judges an endpoint at `now` (milliseconds since 1970). */
export function judgeHealth(facts: HealthFacts, now: number): Health {
  const { paused, sendable, last_success_at, failing_since, delivered, failed, pending } = facts;
  if (paused) return "paused";
  if (!sendable) return "unsendable";
  if (failing_since !== null) {
    const is_long = now - failing_since >= PATIENCE_MS;
    return is_long || (delivered === 0 && failed >= MANY_FAILURES) ? "failing" : "retrying";
  }
  if (last_success_at === null) return "unused";
  // Some fail and some do not: what failed waits for its retry.
  return failed > 0 && pending > 0 ? "retrying" : "delivering";
}

/** Attempts of a pending delivery, as far as the policy counts them, and when it is due. */
export interface Remaining {
  readonly counted: number;
  /** In milliseconds since 1970. */
  readonly due_at: number;
}

/**
 * The earliest moment, in milliseconds since 1970, at which one of these has used up its attempts if each fails
 * at once; null without any. `retry_ms` has the wait before each attempt.
 */
export function firstExhausted(
  pending: readonly Remaining[],
  retry_ms: readonly number[],
): number | null {
  const ends = pending.map(({ counted, due_at }) =>
    retry_ms.slice(counted + 1).reduce((at, wait_ms) => at + wait_ms, due_at)
  );
  return ends.length === 0 ? null : Math.min(...ends);
}
