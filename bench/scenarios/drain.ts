import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { check } from "../harness/check.ts";
import { cpuOf, makeWorker, startProcess, until } from "../harness/processes.ts";
import { startReceivers } from "../harness/receivers.ts";
import type { Contender } from "../contenders/contender.ts";

/** Endpoints that the backlog is spread over. */
export const ENDPOINTS = 50;
/** `delivery.concurrency` of the defaults. */
const CONCURRENCY = 256;

/**
 * A backlog of due deliveries over 50 endpoints, from the first arrival until the last one is
 * recorded (embedded, where nobody else can look, until it has arrived).
 */
export async function drain(bench: Bench, contenders: readonly Contender[]): Promise<void> {
  const events = bench.quick ? 10_000 : 100_000;
  for (const contender of contenders) {
    const options = { answering: ENDPOINTS, owed: "one", yielding: true } as const;
    await withRun(bench, contender, options, (run) => drainOne(bench, contender, run, events));
  }
  await ceiling(bench, events);
}

/** Drains a backlog of `events` and reports it under `scenario`. */
export async function drainOne(
  bench: Bench,
  contender: Contender,
  run: Run,
  events: number,
  scenario = "drain",
): Promise<void> {
  const { prepared, receivers, database } = run;
  const endpoints = [0, ENDPOINTS] as const;
  await prepared.load({ first: 0, events, endpoints, shape: "spread", later: "none" });
  await database.settle();
  const running = await prepared.start("send");
  // Costs from when it is under way: starting is another scenario's.
  const under_way = await receivers.waitFor(events / 50);
  const before = await costsOf(bench, running.process.pid);
  const { first, last } = await receivers.waitFor(events);
  const on_server = await prepared.finished() !== undefined;
  const done = on_server ? await untilFinished(run) : last;
  const after = await costsOf(bench, running.process.pid);
  await running.stop();
  await check(run, {
    endpoints: ENDPOINTS,
    numbers: [0, events],
    owes: (endpoint, number) => number % ENDPOINTS === endpoint,
  });
  const rate = events / ((done ?? NaN) - (first ?? NaN)) * 1000;
  const each = (name: keyof Costs) => (after[name] - before[name]) / (events - under_way.count);
  const postgres_us = each("postgres_ms") * 1000;
  report(bench, scenario, contender.name, rate, {
    cpu_us: each("process_ms") * 1000 + postgres_us,
    ...(on_server ? { postgres_us, wal_bytes: each("wal_bytes") } : {}),
  });
}

/** Costs until now: CPU of a process and of the server's, and what the server wrote. */
interface Costs {
  readonly process_ms: number;
  readonly postgres_ms: number;
  readonly wal_bytes: number;
}

async function costsOf({ server }: Bench, pid: number): Promise<Costs> {
  const wal_bytes = await server.wal_bytes();
  return { process_ms: cpuOf(pid), postgres_ms: server.cpu_ms(), wal_bytes };
}

async function untilFinished({ prepared, receivers }: Run): Promise<number> {
  await until("The backlog is recorded", 60_000, () => prepared.finished(), 5);
  return (await receivers.count()).now;
}

async function ceiling(bench: Bench, events: number): Promise<void> {
  const directory = `${bench.directory}/ceiling`;
  Deno.mkdirSync(directory, { recursive: true });
  const receivers = await startReceivers({
    node: bench.node,
    directory,
    answering: ENDPOINTS,
    yielding: true,
  });
  const script = new URL("../workers/ceiling.ts", import.meta.url).pathname;
  const args = ["run", "--frozen", "-A", script];
  const worker = makeWorker(
    startProcess(Deno.execPath(), args, { log: `${directory}/ceiling.log` }),
  );
  const posting = worker.ask("post", { urls: receivers.urls, events, concurrency: CONCURRENCY });
  const under_way = await receivers.waitFor(events / 50);
  const cpu_before = cpuOf(worker.process.pid);
  await posting;
  const cpu_ms = cpuOf(worker.process.pid) - cpu_before;
  const { count, first, last } = await receivers.count();
  if (count !== events) {
    throw new Error(`Check failed: ${count} of ${events} arrived at the ceiling`);
  }
  const rate = events / ((last ?? NaN) - (first ?? NaN)) * 1000;
  report(bench, "drain", "ceiling", rate, { cpu_us: cpu_ms * 1000 / (events - under_way.count) });
  await worker.process.stop();
  await receivers.stop();
}

/** Costs of one delivery; those of the server only if the contender uses it. */
interface Cost {
  readonly cpu_us: number;
  readonly postgres_us?: number;
  readonly wal_bytes?: number;
}

function report(
  bench: Bench,
  scenario: string,
  contender: string,
  rate: number,
  cost: Cost,
): void {
  const add = (metric: string, unit: string, value: number | undefined) => {
    if (value === undefined) return;
    bench.add({ scenario, variant: "", contender, metric, unit, value });
    bench.log(`${contender}: ${metric} ${Math.round(value)} ${unit}`);
  };
  add("rate", "deliveries/s", rate);
  add("CPU", "µs/delivery", cost.cpu_us);
  add("CPU of PostgreSQL", "µs/delivery", cost.postgres_us);
  add("WAL", "B/delivery", cost.wal_bytes);
}
