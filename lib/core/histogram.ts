/**
 * Durations in buckets of a quarter octave, with 30 seconds, the time in which deliveries are promised, as an
 * exact bound: bucket n counts those above `boundOf(n - 1)` and at most `boundOf(n)`, bucket 0 all shorter
 * ones, the last bucket all longer ones. A percentile is off by at most 9 %.
 */

const PER_OCTAVE = 4;
const BOUND_MS = 30_000;
/** The bucket of which 30 s is the upper bound. */
export const BUCKET_OF_30S = 68;

/** The last bucket: above 57 hours. The retries of a delivery take 31. */
export const LAST_BUCKET = 120;

/** Upper bound of a bucket, in milliseconds. */
function boundOf(bucket: number): number {
  return BOUND_MS * 2 ** ((bucket - BUCKET_OF_30S) / PER_OCTAVE);
}

/** The bucket of a duration in milliseconds. */
export function bucketOf(duration_ms: number): number {
  if (!(duration_ms > boundOf(0))) return 0;
  const near = Math.round(BUCKET_OF_30S + PER_OCTAVE * Math.log2(duration_ms / BOUND_MS));
  const bucket = duration_ms > boundOf(near) ? near + 1 : near;
  return Math.min(LAST_BUCKET, bucket);
}

/** The duration that represents a bucket, in milliseconds: its geometric middle. */
function durationOf(bucket: number): number {
  return boundOf(bucket - 0.5);
}

/** How many durations each bucket has, from the first to the last. */
export type Histogram = readonly number[];

/** A histogram as it is stored: its first bucket, then the counts from that bucket on. Empty if it is. */
export type PackedHistogram = readonly number[];

/** Counts durations, and histograms, together. */
export interface HistogramSum {
  readonly counts: Histogram;
  add(duration_ms: number): void;
  addPacked(packed: PackedHistogram): void;
}

/** An empty sum. */
export function sumHistograms(): HistogramSum {
  const counts = new Array<number>(LAST_BUCKET + 1).fill(0);
  const count = (bucket: number, more: number) => {
    counts[bucket] = (counts[bucket] ?? 0) + more;
  };
  return {
    counts,
    add: (duration_ms) => count(bucketOf(duration_ms), 1),
    addPacked(packed) {
      // The statistics of a month add hundreds of thousands: no copies, no iterators.
      const first = packed[0] ?? 0;
      for (let at = 1; at < packed.length; at++) count(first + at - 1, packed[at] ?? 0);
    },
  };
}

/** The form in which a histogram is stored. */
export function packHistogram(counts: Histogram): PackedHistogram {
  const first = counts.findIndex((count) => count > 0);
  if (first < 0) return [];
  return [first, ...counts.slice(first, counts.findLastIndex((count) => count > 0) + 1)];
}

/** How many of the durations are at most 30 seconds: exact. */
export function within30s(counts: Histogram): number {
  return totalOf(counts.slice(0, BUCKET_OF_30S + 1));
}

/** How many durations were counted. */
export function totalOf(counts: Histogram): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** The duration in milliseconds that a share of the counted ones do not exceed, or null without any. */
export function percentile(counts: Histogram, share: number): number | null {
  const total = totalOf(counts);
  let seen = 0;
  for (const [bucket, count] of counts.entries()) {
    seen += count;
    if (count > 0 && seen >= share * total) return Math.round(durationOf(bucket) * 1000) / 1000;
  }
  return null;
}
