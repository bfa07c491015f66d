import assert from "node:assert/strict";
import fc from "fast-check";
import { attemptId, deliveryId, deliveryUuid, eventId, firstUuidAt } from "../../lib/core/ids.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { PLAIN_SETTINGS, storeEndpoints } from "../support/file.ts";
import type { Database } from "../../lib/store/database.ts";

const hex = (digits: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${digits}}$`));
const uuid = fc.tuple(hex(8), hex(4), hex(4), hex(4), hex(4)).map((parts) => parts.join("-"));

onBoth(
  "shown_event(), shown_delivery() and shown_attempt() write ids like the API",
  async (database) => {
    await using db = await database.open();
    await fc.assert(
      fc.asyncProperty(
        uuid,
        fc.integer({ min: 1, max: 32_767 }),
        hex(8),
        async (half, number, no) => {
          const event = `${half}00000000`;
          const delivery = half + no;
          const [row] = await db.admin`
        select shown_event(${event}::uuid) as event, shown_delivery(${delivery}::uuid) as delivery,
          shown_attempt(${delivery}::uuid, ${number}) as attempt`;
          const ids = [eventId(event), deliveryId(delivery), attemptId(delivery, number)];
          assert.deepEqual([row?.["event"], row?.["delivery"], row?.["attempt"]], ids);
          const back = await db.admin`
        select uuid_of(id) as uuid, uuid_of(upper(id)) as shouted
        from unnest(string_to_array(${
            ids.join(" ")
          }, ' ')) with ordinality as t (id, n) order by n`;
          assert.deepEqual(
            back.map((one) => [one["uuid"], one["shouted"]]),
            [event, delivery, delivery].map((one) => [one, one]),
          );
        },
      ),
      { numRuns: 50 },
    );
    for (const text of ["", "evt_", "dlv_06b3n8vq0yr4", "evt_06b3n8vq0yr40000000u", "crm"]) {
      const [row] = await db.admin`select uuid_of(${text}) as uuid`;
      assert.equal(row?.["uuid"], null, text);
    }
  },
);

const AT = Date.now();

/** An event owed to two endpoints: failed at one after two attempts, pending at the other after one. */
async function fill(db: Database): Promise<{ failed: string; pending: string }> {
  const fields = { url: "http://127.0.0.1:9/", events: ["*"], businesses: null };
  await storeEndpoints(
    db,
    ["crm", "shop"].map((id) => ({ id, ...fields, settings: PLAIN_SETTINGS })),
  );
  const event = firstUuidAt(AT);
  const sql = db.admin;
  await sql`insert into events (id, type, business, received_at, payload)
    values (${event}::uuid, 'booking.created', 'bus_1', now(), '{}')`;
  await sql`insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at, attempts,
      last_outcome, last_status, last_attempt_at)
    select delivery_of(${event}::uuid, no), ${event}::uuid, no, now(), now() - interval '3 min', 1,
      'http_5xx', 503, now() from endpoints where id = 'crm'`;
  await sql`insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts,
      started_at, last_attempt_at, endpoint_version, last_outcome, cause)
    select delivery_of(${event}::uuid, no), no, now(), now(), 'failed', 2, 2, now(), now(), 1, 'timeout',
      'No answer within 30 s' from endpoints where id = 'shop'`;
  await sql`insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at,
      outcome, status)
    select delivery_of(${event}::uuid, no), 1, no, 1, now(), now(), 'http_5xx', 503 from endpoints`;
  const rows = await sql<{ id: string; no: number }[]>`select id, no from endpoints order by id`;
  const [pending = "", failed = ""] = rows.map(({ no }) => deliveryUuid(event, no));
  return { pending, failed };
}

onServer("the views have every delivery and every attempt once", async (database) => {
  await using db = await database.open();
  const { pending, failed } = await fill(db);
  const deliveries = await db.admin`
    select id, event, endpoint, type, business, status, attempts, last_outcome from deliveries
    order by endpoint`;
  const same = {
    event: eventId(firstUuidAt(AT)),
    type: "booking.created",
    business: "bus_1",
  };
  assert.deepEqual(deliveries.map((row) => ({ ...row })), [
    {
      id: deliveryId(pending),
      ...same,
      endpoint: "crm",
      status: "pending",
      attempts: 1,
      last_outcome: "http_5xx",
    },
    {
      id: deliveryId(failed),
      ...same,
      endpoint: "shop",
      status: "failed",
      attempts: 2,
      last_outcome: "timeout",
    },
  ]);
  const attempts = await db.admin`
    select id, delivery, endpoint, outcome from attempts_all order by endpoint, number`;
  assert.deepEqual(
    attempts.map((row) => ({ ...row })),
    [
      [pending, 1, "crm", "http_5xx"] as const,
      [failed, 1, "shop", "http_5xx"] as const,
      [failed, 2, "shop", "timeout"] as const,
    ].map(([uuid, number, endpoint, outcome]) => ({
      id: attemptId(uuid, number),
      delivery: deliveryId(uuid),
      endpoint,
      outcome,
    })),
  );
});

onServer("the queries in docs/operations.md find what they say", async (database) => {
  const page = Deno.readTextFileSync(new URL("../../docs/operations.md", import.meta.url));
  const section = page.split("## Looking into the database")[1]?.split("\n## ")[0] ?? "";
  const queries = [...section.matchAll(/```sql\n([^`]*)```/g)].map(([, query = ""]) => query);
  assert.equal(queries.length, 4);
  await using db = await database.open();
  const { pending, failed } = await fill(db);
  const answers = [];
  for (const query of queries) {
    const about = query.replaceAll(/'dlv_[^']*'/g, `'${deliveryId(failed)}'`);
    answers.push(await db.admin.unsafe(about));
  }
  const [failures = [], owed = [], attempts = [], ends = []] = answers;
  assert.deepEqual(failures.map(({ id }) => id), [deliveryId(failed)]);
  assert.deepEqual(owed.map(({ id }) => id), [deliveryId(pending)]);
  assert.match(String(owed[0]?.["due_for"]), /^00:03:/);
  assert.deepEqual(attempts.map((one) => [one["number"], one["outcome"], one["cause"]]), [
    [1, "http_5xx", null],
    [2, "timeout", "No answer within 30 s"],
  ]);
  assert.deepEqual(ends.map((one) => `${one["endpoint"]} ${one["status"]} ${one["count"]}`), [
    "crm pending 1",
    "shop failed 1",
  ]);
});
