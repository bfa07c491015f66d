import assert from "node:assert/strict";
import { checkedApi, ENCRYPTION_KEY } from "../../support/checked.ts";
import { endpoint, startDaemon, VIEWER } from "../../support/daemon.ts";
import { onServer, type TestDatabase } from "../../support/databases.ts";
import { errorOf, headlineOf, textOf, valueOf } from "../../support/html.ts";
import { startReceiver, statuses } from "../../support/receiver.ts";
import { openLink, signIn } from "../../support/visitor.ts";

function start(database: TestDatabase, endpoints: Record<string, unknown>[]) {
  return startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    endpoints,
    delivery: { retry: ["0s", "1h"] },
  });
}

onServer(
  "a test is sent with a form, and its result is the page's first line",
  async (database) => {
    await using crm = await startReceiver();
    await using daemon = await start(database, [
      endpoint("crm", crm.url),
      endpoint("ledger", crm.url, { events: ["booking.completed", "service.*"] }),
      endpoint("waitlist", crm.url, { events: ["booking.*"] }),
    ]);
    const api = await checkedApi(daemon);
    await api.expect(200, "POST", "endpoints/waitlist/pause", { reason: "Holiday" });
    const operator = await signIn(daemon.url);
    const empty = await operator.get("/dashboard/test?endpoint=crm");
    assert.equal(headlineOf(empty.text), "Send crm a test booking.created");
    assert.equal(valueOf(empty.text, "endpoint"), "crm");
    assert.match(valueOf(empty.text, "body") ?? "", /"event": "booking.created"/);

    const { status, location } = await operator.submit("/dashboard/test", {
      endpoint: "crm",
      type: "booking.created",
      body: valueOf(empty.text, "body") ?? "",
    });
    assert.equal(status, 303);
    assert.match(location ?? "", /^\/dashboard\/test\?sent=evt_/);
    const [request] = await crm.received(1);
    assert.equal(request?.headers["x-bookme-test"], "true");
    const { text } = await operator.get(location ?? "");
    assert.match(headlineOf(text), /^crm accepted the test: 200 in /);
    const words = textOf(text);
    assert.match(words, /A real booking\.created would be owed to crm and 1 other/);
    assert.match(words, /Owed crm Selects everything \(\*\)\./);
    assert.match(words, /Owed, waits waitlist Selects booking\.\*, but is paused since /);
    assert.match(
      words,
      /Not owed ledger The endpoint does not select booking\.created; it selects booking\.completed, service\.\*\./,
    );
    assert.match(words, /HTTP\/1\.1 200 OK/);
  },
);

onServer("a test that arrives does not hide that real events would not", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await start(database, [
    endpoint("crm", receiver.url, { events: ["service.*"] }),
  ]);
  const operator = await signIn(daemon.url);
  const { location } = await operator.submit("/dashboard/test", {
    endpoint: "crm",
    type: "booking.created",
  });
  const { text } = await operator.get(location ?? "");
  assert.equal(
    headlineOf(text),
    "crm accepted the test, but a real booking.created would not be owed to it",
  );
  assert.match(text, /href="\/dashboard\/endpoints\/crm#settings"/);
});

onServer("a test that fails says why, when it is tried again, and how to stop that", async (
  database,
) => {
  await using receiver = await startReceiver(statuses(401));
  await using daemon = await start(database, [endpoint("crm", receiver.url)]);
  const operator = await signIn(daemon.url);
  const { location } = await operator.submit("/dashboard/test", {
    endpoint: "crm",
    type: "booking.cancelled",
  });
  const { text } = await operator.get(location ?? "");
  assert.match(
    headlineOf(text),
    /^crm rejected the test with 401; attempt 2 of 2 is at \d\d:\d\d UTC$/,
  );
  assert.match(text, /href="\/dashboard\/help#http_4xx"/);
  assert.match(textOf(text), /How to fix a 401/);
  assert.match(text, /action="\/dashboard\/deliveries\/dlv_\w+\/cancel"/);
});

onServer("an edited body is sent as it is, a mistake in it is named with its place", async (
  database,
) => {
  await using receiver = await startReceiver();
  await using daemon = await start(database, [endpoint("crm", receiver.url)]);
  const operator = await signIn(daemon.url);
  const send = (body: string, type = "booking.created") =>
    operator.submit("/dashboard/test", { endpoint: "crm", type, body });
  const sample = valueOf((await operator.get("/dashboard/test")).text, "body") ?? "";

  const broken = await send(sample.replace('"data": {', '"data": {,'));
  assert.equal(broken.status, 422);
  assert.match(errorOf(broken.text, "body") ?? "", /^Malformed JSON at line 4, column 12: /);
  assert.match(valueOf(broken.text, "body") ?? "", /"data": \{,/, "what was typed is kept");
  const wrong = await send(sample.replace('"id": "apt_789"', '"id": 7'));
  assert.equal(wrong.status, 422);
  assert.match(errorOf(wrong.text, "body") ?? "", /^data\.appointment\.id: Must be a string/);
  assert.equal(
    errorOf((await send("[]")).text, "body"),
    "Must be an object with event and data",
  );
  const edited = sample.replace("John Doe", "Ann <b>Ö</b>");
  const other = await send(edited, "booking.confirmed");
  assert.equal(
    errorOf(other.text, "type"),
    'The body is of the type "booking.created". Choose that, or load the sample of booking.confirmed',
  );
  assert.equal(receiver.requests.length, 0);

  const { location } = await send(edited);
  const [first] = await receiver.received(1);
  assert.match(first?.body.toString() ?? "", /"name":"Ann <b>Ö<\/b>"/);
  const { text } = await operator.get(location ?? "");
  assert.ok(!text.includes("<b>Ö</b>"), "text stays text");
  assert.match(valueOf(text, "body") ?? "", /Ann <b>Ö<\/b>/, "it can be sent again");
  // A sample that nobody touched means the type that was chosen.
  await send(sample, "booking.confirmed");
  const [, second] = await receiver.received(2);
  assert.equal(second?.headers["x-bookme-event"], "booking.confirmed");
});

onServer("without a script, another sample is one button away", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await start(database, [endpoint("crm", receiver.url)]);
  const operator = await signIn(daemon.url);
  const { status, location } = await operator.submit("/dashboard/test", {
    endpoint: "crm",
    type: "service.created",
    body: "{",
    sample: "1",
  });
  assert.deepEqual([status, location], [
    303,
    "/dashboard/test?endpoint=crm&event=service.created#send",
  ]);
  const { text } = await operator.get("/dashboard/test?endpoint=crm&event=service.created");
  assert.match(valueOf(text, "body") ?? "", /"event": "service.created"/);
  assert.equal(receiver.requests.length, 0);
});

onServer("a form that is sent twice sends one test", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await start(database, [endpoint("crm", receiver.url)]);
  const operator = await signIn(daemon.url);
  const { text } = await operator.get("/dashboard/test");
  const fields = {
    csrf: valueOf(text.slice(text.indexOf('id="send"')), "csrf") ?? "",
    once: valueOf(text, "once") ?? "",
    endpoint: "crm",
    type: "booking.created",
  };
  const both = await Promise.all([1, 2].map(() => operator.post("/dashboard/test", fields)));
  assert.deepEqual(both.map(({ status }) => status), [303, 303]);
  assert.equal(both[0]?.location, both[1]?.location);
  const { body } = await daemon.api("events");
  assert.equal(body.data.length, 1);
});

onServer("what names nothing is refused where it was said", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await start(database, [endpoint("crm", receiver.url)]);
  const operator = await signIn(daemon.url);
  const unknown = await operator.get("/dashboard/test?endpoint=cmr");
  assert.equal(unknown.status, 422);
  assert.equal(errorOf(unknown.text, "endpoint"), 'There is no endpoint "cmr"; did you mean crm?');
  const type = await operator.get("/dashboard/test?event=booking.crated");
  assert.equal(
    errorOf(type.text, "type"),
    "There is no such event type; did you mean booking.created?",
  );
  assert.equal((await operator.get("/dashboard/test?sent=evt_nothing")).status, 404);
  const real = await daemon.post({
    event: "booking.confirmed",
    timestamp: "2026-11-26T14:02:11Z",
    data: { appointment: { id: "apt_1" } },
  });
  const sent = await operator.get(`/dashboard/test?sent=${real.body.id}`);
  assert.equal(sent.status, 404, "no test");
  const gone = await operator.submit("/dashboard/test", {
    endpoint: "nobody",
    type: "booking.created",
  });
  assert.equal(gone.status, 404);
  const wall = await signIn(daemon.url, VIEWER);
  const { text } = await wall.get("/dashboard/test");
  assert.ok(!text.includes('name="body"'));
  assert.match(textOf(text), /Only an admin token sends tests/);
});

onServer("a business tests its own systems, in its own words", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await start(database, [endpoint("crm", receiver.url)]);
  const api = await checkedApi(daemon);
  const link = async (business: string) =>
    (await api.expect(201, "POST", "portal-links", { business })).body.token as string;
  const make = async (token: string, description: string) => {
    const response = await fetch(`${daemon.url}/api/endpoints`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({
        url: "https://till.invalid/hook",
        events: ["booking.*"],
        description,
      }),
    });
    return (await response.json()).id as string;
  };
  const [ana, ben] = [await link("bus_ana"), await link("bus_ben")];
  const [hers, his] = [await make(ana, "Ana’s till"), await make(ben, "Ben’s till")];
  const business = await openLink(daemon.url, ana);
  const start_page = await business.get("/portal/test");
  assert.equal(headlineOf(start_page.text), "Send Ana’s till a test: “New booking”");
  assert.match(textOf(start_page.text), /New booking/);
  assert.match(valueOf(start_page.text, "body") ?? "", /"id": "bus_ana"/);
  assert.ok(!start_page.text.includes("crm") && !start_page.text.includes("Ben"));
  const { location } = await business.submit("/portal/test", {
    endpoint: hers,
    type: "booking.created",
    body: valueOf(start_page.text, "body") ?? "",
  });
  const { text } = await business.get(location ?? "");
  assert.match(
    headlineOf(text),
    /till/,
  );
  assert.match(textOf(text), /Sent Ana’s till Set to receive “New booking”\./);

  const foreign = await business.submit(
    "/portal/test",
    { endpoint: his, type: "booking.created" },
    "/portal/test",
  );
  assert.equal(foreign.status, 404);
  const other = await openLink(daemon.url, ben);
  const theirs = await other.get((location ?? "").replace("/dashboard", "/portal"));
  const never = await other.get("/portal/test?sent=evt_06yn4b7c2d5f0000e1g3q8r4ss");
  assert.deepEqual([theirs.status, never.status], [404, 404]);
  assert.equal((await other.get(`/portal/test?endpoint=${hers}`)).status, 422);
});
