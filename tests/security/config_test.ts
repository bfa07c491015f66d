import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { inTemporary, runCli } from "../support/cli.ts";

const DEEP = 20_000;
// Something that looks like a secret is never shown, wherever it was put by mistake.
const CANARY = "whsec_YzRuNHJ5LWluLXRoZS1jb25maWd1cmF0aW9u";
const BOMB = "a: &a [x, x]\n" +
  Array.from({ length: 30 }, (_, n) => `b${n}: &b${n} [*a, *a]\n`).join("");
const CRM = "endpoints:\n  - { id: crm, url: https://a.example/, unsigned: true, events: ['*']";
const PRODUCTION = `environment: production\nserver: { trusted_proxies: [10.0.0.5/32] }\n`;

/** Files that `serve` must refuse, each with its message. */
const ATTACKS: Readonly<Record<string, [file: string | Uint8Array, says: RegExp]>> = {
  "an alias bomb": [BOMB, /:1:4: .*Anchors/],
  "lists 20,000 deep": [`a: ${"[".repeat(DEEP)}`, /:1:\d+: .*Nested too deeply/],
  "mappings 20,000 deep": [`a: ${"{a: ".repeat(DEEP)}`, /:1:\d+: .*Nested too deeply/],
  "blocks 400 deep": [
    Array.from({ length: 400 }, (_, n) => `${" ".repeat(n)}a:\n`).join(""),
    /Nested too deeply/,
  ],
  "a tag": ["server: !!js/function 'x'\n", /:1:9: .*Tags/],
  "a duplicate key": ["server: {}\nserver: {}\n", /:2:1: .*[Dd]uplicate key/],
  "__proto__": ["__proto__: { environment: production }\n", /:1:1: /],
  "Object's constructor": ["constructor: { prototype: {} }\n", /:1:1: /],
  "two documents": ["server: {}\n---\nserver: {}\n", /:2:1: .*Second document/],
  "invalid UTF-8": [Buffer.from("server: {} # \xff\n", "latin1"), /:1:14: .*Invalid UTF-8/],
  "UTF-16": [Buffer.from("server: {}\n", "utf16le"), /:\d+:\d+: /],
  "NUL": ["server: {}\0\n", /:1:11: .*Control character U\+0000/],
  "an escape of a terminal": ["environment: \x1b[31mred\n", /:1:14: .*Control character/],
  "a number beyond 2^53": [
    "delivery: { concurrency: 9007199254740993 }\n",
    /without an exact value/,
  ],
  "infinity": ["alerts: { failure_rate: .inf }\n", /:1:\d+: /],
  "NaN": ["alerts: { failure_rate: .nan }\n", /:1:\d+: /],
  "a merge key": [`<<: { environment: production }\n`, /:1:1: /],
  "host bits in a network": ["ip_ranges: { development: [10.0.0.1/8] }\n", /bits set after/],
  "everybody as a network by mistake": [
    "ip_ranges: { development: [10.0.0.0] }\n",
    /lacks a prefix/,
  ],
  "a line break in a header": [`${CRM}, headers: { X-A: "a\\r\\nX-B: b" } }\n`, /line breaks/],
  "a reserved header": [`${CRM}, headers: { Content-Length: "5" } }\n`, /Reserved/],
  "our own header": [`${CRM}, headers: { X-BookMe-Signature: "x" } }\n`, /Reserved/],
  "a header's name that is none": [`${CRM}, headers: { "X: Y": "5" } }\n`, /header's name/],
  "a metadata endpoint": [CRM.replace("a.example", "169.254.169.254") + " }\n", /metadata/],
  "an endpoint with a password": [
    CRM.replace("a.ex", "u:p@a.ex") + " }\n",
    /user name or password/,
  ],
  "an unknown key": ["databse: { directory: ./data }\n", /:1:1: databse: .*did you mean database/],
  "a secret that is too short": ["secrets: { a: short }\n", /:1:15: secrets\.a: .*24 characters/],
  "a secret of a file that is none": ["secrets: { a: 'file:/dev/zero' }\n", /not a regular file/],
  "a secret of a variable that is not set": [
    "secrets: { a: 'env:NO_SUCH' }\n",
    /NO_SUCH is not set/,
  ],
  "a literal secret in production": [
    `${PRODUCTION}secrets: { a: ${CANARY} }\n`,
    /:3:15: secrets\.a: In production secrets must not be in the file/,
  ],
  "a weak secret in production": [
    `${PRODUCTION}secrets: { a: 'env:WEAK' }\n`,
    /:3:15: secrets\.a: Too easy to guess/,
  ],
  "a file of secrets that all may read": [
    `${PRODUCTION}secrets: { a: 'file:./open' }\n`,
    /:3:15: secrets\.a: File .* is readable by everyone \(mode 0644\)/,
  ],
  "an open admin listener in production": [
    "environment: production\nserver: { listen: '0.0.0.0:8080' }\n",
    /:2:\d+: server\.listen: In production/,
  ],
  "canaries wherever a secret can stand": [
    `secrets: { ${CANARY}: x }\ningest: { secret: ${CANARY} }\nenvironment: ${CANARY}\n` +
    `admin: { tokens: [{ name: a, token: "${CANARY} ", role: ${CANARY} }] }\n` +
    `database: { url: "mysql://u:${CANARY}@h/d" }\n` +
    `endpoints: [{ id: a, url: "https://u:${CANARY}@x/", events: ["*"],` +
    ` headers: { Authorization: "${CANARY}\\n" } }]\n`,
    /:3:14: environment: /,
  ],
};

const AT_ONCE = 3;

Deno.test("config.hostile: the program refuses a hostile file with its place, code 2, and does nothing", async () => {
  const waiting = Object.entries(ATTACKS);
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [name, [file, says]] = next;
      await inTemporary(async (directory) => {
        const path = `${directory}/config.yaml`;
        await Deno.writeFile(path, Buffer.from(file as string));
        await Deno.writeTextFile(`${directory}/open`, CANARY, { mode: 0o644 });
        await Deno.chmod(`${directory}/open`, 0o644);
        const env = { WEAK: "abababababababababababababab" };
        const { code, out, err } = await runCli(["serve", "--config", path], { env });
        assert.equal(code, 2, `${name}: ${err}`);
        assert.equal(out, "", name);
        assert.match(err, says, name);
        assert.ok(err.length < 20_000, name);
        assert.ok(!err.includes(CANARY.slice(0, 12)), `${name}: ${err}`);
        assert.doesNotMatch(err, /Listening|at file:|this is a bug/, name);
        const left = [...Deno.readDirSync(directory)].map((entry) => entry.name).toSorted();
        assert.deepEqual(left, ["config.yaml", "open"], name);
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
});
