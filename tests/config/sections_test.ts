import assert from "node:assert/strict";
import { inspectConfig } from "../../lib/config/load.ts";
import { redactConfig } from "../../lib/config/snapshot.ts";
import {
  type Case,
  endpoint,
  expectMistake,
  expectMistakes,
  inDirectory,
  load,
  mistakesOf,
  OTHER,
  pem,
  STRONG,
  TOKEN,
} from "../support/config.ts";
import { testCertificates } from "../support/tls.ts";

const KEY_TEXT = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";

Deno.test("loadConfig() accepts one encryption key or several, by reference", () => {
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

Deno.test("loadConfig() keeps what retention leaves out for 30 days, or as near as it may", () => {
  const days = (yaml: string) => {
    const { retention } = load(`retention: ${yaml}\n`);
    const { payloads_ms, attempts_ms, events_ms, keys_ms } = retention;
    return [payloads_ms, attempts_ms, events_ms, keys_ms].map((ms) => ms / 86_400_000);
  };
  assert.deepEqual(days("{}"), [30, 30, 30, 30]);
  assert.deepEqual(days("{ events: 7d }"), [7, 7, 7, 30]);
  assert.deepEqual(days("{ events: 90d }"), [30, 30, 90, 90]);
  assert.deepEqual(days("{ attempts: 60d }"), [30, 60, 60, 60]);
  assert.deepEqual(days("{ payloads: 1d }"), [1, 30, 30, 30]);
  assert.deepEqual(days("{ keys: 2d }"), [2, 2, 2, 2]);
  assert.deepEqual(days("{ payloads: 40d, keys: 50d }"), [40, 40, 40, 50]);
  assert.deepEqual(days("{ payloads: 1d, attempts: 2d, events: 3d, keys: 4d }"), [1, 2, 3, 4]);
  assert.deepEqual(days("{ payloads: 2d, attempts: 2d, events: 2d, keys: 2d }"), [2, 2, 2, 2]);
});

const KEYS: readonly Case[] = [
  {
    yaml: `encryption_key: ${KEY_TEXT}\n`,
    at: "1:17",
    path: "encryption_key",
    says: /env:NAME or file:PATH; the key must not be in the file/,
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
    says: /Same key/,
  },
  { yaml: "encryption_key: []\n", at: "1:17", path: "encryption_key", says: /at least one key/ },
  {
    yaml: "encryption_key: { a: 1 }\n",
    at: "1:17",
    path: "encryption_key",
    says: /Must be text/,
  },
];

Deno.test("loadConfig() names place and remedy: encryption keys", () => {
  expectMistakes(KEYS, { "seal.key": `${KEY_TEXT}\n`, "short.key": "c2hvcnQ=\n" });
});

const SERVER: readonly Case[] = [
  ...["8080", '"8080"', "127.0.0.1", "1.2.3:80", "::1:80", "'[::1]'", "a:65536", "'[1.2.3.4]:1'"]
    .map((listen): Case => ({
      yaml: `server:\n  listen: ${listen}\n`,
      at: "2:11",
      path: "server.listen",
      says: /Must be HOST:PORT/,
    })),
  ...[
    "hooks.example.com",
    "ftp://a/",
    "https://",
    "https://u:p@a/",
    "https://a/?b",
    "https://a/#b",
    "1",
  ]
    .map((url): Case => ({
      yaml: `server:\n  public_url: "${url}"\n`,
      at: "2:15",
      path: "server.public_url",
      says: /Must be an http or https URL/,
    })),
  {
    yaml: "server: { public_url: https://hooks.example.com }\nendpoints:\n" +
      "  - { id: a, url: https://hooks.example.com:444/x, unsigned: true, events: ['*'] }\n",
    at: "3:19",
    path: "endpoints[0].url",
    says: /it is the host of server\.public_url/,
  },
  {
    yaml: "server: { trusted_proxies: [10.0.0.1/8] }\n",
    at: "1:29",
    path: "server.trusted_proxies[0]",
    says: /bits set after its prefix; write 10\.0\.0\.0\/8/,
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
];

Deno.test("loadConfig() names place and remedy: server and networks", () => {
  expectMistakes(SERVER);
});

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
    says: /Must be admin or viewer$/,
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
    says: /^Same token as in line 3/,
  },
  {
    yaml:
      "admin: { tokens: [{ name: a, token: env:ADMIN_TOKEN, role: admin, payloads: false }] }\n",
    at: "1:77",
    path: "admin.tokens[0].payloads",
    says: /Must be true for the role admin, which can make an endpoint that gets every payload/,
  },
  {
    yaml: "admin: { tokens: [{ name: a, token: env:ADMIN_TOKEN, role: viewer, payloads: no }] }\n",
    at: "1:78",
    path: "admin.tokens[0].payloads",
    says: /Must be true or false/,
  },
  {
    yaml: "admin: { public: [dashboard] }\n",
    at: "1:19",
    path: "admin.public[0]",
    says: /Must be metrics or openapi/,
  },
];

/** A list of secrets that is a mistake, at this offset into it. */
interface BadList {
  readonly list: string;
  readonly offset?: number;
  readonly index?: number;
  readonly says: RegExp;
}

const LISTS: readonly BadList[] = [
  { list: "[]", says: /^Must have one or two secrets: during a rotation \[new, old\]$/ },
  { list: "[a, b, env:THIRD]", says: /^Must have one or two secrets/ },
  { list: "[a, a]", offset: 4, index: 1, says: /^Same secret as the first one/ },
  { list: "[a, env:BOOKME_SECRET]", offset: 4, index: 1, says: /^Same secret as the first one/ },
  { list: "[a, nobody]", offset: 4, index: 1, says: /^No secret of that name; secrets has a, b$/ },
  { list: "[env:NOT_SET, a]", offset: 1, index: 0, says: /NOT_SET is not set/ },
  { list: "[a, file:none]", offset: 4, index: 1, says: /does not exist/ },
  { list: "[a, env:EMPTY]", offset: 4, index: 1, says: /EMPTY is empty/ },
  { list: "[a, [b]]", offset: 4, index: 1, says: /^Must be text$/ },
  { list: "[a, null]", offset: 4, index: 1, says: /^Has no value/ },
  { list: "[env:WEAK, a]", offset: 1, index: 0, says: /^Too easy to guess for production/ },
];

Deno.test("loadConfig() accepts a list of two secrets, and names what is wrong with others", () => {
  const head = "environment: production\nsecrets: { a: env:BOOKME_SECRET, b: env:CRM_SECRET }\n";
  const places = [
    {
      path: "endpoints[0].secret",
      line: 7,
      column: 13,
      yaml: (list: string) => `${head}${endpoint({ unsigned: "" })}    secret: ${list}\n`,
    },
    {
      path: "ingest.secret",
      line: 3,
      column: 19,
      yaml: (list: string) => `${head}ingest: { secret: ${list} }\n`,
    },
  ];
  for (const { path, line, column, yaml } of places) {
    for (const list of ["a", "[a]", "[b, a]", "[env:CRM_SECRET, a]"]) {
      const { endpoints: [crm], ingest } = load(yaml(list));
      const read = (crm?.secret ?? ingest.secrets).map((secret) => secret.reveal());
      assert.deepEqual(read, list.startsWith("[") && list !== "[a]" ? [OTHER, STRONG] : [STRONG]);
    }
    for (const { list, offset = 0, index, says } of LISTS) {
      expectMistake({
        yaml: yaml(list),
        at: `${line}:${column + offset}`,
        path: index === undefined ? path : `${path}[${index}]`,
        says,
      });
    }
  }
  expectMistake({
    yaml: `${head}${endpoint({})}    secret: [a, b]\n`,
    at: "6:15",
    path: "endpoints[0].unsigned",
    says: /not both/,
  });
});

Deno.test("loadConfig() names place and remedy: admin", () => {
  expectMistakes(ADMIN);
});

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

Deno.test("loadConfig() names place and remedy: event types", () => {
  expectMistakes(EVENTS, {
    "broken.json": "{",
    "list.json": "[]",
    "deep.json": '{"a":'.repeat(1000) + "1" + "}".repeat(1000),
  });
});

const PRODUCTION = "environment: production\n";

Deno.test("loadConfig() refuses in production what development accepts", () => {
  const cases: readonly Case[] = [
    {
      yaml: `secrets:\n  a: ${OTHER}\n`,
      at: "3:6",
      path: "secrets.a",
      says: /must not be in the file; use env:NAME or file:PATH/,
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
      says: /must not be in the file/,
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
      says: /must not be in the file/,
    },
    {
      yaml: "server:\n  listen: 0.0.0.0:8080\n",
      at: "3:11",
      path: "server.listen",
      says: /without TLS; set server\.tls, listen on 127\.0\.0\.1, or put a TLS proxy in front/,
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
      says: /loopback is allowed in environment development only, .* reverse proxy in front/,
    },
    {
      yaml: "delivery: { allow_networks: [127.0.0.0/8] }\n" +
        endpoint({ url: "http://127.0.0.1:9000/in" }),
      at: "5:10",
      path: "endpoints[0].url",
      says: /delivery\.allow_networks cannot allow it; put a reverse proxy in front/,
    },
  ];
  const files = { short: "aB3-xY7_kQ9!mN2z" };
  for (const each of cases) {
    expectMistake({ ...each, yaml: PRODUCTION + each.yaml }, files);
    assert.deepEqual(mistakesOf(each.yaml, files), [], each.yaml);
  }
});

Deno.test("loadConfig() accepts safe values in production", () => {
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

Deno.test("loadConfig() names place and remedy: the listener's certificate and key", async () => {
  const { good, soon } = await testCertificates();
  const tls = (cert: string, key: string) =>
    `server:\n  listen: 0.0.0.0:8443\n  tls:\n    cert: ${cert}\n    key: ${key}\n`;
  const files = {
    "tls.pem": good.cert,
    "tls.key": good.key,
    "other.key": soon.key,
    "broken.pem": pem("CERTIFICATE"),
    "encrypted.key": pem("ENCRYPTED PRIVATE KEY"),
  };
  const cert = (cert: string, says: RegExp): Case => {
    return { yaml: tls(cert, "file:tls.key"), at: "4:11", path: "server.tls.cert", says };
  };
  const key = (key: string, says: RegExp): Case => {
    return { yaml: tls("file:tls.pem", key), at: "5:10", path: "server.tls.key", says };
  };
  const cases: readonly Case[] = [
    cert("file:none.pem", /none\.pem" .*(not exist|not found)/),
    cert("file:broken.pem", /The certificate cannot be read; export it again as PEM/),
    cert("file:tls.key", /Must name a PEM file with a certificate/),
    cert("./tls.pem", /Must be file:PATH or env:NAME/),
    key("file:other.key", /Is not the key of the first certificate in cert/),
    key("file:encrypted.key", /Is encrypted with a passphrase; decrypt it/),
    key("file:tls.pem", /Must name a PEM file with a private key/),
    {
      yaml: "server:\n  tls: { cert: file:tls.pem }\n",
      at: "2:8",
      path: "server.tls.key",
      says: /Missing; this key is required/,
    },
  ];
  expectMistakes(cases, files);
  for (const start of ["", PRODUCTION]) {
    assert.deepEqual(mistakesOf(start + tls("file:tls.pem", "file:tls.key"), files), []);
  }
});

Deno.test("loadConfig() refuses a listener's key that everyone may read, in production", async () => {
  const { good } = await testCertificates();
  const yaml = `${PRODUCTION}server: { tls: { cert: file:tls.pem, key: file:tls.key } }\n`;
  inDirectory(yaml, { "tls.pem": good.cert, "tls.key": good.key }, (path, directory) => {
    Deno.chmodSync(`${directory}/tls.pem`, 0o644);
    assert.deepEqual(inspectConfig(path, () => undefined).mistakes, []);
    Deno.chmodSync(`${directory}/tls.key`, 0o644);
    const [mistake] = inspectConfig(path, () => undefined).mistakes;
    assert.equal(mistake?.path, "server.tls.key");
    assert.match(mistake?.message ?? "", /readable by everyone \(mode 0644\); run chmod 600/);
  });
});

Deno.test("loadConfig() accepts private networks of every kind", () => {
  const networks = "10.0.0.0/8 172.16.0.0/12 192.168.1.0/24 100.64.0.0/10 198.18.0.0/15 fc00::/7";
  const config = load(`delivery: { allow_networks: [${networks.split(" ").join(", ")}] }\n`);
  assert.equal(config.delivery.allow_networks.map(({ text }) => text).join(" "), networks);
});
