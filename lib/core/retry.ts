import type { Outcome } from "./outcome.ts";

/** Most interrupted attempts that do not count (contract, section 6). */
export const MAX_INTERRUPTIONS = 5;

/** Longest wait for a `Retry-After`, in milliseconds. */
const MAX_RETRY_AFTER_MS = 24 * 3_600_000;

/** Largest share of a wait that jitter adds. An attempt is never early. */
const JITTER = 0.1;

/** Attempts of a delivery before the one to decide about. */
export interface Progress {
  /** Attempts of this round that count against the policy. */
  readonly counted: number;
  /** Interrupted attempts of this round that did not count. */
  readonly interruptions: number;
  /** Whether this one tries whether the pause of its endpoint may end. */
  readonly probe: boolean;
}

/** The future of a delivery after an attempt. A wait, not a date: the database adds it to its clock. */
export type Decision =
  | { readonly verdict: "delivered" | "failed"; readonly counts: boolean }
  | { readonly verdict: "retry"; readonly counts: boolean; readonly wait_ms: number }
  /** A probe failed: its delivery goes on as if there had been none. */
  | { readonly verdict: "kept"; readonly counts: false };

/**
 * Decides what follows an attempt.
 *
 * `policy` is the wait in milliseconds before each attempt; its length is the number of attempts.
 * `random` returns a number in [0, 1).
 *
 * A success delivers and a 410 fails at once. A probe changes nothing otherwise. An interrupted attempt
 * is sent again without counting, at most `MAX_INTERRUPTIONS` times, so that a delivery that kills its
 * sender cannot do so forever.
 * Any other attempt counts. The next one waits as the policy says, with up to 10 % of jitter, or longer
 * if the receiver asked for it in a `Retry-After` on 429 or 503.
 */
export function decide(
  outcome: Pick<Outcome, "outcome" | "status" | "retry_after_ms">,
  progress: Progress,
  policy: readonly number[],
  random: () => number,
): Decision {
  if (outcome.outcome === "delivered") return { verdict: "delivered", counts: true };
  if (outcome.outcome === "gone") return { verdict: "failed", counts: true };
  if (progress.probe) return { verdict: "kept", counts: false };
  if (outcome.outcome === "interrupted" && progress.interruptions < MAX_INTERRUPTIONS) {
    return { verdict: "retry", counts: false, wait_ms: 0 };
  }
  const wait_ms = policy[progress.counted + 1];
  if (wait_ms === undefined) return { verdict: "failed", counts: true };
  return {
    verdict: "retry",
    counts: true,
    wait_ms: Math.max(wait_ms + Math.floor(wait_ms * JITTER * random()), askedFor(outcome)),
  };
}

function askedFor(outcome: Pick<Outcome, "status" | "retry_after_ms">): number {
  if (outcome.status !== 429 && outcome.status !== 503) return 0;
  return Math.min(outcome.retry_after_ms ?? 0, MAX_RETRY_AFTER_MS);
}
