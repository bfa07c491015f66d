/** Replays of what is missing: an endpoint is owed what it selects now and was never owed. */

import assert from "node:assert/strict";
import type { Sql } from "postgres";
import { deliveryUuid, firstUuidAt, makeEventIds } from "../../lib/core/ids.ts";
import type { Database } from "../../lib/store/database.ts";
import { retryNow } from "../../lib/store/deliveries.ts";
import { loadFleet } from "../../lib/store/endpoints.ts";
import { storeEvents } from "../../lib/store/events.ts";
import { createReplay, runningReplays, stepReplay } from "../../lib/store/replays.ts";
import { type CheckedApi, checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { booking, endpoint, type Front, spawnDaemon, startDaemon } from "../support/daemon.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { storePlainEndpoints } from "../support/file.ts";
import { connectTo } from "../support/postgres.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

const SINCE = "2026-01-01T00:00:00Z";

async function isIdle(api: CheckedApi): Promise<boolean> {
  return (await api.expect(200, "GET", "deliveries?status=pending&limit=1")).body.data.length === 0;
}

async function post(front: Front, events: readonly unknown[]): Promise<string[]> {
  const { status, body } = await front.post(events);
  assert.equal(status, 202);
  return body.map(({ id }: { id: string }) => id);
}

async function ended(api: CheckedApi, id: string) {
  return await until("the replay has ended", async () => {
    const { body } = await api.expect(200, "GET", `replays/${id}`);
    return body.state !== "running" && body;
  });
}

/** Makes an endpoint by the API, and returns its id. */
async function make(api: CheckedApi, url: string, more: Record<string, unknown> = {}) {
  const { body } = await api.expect(201, "POST", "endpoints", { url, events: ["*"], ...more });
  return body.id as string;
}

onBoth("a new endpoint is owed once what it selects of before it was made", async (database) => {
  await using receiver = await startReceiver(statuses(500, 200));
  await using old = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: { retry: ["0s", "0s"] },
    endpoints: [endpoint("old", old.url)],
  });
  const api = await checkedApi(daemon);
  const wanted = await post(daemon, [booking("apt_1", "bus_1"), booking("apt_2", "bus_2")]);
  await post(daemon, [booking("apt_3", "bus_3"), booking("apt_4")]);
  const service = { service: { id: "svc_1", business: { id: "bus_1" } } };
  await post(daemon, [{ ...booking("apt_5"), event: "service.created", data: service }]);
  await api.expect(200, "POST", "endpoints/old/test", { event: "booking.created" });
  const selection = { events: ["booking.*"], businesses: ["bus_1", "bus_2"] };
  const late = await make(api, receiver.url, selection);
  const explained = async (id: string) => {
    const { body } = await api.expect(200, "GET", `events/${id}`);
    return body.endpoints.find((one: { endpoint_id: string }) => one.endpoint_id === late);
  };
  const before = await explained(wanted[0] ?? "");
  assert.equal(before.owed, false);
  assert.match(before.explanation, /^The endpoint was made later, .*; a replay of what is missing/);
  // Owed as it is posted: not missing.
  const [own] = await post(daemon, [booking("apt_6", "bus_1")]);
  await until("all have ended", () => isIdle(api));
  const asked = { endpoint: late, since: SINCE, missing: true };
  const count = (await api.expect(200, "POST", "replays", { ...asked, dry_run: true })).body;
  assert.deepEqual([count.matched, count.matched_exact, count.notes], [2, true, []]);
  assert.equal(receiver.requests.length, 2, "the first attempt of its own failed");
  const { body: made } = await api.expect(201, "POST", "replays", asked);
  assert.deepEqual([made.missing, made.status, made.matched], [true, [], 2]);
  const done = await ended(api, made.id);
  assert.deepEqual([done.replayed, done.without_payload, done.meanwhile], [2, 0, 0]);
  await receiver.received(4);
  await until("all have ended", () => isIdle(api));
  const { body: event } = await api.expect(200, "GET", `events/${wanted[0]}`);
  const delivery = event.deliveries.find((one: { endpoint_id: string }) =>
    one.endpoint_id === late
  );
  assert.deepEqual(
    [delivery.owed_by, delivery.created_at, delivery.status],
    [made.id, event.received_at, "delivered"],
  );
  const after = await explained(wanted[0] ?? "");
  assert.deepEqual(
    [after.owed, after.explanation],
    [true, `Delivered after 1 attempt, with status 200; owed by the replay ${made.id}`],
  );
  assert.doesNotMatch((await explained(own ?? "")).explanation, /replay/);
  // Like all others, it is found at its event's time, and once.
  const { body: again } = await api.expect(201, "POST", "replays", asked);
  assert.deepEqual([again.matched, (await ended(api, again.id)).replayed], [0, 0]);
  const found = await api.expect(
    200,
    "GET",
    `deliveries?endpoint=${late}&since=${event.received_at}`,
  );
  assert.equal(found.body.data.length, 3);
  assert.equal(receiver.requests.length, 4);
});

onServer("missing events reach no further than type, time and payload", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
  });
  const api = await checkedApi(daemon);
  const ids = await post(daemon, [1, 2, 3, 4].map((n) => booking(`apt_${n}`)));
  const service = { service: { id: "svc_1", business: { id: "bus_1" } } };
  const created = { ...booking(""), event: "service.created", data: service };
  const [type] = await post(daemon, [created]);
  {
    await using sql = connectTo("url" in database.section ? database.section.url : "");
    await sql`update events set payload = null, erased_at = now() where id = uuid_of(${
      ids[0] ?? ""
    })`;
    // An operational one, and one of long ago.
    await sql`update events set type = 'webhooks.alert.began' where id = uuid_of(${ids[1] ?? ""})`;
    await sql`update events set received_at = '2025-12-31T23:59:59Z' where id = uuid_of(${
      ids[2] ?? ""
    })`;
  }
  const late = await make(api, receiver.url);
  {
    await using sql = connectTo("url" in database.section ? database.section.url : "");
    await sql`update endpoints set events = array['*', 'webhooks.*']`;
  }
  const asked = { endpoint: late, since: SINCE, missing: true };
  const count = async (more: Record<string, unknown>) => {
    const input = { ...asked, ...more, dry_run: true };
    const { body: { matched, left_out } } = await api.expect(200, "POST", "replays", input);
    return [matched, left_out.without_payload.value];
  };
  assert.deepEqual(await count({}), [3, 1]);
  assert.deepEqual(await count({ type: "service.created" }), [1, 0]);
  assert.deepEqual(await count({ until: "2026-01-02T00:00:00Z" }), [0, 0]);
  const { body: some } = await api.expect(201, "POST", "replays", {
    ...asked,
    type: "service.created",
  });
  assert.equal((await ended(api, some.id)).replayed, 1);
  const { body: all } = await api.expect(201, "POST", "replays", asked);
  const done = await ended(api, all.id);
  assert.deepEqual([done.replayed, done.without_payload, done.meanwhile], [1, 1, 0]);
  await receiver.received(2);
  await until("all have ended", () => isIdle(api));
  assert.deepEqual(
    receiver.requests.map(({ headers }) => headers["x-bookme-event-id"]).toSorted(),
    [type, ids[3]].toSorted(),
  );
});

onServer(
  "a replay of what is missing keeps its pace over a kill, and owes each once",
  async (database) => {
    const EVENTS = 300;
    await using receiver = await startReceiver();
    const sections = { database: database.section, encryption_key: ENCRYPTION_KEY };
    let id = "";
    {
      await using daemon = await spawnDaemon(sections);
      const api = await checkedApi(daemon);
      await post(daemon, Array.from({ length: EVENTS }, (_, n) => booking(`apt_${n}`)));
      const late = await make(api, receiver.url);
      const asked = { endpoint: late, since: SINCE, missing: true, rate: "100/s" };
      id = (await api.expect(201, "POST", "replays", asked)).body.id;
      await receiver.received(20);
      daemon.kill("SIGKILL");
      await daemon.status;
    }
    await using one = await startDaemon(sections);
    await using _two = await startDaemon(sections);
    const api = await checkedApi(one);
    assert.equal((await api.expect(200, "GET", `replays/${id}`)).body.state, "running");
    assert.equal((await ended(api, id)).replayed, EVENTS);
    // Those that the killed daemon was sending wait for their leases to end.
    await using sql = connectTo("url" in database.section ? database.section.url : "");
    const [row] = await sql`
    select (select count(*)::int from deliveries) as owed,
      (select count(distinct id)::int from deliveries) as "different",
      (select count(*)::int from deliveries where attempts > 1) as again`;
    assert.deepEqual({ ...row }, { owed: EVENTS, different: EVENTS, again: 0 });
  },
);

onServer("a replay of what is missing can be cancelled", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
  });
  const api = await checkedApi(daemon);
  await post(daemon, Array.from({ length: 100 }, (_, n) => booking(`apt_${n}`)));
  const late = await make(api, receiver.url);
  const asked = { endpoint: late, since: SINCE, missing: true, rate: "1/h" };
  const { body: { id } } = await api.expect(201, "POST", "replays", asked);
  await receiver.received(1);
  const { body } = await api.expect(200, "POST", `replays/${id}/cancel`);
  assert.deepEqual([body.state, body.replayed, body.meanwhile], ["cancelled", 1, null]);
});

const ids = makeEventIds(() => Math.floor(Math.random() * 0x100000000));
const TERM = { ms: 60_000, holder: 1 };
const CHANGE = { actor: { name: "ops", address: null }, action: "replay.created", object: "one" };

/** Stores an event for these endpoints, as of the fleet's present revision, and returns its UUID. */
async function store(db: Database, endpoint_nos: readonly number[]): Promise<string> {
  const uuid = ids.next(Date.now());
  const nothing = { business: null, subject: null, confirmation: null, trace: null };
  const event = { ...nothing, uuid, type: "booking.created", test: false, payload: "{}" };
  const { revision } = await loadFleet(db.admin);
  const deliveries = endpoint_nos.map((endpoint_no) => ({
    uuid: deliveryUuid(uuid, endpoint_no),
    event_uuid: uuid,
    endpoint_no,
    wait_ms: 0,
    leased: false,
  }));
  assert.equal(await storeEvents(db, [event], deliveries, revision, TERM), "stored");
  return uuid;
}

/** Starts a replay of all that is missing at an endpoint. */
async function start(db: Database, endpoint_no: number) {
  const replay = {
    uuid: ids.next(Date.now()),
    statuses: [],
    missing: true,
    endpoint_no,
    owner: null,
  } as const;
  await createReplay(db.admin, {
    ...replay,
    type: null,
    since: "2020-01-01T00:00:00Z",
    until: "2100-01-01T00:00:00Z",
    first_uuid: firstUuidAt(0),
    last_uuid: firstUuidAt(Date.now() + 86_400_000),
    rate_per_s: null,
    matched: { count: 1, exact: true },
  }, CHANGE);
  return replay;
}

async function waiting(sql: Sql): Promise<number> {
  const [row] = await sql<{ waiting: number }[]>`
    select count(*)::int as waiting from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'`;
  return row?.waiting ?? 0;
}

onServer("what another replay owes and delivers meanwhile is not owed again", async (database) => {
  await using db = await database.open();
  await using other = await database.open();
  await storePlainEndpoints(db, 1);
  const [{ no } = { no: 0 }] = (await loadFleet(db.admin)).endpoints;
  await store(db, []);
  const [one, two] = [await start(db, no), await start(db, no)];
  let second: ReturnType<typeof stepReplay> | undefined;
  await other.admin.begin(async (tx) => {
    assert.equal((await stepReplay(tx as unknown as Sql, one))?.replayed, 1);
    // The second one has begun before the first ends, and cannot see what that has done.
    second = stepReplay(db.admin, two);
    await until("it waits for the event", async () => await waiting(db.engine) === 1);
    await tx`
      with gone as (delete from pending_deliveries returning *)
      insert into ended_deliveries (id, endpoint_no, created_at, ended_at, token, attempts, status,
        last_outcome, started_at, last_attempt_at, endpoint_version, response_truncated, owed_by)
      select id, endpoint_no, created_at, now(), 1, 1, 'delivered', 'delivered', now(), now(), 1,
        false, owed_by from gone`;
  });
  const step = await second;
  assert.deepEqual([step?.replayed, step?.state], [0, "done"]);
  assert.equal((await db.admin`select from pending_deliveries`).length, 0);
});

onServer("what is brought back meanwhile is not owed again", async (database) => {
  await using db = await database.open();
  await using other = await database.open();
  await storePlainEndpoints(db, 1);
  const [{ no } = { no: 0 }] = (await loadFleet(db.admin)).endpoints;
  const uuid = await store(db, [no]);
  await db.admin`
    with gone as (delete from pending_deliveries returning *)
    insert into ended_deliveries (id, endpoint_no, created_at, ended_at, token, attempts, status, reason)
    select id, endpoint_no, created_at, now(), 0, 0, 'cancelled', 'deselected' from gone`;
  const replay = await start(db, no);
  await other.admin.begin(async (tx) => {
    assert.equal(await retryNow(tx as unknown as Sql, deliveryUuid(uuid, no), CHANGE), no);
    assert.equal((await stepReplay(db.admin, replay))?.replayed, 0);
  });
  assert.equal((await db.admin`select from pending_deliveries`).length, 1);
});

onServer("what is being stored for the endpoint as it was is waited for", async (database) => {
  await using db = await database.open();
  await using other = await database.open();
  await storePlainEndpoints(db, 1);
  const [{ no } = { no: 0 }] = (await loadFleet(db.admin)).endpoints;
  let replay: Awaited<ReturnType<typeof start>> | undefined;
  await other.admin.begin(async (tx) => {
    // As an ingest that began before the endpoint was made.
    await store({ ...db, ingest: tx as unknown as Sql } as Database, []);
    replay = await start(db, no);
    assert.equal((await runningReplays(db.admin)).length, 0);
  });
  assert.ok(replay !== undefined);
  // Other tests share the server, and have transactions too.
  await until("it may begin", async () => (await runningReplays(db.admin)).length === 1);
  assert.equal((await stepReplay(db.admin, replay))?.replayed, 1);
  // At most a minute: by then statements have timed out.
  const late = await start(db, no);
  await other.admin.begin(async (tx) => {
    await store({ ...db, ingest: tx as unknown as Sql } as Database, []);
    await db.admin`update replays set made_in = pg_current_xact_id() where state = 'running'`;
    assert.equal((await runningReplays(db.admin)).length, 0);
    await db.admin`update replays set created_at = now() - interval '61 s' where state = 'running'`;
    assert.deepEqual((await runningReplays(db.admin)).map(({ uuid }) => uuid), [late.uuid]);
  });
});

onServer("no event of a week that is about to be dropped is owed", async (database) => {
  await using db = await database.open();
  await storePlainEndpoints(db, 1);
  const [{ no } = { no: 0 }] = (await loadFleet(db.admin)).endpoints;
  await store(db, []);
  await db.admin`update partitions set closed_at = now()`;
  const step = await stepReplay(db.admin, await start(db, no));
  assert.deepEqual([step?.replayed, step?.state], [0, "done"]);
  const [row] = await db.admin`select without_payload::int as lost from replays`;
  assert.equal(row?.["lost"], 1);
});
