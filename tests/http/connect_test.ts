import assert from "node:assert/strict";
import { until } from "../support/wait.ts";
import { answered, failed, OK, receiver, request, to, withClient } from "./peers.ts";

Deno.test("post() tries the next address if one refuses", async () => {
  const server = await receiver((socket) => socket.write(OK));
  await withClient(async (client) => {
    const exchange = answered(await client.post(to(server.port, "two.test"), request()));
    assert.equal(exchange.address, `127.0.0.1:${server.port}`);
    assert.match(server.requests[0] ?? "", /\r\nHost: two\.test:\d+\r\n/);
  }, { lookup: () => Promise.resolve(["127.0.0.9", "::1", "127.0.0.1"]) });
  await server.close();
});

Deno.test("post() gives an address that drops packets only its share of the time", async () => {
  const server = await receiver((socket) => socket.write(OK));
  const { port } = server;
  // Linux queues two connections here, which nobody accepts, and does not answer any more.
  const full = Deno.listen({ hostname: "127.0.0.2", port, tcpBacklog: 1 });
  let queued = 0;
  const filling = Array.from({ length: 6 }, () => {
    const stop = new AbortController();
    const conn = Deno.connect({ hostname: "127.0.0.2", port, signal: stop.signal })
      .then((conn) => {
        queued++;
        return conn;
      }, () => undefined);
    return { stop, conn };
  });
  await until("the queue is full", () => queued === 2);
  await withClient(async (client) => {
    const exchange = await client.post(to(port, "two.test"), request({ timeout_ms: 1000 }));
    const { address, duration_ms } = answered(exchange);
    assert.equal(address, `127.0.0.1:${port}`);
    assert.ok(duration_ms >= 450, String(duration_ms));
    const literal = await client.post(to(port, "127.0.0.2"), request({ timeout_ms: 200 }));
    failed(literal, "timeout", /^no connection to 127\.0\.0\.2:\d+ within 200 ms/);
  }, { lookup: () => Promise.resolve(["127.0.0.2", "127.0.0.1"]) });
  for (const { stop } of filling) stop.abort();
  for (const { conn } of filling) (await conn)?.close();
  full.close();
  await server.close();
});

Deno.test("post() names every address that refused", async () => {
  const server = await receiver(() => {});
  const { port } = server;
  await server.close();
  await withClient(async (client) => {
    const exchange = await client.post(to(port), request());
    failed(exchange, "connection", new RegExp(`^ECONNREFUSED 127\\.0\\.0\\.1:${port}$`));
    const both = await client.post(to(port, "two.test"), request());
    failed(both, "connection", /^ECONNREFUSED 127\.0\.0\.1:\d+, ECONNREFUSED 127\.0\.0\.2:\d+$/);
  }, { lookup: () => Promise.resolve(["127.0.0.1", "127.0.0.2"]) });
});
