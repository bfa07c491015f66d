import assert from "node:assert/strict";
import { booking, endpoint, spawnDaemon, startDaemon } from "../support/daemon.ts";
import { connectTo, freshDatabase, startPostgres } from "../support/postgres.ts";
import { startReceiver } from "../support/receiver.ts";
import { sleep, until, within } from "../support/wait.ts";

Deno.test("the daemon survives an outage of its database", async () => {
  await using own = await startPostgres();
  const { url } = await freshDatabase(own);
  const gate = Promise.withResolvers<{ status: number }>();
  await using receiver = await startReceiver((_, nth) =>
    nth === 1 ? gate.promise : { status: 200 }
  );
  await using daemon = await startDaemon({
    database: { url },
    endpoints: [endpoint("all", receiver.url)],
  });
  const first = await daemon.post(booking("apt_1"));
  await receiver.received(1);

  await own.stop();
  const refused = await within("a post is refused", daemon.post(booking("apt_2")));
  assert.equal(refused.status, 503);
  assert.equal(refused.headers.get("content-type"), "application/problem+json");
  assert.equal(refused.body.code, "unavailable");
  assert.match(refused.headers.get("retry-after") ?? "", /^\d+$/);
  const ready = await fetch(`${daemon.url}/readyz`);
  const { status, checks } = await ready.json();
  assert.equal(ready.status, 503);
  assert.equal(status, "unavailable");
  assert.notEqual(checks.database, "ok");
  const alive = await fetch(`${daemon.url}/livez`);
  assert.equal(alive.status, 200);
  await alive.body?.cancel();
  const api = await daemon.api("deliveries");
  assert.equal(api.status, 503);
  assert.match(api.headers.get("retry-after") ?? "", /^\d+$/);
  // The answer to the attempt under way arrives while it cannot be recorded.
  gate.resolve({ status: 200 });
  await until("recording fails", () => daemon.log.some((l) => /Recording failed/.test(l.message)));

  await own.start();
  await until("the daemon is ready again", async () => {
    const response = await fetch(`${daemon.url}/readyz`);
    await response.body?.cancel();
    return response.status === 200;
  });
  const delivery = await daemon.delivery(await daemon.deliveryId(first.body.id));
  assert.equal(delivery.status, "delivered");
  assert.equal(delivery.attempt_count, 1);
  const next = await until("events are taken again", async () => {
    const answer = await daemon.post(booking("apt_3"));
    return answer.status === 202 ? answer : undefined;
  });
  const last = await daemon.delivery(await daemon.deliveryId(next.body.id));
  assert.equal(last.status, "delivered");
  const { body: { refused: counted } } = await daemon.api("stats");
  const [unavailable] = counted.map(({ refusal }: { refusal: string }) => refusal);
  assert.equal(unavailable, "unavailable", "refused posts are counted once the database is back");
  const sent = receiver.requests.map(({ headers }) => headers["x-bookme-event-id"]);
  assert.deepEqual(sent, [first.body.id, next.body.id], "nothing is sent twice");

  {
    await using sql = connectTo(url);
    const [row] = await sql<{ events: number }[]>`select count(*)::int as events from events`;
    assert.equal(row?.events, 2, "nothing of what was refused is stored");
  }
});

Deno.test("attempts made while the role may not connect are recorded once it may", async () => {
  await using own = await startPostgres();
  const { url } = await freshDatabase(own);
  await using sql = connectTo(url);
  const role = new URL(url);
  role.username = "app";
  await sql.unsafe(`create role app login; grant all on schema public to app;
    grant create on database ${role.pathname.slice(1)} to app`);
  const gate = Promise.withResolvers<{ status: number }>();
  await using receiver = await startReceiver(() => gate.promise);
  await using daemon = await startDaemon({
    database: { url: role.href },
    endpoints: [endpoint("all", receiver.url)],
  });
  const { body } = await daemon.post(booking("apt_1"));
  await receiver.received(1);
  await sql`alter role app nologin`;
  await sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'`;
  gate.resolve({ status: 200 });
  await until("recording fails", () => daemon.log.some((l) => /Recording failed/.test(l.message)));
  await sql`alter role app login`;
  const delivery = await daemon.delivery(await daemon.deliveryId(body.id));
  assert.deepEqual([delivery.status, delivery.attempt_count], ["delivered", 1]);
  assert.equal(receiver.requests.length, 1);
});

Deno.test("a daemon stops in bounded time although its database is away", async () => {
  await using own = await startPostgres();
  const { url } = await freshDatabase(own);
  const gate = Promise.withResolvers<{ status: number }>();
  await using receiver = await startReceiver(() => gate.promise);
  const sections = {
    database: { url },
    delivery: { timeout: "1s" },
    endpoints: [endpoint("all", receiver.url)],
  };
  await using daemon = await startDaemon(sections);
  await daemon.post(booking("apt_1"));
  await receiver.received(1);
  await own.stop();
  gate.resolve({ status: 200 });
  await until("recording fails", () => daemon.log.some((l) => /Recording failed/.test(l.message)));
  // It takes the timeout and five seconds. Within the lease it would try for a minute more.
  await within("it stops", daemon[Symbol.asyncDispose]());
  assert.ok(daemon.log.some((l) => /could not be recorded in time/.test(l.message)));
  await sleep(1_500); // postgres.js was about to connect once more, as it does once a second
});

Deno.test("a second SIGTERM is at once, also while the database is away", async () => {
  await using own = await startPostgres();
  const { url } = await freshDatabase(own);
  await using receiver = await startReceiver(() => "hang");
  // Waiting for the answer would take minutes, and so would trying to record it.
  const slow = endpoint("all", receiver.url, { timeout: "5m" });
  await using daemon = await spawnDaemon({ database: { url }, endpoints: [slow] });
  await daemon.post(booking("apt_1"));
  await receiver.received(1);
  await own.stop();
  daemon.kill("SIGTERM");
  await until("it is stopping", () => daemon.log.some((l) => l.message === "Stopping"));
  daemon.kill("SIGTERM");
  assert.equal((await within("it ends", daemon.status)).code, 0);
});

Deno.test("a daemon whose database is away says so and does not start", async () => {
  await using own = await startPostgres();
  const { url } = await freshDatabase(own);
  await own.stop();
  await assert.rejects(
    () => startDaemon({ database: { url, connect_timeout: "1s" } }),
    (error: Error) => /The database does not answer.*database\.url/.test(error.message),
  );
});
