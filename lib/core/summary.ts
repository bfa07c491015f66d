import { percentile } from "./histogram.ts";

/** A number of attempts with one outcome and similar durations. */
export interface Counted {
  readonly outcome: string;
  /** As `bucketOf` returns it. */
  readonly bucket: number;
  readonly attempts: number;
}

/** A summary of attempts. */
export interface Summary {
  readonly attempts: number;
  readonly delivered: number;
  /** Attempts that did not deliver, by outcome. */
  readonly failed: Readonly<Record<string, number>>;
  /** Null without attempts. */
  readonly success_rate: number | null;
  readonly duration_ms: {
    readonly p50: number | null;
    readonly p95: number | null;
    readonly p99: number | null;
  };
}

/** Sums up counted attempts. */
export function summarise(counts: readonly Counted[]): Summary {
  const outcomes = new Map<string, number>();
  const buckets = new Map<number, number>();
  for (const { outcome, bucket, attempts } of counts) {
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + attempts);
    buckets.set(bucket, (buckets.get(bucket) ?? 0) + attempts);
  }
  const attempts = [...outcomes.values()].reduce((sum, count) => sum + count, 0);
  const delivered = outcomes.get("delivered") ?? 0;
  outcomes.delete("delivered");
  return {
    attempts,
    delivered,
    failed: Object.fromEntries([...outcomes].toSorted(([a], [b]) => a < b ? -1 : 1)),
    success_rate: attempts === 0 ? null : delivered / attempts,
    duration_ms: {
      p50: percentile(buckets, 0.5),
      p95: percentile(buckets, 0.95),
      p99: percentile(buckets, 0.99),
    },
  };
}
