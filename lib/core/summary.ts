import {
  type Histogram,
  type PackedHistogram,
  percentile,
  sumHistograms,
  totalOf,
  within30s,
} from "./histogram.ts";

/** Attempts with one outcome, counted. */
export interface Counted {
  readonly outcome: string;
  readonly attempts: number;
  /** Their durations. */
  readonly response: PackedHistogram;
  /** From acceptance to the beginning of a first attempt. */
  readonly first_attempt: PackedHistogram;
  /** From acceptance, or what brought the delivery back, to the end of an attempt that delivered. */
  readonly delivered: PackedHistogram;
  /** First attempts of deliveries that the 30-second promise covers: as many as there are of these. */
  readonly promised: number;
  /** Of these, the ones that began in time. */
  readonly promised_begun: number;
  /** Attempts of such deliveries that delivered in time. */
  readonly promised_delivered: number;
}

interface Percentiles {
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

/** A summary of attempts. */
export interface Summary {
  readonly attempts: number;
  readonly delivered: number;
  /** Attempts that did not deliver, by outcome. */
  readonly failed: Readonly<Record<string, number>>;
  /** Null without attempts. */
  readonly success_rate: number | null;
  readonly duration_ms: Percentiles;
  /** First attempts among them, and how many of these began within 30 s of the event's acceptance. */
  readonly first_attempts: number;
  readonly first_attempts_within_30s: number;
  readonly first_attempt_ms: Percentiles;
  /** How many of those that delivered ended within 30 s of that. */
  readonly delivered_within_30s: number;
  readonly delivered_ms: Percentiles;
  /** Deliveries that the 30-second promise covers, and how many kept it. */
  readonly promise: {
    readonly deliveries: number;
    readonly begun_in_time: number;
    readonly delivered_in_time: number;
  };
}

/** Sums up counted attempts. */
export function summarise(counts: readonly Counted[]): Summary {
  const outcomes = new Map<string, number>();
  const sums = {
    response: sumHistograms(),
    first_attempt: sumHistograms(),
    delivered: sumHistograms(),
  };
  const promise = { deliveries: 0, begun_in_time: 0, delivered_in_time: 0 };
  for (const { outcome, attempts, response, first_attempt, delivered, ...promised } of counts) {
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + attempts);
    promise.deliveries += promised.promised;
    promise.begun_in_time += promised.promised_begun;
    promise.delivered_in_time += promised.promised_delivered;
    sums.response.addPacked(response);
    sums.first_attempt.addPacked(first_attempt);
    sums.delivered.addPacked(delivered);
  }
  const attempts = totalOf(sums.response.counts);
  const delivered = outcomes.get("delivered") ?? 0;
  outcomes.delete("delivered");
  return {
    attempts,
    delivered,
    failed: Object.fromEntries([...outcomes].toSorted(([a], [b]) => a < b ? -1 : 1)),
    success_rate: attempts === 0 ? null : delivered / attempts,
    duration_ms: percentilesOf(sums.response.counts),
    first_attempts: totalOf(sums.first_attempt.counts),
    first_attempts_within_30s: within30s(sums.first_attempt.counts),
    first_attempt_ms: percentilesOf(sums.first_attempt.counts),
    delivered_within_30s: within30s(sums.delivered.counts),
    delivered_ms: percentilesOf(sums.delivered.counts),
    promise,
  };
}

function percentilesOf(counts: Histogram): Percentiles {
  return {
    p50: percentile(counts, 0.5),
    p95: percentile(counts, 0.95),
    p99: percentile(counts, 0.99),
  };
}
