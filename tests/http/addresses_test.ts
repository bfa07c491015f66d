import assert from "node:assert/strict";
import { parseCidr } from "../../lib/core/address.ts";
import { sleep } from "../support/wait.ts";
import {
  answered,
  failed,
  OK,
  receiver,
  request,
  RULES,
  to,
  withClient,
  withReceiver,
} from "./peers.ts";

Deno.test("post() blocks a name when any of its addresses is forbidden", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    const exchange = await client.post(to(server.port, "mixed.test"), request());
    const cause = /^10\.0\.0\.5 is not allowed: private addresses/;
    assert.equal(failed(exchange, "blocked", cause).address, null);
    assert.equal(server.connections, 0);
  }, { lookup: () => Promise.resolve(["127.0.0.1", "10.0.0.5"]) });
});

Deno.test("post() blocks literals, metadata and the daemon's own listener", async () => {
  const cases: [string, RegExp][] = [
    ["http://169.254.169.254/latest", /metadata/],
    ["http://[::ffff:a9fe:a9fe]/", /metadata/],
    ["http://10.0.0.1/", /private/],
    ["https://[64:ff9b::7f00:1]/", /carries 127\.0\.0\.1/],
    ["http://0.0.0.0:9/", /unspecified/],
    ["http://1.1.1.1/", /plain http to a public address/],
    ["http://127.0.0.1:8080/", /own listener/],
    ["http://localhost:8080/", /own listener/],
  ];
  const own = { ...RULES, own_listener: [{ address: "0.0.0.0", port: 8080 }] };
  await withClient(async (client) => {
    for (const [url, rule] of cases) {
      failed(await client.post({ url: new URL(url) }, request()), "blocked", rule);
    }
  }, { rules: () => own });
});

Deno.test("post() blocks the host of server.public_url, by its name and by its address", async () => {
  const at = (url: string) => ({ rules: () => ({ ...RULES, public_url: new URL(url) }) });
  const lookup = () => Promise.resolve(["5.6.7.8"]);
  const cases: [string, string][] = [
    ["https://hooks.test/", "https://hooks.test./x"],
    ["https://hooks.test/", "https://hooks.test:444/x"],
    ["https://5.6.7.8/", "https://leads.there.test/"],
    ["http://127.0.0.1:8080/", "http://127.0.0.1:8080/ingest"],
  ];
  for (const [own, url] of cases) {
    await withClient(async (client) => {
      const exchange = await client.post({ url: new URL(url) }, request());
      failed(exchange, "blocked", /it is the host of server\.public_url/);
    }, { ...at(own), lookup });
  }
});

Deno.test("post() blocks a kept connection once server.public_url names its host", async () => {
  let rules = RULES;
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    const target = to(server.port);
    answered(await client.post(target, request()));
    rules = { ...RULES, public_url: new URL(target.url) };
    failed(await client.post(target, request()), "blocked", /server\.public_url/);
    assert.equal(server.requests.length, 1);
  }, { rules: () => rules });
});

Deno.test("post() reaches an IPv4 address that is written as IPv6", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    for (const host of ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "mapped.test"]) {
      answered(await client.post(to(server.port, host), request()));
    }
    const rules = { ...RULES, allow_loopback: false };
    await withClient(async (strict) => {
      const exchange = await strict.post(to(server.port, "[::ffff:127.0.0.1]"), request());
      failed(exchange, "blocked", /^::ffff:7f00:1 is not allowed: loopback/);
    }, { rules: () => rules });
  }, { lookup: () => Promise.resolve(["::ffff:127.0.0.1"]) });
});

Deno.test("post() allows plain http to listed networks only, whatever a name resolves to", async () => {
  const rules = { ...RULES, allow_networks: [parseCidr("10.0.0.0/8")] };
  await withClient(async (client) => {
    const exchange = await client.post(to(80, "public.test"), request());
    failed(exchange, "blocked", /^1\.1\.1\.1 is not allowed: plain http/);
  }, { rules: () => rules, lookup: () => Promise.resolve(["1.1.1.1"]) });
});

Deno.test("post() shares one lookup among requests at the same time, and reports DNS", async () => {
  const server = await receiver((socket) => socket.write(OK));
  let lookups = 0;
  const lookup = async (host: string) => {
    lookups++;
    await sleep(30);
    if (host === "none.test") return [];
    if (host === "lost.test") throw Object.assign(new Error("x"), { code: "ENOTFOUND" });
    return ["127.0.0.1"];
  };
  await withClient(async (client) => {
    const target = to(server.port, "shared.test");
    await Promise.all(
      Array.from({ length: 10 }, async () => answered(await client.post(target, request()))),
    );
    assert.equal(lookups, 1);
    failed(await client.post(to(1, "lost.test"), request()), "dns", /^ENOTFOUND lost\.test$/);
    failed(await client.post(to(1, "none.test"), request()), "dns", /^No address for none\.test/);
  }, { lookup });
  await server.close();
});

Deno.test("post() asks the system's resolver", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    answered(await client.post(to(server.port, "localhost"), request()));
    const exchange = await client.post(to(server.port, "nowhere.invalid"), request());
    assert.ok(!exchange.answered && ["dns", "timeout"].includes(exchange.reason));
  });
});
