import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addressRules, type Config } from "../../lib/config/config.ts";
import { ConfigError, type ConfigMistake } from "../../lib/config/error.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { diffConfig, redactConfig } from "../../lib/config/snapshot.ts";
import { parseDuration, parseRate, parseSize } from "../../lib/core/units.ts";

const EXAMPLE = new URL("../../config.example.yaml", import.meta.url).pathname;

const STRONG = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwQZ3hT1yJ0fY=";
const OTHER = "pT7#kd92mQx!vR4sLw8zY3nB6cJ1";
const TOKEN = "tok_5Gh2Kx9QpLm3Rt7VwZy1Nb4C";

const ENV: Readonly<Record<string, string>> = {
  BOOKME_SECRET: STRONG,
  CRM_SECRET: OTHER,
  ADMIN_TOKEN: TOKEN,
  DATABASE_URL: "postgres://bookme:hunter2-hunter2@db.example.com/bookme",
  EMPTY: "",
  WEAK: "changeme-changeme-changeme",
  SEQUENCE: "abcdefghijklmnopqrstuvwxyz",
};

/** Runs with a directory that holds `files` and, as config.yaml, `yaml`. */
function inDirectory<T>(
  yaml: string,
  files: Readonly<Record<string, string>>,
  run: (path: string, directory: string) => T,
): T {
  const directory = mkdtempSync(join(tmpdir(), "config-"));
  try {
    for (const [name, content] of Object.entries({ ...files, "config.yaml": yaml })) {
      writeFileSync(join(directory, name), content, { mode: 0o600 });
    }
    return run(join(directory, "config.yaml"), directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function load(yaml: string, files: Readonly<Record<string, string>> = {}): Config {
  return inDirectory(yaml, files, (path) => loadConfig(path, (name) => ENV[name]));
}

function mistakesOf(
  yaml: string,
  files: Readonly<Record<string, string>> = {},
): readonly ConfigMistake[] {
  try {
    load(yaml, files);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.mistakes;
  }
  return [];
}

/** The file of a case: its lines, with the place of the one mistake they make. */
interface Case {
  readonly yaml: string;
  readonly at: `${number}:${number}`;
  readonly path: string;
  readonly says: RegExp;
}

function expectMistake({ yaml, at, path, says }: Case, files: Record<string, string> = {}): void {
  const mistakes = mistakesOf(yaml, files);
  const found = mistakes.map((found) => `${found.line}:${found.column} ${found.path}`);
  assert.deepEqual(found, [`${at} ${path}`], `${yaml}\n${JSON.stringify(mistakes)}`);
  const message = mistakes[0]?.message ?? "";
  assert.match(message, says, yaml);
  assert.match(message, /^["A-Z]/);
  assert.doesNotMatch(message, /\.$/);
}

const ENDPOINT = `endpoints:
  - id: crm
    url: https://crm.example.com/in
    unsigned: true
    events: ["*"]
`;

function endpointWith(line: string): string {
  return `${ENDPOINT}    ${line}\n`;
}

/** An endpoint of one line each, with one of them exchanged. */
function endpoint(change: Readonly<Record<string, string>>): string {
  const keys = {
    id: "crm",
    url: "https://crm.example.com/in",
    unsigned: "true",
    events: '["*"]',
    ...change,
  };
  const lines = Object.entries(keys).filter(([, value]) => value !== "");
  return "endpoints:\n" +
    lines.map(([key, value], index) => `${index === 0 ? "  - " : "    "}${key}: ${value}\n`).join(
      "",
    );
}

Deno.test("loadConfig() reads the example, which is the defaults, word for word", () => {
  const example = loadConfig(EXAMPLE, () => undefined);
  inDirectory("", {}, (path, directory) => {
    const defaults = loadConfig(path, () => undefined);
    assert.deepEqual(example.database, {
      kind: "embedded",
      directory: new URL("../../data", import.meta.url).pathname,
    });
    assert.deepEqual(defaults.database, { kind: "embedded", directory: join(directory, "data") });
    assert.deepEqual({ ...example, path, database: null }, { ...defaults, database: null });
  });
});

Deno.test("loadConfig() has the contract's values where the file says nothing", () => {
  const config = load("");
  assert.equal(config.environment, "development");
  assert.deepEqual(config.server, {
    listen: { host: "127.0.0.1", port: 8080 },
    trusted_proxies: [],
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
  assert.deepEqual(config.retention, { events_ms: 2_592_000_000, attempts_ms: 2_592_000_000 });
  assert.deepEqual(config.alerts, {
    failure_rate: 0.2,
    window_ms: 15 * minute,
    min_attempts: 20,
    to: [],
  });
  assert.deepEqual(config.endpoints, []);
});

Deno.test("config.example.yaml names every key that is taken", () => {
  const text = Deno.readTextFileSync(EXAMPLE);
  const keys = ["trusted_proxies", "url", "secrets", "secret", "max_age", "tokens", "public"]
    .concat(["events", "schema", "allow_networks", "source_address", "endpoints", "id"])
    .concat(["unsigned", "description", "businesses", "headers", "timeout", "retry"])
    .concat(["concurrency", "rate_limit", "tls", "ca", "cert", "key"]);
  for (const key of keys) {
    assert.match(text, new RegExp(`(^|[ {])${key}:`, "m"), `The example does not show ${key}`);
  }
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
    "crm-ca.pem": pem("CERTIFICATE"),
    "crm-client.pem": pem("CERTIFICATE"),
    "crm-client.key": pem("PRIVATE KEY"),
  };
  const config = load(uncommented.join("\n").replace("./schemas/", "./"), files);
  assert.deepEqual(config.endpoints.map(({ id }) => id), ["crm"]);
  assert.deepEqual(config.event_types.map(({ name }) => name), ["booking.moved"]);
});

function pem(kind: string): string {
  return `-----BEGIN ${kind}-----\nMIIB\n-----END ${kind}-----\n`;
}

const FULL = `environment: development
server: { listen: "[::1]:0", trusted_proxies: [10.0.0.5/32, fd00::/8] }
database: { url: env:DATABASE_URL }
ip_ranges: { development: [172.16.0.0/12], production: [] }
secrets:
  bookme: env:BOOKME_SECRET
  before: ${OTHER}
  crm: file:./crm.secret
ingest: { secret: [bookme, before], max_body: 64KiB, max_age: 1h }
admin:
  tokens:
    - { name: ops, token: env:ADMIN_TOKEN, role: admin }
    - { name: wall, token: file:wall.token, role: viewer }
  public: [metrics]
events:
  - { name: booking.moved, description: Moved, schema: moved.json }
  - { name: audit.done, description: Done }
delivery:
  timeout: 10s
  retry: [0s, 500ms]
  concurrency: 4096
  allow_networks: [10.20.0.0/16]
  source_address: 10.1.2.3
retention: { events: 7d, attempts: 1d }
alerts: { failure_rate: 0.5, window: 5m, min_attempts: 5, to: [crm] }
endpoints:
  - id: crm
    url: https://crm.example.com/webhooks/bookme
    secret: crm
    events: ["booking.*", audit.done]
    businesses: [bus_123]
    headers: { X-Tenant: bella, Authorization: "Bearer abc", X-Key: file:header.txt, X-T: env:ADMIN_TOKEN }
    timeout: 5m
    retry: [0s]
    concurrency: 8
    rate_limit: 300/m
    description: Customer relations
    tls: { ca: file:ca.pem, cert: file:cert.pem, key: file:key.pem }
  - { id: 9-lives_x, url: "http://10.20.1.1:9000/in", unsigned: true, events: [booking.moved] }
`;
const FULL_FILES = {
  "crm.secret": `${OTHER}\r\n`,
  "header.txt": `${STRONG}\n`,
  "wall.token": `viewer-${TOKEN}\n`,
  "moved.json": '{"type":"object","required":["appointment"]}',
  "ca.pem": pem("CERTIFICATE"),
  "cert.pem": pem("CERTIFICATE"),
  "key.pem": pem("EC PRIVATE KEY"),
};

Deno.test("loadConfig() reads every key", () => {
  const config = load(FULL, FULL_FILES);
  assert.deepEqual(config.server.listen, { host: "::1", port: 0 });
  assert.ok(config.database.kind === "server");
  assert.equal(config.database.url.reveal(), ENV["DATABASE_URL"]);
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
  assert.equal(crm.secret?.reveal(), OTHER, "one newline at the end of a file is dropped");
  assert.equal(crm.rate_limit_per_s, 5);
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
    secret: null,
    unsigned: true,
    events: ["booking.moved"],
    businesses: null,
    headers: {},
    timeout_ms: 10_000,
    retry_ms: [0, 500],
    concurrency: null,
    rate_limit_per_s: null,
    tls: null,
  });
});

Deno.test("loadConfig() freezes all of it", () => {
  const frozen = (value: unknown): boolean =>
    typeof value !== "object" || value === null ||
    (Object.isFrozen(value) && Object.values(value).every(frozen));
  assert.ok(frozen(load(FULL, FULL_FILES)));
});

Deno.test("loadConfig() takes an empty section, and a secret by reference", () => {
  const config = load("server:\nendpoints:\nsecrets:\ningest: { secret: env:BOOKME_SECRET }\n");
  assert.equal(config.ingest.secrets[0]?.reveal(), STRONG);
  assert.deepEqual(config.endpoints, []);
});

Deno.test("loadConfig() takes the contract's own example", () => {
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
retention: { events: 30d, attempts: 30d }
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

const KEY_TEXT = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";

Deno.test("loadConfig() takes one encryption key or several, by reference", () => {
  const files = { "seal.key": `${KEY_TEXT}\n`, "old.key": `${"0f".repeat(32)}\n` };
  const keys = (yaml: string) => load(yaml, files).encryption_keys.map((key) => key.reveal());
  assert.deepEqual(keys(""), []);
  assert.deepEqual(keys("encryption_key: file:seal.key\n"), [KEY_TEXT]);
  assert.deepEqual(keys("encryption_key: [file:seal.key, file:./old.key]\n"), [
    KEY_TEXT,
    "0f".repeat(32),
  ]);
  const shown = redactConfig(load("encryption_key: file:seal.key\n", files));
  assert.deepEqual(shown.encryption_key, ["[redacted]"]);
});

const KEYS: readonly Case[] = [
  {
    yaml: `encryption_key: ${KEY_TEXT}\n`,
    at: "1:17",
    path: "encryption_key",
    says: /env:NAME or file:PATH; a key must not stand in the file/,
  },
  {
    yaml: "encryption_key: env:NOT_SET\n",
    at: "1:17",
    path: "encryption_key",
    says: /NOT_SET is not set/,
  },
  {
    yaml: "encryption_key: file:short.key\n",
    at: "1:17",
    path: "encryption_key",
    says: /32 bytes in base64 or in hexadecimal digits; make one with/,
  },
  {
    yaml: "encryption_key:\n  - file:seal.key\n  - file:nowhere\n",
    at: "3:5",
    path: "encryption_key[1]",
    says: /does not exist/,
  },
  {
    yaml: "encryption_key: [file:seal.key, file:seal.key]\n",
    at: "1:33",
    path: "encryption_key[1]",
    says: /same key/,
  },
  { yaml: "encryption_key: []\n", at: "1:17", path: "encryption_key", says: /at least one key/ },
  {
    yaml: "encryption_key: { a: 1 }\n",
    at: "1:17",
    path: "encryption_key",
    says: /Must be text/,
  },
];

const GENERAL: readonly Case[] = [
  { yaml: "enviroment: x\n", at: "1:1", path: "enviroment", says: /did you mean environment\?/ },
  { yaml: "a: 1\n", at: "1:1", path: "a", says: /Unknown key; there are environment, server/ },
  { yaml: "server: { port: 1 }\n", at: "1:11", path: "server.port", says: /there are listen/ },
  {
    yaml: endpointWith("timout: 1s"),
    at: "6:5",
    path: "endpoints[0].timout",
    says: /mean timeout/,
  },
  { yaml: "- a\n", at: "1:1", path: "", says: /Must be a mapping/ },
  { yaml: "hello\n", at: "1:1", path: "", says: /Must be a mapping/ },
  { yaml: "server: 1\n", at: "1:9", path: "server", says: /Must be a mapping/ },
  { yaml: "server: [1]\n", at: "1:9", path: "server", says: /Must be a mapping/ },
  { yaml: "endpoints: crm\n", at: "1:12", path: "endpoints", says: /Must be a list/ },
  { yaml: "endpoints: {}\n", at: "1:12", path: "endpoints", says: /Must be a list/ },
  { yaml: "endpoints: [1]\n", at: "1:13", path: "endpoints[0]", says: /Must be a mapping/ },
  {
    yaml: "environment: prod\n",
    at: "1:14",
    path: "environment",
    says: /or production, not "prod"/,
  },
  { yaml: "environment:\n", at: "1:1", path: "environment", says: /Has no value/ },
];

const SERVER: readonly Case[] = [
  ...["8080", '"8080"', "127.0.0.1", "1.2.3:80", "::1:80", "'[::1]'", "a:65536", "'[1.2.3.4]:1'"]
    .map((listen): Case => ({
      yaml: `server:\n  listen: ${listen}\n`,
      at: "2:11",
      path: "server.listen",
      says: /Must be HOST:PORT/,
    })),
  {
    yaml: "server: { trusted_proxies: [10.0.0.1/8] }\n",
    at: "1:29",
    path: "server.trusted_proxies[0]",
    says: /bits set behind its prefix; write 10\.0\.0\.0\/8/,
  },
  {
    yaml: "ip_ranges:\n  development: [10.0.0.0/8, nonsense]\n",
    at: "2:29",
    path: "ip_ranges.development[1]",
    says: /"nonsense" is not a network/,
  },
  {
    yaml: `ip_ranges:\n  production: [${"x".repeat(100)}]\n`,
    at: "2:16",
    path: "ip_ranges.production[0]",
    says: /^Must be a network like 10\.0\.0\.0\/8$/,
  },
  {
    yaml: "ip_ranges:\n  production: 10.0.0.0/8\n",
    at: "2:15",
    path: "ip_ranges.production",
    says: /Must be a list/,
  },
  {
    yaml: "database: { directory: x, url: env:DATABASE_URL }\n",
    at: "1:11",
    path: "database",
    says: /not both/,
  },
  { yaml: "database: { url: mysql://x }\n", at: "1:18", path: "database.url", says: /postgres:/ },
];

const SECRETS: readonly Case[] = [
  {
    yaml: "secrets:\n  a: env:NOT_THERE\n",
    at: "2:6",
    path: "secrets.a",
    says: /^Environment variable NOT_THERE is not set$/,
  },
  ...["$NOT_THERE", "'${NOT_THERE}'"].map((text): Case => ({
    yaml: `secrets: { a: ${text} }\n`,
    at: "1:15",
    path: "secrets.a",
    says: /write env:NOT_THERE$/,
  })),
  { yaml: "secrets: { a: env:EMPTY }\n", at: "1:15", path: "secrets.a", says: /EMPTY is empty/ },
  { yaml: "secrets: { a: 'env:a b' }\n", at: "1:15", path: "secrets.a", says: /name of an env/ },
  {
    yaml: "secrets: { a: file:none }\n",
    at: "1:15",
    path: "secrets.a",
    says: /none" does not exist/,
  },
  { yaml: "secrets: { a: file:. }\n", at: "1:15", path: "secrets.a", says: /not a regular file/ },
  { yaml: "secrets: { a: 'file:' }\n", at: "1:15", path: "secrets.a", says: /path of a file/ },
  { yaml: "secrets: { a: file:two }\n", at: "1:15", path: "secrets.a", says: /control characters/ },
  {
    yaml: "secrets: { a: short }\n",
    at: "1:15",
    path: "secrets.a",
    says: /at least 24 characters/,
  },
  { yaml: "secrets: { a: whsec_x }\n", at: "1:15", path: "secrets.a", says: /base64 of 24 to 64/ },
  { yaml: "secrets: { a: 12 }\n", at: "1:15", path: "secrets.a", says: /write it in quotes/ },
  { yaml: "secrets: { a: }\n", at: "1:12", path: "secrets.a", says: /Has no value/ },
  {
    yaml: `secrets: { "a b": "${OTHER}" }\n`,
    at: "1:19",
    path: "secrets.…",
    says: /secret's name/,
  },
  { yaml: "secrets: [a]\n", at: "1:10", path: "secrets", says: /mapping of names/ },
  {
    yaml: `secrets: { bookme: env:BOOKME_SECRET, b: env:CRM_SECRET }\ningest: { secret: c }\n`,
    at: "2:19",
    path: "ingest.secret",
    says: /^No secret of that name; secrets has bookme, b$/,
  },
  { yaml: "ingest: { secret: x }\n", at: "1:19", path: "ingest.secret", says: /add it to secrets/ },
  { yaml: "ingest: { secret: [] }\n", at: "1:19", path: "ingest.secret", says: /one or two/ },
  {
    yaml: "ingest:\n  secret: [env:BOOKME_SECRET, env:CRM_SECRET, env:BOOKME_SECRET]\n",
    at: "2:11",
    path: "ingest.secret",
    says: /one or two/,
  },
  {
    yaml: "ingest:\n  secret: [env:BOOKME_SECRET, env:NOPE]\n",
    at: "2:31",
    path: "ingest.secret[1]",
    says: /NOPE is not set/,
  },
];

const ADMIN: readonly Case[] = [
  {
    yaml: "admin: { tokens: [{ name: a, token: short-one, role: admin }] }\n",
    at: "1:37",
    path: "admin.tokens[0].token",
    says: /at least 16 characters/,
  },
  {
    yaml: "admin: { tokens: [{ name: a, token: 'twenty characters long', role: admin }] }\n",
    at: "1:37",
    path: "admin.tokens[0].token",
    says: /no spaces/,
  },
  {
    yaml: "admin: { tokens: [{ name: a, token: env:ADMIN_TOKEN, role: root }] }\n",
    at: "1:60",
    path: "admin.tokens[0].role",
    says: /Must be admin or viewer, not "root"/,
  },
  {
    yaml: "admin:\n  tokens:\n    - { name: a, token: env:ADMIN_TOKEN }\n",
    at: "3:7",
    path: "admin.tokens[0].role",
    says: /Missing/,
  },
  {
    yaml: "admin:\n  tokens:\n    - { name: a, token: env:ADMIN_TOKEN, role: admin }\n" +
      "    - { name: a, token: env:CRM_SECRET, role: admin }\n",
    at: "4:15",
    path: "admin.tokens[1].name",
    says: /Duplicate name a in line 4, already in line 3/,
  },
  {
    yaml: "admin:\n  tokens:\n    - { name: a, token: env:ADMIN_TOKEN, role: admin }\n" +
      "    - { name: b, token: env:ADMIN_TOKEN, role: viewer }\n",
    at: "4:25",
    path: "admin.tokens[1].token",
    says: /same token as in line 3/,
  },
  {
    yaml: "admin: { public: [dashboard] }\n",
    at: "1:19",
    path: "admin.public[0]",
    says: /Must be metrics or openapi/,
  },
];

const EVENTS: readonly Case[] = [
  {
    yaml: "events:\n  - { name: booking.created, description: x }\n",
    at: "2:13",
    path: "events[0].name",
    says: /"booking\.created" is built in/,
  },
  {
    yaml: "events:\n  - { name: a.b, description: x }\n  - { name: a.b, description: y }\n",
    at: "3:13",
    path: "events[1].name",
    says: /Duplicate name a\.b in line 3, already in line 2/,
  },
  ...["moved", "Booking.moved", "a..b", ".a", "a.*"].map((name): Case => ({
    yaml: `events: [{ name: "${name}", description: x }]\n`,
    at: "1:18",
    path: "events[0].name",
    says: /dotted name such as booking\.moved/,
  })),
  { yaml: "events: [{ name: a.b }]\n", at: "1:10", path: "events[0].description", says: /Missing/ },
  ...([
    ["none.json", /does not exist/],
    ["broken.json", /not JSON/],
    ["list.json", /not an object/],
    ["deep.json", /nested too deeply/],
  ] as const).map(([file, says]): Case => ({
    yaml: `events:\n  - name: a.b\n    description: x\n    schema: ${file}\n`,
    at: "4:13",
    path: "events[0].schema",
    says,
  })),
];

const UNITS: readonly Case[] = [
  ...["30", "30sec", "'30 s'", "-1s", "1.5s", "1h30m", "true"].map((timeout): Case => ({
    yaml: `delivery:\n  timeout: ${timeout}\n`,
    at: "2:12",
    path: "delivery.timeout",
    says: /Must be a duration with its unit, such as 500ms, 30s/,
  })),
  {
    yaml: "delivery: { timeout: 99ms }\n",
    at: "1:22",
    path: "delivery.timeout",
    says: /100ms to 5m/,
  },
  {
    yaml: "delivery: { timeout: 301s }\n",
    at: "1:22",
    path: "delivery.timeout",
    says: /100ms to 5m/,
  },
  {
    yaml: "delivery: { retry: [] }\n",
    at: "1:20",
    path: "delivery.retry",
    says: /at least one entry/,
  },
  {
    yaml: `delivery: { retry: [${Array(21).fill("0s").join(", ")}] }\n`,
    at: "1:20",
    path: "delivery.retry",
    says: /at most 20 entries/,
  },
  {
    yaml: "delivery: { retry: [0s, 5] }\n",
    at: "1:25",
    path: "delivery.retry[1]",
    says: /duration/,
  },
  { yaml: "delivery: { retry: 0s }\n", at: "1:20", path: "delivery.retry", says: /Must be a list/ },
  ...["0", "4097", "1.5", "'8'"].map((concurrency): Case => ({
    yaml: `delivery: { concurrency: ${concurrency} }\n`,
    at: "1:26",
    path: "delivery.concurrency",
    says: /an integer from 1 to 4096/,
  })),
  {
    yaml: "delivery: { source_address: localhost }\n",
    at: "1:29",
    path: "delivery.source_address",
    says: /IP address of this machine/,
  },
  {
    yaml: "delivery: { allow_networks: [10.1.2.3] }\n",
    at: "1:30",
    path: "delivery.allow_networks[0]",
    says: /lacks a prefix length; write 10\.1\.2\.3\/32/,
  },
  ...["0.0.0.0/0", "10.0.0.0/7", "8.8.8.8/32", "'::/0'", "'2600::/16'"].map((network): Case => ({
    yaml: `delivery: { allow_networks: [${network}] }\n`,
    at: "1:30",
    path: "delivery.allow_networks[0]",
    says: /private network/,
  })),
  ...["5", "1GiB", "1 MiB", "1mib"].map((size): Case => ({
    yaml: `ingest: { max_body: ${size} }\n`,
    at: "1:21",
    path: "ingest.max_body",
    says: /size with its unit/,
  })),
  { yaml: "ingest: { max_body: 65MiB }\n", at: "1:21", path: "ingest.max_body", says: /to 64MiB/ },
  { yaml: "retention: 30d\n", at: "1:12", path: "retention", says: /mapping/ },
  { yaml: "retention: { events: 0s }\n", at: "1:22", path: "retention.events", says: /from 1s/ },
  { yaml: "alerts: { failure_rate: 20 }\n", at: "1:25", path: "alerts.failure_rate", says: /to 1/ },
  {
    yaml: "alerts: { min_attempts: 0 }\n",
    at: "1:25",
    path: "alerts.min_attempts",
    says: /from 1/,
  },
  {
    yaml: "alerts: { to: ['a b'] }\n",
    at: "1:16",
    path: "alerts.to[0]",
    says: /id of an endpoint/,
  },
];

const ENDPOINTS: readonly Case[] = [
  ...["Crm", "-a", "a.b", "'a b'", `${"a".repeat(64)}`, "''"].map((id): Case => ({
    yaml: endpoint({ id }),
    at: "2:9",
    path: "endpoints[0].id",
    says: /1 to 63 lower-case letters/,
  })),
  {
    yaml: endpoint({ id: "ep_1" }),
    at: "2:9",
    path: "endpoints[0].id",
    says: /not begin with ep_/,
  },
  { yaml: endpoint({ id: "12" }), at: "2:9", path: "endpoints[0].id", says: /write it in quotes/ },
  {
    yaml: endpoint({ url: "http://crm.example.com" }).replace(
      /^/,
      "environment: production\n",
    ),
    at: "4:10",
    path: "endpoints[0].url",
    says: /Plain http is allowed only/,
  },
  {
    yaml: endpoint({ url: "https://192.168.7.1/" }),
    at: "3:10",
    path: "endpoints[0].url",
    says: /delivery\.allow_networks/,
  },
  {
    yaml: endpoint({ url: "http://127.0.0.1:8080/ingest" }),
    at: "3:10",
    path: "endpoints[0].url",
    says: /own listener/,
  },
  { yaml: endpoint({ url: "ftp://x" }), at: "3:10", path: "endpoints[0].url", says: /https:/ },
  {
    yaml: endpoint({ url: "" }),
    at: "2:5",
    path: "endpoints[0].url",
    says: /^Missing; this key must be there$/,
  },
  {
    yaml: endpoint({ unsigned: "" }),
    at: "2:5",
    path: "endpoints[0].secret",
    says: /unsigned: true/,
  },
  {
    yaml: endpoint({ unsigned: "false" }),
    at: "2:5",
    path: "endpoints[0].secret",
    says: /name a secret/,
  },
  {
    yaml: endpoint({ unsigned: "yes" }),
    at: "4:15",
    path: "endpoints[0].unsigned",
    says: /Must be true or false, not "yes"/,
  },
  {
    yaml: endpoint({ secret: "env:CRM_SECRET" }),
    at: "4:15",
    path: "endpoints[0].unsigned",
    says: /not both/,
  },
  {
    yaml: endpoint({ events: '"*"' }),
    at: "5:13",
    path: "endpoints[0].events",
    says: /Must be a list/,
  },
  {
    yaml: endpoint({ events: "[]" }),
    at: "5:13",
    path: "endpoints[0].events",
    says: /Selects nothing/,
  },
  {
    yaml: endpoint({ events: "[booking.create]" }),
    at: "5:14",
    path: "endpoints[0].events[0]",
    says: /No event type matches "booking\.create"; there are booking\.created, /,
  },
  {
    yaml: endpoint({ events: '["bookings.*"]' }),
    at: "5:14",
    path: "endpoints[0].events[0]",
    says: /No event type matches/,
  },
  ...['"book*"', '"*.created"', '""', '"booking."', "booking"].map((pattern): Case => ({
    yaml: endpoint({ events: `[${pattern}]` }),
    at: "5:14",
    path: "endpoints[0].events[0]",
    says: /a pattern such as booking\.\*, or \*/,
  })),
  {
    yaml: endpoint({ events: '[booking.created, "booking.*"]' }),
    at: "5:14",
    path: "endpoints[0].events[0]",
    says: /"booking\.created" is selected by "booking\.\*" already/,
  },
  {
    yaml: endpoint({ events: "[booking.created, booking.created]" }),
    at: "5:31",
    path: "endpoints[0].events[1]",
    says: /is there twice/,
  },
  {
    yaml: endpointWith("businesses: []"),
    at: "6:17",
    path: "endpoints[0].businesses",
    says: /name a/,
  },
  {
    yaml: endpointWith("businesses: [a, 5]"),
    at: "6:21",
    path: "endpoints[0].businesses[1]",
    says: /write it in quotes/,
  },
  {
    yaml: endpointWith("businesses: [a, b, a]"),
    at: "6:24",
    path: "endpoints[0].businesses[2]",
    says: /"a" is there twice/,
  },
  {
    yaml: endpointWith("rate_limit: 50"),
    at: "6:17",
    path: "endpoints[0].rate_limit",
    says: /50\/s or 300\/m, not 50/,
  },
  {
    yaml: endpointWith("rate_limit: 0/s"),
    at: "6:17",
    path: "endpoints[0].rate_limit",
    says: /above 0/,
  },
  {
    yaml: endpointWith("concurrency: 0"),
    at: "6:18",
    path: "endpoints[0].concurrency",
    says: /from 1 to 4096/,
  },
  {
    yaml: endpointWith("tls: { cert: file:cert.pem }"),
    at: "6:10",
    path: "endpoints[0].tls",
    says: /cert and key together/,
  },
  {
    yaml: endpointWith("tls: { ca: file:list.json }"),
    at: "6:16",
    path: "endpoints[0].tls.ca",
    says: /PEM file with a certificate/,
  },
  {
    yaml: endpointWith("tls: { ca: cert.pem }"),
    at: "6:16",
    path: "endpoints[0].tls.ca",
    says: /file:PATH or env:NAME/,
  },
  {
    yaml: endpointWith("tls: {}").replace("https://crm.example.com", "http://127.0.0.1:9"),
    at: "6:10",
    path: "endpoints[0].tls",
    says: /no meaning for an http: URL/,
  },
  {
    yaml: `${ENDPOINT}${ENDPOINT.replace("endpoints:\n", "")}`,
    at: "6:9",
    path: "endpoints[1].id",
    says: /^Duplicate id crm in line 6, already in line 2$/,
  },
];

const RESERVED =
  "Content-Type user-agent HOST Content-Length Connection Transfer-Encoding TE Trailer Upgrade " +
  "Keep-Alive Proxy-Authorization Expect X-BookMe-Signature x-bookme-anything webhook-id Webhook-X";

const HEADERS: readonly Case[] = [
  ...RESERVED.split(" ").map((name): Case => ({
    yaml: endpointWith(`headers: { ${name}: x }`),
    at: `6:${18 + name.length}` as Case["at"],
    path: `endpoints[0].headers.${name}`,
    says: /^Reserved/,
  })),
  ...["'X A'", "'X:A'", "'X\u00e9'", "''"].map((name): Case => ({
    yaml: endpointWith(`headers: { ${name}: x }`),
    at: `6:${18 + name.length}` as Case["at"],
    path: "endpoints[0].headers.…",
    says: /A header's name/,
  })),
  ...['"a\\r\\nX-B: c"', '"a\\nb"', '"\\0"', '"\\x7f"', "h\u00e9"].map((value): Case => ({
    yaml: endpointWith(`headers: { X-A: ${value} }`),
    at: "6:21",
    path: "endpoints[0].headers.X-A",
    says: /printable ASCII/,
  })),
  {
    yaml: endpointWith("headers: { X-A: 5 }"),
    at: "6:21",
    path: "endpoints[0].headers.X-A",
    says: /write it in quotes/,
  },
  {
    yaml: endpointWith('headers: { X-A: " a" }'),
    at: "6:21",
    path: "endpoints[0].headers.X-A",
    says: /begin or end with a space/,
  },
  {
    yaml: endpointWith("headers: { X-A: a, x-a: b }"),
    at: "6:29",
    path: "endpoints[0].headers.x-a",
    says: /The same header as "X-A"/,
  },
  {
    yaml: endpointWith("headers: { X-A: env:NOT_SET }"),
    at: "6:21",
    path: "endpoints[0].headers.X-A",
    says: /NOT_SET is not set/,
  },
  {
    yaml: endpointWith("headers: { X-A: file:none }"),
    at: "6:21",
    path: "endpoints[0].headers.X-A",
    says: /does not exist/,
  },
  {
    yaml: endpointWith("headers: [X-A]"),
    at: "6:14",
    path: "endpoints[0].headers",
    says: /mapping of names/,
  },
];

const FILES = {
  "two": `${OTHER}\n\n`,
  "seal.key": `${KEY_TEXT}\n`,
  "short.key": "c2hvcnQ=\n",
  "broken.json": "{",
  "list.json": "[]",
  "deep.json": '{"a":'.repeat(1000) + "1" + "}".repeat(1000),
  "cert.pem": pem("CERTIFICATE"),
};

for (
  const [what, cases] of Object.entries({
    GENERAL,
    SERVER,
    KEYS,
    SECRETS,
    ADMIN,
    EVENTS,
    UNITS,
    ENDPOINTS,
    HEADERS,
  })
) {
  Deno.test(`loadConfig() names place and remedy: ${what.toLowerCase()}`, () => {
    for (const each of cases) {
      expectMistake(each, FILES);
    }
  });
}

Deno.test("loadConfig() refuses a secret file that is not text", () => {
  inDirectory("secrets: { a: file:bin }\n", {}, (path, directory) => {
    writeFileSync(join(directory, "bin"), new Uint8Array(40).fill(0xff));
    assert.throws(() => loadConfig(path, () => undefined), /1:15: secrets\.a: .*not UTF-8/);
  });
});

Deno.test("loadConfig() answers all mistakes at once, in the file's order", () => {
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
      assert.match(lines[0] ?? "", /config\.yaml:1:1: k0: Unknown key/);
      assert.match(lines[50] ?? "", /config\.yaml: and 10 more$/);
    }
  });
});

Deno.test("loadConfig() says how to start where there is no file", () => {
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

const PRODUCTION = "environment: production\n";

Deno.test("loadConfig() refuses in production what development takes", () => {
  const cases: readonly Case[] = [
    {
      yaml: `secrets:\n  a: ${OTHER}\n`,
      at: "3:6",
      path: "secrets.a",
      says: /must not stand in the file; use env:NAME or file:PATH/,
    },
    ...["WEAK", "SEQUENCE"].map((name): Case => ({
      yaml: `secrets:\n  a: env:${name}\n`,
      at: "3:6",
      path: "secrets.a",
      says: /Too easy to guess for production; make one with/,
    })),
    {
      yaml: `admin: { tokens: [{ name: a, token: ${TOKEN}, role: admin }] }\n`,
      at: "2:37",
      path: "admin.tokens[0].token",
      says: /must not stand in the file/,
    },
    {
      yaml: "admin: { tokens: [{ name: a, token: file:short, role: admin }] }\n",
      at: "2:37",
      path: "admin.tokens[0].token",
      says: /at least 24 characters/,
    },
    {
      yaml: "database: { url: postgres://a:hunter2@b/c }\n",
      at: "2:18",
      path: "database.url",
      says: /must not stand in the file/,
    },
    {
      yaml: "server:\n  listen: 0.0.0.0:8080\n",
      at: "3:11",
      path: "server.listen",
      says: /without TLS; listen on 127\.0\.0\.1, or put a TLS proxy in front/,
    },
    {
      yaml: "server:\n  listen: 0.0.0.0:8080\n  trusted_proxies: [0.0.0.0/0]\n",
      at: "4:20",
      path: "server.trusted_proxies",
      says: /name the proxy's own network/,
    },
    {
      yaml: endpoint({ url: "https://localhost/" }),
      at: "4:10",
      path: "endpoints[0].url",
      says: /loopback is allowed in environment development only/,
    },
  ];
  const files = { short: "aB3-xY7_kQ9!mN2z" };
  for (const each of cases) {
    expectMistake({ ...each, yaml: PRODUCTION + each.yaml }, files);
    assert.deepEqual(mistakesOf(each.yaml, files), [], each.yaml);
  }
});

Deno.test("loadConfig() takes in production what is safe there", () => {
  for (
    const yaml of [
      "server: { listen: localhost:80 }\n",
      "server: { listen: '[::1]:80' }\n",
      "server: { listen: 0.0.0.0:80, trusted_proxies: [10.0.0.5/32] }\n",
      "database: { url: postgres://a@localhost/c }\n",
      "database: { url: env:DATABASE_URL }\n",
      "secrets: { a: env:BOOKME_SECRET, b: env:CRM_SECRET, c: file:c }\n",
    ]
  ) {
    assert.deepEqual(mistakesOf(PRODUCTION + yaml, { c: OTHER }), [], yaml);
  }
});

Deno.test("loadConfig() refuses secret files that others may read or change, in production", () => {
  inDirectory(`${PRODUCTION}secrets: { a: file:a }\n`, { a: OTHER }, (path, directory) => {
    for (
      const [mode, says] of [
        [0o644, /may be read by everyone \(mode 0644\); run chmod 600/],
        [0o604, /may be read by everyone/],
        [0o660, /may be changed by others \(mode 0660\)/],
        [0o602, /may be changed by others/],
      ] as const
    ) {
      chmodSync(join(directory, "a"), mode);
      assert.throws(() => loadConfig(path, () => undefined), says);
      writeFileSync(path, "secrets: { a: file:a }\n");
      loadConfig(path, () => undefined);
      writeFileSync(path, `${PRODUCTION}secrets: { a: file:a }\n`);
    }
    for (const mode of [0o600, 0o400, 0o640, 0o440]) {
      chmodSync(join(directory, "a"), mode);
      loadConfig(path, () => undefined);
    }
  });
});

Deno.test("loadConfig() takes private networks of every kind", () => {
  const networks = "10.0.0.0/8 172.16.0.0/12 192.168.1.0/24 100.64.0.0/10 198.18.0.0/15 fc00::/7";
  const config = load(`delivery: { allow_networks: [${networks.split(" ").join(", ")}] }\n`);
  assert.equal(config.delivery.allow_networks.map(({ text }) => text).join(" "), networks);
});

Deno.test("redactConfig() is JSON with the file's keys and no secret in it", () => {
  const config = load(FULL, FULL_FILES);
  const text = JSON.stringify(redactConfig(config));
  for (const secret of [STRONG, OTHER, TOKEN, "hunter2", "PRIVATE KEY", "Bearer"]) {
    assert.ok(!text.includes(secret), `${secret} is shown`);
  }
  const shown = JSON.parse(text);
  assert.deepEqual(shown.server, {
    listen: "[::1]:0",
    trusted_proxies: ["10.0.0.5/32", "fd00::/8"],
  });
  assert.deepEqual(shown.database, { url: "[redacted]" });
  assert.deepEqual(shown.ingest.secret, ["[redacted]", "[redacted]"]);
  assert.deepEqual(shown.admin.tokens[0], { name: "ops", token: "[redacted]", role: "admin" });
  assert.equal(shown.delivery.timeout_ms, 10_000);
  assert.deepEqual(shown.delivery.allow_networks, ["10.20.0.0/16"]);
  assert.equal(shown.endpoints[0].secret, "[redacted]");
  assert.equal(shown.endpoints[1].secret, null);
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
  assert.deepEqual(diff((yaml) => yaml.replace("id: crm", "id: crm2")), [
    "endpoint crm removed",
    "endpoint crm2 added",
  ]);
  assert.deepEqual(diff((yaml) => yaml, { "crm.secret": STRONG, "wall.token": `x-${TOKEN}` }), [
    "admin.tokens.wall.token changed",
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
      "database.url changed",
      "database.directory changed",
      "delivery.timeout_ms changed",
      "endpoints.9-lives_x.timeout_ms changed",
    ],
  );
});

Deno.test("addressRules() knows the own listener and what the environment allows", () => {
  const rules = addressRules(load("server: { listen: localhost:9 }\n"));
  assert.deepEqual(rules, {
    allow_loopback: true,
    allow_networks: [],
    own_listener: [{ address: "127.0.0.1", port: 9 }],
  });
});

Deno.test("parseDuration(), parseSize() and parseRate() know their units", () => {
  assert.deepEqual(["500ms", "30s", "15m", "6h", "30d", "0s"].map(parseDuration), [
    500,
    30_000,
    900_000,
    21_600_000,
    2_592_000_000,
    0,
  ]);
  assert.deepEqual(["512B", "1KB", "64KiB", "1MB", "1MiB"].map(parseSize), [
    512,
    1000,
    65_536,
    1_000_000,
    1_048_576,
  ]);
  assert.deepEqual(["50/s", "300/m", "3600/h"].map(parseRate), [50, 5, 1]);
});
