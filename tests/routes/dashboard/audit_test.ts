import assert from "node:assert/strict";
import { checkedApi } from "../../support/checked.ts";
import { ADMIN, endpoint, startDaemon, VIEWER } from "../../support/daemon.ts";
import { onServer, type TestDatabase } from "../../support/databases.ts";
import { startReceiver } from "../../support/receiver.ts";
import { openLink, signIn } from "../../support/visitor.ts";

function daemonWith(database: TestDatabase, url: string) {
  return startDaemon({
    database: database.section,
    admin: {
      tokens: [
        { name: "ops", token: ADMIN, role: "admin" },
        { name: "anna", token: VIEWER, role: "viewer" },
      ],
    },
    endpoints: [endpoint("crm", url, { description: "The CRM" })],
  });
}

onServer(
  "The audit page says what was changed last, by whom, and narrows by filters",
  async (database) => {
    await using receiver = await startReceiver();
    await using daemon = await daemonWith(database, receiver.url);
    const operator = await signIn(daemon.url, VIEWER);
    await daemon.api("endpoints/crm/pause", ADMIN, "POST");
    const { status, text } = await operator.get("/dashboard/audit");
    assert.equal(status, 200);
    assert.match(text, /<h1>ops paused The CRM: “Paused by ops”<\/h1>/);
    assert.match(text, /href="\/dashboard\/endpoints\/crm"/);
    const none = await operator.get("/dashboard/audit?actor=nobody");
    assert.match(none.text, /<h1>No change matches these filters<\/h1>/);
    assert.match(none.text, /aria-label="Remove actor nobody"/);
    const resumed = await operator.get("/dashboard/audit?action=endpoint.resumed");
    assert.match(resumed.text, /No change matches/);
    const wrong = await operator.get("/dashboard/audit?cursor=1");
    assert.equal(wrong.status, 422);
  },
);

onServer(
  "The audit page of a business has its own endpoints' changes, without operators' names",
  async (database) => {
    await using receiver = await startReceiver();
    await using daemon = await daemonWith(database, receiver.url);
    const api = await checkedApi(daemon);
    const { body: link } = await api.expect(201, "POST", "portal-links", { business: "bus_123" });
    await daemon.api("endpoints/crm/pause", ADMIN, "POST");
    const business = await openLink(daemon.url, link.token);
    const { status, text } = await business.get("/portal/audit");
    assert.equal(status, 200);
    assert.match(text, /<h1>Nothing has been changed yet<\/h1>/);
    assert.doesNotMatch(text, /\bcrm\b|\bops\b/);
  },
);
