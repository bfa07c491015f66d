import assert from "node:assert/strict";
import crypto from "node:crypto";
import fc from "fast-check";
import * as standardwebhooks from "standardwebhooks";
import * as svix from "svix";
import { makeSecret } from "../../lib/core/secret.ts";
import { equalInConstantTime, makeSigner, verifyBookme } from "../../lib/core/signature.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const BODY = '{"event":"booking.created","data":{"note":"Schöne Grüße 😀"}}';
const WHSEC = makeSecret(crypto.randomBytes(32));
const PLAIN = "a plain secret with ümlauts in it";

/** The documentation's own, "Signature Verification", but for its types. */
function verifyWebhook(payload: string, signature: string, secret: string): boolean {
  const expectedSignature = crypto
    .createHmac("sha256", secret)
    .update(payload, "utf8")
    .digest("hex");

  return `sha256=${expectedSignature}` === signature;
}

Deno.test("makeSigner().bookme() passes the documentation's verifyWebhook", () => {
  const secret = fc.oneof(
    fc.uint8Array({ minLength: 24, maxLength: 64 }).map(makeSecret),
    fc.string({ unit: "grapheme", minLength: 24 }),
  );
  fc.assert(fc.property(secret, fc.string({ unit: "grapheme" }), (secret, body) => {
    const header = makeSigner(secret).bookme(encode(body));
    assert.match(header, /^sha256=[0-9a-f]{64}$/);
    assert.ok(verifyWebhook(body, header, secret));
    assert.ok(!verifyWebhook(`${body} `, header, secret));
    assert.ok(!verifyWebhook(body, header, `${secret}x`));
  }));
});

Deno.test("makeSigner().bookme() is the known answer of RFC 4231, case 2", () => {
  assert.equal(
    makeSigner("Jefe").bookme(encode("what do ya want for nothing?")),
    "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
  );
});

// Both libraries check the timestamp against the clock, five minutes either way.
const headersOf = (secret: string, body = BODY, id = "evt_01", age_s = 0) => {
  const timestamp_s = Math.floor(Date.now() / 1000) - age_s;
  return {
    "webhook-id": id,
    "webhook-timestamp": String(timestamp_s),
    "webhook-signature": makeSigner(secret).standard(id, timestamp_s, encode(body)),
  };
};

for (const [name, { Webhook }] of Object.entries({ standardwebhooks, svix })) {
  Deno.test(`makeSigner().standard() passes ${name} under a whsec_ secret`, () => {
    const webhook = new Webhook(WHSEC);
    webhook.verify(BODY, headersOf(WHSEC));
    for (let length = 24; length <= 64; length++) {
      const secret = makeSecret(crypto.randomBytes(length));
      new Webhook(secret).verify(BODY, headersOf(secret));
    }
  });

  Deno.test(`makeSigner().standard() passes ${name} under any other secret, taken raw`, () => {
    const ascii = "a plain secret of 24 characters and more";
    new Webhook(ascii, { format: "raw" }).verify(BODY, headersOf(ascii));
    new Webhook(encode(PLAIN), { format: "raw" }).verify(BODY, headersOf(PLAIN));
  });

  Deno.test(`makeSigner().standard() fails ${name} once anything is altered`, () => {
    const webhook = new Webhook(WHSEC);
    const headers = headersOf(WHSEC);
    const other = makeSecret(crypto.randomBytes(32));
    assert.throws(() => webhook.verify(BODY.replace("Sch", "sch"), headers));
    assert.throws(() => webhook.verify(`${BODY}\n`, headers));
    assert.throws(() => webhook.verify(BODY, { ...headers, "webhook-id": "evt_02" }));
    assert.throws(() => webhook.verify(BODY, headersOf(WHSEC, BODY, "evt_01", 600)));
    assert.throws(() => webhook.verify(BODY, headersOf(other)));
  });

  Deno.test(`makeSigner().standard() passes ${name} with either secret during an overlap`, () => {
    const old = makeSecret(crypto.randomBytes(32));
    const headers = headersOf(WHSEC);
    const both = `${headers["webhook-signature"]} ${headersOf(old)["webhook-signature"]}`;
    for (const secret of [WHSEC, old]) {
      new Webhook(secret).verify(BODY, { ...headers, "webhook-signature": both });
    }
  });
}

Deno.test("makeSigner() signs bytes as they are, UTF-8 or not", () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => {
    const expected = crypto.createHmac("sha256", PLAIN).update(bytes).digest("hex");
    assert.equal(makeSigner(PLAIN).bookme(bytes), `sha256=${expected}`);
  }));
});

Deno.test("verifyBookme() accepts the signature of the exact bytes under any of the secrets", () => {
  const body = encode(BODY);
  const header = makeSigner(WHSEC).bookme(body);
  assert.ok(verifyBookme(body, header, [makeSigner(WHSEC)]));
  assert.ok(verifyBookme(body, header, [makeSigner(PLAIN), makeSigner(WHSEC)]));
  assert.ok(verifyBookme(body, header, [makeSigner(WHSEC), makeSigner(PLAIN)]));
  assert.ok(
    verifyBookme(new Uint8Array(), makeSigner(PLAIN).bookme(new Uint8Array()), [makeSigner(PLAIN)]),
  );
});

Deno.test("verifyBookme() refuses everything else", () => {
  const body = encode(BODY);
  const header = makeSigner(WHSEC).bookme(body);
  assert.ok(!verifyBookme(encode(`${BODY}\n`), header, [makeSigner(WHSEC)]));
  assert.ok(!verifyBookme(body.subarray(1), header, [makeSigner(WHSEC)]));
  assert.ok(!verifyBookme(body, header, [makeSigner(PLAIN)]));
  assert.ok(!verifyBookme(body, header, []));
  assert.ok(!verifyBookme(body, undefined, [makeSigner(WHSEC)]));
  for (
    const wrong of [
      "",
      "sha256=",
      "sha256=test_signature",
      header.slice(7),
      header.slice(0, -1),
      `${header}0`,
      `${header}, ${header}`,
      header.toUpperCase(),
      `sha1=${header.slice(7)}`,
      "sha256=" + "0".repeat(64),
    ]
  ) assert.ok(!verifyBookme(body, wrong, [makeSigner(WHSEC)]), wrong);
});

Deno.test("equalInConstantTime() is equality", () => {
  fc.assert(fc.property(fc.string(), fc.string(), (a, b) => {
    assert.ok(equalInConstantTime(a, a));
    assert.equal(equalInConstantTime(a, b), a === b);
  }));
});
