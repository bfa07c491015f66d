import assert from "node:assert/strict";
import { shouldPause } from "../../lib/core/alerting/auto_pause.ts";
import { decide } from "../../lib/core/retry.ts";
import {
  claimProbes,
  failingEndpoints,
  pauseFailing,
  resumeProbed,
  type ResumeStep,
} from "../../lib/store/auto_pause.ts";
import { type Claimed, release } from "../../lib/store/claims.ts";
import type { Database } from "../../lib/store/database.ts";
import { cancel, findExpired, findFloors } from "../../lib/store/deliveries.ts";
import { pauseEndpoint, resumeEndpoint } from "../../lib/store/endpoints.ts";
import { makePartitions } from "../../lib/store/partitions.ts";
import { record } from "../../lib/store/results.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { storePlainEndpoints } from "../support/file.ts";
import { plainOutcome } from "../support/outcome.ts";

const TERM = { ms: 600_000, holder: 1 };
const BY_HAND = { actor: { name: "ops", address: null }, action: "changed", object: "e0" };
const DAY_MS = 86_400_000;
const FIRST = "01000000-0000-7000-8000-000000000000";

/** The endpoint e0, paused automatically, with `count` deliveries; one is due each second, the first at `first`. */
async function pausedWith(db: Database, count: number, first: string): Promise<number> {
  await storePlainEndpoints(db, 1);
  await makePartitions(db.admin, [FIRST]);
  const [row] = await db.admin<{ no: number }[]>`
    update endpoints set paused_at = now(), pause_reason = 'Failures', paused_by = 'automatic',
      probe_at = now() returning no`;
  const no = row?.no ?? 0;
  await db.admin`
    with event as (
      insert into events (id, type, received_at, payload)
      select ('01000000-0000-7000-8000-' || lpad(to_hex(n), 4, '0') || '00000000')::uuid,
        'booking.created', now(), '{}'
      from generate_series(1, ${Math.min(count, 60_000)}::int) n
      returning id
    ), owed as (select id, row_number() over (order by id) - 1 as n from event)
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
    select delivery_of(id, ${no}::int), id, ${no}::int, now(),
      now() + ${first}::text::interval + n * interval '1 s'
    from owed`;
  return no;
}

/** Attempts before, of which not all count. */
async function hadAttempts(db: Database): Promise<void> {
  await db.admin`update pending_deliveries set attempts = 3, counted = 2, interruptions = 1`;
}

async function pendingOf(db: Database) {
  return [
    ...await db.admin`
    select id, due_at, leased_until, regular_due_at, attempts::int, counted::int, interruptions::int,
      last_outcome
    from pending_deliveries order by id`,
  ];
}

async function stateOf(db: Database) {
  const [row] = await db.admin`
    select paused_by, probe_at, resumed_at, (select count(*)::int from resumptions) as resumptions
    from endpoints where id = 'e0'`;
  return row;
}

/** Moves the next probe to now, and claims it. */
async function claimOne(db: Database, no: number): Promise<Claimed> {
  await db.admin`update endpoints set probe_at = now() where no = ${no}`;
  const claimed = await claimProbes(db.engine, [no], TERM);
  assert.equal(claimed.length, 1);
  assert.ok(claimed[0]?.probe);
  return claimed[0];
}

const ANSWERS = { delivered: 200, http_4xx: 400, http_5xx: 500, gone: 410, interrupted: null };

async function answer(db: Database, lease: Claimed, met: keyof typeof ANSWERS) {
  const outcome = plainOutcome(met, ANSWERS[met]);
  const decision = decide(outcome, lease, [0, 60_000, 60_000], () => 0);
  return await record(
    db.engine,
    [{ lease, endpoint_version: 1, outcome, decision, sent: null, ended_at: 0, promise: 0 }],
    0,
  );
}

/** Takes steps of ending automatic pauses until nothing is left to do. */
async function resumeAll(db: Database, limit: number): Promise<ResumeStep[]> {
  const steps: ResumeStep[] = [];
  for (;;) {
    const step = await resumeProbed(db.admin, limit);
    if (step === undefined) return steps;
    steps.push({ ...step });
  }
}

async function duesOf(db: Database): Promise<number[]> {
  const rows = await db.admin<{ due: number }[]>`
    select (extract(epoch from due_at) * 1000)::float8 as due from pending_deliveries order by id`;
  return rows.map(({ due }) => due);
}

onBoth(
  "claimProbes() takes one that is not due yet, and it is due again when it was",
  async (database) => {
    await using db = await database.open();
    const no = await pausedWith(db, 2, "1 hour");
    await hadAttempts(db);
    const before = await pendingOf(db);
    const probe = await claimOne(db, no);
    assert.equal(probe.uuid, before[0]?.id);
    assert.deepEqual(
      (await claimProbes(db.engine, [no], TERM)).length,
      0,
      "the next one in an hour",
    );
    const [leased] = await pendingOf(db);
    assert.deepEqual(leased?.regular_due_at, before[0]?.due_at);
    const { going_on } = await answer(db, probe, "http_5xx");
    assert.deepEqual(going_on, [probe.uuid]);
    const [kept, other] = await pendingOf(db);
    assert.deepEqual(kept, { ...before[0], attempts: 4, last_outcome: "http_5xx" });
    assert.deepEqual(other, before[1]);
  },
);

onServer("release() gives a probe back as it was, due already or not", async (database) => {
  await using db = await database.open();
  const no = await pausedWith(db, 1, "1 hour");
  for (const first of ["1 hour", "-1 hour"]) {
    await db.admin`update pending_deliveries set due_at = now() + ${first}::text::interval`;
    const before = await pendingOf(db);
    await release(db.engine, [await claimOne(db, no)]);
    assert.deepEqual(await pendingOf(db), before);
  }
});

onServer("a probe whose daemon was killed is found, and counts nowhere", async (database) => {
  await using db = await database.open();
  const no = await pausedWith(db, 200, "1 hour");
  await hadAttempts(db);
  const before = await pendingOf(db);
  const probe = await claimOne(db, no);
  await db
    .admin`update pending_deliveries set leased_until = now() - interval '1 s' where leased_until is not null`;
  const found = await findExpired(db.engine, await findFloors(db.engine), 100, 0);
  const [lease, ...others] = found.flatMap(({ leases }) => leases);
  assert.equal(others.length, 0);
  assert.equal(lease?.uuid, probe.uuid);
  assert.ok(lease.probe);
  await answer(db, { ...probe, ...lease }, "interrupted");
  const [kept] = await pendingOf(db);
  assert.deepEqual(kept, { ...before[0], attempts: 4, last_outcome: "interrupted" });
  assert.equal((await stateOf(db))?.paused_by, "automatic");
});

onServer(
  "a probe that is cancelled under way ends as cancelled, or as it was answered",
  async (database) => {
    await using db = await database.open();
    const no = await pausedWith(db, 3, "-1 hour");
    for (const met of ["http_5xx", "delivered", null] as const) {
      const probe = await claimOne(db, no);
      await cancel(db.admin, probe.uuid, "By hand", BY_HAND);
      if (met === null) await release(db.engine, [probe]);
      else await answer(db, probe, met);
      const [row] = await db
        .admin`select status from ended_deliveries where id = ${probe.uuid}::uuid`;
      assert.equal(row?.status, met === "delivered" ? "delivered" : "cancelled");
      await db.admin`delete from resumptions`;
    }
  },
);

onServer(
  "claimProbes() passes over what a 4xx refused, in turn, and comes back to it",
  async (database) => {
    await using db = await database.open();
    const no = await pausedWith(db, 3, "-1 hour");
    const ids = (await pendingOf(db)).map(({ id }) => id);
    const probed = async (met: keyof typeof ANSWERS) => {
      const probe = await claimOne(db, no);
      await answer(db, probe, met);
      return ids.indexOf(probe.uuid);
    };
    await db.admin`
    update pending_deliveries set last_outcome = 'http_4xx', last_attempt_at = now() - interval '1 day'
      where id = ${ids[0]}::uuid`;
    assert.equal(await probed("http_5xx"), 0, "what was refused before the pause is no reason");
    assert.equal(await probed("http_5xx"), 0, "an outage concerns all: the first due goes on");
    assert.equal(await probed("http_4xx"), 0);
    assert.equal(await probed("http_4xx"), 1);
    assert.equal(await probed("http_4xx"), 2);
    assert.equal(await probed("http_4xx"), 0);
    assert.equal(await probed("delivered"), 1);
    assert.equal((await stateOf(db))?.resumptions, 1);
  },
);

onServer(
  "claimProbes() stays among those where leases that ran out are found",
  async (database) => {
    await using db = await database.open();
    const no = await pausedWith(db, 150, "-1 hour");
    await db.admin`
    update pending_deliveries set last_outcome = 'http_4xx', last_attempt_at = now() + interval '1 s'
    where id in (select id from pending_deliveries order by due_at limit 120)`;
    const probe = await claimOne(db, no);
    await db
      .admin`update pending_deliveries set leased_until = now() - interval '1 s' where leased_until is not null`;
    const found = await findExpired(db.engine, await findFloors(db.engine), 100, 0);
    assert.deepEqual(found.flatMap(({ leases }) => leases).map(({ uuid }) => uuid), [probe.uuid]);
  },
);

onBoth(
  "resumeProbed() spreads what waited step by step, in its order, and resumes with the last",
  async (database) => {
    await using db = await database.open();
    const no = await pausedWith(db, 25, "-1 hour");
    const [first] = await pendingOf(db);
    await db.admin`update pending_deliveries set due_at = now() + interval '1 hour' where id = (
    select id from pending_deliveries order by id desc limit 1)`;
    const last = (await pendingOf(db)).at(-1);
    const probe = await claimOne(db, no);
    assert.equal(probe.uuid, first?.id);
    await answer(db, probe, "delivered");
    const one = await resumeProbed(db.admin, 10);
    assert.deepEqual({ ...one }, { spread: 10, resumed: null });
    assert.equal((await stateOf(db))?.paused_by, "automatic", "it goes on waiting meanwhile");
    await db.admin`update endpoints set probe_at = now()`;
    const none = await claimProbes(db.engine, [no], TERM);
    assert.equal(none.length, 0, "nothing is probed any more");
    assert.deepEqual(await resumeAll(db, 10), [
      { spread: 10, resumed: null },
      { spread: 3, resumed: "e0" },
    ]);
    const state = await stateOf(db);
    assert.deepEqual([state?.paused_by, state?.probe_at, state?.resumptions], [null, null, 0]);
    const rows = await pendingOf(db);
    assert.deepEqual(rows.at(-1), last, "what was not due yet stays");
    const dues = (await duesOf(db)).slice(0, -1);
    const steps = dues.slice(1).map((due, at) => Math.round(due - (dues[at] ?? 0)));
    assert.deepEqual(steps, Array(22).fill(50), "20 in a second, across the steps too");
  },
);

onServer("resumeProbed() takes another step if the last one was just full", async (database) => {
  await using db = await database.open();
  const no = await pausedWith(db, 21, "-1 hour");
  await answer(db, await claimOne(db, no), "delivered");
  assert.deepEqual(await resumeAll(db, 10), [
    { spread: 10, resumed: null },
    { spread: 10, resumed: null },
    { spread: 0, resumed: "e0" },
  ]);
});

onServer("resumeProbed() sends more than 72,000 within an hour", async (database) => {
  await using db = await database.open();
  const no = await pausedWith(db, 40_001, "-1 day");
  // As many again, to an event of their own: the ids end with other numbers of endpoints.
  await db.admin`
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
    select delivery_of(event_id, ${no}::int + 1), event_id, endpoint_no, created_at, due_at
    from pending_deliveries limit 40000`;
  await answer(db, await claimOne(db, no), "delivered");
  const steps = await resumeAll(db, 30_000);
  assert.deepEqual(steps.map(({ spread }) => spread), [30_000, 30_000, 20_000]);
  const [row] = await db.admin`
    select (extract(epoch from max(due_at) - min(due_at)) * 1000)::float8 as over_ms,
      count(distinct due_at)::int as moments
    from pending_deliveries`;
  assert.equal(row?.moments, 80_000);
  assert.equal(Math.round(row?.over_ms), 79_999 * 45, "a step of 45 ms: an hour for 80,000");
});

for (const by of ["pause", "resume", "retire"] as const) {
  onServer(`a ${by} by hand while what waited is spread stays as it is`, async (database) => {
    await using db = await database.open();
    const no = await pausedWith(db, 25, "-1 hour");
    await answer(db, await claimOne(db, no), "delivered");
    await resumeProbed(db.admin, 10);
    const before = await pendingOf(db);
    if (by === "pause") await pauseEndpoint(db.admin, "e0", "Moving", true, BY_HAND);
    else if (by === "resume") await resumeEndpoint(db.admin, "e0", BY_HAND);
    else await db.admin`update endpoints set retired_at = now()`;
    const changed = await stateOf(db);
    assert.deepEqual(await resumeAll(db, 10), [{ spread: 0, resumed: null }]);
    assert.deepEqual(await stateOf(db), { ...changed, resumptions: 0 });
    assert.deepEqual(await pendingOf(db), before, "the rest is due as it was");
  });
}

for (const by of ["pause", "resume"] as const) {
  for (const met of ["delivered", "http_5xx"] as const) {
    onServer(
      `a ${by} by hand during a probe that ends with ${met} stays as it is`,
      async (database) => {
        await using db = await database.open();
        const no = await pausedWith(db, 2, "1 hour");
        await hadAttempts(db);
        const before = await pendingOf(db);
        const probe = await claimOne(db, no);
        if (by === "pause") await pauseEndpoint(db.admin, "e0", "Moving", true, BY_HAND);
        else await resumeEndpoint(db.admin, "e0", BY_HAND);
        const changed = await stateOf(db);
        assert.equal(changed?.paused_by, by === "pause" ? "hand" : null);
        await answer(db, probe, met);
        assert.deepEqual(await resumeAll(db, 10), []);
        assert.deepEqual(await stateOf(db), changed);
        const kept = { ...before[0], attempts: 4, last_outcome: met };
        assert.deepEqual(
          await pendingOf(db),
          met === "delivered" ? [before[1]] : [kept, before[1]],
        );
      },
    );
  }
}

/** Failures of e0 since 20 days ago, a resume 10 days ago, and from then on failures so many hours ago. */
async function failedSinceResume(db: Database, hours: readonly number[]) {
  await storePlainEndpoints(db, 1);
  await db.admin`update endpoints set resumed_at = now() - interval '10 days'`;
  await db.admin`
    insert into endpoint_runs (endpoint_no, failing_since, last_failure_at, failures)
    select no, now() - interval '20 days', now() - ${
    Math.min(...hours)
  } * interval '1 hour', 9 from endpoints`;
  for (const outcome of ["http_5xx", "interrupted"]) {
    await db.admin`
      insert into attempt_stats
        (span, starts_at, endpoint_no, outcome, attempts, response, first_attempt, delivered)
      select 'hour', date_trunc('hour', now() - h * interval '1 hour')
          - case ${outcome}::text when 'interrupted' then interval '20 hours' else interval '0' end,
        no, ${outcome}, 1, '[]', '[]', '[]'
      from endpoints, unnest(${`{${hours.join()}}`}::int[]) h`;
  }
  const [failing] = await failingEndpoints(db.admin, 5 * DAY_MS);
  assert.ok(failing);
  return failing;
}

onServer("failures before a resume pause nothing, nor does one after it", async (database) => {
  await using db = await database.open();
  const one = await failedSinceResume(db, [300, 200]);
  assert.ok(one.judged_from !== null && one.judged_from > one.failing_since);
  assert.ok(one.first_failure_at !== null && one.first_failure_at > one.judged_from);
  assert.equal(shouldPause(one, 5 * DAY_MS, Date.now()), false);
});

onServer("two failures after a resume do, thirteen hours apart", async (database) => {
  await using db = await database.open();
  const two = await failedSinceResume(db, [300, 200, 187]);
  // Which minute of its hour the first of them ended in is not known, so that may cost up to an hour.
  const apart_h = (two.last_failure_at - (two.first_failure_at ?? 0)) / 3_600_000;
  assert.ok(apart_h > 11.99 && apart_h <= 13, `${apart_h} h`);
  const last_failure_at = two.last_failure_at + 60_000;
  assert.equal(shouldPause({ ...two, last_failure_at }, 5 * DAY_MS, Date.now()), true);
});

onServer(
  "failingEndpoints() has no first failure if none followed the resume",
  async (database) => {
    await using db = await database.open();
    const failing = await failedSinceResume(db, [300]);
    assert.equal(failing.first_failure_at, null);
  },
);

onServer("pauseFailing() pauses none that was resumed since", async (database) => {
  await using db = await database.open();
  const { no, failing_since } = await failedSinceResume(db, [300, 200, 187]);
  const paused = await pauseFailing(db.admin, [{ no, from: failing_since, reason: "Failures" }]);
  assert.deepEqual(paused, []);
});
