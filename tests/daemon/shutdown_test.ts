import assert from "node:assert/strict";
import { connect } from "node:net";
import { ADMIN, booking, endpoint, spawnDaemon, startDaemon } from "../support/daemon.ts";
import { onBoth, onServer, type TestDatabase } from "../support/databases.ts";
import { portIn, speak } from "../support/raw.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { sleep, until, within } from "../support/wait.ts";

const STOPPING = "The daemon is stopping; it only stores events";

async function leasedIn(database: TestDatabase) {
  const db = await database.open();
  const [row] = await db.admin<{ pending: number; leased: number }[]>`
    select count(*)::int as pending, count(leased_until)::int as leased from pending_deliveries`;
  await db.close();
  return { ...row };
}

onBoth("SIGTERM finishes what is under way and gives back the rest", async (database) => {
  const gate = Promise.withResolvers<{ status: number }>();
  await using receiver = await startReceiver(() => gate.promise);
  const sections = {
    database: database.section,
    endpoints: [endpoint("all", receiver.url)],
  };
  await using daemon = await spawnDaemon(sections);
  const { status } = await daemon.post(Array.from({ length: 50 }, () => booking("apt_1")));
  assert.equal(status, 202);
  await receiver.received(1);
  const port = portIn(daemon.url);
  const readyz = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const kept = connect({ host: "127.0.0.1", port });
  let said = "";
  kept.on("data", (bytes) => said += bytes);
  const kept_closed = new Promise<void>((resolve) => kept.once("close", () => resolve()));
  kept.write(readyz);
  await until("a kept connection is answered", () => said.includes('"status":"ok"'));
  daemon.kill("SIGTERM");
  const failing = await until("/readyz fails", async () => {
    const answer = await speak(port, [readyz]);
    return answer.statuses[0] === 503 ? answer : undefined;
  });
  assert.match(failing.text, /\r\nconnection: close\r\n/i);
  assert.equal(JSON.parse(failing.body).checks.dispatcher, STOPPING);
  kept.write(readyz);
  await within("a kept connection closes after its next answer", kept_closed);
  assert.match(said, /\r\nconnection: close\r\n/i);
  assert.match(said, /"status":"unavailable"/);

  const under_way = receiver.requests.length;
  const late = await daemon.post([booking("apt_2"), booking("apt_3")]);
  assert.equal(late.status, 202);
  assert.deepEqual(late.body.map((one: { deliveries: number }) => one.deliveries), [1, 1]);
  assert.equal(receiver.requests.length, under_way, "it is stored, not sent");
  gate.resolve({ status: 200 });
  const { code } = await daemon.status;
  assert.equal(code, 0);
  assert.deepEqual(daemon.noise, []);
  assert.equal(daemon.log.at(-1)?.message, "Stopped");
  assert.equal(receiver.requests.length, under_way, "nothing new is sent");
  assert.deepEqual(await leasedIn(database), { pending: 52 - under_way, leased: 0 });

  await using again = await startDaemon(sections);
  await receiver.received(52);
  await until(
    "all of them are recorded",
    async () => (await again.api("deliveries?status=pending")).body.data.length === 0,
  );
  const ids = receiver.requests.map(({ headers }) => headers["x-bookme-delivery-id"]);
  assert.equal(ids.length, 52);
  assert.equal(new Set(ids).size, 52);
});

onServer("a second SIGTERM cuts off what is under way", async (database) => {
  await using receiver = await startReceiver(() => "hang");
  // Waiting for the answer would take minutes.
  const slow = endpoint("all", receiver.url, { timeout: "5m" });
  const sections = { database: database.section, endpoints: [slow] };
  await using daemon = await spawnDaemon(sections);
  await daemon.post(booking("apt_1"));
  await receiver.received(1);
  daemon.kill("SIGINT");
  await until("it is stopping", () => daemon.log.some((l) => l.message === "Stopping"));
  daemon.kill("SIGTERM");
  assert.equal((await within("it ends", daemon.status)).code, 0);
  assert.deepEqual(await leasedIn(database), { pending: 1, leased: 0 });

  receiver.answer(statuses(200));
  await using again = await startDaemon(sections);
  const [request] = (await receiver.received(2)).slice(1);
  assert.equal(request?.headers["x-bookme-attempt"], "2");
  const delivery = await again.delivery(request?.headers["x-bookme-delivery-id"] ?? "");
  assert.deepEqual(
    delivery.attempts.map((attempt: { outcome: string }) => attempt.outcome),
    ["interrupted", "delivered"],
  );
});

onServer("deliveries waiting for a rate limit are given back at shutdown", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("all", receiver.url, { rate_limit: "8/s" })],
  });
  await daemon.post(Array.from({ length: 40 }, () => booking("apt_1")));
  await receiver.received(2); // by now the slots of a whole second are given out
  await daemon.stop();
  assert.deepEqual(await leasedIn(database), { pending: 40 - receiver.requests.length, leased: 0 });
});

onServer("a delivery cancelled while it waits for a rate limit is never sent", async (database) => {
  await using receiver = await startReceiver();
  const section = {
    database: database.section,
    endpoints: [endpoint("all", receiver.url, { rate_limit: "8/s" })],
  };
  let ids: string[];
  let sent: number;
  {
    await using daemon = await startDaemon(section);
    const { body } = await daemon.post(Array.from({ length: 40 }, () => booking("apt_1")));
    await receiver.received(2);
    ids = await Promise.all(body.map(({ id }: { id: string }) => daemon.deliveryId(id)));
    for (const id of ids) await daemon.api(`deliveries/${id}/cancel`, undefined, "POST");
    await daemon.stop();
    sent = receiver.requests.length;
    assert.ok(sent < 40);
  }
  assert.deepEqual(await leasedIn(database), { pending: 0, leased: 0 });
  await using again = await startDaemon(section);
  const ended = await Promise.all(ids.map((id) => again.api(`deliveries/${id}`)));
  const cancelled = ended.filter(({ body: { status } }) => status === "cancelled");
  assert.equal(cancelled.length, 40 - sent);
  assert.equal(receiver.requests.length, sent);
});

onServer("no attempt begins after SIGTERM, whatever else is waited for", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("all", receiver.url, { rate_limit: "20/s" })],
  });
  await using db = await database.open();
  await db.admin.begin(async (sql) => {
    await sql`lock table attempt_stats in access exclusive mode`;
    await daemon.post(booking("apt_0"));
    await until("the sweep waits for the lock", async () => {
      const [row] = await db.engine<{ waits: boolean }[]>`
        select exists (
          select from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'
        ) as waits`;
      return row?.waits;
    });
    await daemon.post(Array.from({ length: 100 }, () => booking("apt_1")));
    await receiver.received(3);
    void daemon.stop();
    const got = receiver.requests.length;
    // Attempts begun by then may not have arrived yet.
    const under_way = Number(
      daemon.log.find(({ message }) => message === "Stopping")?.["in_flight"],
    );
    await sleep(1_000);
    const allowed = got + under_way;
    assert.ok(receiver.requests.length <= allowed, `${receiver.requests.length} > ${allowed}`);
  });
  await daemon.stop();
});

onServer("a test event under way at SIGTERM is still answered", async (database) => {
  const gate = Promise.withResolvers<{ status: number }>();
  await using receiver = await startReceiver(() => gate.promise);
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("all", receiver.url)],
  });
  const asked = fetch(`${daemon.url}/api/endpoints/all/test`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify({ event: "booking.created" }),
  });
  await receiver.received(1);
  const stopped = daemon.stop();
  await sleep(2_000);
  gate.resolve({ status: 204 });
  const answer = await asked;
  assert.equal((await answer.json()).attempt.status, 204);
  await stopped;
});

onServer(
  "posts without end do not delay a stop, and each of them is stored or refused",
  async (database) => {
    await using receiver = await startReceiver();
    const sections = {
      database: database.section,
      endpoints: [endpoint("all", receiver.url)],
    };
    let stored = 0;
    {
      await using daemon = await spawnDaemon(sections);
      let over = false;
      const posting = Array.from({ length: 8 }, async () => {
        while (!over) {
          const answer = await daemon.post(booking("apt_1")).catch(() => undefined);
          if (answer?.status === 202) stored++;
          else over = true;
        }
      });
      await until("some are stored", () => stored > 50);
      daemon.kill("SIGTERM");
      assert.equal((await within("it ends", daemon.status)).code, 0);
      await Promise.all(posting);
      assert.deepEqual(daemon.noise, []);
    }
    const { leased = -1 } = await leasedIn(database);
    assert.equal(leased, 0);
    await using _ = await startDaemon(sections);
    await receiver.received(stored);
  },
);
