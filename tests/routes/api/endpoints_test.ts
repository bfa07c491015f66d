import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { checkedApi, ENCRYPTION_KEY } from "../../support/checked.ts";
import { ADMIN, booking, endpoint, type Front, startDaemon, VIEWER } from "../../support/daemon.ts";
import { onBoth, onServer, type TestDatabase } from "../../support/databases.ts";
import { testCertificates } from "../../support/tls.ts";
import { startReceiver, statuses } from "../../support/receiver.ts";
import { until } from "../../support/wait.ts";

const CANARY = "canary-secret-that-must-not-show-1";

onServer(
  "POST /api/endpoints makes an endpoint that is sent to and shows its secret once",
  async (database) => {
    await using receiver = await startReceiver();
    const shown: string[] = [];
    {
      await using daemon = await startDaemon({
        database: database.section,
        encryption_key: ENCRYPTION_KEY,
      });
      const api = await checkedApi(daemon);
      const { body: made } = await api.expect(201, "POST", "endpoints", {
        url: `${receiver.url}/crm`,
        events: ["booking.*", "service.created"],
        secret: CANARY,
        businesses: ["bus_1"],
        headers: { "X-Tenant": `tenant-${CANARY}` },
        timeout_ms: 5_000,
        rate_limit: "300/m",
        description: "Ünïcode ✓",
      });
      assert.match(made.id, /^ep_[0-9a-hjkmnp-tv-z]{20}$/);
      assert.equal(made.secret, CANARY);
      assert.equal(made.source, "api");
      assert.equal(made.timeout_ms, 5_000);
      assert.equal(made.rate_limit, "5/s");
      assert.deepEqual(made.retry_ms, [0, 6e4, 3e5, 9e5, 36e5, 216e5, 864e5]);
      assert.deepEqual(made.inherited, ["retry_ms"]);
      assert.deepEqual(made.headers, { "X-Tenant": "[redacted]" });
      assert.equal(made.description, "Ünïcode ✓");
      const { secret: _, ...rest } = made;
      assert.deepEqual(
        { ...(await api.expect(200, "GET", `endpoints/${made.id}`)).body },
        { ...rest, hints: [] },
        "the same without its secret",
      );
      const { body: event } = await daemon.post(booking("apt_1", "bus_1"));
      assert.equal(event.deliveries, 1, "in force when it is answered");
      assert.equal((await daemon.post(booking("apt_1", "bus_2"))).body.deliveries, 0);
      const [request] = await receiver.received(1);
      const signature = createHmac("sha256", CANARY).update(request?.body ?? "").digest("hex");
      assert.equal(request?.headers["x-bookme-signature"], `sha256=${signature}`);
      assert.equal(request?.headers["x-tenant"], `tenant-${CANARY}`);
      const delivery = await daemon.delivery(await daemon.deliveryId(event.id));
      assert.equal(delivery.explanation, "Delivered after 1 attempt, with status 200");
      for (
        const path of [
          "endpoints",
          `endpoints/${made.id}`,
          "audit",
          "config",
          `deliveries/${delivery.id}`,
          `events/${event.id}`,
          "stats",
        ]
      ) shown.push(JSON.stringify((await api.expect(200, "GET", path)).body));
      shown.push(JSON.stringify(daemon.log));
    }
    const db = await database.open();
    try {
      for (const table of ["endpoints", "endpoint_versions", "audit", "attempts"]) {
        shown.push(JSON.stringify(await db.admin.unsafe(`select * from ${table}`)));
        // A bytea as its bytes.
        shown.push(JSON.stringify(await db.admin.unsafe(`select t::text from ${table} t`)));
      }
    } finally {
      await db.close();
    }
    const hex = Array.from(new TextEncoder().encode(CANARY), (b) => b.toString(16)).join("");
    for (const text of shown) {
      assert.ok(!text.includes(CANARY) && !text.includes(hex), text.slice(0, 300));
    }
  },
);

onBoth(
  "an endpoint made through the API outlives the daemon, with its secret",
  async (database) => {
    await using receiver = await startReceiver();
    const sections = { database: database.section, encryption_key: ENCRYPTION_KEY };
    const body = { url: receiver.url, events: ["*"] };
    let secret = "";
    {
      await using daemon = await startDaemon(sections);
      const api = await checkedApi(daemon);
      secret = (await api.expect(201, "POST", "endpoints", body)).body.secret;
    }
    assert.match(secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
    await using daemon = await startDaemon(sections);
    await daemon.post(booking("apt_1"));
    const [request] = await receiver.received(1);
    const signature = createHmac("sha256", secret).update(request?.body ?? "").digest("hex");
    assert.equal(request?.headers["x-bookme-signature"], `sha256=${signature}`);
  },
);

onServer("PATCH /api/endpoints/:id changes what is given and nothing else", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: { timeout: "20s" },
  });
  const api = await checkedApi(daemon);
  const { body: made } = await api.expect(201, "POST", "endpoints", {
    url: receiver.url,
    events: ["booking.*"],
    timeout_ms: 1_000,
    concurrency: 3,
    headers: { "X-One": "1", "X-Two": "2" },
    secret: CANARY,
  });
  const path = `endpoints/${made.id}`;
  const patch = async (body: unknown) => (await api.expect(200, "PATCH", path, body)).body;
  const { secret: _, ...before } = made;
  const { cancels, cancels_exact, ...same } = await patch({});
  assert.deepEqual([cancels, cancels_exact], [0, true]);
  assert.deepEqual({ ...same, version: 1, updated_at: before.updated_at }, before);
  const changed = await patch({ timeout_ms: null, concurrency: null, url: `${receiver.url}/new` });
  assert.equal(changed.timeout_ms, 20_000);
  assert.deepEqual(changed.inherited, ["timeout_ms", "retry_ms"]);
  assert.equal(changed.concurrency, null);
  assert.equal(changed.url, `${receiver.url}/new`);
  assert.deepEqual(changed.events, ["booking.*"]);
  const shown = "[redacted]";
  const headers = { "X-One": shown, "X-Three": "3" };
  assert.equal((await patch({ headers })).version, changed.version + 1);
  for (const unknown of ["X-Four", "constructor"]) {
    const { body } = await api.expect(422, "PATCH", path, { headers: { [unknown]: shown } });
    assert.equal(body.errors[0].pointer, `/headers/${unknown}`);
  }
  await daemon.post(booking("apt_1"));
  const [request] = await receiver.received(1);
  assert.equal(request?.path, "/new");
  assert.equal(request?.headers["x-three"], "3");
  assert.equal(request?.headers["x-one"], "1", "sent back as it was shown");
  assert.equal(request?.headers["x-two"], undefined);
  const signature = createHmac("sha256", CANARY).update(request?.body ?? "").digest("hex");
  assert.equal(request?.headers["x-bookme-signature"], `sha256=${signature}`, "the secret stays");

  const { version } = (await api.expect(200, "GET", path)).body;
  const conflict = await api.expect(409, "PATCH", path, {
    version: version - 1,
    url: receiver.url,
  });
  assert.match(conflict.body.detail, /read it again/);
  assert.equal((await patch({ version, description: "x" })).version, version + 1);
  assert.equal((await patch({ unsigned: true })).unsigned, true);
  await daemon.post(booking("apt_2"));
  const [, unsigned] = await receiver.received(2);
  assert.equal(unsigned?.headers["x-bookme-signature"], undefined);
  await api.expect(422, "PATCH", path, { unsigned: false });
  const rotated = await api.expect(200, "POST", `${path}/rotate`);
  assert.equal(rotated.body.unsigned, false);
  await daemon.post(booking("apt_3"));
  const [, , signed] = await receiver.received(3);
  const mac = createHmac("sha256", rotated.body.secret).update(signed?.body ?? "").digest("hex");
  assert.equal(signed?.headers["x-bookme-signature"], `sha256=${mac}`);
});

onServer("PATCH of one endpoint by many at once loses no change", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
  });
  const api = await checkedApi(daemon);
  const { body: made } = await api.expect(201, "POST", "endpoints", {
    url: "http://127.0.0.1:1/",
    events: ["*"],
  });
  const bodies = [{ description: "d" }, { concurrency: 7 }, { timeout_ms: 1234 }];
  const answers = await Promise.all(
    bodies.map((b) => api.call("PATCH", `endpoints/${made.id}`, b)),
  );
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200]);
  const { body } = await api.expect(200, "GET", `endpoints/${made.id}`);
  assert.deepEqual([body.description, body.concurrency, body.timeout_ms], ["d", 7, 1234]);
  assert.equal(body.version, 4);
});

const GOOD = { url: "http://127.0.0.1:1/", events: ["*"] };

/** Bodies that are refused, with the pointers of their mistakes. */
const BAD_BODIES: readonly [body: unknown, ...pointers: string[]][] = [
  [[], ""],
  [null, ""],
  ['"text"', ""],
  [{}, "/url", "/events"],
  [{ ...GOOD, urls: 1 }, "/urls"],
  ['{"url":"http://127.0.0.1:1/","events":["*"],"__proto__":{}}', "/__proto__"],
  ['{"url":"http://127.0.0.1:1/","events":["*"],"constructor":1}', "/constructor"],
  [{ ...GOOD, url: 5 }, "/url"],
  [{ ...GOOD, url: "" }, "/url"],
  [{ ...GOOD, url: "ftp://example.com/" }, "/url"],
  [{ ...GOOD, url: "https://*/" }, "/url"],
  [{ ...GOOD, url: "https://./" }, "/url"],
  [{ ...GOOD, url: "https://a..b/" }, "/url"],
  [{ ...GOOD, url: "http://8.8.8.8/" }, "/url"],
  [{ ...GOOD, url: "https://user:pass@example.com/" }, "/url"],
  [{ ...GOOD, url: "https://169.254.169.254/latest" }, "/url"],
  [{ ...GOOD, url: "https://0xa9fea9fe/" }, "/url"],
  [{ ...GOOD, url: "https://10.0.0.1/" }, "/url"],
  [{ ...GOOD, url: "https://[::ffff:10.0.0.1]/" }, "/url"],
  [{ ...GOOD, url: `https://example.com/${"x".repeat(2048)}` }, "/url"],
  [{ ...GOOD, url: "https://example.com/\u0000" }, "/url"],
  [{ ...GOOD, events: [] }, "/events"],
  [{ ...GOOD, events: "*" }, "/events"],
  [{ ...GOOD, events: [1] }, "/events/0"],
  [{ ...GOOD, events: ["booking.*", "nothing.at.all"] }, "/events/1"],
  [{ ...GOOD, events: ["booking.*", "booking.created"] }, "/events/1"],
  [{ ...GOOD, events: ["*", "*"] }, "/events/1"],
  [{ ...GOOD, events: ["book'ing; drop table endpoints"] }, "/events/0"],
  [{ ...GOOD, events: Array(201).fill("*") }, "/events"],
  [{ ...GOOD, secret: "short" }, "/secret"],
  [{ ...GOOD, secret: null }, "/secret"],
  [{ ...GOOD, secret: "whsec_????" }, "/secret"],
  [{ ...GOOD, secret: CANARY, unsigned: true }, "/unsigned"],
  [{ ...GOOD, unsigned: "yes" }, "/unsigned"],
  [{ ...GOOD, businesses: [] }, "/businesses"],
  [{ ...GOOD, businesses: ["a", "a"] }, "/businesses/1"],
  [{ ...GOOD, businesses: ["\u0000"] }, "/businesses/0"],
  [{ ...GOOD, businesses: ["\ud800"] }, "/businesses/0"],
  [{ ...GOOD, businesses: ["a\u001eb"] }, "/businesses/0"],
  [{ ...GOOD, headers: { "X-BookMe-Event": "x" } }, "/headers/X-BookMe-Event"],
  [{ ...GOOD, headers: { "Content-Length": "0" } }, "/headers/Content-Length"],
  [{ ...GOOD, headers: { "X-A": "a\r\nX-B: b" } }, "/headers/X-A"],
  [{ ...GOOD, headers: { "X-A": 1 } }, "/headers/X-A"],
  [{ ...GOOD, headers: { "X/A": "1" } }, "/headers/X~1A"],
  [{ ...GOOD, headers: { "X-A": "1", "x-a": "2" } }, "/headers/x-a"],
  [{ ...GOOD, headers: [] }, "/headers"],
  [{ ...GOOD, timeout_ms: 99 }, "/timeout_ms"],
  [{ ...GOOD, timeout_ms: 300_001 }, "/timeout_ms"],
  [{ ...GOOD, timeout_ms: 1000.5 }, "/timeout_ms"],
  [{ ...GOOD, timeout_ms: "10s" }, "/timeout_ms"],
  [{ ...GOOD, retry_ms: [] }, "/retry_ms"],
  [{ ...GOOD, retry_ms: [-1] }, "/retry_ms/0"],
  [{ ...GOOD, retry_ms: Array(21).fill(0) }, "/retry_ms"],
  [{ ...GOOD, retry_ms: [1e12] }, "/retry_ms/0"],
  [{ ...GOOD, concurrency: 0 }, "/concurrency"],
  [{ ...GOOD, concurrency: 4097 }, "/concurrency"],
  [{ ...GOOD, rate_limit: 50 }, "/rate_limit"],
  [{ ...GOOD, rate_limit: "0/s" }, "/rate_limit"],
  [{ ...GOOD, rate_limit: "50/d" }, "/rate_limit"],
  [{ ...GOOD, rate_limit: "999999/s" }, "/rate_limit"],
  [{ ...GOOD, description: "" }, "/description"],
  [{ ...GOOD, description: "x".repeat(501) }, "/description"],
  [{ ...GOOD, description: "a\u0000b" }, "/description"],
  [{ ...GOOD, description: "\udfff" }, "/description"],
];

onServer(
  "POST /api/endpoints refuses each mistake with its pointer, and shows no secret",
  async (database) => {
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
    });
    const api = await checkedApi(daemon);
    for (const [body, ...pointers] of BAD_BODIES) {
      const answer = await api.expect(422, "POST", "endpoints", body);
      assert.equal(answer.body.code, "invalid");
      const found = answer.body.errors.map((error: { pointer: string }) => error.pointer);
      assert.deepEqual(found, pointers, JSON.stringify(body));
      assert.ok(!JSON.stringify(answer.body).includes(CANARY));
    }
    assert.deepEqual((await api.expect(200, "GET", "endpoints")).body.data, []);
    assert.deepEqual((await api.expect(200, "GET", "audit")).body.data, []);
  },
);

onServer("the API refuses malformed bodies and unknown members", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
  });
  const post = async (body: BodyInit, type: string | null, path = "endpoints") => {
    const response = await fetch(`${daemon.url}/api/${path}`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${ADMIN}`,
        ...(type === null ? {} : { "content-type": type }),
      },
      body,
    });
    const { status } = response;
    return { status, body: await response.json() };
  };
  const json = "application/json";
  const text = JSON.stringify(GOOD);
  const bytes = new TextEncoder();
  for (
    const [status, body, type] of [
      [415, text, "text/plain"],
      [415, text, "application/x-www-form-urlencoded"],
      [400, "", json],
      [400, "{", json],
      [400, "nonsense", json],
      [400, `{"secret":"${CANARY}",`, json],
      [400, `{"secret":"${CANARY}" x}`, json],
      [400, new Uint8Array([0x22, 0xff, 0x22]), json],
      [413, " ".repeat(1024 * 1024 + 1), json],
      [422, `${"[".repeat(100_000)}${"]".repeat(100_000)}`, json],
      [201, text, "Application/JSON; charset=utf-8"],
      [201, bytes.encode(text), json],
    ] as const
  ) {
    const answer = await post(body, type);
    assert.equal(answer.status, status, `${type} ${String(body).slice(0, 60)}`);
    assert.ok(!JSON.stringify(answer.body).includes(CANARY.slice(0, 12)));
  }
  const api = await checkedApi(daemon);
  for (const method of ["GET", "PATCH", "DELETE"]) {
    await api.expect(
      404,
      method,
      "endpoints/ep_00000000000000000000",
      method === "PATCH" ? {} : undefined,
    );
  }
  for (const action of ["pause", "resume", "rotate"]) {
    await api.expect(404, "POST", `endpoints/nobody/${action}`);
  }
  await api.expect(404, "POST", "endpoints/nobody/test", { event: "booking.created" });
  for (const query of ["limit=0", "cursors=x", "source=db", "retired=yes", "limit=1&limit=2"]) {
    await api.expect(422, "GET", `endpoints?${query}`);
  }
  await api.expect(422, "GET", "config?x=1");
  const nothing = await fetch(`${daemon.url}/api/nothing`, {
    headers: { authorization: `Bearer ${ADMIN}` },
  });
  assert.equal(nothing.status, 404);
  assert.match(nothing.headers.get("content-type") ?? "", /problem\+json/);
  await nothing.body?.cancel();
});

onServer(
  "POST /api/endpoints/:id/check has a verdict on state, DNS, addresses and TLS",
  async (database) => {
    const certificates = await testCertificates();
    await using receiver = await startReceiver(undefined, certificates.soon);
    const sections = { database: database.section, endpoints: [] as Record<string, unknown>[] };
    const url = receiver.url.replace("127.0.0.1", "localhost");
    const tls = { ca: `file:${certificates.files.ca}` };
    sections.endpoints.push(endpoint("crm", url, { tls }), endpoint("bare", url));
    let sealed = "";
    {
      await using daemon = await startDaemon({ ...sections, encryption_key: ENCRYPTION_KEY });
      const api = await checkedApi(daemon);
      const { body: crm } = await api.expect(200, "POST", "endpoints/crm/check");
      assert.deepEqual(crm.addresses, ["127.0.0.1"]);
      assert.equal(crm.ok, true);
      assert.equal(crm.certificate.days_left, 10);
      assert.deepEqual(crm.certificate.names, ["localhost", "127.0.0.1", "good.test", "::1"]);
      assert.deepEqual([crm.certificate.subject, crm.certificate.issuer], ["soon", "ca"]);
      assert.deepEqual(crm.findings.map(({ mark }: { mark: string }) => mark), ["!"]);
      await api.expect(200, "POST", "endpoints/bare/pause", { reason: "Maintenance" });
      const { body: bare } = await api.expect(200, "POST", "endpoints/bare/check");
      assert.equal(bare.ok, false);
      const texts = bare.findings.map(({ mark, text }: { mark: string; text: string }) =>
        `${mark} ${text}`
      );
      assert.match(texts[0], /^! paused since \d{4}-.* \(Maintenance\): its deliveries wait$/);
      assert.match(texts[1], /^✗ .* unknown authority, "ca"$/);
      await api.expect(404, "POST", "endpoints/nobody/check");
      assert.equal((await daemon.api("endpoints/crm/check", VIEWER, "POST")).status, 403);
      assert.equal(receiver.requests.length, 0, "no request is sent");
      const made = { url: "https://nowhere.invalid/", events: ["*"] };
      sealed = (await api.expect(201, "POST", "endpoints", made)).body.id;
      const { body: gone } = await api.expect(200, "POST", `endpoints/${sealed}/check`);
      assert.deepEqual([gone.addresses, gone.certificate], [[], null]);
      assert.match(gone.findings[0].text, /^DNS /);
      const { body: audit } = await api.expect(200, "GET", "audit?object=crm");
      assert.deepEqual(
        audit.data.map(({ action }: { action: string }) => action),
        ["endpoint.created"],
        "nothing was changed",
      );
    }
    await using daemon = await startDaemon(sections);
    const { body } = await (await checkedApi(daemon)).expect(
      200,
      "POST",
      `endpoints/${sealed}/check`,
    );
    assert.match(body.findings[0].text, /^cannot be sent to: /);
    assert.match(body.findings[0].remedy, /encryption_key/);
  },
);

onServer("endpoints of the file can be paused and resumed, and nothing else", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    endpoints: [endpoint("crm", receiver.url, { headers: { "X-Key": CANARY } })],
  });
  const api = await checkedApi(daemon);
  for (
    const [method, path, body] of [
      ["PATCH", "endpoints/crm", { description: "x" }],
      ["DELETE", "endpoints/crm", undefined],
      ["POST", "endpoints/crm/rotate", undefined],
    ] as const
  ) {
    const answer = await api.expect(409, method, path, body);
    assert.match(answer.body.detail, /belongs to the configuration file.*reload/);
  }
  const { body: paused } = await api.expect(200, "POST", "endpoints/crm/pause");
  assert.equal(paused.paused, true);
  assert.equal(paused.pause_reason, "Paused by ops");
  assert.deepEqual(paused.headers, { "X-Key": "[redacted]" });
  assert.equal(
    (await api.expect(200, "POST", "endpoints/crm/pause")).body.paused_at,
    paused.paused_at,
  );
  const { body: event } = await daemon.post(booking("apt_1"));
  assert.equal(event.deliveries, 1, "a paused endpoint goes on being owed");
  const id = await daemon.deliveryId(event.id);
  const waiting = (await api.expect(200, "GET", `deliveries/${id}`)).body;
  assert.equal(
    waiting.explanation,
    "Waits until the endpoint is resumed; it is paused: Paused by ops",
  );
  await api.expect(409, "POST", "endpoints/crm/test", { event: "booking.created" });
  assert.equal(receiver.requests.length, 0);
  await api.expect(200, "POST", "endpoints/crm/resume");
  assert.equal((await daemon.delivery(id)).status, "delivered");
  const { body: audit } = await api.expect(200, "GET", "audit?object=crm");
  assert.deepEqual(
    audit.data.map((entry: { action: string; actor: string }) => [entry.action, entry.actor]),
    [
      ["endpoint.resumed", "ops"],
      ["endpoint.paused", "ops"],
      ["endpoint.created", "the configuration file"],
    ],
  );
});

onServer("DELETE /api/endpoints/:id retires it and cancels what it is owed", async (database) => {
  await using receiver = await startReceiver(statuses(500));
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
  });
  const api = await checkedApi(daemon);
  const { body: made } = await api.expect(201, "POST", "endpoints", {
    url: receiver.url,
    events: ["*"],
  });
  const { body: event } = await daemon.post(booking("apt_1"));
  const id = await daemon.deliveryId(event.id);
  await daemon.delivery(id, (delivery) => delivery.attempt_count === 1);
  const { body: retired } = await api.expect(200, "DELETE", `endpoints/${made.id}`);
  assert.deepEqual([retired.cancels, retired.cancels_exact], [1, true]);
  assert.ok(Date.parse(retired.retired_at) > 0);
  const { body: delivery } = await api.expect(200, "GET", `deliveries/${id}`);
  assert.equal(delivery.status, "cancelled");
  assert.equal(delivery.cancel_reason, "endpoint_retired");
  assert.equal(delivery.attempts.length, 1, "history stays");
  assert.equal((await daemon.post(booking("apt_2"))).body.deliveries, 0);
  await api.expect(409, "DELETE", `endpoints/${made.id}`);
  await api.expect(409, "PATCH", `endpoints/${made.id}`, {});
  await api.expect(409, "POST", `endpoints/${made.id}/rotate`);
  await api.expect(409, "POST", `deliveries/${id}/retry`);
  assert.deepEqual((await api.expect(200, "GET", "endpoints")).body.data, []);
  const { body: gone } = await api.expect(200, "GET", "endpoints?retired=true");
  assert.deepEqual(gone.data.map((one: { id: string }) => one.id), [made.id]);
  assert.equal((await api.expect(200, "GET", `endpoints/${made.id}`)).body.sendable, false);
});

onServer(
  "without a key no endpoint can be made, and one of another key is not sent to",
  async (database) => {
    await using receiver = await startReceiver();
    const database_section = { database: database.section };
    let id = "";
    {
      await using daemon = await startDaemon({
        ...database_section,
        encryption_key: ENCRYPTION_KEY,
      });
      const api = await checkedApi(daemon);
      const input = { url: receiver.url, events: ["*"] };
      id = (await api.expect(201, "POST", "endpoints", input)).body.id;
    }
    await using daemon = await startDaemon(database_section);
    const api = await checkedApi(daemon);
    const refused = await api.expect(409, "POST", "endpoints", GOOD);
    assert.match(refused.body.detail, /openssl rand -base64 32.*encryption_key/);
    const { body: shown } = await api.expect(200, "GET", `endpoints/${id}`);
    assert.equal(shown.sendable, false);
    assert.match(shown.unsendable_reason, /sealed under the key [0-9a-f]{8}.*add that key/);
    const { body: event } = await daemon.post(booking("apt_1"));
    assert.equal(event.deliveries, 1, "it goes on being owed");
    const { body } = await api.expect(
      200,
      "GET",
      `deliveries/${await daemon.deliveryId(event.id)}`,
    );
    assert.match(
      body.explanation,
      /^Waits because this daemon cannot send it: The secrets are sealed/,
    );
    await api.expect(409, "POST", `endpoints/${id}/test`, { event: "booking.created" });
    await api.expect(409, "POST", `endpoints/${id}/rotate`);
    assert.equal(
      (await api.expect(200, "PATCH", `endpoints/${id}`, { description: "x" })).body.sendable,
      false,
    );
    assert.equal(receiver.requests.length, 0);
    const lines = daemon.log.filter(({ message }) =>
      message.startsWith("This daemon cannot send to an endpoint")
    );
    assert.equal(lines.length, 1, "logged once");
    await daemon.stop();
    await using again = await startDaemon({ ...database_section, encryption_key: ENCRYPTION_KEY });
    await receiver.received(1);
    assert.equal(
      (await (await checkedApi(again)).expect(200, "GET", `endpoints/${id}`)).body.sendable,
      true,
    );
  },
);

onServer(
  "POST /api/endpoints/:id/test sends to that endpoint only, and answers with its answer",
  async (database) => {
    await using receiver = await startReceiver(() => ({ status: 503, body: "Down <b>now</b>" }));
    await using other = await startReceiver();
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [
        endpoint("crm", receiver.url, { events: ["service.*"], retry: ["0s", "1h"] }),
        endpoint("other", other.url),
      ],
    });
    const api = await checkedApi(daemon);
    const before_ms = Date.now();
    const { body } = await api.expect(200, "POST", "endpoints/crm/test", {
      event: "booking.created",
    });
    assert.equal(body.attempt.outcome, "http_5xx");
    assert.equal(body.attempt.response.body, "Down <b>now</b>");
    assert.equal(body.attempt.request.headers["X-BookMe-Test"], "true");
    assert.equal(body.delivery.test, true);
    assert.match(
      body.delivery.explanation,
      /^Attempt 2 follows at .* \(in 1 h.*\); attempt 1 ended with http_5xx \(status 503\)$/,
    );
    const sent = JSON.parse(body.attempt.request.body);
    const timestamp_ms = Date.parse(sent.timestamp);
    // The daemon's clock may be a little apart from this one.
    assert.ok(timestamp_ms >= before_ms - 1_000, "a fresh timestamp");
    assert.ok(timestamp_ms <= Date.now() + 1_000, "a fresh timestamp");
    assert.equal(sent.data.appointment.id, "apt_789");
    receiver.answer(statuses(200));
    const data = { appointment: { id: "apt_mine", business: { id: "bus_9" } } };
    const mine = await api.expect(200, "POST", "endpoints/crm/test", {
      event: "booking.confirmed",
      data,
    });
    assert.deepEqual(JSON.parse(mine.body.attempt.request.body).data, data);
    assert.equal(other.requests.length, 0);
    const explained = (await api.expect(200, "GET", `events/${body.event_id}`)).body;
    assert.deepEqual(
      explained.endpoints.map((
        one: { endpoint_id: string; state: string },
      ) => [one.endpoint_id, one.state])
        .toSorted(),
      [["crm", "waiting"], ["other", "test_of_another"]],
    );
    await api.expect(422, "POST", "endpoints/crm/test", { event: "booking.nothing" });
    await api.expect(422, "POST", "endpoints/crm/test", { event: "booking.created", data: {} });
    await api.expect(422, "POST", "endpoints/crm/test", {
      event: "booking.created",
      data: { appointment: { id: 5 } },
    });
    await api.expect(422, "POST", "endpoints/crm/test", {});
    const deep = `{"event":"booking.created","data":{"appointment":{"id":"a","x":${
      "[".repeat(100_000)
    }${"]".repeat(100_000)}}}}`;
    await api.expect(422, "POST", "endpoints/crm/test", deep);
    const viewer = await api.call(
      "POST",
      "endpoints/crm/test",
      { event: "booking.created" },
      VIEWER,
    );
    assert.equal(viewer.status, 403);
  },
);

async function made(api: Awaited<ReturnType<typeof checkedApi>>, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i++) {
    ids.push((await api.expect(201, "POST", "endpoints", GOOD)).body.id);
  }
  return ids;
}

onServer("GET /api/endpoints pages while endpoints are made", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
  });
  const api = await checkedApi(daemon);
  const ids = await made(api, 7);
  const seen: string[] = [];
  let cursor: string | null = "";
  while (cursor !== null) {
    const after: string = cursor === "" ? "" : `&cursor=${cursor}`;
    const { body } = await api.expect(200, "GET", `endpoints?limit=3${after}`);
    seen.push(...body.data.map((one: { id: string }) => one.id));
    cursor = body.next_cursor;
    await made(api, 1);
  }
  assert.deepEqual(seen, ids.toReversed());
});

onServer(
  "two daemons on one server use what either of them changes",
  async (database: TestDatabase) => {
    await using receiver = await startReceiver();
    const sections = { database: database.section, encryption_key: ENCRYPTION_KEY };
    await using one = await startDaemon(sections);
    await using two = await startDaemon(sections);
    const api = await checkedApi(one);
    const { body } = await api.expect(201, "POST", "endpoints", {
      url: receiver.url,
      events: ["*"],
    });
    // Its very next event is owed to it: what is stale is not stored.
    assert.equal((await two.post(booking("apt_1"))).body.deliveries, 1);
    await receiver.received(1);
    await (await checkedApi(two)).expect(200, "POST", `endpoints/${body.id}/pause`);
    await until("the other daemon knows of the pause", () => isPausedFor(one, receiver));
    await (await checkedApi(two)).expect(200, "DELETE", `endpoints/${body.id}`);
    assert.equal((await one.post(booking("apt_2"))).body.deliveries, 0);
  },
);

async function isPausedFor(front: Front, receiver: { requests: readonly unknown[] }) {
  const before = receiver.requests.length;
  const { body: event } = await front.post(booking("apt_p"));
  const { body } = await front.api(`deliveries/${await front.deliveryId(event.id)}`);
  return body.status === "pending" && !body.sending && receiver.requests.length === before;
}

onServer("an unknown endpoint and an invalid cursor are refused", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", "http://127.0.0.1:9/")],
  });
  const api = await checkedApi(daemon);
  for (const id of ["%00", "a%00b", "%7f"]) {
    await api.expect(404, "GET", `endpoints/${id}`);
    for (const action of ["pause", "resume", "rotate"]) {
      await api.expect(404, "POST", `endpoints/${id}/${action}`, {});
    }
  }
  for (const list of ["endpoints?cursor=dlv_x", "event-types?cursor=none"]) {
    const { body } = await api.expect(422, "GET", list);
    assert.equal(body.errors[0].pointer, "/cursor", list);
  }
  const { body: first } = await api.expect(200, "GET", "event-types?limit=5");
  const { body: rest } = await api.expect(200, "GET", `event-types?cursor=${first.next_cursor}`);
  const names = [...first.data, ...rest.data].map(({ name }: { name: string }) => name);
  assert.deepEqual([first.data.length, new Set(names).size, rest.next_cursor], [5, 11, null]);
});

onServer("a schema's mistake hides no other mistake", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
  });
  const { body } = await (await checkedApi(daemon)).expect(422, "POST", "endpoints", {
    url: "x",
    events: ["nope"],
    headers: { Host: "x" },
    timeout_ms: "soon",
    foo: 1,
  });
  assert.deepEqual(
    body.errors.map(({ pointer }: { pointer: string }) => pointer).toSorted(),
    ["/events/0", "/foo", "/headers/Host", "/timeout_ms", "/url"],
  );
});

onServer(
  "pausing a paused endpoint again updates the reason, and both are audited",
  async (database) => {
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [endpoint("crm", "http://127.0.0.1:9/")],
    });
    const api = await checkedApi(daemon);
    const pause = async (body: unknown) =>
      (await api.expect(200, "POST", "endpoints/crm/pause", body)).body;
    const { paused_at } = await pause({ reason: "one" });
    const second = await pause({ reason: "two" });
    assert.deepEqual([second.pause_reason, second.paused_at], ["two", paused_at]);
    // Without a reason it is paused, and that is all that was asked for.
    assert.equal((await pause({})).pause_reason, "two");
    const { body } = await api.expect(200, "GET", "audit?action=endpoint.paused");
    const changes = body.data.map(({ before, after }: Record<string, unknown>) => [before, after]);
    assert.deepEqual(changes, [
      [{ reason: "one" }, { reason: "two" }],
      [null, { reason: "one" }],
    ]);
  },
);

onServer("GET /api/endpoints shows what each endpoint has been doing", async (database) => {
  await using receiver = await startReceiver(statuses(200));
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s", "1h"] },
    endpoints: ["busy", "idle"].map((id) =>
      endpoint(id, receiver.url, { events: [id === "busy" ? "booking.*" : "service.*"] })
    ),
  });
  const api = await checkedApi(daemon);
  const shows = async (id: string) => {
    const { body: one } = await api.expect(200, "GET", `endpoints/${id}`);
    const { body: list } = await api.expect(200, "GET", "endpoints");
    const listed = list.data.find((other: { id: string }) => other.id === id);
    assert.deepEqual([...Object.keys(listed), "hints"], Object.keys(one));
    assert.deepEqual([listed.last_success_at, listed.failing_since, listed.pending], [
      one.last_success_at,
      one.failing_since,
      one.pending,
    ]);
    return one;
  };
  const deliver = async (name: string) => {
    const { body } = await daemon.post(booking(name));
    const id = await daemon.deliveryId(body.id);
    return await daemon.delivery(id, (found) => found.attempt_count > 0 && !found.sending);
  };
  const untried = {
    state: "active",
    last_success_at: null,
    failing_since: null,
    duration_ms: { p50: null, p95: null, p99: null },
    pending: 0,
    pending_exact: true,
    overdue: 0,
    oldest_overdue_ms: null,
  };
  const only = (shown: Record<string, unknown>) =>
    Object.fromEntries(Object.keys(untried).map((name) => [name, shown[name]]));
  assert.deepEqual(only(await shows("busy")), untried);

  const first = await deliver("a");
  receiver.answer(statuses(500));
  const second = await deliver("b");
  await deliver("c");
  const failing = await shows("busy");
  assert.equal(failing.last_success_at, first.last_attempt_at);
  assert.equal(failing.failing_since, second.last_attempt_at, "the first of the failures");
  assert.deepEqual([failing.pending, failing.overdue], [2, 0]);
  assert.ok(failing.duration_ms.p50 > 0 && failing.duration_ms.p95 >= failing.duration_ms.p50);

  // Paused, with one delivery that is due.
  await api.expect(200, "POST", "endpoints/busy/pause", { reason: "At work" });
  await api.expect(200, "POST", `deliveries/${second.id}/retry`);
  const paused = await shows("busy");
  assert.deepEqual([paused.state, paused.pending, paused.overdue], ["paused", 2, 1]);
  assert.ok(paused.oldest_overdue_ms >= 0);

  receiver.answer(statuses(200));
  const resumed = await api.expect(200, "POST", "endpoints/busy/resume");
  assert.deepEqual([resumed.body.state, resumed.body.pending >= 1], ["active", true]);
  const healed = await daemon.delivery(second.id);
  const after = await shows("busy");
  assert.deepEqual([after.failing_since, after.last_success_at], [null, healed.last_attempt_at]);
  assert.deepEqual(only(await shows("idle")), untried);
});
