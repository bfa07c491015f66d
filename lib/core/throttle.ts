/** Limits how often something may be done under one key, by a token bucket for each. */
export interface Throttle {
  /** Takes a token of the key. Returns 0 or, if none is left, the seconds until the next one. */
  take(key: string): number;
}

/** Keys remembered. Beyond that, the one unseen for the longest is forgotten. */
const MAX_KEYS = 10_000;

/** Allows `burst` at once and one more every `refill_ms`. `now` is monotonic, in milliseconds. */
export function makeThrottle(burst: number, refill_ms: number, now: () => number): Throttle {
  // When each bucket is full again. A Map keeps the order in which keys were last seen.
  const full_at = new Map<string, number>();
  return {
    take(key) {
      const at = now();
      const full = Math.max(at, full_at.get(key) ?? 0);
      const wait_ms = full - at - (burst - 1) * refill_ms;
      if (wait_ms > 0) return Math.ceil(wait_ms / 1000);
      full_at.delete(key);
      full_at.set(key, full + refill_ms);
      if (full_at.size > MAX_KEYS) full_at.delete(full_at.keys().next().value ?? "");
      return 0;
    },
  };
}
