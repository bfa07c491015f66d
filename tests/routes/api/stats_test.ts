import assert from "node:assert/strict";
import { firstUuidAt } from "../../../lib/core/ids.ts";
import { bucketOf } from "../../../lib/core/histogram.ts";
import { makePartitions } from "../../../lib/store/partitions.ts";
import { attemptStats, endpointRuns } from "../../../lib/store/reports/stats.ts";
import { purgeStats, rollUp } from "../../../lib/store/stats.ts";
import type { Database } from "../../../lib/store/database.ts";
import { checkedApi } from "../../support/checked.ts";
import { booking, endpoint, startDaemon } from "../../support/daemon.ts";
import { onServer, openUrl, server, type TestDatabase } from "../../support/databases.ts";
import { startReceiver } from "../../support/receiver.ts";
import { travelDatabase } from "../../support/travel.ts";
import { sleep, until } from "../../support/wait.ts";
import { makeRandom } from "../../torture/random.ts";

onServer("GET /api/stats counts attempts at once, and pending deliveries", async (database) => {
  await using receiver = await startReceiver(async ({ path }) => {
    if (path === "/slow") await sleep(120);
    return { status: path === "/bad" ? 500 : 200 };
  });
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s", "1h"] },
    endpoints: ["good", "bad", "slow", "idle"].map((id) =>
      endpoint(id, `${receiver.url}/${id}`, id === "idle" ? { events: ["service.*"] } : {})
    ),
  });
  const api = await checkedApi(daemon);
  await daemon.post(Array.from({ length: 10 }, () => booking("apt_1")));
  const stats = await until("all is recorded", async () => {
    const { body } = await api.expect(200, "GET", "stats?window=1m");
    return body.totals.attempts === 30 && body;
  });
  const { totals } = stats;
  assert.deepEqual([totals.delivered, totals.failed, totals.pending], [20, { http_5xx: 10 }, 10]);
  assert.equal(totals.success_rate, 2 / 3);
  assert.deepEqual([totals.overdue, totals.sending, totals.pending_exact], [0, 0, true]);
  assert.ok(totals.oldest_pending_ms > 0);
  // deno-lint-ignore no-explicit-any
  const of = (id: string): any =>
    stats.endpoints.find((one: { endpoint_id: string }) => one.endpoint_id === id);
  assert.equal(stats.endpoints.length, 4);
  assert.ok(of("slow").duration_ms.p50 > 108);
  assert.equal(of("good").success_rate, 1);
  assert.deepEqual([of("bad").pending, of("bad").delivered], [10, 0]);
  assert.equal(of("idle").success_rate, null);
  const one = await api.expect(200, "GET", "stats?endpoint=bad&window=30d");
  assert.deepEqual(one.body.endpoints, [{
    ...of("bad"),
    oldest_pending_ms: one.body.totals.oldest_pending_ms,
  }]);
  for (const query of ["window=1", "window=59s", "window=31d", "endpoint=nobody", "windows=1h"]) {
    await api.expect(422, "GET", `stats?${query}`);
  }
});

onServer("GET /api/stats counts the events without a known business", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const api = await checkedApi(daemon);
  const counted = async (window = "1h") => {
    const { body } = await api.expect(200, "GET", `stats?window=${window}`);
    return [body.events_without_business, body.events_without_business_exact];
  };
  assert.deepEqual(await counted(), [0, true]);
  await daemon.post([
    booking("apt_1"),
    booking("apt_2", "bus_1"),
    booking("apt_2"),
    booking("apt_3"),
  ]);
  assert.deepEqual(await counted(), [2, true]);
  const db = await database.open();
  await makePartitions(db.admin, [firstUuidAt(Date.now() - 3 * 3_600_000)]);
  await db.admin.unsafe(`
    update events set received_at = now() - interval '3 hours', id = case subject when 'apt_1'
      then '${firstUuidAt(Date.now() - 3 * 3_600_000)}'::uuid else id end where subject = 'apt_1';
    insert into events (id, type, received_at, payload, test)
    select (left(first_id_at(now())::text, 14) || right(gen_random_uuid()::text, 22))::uuid, 'booking.created', now(), '{}', true from generate_series(1, 5)`)
    .simple();
  assert.deepEqual(await counted(), [1, true]);
  assert.deepEqual(await counted("6h"), [2, true]);
  await db.admin.unsafe(`
    insert into events (id, type, received_at, payload)
    select overlay(e.id::text placing to_char(n, 'FM000000000000') from 25)::uuid, 'booking.created',
      now(), '{}' from events e, generate_series(1, 10000) n where e.subject = 'apt_3'`).simple();
  assert.deepEqual(await counted(), [10_000, false]);
  await db.close();
});

async function rollUpAll(db: Database): Promise<void> {
  while ((await rollUp(db.admin))?.is_behind === true);
}

/** Attempts of the past: recorded `age_s` seconds ago, with durations of 2^n ms. */
async function addAttempts(database: TestDatabase, ages_s: readonly number[]): Promise<void> {
  const db = await database.open();
  try {
    await db.admin`
      insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at,
        outcome, recorded_at)
      select (left(first_id_at(now())::text, 14) || right(gen_random_uuid()::text, 22))::uuid, 1, 1, 1, t - 2 ^ (n % 12) * interval '1 ms', t,
        case when n % 5 = 0 then 'timeout' else 'delivered' end, t
      from unnest(${`{${ages_s.join(",")}}`}::float8[]) with ordinality as a (age_s, n),
        lateral (select now() - a.age_s * interval '1 s') as x (t)`;
    await db.admin`
      update attempt_stats_mark set watermark = now() - interval '100 days'`;
  } finally {
    await db.close();
  }
}

onServer("rollUp() counts each attempt once, in the buckets of bucketOf()", async (database) => {
  const ages_s = [...Array(100).keys()].map((n) => n * 37 + 36.5);
  await addAttempts(database, [...ages_s, 0, 0, 0, 3]);
  const db = await database.open();
  try {
    const sum = async (window_ms: number) => {
      const { counts } = await attemptStats(db.admin, "everything", window_ms, undefined);
      return counts.reduce((total, { attempts }) => total + attempts, 0);
    };
    assert.equal(await sum(6 * 3_600_000), 104, "raw");
    const midway = (await rollUp(db.admin))?.is_behind;
    assert.equal(midway, true, "in steps");
    assert.equal(await sum(6 * 3_600_000), 104, "partly rolled up");
    await rollUpAll(db);
    const raw = await attemptStats(db.admin, "everything", 6 * 3_600_000, undefined);
    assert.equal(raw.counts.reduce((total, { attempts }) => total + attempts, 0), 104, "rolled up");
    for (const { bucket } of raw.counts) {
      assert.ok([...Array(12).keys()].some((n) => bucketOf(2 ** n) === bucket), `${bucket}`);
    }
    assert.equal((await rollUp(db.admin))?.counted ?? 0, 0, "nothing twice");
    assert.equal(await sum(6 * 3_600_000), 104);
    assert.equal(await sum(30 * 86_400_000), 104, "by the hour");
    const [kept] = await db.admin`
      select (select sum(attempts)::int from attempt_stats where span = 'minute') as minutes,
        (select sum(attempts)::int from attempt_stats where span = 'hour') as hours`;
    assert.deepEqual({ ...kept }, { minutes: 100, hours: 100 }, "the last 35 seconds are not yet");
  } finally {
    await db.close();
  }
});

interface Ending {
  readonly no: number;
  readonly outcome: string;
  readonly ended_at: number;
}

/** What `endpointRuns` should find, by the definition. */
function runsByDefinition(attempts: readonly Ending[]) {
  const ends = (kept: readonly Ending[]) => kept.map(({ ended_at }) => ended_at);
  return [...Map.groupBy(attempts, ({ no }) => no)].map(([endpoint_no, of]) => {
    const success = Math.max(...ends(of.filter(({ outcome }) => outcome === "delivered")));
    const failures = of.filter(({ outcome, ended_at }) =>
      !["delivered", "interrupted"].includes(outcome) && ended_at > success
    );
    return {
      endpoint_no,
      last_success_at: Number.isFinite(success) ? success : null,
      failing_since: failures.length === 0 ? null : Math.min(...ends(failures)),
    };
  }).toSorted((a, b) => a.endpoint_no - b.endpoint_no);
}

onServer(
  "endpointRuns() finds the last success and the first failure after it, rolled up or not",
  async (database) => {
    const db = await database.open();
    try {
      // Endpoint n delivers less and less of the time: the first nearly always, the last never.
      const random = makeRandom(16);
      const attempts = Array.from({ length: 4_000 }, (): Ending => {
        const no = random.int(1, 8);
        const outcome = random.chance([0.01, 0.3, 0.8, 0.99, 0.995, 0.998, 0.999, 1][no - 1] ?? 1)
          ? random.pick(["timeout", "http_5xx", "interrupted"])
          : "delivered";
        return { no, outcome, ended_at: Date.now() - random.int(0, 600_000) };
      });
      attempts.push({ no: 9, outcome: "interrupted", ended_at: Date.now() - 100_000 });
      await db.admin`
        insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at,
          ended_at, outcome, recorded_at)
        select (left(first_id_at(now())::text, 14) || right(gen_random_uuid()::text, 22))::uuid, 1, a.no, 1, t, t, a.outcome, t
        from json_to_recordset(${JSON.stringify(attempts)}::text::json)
          as a (no int, outcome text, ended_at float8),
          lateral (select 'epoch'::timestamptz + a.ended_at * interval '1 ms') x (t)`;
      await db.admin`update attempt_stats_mark set watermark = now() - interval '1 day'`;
      const found = async () =>
        (await endpointRuns(db.admin, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
          .map(({ endpoint_no, last_success_at, failing_since }) => ({
            endpoint_no,
            last_success_at: last_success_at?.getTime() ?? null,
            failing_since: failing_since?.getTime() ?? null,
          })).toSorted((a, b) => a.endpoint_no - b.endpoint_no);
      const expected = runsByDefinition(attempts);
      assert.ok(expected.filter(({ failing_since }) => failing_since !== null).length >= 4);
      assert.deepEqual(await found(), expected, "nothing is rolled up");
      for (let behind = true; behind;) {
        behind = (await rollUp(db.admin))?.is_behind === true;
        assert.deepEqual(await found(), expected, "partly rolled up");
      }
      const [three] = await endpointRuns(db.admin, [3]);
      assert.equal(three?.endpoint_no, 3, "only the one asked for");
    } finally {
      await db.close();
    }
  },
);

onServer("purgeStats() keeps minutes for 2 days and hours for 90", async (database) => {
  await addAttempts(database, [60, 3 * 86_400, 91 * 86_400, 95 * 86_400]);
  const db = await database.open();
  try {
    await rollUpAll(db);
    await purgeStats(db.admin, 100);
    const rows = await db.admin`
      select span, count(*)::int as count from attempt_stats group by span order by span`;
    assert.deepEqual(rows.map((row) => [row.span, row.count]), [["hour", 2], ["minute", 1]]);
  } finally {
    await db.close();
  }
});

onServer("rollUp() by several daemons at once counts each attempt once", async (database) => {
  await addAttempts(database, [...Array(500).keys()].map((n) => n + 40));
  const one = await database.open();
  const two = await database.open();
  try {
    await Promise.all([one, two, one, two, one].map(rollUpAll));
    await rollUpAll(one); // whoever found the other at it has left it to that one
    const [row] = await one.admin`
      select sum(attempts)::int as attempts from attempt_stats where span = 'minute'`;
    assert.equal(row?.attempts, 500);
  } finally {
    await one.close();
    await two.close();
  }
});

Deno.test("rollUp() and attemptStats() go on when the database's clock was set back", async () => {
  const database = await travelDatabase(server);
  const db = await openUrl(database.url);
  const attempt = (count: number) =>
    db.admin`
      insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at,
        outcome, recorded_at)
      select (left(first_id_at(now())::text, 14) || right(gen_random_uuid()::text, 22))::uuid, 1, 1, 1, now(), now(), 'delivered', now()
      from generate_series(1, ${count})`;
  const shown = async () => {
    const { counts } = await attemptStats(db.admin, "everything", 3_600_000, undefined);
    return counts.reduce((total, { attempts }) => total + attempts, 0);
  };
  try {
    await database.forward(2 * 3_600_000);
    await attempt(3);
    await database.forward(60_000);
    await rollUpAll(db);
    await database.forward(-2 * 3_600_000);
    await attempt(2);
    assert.equal(await shown(), 5, "before the watermark is set back");
    await rollUpAll(db);
    assert.equal(await shown(), 5, "before they are counted");
    await database.forward(60_000);
    await rollUpAll(db);
    assert.equal(await shown(), 5);
    await db.admin`
      insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at,
        outcome) values ((left(first_id_at(now())::text, 14) || right(gen_random_uuid()::text, 22))::uuid, 1, 1, 1, now(), now(), 'timeout')`;
    const [run] = await endpointRuns(db.admin, [1]);
    assert.ok(run?.failing_since, "after a success in the future that never was");
    const kept = await database.row(
      "select sum(attempts)::int as minutes from attempt_stats where span = 'minute'",
    );
    assert.equal(kept.minutes, 5);
  } finally {
    await db.close();
    await database.drop();
  }
});
