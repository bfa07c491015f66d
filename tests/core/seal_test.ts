import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createDecipheriv, randomBytes } from "node:crypto";
import {
  isSealedUnder,
  NONCE_BYTES,
  parseSealKey,
  seal,
  type SealedContent,
  unseal,
} from "../../lib/core/seal.ts";

const KEY_TEXT = randomBytes(32).toString("base64");
const KEY = parseSealKey(KEY_TEXT);
const OTHER = parseSealKey(randomBytes(32).toString("hex"));
const CONTENT: SealedContent = {
  secrets: [{ secret: "a-secret-of-at-least-24-ü", activates_at: 0, expires_at: null }],
  headers: { "X-Key": "value" },
  tls: { ca: "-----BEGIN CERTIFICATE-----" },
};
const sealed = () => seal(CONTENT, "ep_1", KEY, randomBytes(NONCE_BYTES));

Deno.test("unseal() opens what seal() made, under whichever key it was", () => {
  assert.deepEqual(unseal(sealed(), "ep_1", [KEY]), CONTENT);
  assert.deepEqual(unseal(sealed(), "ep_1", [OTHER, KEY]), CONTENT);
  assert.ok(isSealedUnder(sealed(), KEY) && !isSealedUnder(sealed(), OTHER));
});

Deno.test("seal() is AES-256-GCM with the endpoint's id as associated data", () => {
  const bytes = Buffer.from(sealed());
  assert.equal(bytes[0], 1);
  assert.equal(bytes.subarray(1, 5).toString("hex"), KEY.id);
  const decipher = createDecipheriv("aes-256-gcm", KEY.bytes, bytes.subarray(5, 17));
  decipher.setAAD(Buffer.from("ep_1"));
  decipher.setAuthTag(bytes.subarray(-16));
  const text = decipher.update(bytes.subarray(17, -16), undefined, "utf8") + decipher.final("utf8");
  assert.deepEqual(JSON.parse(text), CONTENT);
  assert.notDeepEqual(sealed(), sealed(), "a nonce of its own each time");
});

Deno.test("unseal() refuses another endpoint, another key and every changed bit", () => {
  const refused = (bytes: Uint8Array, id: string, keys = [KEY]) =>
    assert.throws(() => unseal(bytes, id, keys), { code: "conflict" });
  refused(sealed(), "ep_2");
  refused(sealed(), "ep_1", []);
  refused(sealed(), "ep_1", [OTHER]);
  const bytes = sealed();
  for (let at = 0; at < bytes.length; at++) {
    const damaged = bytes.slice();
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    refused(damaged, "ep_1");
  }
  for (let length = 0; length < bytes.length; length++) refused(bytes.subarray(0, length), "ep_1");
  // Known to the key by its id, but made under another.
  refused(sealed(), "ep_1", [{ ...OTHER, id: KEY.id }]);
});

Deno.test("parseSealKey() takes 32 bytes in base64 or hexadecimal digits, and shows none", () => {
  const bytes = randomBytes(32);
  for (const encoding of ["hex", "base64", "base64url"] as const) {
    assert.deepEqual(Buffer.from(parseSealKey(bytes.toString(encoding)).bytes), bytes);
  }
  for (
    const text of [
      "",
      "short",
      randomBytes(31).toString("hex"),
      randomBytes(33).toString("base64"),
      `${KEY_TEXT}x`,
      "!".repeat(44),
    ]
  ) {
    assert.throws(
      () => parseSealKey(text),
      (error: Error) => text === "" || !error.message.includes(text),
    );
  }
});
