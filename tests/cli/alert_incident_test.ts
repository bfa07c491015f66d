/** An incident, as those on call live through it: two daemons, a receiver that begins to fail, and three who hear of it. */

import assert from "node:assert/strict";
import { ADMIN, booking, type DaemonProcess, endpoint, spawnDaemon } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { textOf } from "../support/html.ts";
import { startReceiver } from "../support/receiver.ts";
import { startSmtp } from "../support/smtp.ts";
import { signIn } from "../support/visitor.ts";
import { until } from "../support/wait.ts";

const WINDOW_MS = 60_000;

onServer("an incident is announced once, by whoever lives, and so is its end", async (database) => {
  let status = 500;
  await using crm = await startReceiver(() => ({ status }));
  await using ops = await startReceiver();
  await using slack = await startReceiver();
  await using smtp = await startSmtp();
  const sections = {
    database: database.section,
    delivery: { retry: ["0s", "1h"] },
    alerts: {
      window: "1m",
      min_attempts: 5,
      to: ["ops-alerts"],
      chat: [{ kind: "slack", url: `${slack.url}/services/KEEPTHIS` }],
      mail: { smtp: smtp.url, from: "alerts@example.com", to: ["ops@example.com"] },
    },
    endpoints: [
      endpoint("crm", crm.url),
      endpoint("ops-alerts", ops.url, { events: ["webhooks.*"] }),
    ],
  };
  await using first = await spawnDaemon(sections);
  await using second = await spawnDaemon(sections);
  await using db = await database.open();
  for (let n = 0; n < 6; n++) await first.post(booking(`apt_${n}`, "bus_1"));

  // It begins: within the window and thirty seconds, to all three.
  const [message] = await slack.received(1);
  const [mail] = await smtp.received(1);
  const [event] = await ops.received(1);
  const [row] = await db.admin`
    select extract(epoch from opened_at - began_at) * 1000 as after_ms from alerts`;
  assert.ok(Number(row?.after_ms) <= WINDOW_MS + 30_000);
  const { alert } = JSON.parse(String(event?.body)).data;
  assert.deepEqual([alert.endpoint_id, alert.attempts, alert.failed, alert.code], [
    "crm",
    6,
    6,
    500,
  ]);

  // Log, API, page, chat and mail have the same numbers.
  const announcer = await until(
    "one of them has logged it",
    () => [first, second].find(({ log }) => log.some(({ message }) => message === "Alert began")),
  );
  const line = announcer.log.find(({ message }) => message === "Alert began");
  assert.deepEqual([line?.endpoint, line?.attempts, line?.failed, line?.alert], [
    "crm",
    6,
    6,
    alert.id,
  ]);
  const shown = (await second.api("alerts")).body.data;
  assert.equal(shown.length, 1);
  assert.deepEqual(
    [shown[0].id, shown[0].attempts, shown[0].failed, shown[0].share, shown[0].waiting],
    [alert.id, 6, 6, 1, alert.waiting],
  );
  const page = textOf((await (await signIn(second.url, ADMIN)).get("/dashboard/alerts")).text);
  const figures = /6 of 6 attempts failed \(100 %\) in the last/;
  for (const text of [page, String(message?.body), mail?.data ?? ""]) assert.match(text, figures);

  // The one that announced it is killed; the other goes on.
  announcer.kill("SIGKILL");
  await announcer.status;
  const survivor: DaemonProcess = announcer === first ? second : first;
  status = 200;
  for (let n = 0; n < 3; n++) await survivor.post(booking(`apt_later_${n}`, "bus_1"));
  await until("they are delivered and counted", async () => {
    const [counted] = await db.admin`
      select sum(attempts)::int as n from attempt_stats
      where span = 'hour' and outcome = 'delivered' and endpoint_no = (
        select no from endpoints where id = 'crm')`;
    return counted?.n === 3;
  });
  // As it is once the failures are older than the window.
  await db
    .admin`delete from attempt_stats where outcome = 'http_5xx' and span in ('minute', 'ten_minutes')`;
  const [, over] = await slack.received(2);
  await smtp.received(2);
  const events = await ops.received(2);
  assert.match(String(over?.body), /Over: crm delivers again, after /);
  assert.deepEqual(
    events.map(({ headers }) => headers["x-bookme-event"]),
    ["webhooks.alert.began", "webhooks.alert.ended"],
  );
  assert.equal((await survivor.api("alerts")).body.data.length, 0);

  // Nobody hears of it again.
  const judged = async () =>
    Number(
      (await db.admin`
    select extract(epoch from judged_at) * 1000 as at from alerting`)[0]?.at,
    );
  const since = await judged();
  await until("it was judged twice more", async () => await judged() > since + 15_000);
  assert.deepEqual([slack.requests.length, smtp.mails.length, ops.requests.length], [2, 2, 2]);
  assert.doesNotMatch(
    JSON.stringify([first.log, second.log, String(message?.body), mail?.data]),
    /KEEPTHIS/,
  );
});
