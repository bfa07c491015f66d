import assert from "node:assert/strict";
import fc from "fast-check";
import { statusRange } from "../../../lib/core/outcome.ts";
import type { Database } from "../../../lib/store/database.ts";
import { cancel, retryNow } from "../../../lib/store/deliveries.ts";
import {
  countDeliveries,
  groupDeliveries,
  listDeliveries,
} from "../../../lib/store/reports/deliveries.ts";
import type { DeliveryFilter } from "../../../lib/store/reports/search.ts";
import { onServer } from "../../support/databases.ts";
import { PLAIN_SETTINGS, storeEndpoints } from "../../support/file.ts";
import { connectTo } from "../../support/postgres.ts";

/** A delivery as it was stored. */
interface Stored {
  readonly id: string;
  readonly endpoint: string;
  readonly type: string;
  readonly status: "pending" | "delivered" | "failed" | "cancelled";
  readonly reason: string | null;
  readonly last_outcome: string | null;
  readonly last_status: number | null;
  readonly test: boolean;
  readonly overdue: boolean;
}

/** Events are owed to the first endpoint, to fewer and fewer of the next; the last one was owed old ones only. */
const SHARES = ["true", "i % 2 = 0", "i % 10 = 0", "i % 400 = 0", "i < 5", "false"];
const EVENTS = 4_000;
const ENDPOINTS = SHARES.map((_, n) => `ep_${n}`);

/** Fills a database with more deliveries than a page reads. */
async function fill(db: Database): Promise<Stored[]> {
  await storeEndpoints(
    db,
    ENDPOINTS.map((id) => ({
      id,
      url: "http://127.0.0.1:9/",
      events: ["*"],
      businesses: null,
      settings: PLAIN_SETTINGS,
    })),
  );
  const sql = db.admin;
  await sql`
    insert into events (id, type, business, test, received_at, payload)
    select (lpad(to_hex(${Date.now()}::bigint + i), 12, '0') || '70008000000000000000')::uuid,
      case when i % 1500 = 7 then 'rare' else 'common' end, 'bus_' || i % 3, i % 50 = 9, now(), '{}'
    from generate_series(0, ${EVENTS - 1}::int) i`;
  await sql`insert into endpoint_versions (endpoint_no, version, url, headers, events)
    select no, 1, url, '[]', events from endpoints on conflict do nothing`;
  const owed = SHARES.map((share, n) => `select id, i, ${n + 1} as n from e where ${share}`);
  await sql.unsafe(`
    create table owed as
    with e as (select id, (row_number() over (order by id) - 1)::int as i from events),
      pairs as (${owed.join(" union all ")})
    select delivery_of(id, no) as id, no, i, (i * 7 + n * 13) % 100 as h
    from pairs join (select no, row_number() over (order by id) as n from endpoints) x using (n)`);
  await sql.unsafe(`
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at, last_outcome,
      last_status)
    select id, event_of(id), no, now(), now() + case when h % 5 = 1 then -1 else 1 end * interval '1 h', case when h < 5 then 'http_5xx' end,
      case when h < 5 then 503 end
    from owed where h < 15`);
  await sql.unsafe(`
    insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, reason, token, attempts,
      started_at, last_attempt_at, endpoint_version, last_outcome, last_status)
    select id, no, now(), now(),
      case when h < 20 then 'failed' when h < 23 then 'cancelled' else 'delivered' end,
      case when h between 20 and 22 then 'Cancelled by ops' end, 1, case when h between 20 and 22 then 0 else 1 end,
      case when h not between 20 and 22 then now() end, now(), 1,
      case when h >= 23 then 'delivered' when h >= 20 then null when i % 700 = 3 then 'http_4xx' else 'timeout' end,
      case when h >= 23 then 200 when h >= 20 then null when i % 700 = 3 then 418 end
    from owed where h >= 15`);
  await sql`update endpoints set paused_at = now(), pause_reason = 'Test', paused_by = 'hand' where id = 'ep_2'`;
  await sql.unsafe("analyze");
  return await sql<Stored[]>`
    select d.id, n.id as endpoint, e.type, d.status, d.reason, d.last_outcome, d.last_status, e.test,
      d.due_at <= now() and n.paused_at is null as overdue
    from (
      select id, 'pending' as status, cancel_reason as reason, last_outcome, last_status, due_at
      from pending_deliveries
      union all
      select id, status, reason, last_outcome, last_status, 'infinity' from ended_deliveries
    ) d join events e on e.id = event_of(d.id) join endpoints n on n.no = endpoint_of(d.id)
    order by d.id desc`;
}

type Wanted = Pick<
  DeliveryFilter,
  "statuses" | "overdue" | "test" | "endpoint" | "type" | "reason" | "code"
>;

/** Whether a delivery matches, by the rules of the contract. */
function matches(d: Stored, wanted: Wanted): boolean {
  const { statuses, overdue, test, endpoint, type, reason, code } = wanted;
  const [first, last] = code == null ? [0, 999] : statusRange(code);
  const by_reason = reason === "any"
    ? d.last_outcome !== null && d.last_outcome !== "delivered"
    : reason === "cancelled"
    ? d.reason?.startsWith("Cancelled by ") === true
    : reason == null || d.last_outcome === reason;
  return by_reason && (statuses?.includes(d.status) ?? true) &&
    (overdue !== true || d.overdue) && (test !== true || d.test) &&
    (endpoint === undefined || d.endpoint === endpoint) &&
    (type === undefined || d.type === type) &&
    (code == null || (d.last_status !== null && d.last_status >= first && d.last_status <= last));
}

const wanted = fc.record<Wanted>({
  statuses: fc.option(
    fc.subarray(["pending", "delivered", "failed", "cancelled"] as const, { minLength: 1 }),
    { nil: undefined },
  ),
  test: fc.option(fc.constant(true), { nil: undefined, freq: 1 }),
  endpoint: fc.option(fc.constantFrom(...ENDPOINTS), { nil: undefined }),
  type: fc.option(fc.constantFrom("common", "rare"), { nil: undefined }),
  reason: fc.option(fc.constantFrom("timeout", "http_4xx", "any", "cancelled"), { nil: undefined }),
  code: fc.option(fc.constantFrom("200", "418", "4xx", "503"), { nil: undefined }),
});

/** Of pending ones: ended deliveries are not overdue. */
const filters = fc.oneof(
  { weight: 4, arbitrary: wanted },
  wanted.map((filter): Wanted => ({ ...filter, statuses: ["pending"], overdue: true })),
);

/** Every page of a list, with `between` before each but the first one. */
async function pages(
  db: Database,
  filter: Wanted,
  limit: number,
  between: (page: number) => Promise<void> = () => Promise.resolve(),
) {
  const all: { uuid: string; status: string }[][] = [];
  let before: string | undefined;
  for (;;) {
    const { rows, next } = await listDeliveries(db.admin, "everything", {
      ...filter,
      before,
      limit,
      period: {},
    });
    assert.ok(rows.length <= limit);
    all.push(rows.map(({ uuid, status }) => ({ uuid, status })));
    if (next === null) return all;
    assert.ok(before === undefined || next < before, "a page goes on below the one before");
    before = next;
    await between(all.length);
  }
}

onServer("listDeliveries() finds what matches, whole and once, newest first", async (database) => {
  await using db = await database.open();
  const stored = await fill(db);
  await fc.assert(
    fc.asyncProperty(filters, fc.constantFrom(20, 50, 200), async (filter, limit) => {
      const expected = stored.filter((delivery) => matches(delivery, filter)).map(({ id }) => id);
      const found = (await pages(db, filter, limit)).flat().map(({ uuid }) => uuid);
      assert.deepEqual(found, expected);
      const count = await countDeliveries(db.admin, "everything", { ...filter, limit, period: {} });
      const { length } = expected;
      if (count.exact) assert.equal(count.value, length);
      else assert.ok(count.value <= Math.min(length, 1_000));
      const { groups, exact } = await groupDeliveries(db.admin, "everything", {
        ...filter,
        limit,
        period: {},
      });
      assert.deepEqual(
        { value: groups.reduce((sum, { deliveries }) => sum + deliveries, 0), exact },
        count,
      );
      for (const { status, endpoint, last_outcome, last_status, deliveries } of groups) {
        const alike = stored.filter((one) =>
          matches(one, filter) && one.status === status && one.endpoint === endpoint &&
          one.last_outcome === last_outcome && one.last_status === last_status
        );
        assert.ok(exact ? deliveries === alike.length : deliveries <= alike.length);
      }
      if (Object.values(filter).every((value) => value === undefined)) {
        assert.deepEqual(count, { value: 1_000, exact: false });
      }
    }),
    { numRuns: 40, examples: [[{}, 200], [{ endpoint: "ep_3" }, 50], [{ type: "rare" }, 50]] },
  );
});

onServer(
  "listDeliveries() judges a bounded number of rows, however rare a match",
  async (database) => {
    await using db = await database.open();
    const ended = (await fill(db)).filter(({ status }) => status !== "pending").length;
    assert.ok(ended > 5_000);
    await using sql = connectTo("url" in database.section ? database.section.url : assert.fail());
    for (const filter of [{ code: "207" }, { type: "none" }, { endpoint: "ep_0", code: "207" }]) {
      await sql.unsafe("begin").simple();
      await listDeliveries(sql, "everything", { ...filter, limit: 50, period: {} });
      const [row] = await sql<{ looked_up: number }[]>`
      select sum(idx_scan)::int as looked_up
      from pg_stat_xact_user_tables where relname ~ '^(ended_deliveries|events)_'`;
      await sql.unsafe("rollback").simple();
      const { looked_up = 0 } = row ?? {};
      assert.ok(looked_up > 500 && looked_up < 4_000, `${looked_up} look-ups`);
    }
  },
);

onServer(
  "listDeliveries() neither loses nor repeats deliveries that end or come back",
  async (database) => {
    await using db = await database.open();
    const stored = await fill(db);
    const change = { actor: { name: "ops", address: null }, action: "test", object: "test" };
    for (const endpoint of [undefined, "ep_0", "ep_2"]) {
      const known = stored.filter((one) => endpoint === undefined || one.endpoint === endpoint);
      let moved = 0;
      const found = await pages(db, { endpoint }, 50, async (page) => {
        // Those just shown and those that follow, from either table to the other one.
        const near = known.slice(page * 50 - 20, page * 50 + 20);
        for (const { id, status } of near) {
          if (status === "cancelled") {
            moved += await retryNow(db.admin, id, change) === undefined ? 0 : 1;
          }
          if (status === "pending") moved += (await cancel(db.admin, id, "No", change)).found;
        }
      });
      assert.deepEqual(found.flat().map(({ uuid }) => uuid), known.map(({ id }) => id));
      assert.ok(moved > 4, String(moved));
    }
  },
);
