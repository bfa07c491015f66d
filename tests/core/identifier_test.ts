import assert from "node:assert/strict";
import { isIdentifier, printable, printableRule } from "../../lib/core/identifier.ts";

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

Deno.test("printable() counts code points, with and without the u flag of JSON Schema's readers", () => {
  for (const max of [1, 3, 255, 500]) {
    for (const char of ["x", "é", "漢", "😀", "e\u0301"]) {
      const size = [...char].length;
      const fits = char.repeat(Math.floor(max / size));
      for (const rule of [printable(max), new RegExp(printable(max).source, "u")]) {
        assert.equal(rule.test(fits), fits !== "", `${char} ${max}`);
        assert.ok(!rule.test(char.repeat(Math.floor(max / size) + 1)), `${char} ${max}`);
        assert.ok(!rule.test(""));
      }
    }
  }
  assert.equal(printableRule(500), "1 to 500 characters, none of them a control character");
});
