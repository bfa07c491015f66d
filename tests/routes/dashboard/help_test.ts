import assert from "node:assert/strict";
import { REASONS } from "../../../lib/core/outcome.ts";
import { SNIPPETS } from "../../../routes/dashboard/snippets.ts";
import { REASON_HELP } from "../../../routes/dashboard/verdicts/reasons.ts";
import { endpoint, startDaemon } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { signIn } from "../../support/visitor.ts";

Deno.test("SNIPPETS are those of the guide, in five languages", () => {
  assert.deepEqual(SNIPPETS.map(({ language }) => language), [
    "Node",
    "Python",
    "PHP",
    "Ruby",
    "Go",
  ]);
  for (const { code, language } of SNIPPETS) {
    assert.match(code, /hmac/i, language);
    assert.doesNotMatch(code, /```/, language);
  }
});

Deno.test("REASON_HELP explains every reason", () => {
  assert.deepEqual(REASON_HELP.map(({ reason }) => reason).toSorted(), [...REASONS].toSorted());
});

onServer("The help and event type pages show what is configured", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s", "2m", "7m"], timeout: "9s" },
    ip_ranges: { development: ["192.0.2.0/24"] },
    endpoints: [
      endpoint("crm", "https://crm.example.com/in", { events: ["booking.*"], description: "CRM" }),
    ],
  });
  const operator = await signIn(daemon.url);
  const help = await operator.get("/dashboard/help");
  assert.equal(help.status, 200);
  assert.match(help.text, /Three attempts over 9 minutes, with these waits: 2m, 7m/);
  assert.match(help.text, /within 9s/);
  assert.match(help.text, /192\.0\.2\.0\/24/);
  assert.match(help.text, /id="http_4xx"/);
  const types = await operator.get("/dashboard/event-types");
  assert.match(types.text, /<h1>No endpoint selects 4 of the 8 event types<\/h1>/);
  assert.match(types.text, /<a href="\/dashboard\/endpoints\/crm">CRM<\/a>/);
  assert.match(types.text, /&quot;confirmationNumber&quot;/);
});
