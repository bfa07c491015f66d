import assert from "node:assert/strict";
import { booking, endpoint, startDaemon } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { BLIND, buildHouse, neverWas } from "../../support/house.ts";
import { connectTo } from "../../support/postgres.ts";
import { startReceiver, statuses } from "../../support/receiver.ts";
import { sampleOf } from "../../support/samples.ts";
import { openLink, signIn } from "../../support/visitor.ts";
import { headline, textOf } from "./page_text.ts";

onServer("event: where it went and where not, why, and its payload", async (database) => {
  await using good = await startReceiver();
  await using bad = await startReceiver(statuses(404));
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [
      endpoint("crm", good.url, { events: ["booking.*"], description: "Customers" }),
      endpoint("erp", good.url, { events: ["service.*"] }),
      endpoint("till", bad.url, { events: ["booking.created"], retry: ["0s"] }),
    ],
  });
  const posted = sampleOf("booking.created");
  const { body: { id } } = await daemon.post(posted);
  const failed = await daemon.deliveryId(id, "till");
  await daemon.delivery(failed);
  await daemon.delivery(await daemon.deliveryId(id, "crm"));
  const ops = await signIn(daemon.url);
  const { status, text } = await ops.get(`/dashboard/events/${id}`);
  assert.equal(status, 200, text);
  assert.equal(headline(text), "till did not accept this booking; 1 of 2 endpoints have it");
  const words = textOf(text);
  assert.match(words, /Delivered Customers First attempt/);
  assert.match(
    words,
    /Not owed erp The endpoint does not select booking\.created; it selects service\.\*/,
  );
  assert.match(words, /Failed till 404 The receiver has nothing at \//);
  assert.match(words, /booking\.created: Haircut & Style, Sat 1 Nov, 10:00/);
  assert.match(words, /bus_123 , Bella Hair Salon/);
  assert.ok(text.includes(`href="/dashboard/deliveries/${failed}"`));
  const raw = /<pre[^>]*id="payload"[^>]*>([^]*?)<\/pre>/.exec(text)?.[1] ?? "";
  const unescaped = raw.replaceAll("&quot;", '"').replaceAll("&#39;", "'").replaceAll("&amp;", "&");
  assert.equal(unescaped, posted, "byte for byte");
});

onServer("event: markup in a payload stays text", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const XSS = "</pre><script>alert(1)</script><svg onload=alert(1)>{{7*7}}\u202e";
  const { body: { id } } = await daemon.post(
    booking(XSS.replace("\u202e", ""), XSS.replace("\u202e", ""), {
      confirmationNumber: XSS,
      service: { name: XSS },
    }),
  );
  const ops = await signIn(daemon.url);
  const { text } = await ops.get(`/dashboard/events/${id}`);
  assert.equal(headline(text), "This booking went nowhere: no endpoint existed when it was stored");
  assert.doesNotMatch(text, /<script>alert|<svg onload/);
  assert.match(text, /&lt;script&gt;alert\(1\)/);
});

onServer("event: payloads that are hidden, and events of others", async (database) => {
  await using sql = connectTo("url" in database.section ? database.section.url : assert.fail());
  await using house = await buildHouse(database, sql);
  const [quince, walnut] = house.businesses;
  const blind = await signIn(house.daemon.url, BLIND);
  const hidden = await blind.get(`/dashboard/events/${house.operator.event}`);
  assert.match(textOf(hidden.text), /Payload hidden/);
  assert.doesNotMatch(hidden.text, /payloadmark/);
  const visitor = await openLink(house.daemon.url, quince.writer);
  const own = await visitor.get(`/portal/events/${quince.event}`);
  assert.equal(own.status, 200, own.text);
  for (const mark of [...walnut.marks, ...house.operator.marks]) {
    assert.ok(!own.text.includes(mark), mark);
  }
  for (const id of [walnut.event, house.operator.event, neverWas(quince).event, "evt_x"]) {
    assert.equal((await visitor.get(`/portal/events/${id}`)).status, 404, id);
  }
});
