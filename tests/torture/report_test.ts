import assert from "node:assert/strict";
import { INVARIANTS } from "./ledger.ts";
import { writeTable } from "./report.ts";
import type { Round } from "./round.ts";

const ROUND: Round = {
  fault: "kill-random",
  seed: 7,
  strikes: 3,
  kills: 3,
  ambiguous: 0,
  refused: 0,
  took_s: 1,
  drained_s: 1,
  violations: [{ invariant: "H", text: "lost" }],
  untested: ["K"],
  counts: {
    acknowledged: 10,
    events: 10,
    deliveries: 20,
    delivered: 20,
    failed: 0,
    attempts: 20,
    interrupted: 0,
    requests: 20,
    repeated: 1,
    late: 0,
    announced: 0,
    erased: 0,
    dropped: 0,
  },
};

const BEFORE = `# Reliability

<!-- made by deno task torture --write: begin -->

| fault       | A     | strikes | date       |
| ----------- | ----- | ------- | ---------- |
| none        | holds | 0       | 2026-11-25 |
| kill-random | holds | 9       | 2026-11-25 |

<!-- end -->

After it.
`;

Deno.test("writeTable() keeps rows of faults that were not run, with – for new columns", () => {
  const page = writeTable(BEFORE, [ROUND], "here");
  const cellsOf = (fault: string) =>
    page.split("\n").find((line) => line.startsWith(`| ${fault} `))?.split("|").slice(1, -1)
      .map((cell) => cell.trim()) ?? [];
  const columns = cellsOf("fault");
  const row = (fault: string) =>
    Object.fromEntries(cellsOf(fault).map((cell, at) => [columns[at], cell]));
  for (const name of Object.keys(INVARIANTS)) assert(columns.includes(name), name);
  assert.deepEqual(
    [row("none")["A"], row("none")["K"], row("none")["strikes"], row("none")["date"]],
    ["holds", "–", "0", "2026-11-25"],
  );
  const { A, H, K, strikes } = row("kill-random");
  assert.deepEqual([A, H, K, strikes], ["holds", "**1**", "–", "3"]);
  assert.equal(page.match(/^\| kill-random /gm)?.length, 1);
  assert(page.endsWith("\nAfter it.\n"));
  assert.equal(writeTable(page, [], "here"), page, "it reads its own table");
});
