import assert from "node:assert/strict";
import fc from "fast-check";
import { follow, type Line, type Tried, type Trouble } from "../../lib/observe/trouble.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const START = Date.parse("2026-01-01T00:00:00Z");

type Kind = "ok" | "fail" | "interrupted" | "test ok" | "test fail";

function tried(kind: Kind): Tried {
  const test = kind.startsWith("test");
  const outcome = kind.endsWith("ok") ? "delivered" : kind.endsWith("fail") ? "http_5xx" : kind;
  const status = outcome === "delivered" ? 200 : outcome === "http_5xx" ? 503 : null;
  return { endpoint: "crm", outcome, status, cause: null, test };
}

/** Follows attempts, each at a time in milliseconds. Returns the lines as "time message failures". */
function linesOf(attempts: readonly (readonly [at_ms: number, kind: Kind])[]): string[] {
  let trouble: Trouble | undefined;
  const lines: string[] = [];
  for (const [at_ms, kind] of attempts) {
    const step = follow(trouble, tried(kind), START + at_ms);
    trouble = step.trouble;
    if (step.line === undefined) continue;
    const { message, fields: { failures, unlogged } } = step.line;
    const more = unlogged === undefined ? "" : ` after ${unlogged}`;
    lines.push(`${at_ms / SECOND}s ${message.replace("Endpoint ", "")} ${failures}${more}`);
  }
  return lines;
}

const every = (step_ms: number, until_ms: number, kind: Kind) =>
  Array.from({ length: until_ms / step_ms + 1 }, (_, i) => [i * step_ms, kind] as const);

for (
  const [name, attempts, expected] of [
    ["deliveries leave no line", every(SECOND, MINUTE, "ok"), []],
    ["a first failure and the recovery have one each", [
      [0, "ok"],
      [SECOND, "fail"],
      [2 * SECOND, "ok"],
      [3 * SECOND, "ok"],
    ], ["1s failing 1", "2s recovered 1"]],
    ["a dead endpoint: at 1 min, 10 min, 1 h, then daily", [
      ...every(10 * SECOND, 3 * DAY, "fail"),
      [3 * DAY + SECOND, "ok"],
    ], [
      "0s failing 1",
      "60s still failing 7",
      "600s still failing 61",
      "3600s still failing 361",
      "86400s still failing 8641",
      "172800s still failing 17281",
      "259200s still failing 25921",
      "259201s recovered 25921",
    ]],
    ["marks that passed without an attempt make one line", [
      [0, "fail"],
      [30 * MINUTE, "fail"],
      [31 * MINUTE, "fail"],
      [61 * MINUTE, "fail"],
      [5 * DAY, "fail"],
      [5 * DAY + HOUR, "fail"],
      [6 * DAY, "fail"],
    ], [
      "0s failing 1",
      "1800s still failing 2",
      "3660s still failing 4",
      "432000s still failing 5",
      "518400s still failing 7",
    ]],
    ["interrupted attempts and tests do not count", [
      [0, "interrupted"],
      [1, "test fail"],
      [SECOND, "fail"],
      [2 * SECOND, "interrupted"],
      [3 * SECOND, "test ok"],
      [70 * SECOND, "test fail"],
      [71 * SECOND, "fail"],
      [72 * SECOND, "ok"],
    ], ["1s failing 1", "71s still failing 2", "72s recovered 2"]],
    ["failing again soon is logged once it has failed for a minute", [
      [0, "fail"],
      [SECOND, "ok"],
      [MINUTE, "fail"],
      [90 * SECOND, "fail"],
      [119 * SECOND, "ok"],
      [2 * MINUTE, "fail"],
      [3 * MINUTE, "fail"],
      [4 * MINUTE, "ok"],
    ], ["0s failing 1", "1s recovered 1", "180s failing 2 after 2", "240s recovered 2"]],
    ["an endpoint that fails every other attempt has a line every ten minutes", [
      ...every(SECOND, HOUR, "fail").map(([at]) =>
        [at, at / SECOND % 2 === 0 ? "fail" : "ok"] as const
      ),
    ], [
      ...["0s failing 1", "1s recovered 1"],
      ...["600s failing 1 after 299", "601s recovered 1"],
      ...["1200s failing 1 after 299", "1201s recovered 1"],
      ...["1800s failing 1 after 299", "1801s recovered 1"],
      ...["2400s failing 1 after 299", "2401s recovered 1"],
      ...["3000s failing 1 after 299", "3001s recovered 1"],
      "3600s failing 1 after 299",
    ]],
  ] as readonly [string, readonly (readonly [number, Kind])[], readonly string[]][]
) {
  Deno.test(`follow(): ${name}`, () => assert.deepEqual(linesOf(attempts), expected));
}

Deno.test("follow() names the newest attempt and the start in its lines", () => {
  const refused = { ...tried("fail"), outcome: "connection", status: null, cause: "ECONNREFUSED" };
  const first = follow(undefined, tried("fail"), START);
  const second = follow(first.trouble, refused, START + MINUTE);
  assert.deepEqual(second.line, {
    level: "warn",
    message: "Endpoint still failing",
    fields: {
      endpoint: "crm",
      outcome: "connection",
      status: null,
      cause: "ECONNREFUSED",
      failures: 2,
      since: "2026-01-01T00:00:00.000Z",
    },
  });
});

Deno.test("follow() has no state for an endpoint that delivers, and drops it after a calm time", () => {
  assert.equal(follow(undefined, tried("ok"), START).trouble, undefined);
  const { trouble } = follow(undefined, tried("fail"), START);
  const soon = follow(trouble, tried("ok"), START + SECOND).trouble;
  assert.ok(soon !== undefined);
  assert.equal(follow(soon, tried("ok"), START + 10 * MINUTE).trouble, undefined);
});

const steps = fc.array(
  fc.record({
    gap_ms: fc.oneof(
      fc.nat(5 * SECOND),
      fc.nat(2 * MINUTE),
      fc.nat(HOUR),
      fc.nat(2 * DAY),
    ),
    kind: fc.constantFrom<Kind>("ok", "fail", "fail", "fail", "interrupted", "test ok"),
  }),
  { maxLength: 200 },
);

function wordOf(kind: Kind, was_failing: boolean): string {
  if (kind === "ok") return "recovered";
  return was_failing ? "still failing" : "failing";
}

Deno.test("follow() logs true lines, in time, and few", () => {
  fc.assert(fc.property(steps, (all) => {
    let trouble: Trouble | undefined;
    let now_ms = START;
    let failing = false; // by the log
    let row = { failures: 0, since_ms: 0, lines: 0 };
    let started_ms = -Infinity;
    for (const { gap_ms, kind } of all) {
      now_ms += gap_ms;
      const { line, ...step }: { line?: Line; trouble: Trouble | undefined } = follow(
        trouble,
        tried(kind),
        now_ms,
      );
      trouble = step.trouble;
      if (kind !== "ok" && kind !== "fail") {
        assert.equal(line, undefined);
        continue;
      }
      if (kind === "fail") {
        if (row.failures === 0) row = { failures: 0, since_ms: now_ms, lines: 0 };
        row.failures++;
      }
      if (line !== undefined) {
        row.lines++;
        assert.equal(line.message, `Endpoint ${wordOf(kind, failing)}`);
        assert.equal(line.fields.failures, row.failures);
        assert.equal(line.fields.since, new Date(row.since_ms).toISOString());
        if (kind === "fail" && !failing) {
          const is_quiet = now_ms - started_ms < 10 * MINUTE;
          assert.ok(!is_quiet || now_ms - row.since_ms >= MINUTE, "a start too soon");
          started_ms = now_ms;
        }
        failing = kind === "fail";
      }
      const elapsed_ms = now_ms - row.since_ms;
      if (kind === "ok") {
        assert.equal(failing, false, "a success ends it");
        row = { failures: 0, since_ms: 0, lines: 0 };
      } else {
        assert.ok(failing || elapsed_ms < MINUTE, "a minute of failures without a line");
        assert.ok(row.lines <= 4 + Math.floor(elapsed_ms / DAY), "too many lines");
      }
    }
  }));
});
