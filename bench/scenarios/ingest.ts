import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { check } from "../harness/check.ts";
import { mustBeAccepted, offer } from "../harness/load.ts";
import { until } from "../harness/processes.ts";
import type { Contender } from "../contenders/contender.ts";

const CONNECTIONS = 64;

/**
 * Events posted as fast as they are acknowledged, one per request, over 64 connections, owed to 1, 10
 * or 100 endpoints each, while their deliveries are being sent: acknowledged events per second.
 */
export async function ingest(bench: Bench, contenders: readonly Contender[]): Promise<void> {
  const deliveries = bench.quick ? 5_000 : 100_000;
  for (const fan_out of [1, 10, 100]) {
    for (const contender of contenders) {
      const options = { answering: fan_out, owed: "all" } as const;
      const events = deliveries / fan_out / (fan_out === 1 ? 2 : 1);
      await withRun(
        bench,
        contender,
        options,
        (run) => take(bench, contender, run, events, fan_out),
      );
    }
  }
}

async function take(
  bench: Bench,
  contender: Contender,
  run: Run,
  events: number,
  fan_out: number,
): Promise<void> {
  const running = await run.prepared.start();
  const { port } = running;
  const load = await offer(bench, run, {
    port,
    first: 0,
    events,
    rate: 0,
    connections: CONNECTIONS,
    endpoints: [],
    patience_ms: 300_000,
  });
  mustBeAccepted(load);
  const rate = events / (Math.max(...load.acknowledged) - load.started) * 1000;
  bench.add({
    scenario: "ingest",
    variant: `fan-out ${fan_out}`,
    contender: contender.name,
    metric: "rate",
    unit: "events/s",
    value: rate,
  });
  bench.log(`${contender.name}, fan-out ${fan_out}: ${Math.round(rate)} events/s`);
  await run.receivers.waitFor(events * fan_out, 60_000);
  await until(
    "Everything is recorded",
    60_000,
    async () => await run.prepared.finished() !== false,
  );
  await running.stop();
  await check(run, { endpoints: fan_out, numbers: [0, events], owes: () => true });
}
