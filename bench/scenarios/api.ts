import type { Sql } from "postgres";
import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { median, quantile } from "../harness/stats.ts";
import { bookme, openServer, startDaemon } from "../contenders/bookme.ts";
import { BODY_PARTS, NUMBER_DIGITS } from "../workload.ts";
import { deliveryId } from "../../lib/core/ids.ts";
import { OUTCOMES } from "../../lib/core/outcome.ts";
import { literal } from "../../lib/store/arrays.ts";
import { rollUp } from "../../lib/store/stats.ts";
import { label } from "./growth.ts";

const ENDPOINTS = 10;
/** One delivery of so many has failed, after so many attempts; the others needed one. */
const [FAILED_EVERY, ATTEMPTS_OF_FAILED] = [20, 6];
const ATTEMPTS_PER_EVENT = ENDPOINTS * (1 + (ATTEMPTS_OF_FAILED - 1) / FAILED_EVERY);
/** Events that one statement stores. */
const PORTION = 4_000;
const DAY_MS = 86_400_000;
const PAGE = 100;
const WARM_UP = 20;
const TOKEN = "admin-token-of-the-bench-0123";

/** One of the calls: its name, and its path the nth time. */
interface Call {
  readonly name: string;
  readonly path: (nth: number) => string;
}

/** A daemon with a history. */
interface Side {
  readonly url: string;
  readonly calls: readonly Call[];
  stop(): Promise<void>;
}

/**
 * How long the admin API's calls take with 10 million attempts of the last 24 hours, and with
 * 10 thousand: two daemons on one server, asked in turn, one call at a time.
 */
export async function api(bench: Bench): Promise<void> {
  const sizes = [10_000, bench.quick ? 200_000 : 10_000_000] as const;
  await withHistory(
    bench,
    sizes[0],
    (startFew) =>
      withHistory(bench, sizes[1], async (startMany) => {
        const sides = [await startFew(), await startMany()] as const;
        for (const [i, { name }] of sides[0].calls.entries()) {
          report(bench, name, sizes, await ask(sides, i, bench.quick ? 100 : 500));
        }
        for (const side of sides) await side.stop();
      }),
  );
}

// The daemons start only when all is loaded: a history that stands still is what is measured.
async function withHistory(
  bench: Bench,
  attempts: number,
  use: (start: () => Promise<Side>) => Promise<void>,
): Promise<void> {
  await withRun(bench, bookme, { answering: ENDPOINTS, owed: "all" }, async (run) => {
    const from = performance.now();
    await load(run.database.sql, attempts / ATTEMPTS_PER_EVENT);
    await count(run);
    await run.database.settle();
    const seconds = (performance.now() - from) / 1000;
    bench.log(`${label(attempts)} attempts loaded in ${seconds.toFixed(0)} s`);
    await use(() => start(run));
  });
}

async function start({ setup, database }: Run): Promise<Side> {
  const admin = { tokens: [{ name: "bench", token: TOKEN, role: "admin" }] };
  const { process, port } = await startDaemon(setup, { url: database.url }, { admin });
  const url = `http://127.0.0.1:${port}/api/`;
  const calls = await callsOf(database.sql, url);
  return { url, calls, stop: async () => void await process.stop() };
}

/** The values that all attempts have, or that follow from their time. */
const ATTEMPT = `1, at, '127.0.0.1:8080', extract(epoch from at)::bigint,
  decode(repeat('0123456789abcdef', 4), 'hex'), decode(repeat('0123456789abcdef', 4), 'hex'),
  e'HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nContent-Length: 2\\r\\n\\r\\n', 'ok'::bytea, false`;

/** Stores events of the last 24 hours, each ended at every endpoint, in portions. */
async function load(sql: Sql, events: number): Promise<void> {
  await sql`select make_partitions(first_id_at(now() - interval '25 hours'))`;
  for (let first = 0; first < events; first += PORTION) {
    const last = Math.min(first + PORTION, events) - 1;
    // By the clock of each portion: when all is loaded, the last hour is as full as the others.
    const end_ms = Date.now();
    await sql`
      with numbers as (
        select n, (${end_ms}::float8 - ${DAY_MS}::float8 * (${events}::int - n) / ${events}::int)
          ::bigint as ms
        from generate_series(${first}::int, ${last}::int) n
      ), fresh as materialized (
        select n, to_timestamp(ms / 1000.0) as at,
          lpad(to_hex(ms), 12, '0') || '700080000000' as digits
        from numbers
      ), stored as (
        insert into events (id, type, business, subject, confirmation, received_at, payload)
        select (digits || '00000000')::uuid, 'booking.created', 'bus_' || n % 1000, 'apt_' || n,
          'BK' || n, at, ${BODY_PARTS.before}::text || 'bus_' || n % 1000 ||
          ${BODY_PARTS.middle}::text || lpad(n::text, ${NUMBER_DIGITS}::int, '0') ||
          ${BODY_PARTS.after}::text
        from fresh
      ), owed as materialized (
        select *, case when failed then 'http_5xx' else 'delivered' end as outcome,
          case when failed then 503 else 200 end as status
        from (
          select f.at, e.no, (digits || lpad(to_hex(e.no), 8, '0'))::uuid as id,
            5 * 2 ^ (random() * 5) * interval '1 ms' as duration,
            (f.n + e.no) % ${FAILED_EVERY}::int = 0 as failed
          from fresh f cross join endpoints e
        ) x
      ), ended as (
        insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts,
          last_outcome, last_status, last_attempt_at, endpoint_version, started_at, address,
          request_timestamp, request_signature, request_webhook_signature, response_head, response_body,
          response_truncated)
        select id, no, at, at + duration, case when failed then 'failed' else 'delivered' end, 1,
          case when failed then ${ATTEMPTS_OF_FAILED}::int else 1 end, outcome, status, at + duration,
          ${sql.unsafe(ATTEMPT)}
        from owed
      )
      insert into attempts (delivery_id, number, endpoint_no, outcome, status, ended_at, endpoint_version,
        started_at, address, request_timestamp, request_signature,
        request_webhook_signature, response_head, response_body, response_truncated)
      select id, number, no, outcome, status, at + duration, ${sql.unsafe(ATTEMPT)}
      from owed cross join generate_series(1, ${ATTEMPTS_OF_FAILED - 1}::int) number
      where failed order by id, number`;
  }
}

// As the daemon's sweep does it, which would take its time over a whole day.
async function count(run: Run): Promise<void> {
  const db = await openServer(run.database.url);
  try {
    await db.admin`
      insert into uncounted_attempts
        (recorded_at, endpoint_nos, outcomes, numbers, durations_ms, ages_ms, lags_ms)
      select date_trunc('minute', ended_at), array_agg(endpoint_no),
        array_agg(array_position(${literal(OUTCOMES)}::text[], outcome)::smallint),
        array_agg(number), array_agg(ms::real), array_agg(ms::real), array_agg(0::real)
      from attempts_all, lateral (select date_part('epoch', ended_at - started_at) * 1000 as ms) d
      -- As many in a row as one statement records.
      group by date_trunc('minute', ended_at), hashtext(delivery_id::text) % 16`;
    while ((await rollUp(db.admin)).is_behind);
  } finally {
    await db.close();
  }
}

async function callsOf(sql: Sql, url: string): Promise<Call[]> {
  const rows = await sql<{ id: string }[]>`
    select id from ended_deliveries where status = 'failed' order by random() limit 500`;
  const ids = rows.map(({ id }) => deliveryId(id));
  let cursor = "";
  for (let page = 1; page < PAGE; page++) {
    const { next_cursor } = await get(`${url}deliveries${cursor}`);
    if (typeof next_cursor !== "string") throw new Error(`Page ${page} is the last one`);
    cursor = `?cursor=${next_cursor}`;
  }
  const fixed = (name: string, path: string): Call => ({ name, path: () => path });
  return [
    fixed("deliveries", "deliveries"),
    fixed("deliveries, failed", "deliveries?status=failed"),
    fixed("deliveries, one endpoint", "deliveries?endpoint=e3"),
    fixed(`deliveries, page ${PAGE}`, `deliveries${cursor}`),
    fixed("events", "events"),
    { name: "one delivery", path: (nth) => `deliveries/${ids[nth % ids.length]}` },
    fixed("endpoints", "endpoints?limit=5"),
    fixed("one endpoint", "endpoints/e3"),
    fixed("stats, 1h", "stats?window=1h"),
    fixed("stats, 24h", "stats?window=24h"),
  ];
}

/** Asks both sides in turn for their `i`th call; answers each side's times in milliseconds. */
async function ask(
  sides: readonly [Side, Side],
  i: number,
  times: number,
): Promise<readonly [number[], number[]]> {
  const found: readonly [number[], number[]] = [[], []];
  for (let nth = -WARM_UP; nth < times; nth++) {
    for (const [which, { url, calls }] of sides.entries()) {
      const call = calls[i];
      if (call === undefined) continue;
      const from = performance.now();
      const answer = await get(url + call.path(Math.abs(nth)));
      if (nth >= 0) found[which]?.push(performance.now() - from);
      if (!isWhole(answer)) throw new Error(`${call.name}: ${JSON.stringify(answer)}`);
    }
  }
  return found;
}

interface Answer {
  readonly data?: readonly unknown[];
  readonly next_cursor?: string | null;
  readonly attempts?: readonly unknown[];
  readonly totals?: { readonly attempts: number };
  readonly last_success_at?: string | null;
}

async function get(url: string): Promise<Answer> {
  const response = await fetch(url, { headers: { authorization: `Bearer ${TOKEN}` } });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url}: ${response.status} ${text}`);
  return JSON.parse(text);
}

// A page has a next one, a failed delivery all of its attempts, and statistics have counted some.
function isWhole({ data, next_cursor, attempts, totals, last_success_at }: Answer): boolean {
  if (last_success_at !== undefined) return last_success_at !== null;
  if (data !== undefined) return data.length > 0 && typeof next_cursor === "string";
  if (attempts !== undefined) return attempts.length === ATTEMPTS_OF_FAILED;
  return totals !== undefined && totals.attempts > 0;
}

function report(
  bench: Bench,
  name: string,
  sizes: readonly [number, number],
  times: readonly [number[], number[]],
): void {
  const add = (variant: string, metric: string, unit: string, value: number) =>
    bench.add({ scenario: "api", variant, contender: bookme.name, metric, unit, value });
  const quantiles = [["p50", median], ["p99", (list: number[]) => quantile(list, 0.99)]] as const;
  for (const [metric, of] of quantiles) {
    const [few, many] = [of(times[0]), of(times[1])];
    const [small, large] = [label(sizes[0]), label(sizes[1])];
    add(`${name}, ${small} attempts`, metric, "ms", few);
    add(`${name}, ${large} attempts`, metric, "ms", many);
    add(`${name}, ${large} attempts`, `${metric} against ${small}`, "×", many / few);
    const both = `${few.toFixed(2)} ms and ${many.toFixed(2)} ms`;
    bench.log(`${name}: ${metric} ${both}, ${(many / few).toFixed(2)} ×`);
  }
}
