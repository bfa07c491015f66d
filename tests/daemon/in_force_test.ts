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
