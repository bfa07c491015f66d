import assert from "node:assert/strict";
import type { Exchange } from "../../lib/http/client.ts";
import { sleep } from "../support/wait.ts";
import { testCertificates } from "../support/tls.ts";
import {
  answered,
  failed,
  HEAD,
  KEPT,
  request,
  tlsReceiver,
  to,
  withClient,
  withReceiver,
} from "./peers.ts";

const PHASES = ["dns_ms", "connect_ms", "tls_ms", "waiting_ms"] as const;
const LOOKUP_MS = 30;

const lookup = async () => {
  await sleep(LOOKUP_MS);
  return ["127.0.0.1"];
};

/** Asserts which phases an exchange had: none longer than the whole, nor all together. */
function had(
  exchange: Exchange,
  names: readonly (typeof PHASES[number])[],
  reused: boolean | null,
) {
  const { phases, duration_ms } = exchange;
  assert.deepEqual(PHASES.filter((name) => phases[name] !== null), names, JSON.stringify(phases));
  assert.equal(phases.reused, reused);
  const times = PHASES.map((name) => phases[name] ?? 0);
  assert.ok(times.every((ms) => ms >= 0), String(times));
  const sum = times.reduce((a, b) => a + b, 0);
  // Sums of fractions of a nanosecond.
  assert.ok(sum <= duration_ms + 1e-6, `${sum} of ${duration_ms}`);
  return { ...phases, unmeasured_ms: duration_ms - sum };
}

Deno.test("post() measures each phase of a new connection, and the waiting on a reused one", async () => {
  const ANSWER_MS = 40;
  await withReceiver(
    (socket) => void setTimeout(() => socket.write(KEPT), ANSWER_MS),
    async (server, client) => {
      const target = to(server.port, "one.test");
      const first = had(
        answered(await client.post(target, request())),
        ["dns_ms", "connect_ms", "waiting_ms"],
        false,
      );
      // Timers fire a millisecond early.
      assert.ok(first.dns_ms! >= LOOKUP_MS - 1, String(first.dns_ms));
      assert.ok(first.waiting_ms! >= ANSWER_MS - 1, String(first.waiting_ms));
      const exchange = answered(await client.post(target, request()));
      const second = had(exchange, ["waiting_ms"], true);
      assert.ok(second.waiting_ms! >= ANSWER_MS - 1, String(second.waiting_ms));
      assert.equal(exchange.certificate_ends_at, null);
      had(
        answered(await client.post(to(server.port), request())),
        ["connect_ms", "waiting_ms"],
        false,
      );
    },
    { lookup },
  );
});

Deno.test("post() counts as waiting only what comes before the end of the head", async () => {
  await withReceiver(
    (socket) => socket.write(`${HEAD}Content-Length: 2\r\n\r\n`),
    async (server, client) => {
      const exchange = answered(await client.post(to(server.port), request()));
      const { unmeasured_ms } = had(exchange, ["connect_ms", "waiting_ms"], false);
      assert.ok(unmeasured_ms >= 1_000, `the body is waited for: ${unmeasured_ms}`);
    },
  );
});

Deno.test("post() measures a handshake, and reads when the certificate ends", async () => {
  const { good, expired, not_yet, wrong_name, ca } = await testCertificates();
  await withClient(async (client) => {
    const post = async (leaf: typeof good, again = false) => {
      const server = tlsReceiver(leaf);
      const target = { ...to(server.port, "localhost", "https"), tls: { ca } };
      const exchange = await client.post(target, request());
      const next = again ? await client.post(target, request()) : undefined;
      await server.close();
      return { exchange, next };
    };
    const { exchange, next } = await post(good, true);
    had(answered(exchange), PHASES, false);
    assert.equal(exchange.certificate_ends_at, Date.UTC(2098, 0, 1));
    had(answered(next!), ["waiting_ms"], true);
    assert.equal(next?.certificate_ends_at, null);
    const shaken = ["dns_ms", "connect_ms", "tls_ms"] as const;
    for (
      const [leaf, ends_at] of [
        [expired, Date.UTC(2025, 1, 1)],
        [not_yet, null],
        [wrong_name, null],
      ] as const
    ) {
      const { exchange } = await post(leaf);
      had(failed(exchange, "tls", /./), shaken, false);
      assert.equal(exchange.certificate_ends_at, ends_at);
    }
  }, { lookup });
});

Deno.test("post() measures the phase in which it fails, and none after it", async () => {
  const timeout_ms = 200;
  const cases: [string, Parameters<typeof withClient>[1] & object][] = [
    ["no answer from DNS", { lookup: () => new Promise(() => {}) }],
    ["ENOTFOUND", { lookup: () => Promise.reject(new Error("ENOTFOUND")) }],
    ["is not allowed", { lookup: () => Promise.resolve(["169.254.169.254"]) }],
  ];
  for (const [cause, options] of cases) {
    await withClient(async (client) => {
      const exchange = await client.post(to(9, "some.test"), request({ timeout_ms }));
      assert.ok(!exchange.answered && exchange.cause.includes(cause), JSON.stringify(exchange));
      had(exchange, ["dns_ms"], null);
    }, options);
  }
  await withReceiver(() => {}, async (server, client) => {
    const silent = failed(
      await client.post(to(server.port), request({ timeout_ms })),
      "timeout",
      /^no response/,
    );
    const { unmeasured_ms } = had(silent, ["connect_ms", "waiting_ms"], false);
    assert.ok(unmeasured_ms < 1e-6, "no phase is missing");
    const https = to(server.port, "one.test", "https");
    const unshaken = await client.post(https, request({ timeout_ms }));
    had(failed(unshaken, "timeout", /TLS/), ["dns_ms", "connect_ms", "tls_ms"], false);
    await server.close();
    const refused = await client.post(to(server.port, "one.test"), request());
    had(failed(refused, "connection", /ECONNREFUSED/), ["dns_ms", "connect_ms"], false);
    const aborted = await client.post(to(server.port), request({ signal: AbortSignal.abort() }));
    had(aborted, [], null);
  }, { lookup: () => Promise.resolve(["127.0.0.1"]) });
});

Deno.test("post() counts every address that it tries as connecting", async () => {
  await withReceiver((socket) => socket.write(KEPT), async (server, client) => {
    const exchange = await client.post(to(server.port, "two.test"), request());
    assert.equal(answered(exchange).address, `127.0.0.1:${server.port}`);
    const { unmeasured_ms } = had(exchange, ["dns_ms", "connect_ms", "waiting_ms"], false);
    assert.ok(unmeasured_ms < 1e-6, "no phase is missing");
  }, { lookup: () => Promise.resolve(["127.0.0.9", "127.0.0.1"]) });
});
