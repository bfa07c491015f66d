import assert from "node:assert/strict";
import type { Sql } from "postgres";
import { alertId } from "../../../lib/core/ids.ts";
import { putAlert, stopJudging } from "../../support/alerts.ts";
import { checkedApi, ENCRYPTION_KEY } from "../../support/checked.ts";
import { ADMIN, endpoint, startDaemon, VIEWER } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { startReceiver } from "../../support/receiver.ts";

/** Three alerts: one of an endpoint, one about everything, one that has ended. */
async function putAlerts(sql: Sql, endpoint: string): Promise<[string, string, string]> {
  const details = {
    attempts: 40,
    failed: 30,
    reason: "http_5xx",
    code: 503,
    waiting: 7,
  } as const;
  return [
    await putAlert(sql, { kind: "endpoint_failing", endpoint, began: 20, details }),
    await putAlert(sql, { kind: "ingest_silent", began: 20 }),
    await putAlert(sql, {
      kind: "endpoint_failing",
      subject: "gone",
      began: 20,
      ended: { ago: 10, reason: "delivered" },
    }),
  ];
}

onServer("alerts are listed, acknowledged and snoozed, by operators alone", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    admin: {
      tokens: [{ name: "ops", token: ADMIN, role: "admin" }, {
        name: "wall",
        token: VIEWER,
        role: "viewer",
      }],
    },
    endpoints: [],
  });
  await using db = await database.open();
  await stopJudging(db.admin);
  const api = await checkedApi(daemon);
  const link = (await api.expect(201, "POST", "portal-links", { business: "bus_1" })).body;
  const made = await fetch(`${daemon.url}/api/endpoints`, {
    method: "POST",
    headers: { authorization: `Bearer ${link.token}`, "content-type": "application/json" },
    body: JSON.stringify({ url: "https://example.com/hook", events: ["*"] }),
  });
  const { id } = await made.json();
  const ids = await putAlerts(db.admin, id);

  const list = async (query: string) => (await api.expect(200, "GET", `alerts${query}`)).body.data;
  const open = await list("");
  assert.deepEqual(open.map((alert: { id: string }) => alert.id), [ids[1], ids[0]]);
  const [, failing] = open;
  assert.deepEqual(
    [
      failing.endpoint_id,
      failing.business,
      failing.attempts,
      failing.share,
      failing.code,
      failing.waiting,
    ],
    [id, "bus_1", 40, 0.75, 503, 7],
  );
  assert.match(
    failing.summary,
    /^75 % of the attempts to \S+ have failed since .*: it answers 503$/,
  );
  assert.deepEqual((await list("?status=ended")).map((alert: { id: string }) => alert.id), [
    ids[2],
  ]);
  assert.equal((await list("?status=all")).length, 3);
  assert.deepEqual((await list(`?endpoint=${id}`)).map((alert: { id: string }) => alert.id), [
    ids[0],
  ]);
  assert.equal((await list("?kind=ingest_silent")).length, 1);
  const page = (await api.expect(200, "GET", "alerts?status=all&limit=2")).body;
  assert.equal((await list(`?status=all&cursor=${page.next_cursor}`)).length, 1);

  const acknowledged = (await api.expect(200, "POST", `alerts/${ids[0]}/acknowledge`)).body;
  assert.equal(acknowledged.acknowledged_by, "ops");
  const snoozed = (await api.expect(200, "POST", `alerts/${ids[1]}/snooze`, { for: "2h" })).body;
  const quiet_ms = Date.parse(snoozed.snoozed_until) - Date.now();
  assert.ok(quiet_ms > 3_600_000 && quiet_ms <= 7_200_000 + 60_000);
  await api.expect(422, "POST", `alerts/${ids[1]}/snooze`, { for: "8d" });
  await api.expect(409, "POST", `alerts/${ids[2]}/acknowledge`);
  await api.expect(
    404,
    "POST",
    `alerts/${alertId("01a22550-8771-7714-bea0-fb2e00000000")}/acknowledge`,
  );
  const audit = (await api.expect(200, "GET", "audit?limit=2")).body.data;
  assert.deepEqual(audit.map(({ action }: { action: string }) => action), [
    "alert.snoozed",
    "alert.acknowledged",
  ]);

  const asked = async (token: string, method: string, path: string) => {
    const response = await fetch(`${daemon.url}/api/${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      ...(method === "POST" ? { body: "{}" } : {}),
    });
    await response.body?.cancel();
    return response.status;
  };
  assert.equal(await asked(VIEWER, "GET", "alerts"), 200);
  assert.equal(await asked(VIEWER, "POST", `alerts/${ids[0]}/acknowledge`), 403);
  assert.equal(await asked(VIEWER, "POST", "alerts/test"), 403);
  for (
    const [method, path] of [["GET", "alerts"], ["POST", `alerts/${ids[0]}/acknowledge`]] as const
  ) {
    assert.equal(await asked(link.token, method, path), 404, path);
  }
});

onServer(
  "a test goes to chats and endpoints at once, and names what is wrong",
  async (database) => {
    await using good = await startReceiver();
    await using revoked = await startReceiver(() => ({ status: 404, body: "no_team" }));
    await using ops = await startReceiver();
    await using daemon = await startDaemon({
      database: database.section,
      alerts: {
        to: ["ops-alerts"],
        chat: [
          { kind: "slack", url: `${good.url}/KEEPTHIS` },
          { kind: "slack", url: `${revoked.url}/KEEPTHIS` },
        ],
      },
      endpoints: [endpoint("ops-alerts", ops.url, { events: ["webhooks.*"] })],
    });
    const api = await checkedApi(daemon);
    const { targets } = (await api.expect(200, "POST", "alerts/test", {})).body;
    assert.deepEqual(
      targets.map(({ target, ok }: { target: string; ok: boolean }) => [target, ok]),
      [["slack", true], ["slack-2", false], ["ops-alerts", true]],
    );
    assert.match(
      targets[1].explanation,
      /answered 404: the URL was revoked, .*; make a new incoming webhook/,
    );
    assert.doesNotMatch(JSON.stringify(targets), /no_team|KEEPTHIS/);
    const [event] = await ops.received(1);
    assert.equal(event?.headers["x-bookme-test"], "true");
    const { event: type, data: { alert } } = JSON.parse(String(event?.body));
    assert.deepEqual([type, alert.summary, alert.next], [
      "webhooks.alert.began",
      "Test alert from bookme-webhooks",
      "Nothing is wrong: this checks that alerts arrive here",
    ]);
    const [message] = await good.received(1);
    assert.match(String(message?.body), /Test alert from bookme-webhooks/);
    const one = (await api.expect(200, "POST", "alerts/test", { target: "slack" })).body;
    assert.equal(one.targets.length, 1);
    await api.expect(422, "POST", "alerts/test", { target: "pager" });
    await api.expect(200, "POST", "alerts/test", { target: "ops-alerts" });
    const [, again] = await ops.received(2);
    const { id } = JSON.parse(String(again?.body)).data.alert;
    assert.notEqual(id, alert.id, "a receiver must not take it for the same alert");
  },
);
