/** Ended deliveries have one full index, (endpoint_no, id): what reads them in another order is here. */

import assert from "node:assert/strict";
import { deliveryUuid, firstUuidAt, makeEventIds } from "../../lib/core/ids.ts";
import type { Database } from "../../lib/store/database.ts";
import { loadFleet } from "../../lib/store/endpoints.ts";
import { makePartitions } from "../../lib/store/partitions.ts";
import type { ReplayedStatus } from "../../lib/store/replay_search.ts";
import {
  createReplay,
  type ReplayStep,
  type RunningReplay,
  stepReplay,
} from "../../lib/store/replays.ts";
import { listDeliveries } from "../../lib/store/reports/deliveries.ts";
import { countReplay } from "../../lib/store/reports/replays.ts";
import type { DeliveryFilter } from "../../lib/store/reports/search.ts";
import { onServer } from "../support/databases.ts";
import { storePlainEndpoints } from "../support/file.ts";
import { until } from "../support/wait.ts";
import { makeRandom } from "../torture/random.ts";

const FROM = Date.UTC(2026, 10, 24);
const ENDPOINTS = 12;
const random = makeRandom(17);
const ids = makeEventIds(() => random.int(0, 2 ** 32 - 1));

interface Ended {
  readonly id: string;
  readonly event: string;
  readonly no: number;
  readonly status: "delivered" | "failed";
  readonly type: string;
}

/**
 * Stores deliveries of `count` events, each to an endpoint or two: the first endpoints get most of them,
 * the last none.
 */
async function store(db: Database, count: number): Promise<{ ended: Ended[]; nos: number[] }> {
  await storePlainEndpoints(db, ENDPOINTS);
  const { endpoints } = await loadFleet(db.admin);
  const nos = endpoints.map(({ no }) => no).toSorted((a, b) => a - b);
  const ended = Array.from({ length: count }, (_, n) => {
    const event = ids.next(FROM + n);
    const type = n % 50 === 0 ? "booking.created" : "booking.confirmed";
    const two = [random.int(0, 3), random.chance(0.2) ? random.int(4, ENDPOINTS - 2) : 0];
    return [...new Set(two)].map((at): Ended => {
      const no = nos[at] ?? 0;
      const status = random.chance(0.1) ? "failed" : "delivered";
      return { id: deliveryUuid(event, no), event, no, status, type };
    });
  }).flat();
  await makePartitions(db.admin, ended.map(({ event }) => event));
  await db.admin`
    insert into events (id, type, received_at, payload)
    select distinct on (event) event, type, ${new Date(FROM).toISOString()}::text::timestamptz, '{}'
    from json_to_recordset(${JSON.stringify(ended)}::text::json) as e (event uuid, type text)`;
  await db.admin`
    insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts,
      last_outcome, last_attempt_at, endpoint_version, started_at, response_truncated)
    select id, no, now(), now(), status, 1, 1,
      case status when 'failed' then 'timeout' else 'delivered' end, now(), 1, now(), false
    from json_to_recordset(${
    JSON.stringify(ended)
  }::text::json) as e (id uuid, no int, status text)`;
  return { ended: ended.toSorted((a, b) => a.id < b.id ? 1 : -1), nos };
}

/** All pages of a list, as ids. */
async function pages(db: Database, filter: Partial<DeliveryFilter>, limit: number) {
  const found: string[] = [];
  let before: string | undefined;
  for (let page = 0; page < 1_000; page++) {
    const { rows, next } = await listDeliveries(db.admin, "everything", {
      period: {},
      ...filter,
      limit,
      before,
    });
    found.push(...rows.map(({ uuid }) => uuid));
    if (next === null) return found;
    before = next;
  }
  throw new Error("There are always more pages");
}

onServer("event_of(), endpoint_of() and delivery_of() take ids apart", async (database) => {
  await using db = await database.open();
  for (const no of [1, 42, 2 ** 31 - 1]) {
    const event = ids.next(FROM);
    const delivery = deliveryUuid(event, no);
    const [row] = await db.admin`
      select event_of(${delivery}::uuid) as event, endpoint_of(${delivery}::uuid) as no,
        delivery_of(${event}::uuid, ${no}::int) as delivery`;
    assert.deepEqual({ ...row }, { event, no, delivery });
  }
});

onServer("listDeliveries() merges endpoints by time, without a gap", async (database) => {
  await using db = await database.open();
  const { ended } = await store(db, 400);
  const expected = (which: (one: Ended) => boolean) => ended.filter(which).map(({ id }) => id);
  for (const limit of [1, 7, 200]) {
    const max = limit === 1 ? 30 : Infinity;
    const some = max === Infinity ? {} : { period: { first_uuid: ended[max - 1]?.id } };
    assert.deepEqual(await pages(db, some, limit), expected(() => true).slice(0, max));
  }
  assert.deepEqual(
    await pages(db, { statuses: ["delivered"] }, 7),
    expected(({ status }) => status === "delivered"),
  );
  assert.deepEqual(
    await pages(db, { statuses: ["failed"] }, 7),
    expected((e) => e.status === "failed"),
  );
  assert.deepEqual(
    await pages(db, { type: "booking.created" }, 3),
    expected(({ type }) => type === "booking.created"),
  );
  const [second] = await db.admin<{ no: number }[]>`select no from endpoints where id = 'e1'`;
  assert.deepEqual(await pages(db, { endpoint: "e1" }, 7), expected(({ no }) => no === second?.no));
  assert.deepEqual(await pages(db, { endpoint: `e${ENDPOINTS - 1}` }, 7), []);
});

onServer("a replay of delivered ones takes each of every endpoint once", async (database) => {
  await using db = await database.open();
  const { ended, nos } = await store(db, 1_500);
  const change = {
    actor: { name: "ops", address: null },
    action: "replay.created",
    object: "a replay",
  };
  const first_uuid = ended.at(-101)?.event ?? "";
  const last_uuid = ended[100]?.id ?? "";
  const within = ended.filter(({ id }) => id > first_uuid && id <= last_uuid);
  const replay = async (statuses: readonly ReplayedStatus[], endpoint_no: number | null) => {
    const selection = {
      statuses,
      missing: false,
      endpoint_no,
      owner: null,
      type: null,
      since: "2020-01-01T00:00:00Z",
      until: "2100-01-01T00:00:00Z",
      first_uuid,
      last_uuid,
    };
    const { matched } = await countReplay(db.admin, "everything", selection, "whole");
    const uuid = ids.next(FROM);
    await createReplay(db.admin, { ...selection, uuid, rate_per_s: null, matched }, change);
    let steps = 0;
    for (let state = "running"; state === "running"; steps++) {
      const step = await stepReplay(db.admin, { uuid, ...selection });
      assert.ok(step !== undefined && steps < 50);
      state = step.state;
      // It rests between batches.
      await db.admin`update replays set next_batch_at = now() where id = ${uuid}::uuid`;
    }
    const rows = await db.admin<{ id: string }[]>`
      with gone as (delete from pending_deliveries returning id) select id from gone order by id desc`;
    return { count: matched.count, steps, found: rows.map(({ id }) => id) };
  };
  const of = (list: readonly Ended[]) => list.map(({ id }) => id);
  const delivered = within.filter(({ status }) => status === "delivered");
  const [no] = nos;
  const mine = delivered.filter((one) => one.no === no);
  const one = await replay(["delivered"], no ?? 0);
  assert.deepEqual(one.found, of(mine));
  assert.equal(one.count, mine.length);
  const rest = delivered.filter((one) => one.no !== no);
  const all = await replay(["delivered"], null);
  assert.deepEqual(all.found, of(rest));
  assert.equal(all.count, rest.length);
  assert.ok(all.steps >= 3, "in batches");
  const failed = within.filter(({ status }) => status === "failed");
  assert.deepEqual((await replay(["failed", "cancelled"], null)).found, of(failed));
});

onServer(
  "replays that find the same deliveries in different orders do not deadlock",
  async (database) => {
    await using db = await database.open();
    await using second = await database.open();
    await using third = await database.open();
    await storePlainEndpoints(db, 2);
    const { endpoints } = await loadFleet(db.admin);
    const [low = 0, high = 0] = endpoints.map(({ no }) => no).toSorted((a, b) => a - b);
    const [early, late] = [ids.next(FROM), ids.next(FROM + 1)];
    await makePartitions(db.admin, [early, late]);
    await db.admin`
    insert into events (id, type, received_at, payload)
    select id, 'booking.created', now(), '{}'
    from unnest(string_to_array(${`${early},${late}`}, ',')::uuid[]) as e (id)`;
    // By time the endpoint with the higher number comes first; endpoint by endpoint, the other one.
    await db.admin`
    insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts,
      started_at, last_attempt_at, endpoint_version, last_outcome, response_truncated)
    select delivery_of(event, no), no, now(), now(), 'failed', 1, 1, now(), now(), 1, 'timeout', false
    from (values (${early}::uuid, ${high}::int), (${late}::uuid, ${low}::int)) as d (event, no)`;
    const change = {
      actor: { name: "ops", address: null },
      action: "replay.created",
      object: "one",
    };
    const replays: Omit<RunningReplay, "wait_ms">[] = [];
    for (const statuses of [["failed"], ["failed", "delivered"]] as const) {
      const replay = {
        uuid: ids.next(FROM),
        statuses,
        missing: false,
        endpoint_no: null,
        owner: null,
      };
      await createReplay(db.admin, {
        ...replay,
        type: null,
        since: "2020-01-01T00:00:00Z",
        until: "2100-01-01T00:00:00Z",
        first_uuid: firstUuidAt(0),
        last_uuid: ids.next(FROM + 2),
        rate_per_s: null,
        matched: { count: 2, exact: true },
      }, change);
      replays.push(replay);
    }
    const [byTime, byEndpoint] = replays;
    assert.ok(byTime !== undefined && byEndpoint !== undefined);
    let steps: Promise<(ReplayStep | undefined)[]> | undefined;
    await third.admin.begin(async (tx) => {
      await tx`select from ended_deliveries where id = delivery_of(${early}::uuid, ${high}) for update`;
      steps = Promise.all([stepReplay(db.admin, byTime), stepReplay(second.admin, byEndpoint)]);
      await until("both wait for it", async () => {
        const [row] = await db.engine<{ waiting: number }[]>`
        select count(*)::int as waiting from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`;
        return row?.waiting === 2;
      });
    });
    const replayed = (await steps ?? []).map((step) => step?.replayed ?? 0);
    assert.deepEqual(replayed.toSorted(), [0, 2]);
    const [counted] = await db.admin`
    select sum(replayed)::int as replayed, sum(without_payload)::int as lost from replays`;
    assert.deepEqual({ ...counted }, { replayed: 2, lost: 0 });
  },
);

onServer("the table refuses ends that contradict themselves", async (database) => {
  await using db = await database.open();
  const { event = "" } = (await store(db, 1)).ended[0] ?? {};
  const insert = (no: number, values: string) =>
    db.admin.unsafe(`
      insert into ended_deliveries (id, endpoint_no, created_at, ended_at, token, status, reason,
        last_outcome, attempts, started_at)
      values (delivery_of('${event}', ${no}), ${no}, now(), now(), 1, ${values})`);
  const good = [
    "'delivered', null, 'delivered', 1, now()",
    "'failed', null, 'timeout', 2, now()",
    "'cancelled', 'expired', null, 0, null",
  ];
  for (const [at, values] of good.entries()) await insert(100 + at, values);
  const bad = [
    "'pending', null, 'delivered', 1, now()",
    "'delivered', null, 'timeout', 1, now()",
    "'delivered', 'expired', 'delivered', 1, now()",
    "'failed', 'expired', 'timeout', 1, now()",
    "'cancelled', null, 'timeout', 1, now()",
    "'failed', null, 'timeout', 1, null",
    "'failed', null, null, 0, now()",
    "'failed', null, 'timeout', -1, now()",
  ];
  for (const values of bad) {
    await assert.rejects(insert(200, values), /violates check constraint/, values);
  }
});
