import assert from "node:assert/strict";
import fc from "fast-check";
import { prettyJson } from "../../lib/core/pretty_json.ts";

/** A text without the white space between its tokens. */
function dense(text: string): string {
  return text.replace(/("(?:[^"\\]|\\.)*")|\s+/gs, (_, string) => string ?? "");
}

Deno.test("prettyJson() gives members and elements a line each", () => {
  assert.equal(
    prettyJson('{"event":"booking.created","data":{"price":[12,{}],"none":[]}}'),
    `{
  "event": "booking.created",
  "data": {
    "price": [
      12,
      {}
    ],
    "none": []
  }
}`,
  );
});

Deno.test("prettyJson() keeps numbers, escapes, repeated keys and their order", () => {
  assert.equal(
    prettyJson('{"b":1.50E+2,"a":12345678901234567890,"b":-0.0,"\\u0061":"\\u00e9\\/ , : {"}'),
    `{
  "b": 1.50E+2,
  "a": 12345678901234567890,
  "b": -0.0,
  "\\u0061": "\\u00e9\\/ , : {"
}`,
  );
});

Deno.test("prettyJson() keeps bare values and refuses what is not JSON", () => {
  for (const text of ["1", '"a b"', "true", "null", "[]", "{}"]) {
    assert.equal(prettyJson(text), text);
  }
  assert.equal(prettyJson(" [ ] "), "[]");
  for (const text of ["", "{", "<p>", "{a:1}", "[1,]", "\ufeff{}", '{"a":"\n"}', "NaN"]) {
    assert.equal(prettyJson(text), null, text);
  }
});

Deno.test("prettyJson() changes nothing but white space between tokens", () => {
  fc.assert(fc.property(fc.json(), fc.constantFrom(0, 1, "\t", " \r"), (json, space) => {
    const text = JSON.stringify(JSON.parse(json), null, space as string | number);
    const pretty = prettyJson(text);
    assert.equal(dense(pretty ?? ""), dense(text));
    assert.equal(prettyJson(pretty ?? ""), pretty);
  }));
});

Deno.test("prettyJson() stays in proportion to a text of nothing but brackets", () => {
  const depth = 32_768;
  const pretty = prettyJson("[".repeat(depth) + "]".repeat(depth)) ?? "";
  assert.ok(pretty.length < 70 * 2 * depth, String(pretty.length));
});
