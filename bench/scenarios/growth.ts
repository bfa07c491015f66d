import type { Sql } from "postgres";
import postgres from "postgres";
import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { check } from "../harness/check.ts";
import { memoryOf, until } from "../harness/processes.ts";
import { median } from "../harness/stats.ts";
import { bookme, openServer } from "../contenders/bookme.ts";
import type { Contender } from "../contenders/contender.ts";
import { claim, type Room } from "../../lib/store/claims.ts";

const ENDPOINTS = 50;
const CLAIMS = 60;
const ROOM = 10;

/**
 * Claim time and delivery rate with 10 thousand, 1 and 5 million unfinished deliveries, half of them
 * due and half in an hour; and again while a long transaction keeps dead rows from being removed.
 * The peers' rate at the first two sizes.
 */
export async function growth(bench: Bench, contenders: readonly Contender[]): Promise<void> {
  const sizes = bench.quick ? [2_000, 20_000, 100_000] : [10_000, 1_000_000, 5_000_000];
  const [small = 0, middle = 0, large = 0] = sizes;
  for (const contender of contenders) {
    if (contender === bookme) {
      for (const size of [small, middle, large]) await one(bench, contender, size, "");
      await one(bench, contender, middle, ", dead rows pinned");
    } else {
      for (const size of [small, middle]) await one(bench, contender, size, "");
    }
  }
}

async function one(bench: Bench, contender: Contender, size: number, pinned: string) {
  const variant = `${label(size)} unfinished${pinned}`;
  const options = { answering: ENDPOINTS, owed: "all", yielding: true } as const;
  await withRun(bench, contender, options, async (run) => {
    const endpoints = [0, ENDPOINTS] as const;
    const events = size / ENDPOINTS;
    await run.prepared.load({ first: 0, events, endpoints, shape: "fan", later: "half" });
    await run.database.settle();
    const pin = pinned === "" ? undefined : await openPin(run.database.url);
    try {
      if (contender === bookme) await timeClaims(bench, run, variant, pinned !== "");
      await measureRate(bench, contender, run, size, variant);
    } finally {
      await pin?.end({ timeout: 1 });
    }
  });
}

/** A number of rows as the report writes it: `10 k`, `5 M`. */
export function label(size: number): string {
  return size >= 1_000_000 ? `${size / 1_000_000} M` : `${size / 1_000} k`;
}

// A transaction that has looked at the database and stays open.
async function openPin(url: string): Promise<Sql> {
  const sql = postgres(url, { max: 1, idle_timeout: 0, max_lifetime: null, onnotice: () => {} });
  await sql.unsafe("begin isolation level repeatable read; select count(*) from endpoints")
    .simple();
  return sql;
}

/**
 * The daemon's own claim(), 500 rows over 50 endpoints. Each claim's rows are deleted afterwards, as
 * recording would, and what they cost the next claim shows; where nothing is pinned they are given
 * back, so that a small backlog lasts.
 */
async function timeClaims(bench: Bench, run: Run, variant: string, pinned: boolean): Promise<void> {
  const db = await openServer(run.database.url);
  try {
    const endpoints = await db.admin<{ no: number }[]>`select no from endpoints order by no`;
    const floors = new Map<number, string>();
    const times: number[] = [];
    const [due] = await run.database.sql<{ count: number }[]>`
      select count(*)::int from pending_deliveries where due_at <= now()`;
    // What is deleted must not use up what the daemon is to send.
    const claims = pinned ? Math.min(CLAIMS, (due?.count ?? 0) / 2 / (ENDPOINTS * ROOM)) : CLAIMS;
    for (let i = 0; i < claims; i++) {
      const rooms: Room[] = endpoints.map(({ no }) => ({
        endpoint_no: no,
        room: ROOM,
        max_attempts: 7,
        floor: floors.get(no) ?? "0",
        concurrency: null,
        interval_us: null,
      }));
      const from = performance.now();
      const claimed = await claim(db.engine, rooms, { ms: 90_000, holder: 1 });
      times.push(performance.now() - from);
      const uuids = claimed.map(({ uuid }) => uuid);
      if (pinned) {
        for (const { endpoint_no, due } of claimed) floors.set(endpoint_no, due);
        await run.database.sql`delete from pending_deliveries where id = any(${uuids}::uuid[])`;
      } else {
        await run.database.sql`
          update pending_deliveries set leased_until = null, token = 0
          where id = any(${uuids}::uuid[])`;
      }
    }
    const value = median(pinned ? times.slice(-20) : times.slice(10));
    add(bench, bookme, variant, "claim of 500", "ms", value);
    bench.log(`${variant}: claiming 500 takes ${value.toFixed(2)} ms`);
    // The claims of the daemon itself, which come next, are told apart from these.
    await run.database.sql`create extension if not exists pg_stat_statements`;
    await run.database.sql`select pg_stat_statements_reset()`;
  } finally {
    await db.close();
  }
}

async function measureRate(
  bench: Bench,
  contender: Contender,
  run: Run,
  size: number,
  variant: string,
): Promise<void> {
  const before = await gone(contender, run, size);
  const due = size / 2 - before;
  const wanted = Math.min(due, bench.quick ? 5_000 : 100_000);
  const running = await run.prepared.start("send");
  const { first, last, count } = await run.receivers.waitFor(wanted, 60_000);
  const rate = count / ((last ?? NaN) - (first ?? NaN)) * 1000;
  const mb = memoryOf(running.process.pid);
  if (wanted === due) {
    await until("All is recorded", 60_000, async () => await run.prepared.finished() !== false);
  }
  await running.stop();
  add(bench, contender, variant, "rate", "deliveries/s", rate);
  add(bench, contender, variant, "memory", "MB", mb);
  bench.log(`${contender.name}, ${variant}: ${Math.round(rate)}/s, ${Math.round(mb)} MB`);
  if (contender === bookme) await reportOwnClaims(bench, run, variant);
  // Where the backlog was taken to its end, all that was due must have arrived.
  const all = wanted === due && before === 0;
  await check(run, {
    endpoints: ENDPOINTS,
    numbers: [0, size / ENDPOINTS],
    owes: (_, number) => all && number % 2 === 0,
  });
}

// What timing the claims has taken away.
async function gone(contender: Contender, run: Run, size: number): Promise<number> {
  if (contender !== bookme) return 0;
  const [row] = await run.database.sql<{ left: number }[]>`
    select count(*)::int as left from pending_deliveries`;
  return size - (row?.left ?? 0);
}

// As PostgreSQL saw the daemon's claims, whatever their number of rows, for 500 rows.
async function reportOwnClaims(bench: Bench, run: Run, variant: string): Promise<void> {
  const [row] = await run.database.sql<{ total_ms: number; rows: number; calls: number }[]>`
    select total_exec_time as total_ms, rows::int, calls::int from pg_stat_statements
    where query like '%pending_deliveries%' and query like '%skip locked%'
      and query like '%cross join lateral%' and query like '%payload%'
    order by calls desc limit 1`;
  if (row === undefined || row.rows === 0) return;
  const value = row.total_ms / row.rows * 500;
  add(bench, bookme, variant, "daemon's claims, per 500 rows", "ms", value);
  add(bench, bookme, variant, "daemon's claims, rows each", "rows", row.rows / row.calls);
}

function add(
  bench: Bench,
  { name }: Contender,
  variant: string,
  metric: string,
  unit: string,
  value: number,
): void {
  bench.add({ scenario: "growth", variant, contender: name, metric, unit, value });
}
