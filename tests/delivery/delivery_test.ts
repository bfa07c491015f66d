import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { Webhook as StandardWebhook } from "standardwebhooks";
import { Webhook as SvixWebhook } from "svix";
import { VERSION } from "../../lib/core/version.ts";
import { booking, endpoint, SECRET, startDaemon } from "../support/daemon.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { freePort } from "../support/postgres.ts";
import { type Received, startReceiver, statuses } from "../support/receiver.ts";
import { sampleOf } from "../support/samples.ts";
import { testCertificates } from "../support/tls.ts";
import { sleep, until } from "../support/wait.ts";

/** The documentation's own function. */
function verifyWebhook(payload: string, signature: string | undefined, secret: string): boolean {
  const expectedSignature = createHmac("sha256", secret).update(payload, "utf8").digest("hex");
  return `sha256=${expectedSignature}` === signature;
}

const PLAIN_SECRET = "a plain secret, not whsec_, with ünïcode";

onServer("delivery: a request has the headers of the contract", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    secrets: { main: SECRET, plain: PLAIN_SECRET },
    endpoints: [
      endpoint("crm", `${receiver.url}/crm?a=1&b=%20`, {
        headers: { "X-Tenant": "bella", "x-empty": "" },
      }),
      endpoint("plain", `${receiver.url}/plain`, { secret: "plain" }),
      endpoint("open", `${receiver.url}/open`, { unsigned: true }),
    ],
  });
  const before_s = Math.floor(Date.now() / 1000) - 1;
  const { body: event } = await daemon.post(sampleOf("booking.created"));
  const requests = await receiver.received(3);
  const at = (path: string) => requests.find((r) => r.path.startsWith(path)) as Received;
  const crm = at("/crm");
  assert.equal(crm.method, "POST");
  assert.equal(crm.path, "/crm?a=1&b=%20");
  const id = await daemon.deliveryId(event.id, "crm");
  const { headers } = crm;
  const timestamp_s = Number(headers["webhook-timestamp"]);
  assert.ok(timestamp_s >= before_s && timestamp_s <= Date.now() / 1000 + 1);
  assert.deepEqual(headers, {
    host: receiver.url.slice("http://".length),
    "content-type": "application/json",
    "user-agent": `BookMe-Webhooks/${VERSION}`,
    "x-tenant": "bella",
    "x-empty": "",
    "x-bookme-event": "booking.created",
    "x-bookme-event-id": event.id,
    "x-bookme-delivery-id": id,
    "x-bookme-attempt": "1",
    "webhook-id": event.id,
    "webhook-timestamp": String(timestamp_s),
    "x-bookme-signature": headers["x-bookme-signature"],
    "webhook-signature": headers["webhook-signature"],
    "content-length": String(crm.body.length),
  });
  assert.equal(crm.lines.length, Object.keys(headers).length, "no header is there twice");

  // What receivers do with it: the documentation, Standard Webhooks' own library, and svix's.
  const payload = crm.body.toString();
  assert.ok(verifyWebhook(payload, headers["x-bookme-signature"], SECRET));
  new StandardWebhook(SECRET).verify(payload, { ...headers });
  new SvixWebhook(SECRET).verify(payload, { ...headers });
  assert.throws(() => new StandardWebhook(SECRET).verify(payload + " ", { ...headers }));
  assert.throws(() => new SvixWebhook(SECRET).verify(payload + " ", { ...headers }));

  const plain = at("/plain");
  assert.ok(verifyWebhook(String(plain.body), plain.headers["x-bookme-signature"], PLAIN_SECRET));
  new StandardWebhook(Buffer.from(PLAIN_SECRET), { format: "raw" })
    .verify(String(plain.body), { ...plain.headers });

  const open = at("/open");
  assert.equal(open.headers["x-bookme-signature"], undefined);
  assert.equal(open.headers["webhook-signature"], undefined);
  assert.equal(open.headers["webhook-id"], event.id);

  // What the log shows is what was sent; values of one's own headers are not kept.
  const { attempts: [attempt] } = await daemon.delivery(id);
  const { host: _, "content-length": __, ...shown } = headers;
  const logged = Object.entries(attempt.request.headers).map(([name, value]) => [
    name.toLowerCase(),
    value,
  ]);
  assert.deepEqual(Object.fromEntries(logged), {
    ...shown,
    "x-tenant": "[redacted]",
    "x-empty": "[redacted]",
  });
  assert.equal(attempt.request.method, "POST");
  assert.equal(attempt.request.url, `${receiver.url}/crm?a=1&b=%20`);
  assert.equal(attempt.request.body, payload);
});

onServer("delivery: each outcome has its reason and its attempt", async (database) => {
  const certificates = await testCertificates();
  await using elsewhere = await startReceiver();
  await using answering = await startReceiver(({ path }) => {
    const status = Number(path.slice(1));
    return { status, headers: status === 302 ? { location: elsewhere.url } : {}, body: path };
  });
  await using odd = await startReceiver(({ path }) => path.slice(1) as "hang");
  await using secure = await startReceiver(statuses(200), certificates.good);
  const closed = await freePort();
  const long_name = `${"a".repeat(64)}.invalid`; // no resolver asks anybody for such a name
  const expected: Record<string, [url: string, outcome: string, cause: RegExp | null]> = {
    "s200": [`${answering.url}/200`, "delivered", null],
    "s204": [`${answering.url}/204`, "delivered", null],
    "s299": [`${answering.url}/299`, "delivered", null],
    "s302": [`${answering.url}/302`, "redirect", null],
    "s400": [`${answering.url}/400`, "http_4xx", null],
    "s404": [`${answering.url}/404`, "http_4xx", null],
    "s500": [`${answering.url}/500`, "http_5xx", null],
    "s503": [`${answering.url}/503`, "http_5xx", null],
    "timeout": [`${odd.url}/hang`, "timeout", /within 700 ms/],
    "refused": [`http://127.0.0.1:${closed}/`, "connection", /ECONNREFUSED/],
    "reset": [`${odd.url}/reset`, "connection", /closed before an answer/],
    "garbage": [`${odd.url}/garbage`, "protocol", /SSH-2\.0/],
    "dns": [`https://${long_name}/`, "dns", /ENOTFOUND/],
    "tls": [`${secure.url}/`, "tls", /./],
    "trusted": [`${secure.url}/`, "delivered", null],
    "blocked": ["http://169.254.169.254/latest", "blocked", /metadata/],
  };
  // A file cannot name such addresses; a name in it can come to mean one.
  const unnameable = ["blocked", "dns"];
  const endpoints = Object.entries(expected).map(([id, [url]]) =>
    endpoint(id, unnameable.includes(id) ? elsewhere.url : url, {
      ...(id === "trusted" ? { tls: { ca: `file:${certificates.files.ca}` } } : {}),
      timeout: id === "timeout" ? "700ms" : "20s",
    })
  );
  await using daemon = await startDaemon(
    { database: database.section, delivery: { retry: ["0s"] }, endpoints },
    (config) => ({
      ...config,
      endpoints: config.endpoints.map((e) =>
        unnameable.includes(e.id) ? { ...e, url: expected[e.id]?.[0] ?? "" } : e
      ),
    }),
  );
  const { body: event } = await daemon.post(booking("apt_1"));
  for (const [id, [url, outcome, cause]] of Object.entries(expected)) {
    const delivery = await daemon.delivery(await daemon.deliveryId(event.id, id));
    const delivered = outcome === "delivered";
    if (outcome === "protocol") {
      const [{ response }] = delivery.attempts;
      assert.equal(response.status, null);
      assert.deepEqual(response.headers, []);
      assert.match(response.body, /^SSH-2\.0/, "the first 4 KiB received are kept");
    }
    assert.equal(delivery.status, delivered ? "delivered" : "failed", id);
    assert.equal(delivery.reason, delivered ? null : outcome, id);
    assert.equal(delivery.attempt_count, 1);
    assert.equal(delivery.next_attempt_at, null);
    const [attempt] = delivery.attempts;
    assert.equal(attempt.outcome, outcome, id);
    assert.match(attempt.id, /^att_[0-9a-z]{29}$/);
    assert.equal(attempt.number, 1);
    if (cause === null) assert.equal(attempt.cause, null);
    else assert.match(attempt.cause, cause, id);
    const status = /^s(\d+)$/.exec(id)?.[1];
    assert.equal(attempt.status, status === undefined ? (delivered ? 200 : null) : Number(status));
    assert.equal(attempt.response?.status ?? null, attempt.status);
    if (status !== undefined && status !== "204") assert.equal(attempt.response.body, `/${status}`);
    assert.ok(attempt.duration_ms >= (id === "timeout" ? 700 : 0));
    assert.ok(Date.parse(attempt.ended_at) >= Date.parse(attempt.started_at));
    assert.equal(attempt.request.url, url);
  }
  assert.equal(elsewhere.requests.length, 0, "neither redirected to nor sent in its place");
  assert.equal(secure.requests.length, 1);
});

onServer("delivery: 410 ends it and pauses its endpoint, the others go on", async (database) => {
  await using gone = await startReceiver(statuses(410));
  await using fine = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s", "100ms", "100ms"] },
    endpoints: [endpoint("gone", gone.url), endpoint("fine", fine.url)],
  });
  const { body: event } = await daemon.post(booking("apt_1"));
  const ended = await daemon.delivery(await daemon.deliveryId(event.id, "gone"));
  assert.equal(ended.status, "failed");
  assert.equal(ended.reason, "gone");
  assert.equal(ended.attempt_count, 1);
  const { actor, action, after } = (await daemon.api("audit?object=gone")).body.data[0];
  assert.deepEqual([actor, action, after], [
    "the dispatcher",
    "endpoint.paused",
    { reason: "The endpoint answered 410 Gone" },
  ]);
  await until(
    "the log tells of the pause",
    () => daemon.log.some(({ level, endpoint }) => level === "warn" && endpoint === "gone"),
  );
  // The pause itself shows: what comes now is owed and waits.
  gone.answer(statuses(200));
  await until("the endpoint is paused", async () => {
    const sent = gone.requests.length;
    const { body } = await daemon.post(booking("apt_2"));
    assert.equal(body.deliveries, 2);
    await daemon.delivery(await daemon.deliveryId(body.id, "fine"));
    return gone.requests.length === sent;
  });
  const sent = gone.requests.length;
  const { body: next } = await daemon.post(booking("apt_3"));
  await daemon.delivery(await daemon.deliveryId(next.id, "fine"));
  await sleep(1_200); // longer than between two looks at what is due
  const waiting = await daemon.deliveryId(next.id, "gone");
  assert.equal((await daemon.api(`deliveries/${waiting}`)).body.status, "pending");
  await daemon.stop();
  await using again = await startDaemon({
    database: database.section,
    endpoints: [endpoint("gone", gone.url), endpoint("fine", fine.url)],
  });
  await sleep(1_200);
  assert.equal((await again.api(`deliveries/${waiting}`)).body.status, "pending");
  assert.equal(gone.requests.length, sent, "the pause outlives the daemon");
});

onBoth("delivery: it recovers on the third attempt", async (database) => {
  await using receiver = await startReceiver(statuses(500, 503, 201));
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("all", receiver.url, { retry: ["0s", "300ms", "600ms", "1h"] })],
  });
  const { body: event } = await daemon.post(booking("apt_1"));
  const delivery = await daemon.delivery(await daemon.deliveryId(event.id));
  assert.equal(delivery.status, "delivered");
  assert.equal(delivery.reason, null);
  assert.equal(delivery.last_status, 201);
  const { attempts } = delivery;
  assert.deepEqual(
    attempts.map((a: { number: number; outcome: string }) => [a.number, a.outcome]),
    [[1, "http_5xx"], [2, "http_5xx"], [3, "delivered"]],
  );
  for (const [index, wait_ms] of [300, 600].entries()) {
    const rest_ms = Date.parse(attempts[index + 1].started_at) -
      Date.parse(attempts[index].ended_at);
    assert.ok(rest_ms >= wait_ms - 1, `attempt ${index + 2} came after ${rest_ms} ms`);
  }
  const sent = receiver.requests.map(({ headers }) => [
    headers["x-bookme-attempt"],
    headers["x-bookme-delivery-id"],
    headers["webhook-id"],
  ]);
  assert.deepEqual(sent, [1, 2, 3].map((nth) => [String(nth), delivery.id, event.id]));
});

onServer("delivery: Retry-After lengthens the wait and never shortens it", async (database) => {
  const after = (status: number, value: string) => ({
    status,
    headers: { "retry-after": value },
  });
  const date = new Date(Date.now() + 7_200_000).toUTCString();
  await using receiver = await startReceiver(({ path }) =>
    ({
      "/longer": after(429, "3600"),
      "/date": after(503, date),
      "/shorter": after(503, "1"),
      "/other": after(500, "3600"),
      "/bounded": after(429, "9999999"),
    })[path] ?? { status: 200 }
  );
  const ids = ["longer", "date", "shorter", "other", "bounded"];
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s", "60s"] },
    endpoints: ids.map((id) => endpoint(id, `${receiver.url}/${id}`)),
  });
  const { body: event } = await daemon.post(booking("apt_1"));
  const waits = await Promise.all(ids.map(async (id) => {
    const delivery = await daemon.delivery(
      await daemon.deliveryId(event.id, id),
      (delivery) => delivery.attempt_count === 1,
    );
    const wait_ms = Date.parse(delivery.next_attempt_at) -
      Date.parse(delivery.attempts[0].ended_at);
    return Math.round(wait_ms / 1000);
  }));
  const [longer, until_date = 0, shorter = 0, other = 0, bounded] = waits;
  assert.equal(longer, 3600);
  assert.ok(until_date > 7_000 && until_date <= 7_201, `${until_date} s`);
  assert.ok(shorter >= 60 && shorter <= 66, `${shorter} s`);
  assert.ok(other >= 60 && other <= 66, `${other} s`);
  assert.equal(bounded, 86_400);
});

onBoth("delivery: responses are kept as they came, up to 64 KiB", async (database) => {
  const odd = Buffer.from([0x00, 0x1e, 0xff, 0xfe, 0x80, 0x0a]);
  await using receiver = await startReceiver(({ path }) =>
    ({
      "/long": { status: 200, body: "€".repeat(40_000) },
      "/exact": { status: 200, body: "x".repeat(65_536) },
      "/odd": { status: 500, body: odd, headers: { "x-odd": 'caf\u00e9; {"a": \\N}' } },
      "/none": { status: 200 },
    })[path] ?? { status: 200 }
  );
  const ids = ["long", "exact", "odd", "none"];
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s"] },
    endpoints: ids.map((id) => endpoint(id, `${receiver.url}/${id}`)),
  });
  const { body: event } = await daemon.post(booking("apt_1"));
  const responseOf = async (id: string) => {
    const delivery = await daemon.delivery(await daemon.deliveryId(event.id, id));
    return delivery.attempts[0].response;
  };
  const long = await responseOf("long");
  assert.equal(long.truncated, true);
  assert.equal(long.body_encoding, "utf-8", "a character cut in two does not make it binary");
  assert.equal(long.body, "€".repeat(21_845)); // 65,535 bytes
  const exact = await responseOf("exact");
  assert.deepEqual([exact.truncated, exact.body.length], [false, 65_536]);
  const binary = await responseOf("odd");
  assert.equal(binary.body_encoding, "base64");
  assert.deepEqual(Buffer.from(binary.body, "base64"), odd);
  const x_odd = binary.headers.find(([name]: [string]) => name.toLowerCase() === "x-odd");
  assert.match(x_odd[1], /^caf.*; \{"a": \\N\}$/);
  const none = await responseOf("none");
  assert.deepEqual([none.body, none.truncated], ["", false]);
});

onServer("delivery: a slow receiver does not hold up the others", async (database) => {
  await using slow = await startReceiver(() => "hang");
  await using fast = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { concurrency: 16, timeout: "20s" },
    endpoints: [
      ...Array.from({ length: 8 }, (_, nth) => endpoint(`slow${nth}`, `${slow.url}/${nth}`)),
      endpoint("fast", fast.url),
    ],
  });
  for (let nth = 0; nth < 5; nth++) {
    const { status } = await daemon.post(Array.from({ length: 100 }, () => booking("apt_1")));
    assert.equal(status, 202);
  }
  await fast.received(500);
  await slow.received(8); // all of them are tried
  // What hangs is cut off, so that the test ends.
  slow.answer(statuses(200));
  await slow[Symbol.asyncDispose]();
});

onServer("delivery: an endpoint's own limit holds and is used up", async (database) => {
  let open = 0;
  let most = 0;
  await using receiver = await startReceiver(async () => {
    most = Math.max(most, ++open);
    await sleep(20);
    open--;
    return { status: 200 };
  });
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("narrow", receiver.url, { concurrency: 3 })],
  });
  await daemon.post(Array.from({ length: 150 }, () => booking("apt_1")));
  // Without a claim as soon as a slot is free, this would take until the polls had claimed them all.
  await until("all are received", () => receiver.requests.length >= 150, 15_000);
  assert.equal(most, 3);
});

onServer("delivery: an endpoint that is slow and answers keeps its slots", async (database) => {
  let open = 0;
  let most_late = 0;
  await using receiver = await startReceiver(async (_, nth) => {
    open++;
    if (nth > 40) most_late = Math.max(most_late, open);
    await sleep(1_200); // longer than what counts as slow
    open--;
    return { status: 200 };
  });
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("slow", receiver.url, { concurrency: 16 })],
  });
  await daemon.post(Array.from({ length: 64 }, () => booking("apt_1")));
  await receiver.received(64);
  assert.ok(most_late >= 8, `${most_late} at once`);
});

onServer("delivery: a paused endpoint is sent nothing more", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("all", receiver.url, { rate_limit: "20/s" })],
  });
  await daemon.post(Array.from({ length: 60 }, () => booking("apt_1")));
  await receiver.received(3); // the slots of a whole second are given out by now
  await daemon.api("endpoints/all/pause", undefined, "POST");
  await sleep(500); // what was on its way arrives
  const sent = receiver.requests.length;
  await sleep(1_000);
  assert.equal(receiver.requests.length, sent);
  await daemon.api("endpoints/all/resume", undefined, "POST");
  await receiver.received(60);
});

onServer("delivery: a new rate limit holds at once, whatever the old one was", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("all", receiver.url, { rate_limit: "1/h" })],
  });
  await daemon.post(Array.from({ length: 10 }, () => booking("apt_1")));
  await receiver.received(1);
  await daemon.stop();
  await using _again = await startDaemon({
    database: database.section,
    endpoints: [endpoint("all", receiver.url, { rate_limit: "100/s" })],
  });
  await receiver.received(10);
});

const cancelled = (id: string) => ({ ...booking(id), event: "booking.cancelled" });

onServer("delivery: deliveries held by a rate limit take no room from others", async (database) => {
  await using limited = await startReceiver();
  await using free = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { concurrency: 4 },
    endpoints: [
      ...Array.from({ length: 24 }, (_, nth) =>
        endpoint(`limited${nth}`, `${limited.url}/${nth}`, {
          events: ["booking.cancelled"],
          rate_limit: "1/s",
        })),
      endpoint("free", free.url, { events: ["booking.created"] }),
    ],
  });
  await daemon.post(Array.from({ length: 100 }, () => cancelled("apt_1")));
  await limited.received(24);
  await daemon.post(Array.from({ length: 1_000 }, () => booking("apt_2")));
  await free.received(1_000);
  // A thousand take a second or so; in what slots the others left over it was twenty times that.
  assert.ok(limited.requests.length < 24 * 12, `${limited.requests.length} were sent`);
});

onServer("delivery: endpoints that answer have room however many hang", async (database) => {
  const HANGING = 600; // with what each may have, more than may be slow together
  await using hanging = await startReceiver(() => "hang");
  await using healthy = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { timeout: "2m" },
    endpoints: [
      ...Array.from(
        { length: HANGING },
        (_, nth) =>
          endpoint(`hanging${nth}`, `${hanging.url}/${nth}`, { events: ["booking.cancelled"] }),
      ),
      endpoint("healthy", healthy.url, { events: ["booking.created"] }),
    ],
  });
  await daemon.post(booking("apt_1"));
  await healthy.received(1);
  await daemon.post(Array.from({ length: 8 }, () => cancelled("apt_2")));
  await hanging.received(1_024 + 192);
  for (let nth = 0; nth < 50; nth++) await daemon.post(booking("apt_3"));
  await healthy.received(51);
  // What hangs is cut off, so that the test ends.
  hanging.answer(statuses(200));
  await hanging[Symbol.asyncDispose]();
});
