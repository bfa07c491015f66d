import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { makeSigner } from "../../../lib/core/signature.ts";
import { checkedApi, ENCRYPTION_KEY } from "../../support/checked.ts";
import { endpoint, SECRET, startDaemon, type TestDaemon, VIEWER } from "../../support/daemon.ts";
import { onServer, type TestDatabase } from "../../support/databases.ts";
import { errorOf, headlineOf, textOf, valueOf } from "../../support/html.ts";
import { startReceiver } from "../../support/receiver.ts";
import { openLink, signIn, type Visitor } from "../../support/visitor.ts";

const BODY = '{"event":"booking.created","data":{"note":"é & <b>"}}';
const TYPED = "whsec_dHlwZWQtc2VjcmV0LW9mLXRoZS10ZXN0cy0wMTIzNDU2Nw==";

function signed(secret: string, body = BODY): string {
  return `X-BookMe-Signature: ${makeSigner(secret).bookme(Buffer.from(body))}`;
}

function start(database: TestDatabase, endpoints: Record<string, unknown>[]) {
  return startDaemon({ database: database.section, encryption_key: ENCRYPTION_KEY, endpoints });
}

const check = (visitor: Visitor, fields: Record<string, string>, base = "/dashboard") =>
  visitor.submit(`${base}/verify`, { body: BODY, endpoint: "", secret: "", ...fields });

onServer("a request is checked against an endpoint's own secret, which no page has", async (
  database,
) => {
  await using daemon = await start(database, [endpoint("crm", "https://crm.example/")]);
  const operator = await signIn(daemon.url);
  const start_page = await operator.get("/dashboard/verify?endpoint=crm");
  assert.equal(headlineOf(start_page.text), "Paste a request to check its signature");
  assert.equal(valueOf(start_page.text, "endpoint"), "crm");
  const log = `POST /hook HTTP/1.1\nAuthorization: Bearer credential-0123\n${signed(SECRET)}`;
  const good = await check(operator, { endpoint: "crm", headers: log });
  assert.equal(good.status, 200);
  assert.equal(good.headers.get("cache-control"), "no-store");
  assert.equal(headlineOf(good.text), "The signature is valid for crm");
  assert.equal(valueOf(good.text, "body"), BODY, "kept");
  assert.equal(valueOf(good.text, "headers"), signed(SECRET), "the others are not repeated");
  assert.ok(!good.text.includes("<b>"));
  for (const secret of [SECRET, "credential-0123"]) assert.ok(!good.text.includes(secret));

  const parsed = await check(operator, {
    endpoint: "crm",
    headers: signed(SECRET),
    body: JSON.stringify(JSON.parse(BODY), null, 2),
  });
  assert.equal(headlineOf(parsed.text), "The body was parsed and written again");
  const other = await check(operator, { endpoint: "crm", headers: signed(TYPED) });
  assert.equal(headlineOf(other.text), "Another secret signed it, or the body was changed");
});

onServer("line breaks are what they were before the browser posted them", async (database) => {
  await using daemon = await start(database, [endpoint("crm", "https://crm.example/")]);
  const operator = await signIn(daemon.url);
  for (const body of ['{\n  "event": "x"\n}', '{\r\n  "event": "x"\r\n}']) {
    const { text } = await check(operator, {
      endpoint: "crm",
      headers: signed(SECRET, body),
      body: body.replaceAll(/\r?\n/g, "\r\n"),
    });
    assert.equal(headlineOf(text), "The signature is valid for crm");
  }
});

onServer("a secret that is typed is not stored, not logged, and in no page", async (database) => {
  await using daemon = await start(database, [endpoint("crm", "https://crm.example/")]);
  await using db = await database.open();
  const operator = await signIn(daemon.url);
  const valid = await check(operator, { secret: TYPED, headers: signed(TYPED), endpoint: "crm" });
  assert.equal(headlineOf(valid.text), "The signature is valid");
  const wrong = await check(operator, { secret: TYPED, headers: signed(SECRET) });
  assert.equal(headlineOf(wrong.text), "Another secret signed it, or the body was changed");
  const refused = await check(operator, { secret: TYPED, headers: "nothing" });
  assert.equal(refused.status, 422);
  assert.match(errorOf(refused.text, "headers") ?? "", /^No X-BookMe-Signature/);
  const short = await check(operator, { secret: "short-secret", headers: signed(SECRET) });
  assert.match(
    textOf(short.text),
    /The secret that was typed: A secret has at least 24 characters/,
  );
  for (const { text } of [valid, wrong, refused, short]) {
    assert.ok(!text.includes(TYPED) && !text.includes("short-secret"));
    assert.equal(valueOf(text, "secret"), "");
  }
  assert.ok(!JSON.stringify(daemon.log).includes(TYPED));
  const rows = await db.admin<{ text: string }[]>`
    select to_jsonb(a)::text as text from audit a union all
    select to_jsonb(f)::text from session_forms f`;
  for (const { text } of rows) assert.ok(!text.includes(TYPED));
});

onServer("each mistake is next to its field", async (database) => {
  await using daemon = await start(database, [endpoint("crm", "https://crm.example/")]);
  const operator = await signIn(daemon.url);
  const none = await check(operator, { headers: signed(SECRET) });
  assert.equal(none.status, 422);
  assert.equal(errorOf(none.text, "endpoint"), "Is missing: an endpoint, or a secret");
  assert.equal(valueOf(none.text, "body"), BODY);
  const unknown = await check(operator, { headers: signed(SECRET), endpoint: "cmr" });
  assert.equal(errorOf(unknown.text, "endpoint"), 'There is no endpoint "cmr"; did you mean crm?');
  const part = await check(operator, { endpoint: "crm", headers: "webhook-signature: v1,abcd" });
  assert.equal(
    errorOf(part.text, "headers"),
    "Have no webhook-id, which webhook-signature signs",
  );
  const wall = await signIn(daemon.url, VIEWER);
  const { text } = await wall.get("/dashboard/verify");
  assert.ok(!text.includes('name="secret"'));
});

/** The link of a business, and an endpoint that it made. */
async function settle(daemon: TestDaemon, business: string) {
  const api = await checkedApi(daemon);
  const { token } = (await api.expect(201, "POST", "portal-links", { business })).body;
  const response = await ask(daemon, "endpoints", token, {
    url: "https://till.invalid/",
    events: ["*"],
    description: `Till of ${business}`,
  });
  return { token: token as string, id: response.body.id, secret: response.body.secret };
}

async function ask(daemon: TestDaemon, path: string, token: string, body: unknown) {
  const response = await fetch(`${daemon.url}/api/${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

onServer("a business checks with its own endpoints only, and not too often", async (database) => {
  await using daemon = await start(database, [endpoint("crm", "https://crm.example/")]);
  const [ana, ben] = [await settle(daemon, "bus_ana"), await settle(daemon, "bus_ben")];
  const hers = await openLink(daemon.url, ana.token);
  const fields = { endpoint: ana.id, headers: signed(ana.secret) };
  const { text } = await check(hers, fields, "/portal");
  assert.equal(headlineOf(text), "The signature is valid for Till of bus_ana");
  assert.ok(!text.includes("crm") && !text.includes("bus_ben"));
  const foreign = await check(hers, { ...fields, endpoint: ben.id }, "/portal");
  const never = await check(hers, { ...fields, endpoint: "ep_0never" }, "/portal");
  assert.deepEqual([foreign.status, never.status], [422, 422]);
  const [first, second] = [foreign, never].map(({ text }) => errorOf(text, "endpoint") ?? "");
  assert.equal(first?.replace(ben.id, "ID"), second?.replace("ep_0never", "ID"));
  const statuses: number[] = [];
  for (let nth = 0; nth < 11; nth++) {
    statuses.push((await check(hers, fields, "/portal")).status);
  }
  assert.equal(statuses.at(-1), 429);
});

onServer("the API checks signatures, for a business within its scope", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await start(database, [endpoint("crm", receiver.url)]);
  const api = await checkedApi(daemon);
  const ana = await settle(daemon, "bus_ana");
  // All headers of a real delivery.
  await api.expect(200, "POST", "endpoints/crm/test", { event: "booking.created" });
  const [request] = await receiver.received(1);
  const { body } = await api.expect(200, "POST", "verify", {
    endpoint: "crm",
    body: request?.body.toString("base64"),
    body_encoding: "base64",
    headers: request?.headers,
  });
  assert.deepEqual(
    body.findings.map((one: { header: string; valid: boolean }) => [one.header, one.valid]),
    [["X-BookMe-Signature", true], ["webhook-signature", true]],
  );
  assert.deepEqual([body.valid, body.previous_ends_at, body.remark], [true, null, null]);
  const { body: rotated } = await api.expect(200, "POST", `endpoints/${ana.id}/rotate`, {
    overlap: "1h",
  });
  const headers = { "x-bookme-signature": makeSigner(ana.secret).bookme(Buffer.from(BODY)) };
  const mine = await ask(daemon, "verify", ana.token, { endpoint: ana.id, body: BODY, headers });
  assert.deepEqual(mine.body.findings[0].mistakes, ["previous_secret"]);
  assert.equal(mine.body.findings[0].secret, "previous");
  assert.equal(mine.body.previous_ends_at, rotated.rotation.overlap_ends_at);
  const hers = await openLink(daemon.url, ana.token);
  const { text } = await check(hers, { endpoint: ana.id, headers: signed(ana.secret) }, "/portal");
  assert.match(
    headlineOf(text),
    /^The signature is valid for the previous secret, which ends at \d\d:\d\d UTC$/,
  );
  const theirs = await ask(daemon, "verify", ana.token, { endpoint: "crm", body: BODY, headers });
  assert.deepEqual([theirs.status, theirs.body.errors[0].pointer], [422, "/endpoint"]);
  for (
    const [asked, pointer] of [
      [{ body: BODY, headers }, "/endpoint"],
      [{ endpoint: "crm", secret: TYPED, body: BODY, headers }, "/secret"],
      [{ secret: TYPED, body: BODY, headers: {} }, "/headers"],
      [
        { secret: TYPED, body: BODY, headers: { "x-bookme-signature": 7 } },
        "/headers/x-bookme-signature",
      ],
      [{ secret: TYPED, body: "é", body_encoding: "base64", headers }, "/body"],
    ] as const
  ) {
    const { body, status } = await ask(daemon, "verify", ana.token, asked);
    assert.deepEqual([status, body.errors?.[0]?.pointer], [422, pointer]);
    assert.ok(!JSON.stringify(body).includes(TYPED));
  }
});
