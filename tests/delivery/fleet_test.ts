import assert from "node:assert/strict";
import { loadConfig } from "../../lib/config/load.ts";
import { sharedOf } from "../../lib/config/shared.ts";
import { decide } from "../../lib/core/retry.ts";
import type { Outcome } from "../../lib/core/outcome.ts";
import { openUrl, server, serverDatabase } from "../support/databases.ts";
import { booking, endpoint, startDaemon, writeConfig } from "../support/daemon.ts";
import { connectTo } from "../support/postgres.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { travelDatabase } from "../support/travel.ts";
import { sleep, until } from "../support/wait.ts";
import { plainOutcome } from "../support/outcome.ts";
import { fileOf, makeFleet } from "../../lib/delivery/fleet.ts";
import { claim, type Claimed } from "../../lib/store/claims.ts";
import { findExpired, findFloors } from "../../lib/store/deliveries.ts";
import { record } from "../../lib/store/results.ts";
import { makePartitions } from "../../lib/store/partitions.ts";

const OLD_EVENT = "01900000-0000-7000-8000-000000000000";

/** A configuration with these endpoints, and the endpoints as they are stored. */
async function configured(...urls: string[]) {
  const { path, remove } = writeConfig({
    database: { directory: "unused" },
    endpoints: urls.map((url, nth) => endpoint(`no_${nth}`, url)),
  });
  const config = loadConfig(path, (name) => Deno.env.get(name));
  remove();
  const at = new Date(0);
  const shared = await sharedOf(config);
  const { policy, endpoints } = fileOf(config, shared);
  const rows = endpoints.map((one, nth) => ({
    ...one,
    no: nth,
    source: "file" as const,
    version: 1,
    paused_at: null,
    pause_reason: null,
    paused_by: null,
    resumed_at: null,
    probe_at: null,
    retired_at: null,
    owner: null,
    created_at: at,
    updated_at: at,
    sealed: null,
  }));
  return { config, shared, stored: { revision: "1", policy, endpoints: rows } };
}

Deno.test("makeFleet() keeps the connections of endpoints whose target stays, and of no others", async () => {
  const before = await configured("http://127.0.0.1:1/a", "http://127.0.0.1:1/b");
  const after = await configured("http://127.0.0.1:1/a", "http://127.0.0.1:1/c");
  const fleet = makeFleet(before.stored, before.config, before.shared);
  const next = makeFleet(after.stored, after.config, after.shared, [], fleet);
  assert.equal(next.endpoints.get(0)?.target, fleet.endpoints.get(0)?.target);
  assert.equal(next.endpoints.get(1)?.target.url.pathname, "/c");
});

const DELIVERED = plainOutcome("delivered", 200, { duration_ms: 5, address: "127.0.0.1:1" });

function result(lease: Claimed, outcome: Outcome) {
  return {
    lease,
    endpoint_version: 1,
    outcome,
    decision: decide(outcome, lease, [0, 60_000], Math.random),
    sent: null,
    ended_at: 0,
    promise: 0,
  };
}

const room = (endpoint_no: number, room: number) => ({
  endpoint_no,
  room,
  max_attempts: 7,
  floor: "0",
  concurrency: null,
  interval_us: null,
});

Deno.test("claim() and record() refuse writes under an old token", async () => {
  const database = await travelDatabase(server);
  // The endpoint hangs behind a policy whose first attempt is an hour away: nobody sends here.
  await using nobody = await startReceiver();
  const daemon = await startDaemon({
    database: { url: database.url },
    endpoints: [endpoint("all", nobody.url, { retry: ["1h", "1m"] })],
  });
  const { body } = await daemon.post([booking("apt_1"), booking("apt_2"), booking("apt_3")]);
  assert.equal(body.length, 3);
  await daemon.stop();
  await database.forward(3_600_000);

  const [a, b] = [await openUrl(database.url), await openUrl(database.url)];
  const { no } = await database.row("select no from endpoints");
  // Both at once: each delivery to one of them.
  const [mine, others] = await Promise.all([
    claim(a.engine, [room(no, 2)], { ms: 60_000, holder: 1 }),
    claim(b.engine, [room(no, 2)], { ms: 60_000, holder: 1 }),
  ]);
  const ids = [...mine, ...others].map(({ uuid }) => uuid);
  assert.equal(ids.length, 3);
  assert.equal(new Set(ids).size, 3);
  assert.equal(
    (await claim(b.engine, [room(no, 9)], { ms: 60_000, holder: 1 })).length,
    0,
    "all are leased",
  );
  const [stale] = mine.length > 0 ? mine : others;
  assert.ok(stale !== undefined);
  const { token } = stale;

  // The lease runs out, and the sweep of another process gives the delivery free.
  const find = async () =>
    (await findExpired(b.admin, await findFloors(b.admin), 100, 0)).flatMap(({ leases }) => leases);
  assert.deepEqual(await find(), []);
  await database.forward(61_000);
  const expired = await find();
  assert.equal(expired.length, 3);
  const interrupted = { ...DELIVERED, outcome: "interrupted", status: null } as const;
  const found = expired.map((lease) => result({ ...stale, ...lease }, interrupted));
  const ids_found = found.map(({ lease }) => lease.uuid).sort();
  const written = await record(b.engine, found, 0);
  assert.deepEqual([written.lost, [...written.going_on].sort()], [[], ids_found]);
  // Whoever comes back from the dead then is told so, before and after the next claim.
  const nothing = { lost: [stale.uuid], going_on: [] };
  assert.partialDeepStrictEqual(await record(a.engine, [result(stale, DELIVERED)], 0), nothing);
  const again = await claim(b.engine, [room(no, 9)], { ms: 60_000, holder: 1 });
  const fresh = again.find(({ uuid }) => uuid === stale.uuid);
  assert.equal(fresh?.token, token + 1);
  assert.equal(fresh?.attempts, 1);
  assert.partialDeepStrictEqual(await record(a.engine, [result(stale, DELIVERED)], 0), nothing);
  // A result that comes twice is one attempt.
  assert.ok(fresh !== undefined);
  const twice = [result(fresh, DELIVERED)];
  assert.partialDeepStrictEqual(await record(b.engine, twice, 0), { lost: [], going_on: [] });
  assert.partialDeepStrictEqual(await record(b.engine, twice, 0), nothing);
  const { attempts } = await database.row(`
    select json_agg(outcome order by number) as attempts from attempts_all
    where delivery_id = '${stale.uuid}'`);
  assert.deepEqual(attempts, ["interrupted", "delivered"]);
  await a.close();
  await b.close();
  await database.drop();
});

/** Addresses from which two daemons send. */
const [A, B] = ["127.0.0.2", "127.0.0.3"];

Deno.test("two daemons share deliveries, each of which is sent once", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver();
  const sections = (source_address: string) => ({
    database: database.section,
    delivery: { source_address },
    endpoints: ["crm", "erp"].map((id) => endpoint(id, `${receiver.url}/${id}`)),
  });
  await using a = await startDaemon(sections(A));
  await using b = await startDaemon(sections(B));
  await Promise.all(
    [a, b].map((daemon) => daemon.post(Array.from({ length: 500 }, () => booking("apt_1")))),
  );
  const requests = await receiver.received(2_000);
  await until("all of them are recorded", async () => {
    const { body } = await a.api("deliveries?status=pending");
    return body.data.length === 0;
  });
  assert.equal(requests.length, 2_000);
  const ids = new Set(requests.map(({ headers }) => headers["x-bookme-delivery-id"]));
  assert.equal(ids.size, 2_000);
  const by = (address: string) => requests.filter(({ from }) => from === address).length;
  assert.ok(by(A) > 0 && by(B) > 0, `a sent ${by(A)}, b ${by(B)}`);
});

Deno.test("a daemon without room wakes another by a notification", async () => {
  await using database = await serverDatabase();
  const gate = Promise.withResolvers<{ status: number }>();
  await using receiver = await startReceiver(({ from }) =>
    from === A ? gate.promise : { status: 200 }
  );
  const sections = (source_address: string) => ({
    database: database.section,
    delivery: { concurrency: 1, source_address },
    endpoints: [endpoint("all", receiver.url)],
  });
  const url = "url" in database.section ? database.section.url : "";
  await using a = await startDaemon(sections(A));
  await using ear = connectTo(url);
  const heard: string[] = [];
  await ear.listen("bookme_webhooks", (payload) => heard.push(payload));
  await a.post(booking("apt_1"));
  await receiver.received(1);

  await using _b = await startDaemon(sections(B));
  // What looks once a second cannot look now, so that only the notification is left.
  await using blocker = connectTo(url);
  await sleep(1_500); // b has looked for what was there when it started
  const locked = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const blocked = blocker.begin(async (sql) => {
    await sql`lock table fleet in access exclusive mode`;
    locked.resolve();
    await release.promise;
  });
  await locked.promise;
  await makePartitions(ear, [OLD_EVENT]);
  await ear.unsafe(`
    with event as (
      insert into events (id, type, received_at, payload)
      values ('${OLD_EVENT}', 'booking.created', now(), '{}') returning id
    )
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
    select '01900000-0000-7000-8000-000000000001', id, (select no from endpoints), now(), now()
    from event`);
  await sleep(1_500);
  assert.equal(receiver.requests.length, 1, "nobody has heard of it");
  await ear.unsafe("select pg_notify('bookme_webhooks', (select no from endpoints)::text)");
  await receiver.received(2);
  release.resolve();
  await blocked;

  // And the notification is what ingest gives where it cannot send at once. (What hangs for a second
  // leaves the concurrency, so that there may be room for one.)
  const { body } = await a.post([booking("apt_2"), booking("apt_3")]);
  await receiver.received(4);
  const sent = receiver.requests.slice(2);
  assert.deepEqual(
    sent.map(({ headers }) => headers["x-bookme-event-id"]).toSorted(),
    body.map(({ id }: { id: string }) => id).toSorted(),
  );
  assert.ok(sent.some(({ from }) => from === B));
  const [{ no } = { no: 0 }] = await ear<{ no: number }[]>`select no from endpoints`;
  assert.deepEqual(heard.slice(-1), [String(no)]);
  gate.resolve({ status: 200 });
});

Deno.test("an endpoint paused by a 410 is paused in every daemon", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver(statuses(410, 200));
  const sections = { database: database.section, endpoints: [endpoint("all", receiver.url)] };
  await using a = await startDaemon(sections);
  await using b = await startDaemon(sections);
  const { body } = await a.post(booking("apt_1"));
  await a.delivery(await a.deliveryId(body.id));
  await sleep(1_500);
  for (const daemon of [a, b]) {
    assert.equal((await daemon.post(booking("apt_2"))).body.deliveries, 1, "it is still owed");
  }
  await sleep(1_500);
  assert.equal(receiver.requests.length, 1);
  assert.equal((await b.api("deliveries?status=pending")).body.data.length, 2);
});

Deno.test("daemons keep a rate and a concurrency together", async () => {
  await using database = await serverDatabase();
  const at: number[] = [];
  let open = 0;
  let most = 0;
  await using receiver = await startReceiver(async ({ path }) => {
    if (path === "/rated") at.push(performance.now());
    else {
      most = Math.max(most, ++open);
      await sleep(10);
      open--;
    }
    return { status: 200 };
  });
  const sections = {
    database: database.section,
    endpoints: [
      endpoint("rated", `${receiver.url}/rated`, { rate_limit: "20/s" }),
      endpoint("narrow", `${receiver.url}/narrow`, { concurrency: 2 }),
    ],
  };
  await using a = await startDaemon(sections);
  await using b = await startDaemon(sections);
  await Promise.all(
    [a, b].map((daemon) => daemon.post(Array.from({ length: 30 }, () => booking("apt_1")))),
  );
  await until("all are received", () => receiver.requests.length >= 120);
  // They left at least 50 ms apart; on the way, a busy machine may bring two closer together.
  const whole_ms = (at.at(-1) ?? 0) - (at[0] ?? 0);
  assert.ok(whole_ms >= 59 * 50 - 1_000, `60 attempts began within ${whole_ms} ms`);
  assert.ok(most <= 2, `${most} at once`);
});

Deno.test("claim() holds an endpoint's concurrency also behind many exhausted deliveries", async () => {
  await using database = await serverDatabase();
  await using db = await database.open();
  await makePartitions(db.admin, [OLD_EVENT]);
  await db.admin.unsafe(`
    insert into endpoints (id, source, url, events, settings)
      values ('all', 'file', 'http://127.0.0.1/', '{*}', '{}');
    insert into events (id, type, payload, received_at)
      values ('${OLD_EVENT}', 'booking.created', '{}', now());
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at, attempts, counted)
      select gen_random_uuid(), e.id, n.no, now(), now() - i * interval '1 s', i % 4, i % 4
      from events e, endpoints n, generate_series(1, 12000) i where i % 4 = 3 or i < 40;
    update pending_deliveries set due_at = now() - interval '2 hours' where counted = 3`)
    .simple();
  const [endpoint] = await db.admin<{ no: number }[]>`select no from endpoints`;
  const limited = { ...room(endpoint?.no ?? 0, 2), max_attempts: 3, concurrency: 2 };
  for (let turn = 0; turn < 4; turn++) await claim(db.engine, [limited], { ms: 60_000, holder: 1 });
  const [row] = await db.admin<{ leased: number; exhausted: number }[]>`
    select count(leased_until)::int as leased, count(*) filter (where counted = 3)::int as exhausted
    from pending_deliveries`;
  assert.deepEqual({ ...row }, { leased: 2, exhausted: 3000 });
});

Deno.test("claim() holds a rate limit, but not for as long as the clock was set back", async () => {
  await using database = await serverDatabase();
  await using db = await database.open();
  await makePartitions(db.admin, [OLD_EVENT]);
  await db.admin.unsafe(`
    insert into endpoints (id, source, url, events, settings, next_send_at)
      values ('all', 'file', 'http://127.0.0.1/', '{*}', '{}', now() + interval '2 days');
    insert into events (id, type, payload, received_at)
      values ('${OLD_EVENT}', 'booking.created', '{}', now());
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
      select gen_random_uuid(), e.id, n.no, now(), now()
      from events e, endpoints n, generate_series(1, 10) i`)
    .simple();
  const [endpoint] = await db.admin<{ no: number }[]>`select no from endpoints`;
  const hourly = { ...room(endpoint?.no ?? 0, 10), interval_us: 3_600_000_000 };
  const claimed = async () => (await claim(db.engine, [hourly], { ms: 60_000, holder: 1 })).length;
  assert.deepEqual([await claimed(), await claimed()], [1, 0]);
});
