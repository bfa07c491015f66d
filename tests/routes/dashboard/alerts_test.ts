import assert from "node:assert/strict";
import { type PutAlert, putAlert, stopJudging } from "../../support/alerts.ts";
import { checkedApi, ENCRYPTION_KEY } from "../../support/checked.ts";
import { ADMIN, endpoint, startDaemon, VIEWER } from "../../support/daemon.ts";
import { onServer, type TestDatabase } from "../../support/databases.ts";
import { startReceiver } from "../../support/receiver.ts";
import { formTo, hiddenFields, openLink, signIn } from "../../support/visitor.ts";
import { headlineOf, textOf } from "../../support/html.ts";

const TOKENS = [
  { name: "ops", token: ADMIN, role: "admin" },
  { name: "anna", token: VIEWER, role: "viewer" },
];

/** A daemon with an endpoint of the file, one of bus_1, and alerts about both, everything, and one that ended. */
async function setScene(database: TestDatabase, more: Record<string, unknown> = {}) {
  const stack = new AsyncDisposableStack();
  const slack = stack.use(await startReceiver());
  const daemon = stack.use(
    await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      admin: { tokens: TOKENS },
      alerts: { chat: [{ kind: "slack", url: `${slack.url}/KEEPTHIS` }], ...more },
      endpoints: [endpoint("crm", "https://example.com/hook", { description: "<b>CRM" })],
    }),
  );
  const db = stack.use(await database.open());
  await stopJudging(db.admin);
  const api = await checkedApi(daemon);
  const { token } = (await api.expect(201, "POST", "portal-links", { business: "bus_1" })).body;
  const made = await fetch(`${daemon.url}/api/endpoints`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ url: "https://example.com/till", events: ["*"], description: "Till" }),
  });
  const { id: till } = await made.json();
  const details = { attempts: 40, failed: 30, reason: "http_5xx", code: 503, waiting: 7 } as const;
  const put = (alert: PutAlert) => putAlert(db.admin, alert);
  const ids = {
    crm: await put({ kind: "endpoint_failing", endpoint: "crm", began: 20, details }),
    till: await put({
      kind: "endpoint_failing",
      endpoint: till,
      began: 20,
      details: { ...details, failed: 40 },
    }),
    silent: await put({ kind: "ingest_silent", began: 20, details: { expected: 12 } }),
    gone: await put({
      kind: "endpoint_gone",
      endpoint: "crm",
      began: 90,
      ended: { ago: 60, reason: "resumed" },
    }),
  };
  return { daemon, db, slack, token, till, ids, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

onServer(
  "an operator sees open alerts first, acknowledges, snoozes and tests",
  async (database) => {
    await using scene = await setScene(database);
    const { daemon, slack, ids } = scene;
    const operator = await signIn(daemon.url, ADMIN);
    const { status, text } = await operator.get("/dashboard/alerts");
    assert.equal(status, 200);
    assert.match(headlineOf(text), /^BookMe has posted no event since /);
    const words = textOf(text);
    assert.match(words, /2 more alerts are open/);
    assert.match(words, /75 % of the attempts to &lt;b&gt;CRM|75 % of the attempts to <b>CRM/);
    assert.doesNotMatch(text, /<b>CRM|KEEPTHIS/);
    assert.match(words, /7 deliveries wait/);
    assert.match(words, /Ended .*<?b?>?CRM was resumed/);
    const acknowledged = await operator.submit(
      `/dashboard/alerts/${ids.silent}/acknowledge`,
      {},
      "/dashboard/alerts",
    );
    assert.equal(acknowledged.status, 303);
    assert.match(textOf((await operator.get(acknowledged.location ?? "")).text), /Acknowledged: /);
    const snoozed = await operator.submit(
      `/dashboard/alerts/${ids.crm}/snooze`,
      { for: "8h" },
      "/dashboard/alerts",
    );
    const after = textOf((await operator.get(snoozed.location ?? "")).text);
    assert.match(after, /Quiet for 8 hours, unless it ends before/);
    assert.match(after, /ops looks after it/);
    const tested = await operator.submit("/dashboard/alerts/test", {}, "/dashboard/alerts");
    assert.match(
      textOf((await operator.get(tested.location ?? "")).text),
      /slack: The test arrived/,
    );
    assert.equal((await slack.received(1)).length, 1);
    const form = hiddenFields(formTo(text, "/dashboard/alerts/test") ?? "");
    const contact = await operator.post("/dashboard/alerts/contact", form);
    assert.equal(contact.status, 403);
    assert.match(textOf(contact.text), /operators name theirs in the configuration/);
    const audit = await operator.get("/dashboard/audit");
    assert.match(headlineOf(audit.text), /^ops sent a test of alerts to slack$/);
    const changes = textOf(audit.text);
    assert.match(changes, /snoozed “75 % of the attempts to .* 503” for 8h/);
    assert.match(changes, /acknowledged “BookMe has posted no event since /);
    assert.doesNotMatch(changes, /alr_\w|alert\.|alerts\.tested/);
    assert.ok(audit.text.includes(`href="/dashboard/alerts#${ids.crm}"`));
  },
);

onServer("every page names the worst alert that nobody looks after", async (database) => {
  await using scene = await setScene(database);
  const { daemon, db } = scene;
  const operator = await signIn(daemon.url, VIEWER);
  const banner = async (path: string) =>
    /<aside class="banner"[^]*?<\/aside>/.exec((await operator.get(path)).text)?.[0];
  assert.match(
    textOf(await banner("/dashboard/deliveries") ?? ""),
    /BookMe has posted no event .* See all 3/,
  );
  assert.equal(await banner("/dashboard/alerts"), undefined);
  assert.equal(await banner("/dashboard"), undefined);
  const overview = textOf((await operator.get("/dashboard")).text);
  assert.match(overview, /Open alerts .*BookMe has posted no event/);
  await db.admin`update alerts set acknowledged_at = now(), acknowledged_by = 'ops'
    where kind = 'ingest_silent'`;
  assert.match(textOf(await banner("/dashboard/audit") ?? ""), /have failed since .* See all 2/);
  const crm = textOf((await operator.get("/dashboard/endpoints/crm")).text);
  assert.match(crm, /Alert: 75 % of the attempts to .*? Began \S+ \S+ \S+ UTC ?; still open/);
  assert.match(
    crm,
    /Alert: <b>CRM answered 410 Gone, so it is paused Began (\S+ \S+ \S+) UTC ?; ended (?!\1)\S+ \S+ \S+ UTC/,
  );
  const { text } = await operator.get("/dashboard/alerts");
  assert.doesNotMatch(text, /action="[^"]*acknowledge"|alerts\/test/, "a viewer only looks");
});

onServer(
  "a business sees its own alerts in its words, and says where they go",
  async (database) => {
    await using scene = await setScene(database, {
      mail: { smtp: "smtp://127.0.0.1:9", from: "alerts@example.com", to: ["ops@example.com"] },
    });
    const { daemon, db, token, till, ids } = scene;
    const business = await openLink(daemon.url, token);
    const { text } = await business.get("/portal/alerts");
    assert.match(headlineOf(text), /^Till has had an error of its own since .*\(503\)$/);
    assert.doesNotMatch(textOf(text), /CRM|BookMe has posted|daemon|bookme-webhooks|slack/);
    assert.doesNotMatch(textOf(text), /looks after it/);
    assert.match((await business.get("/portal")).text, /<aside class="banner"/);
    assert.match((await business.get("/portal/deliveries")).text, /<aside class="banner"/);
    await db.admin`update alerts set acknowledged_at = now(), acknowledged_by = 'ops'`;
    const looked_after = (await business.get("/portal/alerts")).text;
    assert.match(textOf(looked_after), /; BookMe looks after it/);
    assert.doesNotMatch(looked_after, /ops looks/);
    assert.doesNotMatch((await business.get("/portal/deliveries")).text, /<aside class="banner"/);
    const save = (fields: Record<string, string>) =>
      business.submit("/portal/alerts/contact", fields, "/portal/alerts");
    assert.equal((await save({ endpoint: till, mail: "me@till.example" })).status, 303);
    const [row] = await db.admin`
    select c.mail, n.id from alert_contacts c join endpoints n on n.no = c.endpoint_no`;
    assert.deepEqual([row?.mail, row?.id], ["me@till.example", till]);
    const audit = await business.get("/portal/audit");
    assert.match(headlineOf(audit.text), /^Somebody with your link changed where your alerts go$/);
    assert.match(textOf(audit.text), /me@till\.example/);
    const wrong = await save({ endpoint: "", mail: "me@till.example\r\nBcc: you@example.com" });
    assert.equal(wrong.status, 422);
    assert.match(textOf(wrong.text), /mail address/);
    assert.equal((await save({ endpoint: "crm", mail: "" })).status, 422, "not somebody else's");
    assert.equal((await save({ endpoint: "", mail: "" })).status, 303);
    assert.equal((await db.admin`select from alert_contacts`).length, 0);
    for (const path of [`${ids.till}/acknowledge`, "test"]) {
      const { status } = await business.submit(`/portal/alerts/contact`, {}, "/portal/alerts")
        .then(() => business.post(`/portal/alerts/${path}`, {}));
      assert.ok(status === 403 || status === 404, path);
    }
  },
);

onServer("pages are shown without alerts that cannot be read", async (database) => {
  await using scene = await setScene(database);
  const { daemon, db } = scene;
  const operator = await signIn(daemon.url, ADMIN);
  const asked = () => operator.get("/dashboard/deliveries");
  assert.match((await asked()).text, /<aside class="banner"/);
  const { text: page } = await operator.get("/dashboard/alerts");
  await db.admin`alter table alerts rename to alarms`;
  const { status, text } = await asked();
  assert.equal(status, 200);
  assert.doesNotMatch(text, /<aside class="banner"/);
  const { text: overview } = await operator.get("/dashboard");
  assert.match(textOf(overview), /The open alerts could not be read; the log has the reason/);
  const form = hiddenFields(formTo(page, "/dashboard/alerts/test") ?? "");
  assert.equal((await operator.post("/dashboard/alerts/test", form)).status, 303);
  const logged = daemon.log.filter(({ message }) => message === "Open alerts could not be read");
  assert.equal(logged.length, 2, "a post does not read them");
  assert.match(JSON.stringify(logged), /42P01/);
  assert.equal((await operator.get("/dashboard/nowhere")).status, 404);
  await db.admin`alter table alarms rename to alerts`;
  assert.match((await asked()).text, /<aside class="banner"/);
});

onServer("more than 200 open alerts are said as a bound", async (database) => {
  await using scene = await setScene(database);
  const { daemon, db } = scene;
  const operator = await signIn(daemon.url, ADMIN);
  const fill = (to: number) =>
    db.admin`
      insert into alerts (id, kind, subject, began_at, details)
      select gen_random_uuid(), 'target_failing', 'slack-' || n, now(), '{}'
      from generate_series((select count(*) + 1 from alerts where ended_at is null), ${to}) n`;
  const count = async () =>
    /Alerts<span class="count"> ([^<]*)</.exec((await operator.get("/dashboard/audit")).text)?.[1];
  assert.equal(await count(), "3");
  await fill(200);
  assert.equal(await count(), "200");
  await fill(201);
  assert.equal(await count(), "200+");
  assert.match(textOf((await operator.get("/dashboard/audit")).text), /See all 200\+/);
  const words = textOf((await operator.get("/dashboard/alerts")).text);
  assert.match(words, /200\+ open/);
  assert.match(words, /199\+ more alerts are open/);
});

onServer("a time to snooze that is not offered is refused, next to its field", async (database) => {
  await using scene = await setScene(database);
  const { daemon, db, ids } = scene;
  const operator = await signIn(daemon.url, ADMIN);
  const path = `/dashboard/alerts/${ids.crm}/snooze`;
  for (const wrong of ["", "forever", "0h"]) {
    const { status, text } = await operator.submit(path, { for: wrong }, "/dashboard/alerts");
    assert.equal(status, 422, wrong);
    assert.equal(text.match(/class="error"/g)?.length, 1);
    assert.match(formTo(text, path) ?? "", /aria-invalid="true"[^]*Must be one of 1h, 8h, 1d/);
  }
  assert.deepEqual([...await db.admin`select from alerts where snoozed_until is not null`], []);
});

onServer("a form about an alert that is sent twice acts once", async (database) => {
  await using scene = await setScene(database);
  const { daemon, db, ids } = scene;
  const operator = await signIn(daemon.url, ADMIN);
  const { text } = await operator.get("/dashboard/alerts");
  for (const act of ["acknowledge", "snooze"]) {
    const path = `/dashboard/alerts/${ids.crm}/${act}`;
    const fields = { ...hiddenFields(formTo(text, path) ?? ""), for: "1h" };
    const once = await operator.post(path, fields);
    const state = async () => [...await db.admin`select * from alerts order by id`];
    const before = await state();
    const again = await operator.post(path, fields);
    assert.deepEqual([once.status, again.status], [303, 303]);
    assert.equal(again.location, once.location);
    assert.deepEqual(await state(), before);
  }
  const logged = await db.admin`select action from audit where object = ${ids.crm} order by id`;
  assert.deepEqual(logged.map(({ action }) => action), ["alert.acknowledged", "alert.snoozed"]);
});

onServer("operators select operational events, a business has none", async (database) => {
  await using scene = await setScene(database);
  const { daemon, token } = scene;
  const api = await checkedApi(daemon);
  const operator = await signIn(daemon.url, ADMIN);
  const business = await openLink(daemon.url, token);
  for (const page of ["event-types", "endpoints/new", "test"]) {
    assert.match((await operator.get(`/dashboard/${page}`)).text, /webhooks\.alert\.began/, page);
    assert.doesNotMatch((await business.get(`/portal/${page}`)).text, /webhooks\./, page);
  }
  const { text: till } = await operator.get(`/dashboard/endpoints/${scene.till}`);
  assert.doesNotMatch(till, /webhooks\.alert\./, "nor does its owner");
  const fields = { url: "https://example.com/pager", events: ["", "webhooks.alert.began"] };
  const made = await operator.submit("/dashboard/endpoints", fields, "/dashboard/endpoints/new");
  assert.ok(made.status < 400, made.text);
  const { data } = (await api.expect(200, "GET", "endpoints")).body;
  const pager = data.find(({ url }: { url: string }) => url === fields.url);
  assert.deepEqual(pager.events, ["webhooks.alert.began"]);
  assert.match(
    (await operator.get(`/dashboard/endpoints/${pager.id}`)).text,
    /value="webhooks.alert.began" checked/,
  );
  const refused = await business.submit("/portal/endpoints", fields, "/portal/endpoints/new");
  assert.equal(refused.status, 422);
  const asked = await fetch(`${daemon.url}/api/event-types`, {
    headers: { authorization: `Bearer ${token}` },
  });
  const names = (await asked.json()).data.map(({ name }: { name: string }) => name);
  assert.equal(names.length, 8);
  assert.ok(names.every((name: string) => !name.startsWith("webhooks.")));
});
