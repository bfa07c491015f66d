import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import fc from "fast-check";
import { makeHmac } from "../../lib/core/hmac.ts";

Deno.test("makeHmac() agrees with node:crypto for any key and any message in two parts", () => {
  const bytes = (maxLength: number) => fc.uint8Array({ maxLength });
  fc.assert(
    fc.property(bytes(200), bytes(300), bytes(300), (key, first, second) => {
      const expected = createHmac("sha256", key).update(first).update(second).digest("hex");
      assert.equal(Buffer.from(makeHmac(key).digest(first, second)).toString("hex"), expected);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("makeHmac() agrees with node:crypto at every length around the blocks", () => {
  const key = Buffer.from("a key that stays the same");
  const hmac = makeHmac(key);
  for (let length = 0; length <= 200; length++) {
    for (const split of [0, 1, 29, 63, 64, 65, length]) {
      if (split > length) continue;
      const message = Buffer.alloc(length, length);
      const expected = createHmac("sha256", key).update(message).digest("hex");
      const mine = hmac.digest(message.subarray(0, split), message.subarray(split));
      assert.equal(Buffer.from(mine).toString("hex"), expected, `${split} of ${length}`);
    }
  }
});

Deno.test("makeHmac() agrees with node:crypto about long messages", () => {
  const key = Buffer.from("a key that stays the same");
  for (const length of [8_191, 8_192, 8_193, 100_000]) {
    const message = Buffer.alloc(length, "long ");
    const expected = createHmac("sha256", key).update(message).digest("hex");
    assert.equal(Buffer.from(makeHmac(key).digest(message)).toString("hex"), expected);
  }
});
