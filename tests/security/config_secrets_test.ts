import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { loadConfig } from "../../lib/config/load.ts";
import { runCli, runHere } from "../support/cli.ts";
import { inDirectory, inDirectoryAsync } from "../support/config.ts";

// Forms of a secret. Two of them contain characters that YAML or a URL reads as its own.
const SECRETS = [
  `c4n4ry${randomBytes(18).toString("base64url")}`,
  `whsec_${randomBytes(32).toString("base64")}`,
  `K3str3l#a1b2c3d4${randomBytes(9).toString("hex")}:x`,
  `Pa55w0rdKestrel%${randomBytes(9).toString("hex")}`,
];

const ENDPOINT = "endpoints:\n  - id: crm\n    events: ['*']\n";

/** Files with a secret in the place of `S`. Every one is refused, unless it is a good secret. */
const PLACES: readonly string[] = [
  // A database's address
  "database: { url: S }",
  "database: { url: 'postgres://u:S@h:x/n' }",
  "database: { url: 'postgres://u:S@h/n?sslmode=S' }",
  "database: { url: 'postgres://u:S@S@h/n' }",
  "database: { url: 'postgres://u:a/S@h/n' }",
  "database: { url: 'postgres://u:a?S@h/n' }",
  "database: { url: 'postgres://u@h/n?password=a&S=1' }",
  "database: { url: 'postgres://u@h/n?S' }",
  "database: { url: 'postgres://u:S@h', host: h }",
  "database: { url: [S] }",
  "database: { url: { S: S } }",
  "database: { host: h, user: u, password: [S] }",
  "database: { host: h, user: u, password: S, port: S }",
  "database: { host: 'S S', user: u }",
  "database: { host: h, user: u, tls: { key: S, mode: S } }",
  "database: { host: h, user: u, password: env:X, S }",
  "database: { directory: 'postgres://u:S@h/n' }",
  "database: { directory: 'file:postgres://u:S@h/n' }",
  "database: S",
  // Secrets, keys and tokens
  "encryption_key: S",
  "encryption_key: [S, S]",
  "encryption_key: { S: S }",
  "secrets: S",
  "secrets: [S]",
  "secrets: { a: [S] }",
  "secrets: { a: { S: S } }",
  "secrets: { a: env:SET, S }",
  "secrets: { a: 1, 'S': b }",
  "secrets: { a: '$S' }",
  "secrets: { a: '${S}' }",
  "secrets: { a: '%S%' }",
  "secrets: { a: 'env:S' }",
  "secrets: { a: 'file:S' }",
  "secrets: { a: 'file:/run/S' }",
  "database: { host: h, user: u, tls: { mode: require, ca: 'file:S' } }",
  "secrets: { a: 'S ' }",
  "secrets: { a: '\"S\"' }",
  "secrets: { a: env:SPACED, b: env:QUOTED, c: env:MARKED }",
  "secrets: { a: file:spaced, b: file:quoted, c: file:marked, d: file:lines }",
  "ingest: { secret: S }",
  "ingest: { secret: [S, S, S] }",
  "ingest: { secret: env:SET, S }",
  "ingest: S",
  "admin: { tokens: [{ name: a, token: 'S ', role: admin }] }",
  "admin: { tokens: [{ name: a, token: env:SPACED, role: S }] }",
  "admin: { tokens: [{ name: 'S S', token: [S], role: admin }] }",
  "admin: { tokens: [{ name: a, token: env:SET, role: admin, S }] }",
  "admin: { tokens: [{ name: a, token: admin, role: S }] }",
  "admin: { tokens: [S] }",
  "admin: { tokens: S, public: [S] }",
  // Endpoints, and whatever else may carry credentials
  `${ENDPOINT}    url: 'https://u:S@a.example/'\n    unsigned: true`,
  `${ENDPOINT}    url: 'https://u:S@a b.example/'\n    unsigned: true`,
  `${ENDPOINT}    url: 'https://a..b:S/S'\n    unsigned: true`,
  `${ENDPOINT}    url: 'http://8.8.8.8/S?S'\n    unsigned: true`,
  `${ENDPOINT}    url: https://a.example/\n    secret: S`,
  `${ENDPOINT}    url: https://a.example/\n    secret: [S]`,
  `${ENDPOINT}    url: https://a.example/\n    unsigned: S`,
  `${ENDPOINT}    url: https://a.example/\n    unsigned: true\n    headers: { Authorization: "S\\n" }`,
  `${ENDPOINT}    url: https://a.example/\n    unsigned: true\n    headers: { A: x, 'S S' }`,
  `${ENDPOINT}    url: https://a.example/\n    unsigned: true\n    headers: { A: [S] }`,
  `${ENDPOINT}    url: https://a.example/\n    unsigned: true\n    headers: S`,
  `${ENDPOINT}    url: https://a.example/\n    unsigned: true\n    headers: { A: 'env:S' }`,
  `${ENDPOINT}    url: https://a.example/\n    unsigned: true\n    tls: { key: S, cert: S }`,
  `${ENDPOINT}    url: https://a.example/\n    unsigned: true\n    timeout: S\n    retry: [S]`,
  `${ENDPOINT}    url: https://a.example/\n    unsigned: true\n    rate_limit: S\n    S: 1`,
  "alerts: { chat: [{ kind: S, url: 'https://hooks.slack.example/S' }, S], window: S }",
  "alerts: { mail: { smtp: 'smtp://u:S@h:x' }, heartbeat: { url: S, every: S }, to: ['S S'] }",
  "environment: S",
  "server: { listen: 'S', trusted_proxies: [S] }",
  "events: [{ name: S, description: a }]\n" +
  `${ENDPOINT}    url: https://a.example/\n    unsigned: true`.replace("['*']", "[nothing.at_all]"),
  "events: [{ name: a.b, description: a, schema: S }]",
  "S: 1",
  // Syntax
  'secrets: { a: "S',
  "secrets: { a: 'S",
  "secrets: { a: S",
  "secrets:\n  a: S: S",
  "secrets:\n  a: b\n  S",
  "secrets:\n  a: b\n S",
  "secrets:\n\ta: S",
  "secrets: &S x",
  "secrets: *S",
  "secrets: !S x",
  "secrets: !<S> x",
  "%S\n---\na: 1",
  "secrets: { a: @S }",
  "secrets: { a: `S` }",
  'secrets: { a: "\\qS" }',
  'secrets: { a: "\\uS" }',
  "secrets:\n  a: |S\n    x",
  "secrets: { [S]: x }",
  "secrets: { ? S : x",
  "secrets: [a, S}",
  "secrets: { a: b } S",
  "secrets: { a: b, 'S': x, 'S': y }",
  "--- S\n--- S",
  "- S",
  "S",
];

Deno.test("secrets.refused: check and serve never show a secret, wherever it stands", async () => {
  for (const secret of SECRETS) {
    const broken = { SPACED: `${secret} `, QUOTED: `"${secret}"`, MARKED: `\ufeff${secret}` };
    const env = { ...broken, SET: "pT7#kd92mQx!vR4sLw8zY3nB6cJ1" };
    const files = {
      spaced: ` ${secret}\n`,
      quoted: `'${secret}'\n`,
      marked: `\ufeff${secret}\n`,
      lines: `${secret}\n\n`,
    };
    for (const place of PLACES) {
      const yaml = place.replaceAll(/\bS\b/g, () => secret);
      await inDirectoryAsync(yaml + "\n", files, async (path) => {
        const ended = await runHere(["check", "--config", path], { env });
        // A literal that begins with a $ may be a secret, and then no mistake.
        const is_valid = ended.code === 0 && /a: '[$%]/.test(yaml);
        assert.equal(ended.code, is_valid ? 0 : 2, `${yaml}\n${ended.out}${ended.err}`);
        if (!is_valid) assert.match(ended.err, /config\.yaml:\d+:\d+: /, yaml);
        // The error is what every other command prints.
        const shown = ended.out + ended.err + (is_valid ? "" : refusalOf(path, env));
        for (const part of [secret, secret.slice(0, 12), secret.slice(-12)]) {
          assert.ok(!shown.includes(part), `${yaml}\n${shown}`);
        }
      });
    }
  }
});

Deno.test("secrets.short: a password that looks like a word is not shown where one may stand", () => {
  for (
    const yaml of [
      "database: { directory: 'postgres://u:kestrelfish@h/n' }",
      "database: { url: file:postgres://u:kestrelfish@h/n }",
      "database: { url: 'file:/u:kestrelfish@h/n' }",
      "server: { listen: 'u:kestrelfish@h:80' }",
      "server: { listen: 'http://u:kestrelfish@h:80' }",
      "events: [{ name: a.b, description: a, schema: 'https://u:kestrelfish@h/n' }]",
      "admin: { tokens: [{ name: 'kestrel fish', token: kestrelfish, role: kestrelfish }] }",
      "secrets: { a: kestrelfish, b: ENV:kestrelfish }",
      "database: { host: h, user: u, password: ' kestrelfish' }",
    ]
  ) {
    inDirectory(yaml, {}, (path) => assert.doesNotMatch(refusalOf(path, {}), /kestrel/, yaml));
  }
});

function refusalOf(path: string, env: Readonly<Record<string, string>>): string {
  try {
    loadConfig(path, (name) => env[name]);
  } catch (error) {
    return Deno.inspect(error, { depth: 9 });
  }
  assert.fail("It loads");
}

Deno.test("secrets.process: the log of a start shows no more", async () => {
  const [, whsec = "", , percent = ""] = SECRETS;
  const env = { SET: whsec };
  for (
    const yaml of [
      `secrets: { a: env:SET, "${whsec}" }`,
      `database: { url: 'postgres://u:${percent}%@h' }`,
      `secrets: { a: $Word${percent.replace("%", "")} }`,
      `${ENDPOINT}    url: 'https://u:${percent}@a b.example/'\n    unsigned: true`,
      `secrets: { a: "${whsec}`,
    ]
  ) {
    await inDirectoryAsync(yaml, {}, async (path) => {
      const { code, out, err } = await runCli(["serve", "--config", path], { env });
      assert.equal(code, 2, err);
      for (const part of [whsec.slice(-12), percent.slice(-12)]) {
        assert.ok(!(out + err).includes(part), err);
      }
    });
  }
});
