import { AppError } from "../core/errors.ts";
import { makeThrottle } from "../core/throttle.ts";
import type { Asker } from "./context.ts";

/**
 * How often a business may do a thing at once, and the time until it may once more. Each daemon counts for
 * itself: the limits keep one business from holding up all others, and are no quota.
 */
const LIMITS = {
  /** Each sends a request and waits for its answer. */
  test: { burst: 10, refill_ms: 6_000 },
  /** Each opens connections. */
  check: { burst: 10, refill_ms: 6_000 },
  /** Each may hash some twenty megabytes. */
  "signature check": { burst: 10, refill_ms: 6_000 },
  /** Each writes; those of endpoints have every daemon read its endpoints again. */
  change: { burst: 100, refill_ms: 1_000 },
} as const;

/** A kind of limited action. */
export type Paced = keyof typeof LIMITS;

/**
 * Counts an action, and throws an `AppError` if the business has done too many; an operator is not limited.
 * Call it last, so that refused requests do not count.
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
