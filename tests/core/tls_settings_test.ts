import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import {
  pairMistakes,
  plainPem,
  showTls,
  textMistakes,
  type TlsTexts,
  validityMistakes,
} from "../../lib/core/tls_settings.ts";
import { testCertificates } from "../support/tls.ts";

const { ca, client, good, expired, not_yet, chained } = await testCertificates();
const BLOCK = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";

function keyOf(type: "rsa" | "ec", options: { modulusLength?: number; namedCurve?: string }) {
  const { privateKey } = generateKeyPairSync(type as "rsa", options as { modulusLength: number });
  return String(privateKey.export({ type: "pkcs8", format: "pem" }));
}

Deno.test("textMistakes() names the text that is no certificate or key, and shows none of it", () => {
  const table: [keyof TlsTexts, text: string, expected: RegExp | undefined][] = [
    ["ca", ca, undefined],
    ["ca", `Subject: CN=ca\n${ca}\n\n${good.cert}`, undefined],
    ["ca", ca.replaceAll("\n", "\r\n"), undefined],
    ["ca", "", /^Must be PEM with a certificate/],
    ["ca", "env:CA", /^Must be PEM with a certificate/],
    ["ca", "file:ca.pem", /^Must be PEM with a certificate/],
    ["ca", client.key, /^Must be PEM with a certificate/],
    ["ca", BLOCK.replaceAll("CERTIFICATE", "CERTIFICATE REQUEST"), /^Must be PEM with a cert/],
    ["ca", BLOCK, /^The certificate cannot be read/],
    ["ca", `${ca}\n${BLOCK}`, /^Certificate 2 cannot be read/],
    ["ca", `${ca}\n`.repeat(201), /^Must have at most 200 certificates/],
    ["cert", chained.cert, undefined],
    ["cert", client.key, /^Must be PEM with a certificate/],
    ["key", client.key, undefined],
    ["key", `${client.cert}\n${client.key}`, undefined],
    ["key", keyOf("rsa", { modulusLength: 2048 }), undefined],
    ["key", keyOf("ec", { namedCurve: "P-384" }), undefined],
    ["key", keyOf("rsa", { modulusLength: 1024 }), /^Must be an RSA key of at least 2048 bits/],
    ["key", keyOf("ec", { namedCurve: "secp256k1" }), /^Must be .* on P-256, P-384 or P-521/],
    ["key", "env:KEY", /^Must be PEM with a private key/],
    ["key", client.cert, /^Must be PEM with a private key/],
    ["key", `${client.key}\n${good.key}`, /^Must have one private key/],
    ["key", client.key.replace("M", "N"), /^The private key cannot be read/],
    ["key", client.key.replaceAll("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), /^Is encrypted with/],
    [
      "key",
      "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n" +
      "-----END RSA PRIVATE KEY-----",
      /^Is encrypted with/,
    ],
  ];
  for (const [member, text, expected] of table) {
    const [mistake, ...others] = textMistakes({ [member]: text });
    assert.deepEqual(others, []);
    if (expected === undefined) {
      assert.equal(mistake, undefined, `${member} ${text.slice(0, 60)}: ${mistake?.message}`);
      continue;
    }
    assert.equal(mistake?.member, member);
    assert.match(mistake.message, expected);
    const lines = text.split("\n").filter((line) => line.length > 5);
    for (const line of lines.slice(1, -1)) assert.ok(!mistake.message.includes(line), line);
  }
});

Deno.test("textMistakes() reads a long text without end in linear time", () => {
  const begun = "-----BEGIN CERTIFICATE-----\nMIIB\n".repeat(2_000);
  const [mistake] = textMistakes({ ca: begun });
  assert.match(mistake?.message ?? "", /^Must be PEM/);
});

Deno.test("pairMistakes() demands the certificate's own key", () => {
  const table: [TlsTexts, member: string | null | undefined][] = [
    [{}, undefined],
    [{ ca }, undefined],
    [client, undefined],
    [chained, undefined],
    [{ cert: client.cert }, null],
    [{ key: client.key }, null],
    [{ cert: client.cert, key: good.key }, "key"],
    // The first certificate is the client's.
    [{ cert: `${ca}\n${client.cert}`, key: client.key }, "key"],
  ];
  for (const [texts, member] of table) {
    assert.deepEqual(
      pairMistakes(texts).map((one) => one.member),
      member === undefined ? [] : [
        member,
      ],
    );
  }
});

Deno.test("validityMistakes() knows the days of the client certificate alone", () => {
  const now_ms = Date.parse("2026-11-28T00:00:00Z");
  assert.deepEqual(validityMistakes({ ...client, ca: expired.cert }, now_ms), []);
  assert.deepEqual(validityMistakes(expired, now_ms), [
    { member: "cert", message: "Expired at 2025-02-01T00:00:00Z" },
  ]);
  assert.deepEqual(validityMistakes(not_yet, now_ms), [
    { member: "cert", message: "Is not valid before 2099-01-01T00:00:00Z" },
  ]);
});

Deno.test("plainPem() drops what does not belong into the text", () => {
  const both = `Bag Attributes\n${client.key}\n${client.cert}\n`;
  assert.equal(plainPem(both, "cert"), client.cert.trim());
  assert.equal(plainPem(both, "key"), client.key.trim());
  assert.equal(plainPem(`${ca}\n# next\n${good.cert}`, "ca"), `${ca}\n${good.cert}`);
});

Deno.test("showTls() shows names and days, and no text", () => {
  assert.equal(showTls({}), null);
  const dates = { valid_from: "2025-01-01T00:00:00.000Z", valid_to: "2098-01-01T00:00:00.000Z" };
  const authority = { subject: "ca", issuer: "ca", ...dates };
  assert.deepEqual(showTls({ ca: `${ca}\n${ca}`, ...client }), {
    ca: [authority, authority],
    cert: { subject: "client", issuer: "ca", ...dates },
  });
  assert.deepEqual(showTls(chained)?.cert, {
    subject: "unchained",
    issuer: "intermediate",
    ...dates,
  });
});
