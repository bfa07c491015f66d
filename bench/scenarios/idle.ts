import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { check } from "../harness/check.ts";
import { latencyOf, type LoadResult, mustBeAccepted, offer } from "../harness/load.ts";
import { sleep, until } from "../harness/processes.ts";
import type { Contender } from "../contenders/contender.ts";
import { bookme, embedded, startDaemon } from "../contenders/bookme.ts";

const ENDPOINTS = 10;
/** Far apart, and in no step with any timer that ticks in round milliseconds. */
const RATE = 37;

/** One event at a time: post-to-arrival, in one process and from one process to another. */
export async function idle(bench: Bench, contenders: readonly Contender[]): Promise<void> {
  const events = { quick: 100, short: 120, full: 400 }[bench.size];
  for (const contender of contenders) {
    const options = { answering: ENDPOINTS, owed: "one" } as const;
    await withRun(bench, contender, options, (run) => inProcess(bench, contender, run, events));
    if (contender === embedded) continue;
    if (contender === bookme) await acrossDaemons(bench, events);
    else await withRun(bench, contender, options, (run) => across(bench, contender, run, events));
  }
}

async function inProcess(bench: Bench, contender: Contender, run: Run, events: number) {
  const running = await run.prepared.start();
  await measure(bench, contender.name, "in process", run, running.port, events);
  await running.stop();
  await checkAll(run, events);
}

// A peer's process that only takes events, and one that only sends.
async function across(bench: Bench, contender: Contender, run: Run, events: number) {
  const sender = await run.prepared.start("send");
  const front = await run.prepared.start("ingest");
  await measure(bench, contender.name, "two processes", run, front.port, events);
  await front.stop();
  await sender.stop();
  await checkAll(run, events);
}

async function measure(
  bench: Bench,
  name: string,
  variant: string,
  run: Run,
  port: number,
  events: number,
): Promise<void> {
  await sleep(1_000);
  const load = await offer(bench, run, loadOf(port, 0, events, ENDPOINTS));
  mustBeAccepted(load);
  await run.receivers.waitFor(events);
  await settle(run);
  const { arrivals } = await run.receivers.dump();
  report(bench, name, variant, load, latencyOf(load, arrivals));
}

function loadOf(port: number, first: number, events: number, endpoints: number) {
  const round = Array.from({ length: endpoints }, (_, i) => i);
  return { port, first, events, rate: RATE, connections: 2, endpoints: round };
}

function checkAll(run: Run, events: number) {
  return check(run, {
    endpoints: ENDPOINTS,
    numbers: [0, events],
    owes: (endpoint, number) => number % ENDPOINTS === endpoint,
  });
}

async function settle({ prepared }: Run): Promise<void> {
  await until("Everything is recorded", 30_000, async () => await prepared.finished() !== false);
}

/** Events posted to one daemon in one round, and how long that takes. */
const ROUND = 20;

/**
 * Two whole daemons on one database. The first may make one attempt at a time, and for each round of
 * events that one is spent on an endpoint that never answers: so it takes the events and cannot send
 * them, and the second must hear of them. It sends from 127.0.0.2, which shows that it did.
 */
async function acrossDaemons(bench: Bench, events: number): Promise<void> {
  const rounds = Math.ceil(events / ROUND);
  const options = { answering: ENDPOINTS, hanging: rounds, owed: "one" } as const;
  await withRun(bench, bookme, options, async (run) => {
    const database = { url: run.database.url };
    const first = await startDaemon(run.setup, database, { delivery: { concurrency: 1 } });
    const second = await startDaemon(run.setup, database, {
      delivery: { source_address: "127.0.0.2" },
    });
    await sleep(1_000);
    const waits: LoadResult[] = [];
    for (let i = 0; i < rounds; i++) {
      const number = rounds * ROUND + i;
      const busy = { port: first.port, first: number, events: 1, rate: RATE, connections: 1 };
      mustBeAccepted(await offer(bench, run, { ...busy, endpoints: [ENDPOINTS + i] }));
      const load = await offer(bench, run, loadOf(first.port, i * ROUND, ROUND, ENDPOINTS));
      mustBeAccepted(load);
      waits.push(load);
      // After a second without an answer, the attempt no longer counts as one of those at once.
      await sleep(1_000);
    }
    const { arrivals } = await run.receivers.dump();
    const merged = merge(waits);
    const by_second = latencyOf(merged, arrivals, (i) => arrivals.second(i));
    bench.log(`${by_second.arrived} of ${rounds * ROUND} were sent by the second daemon`);
    report(bench, bookme.name, "two processes", merged, by_second);
    const sent_by_second = by_second.arrived / (rounds * ROUND);
    add(bench, bookme.name, "two processes", "sent by the second", "share", sent_by_second);
    // Twice: at once, without waiting for the endpoints that hang.
    for (const { process } of [first, second]) await process.stop(1_000);
    await checkAll(run, rounds * ROUND);
  });
}

function merge(loads: readonly LoadResult[]): LoadResult {
  const [first] = loads;
  if (first === undefined) throw new Error("No rounds");
  const join = (column: (load: LoadResult) => Float64Array) =>
    Float64Array.from(loads.flatMap((load) => [...column(load)]));
  return {
    ...first,
    options: { ...first.options, events: loads.length * ROUND },
    posted: join((load) => load.posted),
    acknowledged: join((load) => load.acknowledged),
  };
}

function report(
  bench: Bench,
  name: string,
  variant: string,
  load: LoadResult,
  { p50, p99 }: { p50: number; p99: number },
): void {
  add(bench, name, variant, "p50", "ms", p50);
  add(bench, name, variant, "p99", "ms", p99);
  bench.log(
    `${name}, ${variant}: p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(2)} ms ` +
      `(driver at most ${load.late_ms.toFixed(1)} ms late)`,
  );
}

function add(
  bench: Bench,
  contender: string,
  variant: string,
  metric: string,
  unit: string,
  value: number,
): void {
  bench.add({ scenario: "idle", variant, contender, metric, unit, value });
}
