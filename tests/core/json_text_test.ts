import assert from "node:assert/strict";
import fc from "fast-check";
import { AppError } from "../../lib/core/errors.ts";
import { EVENT_TYPES } from "../../lib/core/event_types.ts";
import { elementsOf, isDeeperThan, parseJson } from "../../lib/core/json_text.ts";

const [{ sample: SAMPLE } = assert.fail()] = EVENT_TYPES;

function refusal(text: string, first_line?: number): AppError {
  try {
    parseJson(text, first_line);
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    return error;
  }
  assert.fail(`It was accepted: ${text}`);
}

Deno.test("parseJson() refuses malformed JSON with line and column", () => {
  const table: [string, string][] = [
    ["", "line 1, column 1: the text ends; expected a value"],
    [" \n ", "line 2, column 2: the text ends; expected a value"],
    ["{", "line 1, column 2: the text ends; expected a member name in double quotes or }"],
    ['{"a"', "line 1, column 5: the text ends; expected a colon"],
    ['{"a":', "line 1, column 6: the text ends; expected a value"],
    ['{"a":1', "line 1, column 7: the text ends; expected a comma or the closing bracket"],
    ['{"a":1,', "line 1, column 8: the text ends; expected a member name in double quotes"],
    ["[1,2", "line 1, column 5: the text ends; expected a comma or the closing bracket"],
    ['["a', "line 1, column 4: the text ends within a string"],
    ['["a\\', "line 1, column 4: no such escape"],
    ['{"a":1,}', "line 1, column 8: expected a member name in double quotes"],
    ["[1,]", "line 1, column 4: expected a value"],
    ["[,1]", "line 1, column 2: expected a value or ]"],
    ["[1 2]", "line 1, column 4: expected a comma or the closing bracket"],
    ["[1}", "line 1, column 3: expected a comma or the closing bracket"],
    ['{"a":1]', "line 1, column 7: expected a comma or the closing bracket"],
    ["{]", "line 1, column 2: expected a member name in double quotes or }"],
    ["[}", "line 1, column 2: expected a value or ]"],
    ["{a:1}", "line 1, column 2: expected a member name in double quotes or }"],
    ["{'a':1}", "line 1, column 2: expected a member name in double quotes or }"],
    ["{1:1}", "line 1, column 2: expected a member name in double quotes or }"],
    ['{"a" 1}', "line 1, column 6: expected a colon"],
    ['{\n  "a": 1\n  "b": 2\n}', "line 3, column 3: expected a comma or the closing bracket"],
    ['{"a":\r\n tru}', "line 2, column 2: expected a value"],
    ['{"é😀": nul}', "line 1, column 9: expected a value"],
    ["True", "line 1, column 1: expected a value"],
    ["NaN", "line 1, column 1: expected a value"],
    ["-", "line 1, column 1: expected a value"],
    ["-Infinity", "line 1, column 1: expected a value"],
    [".5", "line 1, column 1: expected a value"],
    ["+1", "line 1, column 1: expected a value"],
    ["01", "line 1, column 2: expected nothing more"],
    ["[1.]", "line 1, column 3: expected a comma or the closing bracket"],
    ["0x1F", "line 1, column 2: expected nothing more"],
    ["truex", "line 1, column 5: expected nothing more"],
    ["{} {}", "line 1, column 4: expected nothing more"],
    ["{}}", "line 1, column 3: expected nothing more"],
    ["{}\u0000", "line 1, column 3: expected nothing more"],
    ["{}\u00a0", "line 1, column 3: expected nothing more"],
    ["]", "line 1, column 1: expected a value"],
    ["{}// why", "line 1, column 3: expected nothing more"],
    ["/* why */{}", "line 1, column 1: expected a value"],
    ['["\\x41"]', "line 1, column 3: no such escape"],
    ['["\\u12g4"]', "line 1, column 3: no such escape"],
    ['["\\ud8"]', "line 1, column 3: no such escape"],
    ['["a\nb"]', "line 1, column 4: a control character must be escaped"],
    ['["\u0000"]', "line 1, column 3: a control character must be escaped"],
    ['["\t"]', "line 1, column 3: a control character must be escaped"],
    ["event=booking.created", "line 1, column 1: expected a value"],
    ["<event/>", "line 1, column 1: expected a value"],
    [
      `${SAMPLE}\n${SAMPLE}`,
      `line ${SAMPLE.split("\n").length + 1}, column 1: expected nothing more`,
    ],
  ];
  for (const [body, place] of table) {
    const error = refusal(body);
    assert.equal(error.code, "malformed", body);
    assert.equal(error.message, `Malformed JSON at ${place}`, body);
  }
});

Deno.test("parseJson() points where V8 does, wherever V8 says so", () => {
  const garble = fc.tuple(
    fc.constantFrom(...EVENT_TYPES.map((type) => type.sample), '{"n":[-1.5e3,"\\u00e9"]}'),
    fc.nat(),
    fc.nat({ max: 2 }),
    fc.string({ unit: fc.constantFrom(...'{}[],:"\\ 01.e-tnfu\n\u0000é'), maxLength: 2 }),
  ).map(([text, place, gone, put]) => {
    const at = place % text.length;
    return text.slice(0, at) + put + text.slice(at + gone);
  });
  let compared = 0;
  fc.assert(
    fc.property(garble, (text) => {
      let message = "";
      try {
        JSON.parse(text);
        return;
      } catch (error) {
        message = String(error);
      }
      const found = /at line (\d+), column (\d+):/.exec(refusal(text).message);
      const known = /at position (\d+)/.exec(message);
      assert.ok(found);
      if (known === null) return;
      compared++;
      const before = text.split("\n").slice(0, Number(found[1]) - 1);
      const at = before.join("\n").length + Math.min(before.length, 1) + Number(found[2]) - 1;
      // Of a broken number, literal or escape this names the start, and V8 a place within it.
      const between = text.slice(at, Number(known[1]));
      assert.ok(at <= Number(known[1]), `${JSON.stringify(text)}: ${message}`);
      assert.match(between, /^[\w.+\\-]*$/, `${JSON.stringify(text)}: ${message}`);
    }),
    { numRuns: 1000 },
  );
  assert.ok(compared > 100, `only ${compared} compared`);
});

Deno.test("parseJson() counts from the line that the text begins on", () => {
  assert.match(refusal('{"a"\n 1}', 7).message, /^Malformed JSON at line 8, column 2: /);
});

Deno.test("parseJson() repeats nothing of the text", () => {
  for (
    const text of ['{"secret": hunter2}', '{"hunter2"}', '["hunter2', "hunter2", '["\\hunter2"]']
  ) {
    assert.doesNotMatch(refusal(text).message, /unter/);
  }
});

/** A JSON text of any value, with white space wherever it may be. */
const jsonText = fc.letrec<{ value: string; array: string; object: string; scalar: string }>(
  (tie) => {
    const space = fc.string({ unit: fc.constantFrom(..." \t\n\r"), maxLength: 2 });
    const spaced = fc.tuple(space, tie("value"), space).map((parts) => parts.join(""));
    const text = fc.string({ unit: "binary", maxLength: 8 }).map((text) => JSON.stringify(text));
    const key = fc.tuple(space, text, space).map((parts) => parts.join(""));
    const member = fc.tuple(key, spaced).map(([key, value]) => `${key}:${value}`);
    return {
      value: fc.oneof({ depthSize: "small" }, tie("scalar"), tie("array"), tie("object")),
      scalar: fc.oneof(
        text,
        fc.double({ noNaN: true }).map((n) => JSON.stringify(n)),
        fc.constantFrom("true", "false", "null"),
      ),
      array: fc.array(spaced, { maxLength: 4 }).map((items) => `[${items.join(",")}]`),
      object: fc.uniqueArray(member, {
        maxLength: 4,
        selector: (member) => Object.keys(JSON.parse(`{${member}}`))[0],
      }).map((members) => `{${members.join(",")}}`),
    };
  },
);

Deno.test("parseJson() reads what JSON.parse reads, and refuses the same", () => {
  const mutated = fc.tuple(
    jsonText.value,
    fc.nat(),
    fc.nat({ max: 2 }),
    fc.string({ unit: fc.constantFrom(...'{}[],:"\\ 01.e-tnfu\n\u0000é'), maxLength: 2 }),
  ).map(([text, place, gone, put]) => {
    const at = place % (text.length + 1);
    return text.slice(0, at) + put + text.slice(at + gone);
  });
  fc.assert(
    fc.property(fc.oneof(jsonText.value, mutated), (text) => {
      let expected: unknown;
      try {
        expected = JSON.parse(text);
      } catch {
        const found = /^Malformed JSON at line (\d+), column (\d+): [a-z]/.exec(
          refusal(text).message,
        );
        const lines = text.split("\n");
        const line = lines[Number(found?.[1]) - 1] ?? assert.fail();
        assert.ok(Number(found?.[2]) >= 1 && Number(found?.[2]) <= line.length + 1);
        return;
      }
      assert.deepEqual(parseJson(text), expected);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("parseJson() finds the mistake where the text stops being the beginning of any JSON", () => {
  fc.assert(
    fc.property(jsonText.value, fc.nat(), (text, place) => {
      const at = place % (text.length + 1);
      // No JSON has this character outside of a string, and no string has it unescaped.
      const broken = text.slice(0, at) + "\u0000" + text.slice(at);
      const { message } = refusal(broken);
      const [, line = "", column = ""] = /line (\d+), column (\d+)/.exec(message) ?? [];
      const before = broken.split("\n").slice(0, Number(line) - 1);
      const found = before.map((text) => text.length + 1).reduce((a, b) => a + b, 0) +
        Number(column) - 1;
      // A number, literal or escape that it cuts apart is named by its start.
      assert.ok(found <= at, `${JSON.stringify(broken)}: ${message}`);
      assert.match(
        broken.slice(found, at),
        /^[\w.+\\"-]*$/,
        `${JSON.stringify(broken)}: ${message}`,
      );
    }),
    { numRuns: 1000 },
  );
});

Deno.test("elementsOf() cuts out the elements, each as it was written", () => {
  assert.deepEqual(elementsOf("[]"), []);
  assert.deepEqual(elementsOf(" [ \n ] "), []);
  assert.deepEqual(elementsOf('[1, "a,]\\"" ,\t[2,{"b":[3]}]\n]'), [
    "1",
    '"a,]\\""',
    '[2,{"b":[3]}]',
  ]);
  fc.assert(
    fc.property(jsonText.array, (text) => {
      const elements = elementsOf(text);
      assert.deepEqual(elements.map((element) => JSON.parse(element)), JSON.parse(text));
      for (const element of elements) {
        assert.equal(element, element.trim());
        assert.ok(text.includes(element));
      }
    }),
    { numRuns: 1000 },
  );
});

Deno.test("isDeeperThan() counts objects and arrays in one another, not those in strings", () => {
  const depthOf = (value: unknown): number =>
    typeof value !== "object" || value === null
      ? 0
      : 1 + Math.max(0, ...Object.values(value).map(depthOf));
  fc.assert(
    fc.property(jsonText.value, fc.nat({ max: 6 }), (text, max) => {
      assert.equal(isDeeperThan(max, text), depthOf(JSON.parse(text)) > max, text);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("the scans withstand nesting of any depth", () => {
  const depth = 1_000_000;
  assert.match(refusal("[".repeat(depth)).message, /column 1000001: the text ends/);
  assert.match(refusal('{"a":['.repeat(depth) + "}").message, /column 6000001: /);
  assert.ok(isDeeperThan(1000, "[".repeat(depth) + "]".repeat(depth)));
});
