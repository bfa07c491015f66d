/** How many rows judging alerts reads, whatever waits and whatever has happened. */

import assert from "node:assert/strict";
import postgres, { type Sql } from "postgres";
import { type Context, makeClock } from "../../lib/delivery/context.ts";
import { alerts } from "../../lib/maintenance/alerts.ts";
import { makeLog } from "../../lib/observe/log.ts";
import type { Database } from "../../lib/store/database.ts";
import { openUrl, serverDatabase } from "../support/databases.ts";
import { PLAIN_POLICY, storePlainEndpoints } from "../support/file.ts";

const ENDPOINTS = 40;
const PER_ENDPOINT = 2_000;
/** Of these endpoints, those that get alerts. */
const TARGETS = ["e1", "e2"];
const WAITING = ENDPOINTS * PER_ENDPOINT;

/** Deliveries that are overdue at each endpoint, each tried once, and as many that ended, some of them operational. */
async function fill({ admin }: Database): Promise<void> {
  await storePlainEndpoints({ admin } as Database, ENDPOINTS);
  await admin`select make_partitions(first_id_at(now()))`;
  await admin`
    insert into events (id, type, received_at, payload)
    select first_id_at(now() - n * interval '1 ms'),
      case when n % 100 = 0 then 'webhooks.alert.began' else 'booking.created' end, now(), '{}'
    from generate_series(1, ${2 * PER_ENDPOINT}::int) n`;
  await admin`
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at, attempts, counted,
      last_outcome, last_attempt_at)
    select delivery_of(e.id, n.no), e.id, n.no, now(), now() - interval '10 minutes', 1, 1, 'timeout', now()
    from (select id from events order by id limit ${PER_ENDPOINT}) e cross join endpoints n`;
  await admin`
    insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at, outcome)
    select id, 1, endpoint_no, 1, now(), now(), 'timeout' from pending_deliveries`;
  await admin`
    insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts,
      last_outcome, last_attempt_at, endpoint_version, started_at, response_truncated)
    select delivery_of(e.id, n.no), n.no, now(), now(), 'delivered', 1, 1, 'delivered', now() - interval '1 hour', 1, now() - interval '1 hour', false
    from (select id from events order by id desc limit ${PER_ENDPOINT}) e cross join endpoints n`;
}

/** Rows that a statement read: those of tables read as a whole, and entries of indexes. */
interface Cost {
  readonly waiting: number;
  readonly history: number;
  readonly whole: number;
}

function openSession(url: string): Sql {
  return postgres(url, {
    max: 1,
    fetch_types: false,
    onnotice: () => {},
    // Workers would count for themselves.
    connection: { jit: "off", max_parallel_workers_per_gather: "0" },
  });
}

/** Judges in a transaction that is looked into, then undone unless it is `kept`. */
async function judge(sql: Sql, kept: boolean): Promise<Cost & { readonly changes: number }> {
  const ctx = {
    db: { admin: sql } as Database,
    log: makeLog(() => {}, "json"),
    clock: makeClock(),
    random: Math.random,
  } as Context;
  const policy = { ...PLAIN_POLICY, alerts: { ...PLAIN_POLICY.alerts, to: TARGETS } };
  const fleet = { endpoints: new Map(), match: () => [], policy };
  // The counts of earlier transactions are not for this one.
  await sql`select pg_stat_force_next_flush()`;
  await sql.unsafe("begin").simple();
  await sql`update alerting set judged_at = '-infinity'`;
  const changes = await alerts(() => fleet, () => {}).run(ctx, new AbortController().signal);
  const [cost] = await sql<Cost[]>`
    with read as (
      select coalesce(i.indrelid, c.oid)::regclass::text as name, c.relkind = 'r' as is_whole,
        pg_stat_get_xact_tuples_returned(c.oid)::int as rows
      from pg_class c left join pg_index i on i.indexrelid = c.oid
      where c.relkind in ('r', 'i') and c.relnamespace = 'public'::regnamespace
    )
    select coalesce(sum(rows) filter (where name = 'pending_deliveries'), 0)::int as waiting,
      coalesce(sum(rows) filter (where name ~ '^(events|ended_deliveries|attempts)_\\d+$'), 0)::int as history,
      coalesce(sum(rows) filter (where is_whole
        and name ~ '^(pending_deliveries|(events|ended_deliveries|attempts)_\\d+)$'), 0)::int as whole
    from read`;
  await sql.unsafe(kept ? "commit" : "rollback").simple();
  assert.ok(cost !== undefined);
  return { ...cost, changes };
}

Deno.test("judging reads the first due delivery of each endpoint, and counts where an alert changes", async () => {
  await using database = await serverDatabase();
  const { url } = database.section as { url: string };
  await using db = await openUrl(url);
  await fill(db);
  const sql = openSession(url);
  // Without statistics as well: a new backlog has none.
  for (const analyzed of [false, true]) {
    if (analyzed) await db.admin.unsafe("analyze").simple();
    const all = await judge(sql, true);
    assert.equal(all.changes, ENDPOINTS + TARGETS.length);
    assert.equal(all.whole, 0);
    assert.ok(all.waiting >= WAITING, "those that wait are counted");

    const none = await judge(sql, false);
    assert.equal(none.changes, 0);
    assert.equal(none.whole, 0);
    assert.ok(none.waiting <= 2 * ENDPOINTS, `${none.waiting} of ${WAITING} that wait`);
    assert.ok(none.history <= 1_000, `${none.history} rows of history`);

    await db.admin`delete from alerts where subject = 'e3'`;
    const one = await judge(sql, false);
    assert.equal(one.changes, 1);
    assert.ok(one.waiting <= 3 * PER_ENDPOINT, `${one.waiting} of ${WAITING} that wait`);
    await db.admin`delete from alerts`;
  }
  await sql.end();
});
