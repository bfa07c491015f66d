import assert from "node:assert/strict";
import { deliveryUuid, makeEventIds, NO_UUID } from "../../lib/core/ids.ts";
import type { Outcome } from "../../lib/core/outcome.ts";
import type { Decision } from "../../lib/core/retry.ts";
import type { Change } from "../../lib/store/changes.ts";
import { claim, firstLease, type Lease, release } from "../../lib/store/claims.ts";
import type { Database } from "../../lib/store/database.ts";
import * as deliveries from "../../lib/store/deliveries.ts";
import * as endpoints from "../../lib/store/endpoints.ts";
import { storeEvents } from "../../lib/store/events.ts";
import { announceExpiring, cancelExpired } from "../../lib/store/expiry.ts";
import { cancelReplay, createReplay, stepReplay } from "../../lib/store/replays.ts";
import { record } from "../../lib/store/results.ts";
import * as stream from "../../lib/store/stream.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { connectTo } from "../support/postgres.ts";
import { until } from "../support/wait.ts";
import { PLAIN_SETTINGS, storeEndpoints } from "../support/file.ts";
import { plainOutcome } from "../support/outcome.ts";

const ids = makeEventIds(() => 7);
const TERM = { ms: 60_000, holder: 1 };
const PLAIN = { url: "http://127.0.0.1:9/", events: ["*"], businesses: null, owner: null };

function change(action: string): Change {
  return { actor: { name: "ops", address: null }, action, object: "it" };
}

/** Stores an event of a business, and its delivery to an endpoint; claims it unless it is to wait. */
async function owe(db: Database, endpoint_no: number, wait_ms = 0): Promise<Lease> {
  const event_uuid = ids.next(Date.now());
  const uuid = deliveryUuid(event_uuid, endpoint_no);
  const nothing = { subject: null, confirmation: null, trace: null, test: false, payload: "{}" };
  const event = { uuid: event_uuid, type: "booking.created", business: "bus_1", ...nothing };
  const { revision } = await endpoints.loadFleet(db.admin);
  const delivery = { uuid, event_uuid, endpoint_no, wait_ms, leased: wait_ms === 0 };
  assert.equal(await storeEvents(db, [event], [delivery], revision, TERM), "stored");
  return firstLease({ uuid, event, endpoint_no });
}

async function end(db: Database, lease: Lease, decision: Decision, more: Partial<Outcome> = {}) {
  const outcome = plainOutcome("http_5xx", 503, { duration_ms: 1, ...more });
  const result = {
    lease,
    endpoint_version: 1,
    outcome,
    decision,
    sent: null,
    ended_at: 0,
    promise: 0,
  };
  assert.deepEqual((await record(db.engine, [result], 0)).lost, []);
}

const RETRY: Decision = { verdict: "retry", counts: true, wait_ms: 3_600_000 };
const FAILED: Decision = { verdict: "failed", counts: true };
const DELIVERED: Decision = { verdict: "delivered", counts: true };

/** Triggers that write down what each transaction changes of what readers of the stream see. */
const ORACLE = `
  create table touched (xid xid not null default pg_current_xact_id()::xid, kind text, id text);
  create function touch() returns trigger language plpgsql as $$
    declare
      before jsonb := to_jsonb(old);
      after jsonb := to_jsonb(new);
      hidden text[] := '{leased_until,leased_by,token,next_send_at,cancels_from,narrowed_at,updated_at}';
    begin
      if before - hidden is distinct from after - hidden then
        insert into touched (kind, id) values (tg_argv[0], coalesce(after, before) ->> 'id');
      end if;
      return null;
    end $$;
  create trigger touch after insert or update or delete on pending_deliveries
    for each row execute function touch('deliveries');
  create trigger touch after insert on ended_deliveries for each row execute function touch('deliveries');
  create trigger touch after insert on events for each row execute function touch('events');
  create trigger touch after insert or update on endpoints
    for each row execute function touch('endpoints');
  create trigger touch after insert or update on replays for each row execute function touch('replays')`;

const UNNOTED = `
  select distinct t.kind, t.id from touched t where not exists (
    select from changes c where c.xmin = t.xid and t.id = any(case t.kind
      when 'events' then c.events::text[] when 'deliveries' then c.deliveries::text[]
      when 'endpoints' then c.endpoints when 'replays' then c.replays::text[] end))`;

/** Everything that changes what readers of the stream see, by name. */
async function* everything(db: Database): AsyncGenerator<string> {
  const { admin } = db;
  const file = (events: string[], ...names: string[]) =>
    storeEndpoints(
      db,
      names.map((id) => ({ id, ...PLAIN, events, settings: PLAIN_SETTINGS })),
    );
  await file(["*"], "a", "b", "c");
  yield "the file adds endpoints";
  const { endpoints: [a, b, c] } = await endpoints.loadFleet(admin);
  assert.ok(a !== undefined && b !== undefined && c !== undefined);
  const first = await owe(db, a.no);
  yield "an event is stored";
  await end(db, first, RETRY);
  yield "an attempt is to be repeated";
  await deliveries.retryNow(admin, first.uuid, change("delivery.retried"));
  yield "a waiting delivery is hastened";
  const [again] = await claim(db.engine, [{
    endpoint_no: a.no,
    room: 1,
    max_attempts: 7,
    floor: "0",
    concurrency: null,
    interval_us: null,
  }], TERM);
  assert.ok(again !== undefined);
  await end(db, again, DELIVERED, { outcome: "delivered", status: 200 });
  yield "a delivery is delivered";
  await deliveries.retryNow(admin, first.uuid, change("delivery.retried"));
  yield "an ended delivery comes back";
  await deliveries.cancel(admin, first.uuid, "why", change("delivery.cancelled"));
  yield "a delivery is cancelled";
  const leased = await owe(db, a.no);
  await deliveries.cancel(admin, leased.uuid, "why", change("delivery.cancelled"));
  yield "a delivery is cancelled while it is being sent";
  await release(db.engine, [leased]);
  yield "a cancelled delivery is given back";
  const cut = await owe(db, a.no);
  await deliveries.cancel(admin, cut.uuid, "why", change("delivery.cancelled"));
  await end(db, cut, RETRY);
  yield "the last attempt of a cancelled delivery ends";
  await end(db, await owe(db, b.no), FAILED, { outcome: "gone", status: 410 });
  yield "a 410 pauses the endpoint";
  await endpoints.resumeEndpoint(admin, "b", change("endpoint.resumed"));
  yield "an endpoint is resumed";
  await end(db, await owe(db, b.no), RETRY);
  const selection = {
    missing: false,
    endpoint_no: b.no,
    owner: null,
    type: null,
    since: "2020-01-01T00:00:00Z",
    until: "2100-01-01T00:00:00Z",
    first_uuid: NO_UUID,
    last_uuid: "ffffffff-ffff-ffff-ffff-ffffffffffff",
    rate_per_s: null,
    matched: { count: 1, exact: true },
  };
  for (const status of ["failed", "pending"] as const) {
    const replay = { ...selection, uuid: ids.next(Date.now()), statuses: [status] };
    await createReplay(admin, replay, change("replay.created"));
    yield `a replay of ${status} ones is created`;
    const step = await stepReplay(admin, { ...replay, reason: null, code: null });
    assert.equal(step?.replayed, 1);
    yield `a replay of ${status} ones takes a step`;
  }
  const late = { ...selection, uuid: ids.next(Date.now()), statuses: [], missing: true };
  await createReplay(admin, late, change("replay.created"));
  assert.ok((await stepReplay(admin, late))?.replayed);
  yield "a replay owes what is missing";
  const replay = { ...selection, uuid: ids.next(Date.now()), statuses: ["failed"] as const };
  await createReplay(admin, replay, change("replay.created"));
  await cancelReplay(admin, replay.uuid, change("replay.cancelled"));
  yield "a replay is cancelled";
  await release(db.engine, [await owe(db, b.no)]);
  const floors = await deliveries.findFloors(admin);
  assert.ok((await deliveries.failExhausted(admin, floors, 100, 100, 0)).found > 0);
  yield "exhausted deliveries fail";
  await owe(db, c.no, 3_600_000);
  await file(["service.*"], "a", "b", "c");
  assert.equal((await deliveries.cancelDeselected(admin, null, 100)).found, 1);
  yield "the file narrows an endpoint, and what it was owed is cancelled";
  await release(db.engine, [await owe(db, c.no)]);
  await endpoints.pauseEndpoint(admin, "c", "why", false, change("endpoint.paused"));
  yield "an endpoint is paused";
  await admin`update pending_deliveries set due_at = now() - interval '40 days'`;
  await announceExpiring(admin, 86_400_000, []);
  await admin`update endpoints set expiry_announced_at = now() - interval '4 days' where id = 'c'`;
  await admin`delete from touched`;
  assert.equal((await cancelExpired(admin, 86_400_000, [], 100)).found, 1);
  yield "deliveries expire";
  await owe(db, c.no, 3_600_000);
  await file(["service.*"], "a", "b");
  assert.equal((await deliveries.cancelRetired(admin, 100)).found, 1);
  yield "the file retires an endpoint, and what it was owed is cancelled";
  const sealed = { bytes: new Uint8Array([1]), secret_expires_at: null };
  const fields = { id: "d", ...PLAIN, settings: PLAIN_SETTINGS };
  const made = await endpoints.createEndpoint(admin, fields, sealed, 1, change("endpoint.created"));
  assert.ok(made);
  yield "an endpoint is made";
  const events = ["service.*"];
  const changed = { ...fields, events };
  assert.ok(
    await endpoints.updateEndpoint(admin, made, changed, sealed, change("endpoint.updated")),
  );
  yield "an endpoint is changed";
  await endpoints.retireEndpoint(admin, "d", change("endpoint.retired"));
  yield "an endpoint is retired";
}

onServer(
  "every statement writes down what it changed, while somebody follows",
  async (database) => {
    await using db = await database.open();
    await db.admin.unsafe(ORACLE);
    assert.equal(await stream.keepChanges(db.admin), true);
    for await (const what of everything(db)) {
      const missing = await db.admin.unsafe(UNNOTED);
      assert.deepEqual(missing.map((row) => ({ ...row })), [], what);
      const noted = await db.admin`select from touched`;
      assert.ok(noted.length > 0, `${what}: the test sees no change`);
      await db.admin`delete from touched`;
    }
    const [row] = await db.admin`
    select array_to_json(businesses) as businesses from changes where cardinality(events) = 1 limit 1`;
    assert.deepEqual(row?.["businesses"], ["bus_1"]);
  },
);

onServer("nothing is written down while nobody follows", async (database) => {
  await using db = await database.open();
  await db.admin`create table touched (xid xid)`;
  for await (const what of everything(db)) {
    assert.equal((await db.admin`select from changes`).length, 0, what);
  }
  const [row] = await db.admin`select last_value, is_called from changes_no_seq`;
  assert.deepEqual({ ...row }, { last_value: "1", is_called: false }, "no number was taken");
});

onBoth(
  "keepChanges() begins again after a pause, and forgets what was before",
  async (database) => {
    await using db = await database.open();
    const { admin } = db;
    assert.equal(await stream.keptChanges(admin, 0), undefined);
    assert.equal(await stream.keepChanges(admin), true);
    assert.deepEqual({ ...await stream.keptChanges(admin, 0) }, { first: 1, last: 1, settled: 1 });
    await storeEndpoints(db, [{ id: "a", ...PLAIN, settings: PLAIN_SETTINGS }]);
    assert.equal(await stream.keepChanges(admin), false);
    const { rows, first } = await stream.readChanges(admin, 1, [], 10);
    assert.deepEqual(rows.map(({ no, endpoints }) => [no, endpoints]), [[2, ["a"]]]);
    assert.equal(first, 1);
    await admin`update fleet set streamed_until = now() - interval '1 ms'`;
    assert.equal(await stream.keepChanges(admin), true);
    assert.deepEqual({ ...await stream.keptChanges(admin, 0) }, { first: 3, last: 3, settled: 3 });
  },
);

onServer("readChanges() reads what is above a number, and what was missing", async (database) => {
  await using db = await database.open();
  await db
    .admin`insert into changes (endpoints) select array[n::text] from generate_series(1, 9) n`;
  await db.admin`delete from changes where no in (3, 7)`;
  const read = async (above: number, missing: number[], limit: number) =>
    (await stream.readChanges(db.admin, above, missing, limit)).rows.map(({ no }) => no);
  assert.deepEqual(await read(0, [], 3), [1, 2, 4]);
  assert.deepEqual(await read(5, [2, 3], 100), [2, 6, 8, 9]);
  assert.deepEqual(await read(9, [], 100), []);
  const { rows: [row], now_ms } = await stream.readChanges(db.admin, 8, [], 1);
  assert.ok(row !== undefined && row.at_ms <= now_ms && now_ms - row.at_ms < 60_000);
});

onServer(
  "purgeChanges() forgets what is older than ten minutes, but never the last",
  async (database) => {
    await using db = await database.open();
    await db.admin`
    insert into changes (at) select now() - n * interval '61 s' from generate_series(20, 5, -1) n`;
    assert.equal(await stream.purgeChanges(db.admin, 4), 4);
    assert.equal(await stream.purgeChanges(db.admin, 100), 7);
    assert.deepEqual({ ...await stream.keptChanges(db.admin, 0) }, {
      first: 12,
      last: 16,
      settled: 16,
    });
    assert.equal((await stream.keptChanges(db.admin, 7.5 * 60_000))?.settled, 13);
    await db.admin`update changes set at = now() - interval '1 hour'`;
    assert.equal(await stream.purgeChanges(db.admin, 100), 4);
    assert.equal((await stream.keptChanges(db.admin, 0))?.first, 16);
    await db.admin`
    update changes set businesses = '{bus_1}', endpoints = '{a}', events = array[${NO_UUID}::uuid]`;
    await stream.purgeChanges(db.admin, 100);
    const { rows: [last] } = await stream.readChanges(db.admin, 15, [], 100);
    const { no, at_ms: _, ...content } = last ?? { no: 0, at_ms: 0 };
    const none: string[] = [];
    const nothing = {
      alerts: none,
      events: none,
      businesses: none,
      deliveries: none,
      endpoints: none,
      replays: none,
    };
    assert.deepEqual({ no, ...content }, { no: 16, ...nothing });
  },
);

onServer(
  "runsSince() sees statements under way that began before, and no others",
  async (database) => {
    await using db = await database.open();
    const { url } = database.section as { url: string };
    await using blocked = connectTo(url);
    await using holder = connectTo(url);
    await holder`select pg_advisory_lock(1)`;
    const before = await stream.timeNow(db.admin);
    const waiting = blocked`select pg_advisory_lock(1)`.execute();
    await until(
      "it is under way",
      async () =>
        (await db.admin`select from pg_locks where not granted and locktype = 'advisory'`).length >
          0,
    );
    // The sessions of the program are being warmed up at first.
    await until(
      "those from before have ended",
      async () => !await stream.runsSince(db.admin, before),
    );
    const after = await stream.timeNow(db.admin);
    assert.equal(await stream.runsSince(db.admin, after), true);
    await holder.unsafe("begin; select pg_advisory_unlock(1)");
    await waiting;
    const isQuiet = async () => !await stream.runsSince(db.admin, after);
    await until("only an idle transaction is left", isQuiet);
    await holder.unsafe("rollback");
  },
);
