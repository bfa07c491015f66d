import type { Sql } from "postgres";
import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { until } from "../harness/processes.ts";
import { median } from "../harness/stats.ts";
import { bookme, openServer } from "../contenders/bookme.ts";
import { firstUuidAt } from "../../lib/core/ids.ts";
import { dropClosed } from "../../lib/store/partitions.ts";
import { label } from "./growth.ts";

const ENDPOINTS = 50;
const EVENTS_PER_DRAIN = 100_000;
/** Old weeks, one of which is dropped during every other drain. */
const WEEKS = 5;
const FAN_OUT = 10;
/** Events that one statement stores. */
const PORTION = 5_000;
const WEEK_MS = 7 * 86_400_000;
const FIRST_WEEK_MS = Date.parse("2023-01-02T00:00:00Z");

/**
 * Drains alone and during the retention of 10 million deliveries, in turn: a daemon sends a backlog while the
 * sweep's own function drops a week of 2 million.
 */
export async function retention(bench: Bench): Promise<void> {
  const deliveries = bench.quick ? 100_000 : 10_000_000;
  await withRun(
    bench,
    bookme,
    { answering: ENDPOINTS, owed: "one", yielding: true },
    async (run) => {
      for (let week = 0; week < WEEKS; week++) {
        await fill(run.database.sql, week, deliveries / WEEKS / FAN_OUT);
      }
      await run.database.settle();
      bench.log(`${label(deliveries)} deliveries of ${WEEKS} old weeks loaded`);
      const rates = { alone: [] as number[], during: [] as number[] };
      const dropped_ms: number[] = [];
      for (let round = 0; round < 2 * WEEKS; round++) {
        // A B B A: what a round leaves to the next is spread over both.
        const during = [1, 2].includes(round % 4);
        const dropping = during ? () => drop(run).then((ms) => dropped_ms.push(ms)) : undefined;
        rates[during ? "during" : "alone"].push(await drainOnce(run, round, dropping));
      }
      report(bench, rates, dropped_ms);
    },
  );
}

/** Stores events of a week long ago, delivered at ten endpoints each. */
async function fill(sql: Sql, week: number, events: number): Promise<void> {
  const from_ms = FIRST_WEEK_MS + week * WEEK_MS;
  await sql`select make_partitions(${firstUuidAt(from_ms)}::uuid)`;
  for (let n = 0; n < events; n += PORTION) {
    await sql`
      with fresh as materialized (
        select first_id_at(at) as id, at from (
          select to_timestamp(${from_ms / 1000}::float8) + n * interval '1 ms' as at
          from generate_series(${n}::int, ${Math.min(n + PORTION, events) - 1}::int) n) x
      ), stored as (
        insert into events (id, type, business, subject, confirmation, received_at, payload)
        select id, 'booking.created', 'bus_1', 'apt_1', 'BK1', at, repeat('x', 600) from fresh
      )
      insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts,
        last_outcome, last_status, last_attempt_at, endpoint_version, started_at, response_truncated,
        request_signature, request_webhook_signature, response_head)
      select delivery_of(id, no), no, at, at, 'delivered', 1, 1, 'delivered', 200, at, 1, at, false,
        sha256('1'), sha256('2'), repeat('h', 100)
      from fresh cross join generate_series(1, ${FAN_OUT}::int) no`;
  }
}

async function drainOnce(
  { prepared, receivers, database }: Run,
  round: number,
  dropping?: () => Promise<unknown>,
): Promise<number> {
  await receivers.reset();
  await prepared.load({
    first: round * EVENTS_PER_DRAIN,
    events: EVENTS_PER_DRAIN,
    endpoints: [0, ENDPOINTS],
    shape: "spread",
    later: "none",
  });
  await database.settle();
  const running = await prepared.start("send");
  await receivers.waitFor(EVENTS_PER_DRAIN / 50);
  await dropping?.();
  const { first } = await receivers.waitFor(EVENTS_PER_DRAIN);
  await until("The backlog is recorded", 60_000, () => prepared.finished(), 5);
  const { now } = await receivers.count();
  await running.stop();
  return EVENTS_PER_DRAIN / (now - (first ?? NaN)) * 1000;
}

/** Drops the oldest week, as the sweep does once a week has been closed for a minute. */
async function drop({ database: { url, sql } }: Run): Promise<number> {
  const db = await openServer(url);
  try {
    const from = performance.now();
    await sql`
      update partitions set closed_at = now() - interval '2 minutes'
      where first_id = (select first_id from partitions order by first_id limit 1)`;
    const { dropped } = await dropClosed(db.admin, new AbortController().signal);
    if (dropped !== 1) throw new Error(`${dropped} weeks were dropped, not 1`);
    return performance.now() - from;
  } finally {
    await db.close();
  }
}

function report(
  bench: Bench,
  { alone, during }: Record<"alone" | "during", number[]>,
  dropped_ms: readonly number[],
): void {
  const ratio = median(during) / median(alone);
  for (const [variant, values] of Object.entries({ alone, "during retention": during })) {
    for (const value of values) {
      const name = { contender: "bookme-webhooks", metric: "rate", unit: "deliveries/s" };
      bench.add({ scenario: "retention", variant, ...name, value });
    }
    bench.log(`drain ${variant}: ${values.map(Math.round).join(", ")} deliveries/s`);
  }
  bench.log(`ratio ${ratio.toFixed(3)}; a week dropped in ${dropped_ms.map(Math.round)} ms`);
}
