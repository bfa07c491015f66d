import assert from "node:assert/strict";
import { firstUuidAt } from "../../lib/core/ids.ts";
import { makeSignals } from "../../lib/observe/signals.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { sharedOf } from "../../lib/config/shared.ts";
import { fileOf } from "../../lib/delivery/fleet.ts";
import { makeClock } from "../../lib/delivery/context.ts";
import { maintenanceJobs } from "../../lib/maintenance/jobs.ts";
import { runJob } from "../../lib/maintenance/schedule.ts";
import { makeLog } from "../../lib/observe/log.ts";
import type { Database } from "../../lib/store/database.ts";
import { makePartitions } from "../../lib/store/partitions.ts";
import { keyBlocks } from "../../lib/store/retention.ts";
import { writeConfig } from "../support/daemon.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { connectTo } from "../support/postgres.ts";
import { until } from "../support/wait.ts";

/** Runs every job `times` times, as a daemon with that retention would. Returns the errors logged. */
async function sweep(
  db: Database,
  retention: Record<string, string>,
  times = 1,
): Promise<string[]> {
  const failed: string[] = [];
  const { path, remove } = writeConfig({ database: { directory: "./unused" }, retention });
  const config = loadConfig(path, () => undefined);
  remove();
  const shared = await sharedOf(config);
  const ctx = {
    config: () => config,
    shared: () => shared,
    db,
    log: makeLog((line) => {
      const { level, message } = JSON.parse(line);
      if (level === "error") failed.push(message);
    }, "json"),
    signals: makeSignals(),
    clock: makeClock(),
    random: Math.random,
    holder: 1,
  };
  const { policy } = fileOf(config, shared);
  const interrupted = () => assert.fail("no lease has run out");
  const jobs = maintenanceJobs(db, {
    interrupted,
    probe: () => {},
    policy: () => policy,
    unsendable: () => [],
    fleet: () => ({ endpoints: new Map(), match: () => [], policy }),
    examine: () => assert.fail("no receiver is looked at"),
    announced: () => assert.fail("no alert begins"),
  }, []);
  for (let n = 0; n < times; n++) {
    for (const job of jobs) await runJob(ctx, job, new AbortController().signal);
  }
  return failed;
}

/** The first id of a week that has ids beginning with `prefix`, four hexadecimal digits: of the 1970s. */
const idOf = (prefix: string) => `${prefix}0000-0000-7000-8000-000000000000`;

/**
 * Stores `count` events, `days` old, with a delivery to the endpoint number 1 that ended then after
 * two attempts, or still waits. Their ids begin with `prefix`; `nth`, a hexadecimal digit, tells them from
 * others. The partitions of that week are made as if it had been made in time.
 */
async function store(
  db: Database,
  { prefix, count, days, ended, nth = "8" }: {
    prefix: string;
    count: number;
    days: number;
    ended: boolean;
    nth?: string;
  },
): Promise<void> {
  const target = ended
    ? `ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts, endpoint_version,
         started_at, last_attempt_at, last_outcome)
         select last, 1, at, at, 'delivered', 1, 2, 1, at, at, 'delivered' from made`
    : `pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
         select last, id, 1, at, at + interval '1 year' from made`;
  await makePartitions(db.admin, [idOf(prefix)]);
  await db.admin`
    insert into endpoints (no, id, source, url, events, settings) overriding system value
    values (1, 'crm', 'file', 'http://127.0.0.1:9/', '{*}', '{}') on conflict do nothing`;
  await db.admin`
    update partitions set made_at = least(made_at, now() - ${days + 7}::int * interval '1 day')
    where first_id <= ${idOf(prefix)}::uuid and last_id > ${idOf(prefix)}::uuid`;
  await db.admin.unsafe(`
    with made as materialized (
      select ('${prefix}0000-0000-7000-${nth}000-' || to_char(n, 'FM0000') || '00000000')::uuid as id,
        ('${prefix}0000-0000-7000-${nth}000-' || to_char(n, 'FM0000') || '00000001')::uuid as last,
        now() - interval '${days} days' as at
      from generate_series(1, ${count}) n
    ), events as (
      insert into events (id, type, received_at, payload)
      select id, 'booking.created', at, '{}' from made
    ), tried as (
      insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at,
        outcome) select last, 1, 1, 1, at, at, 'timeout' from made
    )
    insert into ${target}`);
}

async function countRows(db: Database) {
  const [row] = await db.admin<Record<string, number>[]>`
    select (select count(*)::int from events) as events,
      (select count(*)::int from pending_deliveries) as pending,
      (select count(*)::int from ended_deliveries) as ended,
      (select count(*)::int from attempts) as attempts`;
  return { ...row };
}

/** Lets a minute pass since weeks were closed. */
async function waitClosed(db: Database): Promise<void> {
  await db.admin`update partitions set closed_at = closed_at - interval '61 s'`;
}

/** The weeks of this test's ids. */
async function weeks(db: Database): Promise<string[]> {
  const rows = await db.admin<{ week: string }[]>`
    select left(first_id::text, 4) || case when closed_at is null then '' else ' closed' end ||
      case when (select bool_and(l.is_attached and not l.is_leaving) from partitions_at(first_id) l)
        then '' else ' leaving' end as week
    from partitions where time_of(first_id) < '2000-01-01Z' order by first_id`;
  return rows.map(({ week }) => week);
}

onBoth(
  "old weeks are dropped whole, unless something of theirs is pending or fresh",
  async (database) => {
    await using db = await database.open();
    const old = { days: 31, count: 10, ended: true };
    await store(db, { ...old, prefix: "0010", count: 2_500 });
    // Held up by what is pending, and by what has just ended after a long wait.
    await store(db, { ...old, prefix: "0020", count: 2_500 });
    await store(db, { ...old, prefix: "0020", ended: false, nth: "9" });
    await store(db, { ...old, prefix: "0030" });
    await store(db, { ...old, prefix: "0030", nth: "9" });
    await db.admin`
    update ended_deliveries set ended_at = now() - interval '6 days'
    where id = ${`00300000-0000-7000-9000-000100000001`}::uuid`;
    // Too young, by its making: a clock that was off has made its ids.
    await store(db, { ...old, prefix: "0040", days: 20 });
    const retention = { events: "30d", attempts: "30d" };
    assert.deepEqual(await sweep(db, retention), []);
    const kept = { events: 10 + 1 + 10, pending: 10, ended: 1 + 10 };
    assert.deepEqual(await countRows(db), {
      ...kept,
      events: kept.events + 2_500,
      ended: kept.ended + 2_500,
      attempts: kept.events + 2_500,
    });
    // A minute must pass before it is dropped.
    assert.deepEqual(await weeks(db), ["0000", "000f closed", "001f", "002f", "003f"].slice(1));
    assert.deepEqual(await sweep(db, retention), []);
    assert.equal((await weeks(db)).length, 4);
    await waitClosed(db);
    assert.deepEqual(await sweep(db, retention), []);
    assert.deepEqual(await weeks(db), ["001f", "002f", "003f"]);
    assert.deepEqual(await countRows(db), { ...kept, attempts: kept.events });
    // Nothing holds it up any more.
    await db.admin`delete from pending_deliveries`;
    assert.deepEqual(await sweep(db, retention), []);
    await waitClosed(db);
    assert.deepEqual(await sweep(db, retention), []);
    assert.deepEqual(await weeks(db), ["002f", "003f"]);
    const tables = await db.admin<{ name: string }[]>`
    select relname::text as name from pg_class
    where relkind = 'r' and relname ~ '^(events|ended_deliveries|attempts)_' order by relname`;
    assert.equal(tables.length, 3 * (2 + 2), tables.map(({ name }) => name).join(" "));
  },
);

onBoth("a closed week opens again if it is to stay after all", async (database) => {
  await using db = await database.open();
  await store(db, { prefix: "0010", days: 31, count: 10, ended: true });
  const short = { events: "30d" };
  assert.deepEqual(await sweep(db, short), []);
  const closed = async () => (await weeks(db)).filter((week) => week.startsWith("000f"));
  assert.deepEqual(await closed(), ["000f closed"]);
  // Events are kept for longer, and a drop that was under way has taken a table.
  await waitClosed(db);
  const [leaf] = await db.admin<{ parent: string; leaf: string }[]>`
    select l.parent, l.leaf from partitions p, partitions_at(p.first_id) l
    where p.closed_at is not null and l.parent = 'events'`;
  await db.admin.unsafe(`alter table events detach partition ${leaf?.leaf} concurrently`).simple();
  assert.deepEqual(await sweep(db, { attempts: "60d", events: "60d" }), []);
  assert.deepEqual(await closed(), ["000f"]);
  assert.equal((await countRows(db)).events, 10);
  // A retry that saw it open has ended.
  assert.deepEqual(await sweep(db, short), []);
  assert.deepEqual(await closed(), ["000f closed"]);
  await waitClosed(db);
  await db.admin`
    update ended_deliveries set ended_at = now()
    where id = ${"00100000-0000-7000-8000-000100000001"}::uuid`;
  assert.deepEqual(await sweep(db, short), []);
  assert.deepEqual(await closed(), ["000f"]);
  assert.deepEqual(await countRows(db), { events: 1, pending: 0, ended: 1, attempts: 1 });
});

onBoth(
  "oldSubjects() forgets businesses of appointments after 400 days, or with their events",
  async (database) => {
    await using db = await database.open();
    const fill = () =>
      db.admin.unsafe(`
        truncate subjects;
        insert into subjects
        select kind || ':' || days || '_' || n, 'bus_1', now() - days * interval '1 day'
        from generate_series(1, 1200) n, unnest(array['appointment', 'service', 'a', 'b']) kind,
          unnest(array[1, 399, 401, 501]) days
        where kind in ('appointment', 'service') or n < 10`).simple();
    const kept = async () => {
      const rows = await db.admin<{ kind: string; count: number }[]>`
        select split_part(key, '_', 1) as kind, count(*)::int from subjects
        where key < 'service' and key >= 'appointment' group by 1 order by 1`;
      const [others] = await db.admin<{ count: number }[]>`
        select count(*)::int from subjects where not key between 'appointment' and 'appointment;'`;
      return [...rows.map(({ kind, count }) => `${kind} ${count}`), others?.count];
    };
    await fill();
    assert.deepEqual(await sweep(db, { events: "30d" }), []);
    const always = 4 * 1200 + 2 * 4 * 9;
    assert.deepEqual(await kept(), [
      "appointment:1 1200",
      "appointment:399 1200",
      ...["b:1 9", "b:399 9", "b:401 9", "b:501 9"],
      always,
    ]);
    await fill();
    assert.deepEqual(await sweep(db, { events: "450d" }), []);
    const longer = await kept();
    assert.ok(longer.includes("appointment:401 1200") && !longer.includes("appointment:501 1200"));
  },
);

onBoth(
  "oldKeys() forgets keys after their retention, wherever they are stored",
  async (database) => {
    await using db = await database.open();
    // Every tenth is young, and the space of some that are gone is used again: ages are mixed.
    await db.admin.unsafe(`
    insert into keys (hash, digest, event_id, deliveries, created_at)
    select sha256(n::text::bytea), '', gen_random_uuid(), 0,
      now() - case when n % 10 = 0 then interval '29 days' else interval '31 days' end
    from generate_series(1, 12000) n`).simple();
    assert.ok(await keyBlocks(db.admin) > 100, "more than one step");
    assert.deepEqual(await sweep(db, { events: "30d" }), []);
    const left = await db.admin<{ young: boolean; count: number }[]>`
    select created_at > now() - interval '30 days' as young, count(*)::int from keys group by 1`;
    assert.deepEqual(left.map(({ young, count }) => [young, count]), [[true, 1_200]]);
  },
);

/** Rows of a table that have been read so far, as the server counts when connections end. */
async function rowsRead(url: string, table: string): Promise<number> {
  await using sql = connectTo(url);
  await until("no connection is left", async () => {
    const others = await sql`
      select from pg_stat_activity where datname = current_database()
        and backend_type = 'client backend' and pid <> pg_backend_pid()`;
    return others.length === 0;
  });
  const [row] = await sql<{ read: number }[]>`
    select sum(seq_tup_read + idx_tup_fetch)::int as read from pg_stat_user_tables
    where left(relname, length(${table})) = ${table}`;
  return row?.read ?? 0;
}

onBoth(
  "partitions made when events were kept for longer do not keep them for longer",
  async (database) => {
    await using db = await database.open();
    const kept = (days: number) =>
      db.admin`update file_in_force set policy = jsonb_build_object('retention',
        jsonb_build_object('events_ms', ${days}::int * 86400000.0))`;
    const [now] = await db.admin<{ ms: number }[]>`
      select (date_part('epoch', now()) * 1000)::float8 as ms`;
    const idAt = (days: number) => firstUuidAt(Math.floor(now!.ms) - days * 86_400_000);
    await kept(3_650);
    await makePartitions(db.admin, [idAt(100)]);
    for (const days of [100, 39, 29, 1]) {
      await db.admin`
        insert into events (id, type, received_at, payload)
        values (${idAt(days)}::uuid, 'booking.created', time_of(${idAt(days)}::uuid), '{}')`;
    }
    const left = async () => {
      const rows = await db.admin<{ days: number }[]>`
        select round(extract(epoch from now() - received_at) / 86400)::int as days
        from events order by id`;
      return rows.map(({ days }) => days);
    };
    await kept(30);
    assert.deepEqual(await sweep(db, { events: "40d", keys: "40d" }), []);
    assert.deepEqual((await left()).slice(-3), [39, 29, 1]);
    assert.equal((await left()).length, 3);
    assert.deepEqual(await sweep(db, { events: "30d" }), []);
    assert.deepEqual(await left(), [39, 29, 1].filter((days) => days < 37));
  },
);

onServer("a purge reads each old row once, and few young ones", async (database) => {
  const { url } = database.section as { url: string };
  const kinds = [
    // The pending ones hold their weeks up.
    { count: 500, days: 31, ended: false, century: "01", nth: "8" },
    { count: 300, days: 31, ended: true, century: "01", nth: "9" },
    { count: 500, days: 1, ended: true, century: "02", nth: "8" },
  ];
  {
    await using db = await database.open();
    for (const { century, ...kind } of kinds) {
      for (let n = 0; n < 10; n++) await store(db, { prefix: `${century}0${n}`, ...kind });
    }
    await db.admin.unsafe("analyze").simple();
  }
  const swept = async () => {
    const before = [await rowsRead(url, "events"), await rowsRead(url, "attempts")];
    {
      await using db = await database.open();
      assert.deepEqual(await sweep(db, { events: "30d", attempts: "30d" }), []);
      const { events, attempts } = await countRows(db);
      assert.deepEqual([events, attempts], [10_000, 10_000]);
    }
    // Less what countRows() read.
    return [
      await rowsRead(url, "events") - (before[0] ?? 0) - 10_000,
      await rowsRead(url, "attempts") - (before[1] ?? 0) - 10_000,
    ];
  };
  const [events = 0, attempts = 0] = await swept();
  // What is removed is read to be looked at, to be locked and to be removed. One piece of young ones tells
  // that the old ones are through; the planner reads a few too.
  assert.ok(events < 5_000 + 3 * 3_000 + 1_100, `${events} events`);
  assert.ok(attempts < 5_000 + 4 * 3_000 + 1_100, `${attempts} attempts`);
  const again = await swept();
  assert.ok(Math.max(...again) < 5_000 + 1_100, `${again} with nothing to purge`);
});

onServer("a purge needs no statistics to find deliveries", async (database) => {
  await using db = await database.open();
  const [count, days] = [1_000, 31];
  await store(db, { prefix: "0010", count, days, ended: true });
  await store(db, { prefix: "0010", count: 1, days, ended: false, nth: "9" });
  await db.admin`
    insert into endpoints (no, id, source, url, events, settings) overriding system value
    select n, 'e' || n, 'file', 'http://127.0.0.1:9/', '{*}', '{}' from generate_series(2, 20) n`;
  await db.admin`
    insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, reason, token, attempts)
    select delivery_of(e.id, n.no), n.no, received_at, received_at, 'cancelled', 'deselected', 1, 0
    from events e join endpoints n on n.no > 1`;
  // Comparing every delivery with every event takes longer than a statement may.
  assert.deepEqual(await sweep(db, { events: "30d" }), []);
  assert.deepEqual(await countRows(db), { events: 1, pending: 1, ended: 19, attempts: 1 });
});

onServer("a purge gets past many pending events", async (database) => {
  await using db = await database.open();
  for (let n = 0; n < 6; n++) {
    await store(db, { prefix: `001${n}`, count: 9_000, days: 31, ended: false });
  }
  await store(db, { prefix: "0015", count: 10, days: 31, ended: true, nth: "9" });
  const retention = { events: "30d", attempts: "30d" };
  assert.deepEqual(await sweep(db, retention, 2), []);
  assert.deepEqual(await countRows(db), {
    events: 54_000,
    pending: 54_000,
    ended: 0,
    attempts: 54_000,
  });
});

onServer("other jobs go on when a purge fails", async (database) => {
  await using db = await database.open();
  await store(db, { prefix: "0010", count: 10, days: 31, ended: true });
  await store(db, { prefix: "0010", count: 1, days: 31, ended: false, nth: "9" });
  await db.admin.unsafe(`
    insert into attempt_stats
      values ('minute', now() - interval '31 days', 1, 'delivered', 1, '[0,1]', '[]', '[]');
    create function refuse() returns trigger language plpgsql as $$
      begin raise exception 'no'; end $$;
    create trigger refuse before delete on attempts for each row execute function refuse()`)
    .simple();
  const failed = await sweep(db, { events: "30d", attempts: "7d" });
  assert.deepEqual(failed, ["The sweep of old attempts failed", "The sweep of old events failed"]);
  assert.equal((await db.admin`select from attempt_stats`).length, 0);
  await db.admin`drop trigger refuse on attempts`;
  assert.deepEqual(await sweep(db, { events: "30d", attempts: "7d" }), []);
  assert.deepEqual(await countRows(db), { events: 1, pending: 1, ended: 0, attempts: 1 });
});
