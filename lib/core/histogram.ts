/**
 * Durations in buckets of a quarter octave from 0.25 ms on: bucket n counts those above
 * 0.25 · 2^((n-1)/4) and at most 0.25 · 2^(n/4) milliseconds, bucket 0 all shorter ones, the last bucket
 * all longer ones. A percentile is off by at most 9 %. `rollUp` of the store counts in the same way.
 */

const FIRST_MS = 0.25;
const PER_OCTAVE = 4;

/** The last bucket: above 5 minutes, the longest timeout. */
export const LAST_BUCKET = 82;

/** The bucket of a duration in milliseconds. */
export function bucketOf(duration_ms: number): number {
  if (!(duration_ms > FIRST_MS)) return 0;
  return Math.min(LAST_BUCKET, Math.ceil(Math.log2(duration_ms / FIRST_MS) * PER_OCTAVE));
}

/** The duration that represents a bucket, in milliseconds: its geometric middle. */
function durationOf(bucket: number): number {
  return FIRST_MS * 2 ** ((bucket - 0.5) / PER_OCTAVE);
}

/**
 * The duration in milliseconds that a share of the counted ones do not exceed, or null without any.
 * `counts` maps buckets to numbers of durations.
 */
export function percentile(counts: ReadonlyMap<number, number>, share: number): number | null {
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let seen = 0;
  for (const [bucket, count] of [...counts].toSorted(([a], [b]) => a - b)) {
    seen += count;
    if (seen >= share * total) return Math.round(durationOf(bucket) * 1000) / 1000;
  }
  return null;
}
