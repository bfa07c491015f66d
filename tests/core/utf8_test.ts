import assert from "node:assert/strict";
import fc from "fast-check";
import { borrowUtf8, decodeUtf8, readUtf8, validUtf8Length } from "../../lib/core/utf8.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const wellFormed = fc.string({ unit: "binary" });

Deno.test("borrowUtf8() encodes any text, also one that outgrows its buffer", () => {
  fc.assert(fc.property(wellFormed, (text) => {
    assert.deepEqual(Uint8Array.from(borrowUtf8(text)), encode(text));
  }));
  const long = "é".repeat(100_000);
  assert.deepEqual(Uint8Array.from(borrowUtf8(long)), encode(long));
});

Deno.test("decodeUtf8() reverses encoding, with or without a byte order mark", () => {
  fc.assert(fc.property(wellFormed, (text) => {
    assert.equal(decodeUtf8(encode(text)), text);
    assert.equal(decodeUtf8(encode(`\ufeff${text}`), { drop_bom: true }), text);
  }));
});

Deno.test("decodeUtf8() with `cut` leaves out the part of a character at the end", () => {
  const bytes = encode("aé😀");
  const texts = [...bytes.keys(), bytes.length].map((end) =>
    decodeUtf8(bytes.subarray(0, end), { cut: true })
  );
  assert.deepEqual(texts, ["", "a", "a", "aé", "aé", "aé", "aé", "aé😀"]);
  assert.equal(decodeUtf8(bytes.subarray(0, 2)), undefined);
  assert.equal(decodeUtf8(Uint8Array.of(0x61, 0xff), { cut: true }), undefined);
});

Deno.test("validUtf8Length() is the place of the first byte that cannot be UTF-8", () => {
  fc.assert(fc.property(wellFormed, fc.uint8Array({ maxLength: 5 }), (text, rest) => {
    const good = encode(text);
    assert.equal(validUtf8Length(Uint8Array.of(...good, 0xff, ...rest)), good.length);
  }));
  assert.equal(validUtf8Length(Uint8Array.of(0xc3, 0x28)), 1);
  assert.throws(() => readUtf8(Uint8Array.of(0x61, 0xff)), {
    code: "malformed",
    message: "Invalid UTF-8 at byte 1",
  });
});
