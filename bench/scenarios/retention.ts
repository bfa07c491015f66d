import type { Sql } from "postgres";
import { firstUuidAt } from "../../lib/core/ids.ts";
import { BATCH } from "../../lib/maintenance/batches.ts";
import { dropClosed } from "../../lib/store/partitions.ts";
import { blankPayloads, trimAttempts } from "../../lib/store/retention.ts";
import { bookme, openServer, startDaemon } from "../contenders/bookme.ts";
import type { Running } from "../contenders/contender.ts";
import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { latencyOf, mustBeAccepted, offer } from "../harness/load.ts";
import { sleep, until } from "../harness/processes.ts";
import { label } from "./growth.ts";

const ENDPOINTS = 50;
/** Loads with retention, and as many without. */
const LOADS = 5;
/** Old weeks: each load with retention drops one, and then needs others to trim. */
const WEEKS = LOADS + 1;
const FAN_OUT = 10;
/** One delivery of so many needed a second attempt. */
const RETRIED_EVERY = 20;
/** Events that one statement stores. */
const PORTION = 5_000;
const WEEK_MS = 7 * 86_400_000;
const FIRST_WEEK_MS = Date.parse("2023-01-02T00:00:00Z");
/** The bench deletes, not the daemon's own sweep, which comes round when it likes. */
const KEEP_ALL = { retention: { payloads: "3650d" } };

/**
 * Events offered at a fixed rate, alone and during retention, in turn: the bench drops one of six weeks of
 * 2 million deliveries, then removes payloads, old attempts and responses of the next ones until the load ends,
 * with the functions of the daemon's sweep.
 */
export async function retention(bench: Bench): Promise<void> {
  const deliveries = bench.quick ? 300_000 : 12_000_000;
  await withRun(bench, bookme, { answering: ENDPOINTS, owed: "one" }, async (run) => {
    for (let week = 0; week < WEEKS; week++) {
      await fill(run.database.sql, week, deliveries / WEEKS / FAN_OUT);
    }
    await run.database.settle();
    bench.log(`${label(deliveries)} deliveries of ${WEEKS} old weeks loaded`);
    const daemon = await startDaemon(run.setup, { url: run.database.url }, KEEP_ALL);
    const sweep = makeSweep(run);
    const load = { port: daemon.port, first: 0 };
    await offerOnce(bench, run, load, "warm-up");
    for (let round = 0; round < 2 * LOADS; round++) {
      // A B B A: what a round leaves to the next is spread over both.
      const during = [1, 2].includes(round % 4);
      if (during) await offerDuring(bench, run, load, sweep);
      else await offerOnce(bench, run, load, "alone");
    }
    await until("Everything is recorded", 60_000, () => run.prepared.finished());
    await daemon.process.stop();
  });
}

/** Stores events of a week long ago, delivered at ten endpoints each. */
async function fill(sql: Sql, week: number, events: number): Promise<void> {
  const from_ms = FIRST_WEEK_MS + week * WEEK_MS;
  await sql`select make_partitions(${firstUuidAt(from_ms)}::uuid)`;
  for (let n = 0; n < events; n += PORTION) {
    await sql`
      with fresh as materialized (
        select n, first_id_at(at) as id, at from (
          select n, to_timestamp(${from_ms / 1000}::float8) + n * interval '1 ms' as at
          from generate_series(${n}::int, ${Math.min(n + PORTION, events) - 1}::int) n) x
      ), stored as (
        insert into events (id, type, business, subject, confirmation, received_at, payload)
        select id, 'booking.created', 'bus_1', 'apt_1', 'BK1', at, repeat('x', 600) from fresh
      ), owed as materialized (
        select delivery_of(id, no) as id, no, at, (n + no) % ${RETRIED_EVERY}::int = 0 as retried
        from fresh cross join generate_series(1, ${FAN_OUT}::int) no
      ), failed as (
        insert into attempts (delivery_id, number, endpoint_no, outcome, status, started_at, ended_at,
          endpoint_version)
        select id, 1, no, 'http_5xx', 503, at, at, 1 from owed where retried
      )
      insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts,
        last_outcome, last_status, last_attempt_at, endpoint_version, started_at, response_truncated,
        request_signature, request_webhook_signature, response_head)
      select id, no, at, at, 'delivered', 1, case when retried then 2 else 1 end, 'delivered', 200, at, 1,
        at, false, sha256('1'), sha256('2'), repeat('h', 100)
      from owed`;
  }
}

type Load = { readonly port: Running["port"]; first: number };

/** Offers events for some seconds and reports how they fared. */
async function offerOnce(bench: Bench, run: Run, load: Load, variant: string): Promise<void> {
  const { rate, seconds } = bench.quick ? { rate: 200, seconds: 3 } : { rate: 2_000, seconds: 15 };
  const { port, first } = load;
  const events = rate * seconds;
  const endpoints = Array.from({ length: ENDPOINTS }, (_, i) => i);
  const options = { port, first, events, rate, connections: 64, endpoints, patience_ms: 60_000 };
  await run.receivers.reset();
  const offered = await offer(bench, run, options);
  mustBeAccepted(offered);
  load.first += events;
  const { last } = await run.receivers.waitFor(events, 60_000);
  await sleep(200);
  const { arrivals } = await run.receivers.dump();
  const latency = latencyOf(offered, arrivals);
  if (latency.arrived !== events) {
    throw new Error(`Check failed: ${latency.arrived} of ${events} events arrived`);
  }
  if (variant === "warm-up") return;
  add(bench, variant, "rate", "events/s", events / ((last ?? NaN) - offered.started) * 1000);
  add(bench, variant, "post to 202 p99", "ms", latency.answer_p99);
  add(bench, variant, "202 to arrival p99", "ms", latency.ack_p99);
  add(bench, variant, "post to arrival p99", "ms", latency.p99);
}

const DURING = "during retention";

/** Offers events while the sweep is at work, and reports what it got done. */
async function offerDuring(bench: Bench, run: Run, load: Load, sweep: Sweep): Promise<void> {
  const stopping = new AbortController();
  const sweeping = sweep(stopping.signal);
  // Looked at where it is awaited.
  sweeping.catch(() => {});
  await offerOnce(bench, run, load, DURING).finally(() => stopping.abort());
  const { dropped_ms, trimmed, trimming_ms } = await sweeping;
  add(bench, DURING, "dropping a week", "ms", dropped_ms);
  add(bench, DURING, "trimming", "s", trimming_ms / 1000);
  add(bench, DURING, "payloads and deliveries trimmed", "rows/s", trimmed / trimming_ms * 1000);
}

interface Swept {
  readonly dropped_ms: number;
  /** Events without their payload, and deliveries without their old attempts and response. */
  readonly trimmed: number;
  /** Shorter than the load if nothing was left to trim. */
  readonly trimming_ms: number;
}

type Sweep = (stopping: AbortSignal) => Promise<Swept>;

/** Drops the oldest week, then goes on along the events where it stopped. */
function makeSweep({ database: { url, sql } }: Run): Sweep {
  let position: string | null = null;
  return async (stopping) => {
    const db = await openServer(url);
    try {
      const from = performance.now();
      // The sweep drops what has been closed for a minute.
      await sql`
        update partitions set closed_at = now() - interval '2 minutes'
        where first_id = (select first_id from partitions order by first_id limit 1)`;
      const { dropped } = await dropClosed(db.admin, stopping);
      if (dropped !== 1) throw new Error(`${dropped} weeks were dropped, not 1`);
      const dropped_ms = performance.now() - from;
      const trimming_from = performance.now();
      let trimmed = 0;
      let is_last = false;
      while (!stopping.aborted && !is_last) {
        const payloads = await blankPayloads(db.admin, WEEK_MS, position, BATCH);
        const attempts = await trimAttempts(db.admin, WEEK_MS, position, BATCH);
        trimmed += payloads.trimmed + attempts.trimmed;
        position = attempts.position ?? position;
        is_last = attempts.is_last;
      }
      return { dropped_ms, trimmed, trimming_ms: performance.now() - trimming_from };
    } finally {
      await db.close();
    }
  };
}

function add(bench: Bench, variant: string, metric: string, unit: string, value: number): void {
  bench.add({ scenario: "retention", variant, contender: bookme.name, metric, unit, value });
  bench.log(`${variant}: ${metric} ${value.toFixed(1)} ${unit}`);
}
