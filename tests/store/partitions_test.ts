import assert from "node:assert/strict";
import type { Sql } from "postgres";
import { firstUuidAt } from "../../lib/core/ids.ts";
import { makeAhead, makePartitions } from "../../lib/store/partitions.ts";
import { booking, endpoint, startDaemon } from "../support/daemon.ts";
import { onBoth, onServer, openUrl, server } from "../support/databases.ts";
import { connectTo } from "../support/postgres.ts";
import { startReceiver } from "../support/receiver.ts";
import { travelDatabase } from "../support/travel.ts";

const WEEK_MS = 7 * 86_400_000;

/** The partitions, oldest first: when they begin, their weeks, and how many tables they have. */
async function partitions(sql: Sql): Promise<string[]> {
  const rows = await sql<{ first: string; weeks: number; attached: number; tables: number }[]>`
    select to_char(time_of(first_id) at time zone 'UTC', 'Dy YYYY-MM-DD HH24:MI') as first,
      (extract(epoch from time_of(last_id) - time_of(first_id)) / 604800)::float8 as weeks,
      (select count(*) filter (where l.is_attached and not l.is_leaving)::int
        from partitions_at(first_id) l) as attached,
      (select count(*)::int from pg_partitioned_table) as tables
    from partitions order by first_id`;
  return rows.map(({ first, weeks, attached, tables }) =>
    `${first} ${weeks}${attached === tables ? "" : ` ${attached} of ${tables}`}`
  );
}

const at = (time: string) => firstUuidAt(Date.parse(time));

onBoth("time_of() and first_id_at() read ids as the program writes them", async (database) => {
  await using db = await database.open();
  for (const ms of [0, 1, 1_764_349_200_123, 2 ** 47, 253_402_300_799_999]) {
    const uuid = firstUuidAt(ms);
    const [row] = await db.admin<{ ms: string; first: string }[]>`
      select (extract(epoch from time_of(${uuid}::uuid)) * 1000)::bigint::text as ms,
        first_id_at('epoch'::timestamptz + ${ms}::bigint * interval '1 ms')::text as first`;
    assert.deepEqual({ ...row }, { ms: String(ms), first: uuid });
  }
});

onBoth(
  "partitions of this week and the next are there once a database is open",
  async (database) => {
    await using db = await database.open();
    const [row] = await db.admin<{ weeks: number; this: string; next: string }[]>`
    select count(*)::int as weeks, min(first_id::text) as this, max(first_id::text) as next
    from partitions`;
    const monday_ms = Math.floor((Date.now() - 4 * 86_400_000) / WEEK_MS) * WEEK_MS +
      4 * 86_400_000;
    assert.deepEqual({ ...row }, {
      weeks: 2,
      this: firstUuidAt(monday_ms),
      next: firstUuidAt(monday_ms + WEEK_MS),
    });
    await makeAhead(db.admin);
    assert.equal((await partitions(db.admin)).length, 2);
  },
);

onBoth("make_partitions() covers weeks from Monday, 00:00 UTC, once", async (database) => {
  await using db = await database.open();
  const [, ...ahead] = await partitions(db.admin);
  const ids = ["2020-03-02T00:00Z", "2020-03-08T23:59:59.999Z", "2020-02-24T12:00Z"].map(at);
  await makePartitions(db.admin, [...ids, ...ids, firstUuidAt(0)]);
  assert.deepEqual((await partitions(db.admin)).slice(0, 3), [
    // Ids begin on a Thursday.
    `Thu 1970-01-01 00:00 ${4 / 7}`,
    "Mon 2020-02-24 00:00 1",
    "Mon 2020-03-02 00:00 1",
  ]);
  // Kept for a year, they have seven weeks each, but never overlap.
  await db.admin`
    update file_in_force set policy = ${
    JSON.stringify({ retention: { events_ms: 365 * 86_400_000 } })
  }
      ::text::jsonb`;
  await makePartitions(db.admin, ["2020-03-09T00:00Z", "2020-02-03T00:00Z"].map(at));
  assert.deepEqual((await partitions(db.admin)).slice(1, 5), [
    "Mon 2020-02-03 00:00 3",
    "Mon 2020-02-24 00:00 1",
    "Mon 2020-03-02 00:00 1",
    "Mon 2020-03-09 00:00 7",
  ]);
  assert.deepEqual((await partitions(db.admin)).slice(-1), ahead);
});

onServer(
  "make_partitions() may be called by many at once, and waits for no reader",
  async (database) => {
    const { url } = database.section as { url: string };
    const opened = await Promise.all(Array.from({ length: 5 }, () => database.open()));
    await using report = connectTo(url);
    await report.unsafe("begin isolation level repeatable read").simple();
    await report`select count(*) from attempts`;
    const weeks = Array.from({ length: 6 }, (_, n) => firstUuidAt(n * WEEK_MS + 10 * WEEK_MS));
    await Promise.all(opened.map((db) => makePartitions(db.admin, weeks)));
    assert.equal((await partitions(opened[0]!.admin)).length, 2 + 6);
    await report.unsafe("commit").simple();
    for (const db of opened) await db.close();
  },
);

Deno.test("a daemon stores and delivers after its database's clock has jumped by weeks", async () => {
  const database = await travelDatabase(server);
  await using good = await startReceiver();
  await using daemon = await startDaemon({
    database: { url: database.url },
    endpoints: [endpoint("good", good.url)],
  });
  // By maintenance that slept: no partition is made ahead by now.
  await using db = await openUrl(database.url);
  let sent = 0;
  for (const weeks of [0, 5, 3, -6]) {
    await database.forward(weeks * WEEK_MS);
    for (let more = 0; more < 3; more++) {
      assert.equal((await daemon.post(booking(`apt_${sent}`))).status, 202);
      await good.received(++sent);
    }
  }
  const [row] = await db.admin<{ events: number }[]>`select count(*)::int as events from events`;
  assert.equal(row?.events, sent);
  await daemon[Symbol.asyncDispose]();
  await db.close();
  await database.drop();
});
