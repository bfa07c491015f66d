import assert from "node:assert/strict";
import fc from "fast-check";
import { pastedHeaders } from "../../lib/core/pasted_headers.ts";

const HEX = "5f2b0f5d6d1a4c0e8b7a6958473625140f1e2d3c4b5a69788796a5b4c3d2e1f0";
const ALL = {
  "X-BookMe-Signature": `sha256=${HEX}`,
  "webhook-id": "evt_06yn4b7c2d5f0000e1g3q8r4ss",
  "webhook-timestamp": "1764000000",
  "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4= v1,abcd+/=",
};
const lines = Object.entries(ALL);

const PASTED: Readonly<Record<string, string>> = {
  "header lines": `POST /hook HTTP/1.1\r\nHost: crm.example\r\n${
    lines.map(([name, value]) => `${name}: ${value}`).join("\r\n")
  }\r\nContent-Length: 2\r\n\r\n{}`,
  "header lines in lower case": lines.map(([name, value]) => `${name.toLowerCase()}: ${value}`)
    .join("\n"),
  "curl": `curl -X POST ${
    lines.map(([name, value]) => `-H '${name}: ${value}'`).join(" ")
  } -d '{}'`,
  "curl over several lines": lines.map(([name, value]) => `  -H "${name}: ${value}" \\`).join("\n"),
  "JSON": JSON.stringify(ALL, null, 2),
  "JSON in one line, with lists": JSON.stringify(
    Object.fromEntries(lines.map(([name, value]) => [name.toLowerCase(), [value]])),
  ),
  "PHP": `array (\n${
    lines.map(([name, value]) =>
      `  'HTTP_${name.toUpperCase().replaceAll("-", "_")}' => '${value}',`
    ).join("\n")
  }\n)`,
  "a WSGI environment": lines.map(([name, value]) =>
    `HTTP_${name.toUpperCase().replaceAll("-", "_")}=${value}`
  )
    .join("\n"),
  "a log of one line": `level=info ${
    lines.map(([name, value]) => `${name}=${value}`).join(" ")
  } ok=1`,
};

for (const [kind, text] of Object.entries(PASTED)) {
  Deno.test(`signature headers are found in ${kind}`, () => {
    assert.deepEqual(pastedHeaders(text), ALL);
  });
}

Deno.test("a signature alone is that of its header", () => {
  assert.deepEqual(pastedHeaders(` sha256=${HEX}\n`), { "X-BookMe-Signature": `sha256=${HEX}` });
});

Deno.test("similar names are other headers", () => {
  assert.deepEqual(pastedHeaders(`Not-X-BookMe-Signature: sha256=${HEX}`), {});
  assert.deepEqual(pastedHeaders("X-BookMe-Event: booking.created"), {});
  assert.deepEqual(pastedHeaders("X-BookMe-Signature:\nHost: x"), {});
});

Deno.test("any text is read in little time, and its values have no line breaks", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => {
    for (
      const value of Object.values(pastedHeaders(`webhook-id ${text} webhook-signature: ${text}`))
    ) {
      assert.ok(!value.includes("\n"));
    }
  }));
  for (const piece of ["webhook-id: ", "'", '"', " ", "webhook-signature: v1 "]) {
    pastedHeaders(piece.repeat(100_000));
  }
});
