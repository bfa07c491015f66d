import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConfigError } from "../../lib/config/error.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { diffConfig, redactConfig } from "../../lib/config/snapshot.ts";
import { describeAddress } from "../../lib/core/database_address.ts";
import { inDirectory, load, mistakesOf, OTHER, STRONG, TOKEN } from "../support/config.ts";
import { FULL, FULL_FILES } from "../support/full_config.ts";

const EXAMPLE = new URL("../../config.example.yaml", import.meta.url).pathname;

Deno.test("loadConfig() reads the example, which is the defaults, word for word", () => {
  const example = loadConfig(EXAMPLE, () => undefined);
  inDirectory("", {}, (path, directory) => {
    const defaults = loadConfig(path, () => undefined);
    assert.deepEqual(example.database, {
      kind: "embedded",
      directory: new URL("../../data", import.meta.url).pathname,
      min_free_bytes: 512 * 1024 * 1024,
    });
    assert.deepEqual(defaults.database, {
      ...example.database,
      directory: join(directory, "data"),
    });
    assert.deepEqual({ ...example, path, database: null }, { ...defaults, database: null });
  });
});

Deno.test("loadConfig() has the contract's defaults", () => {
  const config = load("");
  assert.equal(config.environment, "development");
  assert.deepEqual(config.server, {
    listen: { host: "127.0.0.1", port: 8080 },
    tls: null,
    trusted_proxies: [],
    public_url: null,
  });
  assert.deepEqual(config.ip_ranges.development.map((range) => range.text), ["192.168.1.0/24"]);
  assert.deepEqual(config.ip_ranges.production.map((range) => range.text), ["10.0.0.0/8"]);
  assert.deepEqual(config.ingest, { secrets: [], max_body_bytes: 1_048_576, max_age_ms: null });
  assert.deepEqual(config.admin, { tokens: [], public: [] });
  const minute = 60_000;
  assert.deepEqual(config.delivery, {
    timeout_ms: 30_000,
    retry_ms: [0, minute, 5 * minute, 15 * minute, 60 * minute, 360 * minute, 1440 * minute],
    concurrency: 256,
    allow_networks: [],
    source_address: null,
  });
  assert.deepEqual(config.retention, {
    payloads_ms: 30 * 1440 * minute,
    attempts_ms: 30 * 1440 * minute,
    events_ms: 30 * 1440 * minute,
    keys_ms: 30 * 1440 * minute,
  });
  assert.deepEqual(config.alerts, {
    failure_rate: 0.2,
    window_ms: 15 * minute,
    min_attempts: 20,
    to: [],
    chat: [],
    mail: null,
    heartbeat: null,
    auto_pause_ms: null,
  });
  assert.deepEqual(config.portal, { max_endpoints: 10 });
  assert.deepEqual(config.endpoints, []);
});

Deno.test("loadConfig() names the targets of alerts, and shows no URL of theirs", () => {
  const config = load(`alerts:
  chat:
    - { kind: slack, url: https://hooks.example.com/services/KEEPTHIS }
    - { kind: teams, url: https://teams.example.com/KEEPTHIS }
    - { kind: slack, url: http://127.0.0.1:9/KEEPTHIS }
  mail:
    smtp: smtp://ops:KEEPTHIS@mail.example.com:587
    from: BookMe <alerts@example.com>
    to: [ops@example.com]
  heartbeat: { url: https://beat.example.com/KEEPTHIS }
  auto_pause: 5d
`);
  const { chat, mail, heartbeat, auto_pause_ms } = config.alerts;
  assert.deepEqual(chat.map(({ name, kind }) => [name, kind]), [
    ["slack", "slack"],
    ["teams", "teams"],
    ["slack-2", "slack"],
  ]);
  assert.equal(chat[2]?.url.reveal(), "http://127.0.0.1:9/KEEPTHIS");
  assert.equal(mail?.smtp.reveal(), "smtp://ops:KEEPTHIS@mail.example.com:587");
  assert.equal(heartbeat?.every_ms, 60_000);
  assert.equal(auto_pause_ms, 5 * 86_400_000);
  assert.doesNotMatch(JSON.stringify([config, redactConfig(config)]), /KEEPTHIS/);
});

Deno.test("config.example.yaml is still a configuration with its lists uncommented", () => {
  const lines = Deno.readTextFileSync(EXAMPLE).split("\n");
  // The blocks that stand for an empty `key: {}` or `key: []` right before them.
  const uncommented = lines.map((line, index) => {
    const empty = /^( *)(secrets|events|endpoints): (\{\}|\[\])$/.exec(line);
    if (empty !== null && lines[index + 1] === `# ${empty[2]}:`) return "";
    return /^# (secrets|events|endpoints):$|^# {3}/.test(line) ? line.slice(2) : line;
  });
  const files = {
    "crm.secret": `${OTHER}\n`,
    "booking.moved.json": "{}",
    "crm-ca.pem": FULL_FILES["ca.pem"],
    "crm-client.pem": FULL_FILES["cert.pem"],
    "crm-client.key": FULL_FILES["key.pem"],
  };
  const config = load(uncommented.join("\n").replace("./schemas/", "./"), files);
  assert.deepEqual(config.endpoints.map(({ id }) => id), ["crm"]);
  assert.deepEqual(config.event_types.map(({ name }) => name), ["booking.moved"]);
});

Deno.test("loadConfig() reads every key", () => {
  const config = load(FULL, FULL_FILES);
  assert.deepEqual(config.server.listen, { host: "::1", port: 0 });
  assert.ok(config.database.kind === "server");
  assert.equal(config.database.address.password?.reveal(), "hunter2-hunter2");
  assert.equal(describeAddress(config.database.address), "db.example.com:5432/bookme");
  assert.deepEqual(config.ingest.secrets.map((secret) => secret.reveal()), [STRONG, OTHER]);
  assert.equal(config.ingest.max_body_bytes, 65536);
  assert.equal(config.ingest.max_age_ms, 3_600_000);
  assert.deepEqual(
    config.admin.tokens.map(({ name, token, role }) => [name, token.reveal(), role]),
    [["ops", TOKEN, "admin"], ["wall", `viewer-${TOKEN}`, "viewer"]],
  );
  assert.deepEqual(config.event_types, [
    {
      name: "booking.moved",
      description: "Moved",
      schema: { type: "object", required: ["appointment"] },
    },
    { name: "audit.done", description: "Done" },
  ]);
  const [crm, local] = config.endpoints;
  assert.ok(crm !== undefined && local !== undefined);
  assert.equal(crm.secret[0]?.reveal(), OTHER, "one newline at the end of a file is dropped");
  assert.equal(crm.rate_limit_per_s, 5);
  assert.equal(crm.traceparent, true);
  assert.deepEqual([crm.timeout_ms, crm.retry_ms, crm.concurrency], [300_000, [0], 8]);
  assert.deepEqual(crm.headers, {
    "X-Tenant": "bella",
    "Authorization": "Bearer abc",
    "X-Key": STRONG,
    "X-T": TOKEN,
  });
  assert.equal(crm.tls?.key?.reveal(), FULL_FILES["key.pem"].trim());
  assert.deepEqual(local, {
    id: "9-lives_x",
    url: "http://10.20.1.1:9000/in",
    secret: [],
    unsigned: true,
    events: ["booking.moved"],
    businesses: null,
    headers: {},
    timeout_ms: 10_000,
    retry_ms: [0, 500],
    concurrency: null,
    rate_limit_per_s: null,
    traceparent: false,
    tls: null,
  });
});

Deno.test("loadConfig() freezes all of it", () => {
  const frozen = (value: unknown): boolean =>
    typeof value !== "object" || value === null ||
    (Object.isFrozen(value) && Object.values(value).every(frozen));
  assert.ok(frozen(load(FULL, FULL_FILES)));
});

Deno.test("loadConfig() accepts an empty section, and a secret by reference", () => {
  const config = load("server:\nendpoints:\nsecrets:\ningest: { secret: env:BOOKME_SECRET }\n");
  assert.equal(config.ingest.secrets[0]?.reveal(), STRONG);
  assert.deepEqual(config.endpoints, []);
});

Deno.test("loadConfig() accepts the contract's own example", () => {
  const contract = `environment: development          # which of ip_ranges is in force
server:
  listen: 127.0.0.1:8080
  trusted_proxies: []             # CIDRs whose X-Forwarded-For is believed
database:
  directory: ./data               # embedded PostgreSQL, the default
  # url: env:DATABASE_URL         # or a PostgreSQL server
ip_ranges:                        # where BookMe's requests come from
  development: [192.168.1.0/24]
  production: [10.0.0.0/8]
secrets:                          # env:NAME, file:PATH, or the value itself
  bookme: env:BOOKME_SECRET
  crm: file:./crm.secret
ingest:
  secret: bookme                  # BookMe signs what it posts
  max_body: 1MiB
admin:
  tokens:
    - { name: ops, token: env:ADMIN_TOKEN, role: admin }    # or viewer
events: []                        # further types: { name, description, schema: FILE }
delivery:                         # defaults for every endpoint
  timeout: 30s
  retry: [0s, 1m, 5m, 15m, 1h, 6h, 24h]   # the wait before each attempt
  concurrency: 256                # attempts under way at once, all endpoints together
  allow_networks: []              # private CIDRs that endpoints may live in
  # source_address: 10.1.2.3      # send from this address
retention: { events: 30d, attempts: 30d, payloads: 30d, keys: 30d }
alerts: { failure_rate: 0.2, window: 15m, min_attempts: 20, to: [ops-alerts] }
endpoints:
  - id: crm
    url: https://crm.example.com/webhooks/bookme
    secret: crm
    events: ["booking.*"]         # exact names, \`booking.*\`, or \`*\`
    businesses: [bus_123]         # optional: only these businesses
    headers: { X-Tenant: bella }  # optional, never one of ours or a hop-by-hop one
    timeout: 10s                  # optional, and retry, concurrency, rate_limit: 50/s
`;
  for (const environment of ["development", "production"]) {
    const config = load(
      contract.replace("environment: development", `environment: ${environment}`),
      { "crm.secret": OTHER },
    );
    assert.deepEqual(config.alerts.to, ["ops-alerts"]);
    assert.equal(config.endpoints[0]?.timeout_ms, 10_000);
  }
});

Deno.test("loadConfig() reports all mistakes at once, in the file's order", () => {
  const mistakes = mistakesOf(`endpoints:
  - id: a
    url: nonsense
    secret: nobody
    events: [none.such]
    timeout: 5
  - id: a
    typo: 1
delivery: { timeout: 1 }
admin: { tokens: 5 }
zzz: 1
`);
  assert.deepEqual(mistakes.map(({ line, column, path }) => `${line}:${column} ${path}`), [
    "3:10 endpoints[0].url",
    "4:13 endpoints[0].secret",
    "5:14 endpoints[0].events[0]",
    "6:14 endpoints[0].timeout",
    "7:5 endpoints[1].url",
    "7:5 endpoints[1].events",
    "7:5 endpoints[1].secret",
    "7:9 endpoints[1].id",
    "8:5 endpoints[1].typo",
    "9:22 delivery.timeout",
    "10:18 admin.tokens",
    "11:1 zzz",
  ]);
});

Deno.test("ConfigError spells out fifty mistakes and counts the rest", () => {
  const yaml = Array.from({ length: 60 }, (_, index) => `k${index}: 1\n`).join("");
  inDirectory(yaml, {}, (path) => {
    try {
      loadConfig(path, () => undefined);
      assert.fail("It was taken");
    } catch (error) {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.mistakes.length, 60);
      const lines = error.message.split("\n");
      assert.equal(lines.length, 51);
      assert.match(lines[0] ?? "", /config\.yaml:1:1: …: Unknown key/);
      assert.match(lines[50] ?? "", /config\.yaml: and 10 more$/);
    }
  });
});

Deno.test("loadConfig() says how to start if there is no file", () => {
  const path = join(tmpdir(), "no-such-directory", "config.yaml");
  assert.throws(
    () => loadConfig(path, () => undefined),
    (error) =>
      error instanceof ConfigError && error.message.startsWith(`${path}: File `) &&
      /does not exist; start with `cp config\.example\.yaml config\.yaml`/.test(error.message) &&
      /--config/.test(error.message),
  );
  assert.throws(() => loadConfig(tmpdir(), () => undefined), /is not a regular file/);
});

Deno.test("loadConfig() knows the line of each endpoint, and a moved one is unchanged", () => {
  const line = FULL.split("\n").findIndex((one) => /id: crm/.test(one)) + 1;
  const config = load(FULL, FULL_FILES);
  assert.ok(line > 0);
  assert.equal(config.endpoint_lines.get("crm"), line);
  const moved = load(`# moved\n${FULL}`, FULL_FILES);
  assert.equal(moved.endpoint_lines.get("crm"), line + 1);
  assert.deepEqual(diffConfig(config, { ...moved, path: config.path }), []);
});
