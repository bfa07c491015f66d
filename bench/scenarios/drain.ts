import { testCertificates } from "../../tests/support/tls.ts";
import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { check } from "../harness/check.ts";
import { limitCores } from "../harness/cpu_share.ts";
import { cpuOf, makeWorker, startProcess, until } from "../harness/processes.ts";
import { startReceivers } from "../harness/receivers.ts";
import type { Contender, Running } from "../contenders/contender.ts";

/** Endpoints that the backlog is spread over. */
export const ENDPOINTS = 50;
/** `delivery.concurrency` of the defaults. */
const CONCURRENCY = 256;

/** What a drain may differ in. */
export interface DrainOptions {
  /** The scenario and the variant that its figures are reported under. */
  readonly scenario: string;
  readonly variant?: string;
  /** Whether the endpoints are `https:`. */
  readonly tls?: boolean;
  /** Processes that send, if that is what varies: the rate then counts from when all of them do. */
  readonly daemons?: number;
  /** What each of them may use of a core. */
  readonly cores?: number;
}

/**
 * A backlog of due deliveries over 50 endpoints, from the first arrival until the last one is
 * recorded (embedded, where nobody else can look, until it has arrived).
 */
export async function drain(bench: Bench, contenders: readonly Contender[]): Promise<void> {
  for (const contender of contenders) await drainOnce(bench, contender, { scenario: "drain" });
  await ceiling(bench, "drain");
}

/** The same over TLS, on connections that are kept. */
export async function drainTls(bench: Bench, contenders: readonly Contender[]): Promise<void> {
  for (const contender of contenders) {
    await drainOnce(bench, contender, { scenario: "drain-tls", tls: true });
  }
  await ceiling(bench, "drain-tls", await testCertificates());
}

/** What a daemon has of a core where the growth by each further one is to be seen. */
const QUARTER = 0.25;

/**
 * The same by one, two and three processes on one database, from when all of them are under way: first
 * with whatever these cores give, then each with a quarter of a core, so that the cores that all share
 * do not end the growth.
 */
export async function daemons(bench: Bench, contenders: readonly Contender[]): Promise<void> {
  for (const cores of [undefined, QUARTER]) {
    for (const daemons of [1, 2, 3]) {
      for (const contender of contenders) {
        const count = daemons === 1 ? "1 daemon" : `${daemons} daemons`;
        const [variant, share] = cores === undefined
          ? [count, {}]
          : [`${count} of a quarter core`, { cores }];
        await drainOnce(bench, contender, { scenario: "daemons", variant, daemons, ...share });
      }
    }
  }
}

/** Deliveries of one drain. */
export function eventsOf({ size }: Bench): number {
  return { quick: 10_000, short: 50_000, full: 100_000 }[size];
}

/** Drains a backlog by a contender with a database to itself, and reports what that costs. */
export async function drainOnce(
  bench: Bench,
  contender: Contender,
  options: DrainOptions,
): Promise<void> {
  const { tls = false } = options;
  const run = { answering: ENDPOINTS, owed: "one", yielding: true, tls } as const;
  await withRun(bench, contender, run, async (run) => {
    const measured = await measure(bench, run, options);
    if (measured === undefined) return bench.log("left out: cores cannot be shared out here");
    report(bench, options, contender.name, measured.rate, measured.costs);
  });
}

async function measure(
  bench: Bench,
  run: Run,
  { daemons, cores }: DrainOptions,
): Promise<Measured | undefined> {
  const { prepared, receivers, database } = run;
  const events = eventsOf(bench);
  const endpoints = [0, ENDPOINTS] as const;
  const bytes_before = await database.bytes();
  await prepared.load({ first: 0, events, endpoints, shape: "spread", later: "none" });
  await database.settle();
  const senders = await startSenders(run, daemons ?? 1);
  const pids = senders.map(({ process }) => process.pid);
  const share = cores === undefined ? undefined : limitCores(pids, cores);
  if (cores !== undefined && share === undefined) return undefined;
  // Costs from when it is under way: starting is another scenario's.
  const under_way = await receivers.waitFor(events / 50);
  const before = await costsOf(bench, senders);
  const { first, last } = await receivers.waitFor(events);
  const on_server = await prepared.finished() !== undefined;
  const done = on_server ? await untilFinished(run) : last;
  const after = await costsOf(bench, senders);
  const bytes_drained = await database.bytes();
  for (const sender of senders) await sender.stop();
  share?.remove();
  await database.settle();
  const bytes_vacuumed = await database.bytes();
  await check(run, {
    endpoints: ENDPOINTS,
    numbers: [0, events],
    owes: (endpoint, number) => number % ENDPOINTS === endpoint,
  });
  const each = (name: keyof Costs) => (after[name] - before[name]) / (events - under_way.count);
  const sender_us = each("senders_ms") * 1000;
  const postgres_us = each("postgres_ms") * 1000;
  const on_disk = {
    postgres_us,
    wal_bytes: each("wal_bytes"),
    drained_bytes: (bytes_drained - bytes_before) / events,
    vacuumed_bytes: (bytes_vacuumed - bytes_before) / events,
  };
  return {
    rate: daemons === undefined
      ? events / ((done ?? NaN) - (first ?? NaN)) * 1000
      : (events - under_way.count) / ((done ?? NaN) - under_way.now) * 1000,
    costs: { cpu_us: sender_us + postgres_us, sender_us, ...(on_server ? on_disk : {}) },
  };
}

/** Starts them at once. Those that are ready first are stopped until all of them are. */
async function startSenders({ prepared }: Run, count: number): Promise<Running[]> {
  const senders = await Promise.all(Array.from({ length: count }, async () => {
    const sender = await prepared.start("send");
    if (count > 1) sender.process.signal("SIGSTOP");
    return sender;
  }));
  for (const { process } of senders) process.signal("SIGCONT");
  return senders;
}

interface Measured {
  /** Deliveries per second. */
  readonly rate: number;
  readonly costs: Cost;
}

/** Costs until now: CPU of the processes that send and of the server's, and what the server wrote. */
interface Costs {
  readonly senders_ms: number;
  readonly postgres_ms: number;
  readonly wal_bytes: number;
}

async function costsOf({ server }: Bench, senders: readonly Running[]): Promise<Costs> {
  const wal_bytes = await server.wal_bytes();
  const senders_ms = senders.reduce((sum, { process }) => sum + cpuOf(process.pid), 0);
  return { senders_ms, postgres_ms: server.cpu_ms(), wal_bytes };
}

async function untilFinished({ prepared, receivers }: Run): Promise<number> {
  await until("The backlog is recorded", 60_000, () => prepared.finished(), 5);
  return (await receivers.count()).now;
}

async function ceiling(
  bench: Bench,
  scenario: string,
  tls?: Awaited<ReturnType<typeof testCertificates>>,
): Promise<void> {
  const events = eventsOf(bench);
  const directory = `${bench.directory}/ceiling`;
  Deno.mkdirSync(directory, { recursive: true });
  const receivers = await startReceivers({
    node: bench.node,
    directory,
    answering: ENDPOINTS,
    certificate: tls?.good,
    yielding: true,
  });
  const script = new URL("../workers/ceiling.ts", import.meta.url).pathname;
  const args = ["run", "--frozen", "-A", script];
  const worker = makeWorker(
    startProcess(Deno.execPath(), args, { log: `${directory}/ceiling.log` }),
  );
  const posting = worker.ask("post", {
    urls: receivers.urls,
    events,
    concurrency: CONCURRENCY,
    authority: tls?.files.ca,
  });
  const under_way = await receivers.waitFor(events / 50);
  const cpu_before = cpuOf(worker.process.pid);
  await posting;
  const cpu_ms = cpuOf(worker.process.pid) - cpu_before;
  const { count, first, last } = await receivers.count();
  if (count !== events) {
    throw new Error(`Check failed: ${count} of ${events} arrived at the ceiling`);
  }
  const rate = events / ((last ?? NaN) - (first ?? NaN)) * 1000;
  const cpu_us = cpu_ms * 1000 / (events - under_way.count);
  report(bench, { scenario }, "ceiling", rate, { cpu_us });
  await worker.process.stop();
  await receivers.stop();
}

/** Costs of one delivery; those of the server only if the contender uses it. */
interface Cost {
  readonly cpu_us: number;
  readonly sender_us?: number;
  readonly postgres_us?: number;
  readonly wal_bytes?: number;
  /** What the database grew by, the event included: once drained, and after a vacuum. */
  readonly drained_bytes?: number;
  readonly vacuumed_bytes?: number;
}

function report(
  bench: Bench,
  { scenario, variant = "" }: DrainOptions,
  contender: string,
  rate: number,
  cost: Cost,
): void {
  const add = (metric: string, unit: string, value: number | undefined) => {
    if (value === undefined) return;
    bench.add({ scenario, variant, contender, metric, unit, value });
    bench.log(
      `${contender}${variant && `, ${variant}`}: ${metric} ${Math.round(value)} ${unit}`,
    );
  };
  add("rate", "deliveries/s", rate);
  add("CPU", "µs/delivery", cost.cpu_us);
  add("CPU of the sending processes", "µs/delivery", cost.sender_us);
  add("CPU of PostgreSQL", "µs/delivery", cost.postgres_us);
  add("WAL", "B/delivery", cost.wal_bytes);
  add("disk, drained", "B/delivery", cost.drained_bytes);
  add("disk, vacuumed", "B/delivery", cost.vacuumed_bytes);
}
