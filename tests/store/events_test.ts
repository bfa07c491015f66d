import assert from "node:assert/strict";
import { deliveryUuid, makeEventIds } from "../../lib/core/ids.ts";
import { loadFleet } from "../../lib/store/endpoints.ts";
import { type NewDelivery, type NewEvent, storeEvents } from "../../lib/store/events.ts";
import { onBoth } from "../support/databases.ts";

const TERM = { ms: 60_000, holder: 5 };
const WAITS_MS = [0, 1_500];

/** Deliveries of one batch: of each event one to an endpoint that waits not at all, one to an endpoint that does. */
function batchOf(events: number): { events: NewEvent[]; deliveries: NewDelivery[] } {
  const ids = makeEventIds(() => 7);
  const nothing = { business: null, subject: null, confirmation: null, trace: null, test: false };
  const stored = Array.from({ length: events }, () => (
    { ...nothing, uuid: ids.next(Date.now()), type: "booking.created", payload: "{}" }
  ));
  const deliveries = stored.flatMap(({ uuid: event_uuid }, at) =>
    WAITS_MS.map((wait_ms, no) => {
      const [endpoint_no, leased] = [no + 1, wait_ms === 0 && at % 3 === 0];
      const uuid = deliveryUuid(event_uuid, endpoint_no);
      return { uuid, event_uuid, endpoint_no, wait_ms, leased };
    })
  );
  return { events: stored, deliveries };
}

interface Row {
  readonly uuid: string;
  readonly event_uuid: string;
  readonly endpoint_no: number;
  readonly token: number;
  readonly leased_by: number | null;
  readonly lease_ms: number | null;
}

onBoth("storeEvents() keeps of each delivery what was given", async (database) => {
  await using db = await database.open();
  const { events, deliveries } = batchOf(40);
  const { revision } = await loadFleet(db.admin);
  assert.equal(await storeEvents(db, events, deliveries, revision, TERM), "stored");
  const rows = await db.admin<Row[]>`
    select id as uuid, event_id as event_uuid, endpoint_no, token, leased_by,
      (extract(epoch from leased_until - created_at) * 1000)::float8 as lease_ms
    from pending_deliveries order by id`;
  assert.deepEqual(
    rows.map((row) => ({ ...row })),
    deliveries.map(({ uuid, event_uuid, endpoint_no, leased }) => ({
      uuid,
      event_uuid,
      endpoint_no,
      token: leased ? 1 : 0,
      leased_by: leased ? TERM.holder : null,
      lease_ms: leased ? TERM.ms : null,
    })),
  );
});

onBoth("storeEvents() makes deliveries due in the order of their events", async (database) => {
  await using db = await database.open();
  const { events, deliveries } = batchOf(200);
  const { revision } = await loadFleet(db.admin);
  assert.equal(await storeEvents(db, events, deliveries, revision, TERM), "stored");
  for (const [at, wait_ms] of WAITS_MS.entries()) {
    const rows = await db.admin<{ late_us: number; together: number }[]>`
      select (extract(epoch from due_at - created_at) * 1000000)::float8 - ${wait_ms * 1000}::int
          as late_us,
        count(*) over (partition by due_at)::int as together
      from pending_deliveries where endpoint_no = ${at + 1}::int order by id`;
    assert.equal(rows.length, events.length);
    const late = rows.map(({ late_us }) => late_us);
    assert.deepEqual(late, late.toSorted((one, other) => one - other));
    // Never early, and due before the batch can be committed.
    assert.ok(late.every((us) => us >= 0 && us < events.length), String(late));
    // A claim reads again all that are due at the same time.
    assert.ok(rows.every(({ together }) => together <= 16));
  }
});
