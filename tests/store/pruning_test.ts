/** How many partitions the statements read that run all the time, whatever the number of weeks. */

import assert from "node:assert/strict";
import postgres, { type Sql } from "postgres";
import { deliveryUuid, makeEventIds } from "../../lib/core/ids.ts";
import { claim, type Claimed } from "../../lib/store/claims.ts";
import type { Database } from "../../lib/store/database.ts";
import { cancel, retryNow } from "../../lib/store/deliveries.ts";
import {
  advance,
  createErasure,
  readContents,
  settle,
  takeTurn,
} from "../../lib/store/erasures.ts";
import { loadFleet } from "../../lib/store/endpoints.ts";
import { storeEvents } from "../../lib/store/events.ts";
import { makePartitions } from "../../lib/store/partitions.ts";
import * as deliveries from "../../lib/store/reports/deliveries.ts";
import { getEvent, listEvents } from "../../lib/store/reports/events.ts";
import { createReplay, stepReplay } from "../../lib/store/replays.ts";
import { record, type Result } from "../../lib/store/results.ts";
import { openUrl, serverDatabase } from "../support/databases.ts";
import { storePlainEndpoints } from "../support/file.ts";
import { plainOutcome } from "../support/outcome.ts";
import { makeRandom } from "../torture/random.ts";

const KEY_ID = "0123abcd";
const WEEK_MS = 7 * 86_400_000;
const FROM = Date.parse("2020-03-04T12:00Z");
const PER_WEEK = 1_000;
const ENDPOINTS = 4;

const random = makeRandom(17);
const newIds = () => makeEventIds(() => random.int(0, 2 ** 32 - 1));

/** Stores events of so many weeks, each with an ended delivery to every endpoint. */
async function fill(db: Database, weeks: number) {
  const ids = newIds();
  await storePlainEndpoints(db, ENDPOINTS);
  const { endpoints, revision } = await loadFleet(db.admin);
  const events = Array.from(
    { length: weeks * PER_WEEK },
    (_, n) => ids.next(FROM + Math.floor(n / PER_WEEK) * WEEK_MS + n),
  );
  await makePartitions(db.admin, events);
  await db.admin`
    insert into events (id, type, received_at, payload)
    select e::uuid, 'booking.created', time_of(e::uuid), '{}'
    from json_array_elements_text(${JSON.stringify(events)}::text::json) e`;
  await db.admin`
    insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts,
      last_outcome, last_attempt_at, endpoint_version, started_at, response_truncated)
    select delivery_of(e.id, n.no), n.no, e.received_at, e.received_at,
      case when e.failed then 'failed' else 'delivered' end, 1, 1,
      case when e.failed then 'timeout' else 'delivered' end, e.received_at, 1, e.received_at, false
    from (select *, ('x' || substr(id::text, 16, 3))::bit(12)::int % 10 = 0 as failed from events) e
    cross join endpoints n`;
  await db.admin.unsafe("analyze").simple();
  return { ids, events, revision, nos: endpoints.map(({ no }) => no) };
}

/** What a statement did to the partitions. */
interface Cost {
  /** Partitions that were read, and those that it locked, of all three tables. */
  readonly read: number;
  readonly locked: number;
  /** All locks, indexes included. */
  readonly locks: number;
}

const LEAF = "'^(events|ended_deliveries|attempts)_\\d{8}$'";

/** One session with these settings, in which statements run in a transaction that is looked into. */
function openSession(url: string, settings: Record<string, string>) {
  const sql = postgres(url, {
    max: 1,
    fetch_types: false,
    onnotice: () => {},
    connection: settings,
  });
  return {
    sql,
    /** Runs `work` until it is planned for good, then once more, and counts. */
    async cost(work: (sql: Sql) => Promise<unknown>): Promise<Cost> {
      let row: Cost | undefined;
      for (let run = 0; run < 7; run++) {
        // The counts of earlier transactions are not for this one.
        await sql`select pg_stat_force_next_flush()`;
        await sql.unsafe("begin").simple();
        await work(sql);
        [row] = await sql<Cost[]>`
          select (select count(*)::int from pg_stat_xact_user_tables
              where relname ~ ${
          sql.unsafe(LEAF)
        } and coalesce(seq_scan, 0) + coalesce(idx_scan, 0) > 0) as read,
            (select count(distinct c.oid)::int from pg_locks l join pg_class c on c.oid = l.relation
              where l.pid = pg_backend_pid() and c.relname ~ ${sql.unsafe(LEAF)}) as locked,
            (select count(*)::int from pg_locks l
              where l.pid = pg_backend_pid() and l.locktype = 'relation') as locks`;
        await sql.unsafe("rollback").simple();
      }
      assert.ok(row !== undefined);
      return { ...row };
    },
  };
}

const ENGINE = {
  plan_cache_mode: "force_generic_plan",
  enable_hashjoin: "off",
  enable_mergejoin: "off",
  enable_bitmapscan: "off",
  enable_seqscan: "off",
  jit: "off",
};

const FAILED = plainOutcome("timeout", null, { cause: "No answer", duration_ms: 20 });

const resultOf = (lease: Claimed, nth: number): Result => ({
  lease,
  endpoint_version: 1,
  outcome: FAILED,
  decision: nth % 2 === 0
    ? { verdict: "retry", counts: true, wait_ms: 60_000 }
    : { verdict: "failed", counts: true },
  sent: null,
  ended_at: 0,
  promise: 0,
});

/** The costs of statements at so many weeks. */
async function measure(weeks: number): Promise<Record<string, Cost>> {
  await using database = await serverDatabase();
  const { url } = database.section as { url: string };
  await using db = await openUrl(url);
  const { ids, events, revision, nos } = await fill(db, weeks);
  const engine = openSession(url, ENGINE);
  const admin = openSession(url, { jit: "off" });
  const change = { actor: { name: "test", address: null }, action: "test", object: "test" };
  const term = { ms: 60_000, holder: 1 };
  const no = nos[0] ?? 0;
  const [first = "", middle = "", last = ""] = [0, events.length >> 1, events.length - 1]
    .map((at) => events[at]);
  const of = (event: string) => deliveryUuid(event, no);
  const ingest = (sql: Sql) => {
    const uuid = ids.next(FROM + (weeks - 1) * WEEK_MS + 3_600_000);
    const event = { uuid, type: "booking.created", payload: "{}", test: false };
    const none = { business: null, subject: null, confirmation: null, trace: null };
    const delivery = { event_uuid: uuid, endpoint_no: no, wait_ms: 0, leased: false };
    return storeEvents(
      { kind: "server", ingest: sql } as Database,
      [{ ...event, ...none }],
      [{ ...delivery, uuid: deliveryUuid(uuid, no) }],
      revision,
      term,
    );
  };
  const costs: Record<string, Cost> = {};
  costs["ingest"] = await engine.cost(ingest);
  // One delivery waits in each of the last three weeks.
  await db.admin`
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
    select delivery_of(e::uuid, ${no + 100}::int), e::uuid, ${no}::int, now(), now()
    from json_array_elements_text(${
    JSON.stringify([1, 2, 3].map((back) => events[events.length - 1 - (back - 1) * PER_WEEK]))
  }::text::json) e`;
  const room = { endpoint_no: no, room: 3, max_attempts: 7, floor: "0" };
  const rooms = [{ ...room, concurrency: null, interval_us: null }];
  costs["claim, of 3 weeks"] = await engine.cost((sql) => claim(sql, rooms, term));
  const claimed = await claim(db.engine, rooms, term);
  assert.equal(claimed.length, 3);
  costs["record, of 3 weeks"] = await engine.cost((sql) => record(sql, claimed.map(resultOf), 0));
  await db.admin`update pending_deliveries set leased_until = null`;
  costs["cancel"] = await admin.cost((sql) =>
    cancel(sql, deliveryUuid(last, no + 100), "cancelled", change)
  );
  costs["retry"] = await admin.cost((sql) => retryNow(sql, of(middle), change));
  const page = { limit: 50, period: {} };
  costs["list"] = await admin.cost((sql) => deliveries.listDeliveries(sql, "everything", page));
  costs["list of an endpoint"] = await admin.cost((sql) =>
    deliveries.listDeliveries(sql, "everything", { ...page, endpoint: "e1" })
  );
  costs["list of the failed"] = await admin.cost((sql) =>
    deliveries.listDeliveries(sql, "everything", { ...page, statuses: ["failed"] })
  );
  costs["a later page"] = await admin.cost((sql) =>
    deliveries.listDeliveries(sql, "everything", { ...page, before: of(middle) })
  );
  costs["list of events"] = await admin.cost((sql) => listEvents(sql, "everything", page));
  costs["an event and its deliveries"] = await admin.cost(async (sql) => {
    await getEvent(sql, "everything", middle);
    await deliveries.deliveriesOf(sql, "everything", middle);
    await deliveries.lastAttemptsOf(sql, "everything", [of(middle)]);
  });
  costs["a delivery and its attempts"] = await admin.cost(async (sql) => {
    await deliveries.getDelivery(sql, "everything", of(middle));
    await deliveries.attemptsOf(sql, "everything", of(middle));
  });
  const replay = {
    uuid: newIds().next(Date.now()),
    statuses: ["failed"],
    endpoint_no: null,
    owner: null,
    missing: false,
  } as const;
  await createReplay(db.admin, {
    ...replay,
    type: null,
    since: "2020-01-01Z",
    until: "2100-01-01Z",
    first_uuid: first,
    last_uuid: deliveryUuid(events[PER_WEEK - 1] ?? "", 0x7fffffff),
    rate_per_s: null,
    matched: { count: 1, exact: true },
  }, change);
  costs["a replay's step"] = await admin.cost((sql) => stepReplay(sql, replay));
  const erasure = {
    uuid: newIds().next(Date.now()),
    kind: "containing",
    dry_run: false,
    sealed: `01${KEY_ID}`,
    event_uuid: null,
  } as const;
  await createErasure(db.admin, erasure, change);
  const turn = await takeTurn(db.admin, [KEY_ID]);
  assert.ok(turn !== undefined);
  const piece = { ...turn, position: middle };
  costs["an erasure's piece"] = await admin.cost((sql) => readContents(sql, piece, 100));
  await advance(db.admin, turn, {
    phase: "events",
    erased: events.slice(events.length >> 1, (events.length >> 1) + 100)
      .map((id) => ({ id, subject: true, business: true })),
    pause_ms: 0,
  });
  costs["an erasure's settling"] = await admin.cost((sql) => settle(sql, turn));
  await settle(db.admin, turn);
  costs["an erasure's end of it"] = await admin.cost((sql) => settle(sql, turn));
  await engine.sql.end();
  await admin.sql.end();
  return costs;
}

/**
 * Most partitions, of all three tables, that a statement may read at any number of weeks. Exact for the
 * engine's; the others are planned by statistics.
 */
const MOST: Readonly<Record<string, number>> = {
  "ingest": 0,
  "claim, of 3 weeks": 3,
  "record, of 3 weeks": 3,
  "cancel": 0,
  "retry": 4,
  "list": 12,
  "list of an endpoint": 12,
  "list of the failed": 12,
  "a later page": 12,
  "list of events": 12,
  "an event and its deliveries": 12,
  "a delivery and its attempts": 12,
  "a replay's step": 12,
  "an erasure's piece": 3,
  "an erasure's settling": 3,
  "an erasure's end of it": 3,
};

for (const weeks of [10, 40]) {
  Deno.test(`statements read the partitions that their ids are in, at ${weeks} weeks`, async () => {
    const costs = await measure(weeks);
    assert.deepEqual(Object.keys(costs), Object.keys(MOST));
    for (const [name, { read }] of Object.entries(costs)) {
      assert.ok(read <= (MOST[name] ?? 0), `${name} read ${read} partitions`);
    }
    // Rows go to their partition, and no other is locked.
    assert.deepEqual([costs["ingest"]?.locked, costs["record, of 3 weeks"]?.locked], [1, 3]);
  });
}
