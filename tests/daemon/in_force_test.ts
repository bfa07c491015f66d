import assert from "node:assert/strict";
import { loadConfig } from "../../lib/config/load.ts";
import { Secret } from "../../lib/core/secret.ts";
import { makeSigner } from "../../lib/core/signature.ts";
import { makeInForce } from "../../lib/in_force.ts";

const EXAMPLE = new URL("../../config.example.yaml", import.meta.url).pathname;
const config = loadConfig(EXAMPLE, () => undefined);

Deno.test("makeInForce() is frozen, so that a reload replaces all of it or nothing", () => {
  const in_force = makeInForce(config, [], { address: "127.0.0.1", port: 8080 });
  assert.ok(Object.isFrozen(in_force));
  assert.equal(in_force.config, config);
  assert.ok(in_force.event_types.names.includes("booking.created"));
});

Deno.test("makeInForce() makes one signer for each secret of ingest", () => {
  const listener = { address: "127.0.0.1", port: 8080 };
  const secrets = ["a".repeat(32), "b".repeat(32)];
  const signed = {
    ...config,
    ingest: { ...config.ingest, secrets: secrets.map((text) => new Secret(text)) },
  };
  const body = new TextEncoder().encode("{}");
  assert.deepEqual(
    makeInForce(signed, [], listener).ingest_signers.map((signer) => signer.bookme(body)),
    secrets.map((text) => makeSigner(text).bookme(body)),
  );
});

Deno.test("makeInForce() blocks the bound address, or all of this machine's for a wildcard", () => {
  const bound = makeInForce(config, [], { address: "127.0.0.1", port: 8080 });
  assert.deepEqual(bound.rules.own_listener, [{ address: "127.0.0.1", port: 8080 }]);
  const all = makeInForce(config, [], { address: "0.0.0.0", port: 8080 }).rules.own_listener ?? [];
  assert.ok(all.some(({ address }) => address === "127.0.0.1"));
  assert.ok(all.some(({ address }) => address === "0.0.0.0"));
});

Deno.test("makeInForce() knows the address of links, and the hosts of requests", () => {
  const at = (address: string, public_url: string | null = null) => {
    const server = { ...config.server, listen: { host: address, port: 8080 }, public_url };
    const { base_url, hosts } = makeInForce({ ...config, server }, [], { address, port: 8080 });
    return { base_url, hosts };
  };
  const local = ["localhost", "127.0.0.1", "[::1]"];
  for (
    const [address, base_url] of [
      ["127.0.0.1", "http://127.0.0.1:8080"],
      ["127.0.0.9", "http://127.0.0.9:8080"],
      ["::1", "http://[::1]:8080"],
    ] as const
  ) {
    const own = at(address);
    assert.equal(own.base_url, base_url);
    assert.deepEqual(own.hosts, new Set([address === "::1" ? "[::1]" : address, ...local]));
  }
  for (const address of ["10.0.0.5", "0.0.0.0", "::"]) {
    assert.deepEqual(at(address), { base_url: null, hosts: null }, address);
  }
  const named = at("10.0.0.5", "https://hooks.example.com/in");
  assert.equal(named.base_url, "https://hooks.example.com/in");
  assert.deepEqual(named.hosts, new Set(["10.0.0.5", "hooks.example.com"]));
  const wide = at("::", "https://[2001:db8::7]:8443").hosts ?? new Set();
  for (const host of [...local, "[2001:db8::7]"]) assert.ok(wide.has(host), host);
});
