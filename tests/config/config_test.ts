import assert from "node:assert/strict";
import { addressRules } from "../../lib/config/config.ts";
import { load } from "../support/config.ts";

Deno.test("addressRules() knows the own listener and what the environment allows", () => {
  const rules = addressRules(load("server: { listen: localhost:9 }\n"));
  assert.deepEqual(rules, {
    allow_loopback: true,
    allow_networks: [],
    own_listener: [{ address: "127.0.0.1", port: 9 }],
  });
});
