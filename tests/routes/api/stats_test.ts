import assert from "node:assert/strict";
import { firstUuidAt } from "../../../lib/core/ids.ts";
import { packHistogram, sumHistograms } from "../../../lib/core/histogram.ts";
import { makePartitions } from "../../../lib/store/partitions.ts";
import { OUTCOMES } from "../../../lib/core/outcome.ts";
import { summarise } from "../../../lib/core/summary.ts";
import { joinRuns, runsOf, tally, type Uncounted } from "../../../lib/core/tally.ts";
import { literal } from "../../../lib/store/arrays.ts";
import { attemptsByHour } from "../../../lib/store/reports/health.ts";
import { attemptCounts, attemptStats, endpointRuns } from "../../../lib/store/reports/stats.ts";
import { purgeStats, rollUp } from "../../../lib/store/stats.ts";
import type { Database } from "../../../lib/store/database.ts";
import { checkedApi } from "../../support/checked.ts";
import { booking, endpoint, startDaemon } from "../../support/daemon.ts";
import { onServer, openUrl, server } from "../../support/databases.ts";
import { connectTo } from "../../support/postgres.ts";
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
    return body.totals.attempts === 30 && body.totals.pending === 10 && body;
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
  while ((await rollUp(db.admin)).is_behind);
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** Writes attempts down as not counted yet, as `record` does: those of one statement were recorded at once. */
async function writeDown(db: Database, statements: readonly (readonly Uncounted[])[]) {
  for (const attempts of statements) {
    const column = (of: (attempt: Uncounted) => number) => literal(attempts.map(of));
    await db.admin`
      insert into uncounted_attempts
        (recorded_at, endpoint_nos, outcomes, numbers, durations_ms, ages_ms, lags_ms, promises)
      values ('epoch'::timestamptz + ${attempts[0]?.recorded_at ?? 0}::float8 * interval '1 ms',
        ${column((a) => a.endpoint_no)}::int[],
        ${column((a) => OUTCOMES.indexOf(a.outcome) + 1)}::smallint[],
        ${column((a) => a.number)}::smallint[], ${column((a) => a.duration_ms)}::real[],
        ${column((a) => a.age_ms)}::real[], ${column((a) => a.recorded_at - a.ended_at)}::real[],
        ${column((a) => a.promise)}::smallint[])`;
  }
}

/** Attempts that statements of the last `within_ms` recorded, up to 20 each. */
function makeStatements(seed: number, count: number, within_ms: number): Uncounted[][] {
  const random = makeRandom(seed);
  return Array.from({ length: count }, () => {
    const recorded_at = Date.now() - random.int(0, within_ms);
    return Array.from({ length: random.int(1, 20) }, (): Uncounted => {
      // Endpoint n delivers less and less of the time: the first nearly always, the last never.
      const endpoint_no = random.int(1, 8);
      const bad = [0.01, 0.3, 0.8, 0.99, 0.995, 0.998, 0.999, 1][endpoint_no - 1] ?? 1;
      const duration_ms = random.int(1, 40_000);
      return {
        endpoint_no,
        outcome: random.chance(bad)
          ? random.pick(["timeout", "http_5xx", "interrupted"])
          : "delivered",
        number: random.int(1, 3),
        duration_ms,
        age_ms: duration_ms + random.int(0, 60_000),
        promise: random.int(0, 7),
        recorded_at,
        ended_at: recorded_at - random.int(0, 1_000),
      };
    });
  });
}

function summed<T>(rows: readonly T[], of: (row: T) => number): number {
  return rows.reduce((total, row) => total + of(row), 0);
}

async function counted(db: Database, window_ms: number) {
  const { counts, since } = await attemptStats(db.admin, "everything", window_ms, undefined);
  const summary = summarise(counts);
  // The same without histograms, summed up by the database.
  const found = await attemptCounts(db.admin, "everything", window_ms, undefined);
  assert.deepEqual(
    [summed(found, (one) => one.delivered + one.failed), summed(found, (one) => one.delivered)],
    [summary.attempts, summary.delivered],
  );
  if (window_ms === DAY_MS || window_ms === 7 * DAY_MS) {
    // An hour more than the window, should another one begin in between.
    const read = await attemptsByHour(db.admin, "everything", window_ms / HOUR_MS + 2, "together");
    const hours = read.filter(({ hour }) => hour >= since.getTime());
    assert.deepEqual(
      [
        summed(hours, (one) => one.delivered + one.failed),
        summed(hours, (one) => one.delivered),
        summed(hours, (one) => one.first_attempts),
        summed(hours, (one) => one.promised),
        summed(hours, (one) => one.promised_begun),
        summed(hours, (one) => one.promised_delivered),
      ],
      [
        summary.attempts,
        summary.delivered,
        summary.first_attempts,
        summary.promise.deliveries,
        summary.promise.begun_in_time,
        summary.promise.delivered_in_time,
      ],
    );
  }
  return { summary, since: since.getTime() };
}

onServer(
  "rollUp() counts each attempt once, and windows show all at any time",
  async (database) => {
    await using db = await database.open();
    const statements = makeStatements(17, 450, 20 * DAY_MS);
    await writeDown(db, statements);
    const all = statements.flat();
    const matches = async (when: string) => {
      for (const window_ms of [60_000, 3_600_000, 6 * 3_600_000, DAY_MS, 7 * DAY_MS, 30 * DAY_MS]) {
        const { summary, since } = await counted(db, window_ms);
        const expected = summarise(
          tally(all.filter(({ recorded_at }) => recorded_at >= since), () => 0),
        );
        assert.deepEqual(summary, expected, `${when}, ${window_ms} ms`);
        assert.ok(since <= Date.now() - window_ms, "at least the window");
        const beginning = window_ms <= 6 * 3_600_000
          ? 60_000
          : window_ms <= 7 * DAY_MS
          ? 3_600_000
          : DAY_MS;
        assert.equal(since % beginning, 0);
      }
    };
    await matches("not counted yet");
    const first = await rollUp(db.admin);
    assert.ok(first.is_behind && first.counted < all.length, "in steps");
    await matches("partly counted");
    await rollUpAll(db);
    await matches("counted");
    assert.deepEqual(await rollUp(db.admin), { counted: 0, is_behind: false }, "nothing twice");
    const rows = await db.admin`
    select span, sum(attempts)::int as attempts from attempt_stats group by span order by span`;
    assert.deepEqual(
      rows.map(({ attempts }) => attempts),
      Array.from({ length: 4 }, () => all.length),
    );
  },
);

onServer("add_histograms() adds as sums of histograms do", async (database) => {
  await using db = await database.open();
  const random = makeRandom(3);
  const some = () =>
    Array.from({ length: random.int(0, 5) }, () => [random.int(0, 120), random.int(1, 9)]);
  for (let round = 0; round < 100; round++) {
    const sums = [sumHistograms(), sumHistograms(), sumHistograms()] as const;
    for (const one of [0, 1] as const) {
      for (const packed of some()) for (const at of [one, 2]) sums[at]?.addPacked(packed);
    }
    const [a, b, sum] = sums.map(({ counts }) => packHistogram(counts));
    const [row] = await db.admin`select add_histograms(
      ${JSON.stringify(a)}::text, ${JSON.stringify(b)}::text) as sum`;
    assert.equal(row?.sum, JSON.stringify(sum), JSON.stringify([a, b]));
  }
});

onServer("attemptStats() reads what it shows, and not the whole table", async (database) => {
  await using db = await database.open();
  await db.admin`
    insert into attempt_stats
      (span, starts_at, endpoint_no, outcome, attempts, response, first_attempt, delivered)
    select span, date_bin(width, now(), 'epoch') - n * width, no, 'delivered', 2, '[40,1,1]', '[]',
      '[41,2]'
    from (values ('minute', interval '1 minute'), ('ten_minutes', '10 minutes'), ('hour', '1 hour'),
        ('day', '1 day')) as s (span, width),
      generate_series(0, 999) n, generate_series(1, 10) no`;
  await db.admin.unsafe("vacuum analyze attempt_stats").simple();
  assert.ok("url" in database.section);
  await using sql = connectTo(database.section.url);
  const scans = async () => {
    await sql`select pg_stat_force_next_flush()`;
    const [row] = await sql<{ whole: number; indexed: number }[]>`
      select seq_scan::int as whole, idx_scan::int as indexed
      from pg_stat_user_tables where relname = 'attempt_stats'`;
    return row ?? assert.fail();
  };
  const before = await scans();
  for (const window_ms of [60_000, 3_600_000, 86_400_000, 30 * 86_400_000]) {
    const { counts } = await attemptStats(sql, "everything", window_ms, undefined);
    assert.ok(counts.length >= 10, `${window_ms}`);
  }
  const after = await scans();
  assert.equal(after.whole, before.whole);
  assert.equal(after.indexed, before.indexed + 16, "four spans of four windows");
});

/** What `endpointRuns` should find, by the definition. */
function runsByDefinition(attempts: readonly Uncounted[]) {
  const ends = (kept: readonly Uncounted[]) => kept.map(({ ended_at }) => ended_at);
  return [...Map.groupBy(attempts, ({ endpoint_no }) => endpoint_no)].map(([endpoint_no, of]) => {
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
  "endpointRuns() finds the last success and the first failure after it, counted or not",
  async (database) => {
    await using db = await database.open();
    // In the order in which they were recorded, as the rollup takes them.
    const statements = makeStatements(16, 450, 600_000)
      .toSorted(([a], [b]) => (a?.recorded_at ?? 0) - (b?.recorded_at ?? 0))
      .map((attempts) => attempts.map((one) => ({ ...one, ended_at: one.recorded_at })));
    await writeDown(db, statements);
    await writeDown(db, [[{
      endpoint_no: 9,
      outcome: "interrupted",
      number: 1,
      duration_ms: 1,
      age_ms: 1,
      promise: 0,
      recorded_at: Date.now(),
      ended_at: Date.now(),
    }]]);
    const found = async () =>
      (await endpointRuns(db.admin, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
        .map(({ endpoint_no, last_success_at, failing_since }) => ({
          endpoint_no,
          last_success_at: last_success_at?.getTime() ?? null,
          failing_since: failing_since?.getTime() ?? null,
        })).toSorted((a, b) => a.endpoint_no - b.endpoint_no);
    const expected = runsByDefinition(statements.flat());
    assert.ok(expected.filter(({ failing_since }) => failing_since !== null).length >= 4);
    assert.deepEqual(await found(), expected, "nothing is counted");
    for (let behind = true; behind;) {
      behind = (await rollUp(db.admin)).is_behind;
      assert.deepEqual(await found(), expected, "partly counted");
    }
    const [three] = await endpointRuns(db.admin, [3]);
    assert.equal(three?.endpoint_no, 3, "only the one asked for");
  },
);

onServer("runs recorded in any order join as joinRuns() has it", async (database) => {
  await using db = await database.open();
  const statements = makeStatements(4, 60, 100_000);
  const runs = new Map<number, ReturnType<typeof joinRuns>>();
  for (const attempts of statements) {
    await writeDown(db, [attempts]);
    await rollUpAll(db);
    for (const [no, run] of runsOf(attempts)) {
      const before = runs.get(no);
      runs.set(no, before === undefined ? run : joinRuns(before, run));
    }
  }
  const rows = await db.admin`
    select endpoint_no, last_success_at, failing_since, failures::int from endpoint_runs
    order by endpoint_no`;
  assert.deepEqual(
    rows.map((
      row,
    ) => [
      row.endpoint_no,
      row.last_success_at?.getTime(),
      row.failing_since?.getTime(),
      row.failures,
    ]),
    [...runs].toSorted(([a], [b]) => a - b).map(([no, run]) => [
      no,
      run.success_at === null ? undefined : Math.floor(run.success_at),
      run.failing_since === null ? undefined : Math.floor(run.failing_since),
      run.failures,
    ]),
  );
});

onServer("purgeStats() keeps minutes for 2 days and days for 400", async (database) => {
  await using db = await database.open();
  const at = (days: number): Uncounted[] => {
    const recorded_at = Date.now() - days * DAY_MS;
    const one = { endpoint_no: 1, number: 1, duration_ms: 1, age_ms: 1, promise: 0 };
    return [{ ...one, outcome: "delivered", recorded_at, ended_at: recorded_at }];
  };
  await writeDown(db, [0, 3, 15, 91, 401].map(at));
  await rollUpAll(db);
  await purgeStats(db.admin, 100);
  const rows = await db.admin`
    select span, count(*)::int as count from attempt_stats group by span order by span`;
  assert.deepEqual(rows.map((row) => [row.span, row.count]), [
    ["day", 4],
    ["hour", 3],
    ["minute", 1],
    ["ten_minutes", 2],
  ]);
});

onServer("rollUp() by several daemons at once counts each attempt once", async (database) => {
  await using one = await database.open();
  await using two = await database.open();
  const statements = makeStatements(5, 900, 3_600_000);
  let written = false;
  const writing = writeDown(one, statements).then(() => written = true);
  while (!written) {
    await Promise.all([rollUp(one.admin), rollUp(two.admin), rollUp(two.admin)]);
  }
  await writing;
  // A daemon counts nothing while the other one is counting the same attempts.
  while ((await one.admin`select from uncounted_attempts limit 1`).length > 0) {
    await Promise.all([one, two].map(rollUpAll));
  }
  const { summary } = await counted(one, 30 * DAY_MS);
  assert.deepEqual(summary, summarise(tally(statements.flat(), () => 0)));
});

Deno.test("rollUp() and attemptStats() go on when the database's clock was set back", async () => {
  const database = await travelDatabase(server);
  const db = await openUrl(database.url);
  const attempt = (count: number, outcome = "delivered") =>
    db.admin.unsafe(`
      insert into uncounted_attempts (endpoint_nos, outcomes, numbers, durations_ms, ages_ms, lags_ms)
      select array_agg(1), array_agg(${
      OUTCOMES.findIndex((one) => one === outcome) + 1
    }), array_agg(1), array_agg(1), array_agg(1), array_agg(0) from generate_series(1, ${count})`);
  const shown = async () => (await counted(db, 3_600_000)).summary.attempts;
  try {
    await database.forward(2 * 3_600_000);
    await attempt(3);
    await rollUpAll(db);
    await database.forward(-2 * 3_600_000);
    await attempt(2);
    assert.equal(await shown(), 5, "before they are counted");
    await rollUpAll(db);
    assert.equal(await shown(), 5);
    await attempt(1, "timeout");
    await rollUpAll(db);
    const [run] = await endpointRuns(db.admin, [1]);
    assert.ok(run?.failing_since, "after a success in the future that never was");
  } finally {
    await db.close();
    await database.drop();
  }
});

onServer("GET /api/stats shows what was recorded, and counts events by type", async (database) => {
  await using receiver = await startReceiver(({ path }) => ({
    status: path === "/bad" ? 500 : 200,
  }));
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s", "0s", "1h"] },
    endpoints: ["good", "bad"].map((id) => endpoint(id, `${receiver.url}/${id}`)),
  });
  const api = await checkedApi(daemon);
  const body = JSON.stringify({ ...booking("apt_1"), id: "one" });
  await daemon.post(body);
  await daemon.post(body);
  await daemon.post([booking("apt_2"), booking("apt_3")]);
  const { totals, posts } = await until("all is recorded", async () => {
    const { body } = await api.expect(200, "GET", "stats?window=1m");
    return body.totals.attempts === 9 && body;
  });
  assert.deepEqual([totals.first_attempts, totals.first_attempts_within_30s], [6, 6]);
  assert.deepEqual([totals.delivered, totals.delivered_within_30s], [3, 3]);
  for (const { p50, p99 } of [totals.first_attempt_ms, totals.delivered_ms]) {
    assert.ok(p50 > 0 && p50 <= p99 && p99 < 30_000, `${p50} ${p99}`);
  }
  const of = (answer: string) => posts.find((one: { answer: string }) => one.answer === answer);
  assert.deepEqual(of("stored"), { type: "booking.created", answer: "stored", posts: 3 });
  assert.deepEqual(of("duplicate"), { type: "booking.created", answer: "duplicate", posts: 1 });
});
