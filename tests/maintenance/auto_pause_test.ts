import assert from "node:assert/strict";
import { failingEndpointsPaused, probedEndpoints } from "../../lib/maintenance/auto_pause.ts";
import { expiredLeases } from "../../lib/maintenance/leases.ts";
import { type Job, runJob } from "../../lib/maintenance/schedule.ts";
import { claimProbes } from "../../lib/store/auto_pause.ts";
import type { Database } from "../../lib/store/database.ts";
import { rollUp } from "../../lib/store/stats.ts";
import { endpoint } from "../support/daemon.ts";
import { onBoth, onServer, type TestDatabase } from "../support/databases.ts";
import { type Engine, offer, startEngine } from "../support/engine.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

const DAY = "interval '1 day'";

async function run(engine: Engine, job: Job): Promise<void> {
  await runJob(engine.ctx, job, new AbortController().signal);
}

async function pauseIfDue(engine: Engine): Promise<void> {
  await run(engine, failingEndpointsPaused(() => engine.fleet.policy));
  await engine.reload();
}

async function crm(db: Database) {
  const [row] = await db.admin`
    select paused_by, pause_reason, probe_at, resumed_at from endpoints where id = 'crm'`;
  return row;
}

async function pending(db: Database) {
  return [
    ...await db.admin`
    select id, attempts::int, counted::int, interruptions::int, due_at, leased_until, regular_due_at
    from pending_deliveries order by id`,
  ];
}

/** An endpoint that has been failing for so many days, with `count` deliveries that wait for their retry. */
async function setScene(
  database: TestDatabase,
  days: number,
  count = 3,
  settings: Parameters<typeof endpoint>[2] = {},
) {
  const stack = new AsyncDisposableStack();
  const db = stack.use(await database.open());
  let status = 500;
  const receiver = stack.use(await startReceiver(() => ({ status })));
  const sections = {
    database: database.section,
    delivery: { retry: ["0s", "1h", "1h"] },
    alerts: { auto_pause: "5d" },
    endpoints: [endpoint("crm", receiver.url, settings)],
  };
  const engine = stack.use(await startEngine(db, sections));
  for (let n = 0; n < count; n++) await engine.intake.accept([offer()]);
  await until(
    "they have failed once",
    async () => (await pending(db)).filter(({ attempts }) => attempts === 1).length === count,
  );
  while ((await rollUp(db.admin)).is_behind);
  await db.admin.unsafe(`
    update endpoint_runs set failing_since = failing_since - ${days} * ${DAY},
      last_success_at = failing_since - ${days + 1} * ${DAY}`);
  return {
    db,
    engine,
    receiver,
    sections,
    answer: (next: number) => status = next,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Probes now, and waits until the attempt has been recorded. */
async function probe(db: Database, engines: readonly Engine[], attempts: number): Promise<void> {
  await db.admin`update endpoints set probe_at = now() where id = 'crm'`;
  for (const engine of engines) engine.dispatcher.probe();
  await until("the probe is recorded", async () => {
    const [row] = await db.admin`
      select count(*)::int as n from attempts_all where endpoint_no = (
        select no from endpoints where id = 'crm')`;
    return row?.n === attempts;
  });
}

onBoth(
  "an endpoint is paused after five days of nothing but failures, and a probe resumes it",
  async (database) => {
    await using scene = await setScene(database, 6);
    const { db, engine, receiver, answer } = scene;
    await pauseIfDue(engine);
    const paused = await crm(db);
    assert.equal(paused?.paused_by, "automatic");
    assert.equal(paused?.pause_reason, "Nothing but failures for 6 days");
    const [audit] = await db
      .admin`select actor, action, object from audit order by id desc limit 1`;
    assert.deepEqual({ ...audit }, {
      actor: "the automatic pause",
      action: "endpoint.paused",
      object: "crm",
    });
    await engine.intake.accept([offer()]);
    const before = await pending(db);
    assert.equal(before.length, 4, "deliveries are kept, and go on being owed");

    await probe(db, [engine], 4);
    const expected = before.map((one) => one.attempts === 0 ? { ...one, attempts: 1 } : one);
    assert.deepEqual(
      await pending(db),
      expected,
      "the first due one was tried; that counts neither as an attempt nor as an interruption, nor delays it",
    );
    assert.equal((await crm(db))?.paused_by, "automatic");
    assert.equal(receiver.requests.length, 4);

    answer(200);
    await probe(db, [engine], 5);
    await run(engine, probedEndpoints);
    const resumed = await crm(db);
    assert.deepEqual([resumed?.paused_by, resumed?.probe_at], [null, null]);
    assert.ok(resumed?.resumed_at);
    await db.admin`update pending_deliveries set due_at = now()`;
    await engine.reload();
    engine.dispatcher.wake("all");
    await until("all of it arrives", async () => (await pending(db)).length === 0);
    const [count] = await db
      .admin`select count(*)::int as n from ended_deliveries where status = 'delivered'`;
    assert.equal(count?.n, 4);
  },
);

onServer(
  "what waited is spread after a pause, in its order, and within an hour",
  async (database) => {
    await using scene = await setScene(database, 6, 5);
    const { db, engine, answer } = scene;
    await pauseIfDue(engine);
    await db.admin`
    update pending_deliveries p set due_at = now() - interval '1 hour' + o.n * interval '1 minute'
    from (select id, row_number() over (order by id) as n from pending_deliveries) o where o.id = p.id`;
    answer(200);
    await probe(db, [engine], 6);
    await run(engine, probedEndpoints);
    const rows = await pending(db);
    const times = rows.map(({ due_at }) => due_at.getTime());
    assert.equal(times.length, 4);
    assert.deepEqual(times, times.toSorted((a, b) => a - b));
    const steps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    assert.ok(steps.every((ms) => ms >= 49 && ms <= 51), `${steps}: 20 in a second`);
  },
);

onServer(
  "of two daemons one probes, and a 410 ends the probes",
  async (database) => {
    await using scene = await setScene(database, 6);
    const { db, engine, receiver, sections, answer } = scene;
    await using other = await startEngine(db, sections);
    await pauseIfDue(engine);
    await other.reload();
    await probe(db, [engine, other], 4);
    assert.equal(receiver.requests.length, 4);
    answer(410);
    await probe(db, [engine, other], 5);
    const gone = await crm(db);
    assert.deepEqual([gone?.paused_by, gone?.probe_at], ["gone", null]);
  },
);

onServer(
  "a probe that was claimed while its endpoint was paused by hand is given back unsent",
  async (database) => {
    await using scene = await setScene(database, 6);
    const { db, engine, receiver } = scene;
    await pauseIfDue(engine);
    const before = await pending(db);
    await db.admin`update endpoints set probe_at = now()`;
    const claimed_ones = async () =>
      (await db.admin`select from pending_deliveries where token > 1 and leased_until is null`)
        .length;
    assert.equal(await claimed_ones(), 0);
    await db.admin.begin(async (sql) => {
      await sql`lock table endpoints in exclusive mode`;
      engine.dispatcher.probe();
      await until("the claim of the probe waits for the lock", async () => {
        const [row] = await sql`
          select count(*)::int as n from pg_locks where not granted and relation = 'endpoints'::regclass`;
        return row?.n === 1;
      });
      const { fleet } = engine.dispatcher;
      const by_hand = [...fleet.endpoints].map(([no, one]) =>
        [no, { ...one, probed: false }] as const
      );
      engine.dispatcher.setFleet({ ...fleet, endpoints: new Map(by_hand) });
    });
    await until("it is claimed and given back", async () => await claimed_ones() === 1);
    assert.deepEqual(await pending(db), before);
    assert.equal(receiver.requests.length, 3);
  },
);

onServer(
  "a probe of a daemon that was killed counts nowhere, and is no reason to resume",
  async (database) => {
    await using scene = await setScene(database, 6);
    const { db, engine, receiver } = scene;
    await pauseIfDue(engine);
    const before = await pending(db);
    const [endpoint_no = 0] = engine.fleet.endpoints.keys();
    await db.admin`update endpoints set probe_at = now()`;
    const claimed = await claimProbes(db.engine, [endpoint_no], { ms: 60_000, holder: 2 });
    assert.equal(claimed.length, 1);
    await db.admin`
    update pending_deliveries set leased_until = now() - interval '1 s' where leased_until is not null`;
    await run(engine, expiredLeases(engine.dispatcher.interrupted, { present: [] }));
    await until("it is recorded as interrupted", async () => {
      const [row] = await db.admin`select outcome from attempts where number = 2`;
      return row?.outcome === "interrupted";
    });
    const interrupted = (id: unknown) => id === claimed[0]?.uuid;
    assert.deepEqual(
      await pending(db),
      before.map((one) => interrupted(one.id) ? { ...one, attempts: 2 } : one),
    );
    await run(engine, probedEndpoints);
    assert.equal((await crm(db))?.paused_by, "automatic");
    assert.equal(receiver.requests.length, 3);
  },
);

onServer("the rate limit holds for what waited when an automatic pause ends", async (database) => {
  await using scene = await setScene(database, 6, 4, { rate_limit: "5/s" });
  const { db, engine, answer } = scene;
  await pauseIfDue(engine);
  answer(200);
  await probe(db, [engine], 5);
  await run(engine, probedEndpoints);
  await db.admin`update pending_deliveries set due_at = now()`;
  await engine.reload();
  engine.dispatcher.wake("all");
  await until("all of it arrives", async () => (await pending(db)).length === 0);
  const [row] = await db.admin`
    select next_send_at >= resumed_at + 3 * interval '200 ms' as is_paced,
      (select max(started_at) from ended_deliveries) >= resumed_at + 2 * interval '190 ms' as is_late
    from endpoints`;
  assert.deepEqual({ ...row }, { is_paced: true, is_late: true });
});

for (
  const [name, change] of [
    [
      "failures of less than five days",
      `update endpoint_runs set failing_since = now() - interval '119 hours'`,
    ],
    [
      "two failures less than twelve hours apart",
      `update endpoint_runs set last_failure_at = failing_since + interval '11 hours'`,
    ],
    ["one that was resumed", `update endpoints set resumed_at = now() - interval '4 days'`],
    [
      "an outage of everything",
      `insert into alerts (id, kind, subject, began_at, details)
       values ('01a2254a-8771-7714-bea0-fb2e00000000', 'egress_broken', '', now(), '{}')`,
    ],
    [
      "one that was paused by hand",
      `update endpoints set paused_at = now(), pause_reason = 'x', paused_by = 'hand'`,
    ],
    [
      "a success that is not counted yet",
      `insert into uncounted_attempts
      (endpoint_nos, outcomes, numbers, durations_ms, ages_ms, lags_ms)
      select array[no], '{1}', '{1}', '{1}', '{1}', '{0}' from endpoints`,
    ],
  ] as const
) {
  onServer(`no automatic pause for ${name}`, async (database) => {
    await using scene = await setScene(database, 6, 1);
    const { db, engine } = scene;
    await db.admin.unsafe(change);
    await pauseIfDue(engine);
    assert.notEqual((await crm(db))?.paused_by, "automatic");
  });
}
