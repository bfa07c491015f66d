import assert from "node:assert/strict";
import { callsOf, commandsOf } from "./shell.ts";

Deno.test("commandsOf() joins lines that belong together, and drops comments", () => {
  const text = `a 1 # one
# nothing

curl x \\
  -d '{
    "a": "#1"
  }'
b "it's # not" \\# 'two
lines'
`;
  assert.deepEqual(commandsOf(text), [
    "a 1",
    `curl x \\\n  -d '{\n    "a": "#1"\n  }'`,
    `b "it's # not" \\# 'two\nlines'`,
  ]);
});

Deno.test("callsOf() finds each call of a program with its arguments", () => {
  const cases: readonly (readonly [string, readonly (readonly string[])[]])[] = [
    ["tool", [[]]],
    ["install -m 755 tool /usr/bin/tool", []],
    ["A=1 B='x y' tool go --to 'a b' --n=2", [["go", "--to", "a b", "--n=2"]]],
    ['export S="$(tool secret)"', [["secret"]]],
    ['S="$(tool secret)" tool go', [["secret"], ["go"]]],
    ["tool a & tool b; x | tool c && tool d > out 2>&1", [["a"], ["b"], ["c"], ["d"]]],
    ["tool erase --containing - --dry-run < mail.txt", [[
      "erase",
      "--containing",
      "-",
      "--dry-run",
    ]]],
    ["tool forward --to x \\\n  --url y", [["forward", "--to", "x", "--url", "y"]]],
    ['tool verify --signature "$HEADER" --body b', [[
      "verify",
      "--signature",
      "$HEADER",
      "--body",
      "b",
    ]]],
  ];
  for (const [command, calls] of cases) assert.deepEqual(callsOf(command, "tool"), calls, command);
});
