import assert from "node:assert/strict";
import { crc32c } from "../../lib/core/crc32c.ts";

Deno.test("crc32c() makes the checksums of RFC 3720, B.4, and goes on from one", () => {
  const up = Uint8Array.from({ length: 32 }, (_, at) => at);
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(crc32c(up), 0x46dd794e);
  assert.equal(crc32c(up.subarray(10), crc32c(up.subarray(0, 10))), 0x46dd794e);
});
