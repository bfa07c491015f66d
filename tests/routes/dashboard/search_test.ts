import assert from "node:assert/strict";
import { attemptId, parseDeliveryId } from "../../../lib/core/ids.ts";
import { booking, endpoint, startDaemon } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { buildHouse, neverWas } from "../../support/house.ts";
import { connectTo } from "../../support/postgres.ts";
import { startReceiver } from "../../support/receiver.ts";
import { openLink, signIn } from "../../support/visitor.ts";
import { headline, textOf } from "./page_text.ts";

const q = (text: string) => `/dashboard/search?${new URLSearchParams({ q: text })}`;

onServer("search: leads to the one thing that a text names", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", `${receiver.url}/hook`, { description: "Customers" })],
  });
  const { body: { id } } = await daemon.post(
    booking("apt_1", "bus_1", { confirmationNumber: "BK4T8Q1Z" }),
  );
  const delivery = await daemon.deliveryId(id);
  await daemon.delivery(delivery);
  const ops = await signIn(daemon.url);
  const attempt = attemptId(parseDeliveryId(delivery) ?? "", 1);
  for (
    const [text, location] of [
      ["BK4T8Q1Z", `/events/${id}`],
      [" bk4t8q1z ", `/events/${id}`],
      ["apt_1", `/events/${id}`],
      [id, `/events/${id}`],
      [id.toUpperCase(), `/events/${id}`],
      [delivery, `/deliveries/${delivery}`],
      [attempt, `/deliveries/${delivery}?all#attempt-1`],
      ["crm", "/endpoints/crm"],
      ["customers", "/endpoints/crm"],
      [`${receiver.url}/hook`, "/endpoints/crm"],
      [new URL(receiver.url).host, "/endpoints/crm"],
      ["status:failed endpoint:crm code:401", "/deliveries?status=failed&endpoint=crm&code=401"],
      ["lnk_00000000000000000000", "/audit?object=lnk_00000000000000000000"],
    ] as const
  ) {
    const found = await ops.get(q(text));
    assert.equal(found.status, 303, `${text}: ${textOf(found.text)}`);
    assert.equal(found.location, `/dashboard${location}`, text);
  }
  const filtered = await ops.get("/dashboard/deliveries?status=failed&endpoint=crm&code=401");
  assert.equal(filtered.status, 200);
});

onServer(
  "search: several are listed, none says what may be meant, and nothing is logged",
  async (database) => {
    await using daemon = await startDaemon({ database: database.section });
    for (const event of ["booking.created", "booking.confirmed"]) {
      await daemon.post({
        ...booking("apt_1", "bus_1", { confirmationNumber: "BK4T8Q1Z" }),
        event,
      });
    }
    const ops = await signIn(daemon.url);
    const several = await ops.get(q("BK4T8Q1Z"));
    assert.equal(several.status, 200);
    assert.equal(headline(several.text), "2 results for BK4T8Q1Z");
    assert.match(textOf(several.text), /BK4T8Q1Z booking\. confirmed .*BK4T8Q1Z booking\. created/);
    const near = await ops.get(q("BK4T8Q1X"));
    assert.equal(headline(near.text), "Nothing was found for BK4T8Q1X");
    assert.match(near.text, /Did you mean <a href="\/dashboard\/search\?q=BK4T8Q1Z">BK4T8Q1Z<\/a>/);
    const unknown = await ops.get(q("colour:red"));
    assert.equal(unknown.status, 422);
    assert.equal(headline(unknown.text), "colour: is no filter");
    assert.match(textOf(unknown.text), /There are status:, endpoint:/);
    assert.equal(
      headline((await ops.get("/dashboard/search")).text),
      "Type an id, a name or a filter",
    );
    const XSS = `"><script>alert("findme")</script>`;
    const inert = await ops.get(q(XSS));
    assert.equal(inert.status, 200);
    assert.doesNotMatch(inert.text, /<script>alert/);
    assert.match(headline(inert.text), /^Nothing was found for "><script>/);
    const log = JSON.stringify(daemon.log);
    for (const text of ["BK4T8Q1Z", "BK4T8Q1X", "findme", "colour"]) {
      assert.ok(
        !log.includes(text),
        text,
      );
    }
  },
);

onServer("search: a business finds its own only", async (database) => {
  await using sql = connectTo("url" in database.section ? database.section.url : assert.fail());
  await using house = await buildHouse(database, sql);
  const [quince, walnut] = house.businesses;
  const visitor = await openLink(house.daemon.url, quince.writer);
  const ask = (text: string) => visitor.get(`/portal/search?${new URLSearchParams({ q: text })}`);
  assert.equal((await ask(quince.confirmation)).location, `/portal/events/${quince.event}`);
  assert.equal((await ask(quince.delivery)).location, `/portal/deliveries/${quince.delivery}`);
  assert.equal((await ask(quince.endpoint)).location, `/portal/endpoints/${quince.endpoint}`);
  for (
    const name of [
      "endpoint",
      "event",
      "delivery",
      "replay",
      "confirmation",
      "subject",
      "business",
    ] as const
  ) {
    const [foreign, never] = [walnut[name], neverWas(walnut)[name]];
    const found = await ask(foreign);
    assert.equal(found.status, 200, name);
    const blank = (text: string, word: string) =>
      textOf(text).replaceAll(word, "X").replaceAll(encodeURIComponent(word), "X");
    assert.equal(blank(found.text, foreign), blank((await ask(never)).text, never), name);
  }
});
