import assert from "node:assert/strict";
import { shorten, show } from "../../lib/core/errors.ts";

Deno.test("shorten() cuts between characters", () => {
  const table: [string, number, string][] = [
    ["", 3, ""],
    ["abc", 3, "abc"],
    ["abcd", 3, "abc…"],
    ["😀😀😀", 3, "😀😀😀"],
    ["a😀😀😀", 3, "a😀😀…"],
    ["😀".repeat(1_000), 2, "😀😀…"],
  ];
  for (const [text, max, expected] of table) assert.equal(shorten(text, max), expected);
  assert.equal(show(`x${"😀".repeat(60)}`), `"x${"😀".repeat(59)}…"`);
});
