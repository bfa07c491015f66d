import assert from "node:assert/strict";
import type { Context } from "../../lib/delivery/context.ts";
import { expiredDeliveries } from "../../lib/maintenance/expired.ts";
import { makeLog } from "../../lib/observe/log.ts";
import type { Database } from "../../lib/store/database.ts";
import { makePartitions } from "../../lib/store/partitions.ts";
import { makeSignals } from "../../lib/observe/signals.ts";
import { checkedApi } from "../support/checked.ts";
import { booking, endpoint, type LogLine, startDaemon } from "../support/daemon.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { PLAIN_POLICY } from "../support/file.ts";
import { startOperated } from "../support/operated.ts";
import { startReceiver } from "../support/receiver.ts";

const DAY_MS = 86_400_000;
const UNSENDABLE = 2;

/** Endpoints 1 (paused), 2 and 3 with deliveries that have been due for so many days. */
async function store(db: Database, days: readonly number[]): Promise<void> {
  await db.admin`
    insert into endpoints (no, id, source, url, events, settings, paused_at, pause_reason, paused_by)
    overriding system value
    select n, id, 'api', 'http://127.0.0.1:1/', '{*}', '{}', paused_at,
      case when paused_at is not null then 'maintenance' end,
      case when paused_at is not null then 'hand' end
    from (values (1, 'paused', now()), (2, 'unsendable', null), (3, 'active', null))
      as e (n, id, paused_at)`;
  await makePartitions(db.admin, ["01000000-0000-7000-8000-000000000000"]);
  for (const [nth, age] of days.entries()) {
    const id = `01000000-0000-7000-8000-${String(nth).padStart(4, "0")}00000000`;
    await db.admin`
      with event as (
        insert into events (id, type, received_at, payload)
        values (${id}::uuid, 'booking.created', now() - ${age}::int * interval '1 day', '{}')
      )
      insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
      select (left(${id}::text, 28) || lpad(n.no::text, 8, '0'))::uuid, ${id}::uuid, n.no,
        now() - ${age}::int * interval '1 day', now() - ${age}::int * interval '1 day'
      from endpoints n`;
  }
}

/** A daemon's job, with events kept for 30 days. */
function sweeper(db: Database) {
  let now = Date.now();
  const lines: LogLine[] = [];
  const policy = {
    ...PLAIN_POLICY,
    retention: { ...PLAIN_POLICY.retention, events_ms: 30 * DAY_MS, keys_ms: 30 * DAY_MS },
  };
  const job = expiredDeliveries(() => policy, () => [UNSENDABLE]);
  const ctx = {
    db,
    log: makeLog((line) => lines.push(JSON.parse(line)), "json"),
    clock: { now: () => now },
    signals: makeSignals(),
  } as unknown as Context;
  return {
    /** Runs it; returns how many deliveries were cancelled, and what was logged. */
    async sweep(): Promise<[cancelled: number, warned: unknown[]]> {
      lines.length = 0;
      const cancelled = await job.run(ctx, new AbortController().signal);
      return [
        cancelled,
        lines.map(({ level, endpoint, deliveries }) => [level, endpoint, deliveries]),
      ];
    },
    /** Lets days pass, for what the database has written down too. */
    async pass(days: number): Promise<void> {
      now += days * DAY_MS;
      await db.admin`
        update endpoints set expiry_announced_at = expiry_announced_at - ${days}::int * interval '1 day'`;
      await db
        .admin`update pending_deliveries set due_at = due_at - ${days}::int * interval '1 day'`;
    },
  };
}

async function left(db: Database): Promise<Record<string, number>> {
  const rows = await db.admin<{ line: string; count: number }[]>`
    select n.id || coalesce(' ' || d.reason, '') as line, count(*)::int
    from (
      select endpoint_no, null as reason from pending_deliveries
      union all select endpoint_no, reason from ended_deliveries) d
    join endpoints n on n.no = d.endpoint_no group by 1 order by 1`;
  return Object.fromEntries(rows.map(({ line, count }) => [line, count]));
}

onBoth(
  "expiredDeliveries() cancels what nobody has sent for so long, three days after it said so",
  async (database) => {
    await using db = await database.open();
    await store(db, [40, 31, 28, 26, 20]);
    const { sweep, pass } = sweeper(db);
    const warned = (count: number) => [["warn", "paused", count], ["warn", "unsendable", count]];
    assert.deepEqual(await sweep(), [0, warned(3)], "also what should have expired long ago");
    assert.deepEqual(await sweep(), [0, []], "once a day");
    await pass(2);
    assert.deepEqual(await sweep(), [0, warned(4)]);
    assert.deepEqual(await left(db), { active: 5, paused: 5, unsendable: 5 });
    await pass(1);
    // 43, 34 and 31 days now; 29 and 23 wait.
    assert.deepEqual(await sweep(), [6, warned(4)]);
    assert.deepEqual(await left(db), {
      active: 5,
      paused: 2,
      "paused expired": 3,
      unsendable: 2,
      "unsendable expired": 3,
    });
  },
);

onServer(
  "expiredDeliveries() takes an announcement back when an endpoint is resumed",
  async (database) => {
    await using db = await database.open();
    await store(db, [40]);
    const { sweep, pass } = sweeper(db);
    await sweep();
    await pass(4);
    await db
      .admin`update endpoints set paused_at = null, pause_reason = null, paused_by = null where id = 'paused'`;
    assert.equal((await sweep())[0], 1, "what is unsendable");
    await db
      .admin`update endpoints set paused_at = now(), pause_reason = 'again', paused_by = 'hand' where id = 'paused'`;
    const [cancelled, warned] = await sweep();
    assert.deepEqual([cancelled, warned], [0, [["warn", "paused", 1]]], "three days from now");
    assert.deepEqual(await left(db), { active: 1, paused: 1, "unsendable expired": 1 });
    await pass(3);
    assert.equal((await sweep())[0], 1);
  },
);

onServer("an endpoint and doctor announce what will expire", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url)],
  });
  const api = await checkedApi(daemon);
  const expires = async () => (await api.expect(200, "GET", "endpoints/crm")).body.expires;
  await api.expect(200, "POST", "endpoints/crm/pause");
  await daemon.post([booking("apt_1"), booking("apt_2"), booking("apt_3")]);
  assert.equal(await expires(), null);
  await using db = await database.open();
  await db.admin`update pending_deliveries set due_at = now() - interval '29 days'`;
  await db.admin`
    update pending_deliveries set due_at = now() where id = (
      select id from pending_deliveries order by id limit 1)`;
  await db.admin`update endpoints set expiry_announced_at = now() - interval '3 days'`;
  const { deliveries, deliveries_exact, first_at } = await expires();
  assert.deepEqual([deliveries, deliveries_exact], [2, true]);
  const hours = (Date.parse(first_at) - Date.now()) / 3_600_000;
  assert.ok(hours > 23 && hours < 25, first_at);
  const shown = await daemon.cli(["endpoints", "crm"], { columns: 1_000 });
  assert.match(shown.out, /^ {2}expires +2 waiting will be cancelled from \d{4}-\S+ .* on$/m);
  const { out } = await daemon.cli(["doctor"], { columns: 1_000 });
  assert.match(
    out,
    /^! endpoint crm: 2 waiting deliveries will be cancelled from \d{4}-\S+ on: .*`bookme-webhooks resume crm`/m,
  );
  await api.expect(200, "POST", "endpoints/crm/resume");
  await receiver.received(3);
  assert.equal(await expires(), null);
});

onServer("deliveries are listed and explained by the reason expired", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url)],
  });
  const api = await checkedApi(daemon);
  await api.expect(200, "POST", "endpoints/crm/pause");
  const { body: { id } } = await daemon.post(booking("apt_1"));
  await using db = await database.open();
  const [row] = await db.admin<{ no: number }[]>`select no from endpoints`;
  assert.equal(row?.no, 1);
  await db.admin`update pending_deliveries set due_at = now() - interval '31 days'`;
  await db.admin`update endpoints set expiry_announced_at = now() - interval '3 days'`;
  assert.equal((await sweeper(db).sweep())[0], 1);
  const { body } = await api.expect(200, "GET", "deliveries?reason=expired");
  assert.deepEqual(body.data.map(({ event_id }: { event_id: string }) => event_id), [id]);
  assert.equal(body.data[0].status, "cancelled");
  assert.match(body.data[0].explanation, /it waited longer than retention\.events/);
});
