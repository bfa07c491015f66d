import assert from "node:assert/strict";
import { checkedApi, ENCRYPTION_KEY } from "../../support/checked.ts";
import { booking, endpoint, startDaemon, type TestDaemon, VIEWER } from "../../support/daemon.ts";
import { onServer, type TestDatabase } from "../../support/databases.ts";
import { errorOf, headlineOf, textOf, valueOf } from "../../support/html.ts";
import { startReceiver, statuses } from "../../support/receiver.ts";
import { formTo, hiddenFields, openLink, signIn, type Visitor } from "../../support/visitor.ts";
import { until } from "../../support/wait.ts";

function start(database: TestDatabase, endpoints: Record<string, unknown>[]) {
  return startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    endpoints,
    delivery: { retry: ["0s"] },
  });
}

/** Posts events, and waits until their only deliveries have failed. */
async function fail(daemon: TestDaemon, count: number): Promise<void> {
  for (let nth = 0; nth < count; nth++) {
    const { body } = await daemon.post(booking(`apt_${nth}`));
    const id = await daemon.deliveryId(body.id);
    await daemon.delivery(id, ({ status }) => status === "failed");
  }
}

const FAILED = "status=failed&endpoint=crm&since=1h";

/** Makes the endpoint Till for bookings, which is paused, and returns its id. */
async function makePaused(daemon: TestDaemon, url: string): Promise<string> {
  const api = await checkedApi(daemon);
  const input = { url, events: ["booking.*"], description: "Till" };
  const { body: { id } } = await api.expect(201, "POST", "endpoints", input);
  await api.expect(200, "POST", `endpoints/${id}/pause`, { reason: "Not yet" });
  return id;
}

/** Waits until a replay's page has this first line. */
async function shows(visitor: Visitor, path: string, headline: RegExp): Promise<string> {
  return await until(`${path} shows ${headline}`, async () => {
    const { text } = await visitor.get(path);
    return headline.test(headlineOf(text)) ? text : undefined;
  });
}

onServer("a replay is counted by endpoint and reason, then made, and shows how far it is", async (
  database,
) => {
  await using crm = await startReceiver(statuses(401));
  await using daemon = await start(database, [endpoint("crm", crm.url)]);
  const operator = await signIn(daemon.url);
  const none = await operator.get("/dashboard/replays");
  assert.equal(headlineOf(none.text), "No replay has been made yet");
  await fail(daemon, 3);

  const from_list = await operator.get(`/dashboard/replays?${FAILED}`);
  assert.deepEqual([from_list.status, from_list.location], [
    303,
    `/dashboard/replays/new?${FAILED}`,
  ]);
  const page = `/dashboard/replays/new?${FAILED}&rate=50%2Fs`;
  const { text } = await operator.get(page);
  assert.equal(headlineOf(text), "3 failed deliveries of crm would be sent again");
  assert.match(textOf(text), /crm http_4xx, 401 3/);
  assert.match(textOf(text), /At 50 a second, in about 1 second\./);
  assert.match(textOf(text), /Replay 3/);
  assert.equal((await daemon.api("replays")).body.data.length, 0, "only counted so far");

  crm.answer(statuses(200));
  const { status, location } = await operator.submit("/dashboard/replays", {}, page);
  assert.equal(status, 303);
  assert.match(location ?? "", /^\/dashboard\/replays\/rpl_/);
  const done = await shows(operator, location ?? "", /^3 deliveries were sent again$/);
  assert.match(textOf(done), /Failed deliveries of crm, posted from /);
  assert.match(done, /3 of 3 sent/);
  await crm.received(6);
  const list = await operator.get("/dashboard/replays");
  assert.equal(headlineOf(list.text), "3 deliveries were sent again");
  assert.match(textOf(list.text), /Done Failed deliveries of crm/);
  const { text: after } = await until("all are delivered", async () => {
    const answer = await operator.get(page);
    const is_said = /Leaves out the 3 that were delivered in the meantime/.test(
      textOf(answer.text),
    );
    return is_said ? answer : undefined;
  });
  assert.equal(headlineOf(after), "Nothing to send: no failed delivery was found");
});

onServer("a form that is sent twice makes one replay", async (database) => {
  await using crm = await startReceiver(statuses(500));
  await using daemon = await start(database, [endpoint("crm", crm.url)]);
  await fail(daemon, 1);
  const operator = await signIn(daemon.url);
  const { text } = await operator.get(`/dashboard/replays/new?${FAILED}`);
  const fields = hiddenFields(formTo(text, "/dashboard/replays") ?? "");
  const all = await Promise.all([1, 2, 3].map(() => operator.post("/dashboard/replays", fields)));
  assert.deepEqual(all.map(({ status }) => status), [303, 303, 303]);
  assert.equal(new Set(all.map(({ location }) => location)).size, 1);
  assert.equal((await daemon.api("replays")).body.data.length, 1);
});

onServer("a large replay needs its number typed", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await start(database, []);
  const events = Array.from({ length: 1_001 }, (_, nth) => booking(`apt_${nth}`));
  for (let nth = 0; nth < events.length; nth += 100) {
    const { status } = await daemon.post(events.slice(nth, nth + 100));
    assert.equal(status, 202);
  }
  const id = await makePaused(daemon, receiver.url);
  const operator = await signIn(daemon.url);
  const page = `/dashboard/replays/new?missing=true&endpoint=${id}&since=1h`;
  const { text } = await operator.get(page);
  assert.equal(headlineOf(text), "1,001 missing events to Till would be sent");
  assert.match(textOf(text), /is paused: what is replayed waits until it is resumed/);
  const send = (confirm: string) => operator.submit("/dashboard/replays", { confirm }, page);
  const refused = await send("1000");
  assert.equal(refused.status, 422);
  assert.equal(errorOf(refused.text, "confirm"), "Type 1001 to confirm");
  assert.equal(valueOf(refused.text, "confirm"), "1000", "kept");
  assert.equal((await daemon.api("replays")).body.data.length, 0);
  const form = hiddenFields(formTo(text, "/dashboard/replays") ?? "");
  const uncounted = await operator.post("/dashboard/replays", { ...form, matched: "" });
  assert.equal(uncounted.status, 409);
  const { status, location } = await send("1,001");
  assert.equal(status, 303);
  const [replay] = (await daemon.api("replays")).body.data;
  assert.equal(`/dashboard/replays/${replay.id}`, location);
  assert.deepEqual([replay.missing, replay.endpoint, replay.matched], [true, id, 1_001]);
});

onServer(
  "a page counts 5,000 deliveries at once, and all of them if it is asked to",
  async (database) => {
    await using receiver = await startReceiver();
    await using daemon = await start(database, []);
    for (let nth = 0; nth < 5_001; nth += 100) {
      const events = Array.from({ length: Math.min(100, 5_001 - nth) }, () => booking("apt_1"));
      const { status } = await daemon.post(events);
      assert.equal(status, 202);
    }
    const id = await makePaused(daemon, receiver.url);
    const operator = await signIn(daemon.url);
    const page = `/dashboard/replays/new?missing=true&endpoint=${id}&since=1h`;
    const { text } = await operator.get(page);
    assert.equal(headlineOf(text), "5,000+ missing events to Till would be sent");
    assert.match(textOf(text), /It sends all of them/);
    const whole = /href="([^"]*&amp;count=all)"/.exec(text)?.[1]?.replaceAll("&amp;", "&") ?? "";
    assert.match(textOf(text), /Count all of them/);
    const counted = await operator.get(whole);
    assert.equal(headlineOf(counted.text), "5,001 missing events to Till would be sent");
    const send = (confirm: string, from: string) =>
      operator.submit("/dashboard/replays", { confirm }, from);
    // Counted as far again.
    for (const [from, number] of [[page, "5000"], [whole, "5001"]] as const) {
      const refused = await send("1", from);
      assert.equal(refused.status, 422);
      assert.equal(errorOf(refused.text, "confirm"), `Type ${number} to confirm`);
      assert.equal(hiddenFields(formTo(refused.text, "/dashboard/replays") ?? "").matched, number);
    }
    const { status } = await send("5,000+", page);
    assert.equal(status, 303);
    const [replay] = (await daemon.api("replays")).body.data;
    assert.deepEqual([replay.matched, replay.matched_exact], [5_001, true]);
  },
);

onServer("what is left of a replay is cancelled with a button", async (database) => {
  await using crm = await startReceiver(statuses(500));
  await using daemon = await start(database, [endpoint("crm", crm.url)]);
  await fail(daemon, 3);
  const operator = await signIn(daemon.url);
  const page = `/dashboard/replays/new?${FAILED}&rate=1%2Fh`;
  const { location } = await operator.submit("/dashboard/replays", {}, page);
  const path = location ?? "";
  const running = await shows(operator, path, /^Replaying: 1 of 3 sent, about 2 hours left$/);
  assert.match(textOf(running), /Cancel the remaining 2/);
  const list = await operator.get("/dashboard/replays");
  assert.match(headlineOf(list.text), /^Replaying: 1 of 3 sent/);
  const cancelled = await operator.submit(`${path}/cancel`, {}, path);
  assert.equal(cancelled.status, 303);
  const { text } = await operator.get(cancelled.location ?? "");
  assert.equal(headlineOf(text), "The replay was cancelled after 1 of 3");
  assert.match(textOf(text), /Cancelled\. What it had sent stays on its way\./);
  assert.equal(formTo(text, `${path}/cancel`), undefined);
});

onServer("waiting deliveries are sent now", async (database) => {
  await using crm = await startReceiver(statuses(503, 200));
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", crm.url)],
    delivery: { retry: ["0s", "1h"] },
  });
  const { body } = await daemon.post(booking("apt_1"));
  const id = await daemon.deliveryId(body.id);
  await daemon.delivery(id, ({ attempt_count }) => attempt_count === 1);
  const operator = await signIn(daemon.url);
  const page = "/dashboard/replays/new?status=pending&endpoint=crm";
  const { text } = await operator.get(page);
  assert.equal(headlineOf(text), "1 waiting delivery of crm would be sent now");
  const { location } = await operator.submit("/dashboard/replays", {}, page);
  await shows(operator, location ?? "", /^1 delivery was sent$/);
  const { status } = await daemon.delivery(id);
  assert.equal(status, "delivered");
});

onServer("a filter that says nothing is named, the others are kept", async (database) => {
  await using crm = await startReceiver();
  await using daemon = await start(database, [endpoint("crm", crm.url)]);
  const operator = await signIn(daemon.url);
  const ask = async (query: string) => await operator.get(`/dashboard/replays/new?${query}`);
  const wrong = await ask("endpoint=cmr&since=yesterday&code=4&rate=fast&type=booking.created");
  assert.equal(wrong.status, 422);
  assert.match(errorOf(wrong.text, "since") ?? "", /^Must be a time ago such as 2h or 3d/);
  assert.equal(errorOf(wrong.text, "endpoint"), 'There is no endpoint "cmr"; did you mean crm?');
  assert.equal(errorOf(wrong.text, "code"), "Must be a status such as 401, or 4xx");
  assert.equal(
    errorOf(wrong.text, "rate"),
    "Must be a rate, such as 50/s, 300/m or 1000/h",
  );
  assert.equal(valueOf(wrong.text, "since"), "yesterday");
  assert.equal(valueOf(wrong.text, "type"), "booking.created");
  const missing = await ask("status=missing&reason=timeout");
  assert.match(errorOf(missing.text, "endpoint") ?? "", /missing is for one endpoint/);
  assert.match(errorOf(missing.text, "reason") ?? "", /^Must be left out with missing/);
  const bad = await ask("status=lost");
  assert.equal(bad.status, 422);
  assert.match(errorOf(bad.text, "status") ?? "", /Must be delivered, failed, cancelled, pending/);
  assert.match((await ask("reason=deselected")).text, /no matching delivery was found/);
});

onServer("somebody who may only look counts, and sends nothing", async (database) => {
  await using crm = await startReceiver(statuses(500));
  await using daemon = await start(database, [endpoint("crm", crm.url)]);
  await fail(daemon, 1);
  const wall = await signIn(daemon.url, VIEWER);
  const { text } = await wall.get(`/dashboard/replays/new?${FAILED}`);
  assert.equal(headlineOf(text), "1 failed delivery of crm would be sent again");
  assert.equal(formTo(text, "/dashboard/replays"), undefined);
  const csrf = valueOf(text, "csrf") ?? "";
  const posted = await wall.post("/dashboard/replays", { csrf, matched: "1", status: "failed" });
  assert.equal(posted.status, 403);
  assert.equal((await daemon.api("replays")).body.data.length, 0);
});

onServer("a business replays to its own systems only", async (database) => {
  await using crm = await startReceiver(statuses(500));
  await using daemon = await start(database, [endpoint("crm", crm.url)]);
  await fail(daemon, 1);
  const api = await checkedApi(daemon);
  const link = async (business: string) =>
    (await api.expect(201, "POST", "portal-links", { business })).body.token as string;
  const [ana, ben] = [await link("bus_ana"), await link("bus_ben")];
  const made = await fetch(`${daemon.url}/api/endpoints`, {
    method: "POST",
    headers: { authorization: `Bearer ${ana}`, "content-type": "application/json" },
    body: JSON.stringify({ url: "https://till.invalid/", events: ["*"], description: "Till" }),
  });
  const { id } = await made.json();
  await daemon.post(booking("apt_9", "bus_ana"));
  await until("it has failed", async () => {
    const { body } = await daemon.api(`deliveries?endpoint=${id}&status=failed`);
    return body.data.length === 1 || undefined;
  });
  const hers = await openLink(daemon.url, ana);
  const page = "/portal/replays/new?status=failed&since=1h";
  const { text } = await hers.get(page);
  assert.equal(headlineOf(text), "1 message that did not arrive would be sent again");
  assert.ok(!text.includes("crm"));
  const { location } = await hers.submit("/portal/replays", {}, page);
  await shows(hers, location ?? "", /^1 message was sent again$/);

  const his = await openLink(daemon.url, ben);
  const foreign = await his.get(location ?? "");
  const never = await his.get("/portal/replays/rpl_06yn4b7c2d5f0000e1g3q8r4ss");
  assert.deepEqual([foreign.status, never.status], [404, 404]);
  assert.equal(headlineOf((await his.get("/portal/replays")).text), "No replay has been made yet");
  const other = await his.get(`/portal/replays/new?endpoint=${id}&since=1h`);
  assert.equal(other.status, 422);
  assert.match(errorOf(other.text, "endpoint") ?? "", /^There is no endpoint/);
  const cancelled = await his.submit(`${location}/cancel`, {}, "/portal/replays").catch(() => null);
  assert.equal(cancelled, null, "there is no such button");
});
