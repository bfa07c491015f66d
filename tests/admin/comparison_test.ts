import assert from "node:assert/strict";
import type { Comparison } from "../../lib/admin/shown.ts";
import { ADMIN, booking } from "../support/daemon.ts";
import { onServer, type TestDatabase } from "../support/databases.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { startOperated } from "../support/operated.ts";
import { startReceiver } from "../support/receiver.ts";

const BLIND = "blind-token-of-the-tests-0123";

/** A daemon with an endpoint that accepts an event, gets another secret, and rejects the next event twice. */
async function build(database: TestDatabase) {
  let answer = { status: 200, body: '{"ok":true}' };
  const receiver = await startReceiver(() => answer);
  const daemon = await startOperated({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: { retry: ["0s", "1h"] },
    admin: {
      tokens: [
        { name: "ops", token: ADMIN, role: "admin" },
        { name: "wall", token: BLIND, role: "viewer", payloads: false },
      ],
    },
  });
  const ask = async (path: string, body: unknown = {}) => {
    const response = await fetch(`${daemon.url}/api/${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const found = await response.json();
    assert.ok(response.ok, JSON.stringify(found));
    return found;
  };
  const endpoint = await ask("endpoints", { url: receiver.url, events: ["*"] });
  const post = async (more: Record<string, unknown>) => {
    const { body } = await daemon.post(booking("apt_1", "bus_1", more));
    return await daemon.deliveryId(body.id);
  };
  const good = await post({});
  await daemon.delivery(good);
  const rotated = await ask(`endpoints/${endpoint.id}/rotate`);
  answer = { status: 401, body: '{"error":"invalid signature"}' };
  const bad = await post({ notes: "marked" });
  await daemon.delivery(bad, ({ attempts }) => attempts.length === 1);
  await ask(`deliveries/${bad}/retry`);
  await daemon.delivery(bad, ({ attempts }) => attempts.length === 2);
  const compared = async (query = "", token = ADMIN) => {
    const { status, body } = await daemon.api(`deliveries/${bad}/comparison${query}`, token);
    assert.equal(status, 200, JSON.stringify(body));
    return body as Comparison;
  };
  return {
    ...{ daemon, ask, good, bad, endpoint, rotated, compared },
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]();
      await receiver[Symbol.asyncDispose]();
    },
  };
}

onServer(
  "a rejected attempt is compared with the last accepted one, and only what differs is shown",
  async (database) => {
    await using house = await build(database);
    const { daemon, good, bad, compared } = house;
    const found = await compared();
    assert.deepEqual([found.before?.delivery_id, found.before?.attempt], [good, 1]);
    assert.deepEqual([found.after.delivery_id, found.after.attempt, found.after.status], [
      bad,
      2,
      401,
    ]);
    const rows = new Map(found.rows.map((row) => [row.label, row]));
    assert.deepEqual([rows.get("Status")?.before, rows.get("Status")?.after], ["200", "401"]);
    const signed = rows.get("Signed with");
    assert.deepEqual([signed?.before, signed?.after], ["an earlier secret", "secret of version 2"]);
    assert.match(signed?.note ?? "", /^rotated by ops, \d{4}-/);
    const signatures = rows.get("webhook-signature");
    assert.deepEqual([signatures?.before, signatures?.after], ["1 signature", "2 signatures"]);
    assert.equal(rows.get("Request body")?.after, "also data.appointment.notes");
    assert.equal(rows.get("Response body")?.after, '{"error":"invalid signature"}');
    assert.equal(rows.get("URL"), undefined);
    assert.match(found.same, /^The same in both: URL, \d+ request headers, event type/);

    const { out } = await daemon.cli(["delivery", bad, "--compare"]);
    assert.match(out, /Signed with +an earlier secret +secret of version 2 \(rotated by ops, /);
    assert.match(out, /The same in both: URL/);
  },
);

onServer("two attempts of a delivery are compared, and unknown ones refused", async (database) => {
  await using house = await build(database);
  const { daemon, good, bad, compared } = house;
  const { before, after, rows, same } = await compared("?attempt=2&with=1");
  assert.deepEqual([before?.attempt, after.attempt], [1, 2]);
  assert.deepEqual(rows.filter(({ label }) => label !== "Connection"), []);
  assert.match(same, /^The same in both: status, signed with, .*request body.*response body/);
  for (const query of ["?attempt=3", "?attempt=1&with=9"]) {
    const { status, body } = await daemon.api(`deliveries/${bad}/comparison${query}`);
    assert.deepEqual([status, body.code], [404, "not_found"]);
    assert.match(body.detail, /has no attempt (3|9); there is 1, 2$/);
  }
  const { status } = await daemon.api(`deliveries/${bad}/comparison?attempt=0`);
  assert.equal(status, 422);
  const first = await daemon.api(`deliveries/${good}/comparison`);
  assert.deepEqual([first.body.before, first.body.rows], [null, []]);
  const { out } = await daemon.cli(["delivery", bad, "--with", "1"]);
  assert.match(out, /The same in both: status/);
});

onServer(
  "a comparison shows nothing of payloads and answers that are hidden or erased",
  async (database) => {
    await using house = await build(database);
    const { daemon, ask, compared } = house;
    const words = /[Bb]ody|[Rr]esponse|Answered|invalid|notes|"ok/;
    const hidden = await compared("", BLIND);
    assert.match(JSON.stringify(await compared()), words);
    assert.doesNotMatch(JSON.stringify(hidden), words);
    assert.ok(hidden.rows.some(({ label }) => label === "Signed with"));

    const { id } = await ask("erasures", { subject: "apt_1" });
    for (;;) {
      const { body } = await daemon.api(`erasures/${id}`);
      if (body.state === "done") break;
    }
    assert.doesNotMatch(
      JSON.stringify(await compared()),
      /invalid signature|notes|"ok"|Request body/,
    );
  },
);
