import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import fc from "fast-check";
import {
  diagnoseBookme,
  diagnoseStandard,
  type SignatureMistake,
} from "../../lib/core/diagnose.ts";
import { EVENT_TYPES } from "../../lib/core/event_types.ts";
import { decodeWhsec, makeSecret } from "../../lib/core/secret.ts";
import { makeSigner } from "../../lib/core/signature.ts";
import { sampleOf } from "../support/samples.ts";

const SECRET = makeSecret(new Uint8Array(32).fill(7));
const PREVIOUS = makeSecret(new Uint8Array(32).fill(8));
const WORDS = "a secret of words, all in a row";
const SAMPLE = sampleOf("booking.created");
const NOW_S = 1_764_000_000;

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const sign = (text: string, secret = SECRET) => makeSigner(secret).bookme(bytes(text));
const hmac = (key: string | Uint8Array, text: string) => createHmac("sha256", key).update(text);

Deno.test("diagnoseBookme() finds every sample valid, as the documentation's snippet would", () => {
  for (const { sample } of EVENT_TYPES) {
    for (const secret of [SECRET, WORDS]) {
      const header = `sha256=${hmac(secret, sample).digest("hex")}`;
      assert.deepEqual(diagnoseBookme(bytes(sample), header, { secret }), {
        valid: true,
        mistakes: [],
        text: "Valid",
      });
    }
  }
});

Deno.test("diagnoseBookme() names the mistake in the header", () => {
  const right = sign(SAMPLE);
  const digits = right.slice("sha256=".length);
  const table: [string | undefined, SignatureMistake[]][] = [
    [undefined, ["missing"]],
    ["  ", ["missing"]],
    ["sha256=test_signature", ["placeholder"]],
    ["v1,AAAA", ["other_header"]],
    [digits, ["no_prefix"]],
    [`sha256=${digits.toUpperCase()}`, ["uppercase"]],
    [`SHA256=${digits}`, ["uppercase"]],
    [right.slice(0, -1), ["truncated"]],
    [digits.slice(0, 40), ["no_prefix", "truncated"]],
    [`sha256=${Buffer.from(digits, "hex").toString("base64")}`, ["base64"]],
    [`${right}, ${right}`, ["malformed"]],
    ["sha256=", ["malformed"]],
    ["hunter2", ["malformed"]],
    [`sha256=${"0".repeat(64)}`, ["unknown"]],
  ];
  for (const [header, expected] of table) {
    const finding = diagnoseBookme(bytes(SAMPLE), header, { secret: SECRET });
    assert.deepEqual(finding.mistakes, expected, header);
    assert.equal(finding.valid, false, header);
  }
});

Deno.test("diagnoseBookme() names the mistake in the key", () => {
  const decoded = decodeWhsec(SECRET) ?? assert.fail();
  const keys = { secret: SECRET, previous: [WORDS, PREVIOUS] };
  const table: [string | Uint8Array, SignatureMistake][] = [
    [PREVIOUS, "previous_secret"],
    [WORDS, "previous_secret"],
    [decoded, "decoded_key"],
    [SECRET.slice("whsec_".length), "stripped_key"],
    [`${SECRET}\n`, "newline_in_secret"],
    ["another secret, nobody knows it", "unknown"],
  ];
  for (const [key, expected] of table) {
    const header = `sha256=${hmac(key, SAMPLE).digest("hex")}`;
    const finding = diagnoseBookme(bytes(SAMPLE), header, keys);
    assert.deepEqual(finding.mistakes, [expected]);
    for (const secret of [SECRET, ...keys.previous]) assert.ok(!finding.text.includes(secret));
  }
  const bare = SECRET.slice("whsec_".length);
  const spaced = diagnoseBookme(bytes(SAMPLE), sign(SAMPLE), { secret: ` ${SECRET}\t` });
  assert.deepEqual(spaced.mistakes, ["space_in_secret"]);
  const lacking = diagnoseBookme(bytes(SAMPLE), sign(SAMPLE), { secret: bare });
  assert.deepEqual(lacking.mistakes, ["prefix_missing"]);
});

Deno.test("diagnoseBookme() names how the body was changed", () => {
  const text = SAMPLE.replace("John Doe", "Chloé Weiß");
  const value: unknown = JSON.parse(text);
  const compact = JSON.stringify(value);
  const latin1 = Buffer.from(Buffer.from(text).toString("latin1"), "utf8");
  // The body that was signed, the one that the receiver has, and the verdict.
  const table: [string, string | Uint8Array, SignatureMistake, RegExp?][] = [
    [text, compact, "reserialised", /indented by 2 spaces/],
    [compact, text, "reserialised", /without white space/],
    [JSON.stringify(value, null, 4), compact, "reserialised", /by 4 spaces/],
    [JSON.stringify(value, null, "\t"), compact, "reserialised", /by tabs/],
    [JSON.stringify(value, null, 2) + "\n", compact, "reserialised", /by 2 spaces/],
    ['{"a": [1, 2], "b": {}}', '{"a":[1,2],"b":{}}', "reserialised", /one line with spaces/],
    ['{"a":1,"b":2}', '{"b":2,"a":1}', "reserialised", /sorted keys/],
    ['{"a":"\\u00e9"}', '{"a":"é"}', "reserialised", /in ASCII/],
    ['{"a":"\\/"}', '{"a":"/"}', "reserialised", /slashes escaped/],
    [text, `${text}\n`, "newline"],
    [`${text}\n`, text, "newline"],
    [text, `  ${text}\r\n`, "newline"],
    [text, text.replaceAll("\n", "\r\n"), "line_endings"],
    [text.replaceAll("\n", "\r\n"), text, "line_endings"],
    [text, `\ufeff${text}`, "byte_order_mark"],
    [text, latin1, "charset"],
  ];
  for (const [signed, held, expected, words = /./] of table) {
    const body = typeof held === "string" ? bytes(held) : held;
    const finding = diagnoseBookme(body, sign(signed), { secret: SECRET });
    assert.deepEqual(finding.mistakes, [expected], String(held));
    assert.match(finding.text, words);
  }
});

Deno.test("diagnoseBookme() recognises rewritten numbers, escapes and key order", () => {
  // The body that was signed, the one that the receiver has, and the verdict.
  const table: [string, string, RegExp][] = [
    ['{"price":75.50,"count":2}', '{"price":75.5,"count":2}', /75\.50 for 75\.5/],
    ['{"price":75.5}', '{"price":75.50}', /75\.5 for 75\.50/],
    ['{"price": 100.00, "tax": 19}', '{"price":100,"tax":19}', /100\.00 for 100/],
    ['{"a":100.0,"b":7.0}', '{"a":100,"b":7}', /100\.0 for 100, 7\.0 for 7/],
    ['{"a":1e2,"b":100}', '{"a":100,"b":100}', /1e2 for 100/],
    ['{"a":1E2}', '{"a":100}', /1E2 for 100/],
    ['{"a":1.0E7}', '{"a":10000000}', /1\.0E7 for 10000000/],
    ['{"a":1e-06}', '{"a":0.000001}', /1e-06 for 0\.000001/],
    ['{"a":-0.0}', '{"a":0}', /-0\.0 for 0/],
    ['{"a":75.50,"b":1e2,"c":100}', '{\n  "a": 75.5,\n  "b": 100,\n  "c": 100\n}', /75\.50 .* 1e2/],
    [
      '{"a":75.50,"n":"M\\u00fcller","u":"http:\\/\\/x"}',
      '{"a":75.5,"n":"Müller","u":"http://x"}',
      /75\.50/,
    ],
    ['{"n":"M\\u00FCller"}', '{"n":"Müller"}', /in ASCII/],
    ['{"n":"Müller","u":"/"}', '{"n":"M\\u00fcller","u":"\\/"}', /\\u00fc as ü/],
    ['{"n":"a\\u003cb\\u0026"}', '{"n":"a<b&"}', /<, > and & escaped/],
    ['{"n":"\\u0022\\u002B\\u00FC"}', '{"n":"\\"+ü"}', /in ASCII/],
    ['{ "b" :1,"a":2.50 }', '{ "b" :1,"a":2.5 }', /2\.50 for 2\.5/],
  ];
  for (const [signed, held, words] of table) {
    const finding = diagnoseBookme(bytes(held), sign(signed), { secret: SECRET });
    assert.deepEqual(finding.mistakes, ["reserialised"], held);
    assert.match(finding.text, words);
    assert.match(finding.text, /parsed and written again/);
  }
  for (const { sample } of EVENT_TYPES) {
    const reordered = JSON.stringify(sorted(JSON.parse(sample)));
    const finding = diagnoseBookme(bytes(reordered), sign(sample), { secret: SECRET });
    assert.match(finding.text, /its keys in the documentation's order/);
  }
});

function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => a < b ? -1 : 1);
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}

Deno.test("diagnoseBookme() recognises two changes of the bytes, and a change with a rewriting", () => {
  const text = SAMPLE.replace("John Doe", "Chloé Weiß €");
  const latin1 = (of: string) => new Uint8Array(Buffer.from(of.replace("€", ""), "latin1"));
  const garbled = Buffer.from(text.replace("€", "")).toString("latin1");
  const windows = new TextDecoder("windows-1252").decode(bytes(text));
  const compact = JSON.stringify(JSON.parse(windows));
  const table: [string, string | Uint8Array, SignatureMistake[]][] = [
    [text, `\ufeff${text}\n`, ["byte_order_mark", "newline"]],
    [text, text.replaceAll("\n", "\r\n") + "\r\n", ["line_endings", "newline"]],
    [text, text.replaceAll("\n", "\r"), ["line_endings"]],
    [text.replace("€", ""), garbled, ["charset"]],
    [text.replace("€", ""), latin1(text), ["charset"]],
    [text, windows, ["charset"]],
    [text, `${windows}\n`, ["charset", "newline"]],
    [text, compact, ["charset", "reserialised"]],
    [text, `\ufeff${JSON.stringify(JSON.parse(text))}\r\n`, ["reserialised"]],
  ];
  for (const [signed, held, expected] of table) {
    const body = typeof held === "string" ? bytes(held) : held;
    const finding = diagnoseBookme(body, sign(signed), { secret: SECRET });
    assert.deepEqual(finding.mistakes, expected, String(held));
  }
  const keys = { secret: SECRET, previous: [PREVIOUS] };
  const digits = sign('{"price":75.50,"rate":1e2}', PREVIOUS).slice("sha256=".length);
  const three = diagnoseBookme(bytes('{"price":75.5,"rate":100}\n'), digits, keys);
  assert.deepEqual(three.mistakes, ["no_prefix", "previous_secret", "reserialised"]);
});

Deno.test("diagnoseBookme() says which bodies can no longer be verified", () => {
  const table: [string, RegExp][] = [
    ["", /the body is empty/],
    ["[object Object]", /not the parsed object/],
    [SAMPLE.replace("John", "J\ufffdhn"), /U\+FFFD/],
  ];
  for (const [held, words] of table) {
    const finding = diagnoseBookme(bytes(held), sign(SAMPLE), { secret: SECRET });
    assert.deepEqual(finding.mistakes, ["unknown"]);
    assert.match(finding.text, words);
  }
});

Deno.test("diagnoseBookme() ends its search of a long body and of one with many numbers", () => {
  const many = JSON.stringify(Array.from({ length: 200 }, (_, at) => at + 0.5));
  const long = JSON.stringify({ text: "ü/".repeat(400_000) });
  for (const text of [many, long]) {
    const finding = diagnoseBookme(bytes(text), sign("x"), { secret: SECRET });
    assert.deepEqual(finding.mistakes, ["unknown"]);
  }
  assert.deepEqual(
    diagnoseBookme(bytes(`${long}\n`), sign(long), { secret: SECRET }).mistakes,
    ["newline"],
  );
});

Deno.test("diagnoseBookme() names several mistakes at once, and signs of a lost key order", () => {
  const digits = sign(SAMPLE, PREVIOUS).slice("sha256=".length);
  const keys = { secret: SECRET, previous: [PREVIOUS] };
  const both = diagnoseBookme(bytes(`${SAMPLE}\n`), digits, keys);
  assert.deepEqual(both.mistakes, ["no_prefix", "previous_secret", "newline"]);
  const reordered =
    '{"data":{"b":1,"a":2},"event":"booking.created","timestamp":"2025-10-31T15:30:00Z"}';
  const lost = diagnoseBookme(bytes(reordered), sign(SAMPLE), keys);
  assert.deepEqual(lost.mistakes, ["unknown"]);
  assert.match(lost.text, /another order/);
});

Deno.test("diagnoseBookme() answers for any bytes and any header", () => {
  const deep = bytes("[".repeat(100_000) + "]".repeat(100_000));
  assert.deepEqual(diagnoseBookme(deep, sign("x"), { secret: SECRET }).mistakes, ["unknown"]);
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.string(),
      fc.string(),
      (body, header, key) => {
        assert.equal(diagnoseBookme(body, header, { secret: key }).valid, false);
        const right = makeSigner(key).bookme(body);
        assert.equal(diagnoseBookme(body, right, { secret: key }).valid, true);
      },
    ),
    { numRuns: 100 },
  );
});

const ID = "evt_01h455vb4pex5vsknk08";

function standard(text: string, timestamp: string, key: string | Uint8Array) {
  const signature = `v1,${hmac(key, `${ID}.${timestamp}.${text}`).digest("base64")}`;
  return { id: ID, timestamp, signature };
}

Deno.test("diagnoseStandard() accepts what the signer makes, alone or beside another", () => {
  for (const secret of [SECRET, WORDS]) {
    const signature = makeSigner(secret).standard(ID, NOW_S, bytes(SAMPLE));
    for (const text of [signature, `v1,AAAA ${signature}`, `${signature} v1,AAAA`]) {
      const headers = { id: ID, timestamp: String(NOW_S), signature: text };
      assert.ok(diagnoseStandard(bytes(SAMPLE), headers, { secret }, NOW_S + 299).valid, text);
    }
  }
});

Deno.test("diagnoseStandard() names the mistake", () => {
  const decoded = decodeWhsec(SECRET) ?? assert.fail();
  const old = decodeWhsec(PREVIOUS) ?? assert.fail();
  const at = String(NOW_S);
  const right = standard(SAMPLE, at, decoded);
  const table: [Partial<typeof right>, SignatureMistake][] = [
    [{ ...right, id: "" }, "missing"],
    [{ id: ID, timestamp: at }, "missing"],
    [{ ...right, timestamp: "yesterday" }, "bad_timestamp"],
    [standard(SAMPLE, `${NOW_S}000`, decoded), "timestamp_ms"],
    [standard(SAMPLE, String(NOW_S - 301), decoded), "too_old"],
    [standard(SAMPLE, String(NOW_S + 301), decoded), "too_new"],
    [standard(SAMPLE, at, SECRET), "undecoded_key"],
    [standard(SAMPLE, at, old), "previous_secret"],
    [standard(JSON.stringify(JSON.parse(SAMPLE)), at, decoded), "reserialised"],
    [{ ...right, signature: right.signature.slice("v1,".length) }, "no_version"],
    [{ ...right, signature: `v1,${hmac(decoded, SAMPLE).digest("base64")}` }, "bare_body"],
    [{ ...right, id: "evt_other" }, "unknown"],
  ];
  for (const [headers, expected] of table) {
    const { id, timestamp, signature } = headers;
    const keys = { secret: SECRET, previous: [PREVIOUS] };
    const finding = diagnoseStandard(bytes(SAMPLE), { id, timestamp, signature }, keys, NOW_S);
    assert.deepEqual(finding.mistakes, [expected]);
  }
});
