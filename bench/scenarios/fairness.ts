import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { check } from "../harness/check.ts";
import { latencyOf, offer } from "../harness/load.ts";
import { sleep } from "../harness/processes.ts";
import type { Arrivals } from "../harness/receivers.ts";
import type { Contender } from "../contenders/contender.ts";

const HEALTHY = 50;
const BAD = 5;
/** How long a contender may take over the healthy part; what has not arrived by then never does. */
const LIMIT_MS = 40_000;

/**
 * 50 healthy endpoints, with and without 5 that accept and never answer and have a backlog each: how
 * fast the healthy ones' backlog is drained, and post-to-arrival of events offered to them.
 */
export async function fairness(bench: Bench, contenders: readonly Contender[]): Promise<void> {
  const healthy = bench.quick ? 5_000 : 100_000;
  const bad_each = bench.quick ? 1_000 : 10_000;
  const offered = bench.quick ? { rate: 200, seconds: 3 } : { rate: 1_000, seconds: 15 };
  for (const contender of contenders) {
    for (const bad of [0, bad_each * BAD]) {
      const options = { answering: HEALTHY, hanging: BAD, owed: "one" } as const;
      await withRun(
        bench,
        contender,
        options,
        (run) => drainHealthy(bench, contender, run, healthy, bad),
      );
      await withRun(
        bench,
        contender,
        options,
        (run) => offerHealthy(bench, contender, run, offered, bad),
      );
    }
  }
}

function variantOf(bad: number): string {
  return bad === 0 ? "without hanging ones" : "with 5 hanging ones";
}

async function loadBad(run: Run, first: number, events: number): Promise<void> {
  if (events === 0) return;
  const endpoints = [HEALTHY, HEALTHY + BAD] as const;
  await run.prepared.load({ first, events, endpoints, shape: "spread", later: "none" });
}

async function drainHealthy(
  bench: Bench,
  contender: Contender,
  run: Run,
  events: number,
  bad: number,
): Promise<void> {
  const endpoints = [0, HEALTHY] as const;
  // The bad ones' first: they are the oldest.
  await loadBad(run, events, bad);
  await run.prepared.load({ first: 0, events, endpoints, shape: "spread", later: "none" });
  await run.database.settle();
  const from = performance.now();
  const running = await run.prepared.start("send");
  while (await healthyCount(run) < events && performance.now() - from < LIMIT_MS) await sleep(25);
  const { arrivals } = await run.receivers.dump();
  const { count, first, last } = healthyOf(arrivals);
  // One that was starved is judged by the whole time that it had.
  const ms = count === events ? last - first : LIMIT_MS;
  add(bench, contender, variantOf(bad), "rate", "deliveries/s", count / ms * 1000);
  bench.log(`${contender.name} ${variantOf(bad)}: ${Math.round(count / ms * 1000)}/s`);
  await finish(contender, run, running, bad, [0, count === events ? events : 0]);
}

async function offerHealthy(
  bench: Bench,
  contender: Contender,
  run: Run,
  { rate, seconds }: { rate: number; seconds: number },
  bad: number,
): Promise<void> {
  const events = rate * seconds;
  await loadBad(run, events, bad);
  await run.database.settle();
  const running = await run.prepared.start();
  await sleep(2_000); // what hangs is hanging
  const endpoints = Array.from({ length: HEALTHY }, (_, i) => i);
  const { port } = running;
  const load = await offer(bench, run, {
    port,
    first: 0,
    events,
    rate,
    connections: 64,
    endpoints,
    patience_ms: 20_000,
  });
  const until_ms = performance.now() + 10_000;
  while (await healthyCount(run) < events && performance.now() < until_ms) await sleep(25);
  const { now } = await run.receivers.count();
  const { arrivals } = await run.receivers.dump();
  const { p50, p99, arrived } = latencyOf(load, arrivals, () => true, now);
  add(bench, contender, variantOf(bad), "p50", "ms", p50);
  add(bench, contender, variantOf(bad), "p99", "ms", p99);
  bench.log(
    `${contender.name} ${variantOf(bad)}: ${arrived} of ${events} arrived, p99 ${
      p99.toFixed(1)
    } ms`,
  );
  await finish(contender, run, running, bad, [0, arrived === events ? events : 0]);
}

// A peer that hangs cannot be stopped without losing what it has not recorded; ours can.
async function finish(
  contender: Contender,
  run: Run,
  running: { stop(patience_ms?: number): Promise<void> },
  bad: number,
  numbers: readonly [number, number],
): Promise<void> {
  await sleep(1_000);
  await running.stop(2_000);
  if (bad > 0 && !contender.ours) return;
  await check(run, {
    endpoints: HEALTHY,
    numbers,
    owes: (endpoint, number) => number % HEALTHY === endpoint,
  }, HEALTHY + BAD);
}

async function healthyCount({ receivers }: Run): Promise<number> {
  const { per_endpoint } = await receivers.count();
  return per_endpoint.slice(0, HEALTHY).reduce<number>((sum, n) => sum + (n ?? 0), 0);
}

function healthyOf(arrivals: Arrivals) {
  let count = 0;
  let first = NaN;
  let last = NaN;
  for (let i = 0; i < arrivals.count; i++) {
    if (arrivals.endpoint(i) >= HEALTHY) continue;
    if (count++ === 0) first = arrivals.at(i);
    last = arrivals.at(i);
  }
  return { count, first, last };
}

function add(
  bench: Bench,
  { name }: Contender,
  variant: string,
  metric: string,
  unit: string,
  value: number,
): void {
  bench.add({ scenario: "fairness", variant, contender: name, metric, unit, value });
}
