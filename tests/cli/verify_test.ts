import assert from "node:assert/strict";
import { makeSecret } from "../../lib/core/secret.ts";
import { makeSigner } from "../../lib/core/signature.ts";
import { endpoint, SECRET as ENDPOINT_SECRET } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { startOperated } from "../support/operated.ts";
import { inTemporary, runCli, runHere } from "../support/cli.ts";
import { sampleOf } from "../support/samples.ts";

const SECRET = makeSecret(new Uint8Array(32).fill(7));
const PREVIOUS = makeSecret(new Uint8Array(32).fill(8));
const SAMPLE = sampleOf("booking.created");
const BYTES = new TextEncoder().encode(SAMPLE);
const SIGNATURE = makeSigner(SECRET).bookme(BYTES);
const PRICED = makeSigner(SECRET).bookme(
  new TextEncoder().encode('{"price":75.50,"n":"\\u00fc"}'),
);
const ENV = { SECRET, PREVIOUS };
const VERIFY = ["verify", "--secret", "env:SECRET", "--body", "-"];

Deno.test("verify prints valid and exits with 0, reading files", async () => {
  await inTemporary(async (directory) => {
    await Deno.writeFile(`${directory}/body.json`, BYTES);
    await Deno.writeTextFile(`${directory}/the.secret`, `${SECRET}\n`);
    const args = ["--body", `${directory}/body.json`, "--secret", `file:${directory}/the.secret`];
    assert.deepEqual(await runCli(["verify", ...args, "--signature", SIGNATURE]), {
      code: 0,
      out: "✓ X-BookMe-Signature: Valid\n",
      err: "",
    });
  });
});

Deno.test("verify takes the body, or the secret, from standard input", async () => {
  const line = `X-BookMe-Signature: ${SIGNATURE}`;
  const body = await runCli([...VERIFY, "--signature", line], { env: ENV, stdin: SAMPLE });
  assert.equal(body.code, 0, body.err);
  await inTemporary(async (directory) => {
    await Deno.writeFile(`${directory}/body.json`, BYTES);
    const args = ["verify", "--secret", "-", "--body", `${directory}/body.json`];
    const secret = await runCli([...args, "--signature", SIGNATURE], { stdin: `${SECRET}\r\n` });
    assert.equal(secret.code, 0, secret.err);
  });
});

Deno.test("verify names the likely mistake with exit code 1, on standard output", async () => {
  const old = makeSigner(PREVIOUS).bookme(BYTES);
  const table: [string[], string, RegExp][] = [
    [["--signature", SIGNATURE.slice(7)], SAMPLE, /sha256= is missing/],
    [["--signature", SIGNATURE], JSON.stringify(JSON.parse(SAMPLE)), /parsed and written again/],
    [["--signature", SIGNATURE], `${SAMPLE}\n`, /trailing newline/],
    [["--signature", PRICED], '{"price":75.5,"n":"ü"}', /75\.50 for 75\.5/],
    [["--signature", old], SAMPLE, /Another secret signed it/],
    [["--signature", old, "--previous-secret", "env:PREVIOUS"], SAMPLE, /previous secret/],
  ];
  for (const [args, stdin, expected] of table) {
    const { code, out, err } = await runHere([...VERIFY, ...args], { env: ENV, stdin });
    assert.deepEqual([code, err], [1, ""]);
    assert.match(out, /^✗ X-BookMe-Signature: /);
    assert.match(out, expected);
    for (const secret of [SECRET, PREVIOUS]) assert.ok(!out.includes(secret));
  }
});

Deno.test("verify checks the webhook- headers, with or without X-BookMe-Signature", async () => {
  const headers = (timestamp_s: number) => [
    ...["--webhook-id", "evt_1"],
    ...["--webhook-timestamp", String(timestamp_s)],
    ...["--webhook-signature", makeSigner(SECRET).standard("evt_1", timestamp_s, BYTES)],
  ];
  const now_s = Math.floor(Date.now() / 1000);
  const options = { env: ENV, stdin: SAMPLE };
  const both = [...VERIFY, "--signature", SIGNATURE, ...headers(now_s)];
  const good = await runHere(both, options);
  assert.equal(good.out, "✓ X-BookMe-Signature: Valid\n✓ webhook-signature: Valid\n");
  assert.equal(good.code, 0);
  const late = await runHere([...VERIFY, ...headers(now_s - 3600)], options);
  assert.equal(late.code, 1);
  assert.match(late.out, /^✗ webhook-signature: The signature is right, but .* 5 minutes ago/);
});

Deno.test("verify names the missing or impossible option", async () => {
  const table: [string[], RegExp][] = [
    [["verify"], /^--body is missing/],
    [["verify", "--body", "-"], /^--secret is missing/],
    [VERIFY, /^--signature is missing/],
    [[...VERIFY, "--webhook-id", "evt_1"], /belong together/],
    [["verify", "--body", "-", "--secret", "-"], /^Only one of/],
    [["verify", "--body", "-", "--secret", "env:NOT_SET"], /NOT_SET is not set/],
    [["verify", "--body", "-", "--secret", "file:/nowhere/s"], /"\/nowhere\/s" does not exist/],
  ];
  for (const [args, expected] of table) {
    const { code, out, err } = await runHere(args, { env: ENV, stdin: SAMPLE });
    assert.deepEqual([code, out], [2, ""]);
    assert.match(err, expected);
  }
  const absent = ["verify", "--body", "/nowhere/b", "--secret", "env:SECRET", "--signature", "x"];
  assert.equal((await runHere(absent, { env: ENV })).code, 2);
});

Deno.test("verify uses colours on a terminal only, and not if NO_COLOR is set", async () => {
  const args = [...VERIFY, "--signature", SIGNATURE];
  const on = (env: Record<string, string>, isTerminal: boolean) =>
    runHere(args, { env: { ...ENV, ...env }, stdin: SAMPLE, isTerminal });
  assert.ok((await on({}, true)).out.includes("\x1b["));
  assert.ok(!(await on({}, false)).out.includes("\x1b["));
  assert.ok(!(await on({ NO_COLOR: "1" }, true)).out.includes("\x1b["));
});

onServer("verify --endpoint checks with the secrets that the daemon has", async (database) => {
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("crm", "https://crm.example/")],
  });
  const body = SAMPLE;
  const ask = (secret: string, more: readonly string[] = []) =>
    daemon.cli(
      [
        ...["verify", "--endpoint", "crm", "--body", "-", ...more],
        ...["--signature", makeSigner(secret).bookme(BYTES)],
      ],
      { stdin: body, env: ENV },
    );
  assert.deepEqual(await ask(ENDPOINT_SECRET), {
    code: 0,
    out: "✓ X-BookMe-Signature: Valid\n",
    err: "",
  });
  const other = await ask(SECRET);
  assert.equal(other.code, 1);
  assert.match(other.out, /^✗ X-BookMe-Signature: Another secret signed it/);
  assert.ok(!other.out.includes(ENDPOINT_SECRET));
  const both = await ask(SECRET, ["--secret", "env:SECRET"]);
  assert.match(both.err, /--endpoint stands without secrets: the daemon has them/);
  assert.equal(both.code, 2);
});
