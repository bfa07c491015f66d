import assert from "node:assert/strict";
import { parseDeliveryId } from "../../../lib/core/ids.ts";
import { ENCRYPTION_KEY } from "../../support/checked.ts";
import { ADMIN, booking, endpoint, startDaemon, VIEWER } from "../../support/daemon.ts";
import { onServer, type TestDatabase } from "../../support/databases.ts";
import { BLIND, buildHouse, neverWas } from "../../support/house.ts";
import { connectTo } from "../../support/postgres.ts";
import { startReceiver, statuses } from "../../support/receiver.ts";
import { formTo, hiddenFields, openLink, signIn } from "../../support/visitor.ts";
import { headline, textOf } from "./page_text.ts";

const XSS = `"><script>alert(1)</script><img src=x onerror=alert(2)>'&amp;`;

/** Waits until an attempt was made, and returns the delivery's id. */
// deno-lint-ignore no-explicit-any
async function tried(daemon: any, event_id: string, count = 1): Promise<string> {
  const id = await daemon.deliveryId(event_id);
  await daemon.delivery(
    id,
    (one: { attempt_count: number; sending: boolean }) =>
      one.attempt_count >= count && !one.sending,
  );
  return id;
}

function urlOf(database: TestDatabase): string {
  return "url" in database.section ? database.section.url : assert.fail();
}

onServer(
  "delivery: waiting, it says what it met, when it goes on, and its way",
  async (database) => {
    await using receiver = await startReceiver(() => ({
      status: 401,
      headers: { "X-Why": XSS },
      body: `{"error":"${"invalid signature"}","n":1.50}`,
    }));
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [endpoint("crm", receiver.url, { retry: ["0s", "1h", "6h"] })],
    });
    const posted = booking("apt_1", "bus_1", { confirmationNumber: "BK4T8Q1Z", notes: XSS });
    const { body: event } = await daemon.post(posted);
    const id = await tried(daemon, event.id);
    const ops = await signIn(daemon.url);
    const { status, text } = await ops.get(`/dashboard/deliveries/${id}`);
    assert.equal(status, 200, text);
    assert.match(
      headline(text),
      /^crm rejected this booking with 401; attempt 2 of 3 is at \d\d:\d\d/,
    );
    const words = textOf(text);
    assert.match(words, /Nothing is lost: crm has until .* to accept it\./);
    assert.match(
      words,
      /Posted by BookMe .*Stored owed to 1 endpoint .*401 attempt 1, .*Attempt 2 next .*Attempt 3 the last .*Failed if that one fails too/,
    );
    assert.match(words, /booking\.created for BK4T8Q1Z/);
    assert.match(words, /X-BookMe-Delivery-Id: dlv_/);
    assert.match(words, /"n": 1\.50/, "pretty, with the number as it came");
    assert.ok(
      words.includes(`printf %s '${JSON.stringify(posted).replaceAll("'", "'\\''")}' |`),
      "curl sends these bytes",
    );
    assert.doesNotMatch(text, /<script>alert|<img src=x/);
    assert.ok(text.includes(`data-live-id="${id}"`));
    assert.ok(text.includes(`href="/dashboard/verify?delivery=${id}"`));
    const checker = await ops.get(`/dashboard/verify?delivery=${id}`);
    assert.ok(
      textOf(checker.text).includes(JSON.stringify(posted).slice(0, 80)),
      "the body that was sent",
    );
    assert.match(textOf(checker.text), /X-BookMe-Signature: sha256=[0-9a-f]{64}/);
    assert.ok(formTo(text, `/dashboard/deliveries/${id}/cancel`) !== undefined);

    const retried = await ops.submit(
      `/dashboard/deliveries/${id}/retry`,
      {},
      `/dashboard/deliveries/${id}`,
    );
    assert.equal(retried.status, 303);
    assert.match(retried.location ?? "", new RegExp(`^/dashboard/deliveries/${id}\\?note=`));
    await receiver.received(2);
    await tried(daemon, event.id, 2);
    const after = await ops.get(retried.location ?? "");
    assert.match(textOf(after.text), /It is due now: the next attempt begins/);
    assert.match(
      headline(after.text),
      /^crm rejected this booking twice with 401; attempt 3 of 3 is at/,
    );

    const cancelled = await ops.submit(
      `/dashboard/deliveries/${id}/cancel`,
      {},
      `/dashboard/deliveries/${id}`,
    );
    assert.equal(cancelled.status, 303);
    const end = await ops.get(`/dashboard/deliveries/${id}`);
    assert.match(headline(end.text), /^Cancelled by ops at/);
    assert.match(textOf(end.text), /Send it all the same/);
  },
);

onServer(
  "delivery: failed, it offers a test, a retry and a replay; all attempts on request",
  async (database) => {
    await using receiver = await startReceiver(statuses(503));
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [
        endpoint("crm", receiver.url, {
          retry: ["0s", "0s", "0s", "0s", "0s"],
          description: "Loyalty & more",
        }),
        endpoint("till", receiver.url, { retry: ["0s"], events: ["service.*"] }),
      ],
    });
    const ids: string[] = [];
    for (const subject of ["apt_1", "apt_2"]) {
      const { body } = await daemon.post(booking(subject));
      ids.push(await daemon.deliveryId(body.id));
      await daemon.delivery(ids.at(-1) ?? "");
    }
    const ops = await signIn(daemon.url);
    const [id = ""] = ids;
    const { text } = await ops.get(`/dashboard/deliveries/${id}`);
    assert.equal(
      headline(text),
      "Loyalty & more answered this booking five times with 503, and no attempts are left",
    );
    assert.match(textOf(text), /a retry now would probably fail too/);
    assert.match(
      textOf(text),
      /Send Loyalty & more a test .*Retry this one .*Replay Loyalty & more’s 2 failed…/,
    );
    assert.equal(text.match(/<details class="attempt"/g)?.length, 3);
    assert.match(textOf(text), /Show the two earlier ones/);
    const all = await ops.get(`/dashboard/deliveries/${id}?all`);
    assert.equal(all.text.match(/<details class="attempt"/g)?.length, 5);

    const wall = await signIn(daemon.url, VIEWER);
    const seen = await wall.get(`/dashboard/deliveries/${id}`);
    assert.doesNotMatch(seen.text, /Retry this one|Replay Loyalty/);
    const forced = await wall.post(`/dashboard/deliveries/${id}/retry`, {});
    assert.equal(forced.status, 403);
  },
);

onServer(
  "delivery: compares with the last accepted one, and names what changed in between",
  async (database) => {
    await using receiver = await startReceiver(statuses(200, 401));
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      delivery: { retry: ["0s", "0s", "1h"] },
    });
    const { body: made } = await send(daemon.url, "endpoints", {
      url: receiver.url,
      events: ["*"],
      description: "CRM",
    });
    const { body: first } = await daemon.post(booking("apt_1"));
    await daemon.delivery(await daemon.deliveryId(first.id));
    await send(daemon.url, `endpoints/${made.id}/rotate`, {});
    const { body: second } = await daemon.post(booking("apt_2"));
    const id = await tried(daemon, second.id, 2);
    const ops = await signIn(daemon.url);
    const { text } = await ops.get(`/dashboard/deliveries/${id}`);
    const words = textOf(text);
    assert.match(
      words,
      /The secret was rotated .*before the first 401\. .*Give CRM the new secret, then send it a test\./,
    );
    assert.match(
      words,
      /What changed .*Last accepted .*Attempt 1 .*, accepted .*, 401 /,
    );
    assert.match(words, /Status 200.* 401/);
    assert.match(words, /Signed with/);
    assert.match(text, /<form method="get" action="\/dashboard\/deliveries\/dlv_\w+"/);
    const own = textOf((await ops.get(`/dashboard/deliveries/${id}?compare=1-2`)).text);
    assert.match(own, /Nothing differs\. The same in both: status, signed with, URL/);
    const formed = await ops.get(`/dashboard/deliveries/${id}?with=accepted&attempt=1`);
    assert.match(textOf(formed.text), /, accepted .*, 401 Status/);
  },
);

/** Asks the API for a change. */
// deno-lint-ignore no-explicit-any
async function send(url: string, path: string, body: unknown): Promise<{ body: any }> {
  const response = await fetch(`${url}/api/${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  assert.ok(response.ok, JSON.stringify(answer));
  return { body: answer };
}

onServer("delivery: a retry that is refused shows the page with the reason", async (database) => {
  const held = Promise.withResolvers<{ status: number }>();
  await using receiver = await startReceiver((_, nth) =>
    nth === 1 ? { status: 503 } : held.promise
  );
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url, { retry: ["0s", "1h"] })],
  });
  const { body: event } = await daemon.post(booking("apt_1"));
  const id = await tried(daemon, event.id);
  const ops = await signIn(daemon.url);
  const stale = await ops.get(`/dashboard/deliveries/${id}`);
  const form = formTo(stale.text, `/dashboard/deliveries/${id}/retry`) ?? assert.fail();
  await daemon.api(`deliveries/${id}/retry`, ADMIN, "POST");
  await receiver.received(2);
  const fields = hiddenFields(form);
  const refused = await ops.post(`/dashboard/deliveries/${id}/retry`, fields);
  assert.equal(refused.status, 409);
  assert.match(textOf(refused.text), /The delivery is being sent right now/);
  assert.match(headline(refused.text), /^Attempt 2 of 2 is under way; the first met 503$/);
  held.resolve({ status: 200 });
  await daemon.delivery(id);
});

onServer(
  "delivery: erased, purged and hidden payloads are said, and cannot be sent",
  async (database) => {
    await using sql = connectTo(urlOf(database));
    await using house = await buildHouse(database, sql);
    const { operator, daemon } = house;
    const path = `/dashboard/deliveries/${operator.delivery}`;
    const blind = await signIn(daemon.url, BLIND);
    const hidden = await blind.get(path);
    assert.match(textOf(hidden.text), /Payload hidden Your token may see deliveries/);
    assert.doesNotMatch(hidden.text, /payloadmark/);
    const ops = await signIn(daemon.url);
    assert.match((await ops.get(path)).text, /payloadmark/);
    const uuid = parseDeliveryId(operator.delivery) ?? "";
    await sql`update events set payload = null where id = event_of(${uuid}::uuid)`;
    const purged = await ops.get(path);
    assert.match(textOf(purged.text), /Payload removed It is older than retention\.payloads/);
    assert.equal(formTo(purged.text, `${path}/retry`), undefined);
    await sql`update events set erased_at = now() where id = event_of(${uuid}::uuid)`;
    const erased = await ops.get(path);
    assert.match(textOf(erased.text), /Payload erased \d/);
    assert.match(textOf(erased.text), /Its payload was erased, so it cannot be sent again/);
  },
);

onServer("delivery: a business sees and changes its own only", async (database) => {
  await using sql = connectTo(urlOf(database));
  await using house = await buildHouse(database, sql);
  const [quince, walnut] = house.businesses;
  const visitor = await openLink(house.daemon.url, quince.writer);
  const own = await visitor.get(`/portal/deliveries/${quince.delivery}`);
  assert.equal(own.status, 200, own.text);
  assert.match(headline(own.text), /^This booking arrived at quince open/);
  for (const mark of [...walnut.marks, ...house.operator.marks]) {
    assert.ok(!own.text.includes(mark), mark);
  }
  const waits = await visitor.get(`/portal/deliveries/${quince.waiting}`);
  assert.match(headline(waits.text), /^This booking waits because quince paused is paused/);
  const of_others = [walnut.delivery, house.operator.delivery, neverWas(quince).delivery, "dlv_x"];
  for (const id of of_others) {
    assert.equal((await visitor.get(`/portal/deliveries/${id}`)).status, 404, id);
    for (const change of ["retry", "cancel"]) {
      // A form of its own, sent elsewhere.
      const fields = hiddenFields(
        formTo(waits.text, `/portal/deliveries/${quince.waiting}/cancel`) ?? "",
      );
      const sent = await visitor.post(`/portal/deliveries/${id}/${change}`, fields);
      assert.equal(sent.status, 404, id);
    }
  }
  const path = `/portal/deliveries/${quince.waiting}`;
  assert.equal((await visitor.submit(`${path}/cancel`, {}, path)).status, 303);
  assert.match(headline((await visitor.get(path)).text), /^Cancelled here/);
  const reader = await openLink(house.daemon.url, quince.reader);
  const read_only = await reader.get(`/portal/deliveries/${quince.delivery}`);
  assert.equal(formTo(read_only.text, `/portal/deliveries/${quince.delivery}/retry`), undefined);
});
