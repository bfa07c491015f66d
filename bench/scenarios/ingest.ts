import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { check } from "../harness/check.ts";
import { mustBeAccepted, offer } from "../harness/load.ts";
import { until } from "../harness/processes.ts";
import type { Contender } from "../contenders/contender.ts";

const CONNECTIONS = 64;

/** Most deliveries of one run. */
const DELIVERIES = 100_000;

/**
 * Events posted as fast as they are acknowledged, one per request, over 64 connections, owed to 1, 10
 * or 100 endpoints each, while their deliveries are being sent: acknowledged events per second, and the WAL
 * of each delivery from its post until it is recorded.
 */
export async function ingest(bench: Bench, contenders: readonly Contender[]): Promise<void> {
  for (const fan_out of [1, 10, 100]) {
    for (const contender of contenders) {
      const options = { answering: fan_out, owed: "all" } as const;
      await withRun(bench, contender, options, (run) => take(bench, contender, run, fan_out));
    }
  }
}

async function take(
  bench: Bench,
  contender: Contender,
  run: Run,
  fan_out: number,
): Promise<void> {
  const running = await run.prepared.start();
  const wal_before = await bench.server.wal_bytes();
  const load = await offer(bench, run, {
    port: running.port,
    first: 0,
    events: DELIVERIES / fan_out,
    limit_ms: { quick: 1_000, short: 3_000, full: 10_000 }[bench.size],
    rate: 0,
    connections: CONNECTIONS,
    endpoints: [],
    patience_ms: 300_000,
  });
  mustBeAccepted(load);
  const { events } = load.options;
  const add = (metric: string, unit: string, value: number) => {
    const variant = `fan-out ${fan_out}`;
    bench.add({ scenario: "ingest", variant, contender: contender.name, metric, unit, value });
    bench.log(`${contender.name}, ${variant}: ${metric} ${Math.round(value)} ${unit}`);
  };
  add("rate", "events/s", events / (load.ended - load.started) * 1000);
  await run.receivers.waitFor(events * fan_out, 60_000);
  let recorded: boolean | undefined;
  await until("Everything is recorded", 60_000, async () => {
    recorded = await run.prepared.finished();
    return recorded !== false;
  });
  const wal_bytes = await bench.server.wal_bytes() - wal_before;
  // An embedded one writes its own.
  if (recorded) add("WAL, post to recorded", "B/delivery", wal_bytes / events / fan_out);
  await running.stop();
  await check(run, { endpoints: fan_out, numbers: [0, events], owes: () => true });
}
