import assert from "node:assert/strict";
import { type Leaf, testCertificates } from "../support/tls.ts";
import { failed, request, tlsReceiver, to, withClient } from "./peers.ts";

Deno.test("post() refuses a certificate it cannot trust, and says why", async (t) => {
  const made = await testCertificates();
  const cases: [string, Leaf, string, string | undefined, RegExp][] = [
    ["unknown authority", made.good, "localhost", undefined, /UnknownIssuer/],
    ["wrong name", made.wrong_name, "localhost", made.ca, /other\.test/],
    ["wrong address", made.wrong_name, "127.0.0.1", made.ca, /127\.0\.0\.1/],
    ["expired", made.expired, "localhost", made.ca, /^certificate expired 2025-02-01T00:00:00Z/],
    ["not valid yet", made.not_yet, "localhost", made.ca, /not valid before 2099-01-01T00:00:00Z/],
    ["self-signed", made.self_signed, "localhost", made.ca, /SELF_SIGNED|UnknownIssuer/],
  ];
  for (const [name, leaf, host, ca, cause] of cases) {
    await t.step(name, async () => {
      const server = tlsReceiver(leaf);
      await withClient(async (client) => {
        const target = to(server.port, host, "https");
        const tls = ca === undefined ? {} : { ca };
        const exchange = await client.post({ ...target, tls }, request());
        assert.equal(failed(exchange, "tls", cause).address, `127.0.0.1:${server.port}`);
        assert.equal(server.requests, 0);
      }, { lookup: () => Promise.resolve(["127.0.0.1"]) });
      await server.close();
    });
  }
});

Deno.test("post() reports every failure within a handshake as tls", async () => {
  const certificates = await testCertificates();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let greeting: string | undefined = "SSH-2.0-x\r\n";
  const served = (async () => {
    for await (const conn of listener) {
      if (greeting !== undefined) {
        await conn.read(new Uint8Array(4096));
        await conn.write(new TextEncoder().encode(greeting));
      }
      conn.close();
    }
  })();
  await withClient(async (client) => {
    const target = { ...to(listener.addr.port, "127.0.0.1", "https"), tls: certificates };
    failed(await client.post(target, request()), "tls", /./);
    greeting = undefined;
    failed(await client.post(target, request()), "tls", /./);
    const unreadable = { ...target, tls: { cert: "nonsense", key: "nonsense" } };
    failed(await client.post(unreadable, request()), "tls", /./);
  });
  listener.close();
  await served;
});
