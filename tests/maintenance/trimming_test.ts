import assert from "node:assert/strict";
import type { Context } from "../../lib/delivery/context.ts";
import { alongEvents } from "../../lib/maintenance/retention.ts";
import { blankPayloads, trimAttempts } from "../../lib/store/retention.ts";
import type { Database } from "../../lib/store/database.ts";
import { makePartitions } from "../../lib/store/partitions.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { connectTo } from "../support/postgres.ts";

const DAY_MS = 86_400_000;
const ENDPOINTS = 3;

/** An event with deliveries to the endpoints 1 to 3, as many as there are ages. */
interface Made {
  /** Its subject; events are stored in this order. */
  readonly name: string;
  /** How many days ago it was stored. */
  readonly days: number;
  /** Days since each delivery ended at its third attempt; null while it waits for that. */
  readonly ended: readonly (number | null)[];
}

/** Stores events whose attempts each have a response. */
async function store(db: Database, events: readonly Made[]): Promise<void> {
  await db.admin`
    insert into endpoints (no, id, source, url, events, settings) overriding system value
    select n, 'e' || n, 'api', 'http://127.0.0.1:1/', '{*}', '{}'
    from generate_series(1, ${ENDPOINTS}::int) n`;
  const idOf = (nth: number, no: number) =>
    `01000000-0000-7000-8000-${String(nth).padStart(4, "0")}${String(no).padStart(8, "0")}`;
  await makePartitions(db.admin, [idOf(0, 0)]);
  for (const [nth, { name, days, ended }] of events.entries()) {
    const event = idOf(nth, 0);
    await db.admin`
      insert into events (id, type, subject, received_at, payload)
      values (${event}::uuid, 'booking.created', ${name}, now() - ${days}::int * interval '1 day', '{}')`;
    for (const [at, age] of ended.entries()) {
      const id = idOf(nth, at + 1);
      const when = db.admin`now() - ${age ?? days}::int * interval '1 day'`;
      await db.admin`
        insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at,
          outcome, status, response_head, response_body, response_truncated)
        select ${id}::uuid, n, ${
        at + 1
      }::int, 1, ${when}, ${when}, 'http_5xx', 500, 'HTTP/1.1 500', 'no',
          false
        from generate_series(1, 2) n`;
      if (age === null) {
        await db.admin`
          insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at, attempts)
          values (${id}::uuid, ${event}::uuid, ${at + 1}::int,
            now() - ${days}::int * interval '1 day', now() + interval '1 year', 2)`;
      } else {
        await db.admin`
          insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts,
            endpoint_version, started_at, last_attempt_at, last_outcome, last_status,
            response_head, response_body, response_truncated)
          values (${id}::uuid, ${
          at + 1
        }::int, now() - ${days}::int * interval '1 day', ${when}, 'failed',
            1, 3, 1, ${when}, ${when}, 'http_5xx', 500, 'HTTP/1.1 500', 'no', true)`;
      }
    }
  }
}

const EVENTS: readonly Made[] = [
  { name: "old", days: 20, ended: [20, 19, 8] },
  { name: "waits", days: 20, ended: [20, null] },
  { name: "ended lately", days: 20, ended: [20, 6] },
  { name: "owed to nobody", days: 20, ended: [] },
  { name: "at the edge", days: 11, ended: [11] },
  { name: "young", days: 9, ended: [9, 8] },
];

/** Every step, each of `limit` events. Returns how many rows were changed. */
async function all(
  db: Database,
  step: typeof blankPayloads,
  age_days: number,
  limit: number,
): Promise<number> {
  let [sum, position]: [number, string | null] = [0, null];
  for (;;) {
    const { trimmed, is_last, position: next } = await step(
      db.admin,
      age_days * DAY_MS,
      position,
      limit,
    );
    sum += trimmed;
    position = next ?? position;
    if (is_last) return sum;
  }
}

onBoth(
  "blankPayloads() leaves payloads of what waits, or ended within seven days",
  async (database) => {
    await using db = await database.open();
    await store(db, EVENTS);
    const blank = async () => {
      const rows = await db.admin<{ subject: string }[]>`
        select subject from events where payload is null order by id`;
      return rows.map(({ subject }) => subject);
    };
    assert.equal(await all(db, blankPayloads, 10, 2), 3);
    assert.deepEqual(await blank(), ["old", "owed to nobody", "at the edge"]);
    assert.equal(await all(db, blankPayloads, 10, 1_000), 0, "each once");
    // Three days later two more may go; the one that waits stays.
    await db.admin`update ended_deliveries set ended_at = ended_at - interval '3 days'`;
    await db.admin`update events set received_at = received_at - interval '3 days'`;
    assert.equal(await all(db, blankPayloads, 10, 3), 2);
    assert.deepEqual(
      await blank(),
      EVENTS.map(({ name }) => name).filter((one) => one !== "waits"),
    );
  },
);

onBoth(
  "trimAttempts() leaves the last attempt without its response, and what is young or waits",
  async (database) => {
    await using db = await database.open();
    await store(db, EVENTS);
    const kept = async () => {
      const rows = await db.admin<{ line: string }[]>`
        select e.subject || ' ' || n.no || ': ' || (
            select count(*) from attempts a where a.delivery_id = d.id) ||
          coalesce(' ' || d.last_outcome || ' ' || d.last_status || ' ' || d.attempts || ' ' ||
            coalesce(d.response_head || d.response_truncated, 'trimmed'), '') as line
        from events e cross join endpoints n
        join (
          select id, endpoint_no, null as last_outcome, null as last_status, null as attempts,
            null as response_head, null as response_truncated from pending_deliveries
          union all
          select id, endpoint_no, last_outcome, last_status, attempts, response_head,
            response_truncated
          from ended_deliveries
        ) d on d.endpoint_no = n.no and d.id between e.id and last_of(e.id)
        order by e.id, n.no`;
      return rows.map(({ line }) => line);
    };
    const [trimmed, whole] = ["0 http_5xx 500 3 trimmed", "2 http_5xx 500 3 HTTP/1.1 500true"];
    const expected = [
      `old 1: ${trimmed}`,
      `old 2: ${trimmed}`,
      `old 3: ${trimmed}`,
      `waits 1: ${trimmed}`,
      "waits 2: 2",
      `ended lately 1: ${trimmed}`,
      `ended lately 2: ${whole}`,
      `at the edge 1: ${trimmed}`,
      `young 1: ${whole}`,
      `young 2: ${whole}`,
    ];
    assert.equal(await all(db, trimAttempts, 10, 2), 6);
    assert.deepEqual(await kept(), expected);
    assert.equal(await all(db, trimAttempts, 10, 1_000), 0, "each once");
    assert.deepEqual(await kept(), expected);
  },
);

onServer("what comes back is neither blanked nor trimmed meanwhile", async (database) => {
  const { url } = database.section as { url: string };
  await using db = await database.open();
  await using other = connectTo(url);
  await store(db, [{ name: "old", days: 20, ended: [20] }]);
  // As a retry holds them until it commits.
  const holding = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  const retry = other.begin(async (sql) => {
    await sql`select from events for key share`;
    await sql`delete from ended_deliveries`;
    held.resolve();
    await holding.promise;
    throw new Error("given up");
  });
  await held.promise;
  assert.equal(await all(db, blankPayloads, 10, 10), 0);
  assert.equal(await all(db, trimAttempts, 10, 10), 0);
  holding.resolve();
  await assert.rejects(retry, /given up/);
  assert.equal(await all(db, blankPayloads, 10, 10), 1);
  assert.equal(await all(db, trimAttempts, 10, 10), 1);
});

Deno.test("alongEvents() starts over once a day, after it came to the end", async () => {
  let now = 0;
  let steps = 0;
  let is_last = false;
  const asked: (string | null)[] = [];
  const run = alongEvents((_ctx, position) => {
    asked.push(position);
    return Promise.resolve({ trimmed: 0, position: `${++steps}`, is_last });
  });
  /** Where a run begins, a day after the one before; `ends` says whether it comes to the end. */
  const begin = async (ends: boolean) => {
    now += DAY_MS;
    is_last = ends;
    const count = asked.length;
    await run({ clock: { now: () => now } } as unknown as Context, new AbortController().signal);
    return asked[count];
  };
  assert.equal(await begin(true), null);
  assert.equal(await begin(false), null, "a day later it starts over");
  const reached = `${steps}`;
  assert.equal(await begin(true), reached, "not if what it has read is not all");
  assert.equal(await begin(true), null, "but as soon as it is");
});
