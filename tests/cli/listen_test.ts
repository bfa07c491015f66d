import assert from "node:assert/strict";
import { type AddressInfo, connect, createServer } from "node:net";
import { describe, jsonLine } from "../../lib/cli/commands/listen.ts";
import { type Received, startReceiver } from "../../lib/cli/receiver.ts";
import { send } from "../../lib/cli/daemon_api/request.ts";
import { paletteOf } from "../../lib/cli/terminal.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { makeSecret } from "../../lib/core/secret.ts";
import { makeSigner } from "../../lib/core/signature.ts";
import { inTemporary, runCli, startCli } from "../support/cli.ts";
import { sampleOf } from "../support/samples.ts";

const SECRET = makeSecret(new Uint8Array(32).fill(7));
const PREVIOUS = makeSecret(new Uint8Array(32).fill(8));
const SAMPLE = sampleOf("booking.created");
const PLAIN = paletteOf({
  out() {},
  err() {},
  isTerminal: false,
  env: () => undefined,
  stdin: () => Promise.resolve(new Uint8Array()),
  ask: () => null,
});

interface Sending {
  readonly event_id?: string;
  readonly attempt?: number;
  readonly secret?: string;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Posts an event as the daemon does. */
function post(url: string, sending: Sending = {}) {
  const { event_id = "evt_1", attempt = 1, secret = SECRET, body = SAMPLE, headers } = sending;
  const bytes = new TextEncoder().encode(body);
  const timestamp_s = Math.floor(Date.now() / 1000);
  const signer = makeSigner(secret);
  return send(url, {
    method: "POST",
    body,
    headers: {
      "content-type": "application/json",
      "x-bookme-event": "booking.created",
      "x-bookme-event-id": event_id,
      "x-bookme-delivery-id": "dlv_1",
      "x-bookme-attempt": String(attempt),
      "x-bookme-signature": signer.bookme(bytes),
      "webhook-id": event_id,
      "webhook-timestamp": String(timestamp_s),
      "webhook-signature": signer.standard(event_id, timestamp_s, bytes),
      ...headers,
    },
  });
}

Deno.test("startReceiver() verifies, keeps the bytes, and recognises a repeated event", async () => {
  const received: Received[] = [];
  const receiver = await startReceiver({
    keys: { secret: SECRET },
    received: (request) => void received.push(request),
  });
  try {
    const body = '{ "event":"booking.created", "n": 1.0, "é": "\\u0000" }';
    assert.equal((await post(receiver.url, { body })).status, 200);
    assert.equal((await post(receiver.url, { body, attempt: 2 })).status, 200);
    assert.equal((await post(receiver.url, { event_id: "evt_2" })).status, 200);
  } finally {
    await receiver.stop();
  }
  assert.deepEqual(received, receiver.requests);
  assert.deepEqual(received.map(({ verified }) => verified), [true, true, true]);
  assert.deepEqual(received.map(({ duplicate }) => duplicate), [false, true, false]);
  assert.deepEqual(received.map(({ attempt }) => attempt), ["1", "2", "1"]);
  assert.equal(new TextDecoder().decode(received[0]?.body).slice(0, 3), '{ "');
  assert.equal(received[0]?.type, "booking.created");
  assert.equal(received[0]?.delivery_id, "dlv_1");
});

Deno.test("startReceiver() answers 401 to a wrong signature, and says why", async () => {
  const receiver = await startReceiver({ keys: { secret: SECRET, previous: [PREVIOUS] } });
  try {
    const old = await post(receiver.url, { secret: PREVIOUS });
    assert.deepEqual(old, { status: 401, body: "Invalid signature" });
    const none = await post(receiver.url, {
      headers: { "x-bookme-signature": "", "webhook-signature": "" },
    });
    assert.equal(none.status, 401);
    // In an overlap one of the two may still fit: a receiver that checks that one takes the event.
    const half = await post(receiver.url, { headers: { "x-bookme-signature": "sha256=00" } });
    assert.equal(half.status, 200);
  } finally {
    await receiver.stop();
  }
  assert.deepEqual(receiver.requests.map(({ verified }) => verified), [false, false, false]);
  assert.deepEqual(receiver.requests.map(({ bookme }) => bookme.mistakes), [
    ["previous_secret"],
    ["missing"],
    ["malformed"],
  ]);
  assert.deepEqual(receiver.requests.map(({ standard }) => standard.mistakes), [
    ["previous_secret"],
    ["missing"],
    [],
  ]);
});

Deno.test("startReceiver() misbehaves on request", async () => {
  const flaky = await startReceiver({ keys: { secret: SECRET }, fail_first: 2 });
  const broken = await startReceiver({ keys: { secret: SECRET }, status: 500, delay_ms: 150 });
  try {
    const statuses = [];
    for (const event_id of ["evt_1", "evt_1", "evt_2", "evt_1", "evt_1"]) {
      statuses.push((await post(flaky.url, { event_id })).status);
    }
    assert.deepEqual(statuses, [503, 503, 503, 200, 200]);
    const duplicates = flaky.requests.map(({ duplicate }) => duplicate);
    assert.deepEqual(duplicates, [false, false, false, false, true]);
    const started = performance.now();
    assert.equal((await post(broken.url)).status, 500);
    assert.ok(performance.now() - started >= 145);
  } finally {
    await flaky.stop();
    await broken.stop();
  }
});

Deno.test("startReceiver() accepts POST at its path only, and stops during a delay", async () => {
  const receiver = await startReceiver({ keys: { secret: SECRET }, path: "/a", delay_ms: 60_000 });
  assert.deepEqual(await send(receiver.url), { status: 405, body: "Post events here" });
  const other = await post(receiver.url.replace(/a$/, "b"));
  assert.deepEqual(other, { status: 404, body: "Events are received at /a" });
  const waiting = post(receiver.url);
  while (receiver.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await receiver.stop();
  assert.equal((await waiting).status, 200);
});

Deno.test("startReceiver() stops in spite of a client that never ends its request", async () => {
  const receiver = await startReceiver({ keys: { secret: SECRET } });
  const client = connect(Number(new URL(receiver.url).port), "127.0.0.1");
  const closed = new Promise((resolve) => client.once("close", resolve));
  client.on("error", () => {});
  client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{");
  await new Promise((resolve) => client.once("connect", resolve));
  await receiver.stop();
  client.destroy();
  await closed;
});

Deno.test("startReceiver() names the remedy if the port is taken", async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", () => resolve()));
  const { port } = taken.address() as AddressInfo;
  try {
    await assert.rejects(startReceiver({ port, keys: { secret: SECRET } }), {
      name: "AppError",
      message: /^Cannot listen on 127\.0\.0\.1:\d+: .*; stop what uses it, or choose another port$/,
    });
    const { code, err } = await runCli(["listen", "--port", String(port)]);
    assert.equal(code, 1);
    assert.match(err, /^Cannot listen on/);
  } finally {
    await new Promise((resolve) => taken.close(resolve));
  }
});

/** A request as it would be received, with what a sender might do to a terminal. */
function hostile(): Received {
  const wrong = { valid: false, mistakes: ["unknown"], text: "Another secret signed it" } as const;
  return {
    at_ms: Date.UTC(2025, 10, 1, 10, 20, 30),
    type: "\x1b]0;owned\x07",
    event_id: "evt_\u009b31m\u202e",
    delivery_id: null,
    attempt: "\x1b[2J",
    test: true,
    body: new TextEncoder().encode('{"a":"\x1b[31m\u009b\u202e","b":1}'),
    bookme: wrong,
    standard: { valid: true, mistakes: [], text: "Valid" },
    verified: false,
    duplicate: true,
    status: 200,
  };
}

// deno-lint-ignore no-control-regex
const ACTS = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]/;

Deno.test("describe() names the failed signature and why, and escapes control characters", () => {
  const text = describe(hostile(), PLAIN, true);
  assert.doesNotMatch(text, ACTS);
  assert.match(text, /^10:20:30 .*✗ not verified {2}200 {2}duplicate {2}test\n/);
  assert.match(text, /\n +X-BookMe-Signature ✗ Another secret signed it\n/);
  assert.match(text, /\n +webhook-signature {2}✓\n/);
  assert.match(text, /\\u001b\[31m\\u009b\\u202e/);
  assert.equal(describe(hostile(), PLAIN, false).split("\n").length, 3);
});

Deno.test("describe() indents a payload of one line, keeps one of many, and cuts a long one", () => {
  const shown = (body: string) =>
    describe({ ...hostile(), body: new TextEncoder().encode(body) }, PLAIN, true);
  assert.match(shown('{"a":[1],"b":1}'), /\n {4}\{\n {6}"a": \[\n/);
  assert.match(shown('{"a":\n   1.0}'), /\n {4}\{"a":\n {7}1\.0\}$/);
  assert.match(shown("not json"), /\n {4}not json$/);
  assert.match(shown("x".repeat(20_000)), /\n {4}… and 3616 more characters$/);
});

Deno.test("jsonLine() is one line of JSON with the payload's own text", () => {
  const line = jsonLine(hostile());
  assert.doesNotMatch(line, ACTS);
  assert.ok(!line.includes("\n"));
  const { payload, x_bookme_signature, webhook_signature, duplicate } = JSON.parse(line);
  assert.equal(payload, '{"a":"\x1b[31m\u009b\u202e","b":1}');
  assert.deepEqual([x_bookme_signature, webhook_signature], ["unknown", "valid"]);
  assert.equal(duplicate, true);
});

Deno.test("listen prints one JSON object per request, and only that, until SIGINT", async () => {
  const listen = startCli(
    [
      "listen",
      "--port",
      "0",
      "--json",
      "--secret",
      "env:CRM",
      "--path",
      "/in",
      "--fail-first",
      "1",
    ],
    { env: { CRM: SECRET } },
  );
  try {
    const [, url] = await listen.until(/Listening on (http:\/\/127\.0\.0\.1:\d+\/in);/);
    assert.equal((await post(url ?? "")).status, 503);
    assert.equal((await post(url ?? "", { attempt: 2 })).status, 200);
    await listen.until(/"attempt":2.*\n/);
  } finally {
    listen.kill("SIGINT");
  }
  const { code, out, err } = await listen.ended;
  assert.equal(code, 0);
  const requests = out.trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(requests.map(({ status }) => status), [503, 200]);
  assert.deepEqual(requests.map(({ verified }) => verified), [true, true]);
  assert.equal(requests[0].payload, SAMPLE);
  assert.match(err, /listen: env:CRM\n/);
  assert.ok(!(out + err).includes(SECRET));
});

Deno.test("listen makes a secret, and what it prints to paste is a configuration", async () => {
  const listen = startCli(["listen", "--port", "0"]);
  let config;
  try {
    const [yaml] = await listen.until(/^secrets:\n[^]*\n {4}events: .*\n/m);
    config = await inTemporary(async (directory) => {
      await Deno.writeTextFile(`${directory}/config.yaml`, yaml);
      return loadConfig(`${directory}/config.yaml`, () => undefined);
    });
    const { url = "", secret } = config.endpoints[0] ?? {};
    assert.equal((await post(url, { secret: secret?.[0]?.reveal() ?? "" })).status, 200);
    await listen.until(/booking\.created {4}evt_1 {2}attempt 1 {2}✓ verified {2}200\n/);
    assert.equal((await post(url, { event_id: "evt_2" })).status, 401);
    await listen.until(/✗ not verified {2}401\n +X-BookMe-Signature ✗ Another secret/);
  } finally {
    listen.kill("SIGTERM");
  }
  assert.equal((await listen.ended).code, 0);
});
