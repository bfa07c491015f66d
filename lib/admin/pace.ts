import { AppError } from "../core/errors.ts";
import { makeThrottle } from "../core/throttle.ts";
import type { Asker } from "./context.ts";

/**
 * What a business may do at once, and the time until it may do it once more. Each daemon counts for itself:
 * the limits are against one business that keeps all others waiting, not a quota.
 */
const LIMITS = {
  /** Each sends a request and waits for its answer. */
  test: { burst: 10, refill_ms: 6_000 },
  /** Each opens connections. */
  check: { burst: 10, refill_ms: 6_000 },
  /** Each writes; those of endpoints have every daemon read its endpoints again. */
  change: { burst: 100, refill_ms: 1_000 },
} as const;

/** A kind of thing that a business does. */
export type Paced = keyof typeof LIMITS;

/**
 * Counts what a business does, and throws an `AppError` once it has done too much of it; an operator is not
 * limited. Call it when everything else speaks for doing it.
 */
export type Pace = (by: Pick<Asker, "scope">, what: Paced) => void;

/** A pace with everything left to do. `now` is monotonic, in milliseconds. */
export function makePace(now: () => number): Pace {
  const throttles = new Map(
    Object.entries(LIMITS).map(([what, { burst, refill_ms }]) => [
      what,
      makeThrottle(burst, refill_ms, now),
    ]),
  );
  return ({ scope }, what) => {
    if (scope === "everything") return;
    const wait_s = throttles.get(what)?.take(scope.business) ?? 0;
    if (wait_s === 0) return;
    throw new AppError("too_many_requests", `Too many ${what}s at once; wait ${wait_s} s`, {
      retry_after_s: wait_s,
    });
  };
}
