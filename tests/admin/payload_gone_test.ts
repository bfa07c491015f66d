import assert from "node:assert/strict";
import { parseDeliveryId } from "../../lib/core/ids.ts";
import { retryNow } from "../../lib/store/deliveries.ts";
import { type CheckedApi, checkedApi } from "../support/checked.ts";
import { booking, endpoint } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { startOperated } from "../support/operated.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

const SINCE = "2020-01-01T00:00:00Z";

async function settled(api: CheckedApi): Promise<void> {
  await until("nothing is pending", async () => {
    const { body } = await api.expect(200, "GET", "deliveries?status=pending");
    return body.data.length === 0;
  });
}

onServer("a delivery without its payload is shown, and never sent again", async (database) => {
  await using receiver = await startReceiver(statuses(401));
  await using daemon = await startOperated({
    database: database.section,
    delivery: { retry: ["0s"] },
    endpoints: [endpoint("crm", receiver.url)],
  });
  const api = await checkedApi(daemon);
  const ids: string[] = [];
  for (const name of ["gone", "erased", "whole"]) {
    ids.push((await daemon.post(booking(name))).body.id);
  }
  const [gone = "", erased = "", whole = ""] = ids;
  await settled(api);
  await using db = await database.open();
  await db.admin`update events set payload = null where subject in ('gone', 'erased')`;
  await db.admin`update events set erased_at = now() where subject = 'erased'`;
  await assert.rejects(
    db.admin.unsafe("update events set payload = '{}' where subject = 'erased'"),
    /check constraint/,
  );

  const event = async (id: string) => (await api.expect(200, "GET", `events/${id}`)).body;
  assert.deepEqual([(await event(gone)).payload, (await event(gone)).erased_at], [null, null]);
  assert.equal((await event(erased)).payload, null);
  assert.match((await event(erased)).erased_at, /^\d{4}-/);
  const deliveryOf = async (id: string) => (await event(id)).deliveries[0].id;
  const { body: shown } = await api.expect(200, "GET", `deliveries/${await deliveryOf(gone)}`);
  assert.equal(shown.attempts[0].request.body, null);
  assert.match(
    shown.explanation,
    /; its payload is not kept any longer, so nothing sends it again$/,
  );
  assert.match(shown.attempts[0].request.headers["X-BookMe-Signature"], /^sha256=/);
  assert.match((await daemon.cli(["event", gone])).out, /^ {2}payload +gone \(retention/m);
  assert.match((await daemon.cli(["event", erased])).out, /^ {2}payload +erased \d{4}-/m);
  const command = await daemon.cli(["delivery", await deliveryOf(gone)]);
  assert.match(command.out, /Attempt 1: the payload it sent is gone/);
  assert.doesNotMatch(command.out, /printf|undefined|null/);

  for (const [id, code] of [[gone, "payload_gone"], [erased, "erased"]] as const) {
    const path = `deliveries/${await deliveryOf(id)}/retry`;
    assert.equal((await api.expect(409, "POST", path)).body.code, code);
  }
  assert.equal(receiver.requests.length, 3);
  const { body: replay } = await api.expect(201, "POST", "replays", { since: SINCE });
  const done = await until("the replay has ended", async () => {
    const { body } = await api.expect(200, "GET", `replays/${replay.id}`);
    return body.state === "done" && body;
  });
  assert.deepEqual([done.matched, done.replayed, done.without_payload], [3, 1, 2]);
  const line = (await daemon.cli(["replays", replay.id])).out;
  assert.match(line, /^ {2}left out +2 without a payload \(retention\.payloads\)$/m);
  await receiver.received(4);
  await settled(api);
  await api.expect(200, "POST", `deliveries/${await deliveryOf(whole)}/retry`);
  await receiver.received(5);
  const subjects = receiver.requests.slice(3).map(({ body }) =>
    JSON.parse(body.toString()).data.appointment.id
  );
  assert.deepEqual(subjects, ["whole", "whole"]);
});

onServer("nothing is sent instead of a payload that is gone", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url)],
  });
  const api = await checkedApi(daemon);
  await api.expect(200, "POST", "endpoints/crm/pause");
  await daemon.post(booking("gone"));
  await daemon.post(booking("whole"));
  await using db = await database.open();
  await db.admin`update events set payload = null where subject = 'gone'`;
  await api.expect(200, "POST", "endpoints/crm/resume");
  await receiver.received(1);
  await until("both were claimed", async () => {
    const waiting = await db.admin`
      select from pending_deliveries where leased_until is null and attempts = 0`;
    return waiting.length === 0;
  });
  assert.match(
    receiver.requests.map(({ body }) => body.toString()).join("\n"),
    /^\{.*"whole".*\}$/,
  );
});

onServer(
  "a delivery of a week that is about to be dropped does not come back",
  async (database) => {
    await using receiver = await startReceiver(statuses(401, 200, 200));
    await using daemon = await startOperated({
      database: database.section,
      delivery: { retry: ["0s"] },
      endpoints: [endpoint("crm", receiver.url)],
    });
    const api = await checkedApi(daemon);
    const { id } = (await daemon.post(booking("old"))).body;
    await settled(api);
    await using db = await database.open();
    await db.admin`update partitions set closed_at = now()`;
    const { body: event } = await api.expect(200, "GET", `events/${id}`);
    assert.match(
      event.deliveries[0].explanation,
      /; its payload is not kept .* nothing sends it again$/,
    );
    const retry = `deliveries/${event.deliveries[0].id}/retry`;
    const refused = (await api.expect(409, "POST", retry)).body;
    assert.deepEqual([refused.code, /whole week/.test(refused.detail)], ["payload_gone", true]);
    // Also if it was closed only after that was looked up.
    const uuid = parseDeliveryId(event.deliveries[0].id) ?? "";
    const change = { actor: { name: "test", address: null }, action: "test", object: "test" };
    assert.equal(await retryNow(db.admin, uuid, change), undefined);
    const { body: replay } = await api.expect(201, "POST", "replays", { since: SINCE });
    const done = await until("the replay has ended", async () => {
      const { body } = await api.expect(200, "GET", `replays/${replay.id}`);
      return body.state === "done" && body;
    });
    assert.deepEqual([done.replayed, done.without_payload], [0, 1]);
    await db.admin`update partitions set closed_at = null`;
    await api.expect(200, "POST", retry);
    await receiver.received(2);
  },
);
