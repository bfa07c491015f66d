import assert from "node:assert/strict";
import { isIdentifier } from "../../lib/core/identifier.ts";

Deno.test("isIdentifier() wants 1 to 255 well-formed characters without control characters", () => {
  for (
    const good of [
      "a",
      "apt_789",
      " ",
      "é",
      "😀".repeat(255),
      "x".repeat(255),
      "\u00a0",
      "__proto__",
    ]
  ) {
    assert.ok(isIdentifier(good), JSON.stringify(good));
  }
  for (
    const bad of [
      "",
      "x".repeat(256),
      "😀".repeat(256),
      "a\u0000",
      "a\nb",
      "a\n",
      "\u007f",
      "\u0085",
      "\ud83d",
      "a\ude00",
      "\ude00\ud83d",
      "\ud83d\ud83d\ude00",
    ]
  ) assert.ok(!isIdentifier(bad), JSON.stringify(bad));
});
