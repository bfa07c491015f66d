import { durationOf } from "./words.ts";

/** How an endpoint has been failing, as far as its automatic pause depends on it. In milliseconds since 1970. */
export interface Failing {
  /** End of the first attempt that failed after the last success. */
  readonly failing_since: number;
  /** Failures before then are not held against it: it was resumed, or nothing was delivered anywhere. */
  readonly judged_from: number | null;
  /** The first failure from there on, or the latest moment at which it may have been; null without any. */
  readonly first_failure_at: number | null;
  readonly last_failure_at: number;
}

/** Failures must be so far apart: an incident of one night says nothing about an endpoint without traffic. */
const MIN_APART_MS = 12 * 3_600_000;

/** Since when nothing but failures counts towards an automatic pause. */
export function failingFrom(
  { failing_since, judged_from }: Pick<Failing, "failing_since" | "judged_from">,
): number {
  return Math.max(failing_since, judged_from ?? failing_since);
}

/** The reason of a pause at `now`. It names no moment, which pages would have to show in the reader's time zone. */
export function pauseReason(failing: Failing, now: number): string {
  return `Nothing but failures for ${durationOf(now - failingFrom(failing))}`;
}

/**
 * Whether an endpoint is to be paused: nothing but failures for `auto_pause_ms`, two of them at least twelve
 * hours apart (contract, section 3).
 */
export function shouldPause(failing: Failing, auto_pause_ms: number, now: number): boolean {
  const { first_failure_at, last_failure_at } = failing;
  const from = failingFrom(failing);
  return now - from >= auto_pause_ms && first_failure_at !== null && first_failure_at >= from &&
    last_failure_at - first_failure_at >= MIN_APART_MS;
}
