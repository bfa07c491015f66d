import assert from "node:assert/strict";

const TESTS = new URL("./", import.meta.url);
const ATTACK =
  /(?:Deno\.test|onServer|onBoth|onWires|refuses)\(\s*(?:\{\s*name:\s*)?"([a-z]+\.[a-z]+): /g;
const ROW =
  /^\| `([a-z]+\.[a-z]+)` +\| ([^|]+) \| ([^|]+) \| \[(\w+)\]\(\.\.\/tests\/security\/(\w+)_test\.ts\) *\|$/;

Deno.test("docs/security.md names each attack that has a test, and no other", async () => {
  const tested: string[] = [];
  for (const { name } of Deno.readDirSync(TESTS)) {
    const file = /^(\w+)_test\.ts$/.exec(name)?.[1];
    if (file === undefined) continue;
    const source = await Deno.readTextFile(new URL(name, TESTS));
    for (const [, attack] of source.matchAll(ATTACK)) tested.push(`${attack} in ${file}`);
  }
  const text = await Deno.readTextFile(new URL("../../docs/security.md", TESTS));
  const rows = text.split("\n").filter((line) => line.startsWith("| `"));
  const documented = rows.map((line) => {
    const [, attack, tries, answer, label, file] = ROW.exec(line) ?? [];
    assert.ok(attack !== undefined && tries?.trim() !== "" && answer?.trim() !== "", line);
    assert.equal(label, file, line);
    return `${attack} in ${file}`;
  });
  assert.ok(tested.length > 40);
  assert.equal(new Set(documented).size, documented.length, "each of them once");
  assert.deepEqual(documented.toSorted(), tested.toSorted());
});
