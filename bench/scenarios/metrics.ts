import { PROMISE } from "../../lib/core/promise.ts";
import { countSignals } from "../../lib/observe/count_signals.ts";
import { makeMeters } from "../../lib/observe/meters.ts";
import { makeSignals } from "../../lib/observe/signals.ts";
import { bookme, scraped } from "../contenders/bookme.ts";
import type { Bench } from "../harness/bench.ts";
import { drainOnce, ENDPOINTS } from "./drain.ts";

/**
 * The cost of metrics: a backlog is drained alone, and while it is scraped every second; and the time to count one
 * attempt, which every drain has in it.
 */
export async function metrics(bench: Bench): Promise<void> {
  for (const contender of [bookme, scraped]) {
    await drainOnce(bench, contender, { scenario: "metrics" });
  }
  const value = countingCost();
  bench.add({
    scenario: "metrics",
    variant: "",
    contender: bookme.name,
    metric: "counting an attempt",
    unit: "µs/delivery",
    value,
  });
  bench.log(`counting an attempt: ${value.toFixed(2)} µs`);
}

/** Time to count one attempt's end, in microseconds. */
function countingCost(): number {
  const signals = makeSignals();
  countSignals(signals, makeMeters(), () => []);
  const endpoints = Array.from({ length: ENDPOINTS }, (_, no) => ({ no, id: `e${no}` }));
  signals.endpoints_changed.emit({ revision: "1", endpoints });
  const emit = (nth: number) =>
    signals.recorded.emit({
      endpoint_no: nth % ENDPOINTS,
      outcome: "delivered",
      verdict: "delivered",
      status: "delivered",
      attempt: 1,
      duration_ms: nth % 200,
      age_ms: nth % 2_000,
      promise: PROMISE.covered + PROMISE.begun + PROMISE.delivered,
      operational: false,
    });
  for (let nth = 0; nth < 100_000; nth++) emit(nth);
  const times = 1_000_000;
  const from = performance.now();
  for (let nth = 0; nth < times; nth++) emit(nth);
  return (performance.now() - from) / times * 1000;
}
