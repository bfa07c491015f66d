import assert from "node:assert/strict";
import { loadConfig } from "../lib/config/load.ts";
import { makeClock } from "../lib/delivery/context.ts";
import { startSweeper } from "../lib/delivery/sweeper.ts";
import { makeLog } from "../lib/observe/log.ts";
import type { Database } from "../lib/store/database.ts";
import { booking, endpoint, startDaemon, writeConfig } from "./support/daemon.ts";
import { onBoth, server } from "./support/databases.ts";
import { startReceiver, statuses } from "./support/receiver.ts";
import { travelDatabase } from "./support/travel.ts";
import { sleep, until } from "./support/wait.ts";

/** Sweeps once, as a daemon with that retention would. */
async function sweep(db: Database, retention: Record<string, string>): Promise<void> {
  const { path, remove } = writeConfig({ database: { directory: "./unused" }, retention });
  const config = loadConfig(path, () => undefined);
  remove();
  const sweeper = startSweeper({
    config: () => config,
    db,
    log: makeLog(() => {}, "json"),
    clock: makeClock(),
    random: Math.random,
  }, { interrupted: () => assert.fail("no lease has run out") });
  await sweeper.sweep();
  await sweeper.stop();
}

/**
 * Stores `count` events, `days` old, with a delivery to the endpoint number 1 that ended then after
 * one attempt, or still waits. Their ids begin with `prefix`, four hexadecimal digits.
 */
async function store(
  db: Database,
  { prefix, count, days, ended }: { prefix: string; count: number; days: number; ended: boolean },
): Promise<void> {
  const target = ended
    ? `ended_deliveries (id, event_id, endpoint_no, created_at, ended_at, status, token, attempts,
         last_outcome) select last, id, 1, at, at, 'delivered', 1, 1, 'delivered' from made`
    : `pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
         select last, id, 1, at, at + interval '1 year' from made`;
  await db.admin.unsafe(`
    with made as materialized (
      select ('${prefix}0000-0000-7000-8000-' || to_char(n, 'FM0000') || '00000000')::uuid as id,
        ('${prefix}0000-0000-7000-8000-' || to_char(n, 'FM0000') || '00000001')::uuid as last,
        now() - interval '${days} days' as at
      from generate_series(1, ${count}) n
    ), events as (
      insert into events (id, type, received_at, payload)
      select id, 'booking.created', at, '{}' from made
    ), tried as (
      insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at,
        recorded_at, outcome) select last, 1, 1, 1, at, at, at, 'delivered' from made
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

onBoth("sweep() purges what is older than its retention, in batches", async (database) => {
  await using db = await database.open();
  await store(db, { prefix: "0001", count: 2_500, days: 31, ended: true });
  await store(db, { prefix: "0002", count: 10, days: 8, ended: true });
  await store(db, { prefix: "0003", count: 10, days: 31, ended: false });
  await store(db, { prefix: "0004", count: 10, days: 1, ended: true });
  // Ended deliveries keep their event and lose their attempts first; what is pending keeps both.
  await sweep(db, { events: "30d", attempts: "7d" });
  assert.deepEqual(await countRows(db), { events: 30, pending: 10, ended: 20, attempts: 20 });
  await sweep(db, { events: "7d", attempts: "30d" });
  assert.deepEqual(await countRows(db), { events: 20, pending: 10, ended: 10, attempts: 20 });
  await sweep(db, { events: "7d", attempts: "7d" });
  assert.deepEqual(await countRows(db), { events: 20, pending: 10, ended: 10, attempts: 20 });
});

onBoth("the sweep cancels what a retired endpoint was owed", async (database) => {
  await using receiver = await startReceiver(statuses(500));
  const crm = endpoint("crm", `${receiver.url}/crm`);
  const erp = endpoint("erp", `${receiver.url}/erp`);
  const at = (endpoints: Record<string, unknown>[]) =>
    startDaemon({
      database: database.section,
      delivery: { retry: ["0s", "1h"] },
      endpoints,
    });
  let id: string;
  let other: string;
  let event: string;
  {
    await using daemon = await at([crm, erp]);
    event = (await daemon.post(booking("apt_1"))).body.id;
    id = await daemon.deliveryId(event, "crm");
    other = await daemon.deliveryId(event, "erp");
    await daemon.delivery(id, (delivery) => delivery.attempt_count === 1);
  }
  {
    await using daemon = await at([erp]);
    const cancelled = await daemon.delivery(id);
    assert.equal(cancelled.status, "cancelled");
    assert.equal(cancelled.cancel_reason, "The endpoint was retired");
    assert.equal(cancelled.reason, "http_5xx", "what its last attempt met stays");
    assert.equal(cancelled.attempts.length, 1, "its history stays");
    assert.equal((await daemon.api(`deliveries/${other}`)).body.status, "pending");
    const { body } = await daemon.post(booking("apt_2"));
    assert.equal(body.deliveries, 1, "it is owed nothing any more");
    assert.ok(daemon.log.some((l) => l.message.includes("retired") && l.endpoint === "crm"));
  }
  receiver.answer(statuses(200));
  await using daemon = await at([crm, erp]);
  const { body } = await daemon.post(booking("apt_3"));
  assert.equal(body.deliveries, 2, "it is back");
  const delivery = await daemon.delivery(await daemon.deliveryId(body.id, "crm"));
  assert.equal(delivery.status, "delivered");
  assert.equal((await daemon.api(`deliveries/${id}`)).body.status, "cancelled");
});

Deno.test("the sweep fails what has had all attempts of a policy that became shorter", async () => {
  const database = await travelDatabase(server);
  await using receiver = await startReceiver(statuses(500));
  const at = (retry: string[]) =>
    startDaemon({
      database: { url: database.url },
      endpoints: [endpoint("all", receiver.url, { retry })],
    });
  let id: string;
  {
    await using daemon = await at(["0s", "1m", "5m"]);
    const { body } = await daemon.post(booking("apt_1"));
    id = await daemon.deliveryId(body.id);
    await daemon.delivery(id, (delivery) => delivery.attempt_count === 1);
  }
  {
    await using daemon = await at(["0s"]);
    await database.forward(2 * 60_000);
    const delivery = await daemon.delivery(id);
    assert.equal(delivery.status, "failed");
    assert.equal(delivery.reason, "http_5xx");
    assert.equal(delivery.attempt_count, 1);
    assert.equal(receiver.requests.length, 1);
  }
  await database.drop();
});

Deno.test("an endpoint retired while it is being sent to ends with that attempt", async () => {
  const database = await travelDatabase(server);
  const gate = Promise.withResolvers<{ status: number }>();
  await using receiver = await startReceiver(() => gate.promise);
  const sections = { database: { url: database.url } };
  const crm = endpoint("crm", receiver.url);
  const first = await startDaemon({ ...sections, endpoints: [crm] });
  const { body } = await first.post([booking("apt_1"), booking("apt_2")]);
  const ids = await Promise.all(
    body.map(({ id }: { id: string }) => first.deliveryId(id)),
  ) as string[];
  await receiver.received(2);
  const second = await startDaemon({ ...sections, endpoints: [] });
  await until("both are marked", async () => {
    const { marked } = await database.row(
      "select count(cancel_reason)::int as marked from pending_deliveries",
    );
    return marked === 2;
  });
  gate.resolve({ status: 500 });
  for (const id of ids) {
    const delivery = await second.delivery(id);
    assert.equal(delivery.status, "cancelled");
    assert.deepEqual(delivery.attempts.map((a: { status: number }) => a.status), [500]);
  }
  await sleep(100);
  assert.equal(receiver.requests.length, 2);
  await first.stop();
  await second.stop();
  await database.drop();
});
