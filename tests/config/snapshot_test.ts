import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadConfig } from "../../lib/config/load.ts";
import { diffConfig, redactConfig } from "../../lib/config/snapshot.ts";
import { ENV, inDirectory, load, OTHER, STRONG, TOKEN } from "../support/config.ts";
import { FULL, FULL_FILES } from "../support/full_config.ts";

Deno.test("redactConfig() is JSON with the file's keys and no secret in it", () => {
  const config = load(FULL, FULL_FILES);
  const text = JSON.stringify(redactConfig(config));
  for (const secret of [STRONG, OTHER, TOKEN, "hunter2", "PRIVATE KEY", "Bearer"]) {
    assert.ok(!text.includes(secret), `${secret} is shown`);
  }
  const shown = JSON.parse(text);
  const digest = new X509Certificate(FULL_FILES["cert.pem"]).fingerprint256;
  assert.deepEqual(shown.server, {
    listen: "[::1]:0",
    tls: {
      cert: `client until 2098-01-01 (SHA-256 ${digest})`,
      key: "[redacted]",
    },
    trusted_proxies: ["10.0.0.5/32", "fd00::/8"],
    public_url: null,
  });
  assert.deepEqual(shown.database, {
    hosts: [{ host: "db.example.com", port: 5432 }],
    user: "bookme",
    name: "bookme",
    password: "[redacted]",
    tls: { mode: "prefer" },
    options: {},
    keepalive: { enabled: true },
    connect_timeout_ms: 60_000,
  });
  assert.deepEqual(shown.ingest.secret, ["[redacted]", "[redacted]"]);
  assert.deepEqual(shown.admin.tokens[0], {
    name: "ops",
    token: "[redacted]",
    role: "admin",
    payloads: true,
  });
  assert.equal(shown.delivery.timeout_ms, 10_000);
  assert.deepEqual(shown.delivery.allow_networks, ["10.20.0.0/16"]);
  assert.deepEqual(shown.portal, { max_endpoints: 3 });
  assert.equal(shown.endpoints[0].secret, "[redacted]");
  assert.equal(shown.endpoints[1].secret, null);
  const rotating = load(
    FULL.replace("secret: crm\n", "secret: [env:BOOKME_SECRET, crm]\n"),
    FULL_FILES,
  );
  assert.deepEqual(JSON.parse(JSON.stringify(redactConfig(rotating))).endpoints[0].secret, [
    "[redacted]",
    "[redacted]",
  ]);
  assert.deepEqual(shown.endpoints[0].headers, {
    "X-Tenant": "[redacted]",
    "Authorization": "[redacted]",
    "X-Key": "[redacted]",
    "X-T": "[redacted]",
  });
});

Deno.test("diffConfig() says in words what changed, and no value", () => {
  const diff = (change: (yaml: string) => string, files: Record<string, string> = {}) =>
    inDirectory(FULL, FULL_FILES, (path, directory) => {
      const before = loadConfig(path, (name) => ENV[name]);
      writeFileSync(path, change(FULL));
      for (const [name, content] of Object.entries(files)) {
        writeFileSync(join(directory, name), content);
      }
      return diffConfig(before, loadConfig(path, (name) => ENV[name]));
    });
  assert.deepEqual(diff((yaml) => yaml), []);
  assert.deepEqual(diff((yaml) => yaml.replace("/webhooks/bookme", "/new")), [
    "endpoints.crm.url changed",
  ]);
  assert.deepEqual(diff((yaml) => yaml.replace("max_endpoints: 3", "max_endpoints: 4")), [
    "portal.max_endpoints changed",
  ]);
  assert.deepEqual(diff((yaml) => yaml.replace("id: crm", "id: crm2")), [
    "endpoint crm removed",
    "endpoint crm2 added",
  ]);
  assert.deepEqual(diff((yaml) => yaml, { "crm.secret": STRONG, "wall.token": `x-${TOKEN}` }), [
    "admin.tokens.wall.token changed",
    "endpoints.crm.secret changed",
  ]);
  assert.deepEqual(diff((yaml) => yaml.replace("secret: crm\n", "secret: [bookme, crm]\n")), [
    "endpoints.crm.secret changed",
  ]);
  assert.deepEqual(
    diff((yaml) => yaml.replace("bella", "bello").replace("max_age: 1h", "max_age: 2h")),
    ["ingest.max_age_ms changed", "endpoints.crm.headers changed"],
  );
  assert.deepEqual(
    diff((yaml) =>
      yaml.replace("url: env:DATABASE_URL", "directory: x").replace("timeout: 10s", "")
    ),
    [
      "database.kind changed",
      "database.address changed",
      "database.connect_timeout_ms changed",
      "database.directory changed",
      "database.min_free_bytes changed",
      "delivery.timeout_ms changed",
      "endpoints.9-lives_x.timeout_ms changed",
    ],
  );
});
