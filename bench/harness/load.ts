import type { Bench, Run } from "./bench.ts";
import type { Arrivals } from "./receivers.ts";
import { quantile } from "./stats.ts";

export interface LoadOptions {
  readonly port: number;
  /** Number of the first event. */
  readonly first: number;
  /** How many, or, with `limit_ms`, at most how many. */
  readonly events: number;
  /** As fast as the answers come: no event is posted later than that. */
  readonly limit_ms?: number;
  /** Events per second; 0: as fast as the answers come. */
  readonly rate: number;
  readonly connections: number;
  /** Events go round these, or to all endpoints where there are none. */
  readonly endpoints: readonly number[];
  readonly patience_ms?: number;
}

/** What a load came to: the events of its `options` are those that were due. Times are in ms on the clock that driver and receivers share. */
export interface LoadResult {
  readonly options: LoadOptions;
  readonly started: number;
  readonly ended: number;
  readonly answers: number;
  readonly statuses: Readonly<Record<string, number>>;
  /** How late the driver itself was at worst: where it is much, its figures are not to be believed. */
  readonly late_ms: number;
  readonly posted: Float64Array;
  readonly acknowledged: Float64Array;
}

/** Posts events and waits for the answers. */
export async function offer(bench: Bench, run: Run, options: LoadOptions): Promise<LoadResult> {
  const path = `${run.setup.directory}/load.bin`;
  const { due, ...answer } = await bench.driver.ask<
    Omit<LoadResult, "posted" | "acknowledged" | "options"> & { due: number }
  >("run", { patience_ms: 10_000, limit_ms: 0, ...options, path });
  const times = new Float64Array(Deno.readFileSync(path).buffer);
  Deno.removeSync(path);
  return {
    ...answer,
    options: { ...options, events: due },
    posted: times.subarray(0, due),
    acknowledged: times.subarray(options.events, options.events + due),
  };
}

/** Throws where anything but a 202 was answered. */
export function mustBeAccepted(load: LoadResult): void {
  const { answers, statuses, options: { events } } = load;
  if (answers === events && statuses["202"] === events) return;
  throw new Error(`Check failed: of ${events} events posted: ${JSON.stringify(statuses)}`);
}

export function acceptedAll({ statuses, options: { events } }: LoadResult): boolean {
  return statuses["202"] === events;
}

/** Post-to-arrival and 202-to-arrival times of a load's events. */
export interface Latency {
  /** How many arrived. */
  readonly arrived: number;
  /** From the post to the 202. */
  readonly answer_p99: number;
  readonly p50: number;
  readonly p99: number;
  /** From the 202 to the arrival; negative where the delivery was faster than the answer. */
  readonly ack_p50: number;
  readonly ack_p99: number;
}

/**
 * Latencies of a load, of the first arrival of each event. Events that have not arrived count as
 * arriving at `missing_at`, where that is given, and not at all otherwise.
 */
export function latencyOf(
  load: LoadResult,
  arrivals: Arrivals,
  counts: (i: number) => boolean = () => true,
  missing_at = 0,
): Latency {
  const { first, events } = load.options;
  const arrived = new Float64Array(events);
  for (let i = 0; i < arrivals.count; i++) {
    const index = arrivals.number(i) - first;
    if (index < 0 || index >= events || !counts(i)) continue;
    const before = arrived[index] ?? 0;
    if (before === 0 || arrivals.at(i) < before) arrived[index] = arrivals.at(i);
  }
  const waits: number[] = [];
  const acks: number[] = [];
  const answers: number[] = [];
  let missing = 0;
  for (let i = 0; i < events; i++) {
    answers.push((load.acknowledged[i] ?? NaN) - (load.posted[i] ?? NaN));
    let at = arrived[i] ?? 0;
    if (at === 0) {
      missing++;
      if (missing_at === 0) continue;
      at = missing_at;
    }
    const wait = at - (load.posted[i] ?? NaN);
    if (wait < 0) {
      throw new Error(`Check failed: event ${first + i} arrived ${-wait} ms before its post`);
    }
    waits.push(wait);
    acks.push(at - (load.acknowledged[i] ?? NaN));
  }
  return {
    arrived: events - missing,
    answer_p99: quantile(answers, 0.99),
    p50: quantile(waits, 0.5),
    p99: quantile(waits, 0.99),
    ack_p50: quantile(acks, 0.5),
    ack_p99: quantile(acks, 0.99),
  };
}
