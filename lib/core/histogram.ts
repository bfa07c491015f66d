/**
 * Durations are counted in buckets of a quarter octave from 0.25 ms on: bucket n holds what is above
 * 0.25 · 2^((n-1)/4) and at most 0.25 · 2^(n/4) milliseconds, bucket 0 all below, the last one all above.
 * A percentile read from them is off by at most 9 %. (`rollUp` of the store counts in the same way.)
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

/** The duration in milliseconds that stands for a bucket: its geometric middle. */
function durationOf(bucket: number): number {
  return FIRST_MS * 2 ** ((bucket - 0.5) / PER_OCTAVE);
}

/**
 * The duration in milliseconds below which a share of those counted lie, or null where none was
 * counted. `counts` maps buckets to how many.
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
