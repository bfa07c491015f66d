import assert from "node:assert/strict";
import type { Sql } from "postgres";
import { changesOf, failuresSince, lastAccepted } from "../../../lib/store/reports/causes.ts";
import { writeAudit } from "../../../lib/store/audit.ts";
import type { Database } from "../../../lib/store/database.ts";
import { onBoth } from "../../support/databases.ts";
import { PLAIN_SETTINGS, storeEndpoints } from "../../support/file.ts";

const BEGIN = Date.UTC(2026, 10, 23, 0);
const MINUTE = 60_000;
const at = (minute: number) => new Date(BEGIN + minute * MINUTE);

/** Stores two endpoints, and returns the number of the first one. */
async function endpointNo(db: Database): Promise<number> {
  const fields = { url: "http://127.0.0.1:9/", events: ["*"], businesses: null };
  await storeEndpoints(
    db,
    ["a", "b"].map((id) => ({ ...fields, id, settings: PLAIN_SETTINGS })),
  );
  const [row] = await db.admin<{ no: number }[]>`select no from endpoints where id = 'a'`;
  await db.admin`select make_partitions(first_id_at(${at(0).toISOString()}::text::timestamptz))`;
  return row?.no ?? 0;
}

/** Stores deliveries that ended a second after each minute from `from` on, for a number of minutes. */
async function ended(sql: Sql, no: number, from: number, minutes: number, status: number) {
  await sql`
    insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts,
      started_at, last_attempt_at, endpoint_version, last_outcome, last_status, address)
    select delivery_of(first_id_at(t), ${no}), ${no}::int, t, t + interval '1 s',
      ${status === 200 ? "delivered" : "failed"}, 1, 1, t, t + interval '1 s', 1,
      ${status === 200 ? "delivered" : "http_4xx"}, ${status}::int, '203.0.113.7:443'
    from generate_series(${from}::int, ${from + minutes - 1}::int) n
    cross join lateral (select to_timestamp(${BEGIN / 1000}::float8 + 60 * n) as t) t`;
}

onBoth(
  "lastAccepted() finds the last ones before a moment, across a long outage too",
  async (database) => {
    await using db = await database.open();
    const sql = db.admin;
    const no = await endpointNo(db);
    await ended(sql, no, 0, 30, 200);
    await ended(sql, no, 30, 1_500, 401);
    await ended(sql, no, 1_530, 10, 200);
    const last = async (
      minute: number,
      scope: "everything" | { business: string } = "everything",
    ) =>
      (await lastAccepted(sql, scope, { endpoint_no: no, at: at(minute) })).map(({ started_at }) =>
        (started_at.getTime() - BEGIN) / MINUTE
      );
    assert.deepEqual(await last(2_000), [
      1539,
      1538,
      1537,
      1536,
      1535,
      1534,
      1533,
      1532,
      1531,
      1530,
    ]);
    assert.deepEqual((await last(31)).slice(0, 2), [29, 28]);
    assert.equal((await last(31)).length, 20);
    assert.deepEqual(await last(0), []);
    // Behind more failures than are looked at, only the rollups know the way.
    assert.deepEqual(await last(1_530), []);
    await sql`
    insert into attempt_stats (span, starts_at, endpoint_no, outcome, attempts, response, first_attempt,
      delivered)
    select 'hour', ${
      at(0).toISOString()
    }::text::timestamptz, ${no}, 'delivered', 30, '[]', '[]', '[]'`;
    assert.deepEqual((await last(1_530)).slice(0, 2), [29, 28]);
    assert.deepEqual(await last(2_000, { business: "bus_1" }), []);
  },
);

onBoth(
  "failuresSince() has the first attempt of each kind, those that were retried too",
  async (database) => {
    await using db = await database.open();
    const sql = db.admin;
    const no = await endpointNo(db);
    await ended(sql, no, 0, 5, 401);
    await ended(sql, no, 10, 150, 401);
    await sql`
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at, attempts)
    select delivery_of(e, ${no}), e, ${no}, now(), now() + interval '6 h', 1
    from first_id_at(${at(9).toISOString()}::text::timestamptz) e`;
    await sql`
    insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at, outcome)
    select id, 1, endpoint_no, 1, ${at(9).toISOString()}::text::timestamptz, ${
      at(9.5).toISOString()
    }::text::timestamptz, 'timeout' from pending_deliveries`;
    const found = await failuresSince(sql, "everything", [{ endpoint_no: no, at: at(9) }]);
    assert.deepEqual(
      found.map(({ outcome, status, started_at }) => [outcome, status, started_at.getTime()])
        .toSorted(),
      [["http_4xx", 401, at(10).getTime()], ["timeout", null, at(9).getTime()]],
    );
    assert.equal(
      (await failuresSince(sql, { business: "b" }, [{ endpoint_no: no, at: at(9) }])).length,
      0,
    );
  },
);

onBoth("changesOf() reads an endpoint's own changes, the oldest first", async (database) => {
  await using db = await database.open();
  await endpointNo(db);
  const actor = { name: "anna", address: null };
  for (
    const [action, object] of [
      ["endpoint.rotated", "a"],
      ["endpoint.tested", "a"],
      ["endpoint.updated", "b"],
      ["endpoint.resumed", "a"],
    ] as const
  ) await writeAudit(db.admin, { actor, action, object, after: { n: 1 } });
  const found = await changesOf(db.admin, "everything", ["a"]);
  assert.deepEqual(found.map(({ action, actor }) => [action, actor]), [
    ["endpoint.rotated", "anna"],
    ["endpoint.resumed", "anna"],
  ]);
  assert.equal((await changesOf(db.admin, { business: "bus_1" }, ["a"])).length, 0);
});
