import assert from "node:assert/strict";
import { ENCRYPTION_KEY } from "../../support/checked.ts";
import { ADMIN, booking, endpoint, startDaemon, type TestDaemon } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { startReceiver } from "../../support/receiver.ts";
import { openLink, signIn, type Visitor } from "../../support/visitor.ts";
import { until } from "../../support/wait.ts";

/** A page's headline as text. */
function headlineOf(html: string): string {
  const [, headline = ""] = /<h1[^>]*>([^]*?)<\/h1>/.exec(html) ?? [];
  return headline.replace(/<[^>]*>/g, "").replace(/&#39;/g, "'").replace(/\s/g, " ");
}

/** Waits until the headline of a page matches. */
async function headline(visiting: Visitor, path: string, wanted: RegExp): Promise<string> {
  return await until(`${path} begins with ${wanted}`, async () => {
    const { text } = await visiting.get(path);
    return wanted.test(headlineOf(text)) ? text : Promise.reject(new Error(headlineOf(text)));
  });
}

async function linkOf(daemon: TestDaemon, business: string): Promise<Visitor> {
  const response = await fetch(`${daemon.url}/api/portal-links`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify({ business }),
  });
  return await openLink(daemon.url, (await response.json()).token);
}

onServer("an empty house says what comes first: an endpoint, then an event", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const operator = await signIn(daemon.url);
  const { text } = await operator.get("/dashboard");
  assert.equal(headlineOf(text), "No endpoint exists yet, so nothing is sent");
  assert.match(text, /href="\/dashboard\/endpoints\?new"/);
  assert.match(text.replace(/<[^>]*>/g, " "), /Good\s+Database\s+It works/);
  const business = await linkOf(daemon, "bus_1");
  const portal = await business.get("/portal");
  assert.equal(headlineOf(portal.text), "No system receives your bookings yet");
});

onServer(
  "with endpoints and no event, the overview has the command that posts one",
  async (database) => {
    await using receiver = await startReceiver(() => ({ status: 200 }));
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [endpoint("crm", receiver.url)],
    });
    const operator = await signIn(daemon.url);
    const { text } = await operator.get("/dashboard");
    assert.equal(headlineOf(text), "Everything is ready for the first event");
    const [, shown = ""] = /<pre[^>]*id="first-post"[^>]*>([^]*?)<\/pre>/.exec(text) ?? [];
    const command = shown.replaceAll("&quot;", '"').replaceAll("&#39;", "'").replaceAll(
      "&amp;",
      "&",
    );
    const { success, stdout } = await new Deno.Command("sh", {
      args: ["-c", command.replace("curl ", "curl -s -w ' %{http_code}' ")],
    }).output();
    assert.ok(success);
    assert.match(new TextDecoder().decode(stdout), /"id":"evt_[^]* 202$/);
    await headline(operator, "/dashboard", /^crm delivers; 100 % within 30 s today$/);
  },
);

onServer("the command signs where posts are signed", async (database) => {
  await using receiver = await startReceiver(() => ({ status: 200 }));
  await using daemon = await startDaemon({
    database: database.section,
    secrets: {
      main: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
      bookme: "a-secret-of-BookMe's-own-0123456789",
    },
    ingest: { secret: "bookme" },
    endpoints: [endpoint("crm", receiver.url)],
  });
  const operator = await signIn(daemon.url);
  const { text } = await operator.get("/dashboard");
  const [, shown = ""] = /<pre[^>]*id="first-post"[^>]*>([^]*?)<\/pre>/.exec(text) ?? [];
  const command = shown.replaceAll("&quot;", '"').replaceAll("&#39;", "'").replaceAll("&amp;", "&");
  assert.ok(!command.includes("a-secret-of-BookMe"));
  const { stdout } = await new Deno.Command("sh", {
    args: ["-c", command.replace("curl ", "curl -s -w ' %{http_code}' ")],
    env: { BOOKME_SECRET: "a-secret-of-BookMe's-own-0123456789" },
  }).output();
  assert.match(new TextDecoder().decode(stdout), / 202$/);
});

onServer("one that fails is the headline, the first row and the first action", async (database) => {
  let status = 200;
  await using bad = await startReceiver(() => ({ status }));
  await using good = await startReceiver(() => ({ status: 200 }));
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s", "1h", "6h"] },
    endpoints: [endpoint("ledger", good.url), endpoint("crm", bad.url)],
  });
  const operator = await signIn(daemon.url);
  await daemon.post(booking("apt_0"));
  await headline(operator, "/dashboard", /^All 2 endpoints deliver; 100 % within 30 s today$/);
  status = 401;
  for (const nth of [1, 2, 3, 4, 5]) await daemon.post(booking(`apt_${nth}`));
  // The first of them already make it the headline.
  const text = await until("all five have failed", async () => {
    const { text } = await operator.get("/dashboard");
    return /^crm /.test(headlineOf(text)) && /5 deliveries are waiting/.test(text)
      ? text
      : undefined;
  });
  const rows = [...text.matchAll(/<tr id="row-([^"]*)"/g)].map(([, id]) => id);
  assert.deepEqual(rows.slice(0, 2), ["crm", "ledger"]);
  assert.match(text, /class="button primary"[^>]*href="\/dashboard\/endpoints\/crm"/);
  const page = await operator.get("/dashboard/endpoints/crm");
  assert.match(headlineOf(page.text), /401/);
  assert.match(page.text, /See the 5 waiting/);
  const list = await operator.get("/dashboard/endpoints");
  assert.match(headlineOf(list.text), /^crm /);
});

onServer("latest changes say who did what; names are text, whatever they are", async (database) => {
  await using receiver = await startReceiver(() => ({ status: 200 }));
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
  });
  const operator = await signIn(daemon.url);
  const evil = `<script>alert("1")</script>`;
  await operator.submit("/dashboard/endpoints", {
    url: receiver.url,
    description: evil,
    events: ["booking.created"],
  }, "/dashboard/endpoints/new");
  const { body: { data: [{ id }] } } = await daemon.api("endpoints");
  const tested = await fetch(`${daemon.url}/api/endpoints/${id}/test`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify({ event: "booking.created" }),
  });
  assert.equal((await tested.json()).delivery.status, "delivered");
  for (const path of ["/dashboard", "/dashboard/endpoints", "/dashboard/endpoints?all"]) {
    const { text } = await operator.get(path);
    assert.ok(!text.includes("<script>alert"), path);
    assert.match(text, /&lt;script&gt;alert/, path);
  }
  const { text } = await operator.get("/dashboard");
  // A test changes nothing about what is sent.
  assert.doesNotMatch(text, /sent &lt;script/);
  assert.match(
    text,
    /<strong>ops<\/strong> <a href="\/dashboard\/endpoints\/ep_\w+">made &lt;script/,
  );
});

onServer(
  "the portal shows what was sent, in words of a business, and nothing of others",
  async (database) => {
    await using receiver = await startReceiver(() => ({ status: 200 }));
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      endpoints: [endpoint("secret-crm", receiver.url)],
    });
    const business = await linkOf(daemon, "bus_1");
    const made = await business.submit("/portal/endpoints", {
      url: "https://till.bookme-webhooks.invalid/in",
      description: "Your till",
      events: ["booking.created"],
    }, "/portal/endpoints/new");
    assert.equal(made.status, 303, made.text);
    await daemon.post(booking("apt_1", "bus_1", {
      confirmationNumber: "BK7X9M2P",
      service: { id: "srv_1", name: "Haircut & Style" },
      appointmentDate: "2026-11-28",
      startTime: "10:00",
    }));
    await daemon.post(booking("apt_2", "bus_2", { confirmationNumber: "BKOTHERS" }));
    const text = await headline(business, "/portal", /till|address/);
    assert.match(text, /New booking/);
    assert.match(text, /BK7X9M2P/);
    assert.match(text, /Haircut &amp; Style, Sat\s28\sNov,\s10:00/);
    assert.match(text, /Your till/);
    assert.ok(!text.includes("BKOTHERS"));
    assert.ok(!text.includes("secret-crm"));
    assert.match(headlineOf((await business.get("/portal/alerts")).text), /No alert is open/);
    const operator = await signIn(daemon.url);
    assert.match(headlineOf((await operator.get("/dashboard/alerts")).text), /No alert is open/);
  },
);
