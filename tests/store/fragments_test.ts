import assert from "node:assert/strict";
import type { Database } from "../../lib/store/database.ts";
import { CANCEL_CHOSEN, insertEnded, RENEW_CHOSEN } from "../../lib/store/fragments.ts";
import { onServer } from "../support/databases.ts";

const ID = (n: number) => `00000000-0000-7000-8000-00000000000${n}`;

/** Stores pending deliveries, numbered from 1, with a past. */
async function owe(db: Database, count: number): Promise<void> {
  for (let n = 1; n <= count; n++) {
    await db.admin`
      insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at, token, attempts,
        counted, last_outcome, last_status, last_attempt_at)
      values (${ID(n)}::uuid, ${ID(0)}::uuid, 7, '2026-01-01Z', now(), 5, 3, 2, 'http_5xx', 503,
        '2026-01-02Z')`;
  }
}

const PAST = {
  event_id: ID(0),
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
    select id, event_id, endpoint_no, created_at, token, attempts, last_outcome, last_status,
      last_attempt_at, status, reason, ended_at > now() - interval '1 minute' as is_new
    from ended_deliveries order by id`;
  return rows.map((row) => ({ ...row }));
}

onServer("insertEnded() keeps a delivery's bookkeeping", async (database) => {
  await using db = await database.open();
  await owe(db, 2);
  await db.admin.unsafe(`
    with removed as (delete from pending_deliveries returning *)
    ${insertEnded("removed", { status: "'failed'" })}`);
  assert.deepEqual(
    await ended(db),
    [1, 2].map((n) => ({ id: ID(n), ...PAST, status: "failed", reason: null, is_new: true })),
  );
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
});

onServer(
  "RENEW_CHOSEN makes ended deliveries due, with their token and attempts",
  async (database) => {
    await using db = await database.open();
    await owe(db, 2);
    await db.admin.unsafe(`
    with removed as (delete from pending_deliveries returning *)
    ${insertEnded("removed", { status: "'failed'" })}`);
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
  },
);
