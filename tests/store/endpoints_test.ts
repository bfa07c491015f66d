import assert from "node:assert/strict";
import { booking, endpoint, startDaemon } from "../support/daemon.ts";
import { onServer, type TestDatabase } from "../support/databases.ts";
import { connectTo } from "../support/postgres.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

const at = (database: TestDatabase, endpoints: Record<string, unknown>[]) =>
  startDaemon({ database: database.section, delivery: { retry: ["0s", "300ms"] }, endpoints });

onServer("an attempt is shown with the endpoint as it was then", async (database) => {
  await using old = await startReceiver(statuses(500));
  await using fresh = await startReceiver();
  let id: string;
  {
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [endpoint("crm", `${old.url}/old`, {
        headers: { "X-Old": "1" },
        retry: ["0s", "3s"],
      })],
    });
    const { body } = await daemon.post(booking("apt_1"));
    id = await daemon.deliveryId(body.id);
    await daemon.delivery(id, (delivery) => delivery.attempt_count === 1);
  }
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", `${fresh.url}/new`, { retry: ["0s", "3s"] })],
  });
  const { attempts } = await daemon.delivery(id);
  assert.deepEqual(
    attempts.map((a: { request: { url: string } }) => a.request.url),
    [`${old.url}/old`, `${fresh.url}/new`],
  );
  assert.equal(attempts[0].request.headers["X-Old"], "[redacted]");
  assert.equal(attempts[1].request.headers["X-Old"], undefined);
});

onServer("syncFile() makes a version of changed endpoints only", async (database) => {
  const start = async (endpoints: Record<string, unknown>[]) => {
    const daemon = await at(database, endpoints);
    await daemon[Symbol.asyncDispose]();
    const db = await database.open();
    const rows = await db.admin<{ id: string; version: number; retired: boolean }[]>`
      select id, version, retired_at is not null as retired from endpoints order by id`;
    const [{ versions } = { versions: 0 }] = await db.admin<{ versions: number }[]>`
      select count(*)::int as versions from endpoint_versions`;
    await db.close();
    const now = rows.map(({ id, version, retired }) => `${id} ${version}${retired ? " -" : ""}`);
    return { now: now.join(", "), versions, said: daemon.log.map((line) => line.message) };
  };
  const a = endpoint("a", "http://127.0.0.1:9/a");
  const b = endpoint("b", "http://127.0.0.1:9/b");
  assert.equal((await start([a, b])).now, "a 1, b 1");
  const same = await start([b, a]);
  assert.equal(same.now, "a 1, b 1", "their order does not matter");
  assert.ok(!same.said.some((message) => message.includes("Endpoint")));
  assert.equal((await start([{ ...a, timeout: "5s" }, b])).now, "a 2, b 1");
  assert.equal((await start([{ ...a, timeout: "5s" }])).now, "a 2, b 1 -");
  assert.equal((await start([{ ...a, timeout: "5s" }])).now, "a 2, b 1 -");
  const back = await start([a, b]);
  assert.equal(back.now, "a 3, b 2");
  assert.equal(back.versions, 5);
});

onServer(
  "an event is owed to an endpoint that another daemon has just brought",
  async (database) => {
    await using receiver = await startReceiver();
    const crm = endpoint("crm", `${receiver.url}/crm`);
    const erp = endpoint("erp", `${receiver.url}/erp`);
    await using first = await at(database, [crm]);
    for (let round = 0; round < 5; round++) {
      // A new file each time: an older one would change nothing.
      const changed = { ...crm, description: `round ${round}` };
      await using second = await at(database, round % 2 === 0 ? [changed, erp] : [changed]);
      const { status, body } = await first.post(booking("apt_1"));
      assert.equal(status, 202);
      assert.equal(body.deliveries, round % 2 === 0 ? 2 : 1, `round ${round}`);
      // The first has no secret for what only the second one's file has, and leaves it to that.
      if (round % 2 === 0) {
        const delivery = await second.delivery(await second.deliveryId(body.id, "erp"));
        assert.equal(delivery.status, "delivered");
      }
    }
  },
);

onServer("an event is never matched against endpoints that have changed", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await at(database, [endpoint("crm", receiver.url)]);
  assert.equal((await daemon.post(booking("apt_1"))).body.deliveries, 1);
  // As another daemon would, but without telling: what was told may be late, or lost.
  await using sql = connectTo("url" in database.section ? database.section.url : "");
  await sql`
    with revised as (update fleet set revision = revision + 1)
    insert into endpoints (id, source, url, events, settings)
    select 'erp', 'file', url, events, settings from endpoints`;
  assert.equal((await daemon.post(booking("apt_2"))).body.deliveries, 2);
  await sql`
    with revised as (update fleet set revision = revision + 1)
    update endpoints set retired_at = now() where id = 'erp'`;
  const [first, second] = (await daemon.post([booking("apt_3"), booking("apt_4")])).body;
  assert.deepEqual([first.deliveries, second.deliveries], [1, 1]);
});

onServer("an endpoint is changed under load, and nothing is lost", async (database) => {
  await using receiver = await startReceiver();
  const crm = endpoint("crm", `${receiver.url}/crm`);
  await using first = await at(database, [crm]);
  const answered: string[] = [];
  let posting = true;
  const load = (async () => {
    while (posting) {
      const { status, body } = await first.post(booking("apt_1"));
      assert.equal(status, 202);
      assert.equal(body.deliveries, 1);
      answered.push(body.id);
    }
  })();
  for (let round = 0; round < 4; round++) {
    const changed = endpoint("crm", `${receiver.url}/crm${round}`);
    await using _second = await at(database, [changed]);
    const before = answered.length;
    await until("more is answered", () => answered.length > before + 10);
  }
  posting = false;
  await load;
  await until("all of them are received", () => {
    const received = new Set(receiver.requests.map((r) => r.headers["x-bookme-event-id"]));
    return answered.every((id) => received.has(id));
  });
  const ids = receiver.requests.map((r) => r.headers["x-bookme-delivery-id"]);
  assert.equal(new Set(ids).size, ids.length, "nothing is sent twice");
});
