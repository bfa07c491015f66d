import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { type TestCertificates, testCertificates } from "../support/tls.ts";
import {
  answered,
  failed,
  OK,
  request,
  text,
  tlsReceiver,
  to,
  withClient,
  withReceiver,
} from "./peers.ts";

Deno.test("post() writes header text as UTF-8, so that no character becomes a line break", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    const headers = "X-Name: caf\u00e9 \u010a\r\n";
    answered(await client.post(to(server.port), request({ headers })));
    const sent = Buffer.from(server.requests[0] ?? "", "latin1").toString("utf8");
    assert.ok(sent.includes("X-Name: café Ċ\r\nContent-Length: 2\r\n\r\n{}"), sent);
  });
});

Deno.test("post() gets a large body through to a slow reader", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    const body = "x".repeat(8 * 1024 * 1024);
    answered(await client.post(to(server.port), request({ body, timeout_ms: 30_000 })));
    assert.equal(
      server.requests[0]?.length,
      body.length + server.requests[0]!.indexOf("x".repeat(9)),
    );
  });
});

Deno.test("post() sends from the source address", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    answered(await client.post(to(server.port), request()));
    assert.deepEqual(server.peers, ["127.0.0.7"]);
    const exchange = await client.post(to(server.port, "[::1]"), request());
    failed(exchange, "connection", /^No address of the family of 127\.0\.0\.7/);
  }, { source_address: "127.0.0.7" });
});

Deno.test("post() speaks TLS to the host that the certificate names, and keeps the connection", async () => {
  const { ca, good } = await testCertificates();
  const server = tlsReceiver(good);
  await withClient(async (client) => {
    for (const host of ["good.test", "localhost", "127.0.0.1"]) {
      const target = { ...to(server.port, host, "https"), tls: { ca } };
      for (let nth = 0; nth < 3; nth++) {
        const exchange = answered(await client.post(target, request()));
        assert.equal(exchange.address, `127.0.0.1:${server.port}`);
        assert.equal(text(exchange.body), "ok");
      }
    }
    assert.equal(server.connections, 3);
    assert.equal(server.requests, 9);
  }, { lookup: () => Promise.resolve(["127.0.0.1"]) });
  await server.close();
});

Deno.test("post() shows its client certificate to a receiver that asks", async (t) => {
  const certificates = await testCertificates();
  const { ca, client: own } = certificates;
  await t.step("with it", async () => {
    const server = await demandingServer(certificates);
    await withClient(async (client) => {
      const target = { ...to(server.port, "localhost", "https"), tls: { ca, ...own } };
      assert.equal(answered(await client.post(target, request())).status, 204);
    }, { lookup: () => Promise.resolve(["127.0.0.1"]) });
    await server.close();
  });
  await t.step("without it", async () => {
    const server = await demandingServer(certificates);
    await withClient(async (client) => {
      const target = { ...to(server.port, "localhost", "https"), tls: { ca } };
      failed(await client.post(target, request()), "tls", /./);
    }, { lookup: () => Promise.resolve(["127.0.0.1"]) });
    await server.close();
  });
});

/** A TLS server that demands a client certificate of the authority. */
async function demandingServer({ ca, good }: TestCertificates) {
  const server = createTlsServer({ ...good, ca, requestCert: true, rejectUnauthorized: true });
  server.on("secureConnection", (socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end("HTTP/1.1 204 No Content\r\n\r\n"));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    close: () => new Promise((done) => server.close(done)),
  };
}
