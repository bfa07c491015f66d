import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { attempt, interrupted, type Leased } from "../../lib/delivery/attempt.ts";
import { MAX_INTERRUPTIONS } from "../../lib/core/retry.ts";
import { makeClock } from "../../lib/delivery/context.ts";
import { firstLease } from "../../lib/store/claims.ts";
import { endpoint, SECRET } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { offer, startEngine } from "../support/engine.ts";
import { startReceiver, statuses } from "../support/receiver.ts";

const EVENT = {
  ...offer().event,
  uuid: "0193b0a0-0000-7000-8000-000000000001",
  test: false,
  key: null,
  digest: null,
  trace: null,
};

function leased(endpoint_no: number): Leased {
  const claimed = firstLease({
    uuid: "0193b0a0-0000-7000-8000-0000000000ff",
    event: EVENT,
    endpoint_no,
  });
  return { claimed, leased_at: 0, lease_ends_at: 90_000 };
}

onServer("attempt() signs, sends and decides", async (database) => {
  await using receiver = await startReceiver(statuses(200, 500, 410));
  const db = await database.open();
  await using engine = await startEngine(db, {
    database: database.section,
    endpoints: [endpoint("crm", receiver.url, { retry: ["0s", "1m"] })],
  });
  const [crm] = engine.fleet.endpoints.values();
  assert.ok(crm !== undefined);
  const signal = new AbortController().signal;
  const surroundings = {
    client: engine.client,
    clock: engine.ctx.clock,
    random: () => 0,
    signal,
  };
  const send = () => attempt(surroundings, leased(crm.no), crm);

  const first = await send();
  assert.equal(first.outcome.outcome, "delivered");
  assert.deepEqual(first.decision, { verdict: "delivered", counts: true });
  assert.equal(first.lease_ends_at, 90_000);
  const [request] = receiver.requests;
  assert.equal(request?.body.toString(), EVENT.payload);
  const signature = "sha256=" + createHmac("sha256", SECRET).update(EVENT.payload).digest("hex");
  assert.equal(request?.headers["x-bookme-signature"], signature);
  assert.equal(first.sent?.signature, signature);

  assert.deepEqual((await send()).decision, { verdict: "retry", counts: true, wait_ms: 60_000 });
  assert.deepEqual((await send()).decision, { verdict: "failed", counts: true });
  await db.close();
});

onServer(
  "attempt() signs everything begun in one turn before it sends any of it",
  async (database) => {
    await using receiver = await startReceiver();
    const db = await database.open();
    await using engine = await startEngine(db, {
      database: database.section,
      endpoints: [endpoint("crm", receiver.url)],
    });
    const [crm] = engine.fleet.endpoints.values();
    assert.ok(crm !== undefined);
    const order: string[] = [];
    const signers = crm.signers.map((signer) => ({
      ...signer,
      bookme: (body: Uint8Array) => (order.push("sign"), signer.bookme(body)),
    }));
    const post: typeof engine.client.post = (...call) => {
      order.push("send");
      return engine.client.post(...call);
    };
    const { clock, random } = engine.ctx;
    const { signal } = new AbortController();
    await Promise.all(
      [1, 2].map(() =>
        attempt({ client: { post }, clock, random, signal }, leased(crm.no), { ...crm, signers })
      ),
    );
    assert.deepEqual(order, ["sign", "sign", "send", "send"]);
    await db.close();
  },
);

Deno.test("interrupted() is sent again without counting, at most five times", () => {
  const { claimed } = leased(1);
  const calm = { clock: makeClock(), random: () => 0 };
  const again = interrupted(claimed, undefined, calm, 1);
  assert.deepEqual(again.decision, { verdict: "retry", counts: false, wait_ms: 0 });
  assert.equal(again.sent, null);
  const worn = { ...claimed, interruptions: MAX_INTERRUPTIONS };
  assert.deepEqual(interrupted(worn, undefined, calm, 1).decision, {
    verdict: "failed",
    counts: true,
  });
});
