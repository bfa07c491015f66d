import assert from "node:assert/strict";
import { startAnnouncer, testTargets } from "../../lib/maintenance/announcer.ts";
import { alerts } from "../../lib/maintenance/alerts.ts";
import { runJob } from "../../lib/maintenance/schedule.ts";
import { makeMailer } from "../../lib/notify/mail.ts";
import { finishNotice, postponeNotice, takeNotices } from "../../lib/store/alerts.ts";
import type { Database } from "../../lib/store/database.ts";
import { endpoint } from "../support/daemon.ts";
import { onServer, type TestDatabase } from "../support/databases.ts";
import { type Engine, offer, startEngine } from "../support/engine.ts";
import { type Plan, type Receiver, startReceiver } from "../support/receiver.ts";
import { startSmtp } from "../support/smtp.ts";
import { until } from "../support/wait.ts";

const RULES = {
  rules: () => ({ allow_loopback: true, allow_networks: [], own_listener: [] }),
};

function announce(engine: Engine) {
  return startAnnouncer(engine.ctx, {
    fleet: () => engine.fleet,
    accept: engine.intake.accept,
    client: engine.client,
    mailer: makeMailer(RULES),
    base_url: () => "https://hooks.example.com",
  });
}

async function judge(db: Database, engine: Engine): Promise<void> {
  await db.admin`update alerting set judged_at = '-infinity'`;
  await runJob(engine.ctx, alerts(() => engine.fleet, () => {}), new AbortController().signal);
}

interface Scene extends AsyncDisposable {
  readonly db: Database;
  readonly engine: Engine;
  readonly crm: Receiver;
  readonly ops: Receiver;
  readonly slack: Receiver;
  readonly teams: Receiver;
}

/** An endpoint that fails, which is among those that get alerts, and others that do. */
async function setScene(
  database: TestDatabase,
  more: Record<string, unknown> = {},
  answer: Plan = () => ({ status: 200, body: "ok" }),
): Promise<Scene> {
  const stack = new AsyncDisposableStack();
  const db = stack.use(await database.open());
  const crm = stack.use(
    await startReceiver(() => ({ status: 500, body: "secret of the receiver" })),
  );
  const ops = stack.use(await startReceiver());
  const slack = stack.use(await startReceiver(answer));
  const teams = stack.use(await startReceiver());
  const engine = stack.use(
    await startEngine(db, {
      database: database.section,
      delivery: { retry: ["0s", "1h"] },
      alerts: {
        window: "1m",
        min_attempts: 3,
        to: ["ops-alerts", "crm"],
        chat: [
          { kind: "slack", url: `${slack.url}/services/KEEPTHIS` },
          { kind: "teams", url: `${teams.url}/KEEPTHIS` },
        ],
        ...more,
      },
      endpoints: [
        endpoint("crm", crm.url, { description: "crm <!channel> *all*", events: ["booking.*"] }),
        endpoint("ops-alerts", ops.url, { events: ["business.updated"] }),
      ],
    }),
  );
  for (let n = 0; n < 4; n++) await engine.intake.accept([offer()]);
  await until("they are recorded", async () => {
    const [row] = await db
      .admin`select count(*)::int as n from pending_deliveries where attempts = 1`;
    return row?.n === 4;
  });
  await judge(db, engine);
  return { db, engine, crm, ops, slack, teams, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

onServer(
  "an alert reaches chats, mail and endpoints, never by the endpoint that fails",
  async (database) => {
    await using smtp = await startSmtp();
    await using scene = await setScene(database, {
      mail: { smtp: smtp.url, from: "BookMe <alerts@example.com>", to: ["ops@example.com"] },
    });
    const { db, engine, crm, ops, slack, teams } = scene;
    const announcer = announce(engine);
    const [event] = await ops.received(1);
    const [post] = await slack.received(1);
    const [card] = await teams.received(1);
    const [mail] = await smtp.received(1);
    await until("all of it is noted", async () => {
      const [row] = await db
        .admin`select count(*)::int as n from alert_notices where done_at is null`;
      return row?.n === 0;
    });
    await announcer.stop();
    assert.equal(event?.headers["x-bookme-event"], "webhooks.alert.began");
    const { alert } = JSON.parse(String(event?.body)).data;
    assert.deepEqual(
      [
        alert.kind,
        alert.endpoint_id,
        alert.attempts,
        alert.failed,
        alert.share,
        alert.code,
        alert.waiting,
      ],
      ["endpoint_failing", "crm", 4, 4, 1, 500, 4],
    );
    assert.match(alert.link, /^https:\/\/hooks\.example\.com\/dashboard\/alerts#alr_/);
    assert.equal(crm.requests.length, 4, "nothing to the one that fails");
    const text = [post?.body, card?.body, mail?.data, event?.body].map(String).join("\n");
    assert.doesNotMatch(text, /secret of the receiver|KEEPTHIS/);
    const message = JSON.parse(String(post?.body));
    assert.match(message.text, /crm &lt;!channel&gt; \*all\* has been failing since/);
    assert.ok(
      message.blocks.every(({ text }: { text: { type: string } }) =>
        text.type === "plain_text" || /Show details/.test(JSON.stringify(text))
      ),
    );
    const [attachment] = JSON.parse(String(card?.body)).attachments;
    assert.equal(attachment.contentType, "application/vnd.microsoft.card.adaptive");
    assert.match(mail?.data ?? "", /^Subject: .*crm/m);
    assert.deepEqual([mail?.from, mail?.to], ["alerts@example.com", ["ops@example.com"]]);
    const stats = await db.admin`select from uncounted_attempts u
    where (select no from endpoints where id = 'ops-alerts') = any(u.endpoint_nos)`;
    assert.equal(stats.length, 0, "operational deliveries are counted nowhere");
  },
);

onServer("no event is stored that only the endpoint that fails would get", async (database) => {
  await using scene = await setScene(database, { to: ["crm"] });
  const { db, engine, slack } = scene;
  const announcer = announce(engine);
  await slack.received(1);
  const announced = await until("all of it is noted", async () => {
    const rows = await db.admin`select target, done_at from alert_notices order by no`;
    return rows.every(({ done_at }) => done_at !== null) ? rows : undefined;
  });
  await announcer.stop();
  assert.deepEqual(announced.map(({ target }) => target), ["slack", "teams"]);
  const events = await db.admin`select from events where type like 'webhooks.%'`;
  const deliveries = await db.admin`select from deliveries where type like 'webhooks.%'`;
  assert.deepEqual([events.length, deliveries.length], [0, 0]);
});

onServer(
  "a chat that redirects or refuses is tried again, and its answer is never kept",
  async (database) => {
    let answers = 0;
    await using scene = await setScene(database, {}, () => {
      answers++;
      return answers === 1
        ? { status: 302, headers: { Location: "http://127.0.0.1:9/" }, body: "BODYOFCHAT" }
        : answers === 2
        ? { status: 500, body: "BODYOFCHAT" }
        : { status: 200 };
    });
    const { db, engine, slack } = scene;
    const announcer = announce(engine);
    const tried = async (attempts: number) =>
      await until(`attempt ${attempts} is noted`, async () => {
        const rows = await db.admin`select attempts, cause, done_at from alert_notices
        where target = 'slack' and attempts = ${attempts} and leased_until is null`;
        return rows[0];
      });
    assert.match((await tried(1)).cause, /answered 302, a redirect, which is not followed$/);
    await db.admin`update alert_notices set due_at = now() where target = 'slack'`;
    assert.match((await tried(2)).cause, /answered 500/);
    await db.admin`update alert_notices set due_at = now() where target = 'slack'`;
    assert.ok((await tried(3)).done_at);
    await announcer.stop();
    assert.equal((await slack.received(3)).length, 3);
    const [kept] = await db.admin`select string_agg(n::text, '') as all from alert_notices n`;
    assert.doesNotMatch(kept?.all + JSON.stringify(engine.log), /BODYOFCHAT|KEEPTHIS/);
    const [line] = engine.log.filter(({ message }) => message === "An announcement did not arrive");
    assert.equal(line?.target, "slack");
  },
);

onServer("an end is announced after its beginning, even if that was cut off", async (database) => {
  await using scene = await setScene(database);
  const { db, engine: { ctx } } = scene;
  const take = async () => {
    const notices = await takeNotices(db.admin, ctx.shared().digest, 10);
    return notices.filter(({ target }) => target === "slack");
  };
  const [began] = await take();
  assert.equal(began?.what, "began");
  await db.admin`
    insert into alert_notices (alert_id, occasion, what, target, details)
    select alert_id, 2, 'ended', target, details from alert_notices where target = 'slack'`;
  assert.deepEqual(await take(), [], "its beginning is being sent");
  // The daemon was killed.
  await db.admin`update alert_notices set leased_until = now()`;
  const again = await take();
  assert.deepEqual(again.map(({ what }) => what), ["began"]);
  await finishNotice(db.admin, began.no);
  const [ended] = await take();
  assert.equal(ended?.what, "ended");
  // A notice that waits for its next attempt does not hold up later ones.
  await db.admin`
    update alert_notices set done_at = null, leased_until = null where target = 'slack'`;
  await postponeNotice(db.admin, began.no, "It answered 500", 60_000);
  assert.deepEqual((await take()).map(({ what }) => what), ["ended"]);
  // And once the end was told, the beginning is not told after it.
  await finishNotice(db.admin, ended.no);
  await db.admin`update alert_notices set due_at = now()`;
  assert.deepEqual(await take(), []);
  const rows = await db.admin`
    select what, done_at is not null as arrived, cause from alert_notices
    where target = 'slack' order by no`;
  assert.deepEqual(rows.map((row) => ({ ...row })), [
    { what: "began", arrived: false, cause: "A later one arrived first" },
    { what: "ended", arrived: true, cause: null },
  ]);
});

onServer("a target that fails is an alert to the others, and so is its end", async (database) => {
  let status = 500;
  await using scene = await setScene(database, {}, () => ({ status }));
  const { db, engine, ops, slack, teams } = scene;
  const announcer = announce(engine);
  const noted = async (also: "slack" | "" = "") =>
    await until("what was sent is noted", async () => {
      const rows = await db.admin`
        select from alert_notices
        where done_at is null and (leased_until is not null or target <> 'slack' or ${also} = 'slack')`;
      return rows.length === 0;
    });
  const retry = () => db.admin`update alert_notices set due_at = now() where done_at is null`;
  await slack.received(1);
  await noted();
  await retry();
  await slack.received(2);
  await noted();

  await judge(db, engine);
  announcer.wake();
  const messages = await teams.received(2);
  const events = await ops.received(2);
  assert.match(String(messages[1]?.body), /Alerts have not reached slack since/);
  assert.match(String(messages[1]?.body), /2 attempts failed in a row/);
  const { alert } = JSON.parse(String(events[1]?.body)).data;
  assert.deepEqual([alert.kind, alert.endpoint_id, alert.status], ["target_failing", null, "open"]);
  await noted();

  status = 200;
  await retry();
  await noted("slack");
  await judge(db, engine);
  announcer.wake();
  const over = (await teams.received(3))[2];
  const ended = (await ops.received(3))[2];
  assert.match(String(over?.body), /Over: Alerts reach slack again, after /);
  assert.equal(JSON.parse(String(ended?.body)).data.alert.id, alert.id);
  await noted("slack");
  await announcer.stop();
  assert.ok(
    slack.requests.every(({ body }) => !String(body).includes("have not reached")),
    "never by the target that fails",
  );
});

onServer(
  "killed between sending and noting: the event arrives once, the chat once more",
  async (database) => {
    await using scene = await setScene(database);
    const { db, engine, ops, slack } = scene;
    const first = announce(engine);
    await ops.received(1);
    await slack.received(1);
    await until("all of it is noted", async () => {
      const [row] = await db
        .admin`select count(*)::int as n from alert_notices where done_at is null`;
      return row?.n === 0;
    });
    await first.stop();
    // As a daemon leaves it that is killed before it notes anything.
    await db.admin`
    update alert_notices set done_at = null, tried_at = null, leased_until = now() - interval '1 s'`;
    const [second, third] = [announce(engine), announce(engine)];
    await slack.received(2);
    await until("all of it is noted", async () => {
      const [row] = await db
        .admin`select count(*)::int as n from alert_notices where done_at is null`;
      return row?.n === 0;
    });
    await Promise.all([second.stop(), third.stop()]);
    const [row] = await db
      .admin`select count(*)::int as n from events where type = 'webhooks.alert.began'`;
    assert.equal(row?.n, 1);
    assert.equal(ops.requests.length, 1);
    assert.equal(slack.requests.length, 2);
  },
);

onServer(
  "a mail that reaches only some is not sent again, and the log and a test name the others",
  async (database) => {
    await using smtp = await startSmtp({
      answer: (command) => command.startsWith("RCPT TO:<gone@") ? "550 BODYOFSERVER" : undefined,
    });
    const to = ["gone@example.com", "ops@example.com"];
    await using scene = await setScene(database, {
      mail: { smtp: smtp.url, from: "alerts@example.com", to },
    });
    const { db, engine } = scene;
    const announcer = announce(engine);
    await until("the mail is noted", async () => {
      const rows = await db.admin`
        select from alert_notices where target = 'mail' and done_at is not null`;
      return rows.length === 1;
    });
    await announcer.stop();
    const lines = engine.log.filter(({ message }) =>
      message === "An announcement did not reach everybody"
    );
    assert.deepEqual(lines.map(({ target, cause }) => [target, cause]), [
      ["mail", "127.0.0.1 refused gone@example.com (550)"],
    ]);
    const ways = { client: engine.client, mailer: makeMailer(RULES), base_url: () => null };
    const [tested] = await testTargets(engine.ctx.config().alerts, ways, "mail", "alr_test");
    assert.deepEqual(tested, {
      target: "mail",
      ok: false,
      explanation: "127.0.0.1 refused gone@example.com (550); the others got the test",
    });
    assert.deepEqual(smtp.mails.map((mail) => mail.to), [["ops@example.com"], ["ops@example.com"]]);
  },
);

onServer("a daemon whose file is not in force sends no chats", async (database) => {
  await using scene = await setScene(database);
  const { db, engine, ops, slack } = scene;
  await db.admin`update file_in_force set digest = 'another'`;
  const announcer = announce(engine);
  await ops.received(1);
  await announcer.stop();
  assert.equal(slack.requests.length, 0);
});
