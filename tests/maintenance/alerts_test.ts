import assert from "node:assert/strict";
import postgres from "postgres";
import { sampleAlertEvent } from "../../lib/core/alerting/event.ts";
import { alerts } from "../../lib/maintenance/alerts.ts";
import { runJob } from "../../lib/maintenance/schedule.ts";
import { finishNotice, postponeNotice, takeNotices } from "../../lib/store/alerts.ts";
import type { Database } from "../../lib/store/database.ts";
import { rollUp } from "../../lib/store/stats.ts";
import { stopJudging } from "../support/alerts.ts";
import { endpoint } from "../support/daemon.ts";
import { onBoth, onServer, type TestDatabase } from "../support/databases.ts";
import { type Engine, offer, startEngine } from "../support/engine.ts";
import { type Receiver, startReceiver, statuses } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

const ALERTS = { window: "1m", min_attempts: 3, chat: [] };

/** Judges as soon as it is a turn again, as each of these engines would at once. */
async function judgeNow(db: Database, ...engines: readonly Engine[]): Promise<void> {
  await db.admin`update alerting set judged_at = '-infinity'`;
  await Promise.all(
    engines.map((engine) =>
      runJob(engine.ctx, alerts(() => engine.fleet, () => {}), new AbortController().signal)
    ),
  );
}

async function open(db: Database) {
  const rows = await db.admin`
    select kind, subject, ended_at is not null as ended, end_reason, occasions, details, began_at, opened_at
    from alerts order by id`;
  return [...rows];
}

async function notices(db: Database) {
  return [...await db.admin`select what, target, occasion from alert_notices order by no`];
}

async function failing(database: TestDatabase, db: Database, count = 4, more = {}) {
  const receiver = await startReceiver(statuses(...Array(count).fill(500), 200));
  const engine = await startEngine(db, {
    database: database.section,
    delivery: { retry: ["0s", "1h"] },
    alerts: { ...ALERTS, ...more },
    endpoints: [
      endpoint("crm", receiver.url),
      // Nothing is sent to it: no announcer runs.
      endpoint("ops", receiver.url, { events: ["webhooks.*"] }),
    ],
  });
  for (let n = 0; n < count; n++) await engine.intake.accept([offer()]);
  await receiver.received(count);
  await until("they are recorded", async () => {
    const [row] = await db
      .admin`select count(*)::int as n from pending_deliveries where attempts = 1`;
    return row?.n === count;
  });
  return { receiver, engine };
}

onBoth(
  "alerts() opens an alert about an endpoint that fails, and ends it when it delivers",
  async (database) => {
    await using db = await database.open();
    const { receiver, engine } = await failing(database, db);
    await using _receiver = receiver;
    await using _engine = engine;
    await judgeNow(db, engine);
    const [alert, ...others] = await open(db);
    assert.deepEqual(others, []);
    assert.deepEqual(
      [alert?.kind, alert?.subject, alert?.ended, alert?.occasions],
      ["endpoint_failing", "crm", false, 1],
    );
    const { details } = alert ?? { details: {} };
    assert.deepEqual(
      [details.attempts, details.failed, details.reason, details.code, details.waiting],
      [4, 4, "http_5xx", 500, 4],
    );
    assert.match(details.example_delivery_id, /^dlv_/);
    assert.ok(details.exhausted_at > Date.now());
    assert.deepEqual(await notices(db), [{ what: "began", target: "events", occasion: 1 }]);
    const began = engine.log.filter(({ message }) => message === "Alert began");
    assert.deepEqual(began.map(({ endpoint, attempts, failed }) => [endpoint, attempts, failed]), [
      ["crm", 4, 4],
    ]);
    await judgeNow(db, engine);
    assert.equal((await notices(db)).length, 1, "nothing has changed");

    for (let n = 0; n < 3; n++) await engine.intake.accept([offer()]);
    await until("they arrived", async () => {
      const [row] = await db.admin`select count(*)::int as n from ended_deliveries`;
      return row?.n === 3;
    });
    // Its failures are older than the window.
    await rollUp(db.admin);
    await db.admin`delete from attempt_stats where outcome = 'http_5xx'`;
    await judgeNow(db, engine);
    const [ended] = await open(db);
    assert.deepEqual([ended?.ended, ended?.end_reason, ended?.occasions], [true, "delivered", 2]);
    assert.deepEqual((await notices(db)).map(({ what }) => what), ["began", "ended"]);
  },
);

onServer(
  "of daemons that judge at once, one opens the alert, and announces it once",
  async (database) => {
    await using db = await database.open();
    const { receiver, engine } = await failing(database, db, 4, {
      chat: [{ kind: "slack", url: "http://127.0.0.1:9/x" }],
      mail: { smtp: "smtp://127.0.0.1:9", from: "a@example.com", to: ["b@example.com"] },
    });
    await using _receiver = receiver;
    await using _engine = engine;
    for (let round = 0; round < 5; round++) await judgeNow(db, engine, engine, engine, engine);
    assert.equal((await open(db)).length, 1);
    assert.deepEqual((await notices(db)).map(({ target }) => target), ["events", "slack", "mail"]);
  },
);

onServer("a daemon that has just judged has the turn for all", async (database) => {
  await using db = await database.open();
  const { receiver, engine } = await failing(database, db);
  await using _receiver = receiver;
  await using _engine = engine;
  await db.admin`update alerting set judged_at = now()`;
  await runJob(engine.ctx, alerts(() => engine.fleet, () => {}), new AbortController().signal);
  assert.deepEqual(await open(db), []);
});

onServer("stopJudging() stops it for good", async (database) => {
  await using db = await database.open();
  const { receiver, engine } = await failing(database, db);
  await using _receiver = receiver;
  await using _engine = engine;
  await stopJudging(db.admin);
  await judgeNow(db, engine);
  assert.deepEqual(await open(db), []);
});

/** Things to begin, to be reminded of and to end in the next turn, each to be announced in a chat. */
async function threeChanges(database: TestDatabase, db: Database) {
  const scene = await failing(database, db, 4, {
    chat: [{ kind: "slack", url: "http://127.0.0.1:9/x" }],
  });
  await db.admin`
    insert into alerts (id, kind, subject, began_at, details, remind_at)
    select gen_random_uuid(), kind, '', now() - interval '1 hour', '{}', now()
    from unnest('{ingest_silent,daemons_differ}'::text[]) kind`;
  return scene;
}

const DONE_ONCE = [
  ["daemons_differ", "ended", 2],
  ["endpoint_failing", "began", 1],
  ["ingest_silent", "reminded", 2],
];

/** What was announced in the chat: kind of the alert, what has become of it, and the number of the occasion. */
async function announced(db: Database) {
  const rows = await db.admin`
    select a.kind, n.what, n.occasion, a.occasions from alert_notices n join alerts a on a.id = n.alert_id
    where n.target = 'slack' order by a.kind, n.no`;
  for (const { occasion, occasions } of rows) assert.equal(occasion, occasions);
  return rows.map(({ kind, what, occasion }) => [kind, what, occasion]);
}

/** Holds up the changes of each of these daemons, in turn, then does `work` with their sessions. */
async function holdingUp(
  database: TestDatabase,
  db: Database,
  engines: readonly Engine[],
  work: (pids: readonly number[]) => Promise<void>,
): Promise<void> {
  const { url } = database.section as { url: string };
  const lock = postgres(url, { max: 1, fetch_types: false });
  const turns: Promise<void>[] = [];
  try {
    await lock.unsafe("begin; lock table alerts in share mode").simple();
    let pids: readonly number[] = [];
    for (const engine of engines) {
      turns.push(judgeNow(db, engine));
      pids = await until("its changes are held up", async () => {
        const rows = await db.admin`
          select pid from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock' and query ~ 'insert into alerts'`;
        return rows.length === turns.length ? rows.map(({ pid }) => pid) : undefined;
      });
    }
    await work(pids);
  } finally {
    await lock.end({ timeout: 0 });
    await Promise.all(turns);
  }
}

onServer(
  "a daemon is killed after it took the turn: the next one makes the same changes, once",
  async (database) => {
    await using db = await database.open();
    const { receiver, engine } = await threeChanges(database, db);
    await using _receiver = receiver;
    await using _engine = engine;
    await holdingUp(database, db, [engine], async ([pid]) => {
      await db.admin`select pg_terminate_backend(${pid ?? 0})`;
      await until("it is gone", async () => {
        const rows = await db.admin`select from pg_stat_activity where pid = ${pid ?? 0}`;
        return rows.length === 0;
      });
    });
    assert.deepEqual(await announced(db), [], "nothing of it was done");
    await using other = await database.open();
    const next = { ...engine, ctx: { ...engine.ctx, db: other } };
    for (let turn = 0; turn < 2; turn++) await judgeNow(other, next);
    assert.deepEqual(await announced(db), DONE_ONCE);
  },
);

onServer(
  "a killed daemon's changes that the database still makes are not made by the next one too",
  async (database) => {
    await using db = await database.open();
    const { receiver, engine } = await threeChanges(database, db);
    await using _receiver = receiver;
    await using _engine = engine;
    await using other = await database.open();
    const next = { ...engine, ctx: { ...engine.ctx, db: other } };
    await holdingUp(database, db, [engine, next], () => Promise.resolve());
    assert.deepEqual(await announced(db), DONE_ONCE);
  },
);

onServer(
  "an endpoint that got nothing lately fails for the reason of its latest failure",
  async (database) => {
    await using db = await database.open();
    const { receiver, engine } = await failing(database, db);
    await using _receiver = receiver;
    await using _engine = engine;
    await rollUp(db.admin);
    // The window has a few failures of another kind, and then none at all.
    await db.admin`update attempt_stats set outcome = 'timeout', attempts = 1`;
    await db.admin`
      update endpoint_runs set failing_since = failing_since - interval '2 hours', failures = 30`;
    await judgeNow(db, engine);
    const [alert] = await open(db);
    const { attempts, failed, reason, code, window_ms } = alert?.details ?? {};
    assert.deepEqual([attempts, failed, reason, code, window_ms], [
      30,
      30,
      "http_5xx",
      500,
      undefined,
    ]);
    assert.match(alert?.details.example_delivery_id, /^dlv_/);
    assert.match(
      String(engine.log.find(({ message }) => message === "Alert began")?.says),
      /^crm has been failing since .*: it answers 500$/,
    );

    // The figures of its announcement are replaced by present ones.
    await db.admin`delete from attempt_stats`;
    await db.admin`
      update alerts set remind_at = now(),
        details = '{"window_ms": 60000, "attempts": 4, "failed": 4, "reason": "timeout", "waiting": 9}'`;
    await db.admin`update pending_deliveries set last_status = 503`;
    await judgeNow(db, engine);
    const [reminded] = await open(db);
    const { example_delivery_id: _, exhausted_at: __, ...details } = reminded?.details ?? {};
    assert.deepEqual(details, {
      attempts: 30,
      failed: 30,
      reason: "http_5xx",
      code: 503,
      waiting: 4,
      waiting_exact: true,
    });
  },
);

onServer("reminders come after an hour, not once it is acknowledged", async (database) => {
  await using db = await database.open();
  const { receiver, engine } = await failing(database, db);
  await using _receiver = receiver;
  await using _engine = engine;
  await judgeNow(db, engine);
  await db
    .admin`update alerts set opened_at = opened_at - interval '61 minutes', remind_at = now()`;
  await judgeNow(db, engine);
  assert.deepEqual((await notices(db)).map(({ what }) => what), ["began", "reminded"]);
  await db
    .admin`update alerts set remind_at = now(), acknowledged_at = now(), acknowledged_by = 'ops'`;
  await judgeNow(db, engine);
  assert.equal((await notices(db)).length, 2);
});

onServer("a notice is taken by one, and comes back when it was not sent", async (database) => {
  await using db = await database.open();
  const { receiver, engine } = await failing(database, db, 4, {
    chat: [{ kind: "slack", url: "http://127.0.0.1:9/x" }],
  });
  await using _receiver = receiver;
  await using _engine = engine;
  await judgeNow(db, engine);
  const take = () =>
    takeNotices(db.admin, engine.ctx.shared().digest, 10)
      .then((taken) => taken.filter(({ target }) => target === "slack"));
  const all = (await Promise.all([take(), take(), take()])).flat();
  assert.deepEqual(
    all.map(({ target, what, occasion, attempts }) => [target, what, occasion, attempts]),
    [
      ["slack", "began", 1, 1],
    ],
  );
  const [notice] = all;
  assert.deepEqual([notice?.alert.subject, notice?.alert.endpoint?.id], ["crm", "crm"]);
  const no = notice?.no ?? "";
  assert.deepEqual(await take(), []);
  await db.admin`update alert_notices set leased_until = now() - interval '1 s'`;
  assert.equal((await take())[0]?.attempts, 2, "whoever had it was killed");
  for (const failures of [2, 3]) {
    await postponeNotice(db.admin, no, "slack answered 500", 0);
    await judgeNow(db, engine);
    const target = (await open(db)).find(({ kind }) => kind === "target_failing");
    assert.equal(target?.subject, "slack", `after ${failures}`);
    await take();
  }
  const told = await db.admin`
    select target from alert_notices n join alerts a on a.id = n.alert_id where a.kind = 'target_failing'`;
  assert.deepEqual(
    told.map(({ target }) => target),
    ["events"],
    "not by the way that does not work",
  );
  await finishNotice(db.admin, no);
  await judgeNow(db, engine);
  const target = (await open(db)).find(({ kind }) => kind === "target_failing");
  assert.deepEqual([target?.ended, target?.end_reason], [true, "cleared"]);
  await postponeNotice(db.admin, no, "given up", null);
  assert.deepEqual(await take(), []);
});

/** An engine whose endpoint `ops` gets alerts, and a way to send it one that ends, or waits, as it should. */
async function operated(database: TestDatabase, db: Database, receiver: Receiver, retry: string[]) {
  const engine = await startEngine(db, {
    database: database.section,
    delivery: { retry },
    alerts: { ...ALERTS, to: ["ops"] },
    endpoints: [endpoint("ops", receiver.url, { events: ["booking.cancelled"] })],
  });
  const tell = async (status: string, counted: number) => {
    const type = "webhooks.alert.began";
    const event = { ...offer().event, type, payload: sampleAlertEvent("began"), subject_key: null };
    await engine.intake.accept([{
      event,
      key: null,
      only_endpoint_nos: [...engine.fleet.endpoints.keys()],
    }]);
    await until(`one more is ${status}`, async () => {
      const [row] = await db
        .admin`select status, attempts from deliveries order by uuid desc limit 1`;
      return row?.status === status && row.attempts === counted;
    });
  };
  const targets = async () => {
    await judgeNow(db, engine);
    return (await open(db)).map((
      { kind, subject, end_reason, details },
    ) => [kind, subject, details.failed, end_reason]);
  };
  return { engine, tell, targets };
}

onBoth("a target that got nothing more is not said to be reached again", async (database) => {
  await using db = await database.open();
  await using receiver = await startReceiver(statuses(500, 200));
  const { engine, tell, targets } = await operated(database, db, receiver, ["0s"]);
  await using _engine = engine;
  await tell("failed", 1);
  for (let turn = 0; turn < 2; turn++) {
    assert.deepEqual(await targets(), [["target_failing", "events:ops", 1, null]]);
  }
  // The failures themselves are forgotten by now.
  await db.admin`delete from ended_deliveries`;
  assert.deepEqual(await targets(), [["target_failing", "events:ops", 1, null]]);
  await tell("delivered", 1);
  assert.deepEqual(await targets(), [["target_failing", "events:ops", 1, "cleared"]]);
});

onServer("a target is failing if the attempts after the last success failed", async (database) => {
  await using db = await database.open();
  await using receiver = await startReceiver(statuses(500, 500, 200, 500, 500, 200));
  const { engine, tell, targets } = await operated(database, db, receiver, ["0s", "0s", "1h"]);
  await using _engine = engine;
  await tell("pending", 2);
  await tell("delivered", 1);
  assert.deepEqual(await targets(), [], "a later one arrived");
  await tell("pending", 2);
  assert.deepEqual(await targets(), [["target_failing", "events:ops", 2, null]]);
  await tell("delivered", 1);
  assert.deepEqual(await targets(), [["target_failing", "events:ops", 2, "cleared"]]);
});

onServer(
  "a chat is failing if two attempts failed, not while the second is under way",
  async (database) => {
    await using db = await database.open();
    const { receiver, engine } = await failing(database, db, 4, {
      chat: [{ kind: "slack", url: "http://127.0.0.1:9/x" }],
    });
    await using _receiver = receiver;
    await using _engine = engine;
    const targets = async () => {
      await judgeNow(db, engine);
      return (await open(db)).filter(({ kind }) => kind === "target_failing").length;
    };
    const take = async () => {
      const taken = await takeNotices(db.admin, engine.ctx.shared().digest, 10);
      return taken.find(({ target }) => target === "slack")?.no ?? assert.fail("It is not due");
    };
    await targets();
    const no = await take();
    await postponeNotice(db.admin, no, "slack answered 500", 0);
    await take();
    assert.equal(await targets(), 0);
    // A later one arrives, about another alert.
    await db.admin`
      insert into alerts (id, kind, subject, business, began_at, details, ended_at)
      select gen_random_uuid(), 'endpoint_gone', 'till', 'bus_1', now(), '{}', now()`;
    await db.admin`
    insert into alert_notices (alert_id, occasion, what, target, details, created_at, tried_at, done_at)
    select id, 1, 'began', 'slack', details, now(), now(), now() from alerts where subject = 'till'`;
    await postponeNotice(db.admin, no, "slack answered 500", 0);
    assert.equal(await targets(), 0, "one attempt failed after that");
    await postponeNotice(db.admin, no, "slack answered 500", null);
    assert.equal(await targets(), 1, "it was given up");
  },
);
