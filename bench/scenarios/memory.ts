import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { check } from "../harness/check.ts";
import { mustBeAccepted, offer } from "../harness/load.ts";
import { memoryOf, sleep, until } from "../harness/processes.ts";
import type { Contender } from "../contenders/contender.ts";
import { bookme } from "../contenders/bookme.ts";

const ENDPOINTS = 50;

/**
 * Resident memory: idle, and its highest under sustained load; ours on a server for ten minutes. With
 * millions unfinished it is taken by the scenario `growth`.
 */
export async function memory(bench: Bench, contenders: readonly Contender[]): Promise<void> {
  for (const contender of contenders) {
    // The others' is one that all of them hold.
    const rate = contender === bookme && !bench.quick ? 2_000 : 200;
    const seconds = contender === bookme ? (bench.quick ? 6 : 600) : (bench.quick ? 3 : 20);
    await withRun(bench, contender, { answering: ENDPOINTS, owed: "one" }, async (run) => {
      await watch(bench, contender, run, rate, seconds);
    });
  }
}

async function watch(bench: Bench, contender: Contender, run: Run, rate: number, seconds: number) {
  const running = await run.prepared.start();
  const { pid } = running.process;
  await sleep(bench.quick ? 1_000 : 5_000);
  add(bench, contender, "idle", memoryOf(pid));
  const endpoints = Array.from({ length: ENDPOINTS }, (_, i) => i);
  const events = rate * seconds;
  const { port } = running;
  const seen: { at_s: number; mb: number }[] = [];
  const from = performance.now();
  const timer = setInterval(() => {
    seen.push({ at_s: (performance.now() - from) / 1000, mb: memoryOf(pid) });
  }, 500);
  const load = await offer(bench, run, {
    port,
    first: 0,
    events,
    rate,
    connections: 64,
    endpoints,
    patience_ms: 60_000,
  }).finally(() => clearInterval(timer));
  mustBeAccepted(load);
  add(bench, contender, "under load, highest", highest(seen, 0, 1));
  if (contender === bookme) {
    // Tenths of the time: the second, when all is warm, and the last.
    add(bench, contender, "under load, second tenth", highest(seen, 0.1, 0.2));
    add(bench, contender, "under load, last tenth", highest(seen, 0.9, 1));
  }
  await run.receivers.waitFor(events);
  await until("All is recorded", 60_000, async () => await run.prepared.finished() !== false);
  await running.stop();
  await check(run, {
    endpoints: ENDPOINTS,
    numbers: [0, events],
    owes: (endpoint, number) => number % ENDPOINTS === endpoint,
  });
}

function highest(seen: readonly { at_s: number; mb: number }[], from: number, to: number): number {
  const end = seen.at(-1)?.at_s ?? 0;
  return Math.max(
    ...seen.filter(({ at_s }) => at_s >= from * end && at_s <= to * end).map(({ mb }) => mb),
  );
}

function add(bench: Bench, { name }: Contender, variant: string, value: number): void {
  bench.add({ scenario: "memory", variant, contender: name, metric: "memory", unit: "MB", value });
  bench.log(`${name}, ${variant}: ${Math.round(value)} MB`);
}
