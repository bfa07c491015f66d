import assert from "node:assert/strict";
import fc from "fast-check";
import type { Context } from "../../lib/delivery/context.ts";
import { expiredLeases, type Floors } from "../../lib/maintenance/leases.ts";
import { exhaustedDeliveries } from "../../lib/maintenance/exhausted.ts";
import type { Database } from "../../lib/store/database.ts";
import { makeSignals } from "../../lib/observe/signals.ts";
import { onServer, serverDatabase } from "../support/databases.ts";

const FULL_AFTER_MS = 20_000;
const ID = (n: number) => `00000000-0000-7000-8000-${String(n).padStart(12, "0")}`;

/** A pending delivery, due so long ago. */
interface Row {
  readonly uuid: string;
  readonly endpoint_no: number;
  due_s: number;
  /** `young`: no search from the beginning has seen the lease yet, so it cannot have expired. */
  lease: "none" | "young" | "seen" | "expired";
}

/** The job over a database, with a clock of its own, and what it must find. */
function makeSweep(db: Database) {
  const rows = new Map<string, Row>();
  const floors: Floors = { present: [] };
  let found: string[] = [];
  let now_ms = 0;
  let searched_at = -Infinity;
  let made = 0;
  const job = expiredLeases(({ uuid }) => void found.push(uuid), floors, () => now_ms);
  const ctx = { db, log: { warn: () => {} } } as unknown as Context;
  const any = (nth: number) => [...rows.values()][nth % Math.max(rows.size, 1)];
  const set = async (row: Row | undefined, lease: Row["lease"], due_s = row?.due_s ?? 0) => {
    if (row === undefined) return;
    Object.assign(row, { lease, due_s });
    await db.admin`
      update pending_deliveries set due_at = now() - ${due_s}::int * interval '1 s',
        leased_until = case ${lease} when 'none' then null
          when 'expired' then now() - interval '1 s' else now() + interval '1 h' end
      where id = ${row.uuid}::uuid`;
  };
  return {
    floors,
    /** A new row may be due before all others: committed late, or after the clock was set back. */
    async add(endpoint_no: number, due_s: number) {
      const uuid = ID(++made);
      rows.set(uuid, { uuid, endpoint_no, due_s, lease: "none" });
      await db.admin`
        insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at, counted, attempts)
        values (${uuid}::uuid, ${ID(0)}::uuid, ${endpoint_no}, now(),
          now() - ${due_s}::int * interval '1 s', 1, 1)`;
    },
    async end(nth: number) {
      const row = any(nth);
      if (row === undefined) return;
      rows.delete(row.uuid);
      await db.admin`delete from pending_deliveries where id = ${row.uuid}::uuid`;
    },
    async lease(nth: number) {
      const row = any(nth);
      if (row?.lease === "none" && row.due_s > 0) await set(row, "young");
    },
    async expire(nth: number) {
      const row = any(nth);
      if (row?.lease === "seen") await set(row, "expired");
    },
    /** Given back, or rescheduled by a result that came late. */
    release: (nth: number, due_s?: number) => set(any(nth), "none", due_s),
    async run(after_ms: number) {
      now_ms += after_ms;
      if (now_ms - searched_at >= FULL_AFTER_MS) {
        searched_at = now_ms;
        for (const row of rows.values()) if (row.lease === "young") row.lease = "seen";
      }
      found = [];
      await job.run(ctx, new AbortController().signal);
      const expired = [...rows.values()].filter(({ lease }) => lease === "expired");
      assert.deepEqual(found.toSorted(), expired.map(({ uuid }) => uuid).toSorted());
    },
  };
}

const nth = fc.nat(20);
/** Seconds ago: from where floors begin to rise to what is due only tomorrow. */
const due_s = fc.oneof(fc.integer({ min: 65, max: 100_000 }), fc.constant(-86_400));

Deno.test("expiredLeases() misses no lease that a search from the beginning has seen", async () => {
  await using database = await serverDatabase();
  await using db = await database.open();
  type Sweep = ReturnType<typeof makeSweep>;
  const step = fc.oneof(
    fc.tuple(fc.integer({ min: 1, max: 3 }), due_s).map(([no, due]) => (s: Sweep) =>
      s.add(no, due)
    ),
    { weight: 2, arbitrary: nth.map((n) => (s: Sweep) => s.lease(n)) },
    { weight: 2, arbitrary: nth.map((n) => (s: Sweep) => s.expire(n)) },
    nth.map((n) => (s: Sweep) => s.end(n)),
    nth.map((n) => (s: Sweep) => s.release(n)),
    fc.tuple(nth, due_s).map(([n, due]) => (s: Sweep) => s.release(n, due)),
    {
      weight: 3,
      arbitrary: fc.constantFrom(2_000, 2_000, FULL_AFTER_MS).map((ms) => (s: Sweep) => s.run(ms)),
    },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      await db.admin`truncate pending_deliveries`;
      const sweep = makeSweep(db);
      for (const each of steps) await each(sweep);
      await sweep.run(FULL_AFTER_MS);
      await sweep.run(2_000);
    }),
    { numRuns: 60 },
  );
});

onServer("sweeps pass the dead rows of ended deliveries once", async (database) => {
  await using db = await database.open();
  await using other = await database.open();
  const session = await db.admin.reserve();
  const sweep = makeSweep({ ...db, engine: session, admin: session });
  const read = async () => {
    await session`select pg_stat_force_next_flush()`;
    const [row] = await session<{ read: number }[]>`
      select idx_tup_read::int as read from pg_stat_user_indexes
      where indexrelname = 'pending_deliveries_due'`;
    return row?.read ?? NaN;
  };
  await sweep.add(1, 70);
  await other.admin.begin("isolation level repeatable read", async (pinning) => {
    await session`
      insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
      select (${ID(1).slice(0, -6)} || n)::uuid, ${ID(0)}::uuid, 1, now(), now() - interval '1 h'
      from generate_series(100000, 101999) n`;
    await pinning`select count(*) from pending_deliveries`; // from here on no dead row can go
    await session`delete from pending_deliveries where due_at < now() - interval '30 min'`;
    const counts = [await read()];
    await sweep.run(FULL_AFTER_MS);
    counts.push(await read());
    await sweep.run(2_000);
    const policy = () => ({ retry_ms: [0, 0] }) as never;
    await exhaustedDeliveries(policy, sweep.floors).run(
      { db: { admin: session }, signals: makeSignals() } as never,
      new AbortController().signal,
    );
    counts.push(await read());
    const [first = 0, second = 0] = counts.slice(1).map((count, at) => count - counts[at]!);
    assert.ok(first >= 2_000, `the first search reads ${first} entries`);
    assert.ok(second < 20, `the next two read ${second}`);
  });
  session.release();
});
