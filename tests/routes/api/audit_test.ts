import assert from "node:assert/strict";
import { OPERATIONS } from "../../../routes/api/routes.ts";
import { putAlert, stopJudging } from "../../support/alerts.ts";
import { checkedApi, ENCRYPTION_KEY } from "../../support/checked.ts";
import { ADMIN, booking, endpoint, SECRET, startDaemon } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { startReceiver, statuses } from "../../support/receiver.ts";

const CANARY = "whsec_Q0FOQVJZLWNhbmFyeS1DQU5BUlktY2FuYXJ5LTEyMzQ=";

/** Operations that are no GET, and change nothing. */
const LOOKS = ["checkEndpoint", "checkSignature"];

interface AuditEntry {
  readonly id: string;
  readonly actor: string;
  readonly address: string | null;
  readonly action: string;
  readonly object: string;
  readonly before: unknown;
  readonly after: unknown;
}

onServer("every operation that changes something is in the audit log", async (database) => {
  await using receiver = await startReceiver(statuses(500));
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: { retry: ["0s", "1h"] },
    alerts: { chat: [{ kind: "slack", url: receiver.url }] },
    endpoints: [endpoint("crm", receiver.url, { headers: { "X-Key": CANARY } })],
  });
  await using db = await database.open();
  await stopJudging(db.admin);
  const api = await checkedApi(daemon);
  const secrets = [CANARY, SECRET, ADMIN];
  const log = async (): Promise<AuditEntry[]> =>
    (await api.expect(200, "GET", "audit?limit=200")).body.data;
  const walked = new Set<string>();
  /** Calls an operation; answers its body and the one entry that it made. */
  const change = async (operation: string, path: string, body?: unknown) => {
    const before = await log();
    const { method = "", path: template = "" } = OPERATIONS.find(({ id }) => id === operation) ??
      assert.fail(operation);
    assert.match(`/api/${path}`, new RegExp(`^${template.replace("{id}", "[^/]+")}$`));
    const answer = await api.call(method.toUpperCase(), path, body);
    assert.ok(answer.status < 300, `${operation}: ${JSON.stringify(answer.body)}`);
    const added = (await log()).filter(({ id }) => before.every((old) => old.id !== id));
    const mine = added.filter(({ actor }) => actor === "ops");
    assert.equal(mine.length, 1, `${operation}: ${JSON.stringify(added)}`);
    assert.equal(mine[0]?.address, "127.0.0.1", operation);
    walked.add(operation);
    if (typeof answer.body.secret === "string") secrets.push(answer.body.secret);
    return { body: answer.body, entry: mine[0] ?? assert.fail() };
  };
  const refused = async (status: number, method: string, path: string, body?: unknown) => {
    const before = await log();
    await api.expect(status, method, path, body);
    assert.deepEqual(await log(), before, `${method} ${path} changed nothing`);
  };

  const made = await change("createEndpoint", "endpoints", {
    url: receiver.url,
    events: ["service.*"],
    secret: CANARY,
    headers: { Authorization: CANARY },
  });
  const { id } = made.body;
  assert.deepEqual([made.entry.action, made.entry.object], ["endpoint.created", id]);
  const updated = await change("updateEndpoint", `endpoints/${id}`, { timeout_ms: 5_000 });
  assert.equal(updated.entry.action, "endpoint.updated");
  const timeouts = [updated.entry.before, updated.entry.after]
    .map((shown) => (shown as { settings: { timeout_ms: unknown } }).settings.timeout_ms);
  assert.deepEqual(timeouts, [null, 5_000], "from and to");
  // The names are as they were, and the values secret: that they changed is all there is to say.
  const headers = { Authorization: `${CANARY}x` };
  const rewritten = await change("updateEndpoint", `endpoints/${id}`, { headers });
  assert.equal((rewritten.entry.after as { header_values: unknown }).header_values, "changed");
  await change("rotateSecret", `endpoints/${id}/rotate`);
  await change("rotateSecret", `endpoints/${id}/rotate`, { secret: CANARY.replace("Q0", "R0") });
  secrets.push(CANARY.replace("Q0", "R0"));
  await change("endOverlap", `endpoints/${id}/overlap`, { ends_at: "now" });
  await change("testEndpoint", `endpoints/${id}/test`, { event: "booking.created" });
  const paused = await change("pauseEndpoint", "endpoints/crm/pause", { reason: "Moving" });
  assert.deepEqual(paused.entry.after, { reason: "Moving" });
  const resumed = await change("resumeEndpoint", "endpoints/crm/resume");
  assert.deepEqual(resumed.entry.before, { reason: "Moving" });

  const alert = await putAlert(db.admin, { kind: "endpoint_failing", endpoint: "crm", began: 20 });
  const acknowledged = await change("acknowledgeAlert", `alerts/${alert}/acknowledge`);
  assert.deepEqual([acknowledged.entry.action, acknowledged.entry.object], [
    "alert.acknowledged",
    alert,
  ]);
  const snoozed = await change("snoozeAlert", `alerts/${alert}/snooze`, { for: "2h" });
  assert.deepEqual(snoozed.entry.after, { for_ms: 7_200_000 });
  const tested = await change("testAlerts", "alerts/test", {});
  assert.deepEqual(tested.entry.after, { targets: ["slack"] });

  const deliveries: string[] = [];
  for (const name of ["a", "b", "c"]) {
    const { body: event } = await daemon.post(booking(name));
    const delivery = await daemon.deliveryId(event.id);
    await daemon.delivery(delivery, (found) => found.attempt_count === 1 && !found.sending);
    const { entry } = await change("cancelDelivery", `deliveries/${delivery}/cancel`);
    assert.deepEqual([entry.action, entry.object], ["delivery.cancelled", delivery]);
    deliveries.push(delivery);
  }
  await change("retryDelivery", `deliveries/${deliveries[0]}/retry`);
  const since = new Date(Date.now() - 3_600_000).toISOString();
  const wanted = { since, status: ["cancelled"] };
  await refused(200, "POST", "replays", { ...wanted, dry_run: true });
  const replay = await change("createReplay", "replays", { ...wanted, rate: "1/h" });
  assert.equal(replay.entry.object, replay.body.id);
  await change("cancelReplay", `replays/${replay.body.id}/cancel`);
  await refused(200, "POST", `replays/${replay.body.id}/cancel`);
  await refused(200, "POST", "reload", { dry_run: true });
  await change("reloadConfig", "reload");
  await refused(200, "POST", "endpoints/crm/check");
  const link = await change("createPortalLink", "portal-links", { business: "bus_1" });
  secrets.push(link.body.token);
  const revoked = await change("revokePortalLink", `portal-links/${link.body.id}`);
  assert.deepEqual(revoked.entry.before, { business: "bus_1" });
  await refused(200, "DELETE", `portal-links/${link.body.id}`);
  const retired = await change("deleteEndpoint", `endpoints/${id}`);
  assert.equal((retired.entry.before as { url: unknown }).url, receiver.url);

  for (
    const [status, method, path, body] of [
      [404, "POST", "endpoints/nobody/pause"],
      [409, "DELETE", "endpoints/crm"],
      [409, "PATCH", "endpoints/crm", { timeout_ms: 1000 }],
      [409, "POST", "endpoints/crm/rotate"],
      [409, "POST", `endpoints/${id}/pause`],
      [422, "POST", "endpoints", { url: "nonsense", events: ["*"] }],
      [422, "POST", "replays", { since: "2090-01-01T00:00:00Z" }],
      [404, "POST", "deliveries/dlv_nonsense/retry"],
      // Nothing to change.
      [200, "POST", "endpoints/crm/resume"],
    ] as const
  ) await refused(status, method, path, body);

  // The last one: its end is logged too, whenever that is.
  const erasure = await change("createErasure", "erasures", { containing: CANARY, dry_run: true });
  assert.deepEqual([erasure.entry.action, erasure.entry.object], [
    "erasure.created",
    erasure.body.id,
  ]);

  const changing = OPERATIONS.filter(({ method, id }) => method !== "get" && !LOOKS.includes(id));
  assert.deepEqual(changing.map((one) => one.id).filter((one) => !walked.has(one)), []);
  const everything = JSON.stringify(await log());
  for (const secret of secrets) assert.ok(!everything.includes(secret.slice(6)), secret);
});
