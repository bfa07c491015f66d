import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { check } from "../harness/check.ts";
import { cpuOf, makeWorker, startProcess, until } from "../harness/processes.ts";
import { startReceivers } from "../harness/receivers.ts";
import type { Contender } from "../contenders/contender.ts";

const ENDPOINTS = 50;
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

async function drainOne(bench: Bench, contender: Contender, run: Run, events: number) {
  const { prepared, receivers, database } = run;
  const endpoints = [0, ENDPOINTS] as const;
  await prepared.load({ first: 0, events, endpoints, shape: "spread", later: "none" });
  await database.settle();
  const running = await prepared.start("send");
  const { pid } = running.process;
  // CPU from when it is under way: starting is another scenario's.
  const under_way = await receivers.waitFor(events / 50);
  const cpu_before = cpuOf(pid) + bench.server.cpu_ms();
  const { first, last } = await receivers.waitFor(events);
  const done = await prepared.finished() === undefined ? last : await untilFinished(run);
  const cpu_ms = cpuOf(pid) + bench.server.cpu_ms() - cpu_before;
  await running.stop();
  await check(run, {
    endpoints: ENDPOINTS,
    numbers: [0, events],
    owes: (endpoint, number) => number % ENDPOINTS === endpoint,
  });
  const rate = events / ((done ?? NaN) - (first ?? NaN)) * 1000;
  const cpu_us = cpu_ms * 1000 / (events - under_way.count);
  report(bench, contender.name, rate, cpu_us);
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
  report(bench, "ceiling", rate, cpu_ms * 1000 / (events - under_way.count));
  await worker.process.stop();
  await receivers.stop();
}

function report(bench: Bench, contender: string, rate: number, cpu_us: number): void {
  const scenario = "drain";
  const variant = "";
  bench.add({ scenario, variant, contender, metric: "rate", unit: "deliveries/s", value: rate });
  bench.add({ scenario, variant, contender, metric: "CPU", unit: "µs/delivery", value: cpu_us });
  bench.log(`${contender}: ${Math.round(rate)}/s, ${Math.round(cpu_us)} µs`);
}
