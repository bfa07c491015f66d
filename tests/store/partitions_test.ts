import assert from "node:assert/strict";
import type { Sql } from "postgres";
import { firstUuidAt } from "../../lib/core/ids.ts";
import { closeOld, dropClosed, makeAhead, makePartitions } from "../../lib/store/partitions.ts";
import { vacuum } from "../../lib/store/vacuum.ts";
import { booking, endpoint, startDaemon } from "../support/daemon.ts";
import { embeddedDatabase, onBoth, onServer, openUrl, server } from "../support/databases.ts";
import { connectTo } from "../support/postgres.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { travelDatabase } from "../support/travel.ts";
import { until } from "../support/wait.ts";

const WEEK_MS = 7 * 86_400_000;

/** The partitions, oldest first: when they begin, their weeks, and how many tables they have. */
async function partitions(sql: Sql): Promise<string[]> {
  const rows = await sql<{ first: string; weeks: number; attached: number; tables: number }[]>`
    select to_char(time_of(first_id) at time zone 'UTC', 'Dy YYYY-MM-DD HH24:MI') as first,
      (extract(epoch from time_of(last_id) - time_of(first_id)) / 604800)::float8 as weeks,
      (select count(*) filter (where l.is_attached and not l.is_leaving)::int
        from partitions_at(first_id) l) as attached,
      3 as tables
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

onBoth("makePartitions() makes both weeks of ids around midnight", async (database) => {
  await using db = await database.open();
  await makePartitions(db.admin, ["2020-03-09T00:00:01Z", "2020-03-08T23:59:59Z"].map(at));
  assert.deepEqual((await partitions(db.admin)).slice(0, 2), [
    "Mon 2020-03-02 00:00 1",
    "Mon 2020-03-09 00:00 1",
  ]);
});

onBoth("partitioned tables of other programs are left alone", async (database) => {
  await using db = await database.open();
  await db.admin.unsafe("create table measurements (at date not null) partition by range (at)");
  await makePartitions(db.admin, [OLD]);
  const tables = await db.admin<{ name: string }[]>`
    select relname as name from pg_class where relname like 'measurements%'`;
  assert.deepEqual(tables.map(({ name }) => name), ["measurements"]);
  const { length } = await partitions(db.admin);
  assert.equal(length, 3);
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

const never = new AbortController().signal;
const OLD = at("2020-03-02T00:00Z");
const LEAVES = ["attempts", "ended_deliveries", "events"].map((parent) => ({
  parent,
  leaf: `${parent}_20200302`,
}));

/** Makes an old week with an event, its ended delivery and an attempt, closed two minutes ago. */
async function storeOld(sql: Sql, id = OLD): Promise<void> {
  await makePartitions(sql, [id]);
  await sql.unsafe(`
    insert into events (id, type, received_at, payload) values ('${id}', 'booking.created', now(), '{}');
    insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, reason, token, attempts)
    values ('${id}', 0, now() - interval '31 days', now() - interval '30 days', 'cancelled', 'deselected', 1, 0);
    insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at,
      outcome) values ('${id}', 1, 0, 1, now(), now(), 'timeout');
    update partitions set closed_at = now() - interval '2 minutes' where first_id = '${id}'`)
    .simple();
}

/** Where the old week's rows are: by the parents, and tables that are left of it. */
async function oldWeek(sql: Sql) {
  const [row] = await sql<Record<string, number>[]>`
    select (select count(*)::int from events) as events,
      (select count(*)::int from ended_deliveries) as ended,
      (select count(*)::int from attempts) as attempts,
      (select count(*)::int from pg_class where relname ~ '_20200302$' and relkind = 'r') as tables,
      (select count(*)::int from partitions where first_id = ${OLD}::uuid) as weeks`;
  return Object.values(row ?? {}).join(" ");
}
const [WHOLE, GONE] = ["1 1 1 3 1", "0 0 0 0 0"];

/** Detaches the old week from some of its tables, as a drop does before it is killed. */
async function detach(sql: Sql, leaves: readonly (typeof LEAVES[number])[]): Promise<void> {
  for (const { parent, leaf } of leaves) {
    await sql.unsafe(`alter table ${parent} detach partition ${leaf} concurrently`).simple();
  }
}

const STATES = [[], LEAVES.slice(0, 1), LEAVES.slice(1), LEAVES];

onBoth("a drop of a week goes on after kill -9 between any two of its steps", async (database) => {
  await using db = await database.open();
  for (const detached of STATES) {
    await storeOld(db.admin);
    assert.equal(await oldWeek(db.admin), WHOLE);
    await detach(db.admin, detached);
    assert.deepEqual(await dropClosed(db.admin, never), { dropped: 1, held_up: false });
    assert.equal(await oldWeek(db.admin), GONE);
    assert.deepEqual(await dropClosed(db.admin, never), { dropped: 0, held_up: false });
  }
});

onBoth(
  "a week is not dropped, and is put back, if a delivery of it is pending",
  async (database) => {
    await using db = await database.open();
    await storeOld(db.admin);
    await db.admin`
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
    values (${OLD}::uuid, ${OLD}::uuid, 0, now(), now())`;
    for (const detached of STATES) {
      await detach(db.admin, detached);
      assert.deepEqual(await dropClosed(db.admin, never), { dropped: 0, held_up: false });
      assert.equal(await oldWeek(db.admin), WHOLE);
    }
    // It can also be needed by a writer, while a drop is under way.
    await detach(db.admin, LEAVES);
    await makePartitions(db.admin, [OLD]);
    assert.equal(await oldWeek(db.admin), WHOLE);
    await db.admin`delete from pending_deliveries`;
    assert.equal((await dropClosed(db.admin, never)).dropped, 1);
  },
);

onBoth(
  "a week is not dropped if what came back ends between the closing and the drop",
  async (database) => {
    await using db = await database.open();
    await storeOld(db.admin);
    await db.admin`
      update partitions set made_at = time_of(first_id) where first_id = ${OLD}::uuid`;
    await db.admin`update ended_deliveries set ended_at = now() - interval '30 days'`;
    // A retry that saw it open, and has been waiting since.
    await db.admin`
      insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
      values (${OLD}::uuid, ${OLD}::uuid, 0, now(), now())`;
    await closeOld(db.admin, WEEK_MS);
    await db.admin`delete from pending_deliveries`;
    await db.admin`update ended_deliveries set ended_at = now()`;
    assert.deepEqual(await dropClosed(db.admin, never), { dropped: 0, held_up: false });
    assert.equal(await oldWeek(db.admin), WHOLE);
  },
);

onBoth("a closed week is not dropped if something of it has ended since", async (database) => {
  await using db = await database.open();
  await storeOld(db.admin);
  await db.admin`
    update partitions set closed_at = now() - interval '2 minutes' where first_id = ${OLD}::uuid`;
  // A retry that saw it open was delivered after the last look at what is to stay open.
  await db.admin`update ended_deliveries set ended_at = now()`;
  assert.deepEqual(await dropClosed(db.admin, never), { dropped: 0, held_up: false });
  assert.equal(await oldWeek(db.admin), WHOLE);
  await db.admin`update ended_deliveries set ended_at = now() - interval '30 days'`;
  assert.deepEqual(await dropClosed(db.admin, never), { dropped: 1, held_up: false });
});

onServer("several daemons drop old weeks at once", async (database) => {
  const opened = await Promise.all(Array.from({ length: 3 }, () => database.open()));
  const [first] = opened;
  const weeks = Array.from(
    { length: 5 },
    (_, n) => firstUuidAt(Date.parse("2020-03-02Z") + n * WEEK_MS),
  );
  for (const week of weeks) await storeOld(first!.admin, week);
  let dropped = 0;
  await until("all are dropped", async () => {
    const runs = await Promise.all(opened.map((db) => dropClosed(db.admin, never)));
    dropped += runs.reduce((sum, run) => sum + run.dropped, 0);
    return (await partitions(first!.admin)).length === 2;
  });
  assert.equal(dropped, weeks.length, "each by one of them");
  for (const db of opened) await db.close();
});

onServer("nothing but the drop waits for a long report", async (database) => {
  const { url } = database.section as { url: string };
  await using receiver = await startReceiver(statuses(500, 200, 200));
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s", "0s", "0s"] },
    endpoints: [endpoint("good", receiver.url)],
  });
  await using db = await database.open();
  await storeOld(db.admin);
  await using report = connectTo(url);
  await report.unsafe("begin isolation level repeatable read").simple();
  const [seen] = await report`
    select (select count(*) from events) + (select count(*) from attempts_all) as rows`;
  assert.equal(seen?.["rows"], "2");
  const dropping = dropClosed(db.admin, never);
  await using look = connectTo(url);
  await until("the drop waits", async () => {
    const rows = await look`
      select from pg_stat_activity where datname = current_database()
        and query like 'alter table%concurrently%' and wait_event_type = 'Lock'`;
    return rows.length > 0;
  });
  // Ingest, record, claim, record; and weeks are made.
  for (let round = 1; round <= 3; round++) {
    assert.equal((await daemon.post(booking(`apt_${round}`))).status, 202);
    await receiver.received(round + 1);
    await makePartitions(look, [firstUuidAt(Date.parse("2021-03-01Z") + round * WEEK_MS)]);
  }
  await until("all are recorded", async () => {
    const { body } = await daemon.api("deliveries?status=delivered");
    return body.data.length === 3;
  });
  // The report sees what it saw before.
  const [again] = await report`select count(*)::int as rows from ended_deliveries`;
  assert.equal(again?.["rows"], 1);
  await report.unsafe("commit").simple();
  const { dropped } = await dropping;
  if (dropped === 0) {
    await until("it is dropped", async () => (await dropClosed(db.admin, never)).dropped === 1);
  }
  const [left] = await look`
    select count(*)::int as tables from pg_class where relname ~ '_20200302$' and relkind = 'r'`;
  assert.equal(left?.["tables"], 0);
});

onServer("a drop that was cut off while it waited is ended by a later one", async (database) => {
  const { url } = database.section as { url: string };
  await using db = await database.open();
  await using report = connectTo(url);
  for (const { parent, leaf } of LEAVES) {
    await storeOld(db.admin);
    await report.unsafe("begin isolation level repeatable read").simple();
    await report.unsafe(`select from ${parent}`);
    await using killed = connectTo(url);
    await killed`set statement_timeout = 100`;
    await assert.rejects(detach(killed, [{ parent, leaf }]), /statement timeout/);
    assert.deepEqual(await dropClosed(db.admin, never), { dropped: 0, held_up: true });
    await report.unsafe("commit").simple();
    assert.equal((await dropClosed(db.admin, never)).dropped, 1);
    assert.equal(await oldWeek(db.admin), GONE);
  }
  // Or it is put back, if something has come back.
  await storeOld(db.admin);
  await report.unsafe("begin isolation level repeatable read").simple();
  await report`select from events`;
  await using killed = connectTo(url);
  await killed`set statement_timeout = 100`;
  await assert.rejects(detach(killed, LEAVES.slice(2)), /statement timeout/);
  await db.admin`
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
    values (${OLD}::uuid, ${OLD}::uuid, 0, now(), now())`;
  await report.unsafe("commit").simple();
  assert.equal((await dropClosed(db.admin, never)).dropped, 0);
  assert.equal(await oldWeek(db.admin), WHOLE);
});

Deno.test("vacuum() of an embedded database reaches the partitions", async () => {
  await using database = await embeddedDatabase();
  await using db = await database.open();
  await storeOld(db.admin);
  await vacuum(db.admin, "growing");
  const [row] = await db.admin<{ known: number }[]>`
    select count(*)::int as known from pg_class
    where relname ~ '_20200302$' and relkind = 'r' and relpages > 0 and reltuples = 1`;
  assert.equal(row?.known, 3);
});
