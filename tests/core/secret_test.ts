import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { format, inspect } from "node:util";
import fc from "fast-check";
import {
  decodeWhsec,
  hideSecrets,
  looksSecret,
  makeSecret,
  Secret,
  secretMistake,
} from "../../lib/core/secret.ts";

const VALUE = "hunter2-hunter2-hunter2-hunter2";

Deno.test("Secret is printed by reveal() only", () => {
  const secret = new Secret(VALUE);
  const holder = { list: [secret], map: new Map([["a", secret]]) };
  const error = new Error("Failed", { cause: { secret } });
  const printed: Record<string, string> = {
    template: `${secret}`,
    concatenation: "" + secret,
    string: String(secret),
    join: [secret].join(),
    json: JSON.stringify({ secret, holder }),
    denoInspect: Deno.inspect(holder, { depth: 9, showHidden: true, getters: true }),
    denoInspectError: Deno.inspect(error),
    utilInspect: inspect(holder, {
      depth: 9,
      showHidden: true,
      getters: true,
      customInspect: true,
    }),
    utilInspectPlain: inspect(secret, { customInspect: false, showHidden: true, depth: 9 }),
    utilInspectError: inspect(error),
    utilFormat: format("%s %o %O %j %d", secret, secret, secret, secret, secret),
    locale: secret.toLocaleString(),
    keys: JSON.stringify([Object.entries(secret), Reflect.ownKeys(secret)]),
    clone: JSON.stringify({ ...secret }),
    thrown: String(assertThrown(() => (secret as unknown as () => void)())),
  };
  for (const [how, text] of Object.entries(printed)) {
    assert.ok(!text.includes("hunter2"), `${how}: ${text}`);
  }
  for (const how of ["template", "json", "denoInspect", "utilInspect"]) {
    assert.match(printed[how] ?? "", /\[redacted\]/, how);
  }
  assert.equal(secret.reveal(), VALUE);
});

function assertThrown(run: () => void): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  assert.fail("nothing was thrown");
}

Deno.test("Secret is not printed by console.log of a process", async () => {
  const program = `
    import { Secret } from ${JSON.stringify(import.meta.resolve("../../lib/core/secret.ts"))};
    const secret = new Secret(Deno.env.get("VALUE"));
    console.log(secret, { secret }, [secret], \`\${secret}\`);
    console.log("%s %o %O %d %j", secret, secret, secret, secret, secret);
    console.error(new Error("Failed", { cause: secret }));
    console.dir({ secret }, { depth: 9, showHidden: true });
    console.table([{ secret }]);
    throw new AggregateError([secret], "Failed");`;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-lock", program],
    env: { VALUE, NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const printed = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.match(printed, /\[redacted\]/);
  assert.match(printed, /AggregateError/);
  assert.ok(!printed.includes("hunter2"), printed);
});

Deno.test("makeSecret() makes a secret that passes and decodes to its bytes", () => {
  const lengths = { minLength: 24, maxLength: 64 };
  fc.assert(fc.property(fc.uint8Array(lengths), (bytes) => {
    const secret = makeSecret(bytes);
    assert.equal(secretMistake(secret), undefined);
    assert.deepEqual(decodeWhsec(secret), new Uint8Array(bytes));
  }));
});

Deno.test("decodeWhsec() takes 24 to 64 bytes", () => {
  const secret = (length: number) => `whsec_${Buffer.alloc(length, 0xa5).toString("base64")}`;
  for (let length = 0; length <= 80; length++) {
    const decoded = decodeWhsec(secret(length));
    assert.equal(decoded?.length, length >= 24 && length <= 64 ? length : undefined, `${length}`);
  }
});

Deno.test("decodeWhsec() refuses what is no base64 of its form", () => {
  const good = Buffer.alloc(32, 0xfb).toString("base64");
  assert.match(good, /[+/]/);
  for (
    const text of [
      good,
      `whsec-${good}`,
      `WHSEC_${good}`,
      "whsec_",
      `whsec_${good}\n`,
      `whsec_ ${good}`,
      `whsec_${good.slice(0, 10)}\n${good.slice(10)}`,
      `whsec_${good.replaceAll("+", "-").replaceAll("/", "_")}`,
      `whsec_=${good}`,
      `whsec_${good}===`,
      // The bits behind the last byte are not zero.
      `whsec_${good.slice(0, -2)}9=`,
      `whsec_${"é".repeat(32)}`,
    ]
  ) assert.equal(decodeWhsec(text), undefined, JSON.stringify(text));
});

Deno.test("secretMistake() accepts strong secrets", () => {
  for (const good of ["x".repeat(24), "😀".repeat(24), "a secret of words, all in a row", VALUE]) {
    assert.equal(secretMistake(good), undefined, good);
  }
});

const GOOD = "pT7#kd92mQx!vR4sLw8zY3nB6cJ1";
const WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwQZ3hT1yJ0fY=";

Deno.test("secretMistake() accepts what only looks unusual", () => {
  for (const inside of [" ", "\u200b", "😀", "❤️", '"', "'", "é", "\u0301"]) {
    assert.equal(secretMistake(`${GOOD}${inside}x${GOOD}`), undefined, JSON.stringify(inside));
  }
  for (const ends of [`${GOOD}❤️`, `"${GOOD}`, `${GOOD}'`, `"${GOOD}'`, `é${GOOD}é`]) {
    assert.equal(secretMistake(ends), undefined, ends);
  }
});

Deno.test("looksSecret() tells secrets from names, addresses and units", () => {
  const secrets = [GOOD, WHSEC, "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=", "0f".repeat(16)];
  for (const word of [...secrets, "aB3-xY7_kQ9!mN2z8Rt", "tok_5Gh2Kx9QpLm3Rt7VwZy1Nb4C"]) {
    assert.ok(looksSecret(word), word);
  }
  for (
    const word of ["bookme_before", "X-BookMe-Signature", "10.20.30.0/24", "2001:db8::1", "crm2"]
  ) {
    assert.ok(!looksSecret(word), word);
  }
  for (const word of ["https://crm.example.com/webhooks/bookme", "booking.created", "30seconds"]) {
    assert.ok(!looksSecret(word), word);
  }
  assert.equal(
    hideSecrets(
      `File "/tmp/x-9f8a7b6c5d/crm.secret" and "${GOOD}", variable A_LONG_NAME_OF_24_LETTERS`,
    ),
    `File "/tmp/x-9f8a7b6c5d/crm.secret" and "…", variable A_LONG_NAME_OF_24_LETTERS`,
  );
});

Deno.test("secretMistake() names the mistake with a remedy and never the secret", () => {
  const table: [string, RegExp][] = [
    ["", /at least 24 characters; make one with/],
    ["x".repeat(23), /at least 24 characters/],
    ["😀".repeat(23), /at least 24 characters/],
    [`${GOOD}\n`, /line break/],
    [`${GOOD}\r\n${GOOD}`, /line break/],
    [`${GOOD}\u2028`, /line break/],
    [`${GOOD}\u001b[0m`, /control characters/],
    [`${GOOD}\u0085x`, /control characters/],
    [`${GOOD}\tx`, /a tab/],
    ...[
      " ",
      "\t",
      "\u00a0",
      "\u3000",
      "\u200b",
      "\u200d",
      "\u2060",
      "\u00ad",
      "\u180e",
      "\u202e",
      "\u3164",
    ]
      .flatMap((hidden): [string, RegExp][] => [
        [`${GOOD}${hidden}`, /Begins or ends with white space or an invisible/],
        [`${hidden}${GOOD}`, /Begins or ends with white space or an invisible/],
      ]),
    ...[`\ufeff${GOOD}`, `${GOOD}\ufeff`, `${GOOD}\ufeff${GOOD}`]
      .map((secret): [string, RegExp] => [secret, /byte order mark/]),
    ...[`${GOOD}\ud83d`, `\ude00${GOOD}`, `${GOOD}\ude00\ud83d${GOOD}`]
      .map((secret): [string, RegExp] => [secret, /half a surrogate pair/]),
    ...[`"${GOOD}"`, `'${GOOD}'`, `\`${GOOD}\``, `“${GOOD}”`, `'${WHSEC}'`]
      .map((secret): [string, RegExp] => [secret, /in quotes, which are part of the value/]),
    [`${"x".repeat(30)}\u0000`, /control characters/],
    ["whsec_hunter2", /24 to 64 bytes; make one with/],
    [`whsec_${"!".repeat(40)}`, /24 to 64 bytes/],
    [`whsec_${Buffer.alloc(23).toString("base64")}`, /24 to 64 bytes/],
    [`whsec_${Buffer.alloc(65).toString("base64")}`, /24 to 64 bytes/],
  ];
  for (const [secret, expected] of table) {
    const mistake = secretMistake(secret) ?? assert.fail(JSON.stringify(secret));
    assert.match(mistake, expected);
    assert.ok(secret === "" || !mistake.includes(secret), mistake);
  }
});
