import assert from "node:assert/strict";
import { getDelivery } from "../../lib/admin/deliveries.ts";
import { createEndpoint, getEndpoint, rotateSecret } from "../../lib/admin/endpoints.ts";
import { deliveryId } from "../../lib/core/ids.ts";
import { administer, asker } from "../support/admin.ts";
import { ADMIN, booking } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { startOperated } from "../support/operated.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

onServer(
  "a rotation before the first 401 is the cause named for the endpoint, the delivery and the event",
  async (database) => {
    let status = 200;
    await using receiver = await startReceiver(() => ({ status }));
    await using daemon = await startOperated({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      delivery: { retry: ["0s", "1h"] },
    });
    const ask = async (method: string, path: string, body: unknown = {}) => {
      const response = await fetch(`${daemon.url}/api/${path}`, {
        method,
        headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      const answer = await response.json();
      assert.ok(response.ok, JSON.stringify(answer));
      return answer;
    };
    const { id } = await ask("POST", "endpoints", { url: receiver.url, events: ["*"] });
    const endpointOf = async () => (await daemon.api(`endpoints/${id}`)).body;
    const post = async () => {
      const { body } = await daemon.post(booking("apt_1", "bus_1"));
      return await daemon.deliveryId(body.id);
    };
    // A change before the last success is no cause.
    await ask("PATCH", `endpoints/${id}`, { headers: { "x-tenant": "7" } });
    const good = await daemon.delivery(await post());
    assert.deepEqual([good.status, good.hints], ["delivered", []]);
    assert.deepEqual((await endpointOf()).hints, []);

    await ask("POST", `endpoints/${id}/rotate`);
    status = 401;
    const bad = await daemon.delivery(await post(), ({ attempts }) => attempts.length === 1);
    assert.equal(bad.hints.length, 1);
    const [hint] = bad.hints;
    assert.deepEqual([hint.kind, hint.by], ["secret_rotated", "ops"]);
    assert.match(
      hint.text,
      /^The secret was rotated (just|\d+ seconds?) before the first 401$/,
    );
    const { data: [entry] } = (await daemon.api("audit?action=endpoint.rotated")).body;
    assert.equal(hint.at, entry.at);
    assert.deepEqual((await endpointOf()).hints, bad.hints);
    const { body: event } = await daemon.api(`events/${bad.event_id}`);
    assert.deepEqual(event.endpoints[0].hints, bad.hints);

    // Another failure of a later kind has another cause, and the first one keeps its own.
    await ask("PATCH", `endpoints/${id}`, { events: ["booking.*"] });
    status = 500;
    const broken = await daemon.delivery(await post(), ({ attempts }) => attempts.length === 1);
    assert.deepEqual(
      broken.hints.map(({ kind }: { kind: string }) => kind),
      [
        "events_changed",
        "headers_changed",
        "secret_rotated",
      ].filter((kind) => kind !== "headers_changed"),
    );
    assert.match(broken.hints[0].text, / before the first 500$/);
    assert.deepEqual((await endpointOf()).hints, broken.hints);

    for (const args of [["delivery", bad.id], ["endpoints", id], ["event", bad.event_id]]) {
      const { out } = await daemon.cli(args);
      assert.match(out, /The secret was rotated .* before the first/, args[0]);
    }
    const { out } = await daemon.cli(["delivery", bad.id]);
    assert.match(out, /likely cause +The secret was rotated .*: \S+ \(.* ago\), by ops/);

    // Once it delivers, nothing is to be explained any more.
    status = 200;
    await ask("POST", `deliveries/${broken.id}/retry`);
    assert.deepEqual((await daemon.delivery(broken.id)).hints, []);
    await until(
      "the endpoint has no hints",
      async () => (await endpointOf()).hints.length === 0 ? true : undefined,
    );
    // The other delivery is explained by what was before it, but not as the first one any more.
    const { body: still } = await daemon.api(`deliveries/${bad.id}`);
    assert.match(
      still.hints[0].text,
      /^The secret was rotated .* before the first 401 here$/,
    );
  },
);

onServer(
  "a business reads of its endpoint's changes, but not who of the operators made them",
  async (database) => {
    await using db = await database.open();
    const ctx = await administer(db, { database: database.section });
    const ana = asker("ana", { business: "bus_a" });
    const bob = asker("bob", { business: "bus_b" });
    const ops = asker("ops", "everything");
    const { id } = await createEndpoint(ctx, ana, { url: "https://example.com/", events: ["*"] });
    const event = {
      payload: "{}",
      type: "booking.created",
      business: "bus_a",
      subject: null,
      subject_key: null,
      confirmation: null,
    };
    const uuids: string[] = [];
    for (const status of [200, 401]) {
      const [accepted] = await ctx.accept([{ event, key: null }]);
      const [row] = await db.admin<{ uuid: string }[]>`
      with gone as (
        delete from pending_deliveries where event_id = ${accepted?.uuid ?? ""}::uuid returning *
      )
      insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts,
        started_at, last_attempt_at, endpoint_version, last_outcome, last_status)
      select gone.id, endpoint_no, gone.created_at, now(), ${
        status === 200 ? "delivered" : "failed"
      }, 1, 1,
        now(), now(), n.version, ${status === 200 ? "delivered" : "http_4xx"}, ${status}
      from gone join endpoints n on n.no = endpoint_no returning ended_deliveries.id as uuid`;
      uuids.push(row?.uuid ?? "");
      if (status === 200) await rotateSecret(ctx, ops, id, { activate: "now", overlap: 60_000 });
    }
    await db.admin`
    insert into endpoint_runs (endpoint_no, last_success_at, failing_since, last_failure_at)
    select endpoint_no, min(last_attempt_at), max(last_attempt_at), max(last_attempt_at)
    from ended_deliveries group by endpoint_no`;
    const failed = deliveryId(uuids[1] ?? "");
    for (const [by, name] of [[ana, "operator"], [ops, "ops"]] as const) {
      for (
        const { hints } of [await getDelivery(ctx, by, failed), await getEndpoint(ctx, by, id)]
      ) {
        assert.deepEqual(hints.map(({ kind, by }) => [kind, by]), [["secret_rotated", name]]);
      }
    }
    await assert.rejects(getDelivery(ctx, bob, failed), /no such delivery/);
    await assert.rejects(getEndpoint(ctx, bob, id), /no endpoint/);
  },
);
