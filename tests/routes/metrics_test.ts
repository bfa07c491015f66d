import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { fullName, type MetricName, METRICS } from "../../lib/observe/metrics.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { ADMIN, booking, endpoint, startDaemon, VIEWER } from "../support/daemon.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { scrape } from "../support/metrics.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

onBoth(
  "a scrape has every metric of the table, with its type, help and labels",
  async (database) => {
    await using receiver = await startReceiver();
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [endpoint("crm", receiver.url)],
    });
    await daemon.post(booking("apt_1"));
    const found = await scrape(daemon.url, VIEWER);
    const absent = new Set<string>([
      // Of certificates, of open alerts, and of an embedded database.
      ...[
        "certificate_ends_timestamp_seconds",
        "server_certificate_ends_timestamp_seconds",
        "alerts_open",
      ],
      ...(database.kind === "server" ? ["disk_free_bytes", "disk_min_free_bytes"] : []),
    ]);
    const expected = (Object.keys(METRICS) as MetricName[]).filter((name) => !absent.has(name));
    assert.deepEqual([...found.families.keys()].toSorted(), expected.map(fullName).toSorted());
    for (const name of expected) {
      const { type, help, labels } = METRICS[name];
      assert.deepEqual(found.families.get(fullName(name)), { type, help });
      const series = [...found.values.keys()].filter((one) =>
        one.replace(/\{.*/, "").replace(type === "histogram" ? /_(bucket|sum|count)$/ : "", "") ===
          fullName(name)
      );
      assert.ok(series.length > 0, name);
      for (const one of series) {
        const names = [...one.matchAll(/([a-z_]+)="/g)].map(([, label]) => label);
        assert.deepEqual(names.filter((label) => label !== "le"), labels, one);
      }
    }
    for (const text of [receiver.url, "apt_1", "127.0.0.1"]) assert.ok(!found.text.includes(text));
  },
);

onServer(
  "/metrics needs a token, unless admin.public opens it, and never takes a portal link's",
  async (database) => {
    const sections = {
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
    };
    const ask = async (url: string, token?: string) => {
      const headers: HeadersInit = token === undefined ? {} : { authorization: `Bearer ${token}` };
      const response = await fetch(`${url}/metrics`, { headers });
      await response.body?.cancel();
      return response;
    };
    {
      await using daemon = await startDaemon(sections);
      assert.equal((await ask(daemon.url)).status, 401);
      assert.equal((await ask(daemon.url, "wrong-token-of-the-tests-0123456")).status, 401);
      for (const token of [ADMIN, VIEWER]) assert.equal((await ask(daemon.url, token)).status, 200);
      const { body } = await fetchJson(`${daemon.url}/api/portal-links`, { business: "bus_1" });
      assert.equal((await ask(daemon.url, body.token)).status, 404);
    }
    await using daemon = await startDaemon({
      ...sections,
      admin: { tokens: [{ name: "ops", token: ADMIN, role: "admin" }], public: ["metrics"] },
    });
    const open = await ask(daemon.url);
    assert.equal(open.status, 200);
    assert.equal(open.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert.equal(open.headers.get("cache-control"), "no-store");
    const { status } = await fetch(`${daemon.url}/openapi.json`).then(async (response) => {
      await response.body?.cancel();
      return response;
    });
    assert.equal(status, 401);
  },
);

async function fetchJson(url: string, body: unknown) {
  const response = await fetch(url, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

onBoth("tables, statistics and metrics agree after concurrent traffic", async (database) => {
  await using receiver = await startReceiver(({ path }, nth) => ({
    status: path === "/bad" || (path === "/half" && nth % 2 === 0) ? 500 : 200,
  }));
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [
      endpoint("good", `${receiver.url}/good`),
      endpoint("half", `${receiver.url}/half`, { retry: ["0s", "0s"] }),
      endpoint("bad", `${receiver.url}/bad`, { retry: ["0s", "0s"] }),
      endpoint("limited", `${receiver.url}/limited`, { concurrency: 3 }),
      endpoint("waits", `${receiver.url}/waits`),
    ],
  });
  await daemon.api("endpoints/waits/pause", ADMIN, "POST");
  const posts = Array.from({ length: 8 }, async (_, client) => {
    for (let nth = 0; nth < 10; nth++) {
      await daemon.post([booking(`apt_${client}_${nth}`), booking("apt_x")]);
      await daemon.post({ ...booking("apt_same"), id: `same_${nth}` });
      if (nth % 5 === 0) await scrape(daemon.url, ADMIN);
    }
    await daemon.post("{");
  });
  await Promise.all(posts);
  // A few that end without an attempt.
  const { body } = await daemon.api("deliveries?endpoint=waits&limit=5");
  for (const { id } of body.data) {
    assert.equal((await daemon.api(`deliveries/${id}/cancel`, ADMIN, "POST")).status, 200);
  }
  const { stats, found } = await until("nothing is left to send", async () => {
    const { body: stats } = await daemon.api("stats?window=1h");
    if (stats.totals.pending !== 165 || stats.totals.sending !== 0) {
      throw new Error(`${stats.totals.pending} pending`);
    }
    return { stats, found: await scrape(daemon.url, ADMIN) };
  });
  await daemon.stop();
  await using db = await database.open();
  const rows = await db.admin<{ key: string; count: number }[]>`
    select n.id || ' ' || d.status as key, count(*)::int as count
    from ended_deliveries d join endpoints n on n.no = d.endpoint_no group by 1 order by 1`;
  const ended = Object.fromEntries(rows.map(({ key, count }) => [key, count]));
  for (const [key, count] of Object.entries(ended)) {
    const [id, status] = key.split(" ");
    const series = `deliveries_ended_total{endpoint="${id}",status="${status}"}`;
    assert.equal(found.value(series), count, series);
  }
  assert.equal(ended["waits cancelled"], 5);
  assert.ok((ended["half failed"] ?? 0) > 0 && (ended["bad failed"] ?? 0) === 170);
  assert.equal(
    found.sum(/^bookme_webhooks_deliveries_ended_total/),
    Object.values(ended).reduce((sum, count) => sum + count, 0),
  );
  for (const one of stats.endpoints) {
    const of = (name: string, more = "") =>
      found.value(`${name}{endpoint="${one.endpoint_id}"${more}}`);
    assert.equal(of("attempts_total", ',outcome="delivered"'), one.delivered);
    assert.equal(of("attempts_total", ',outcome="http_5xx"'), one.failed.http_5xx ?? 0);
    assert.equal(of("response_seconds_count"), one.attempts);
    assert.deepEqual(
      ["promise_deliveries_total", "promise_begun_total", "promise_delivered_total"].map((name) =>
        of(name)
      ),
      [one.promise.deliveries, one.promise.begun_in_time, one.promise.delivered_in_time],
    );
  }
  const limited = stats.endpoints.find((one: { endpoint_id: string }) =>
    one.endpoint_id === "limited"
  );
  assert.deepEqual([limited.promise.deliveries, limited.delivered], [0, 170]);
  assert.equal(found.value("first_attempt_seconds_count"), stats.totals.first_attempts);
  assert.equal(found.value("delivered_seconds_count"), stats.totals.delivered);
  const posted = Object.fromEntries(
    [
      ...stats.posts,
      ...stats.refused.map((one: { refusal: string; posts: number }) => ({
        type: "",
        answer: one.refusal,
        posts: one.posts,
      })),
    ].map(({ type, answer, posts }) => [`events_total{type="${type}",answer="${answer}"}`, posts]),
  );
  assert.deepEqual(posted, {
    'events_total{type="booking.created",answer="stored"}': 170,
    'events_total{type="booking.created",answer="duplicate"}': 70,
    'events_total{type="",answer="malformed"}': 8,
  });
  for (const [series, value] of Object.entries(posted)) assert.equal(found.value(series), value);
  assert.equal(found.value("ingest_seconds_count"), 8 * 21);
  assert.equal(found.value("event_age_seconds_count"), 240);
});

onServer(
  "overdue counts from due_at, pending is shared by daemons, and both end with a pause",
  async (database) => {
    await using receiver = await startReceiver();
    const sections = {
      database: database.section,
      endpoints: [endpoint("crm", receiver.url)],
    };
    await using one = await startDaemon(sections);
    await one.api("endpoints/crm/pause", ADMIN, "POST");
    await one.post([booking("apt_1"), booking("apt_2")]);
    await using db = await database.open();
    await db.admin`update pending_deliveries set created_at = now() - interval '9 days',
    due_at = now() - interval '100 s'`;
    await using two = await startDaemon(sections);
    const found = await Promise.all([one, two].map(({ url }) => scrape(url, ADMIN)));
    for (const { value } of found) {
      assert.equal(value('pending{endpoint="crm"}'), 2);
      assert.equal(value('paused{endpoint="crm"}'), 1);
      assert.equal(value('overdue_oldest_seconds{endpoint="crm"}'), 0);
      assert.equal(value("database_up"), 1);
      assert.equal(value("ready"), 1);
    }
    // As if the pause had ended and nobody had claimed yet: what the reading itself says.
    const { readSharedMetrics } = await import("../../lib/store/reports/metrics.ts");
    await two.stop();
    await one.stop();
    await db.admin`update endpoints set paused_at = null, pause_reason = null, paused_by = null`;
    const { endpoints } = await readSharedMetrics(db.admin);
    const overdue_ms = endpoints[0]?.overdue_ms ?? 0;
    assert.ok(overdue_ms >= 100_000 && overdue_ms < 9 * 86_400_000, String(overdue_ms));
  },
);

onServer(
  "a reload that is refused shows in the metrics, and one that succeeds",
  async (database) => {
    await using daemon = await startDaemon({ database: database.section });
    const before = await scrape(daemon.url, ADMIN);
    assert.equal(before.value("config_reload_success"), 1);
    const answer = await daemon.api("reload", ADMIN, "POST");
    const after = await scrape(daemon.url, ADMIN);
    assert.equal(answer.status, 200);
    assert.equal(after.value("config_reload_success"), 1);
    assert.ok(
      after.value("config_reload_timestamp_seconds") >
        before.value("config_reload_timestamp_seconds"),
    );
    assert.ok(!isDeepStrictEqual(before.text, after.text));
  },
);
