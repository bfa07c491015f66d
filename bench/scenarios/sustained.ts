import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { check } from "../harness/check.ts";
import { acceptedAll, type Latency, latencyOf, offer } from "../harness/load.ts";
import { sleep, until } from "../harness/processes.ts";
import type { Contender, Running } from "../contenders/contender.ts";

const ENDPOINTS = 50;
const CONNECTIONS = 64;
/** A rate is held while 99 of 100 events arrive within that. */
const HELD_MS = 50;
/** In steps of at most a third from where anyone gave up: a coarser ramp would flatter one side. */
const RATES = [
  100,
  250,
  500,
  600,
  700,
  800,
  1_000,
  1_250,
  1_500,
  2_000,
  2_500,
  3_000,
  3_500,
  4_000,
  4_500,
  5_000,
  6_000,
  7_000,
  8_000,
  9_000,
  10_000,
  12_000,
  14_000,
  16_000,
  18_000,
  20_000,
  24_000,
];
const QUICK_RATES = [250, 1_000, 2_000, 4_000];

/**
 * Events offered at fixed rates through HTTP, each owed to one of 50 endpoints: post-to-arrival, rate
 * by rate until one is not held. Ours then once more at half of what it held.
 */
export function sustained(bench: Bench, contenders: readonly Contender[]): Promise<void> {
  return rampAll(bench, contenders, { scenario: "sustained", tls: false });
}

/** The same over TLS, on connections that are kept. */
export function sustainedTls(bench: Bench, contenders: readonly Contender[]): Promise<void> {
  return rampAll(bench, contenders, { scenario: "sustained-tls", tls: true });
}

async function rampAll(
  bench: Bench,
  contenders: readonly Contender[],
  { scenario, tls }: { scenario: string; tls: boolean },
): Promise<void> {
  for (const contender of contenders) {
    const options = { answering: ENDPOINTS, owed: "one", tls } as const;
    const add: Add = (variant, metric, unit, value) =>
      bench.add({ scenario, variant, contender: contender.name, metric, unit, value });
    await withRun(bench, contender, options, (run) => ramp(bench, contender, run, add));
  }
}

/** Reports a figure of the scenario and the contender. */
type Add = (variant: string, metric: string, unit: string, value: number) => void;

async function ramp(bench: Bench, contender: Contender, run: Run, add: Add): Promise<void> {
  const running = await run.prepared.start();
  const seconds = { quick: 2, short: 3, full: 6 }[bench.size];
  const rates = { quick: QUICK_RATES, short: RATES.slice(1), full: RATES }[bench.size];
  const state = { first: 0 };
  // Every runtime compiles what it is doing: nobody's first second is measured.
  await step(bench, run, running, state, 200, 2);
  let held = 0;
  for (const rate of rates) {
    let found = await step(bench, run, running, state, rate, seconds);
    // Once more before it is given up: a shared machine has hiccups of its own.
    if (found.p99 > HELD_MS) found = await step(bench, run, running, state, rate, seconds);
    const variant = `${rate}/s`;
    add(variant, "p50", "ms", found.p50);
    add(variant, "p99", "ms", found.p99);
    bench.log(
      `${contender.name} ${variant}: p50 ${found.p50.toFixed(1)}, p99 ${found.p99.toFixed(1)} ms`,
    );
    if (!found.complete || found.p99 > HELD_MS) break;
    held = rate;
  }
  add("", "rate held", "events/s", held);
  const half = await step(bench, run, running, state, Math.max(50, held / 2), seconds);
  add("half load", "p50", "ms", half.p50);
  add("half load", "p99", "ms", half.p99);
  add("half load", "202 to arrival p50", "ms", half.ack_p50);
  add("half load", "202 to arrival p99", "ms", half.ack_p99);
  bench.log(
    `${contender.name} holds ${held}/s; at half of it 202 to arrival p99 ${
      half.ack_p99.toFixed(1)
    } ms`,
  );
  await settle(run);
  await running.stop();
  await check(run, {
    endpoints: ENDPOINTS,
    numbers: [0, state.first],
    owes: (endpoint, number) => number % ENDPOINTS === endpoint,
  });
}

async function step(
  bench: Bench,
  run: Run,
  { port }: Running,
  state: { first: number },
  rate: number,
  seconds: number,
): Promise<Latency & { complete: boolean }> {
  // A whole number of rounds, so that numbers say which endpoint they are owed to.
  const events = Math.ceil(rate * seconds / ENDPOINTS) * ENDPOINTS;
  const endpoints = Array.from({ length: ENDPOINTS }, (_, i) => i);
  const { first } = state;
  const options = { port, first, events, rate, connections: CONNECTIONS, endpoints };
  const load = await offer(bench, run, { ...options, patience_ms: 30_000 });
  if (!acceptedAll(load)) {
    throw new Error(`Check failed: not every event was accepted: ${JSON.stringify(load.statuses)}`);
  }
  state.first += events;
  await run.receivers.waitFor(state.first, 60_000);
  await sleep(200);
  const { arrivals } = await run.receivers.dump();
  const latency = latencyOf(load, arrivals);
  return { ...latency, complete: latency.arrived === events };
}

// Until all is recorded, so that stopping is not what is under test.
async function settle({ prepared }: Run): Promise<void> {
  await until("Everything is recorded", 60_000, async () => await prepared.finished() !== false);
}
