import assert from "node:assert/strict";
import { isObject, kindOf, typeMistake } from "../../lib/core/json.ts";

Deno.test("kindOf() names the six JSON types", () => {
  assert.deepEqual([null, [], {}, "", 0, true].map(kindOf), [
    "null",
    "an array",
    "an object",
    "a string",
    "a number",
    "a boolean",
  ]);
});

Deno.test("isObject() takes neither null nor an array for an object", () => {
  assert.deepEqual([{}, Object.create(null), [], null, "", 0, undefined].map(isObject), [
    true,
    true,
    false,
    false,
    false,
    false,
    false,
  ]);
});

Deno.test("typeMistake() names the type, never the value", () => {
  assert.equal(typeMistake("a string", undefined), "Is missing");
  assert.equal(typeMistake("a string", 5), "Must be a string, not a number");
});
