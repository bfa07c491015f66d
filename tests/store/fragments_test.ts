import assert from "node:assert/strict";
import type { Database } from "../../lib/store/database.ts";
import { CANCEL_CHOSEN, endWaiting, RENEW_CHOSEN } from "../../lib/store/fragments.ts";
import { makePartitions } from "../../lib/store/partitions.ts";
import { onServer } from "../support/databases.ts";

/** The delivery of event n to endpoint 7. */
const ID = (n: number) => `0000000${n}-0000-7000-8000-000000000007`;

/** Stores pending deliveries, numbered from 1, with three attempts each; the last has all columns. */
async function owe(db: Database, count: number): Promise<void> {
  await makePartitions(db.admin, [ID(0)]);
  for (let n = 1; n <= count; n++) {
    await db.admin`
      insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at, token, attempts,
        counted, last_outcome, last_status, last_attempt_at)
      values (${ID(n)}::uuid, event_of(${
      ID(n)
    }::uuid), 7, '2026-01-01Z', now(), 5, 3, 2, 'http_5xx', 503,
        '2026-01-02Z')`;
    await db.admin`
      insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at,
        outcome) select ${ID(n)}::uuid, number, 7, 1, '2026-01-01Z', '2026-01-01Z', 'timeout'
      from generate_series(1, 2) number`;
    await db.admin`
      insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at,
        outcome, status, cause, address, request_timestamp, request_signature,
        request_webhook_signature, response_head, response_body, response_truncated, dns_us, connect_us,
        tls_us, waiting_us, connection_reused, certificate_ends_at)
      values (${ID(n)}::uuid, 3, 7, 2, '2026-01-01 23:00Z', '2026-01-02Z',
        'http_5xx', 503, 'why', '127.0.0.1:9', 1, '\\x01', '\\x02', 'HTTP/1.1', '\\x03', true,
        4, 5, 6, 7, false, '2027-01-01Z')`;
  }
}

/** Attempts, those of `attempts` apart from the ones in the rows of ended deliveries. */
async function attempts(db: Database) {
  const all = await db.admin`select * from attempts_all order by delivery_id, number`;
  const apart = await db.admin`select delivery_id, number from attempts order by 1, 2`;
  return {
    all: all.map(({ id: _, delivery: __, endpoint: ___, ...row }) => row),
    apart: apart.map(({ delivery_id, number }) =>
      `${Number(String(delivery_id).slice(0, 8))}.${number}`
    ),
  };
}

const PAST = {
  endpoint_no: 7,
  created_at: new Date("2026-01-01"),
  token: 5,
  attempts: 3,
  last_outcome: "http_5xx",
  last_status: 503,
  last_attempt_at: new Date("2026-01-02"),
};

async function ended(db: Database) {
  const rows = await db.admin`
    select id, endpoint_no, created_at, token, attempts, last_outcome, last_status,
      last_attempt_at, status, reason, ended_at > now() - interval '1 minute' as is_new
    from ended_deliveries order by id`;
  return rows.map((row) => ({ ...row }));
}

/** Fails all pending deliveries. */
async function endAll(db: Database): Promise<void> {
  await db.admin.unsafe(`
    with removed as (delete from pending_deliveries returning *)
    ${endWaiting("removed", { status: "'failed'" })}`);
}

onServer("endWaiting() keeps a delivery's bookkeeping and its attempts", async (database) => {
  await using db = await database.open();
  await owe(db, 2);
  const before = await attempts(db);
  assert.deepEqual(before.apart, ["1.1", "1.2", "1.3", "2.1", "2.2", "2.3"]);
  await endAll(db);
  assert.deepEqual(
    await ended(db),
    [1, 2].map((n) => ({ id: ID(n), ...PAST, status: "failed", reason: null, is_new: true })),
  );
  const after = await attempts(db);
  assert.deepEqual(after.apart, ["1.1", "1.2", "2.1", "2.2"], "the last one is in its delivery");
  assert.deepEqual(after.all, before.all);
});

onServer("endWaiting() ends a delivery that was never attempted", async (database) => {
  await using db = await database.open();
  await makePartitions(db.admin, [ID(0)]);
  await db.admin`
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
    values (${ID(1)}::uuid, event_of(${ID(1)}::uuid), 7, now(), now())`;
  await endAll(db);
  const none = { last_outcome: null, last_status: null, last_attempt_at: null };
  const [row] = await ended(db);
  assert.partialDeepStrictEqual(row, { id: ID(1), attempts: 0, status: "failed", ...none });
  assert.deepEqual(await attempts(db), { all: [], apart: [] });
});

onServer("CANCEL_CHOSEN ends what is not leased and marks the rest", async (database) => {
  await using db = await database.open();
  await owe(db, 3);
  await db.admin.unsafe(`
    with chosen (id, leased, reason) as materialized (
      values ('${ID(1)}'::uuid, false, 'one'), ('${ID(2)}'::uuid, true, 'two')
    ), ${CANCEL_CHOSEN}
    select from chosen`);
  assert.deepEqual(await ended(db), [
    { id: ID(1), ...PAST, status: "cancelled", reason: "one", is_new: true },
  ]);
  const rows = await db.admin`select id, cancel_reason from pending_deliveries order by id`;
  assert.deepEqual(rows.map((row) => [row.id, row.cancel_reason]), [
    [ID(2), "two"],
    [ID(3), null],
  ]);
  const { all, apart } = await attempts(db);
  assert.equal(all.length, 9);
  assert.deepEqual(apart, ["1.1", "1.2", "2.1", "2.2", "2.3", "3.1", "3.2", "3.3"]);
});

onServer(
  "RENEW_CHOSEN makes ended deliveries due, with their token and all attempts",
  async (database) => {
    await using db = await database.open();
    await owe(db, 2);
    const before = await attempts(db);
    await endAll(db);
    const owed = await db.admin.unsafe(`
    with chosen as materialized (select '${ID(1)}'::uuid as id), ${RENEW_CHOSEN}
    select id, endpoint_no from owed`);
    assert.deepEqual(owed.map((row) => ({ ...row })), [{ id: ID(1), endpoint_no: 7 }]);
    const rows = await db.admin`
    select id, token, attempts, counted, interruptions, leased_until, due_at <= now() as is_due
    from pending_deliveries`;
    assert.deepEqual(rows.map((row) => ({ ...row })), [{
      id: ID(1),
      token: 5,
      attempts: 3,
      counted: 0,
      interruptions: 0,
      leased_until: null,
      is_due: true,
    }]);
    assert.equal((await ended(db)).length, 1);
    const after = await attempts(db);
    assert.deepEqual(after.apart, ["1.1", "1.2", "1.3", "2.1", "2.2"]);
    assert.deepEqual(after.all, before.all, "recorded when they were");
  },
);
