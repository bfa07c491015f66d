import assert from "node:assert/strict";
import { firstExhausted, type HealthFacts, judgeHealth } from "../../lib/core/health.ts";

const NOW = Date.parse("2026-11-26T15:31:00Z");
const minutes = (count: number) => NOW - count * 60_000;

const FACTS: HealthFacts = {
  paused: false,
  sendable: true,
  last_success_at: minutes(1),
  failing_since: null,
  delivered: 10,
  failed: 0,
  pending: 0,
};

const CASES: readonly [string, Partial<HealthFacts>, ReturnType<typeof judgeHealth>][] = [
  ["delivers", {}, "delivering"],
  ["delivered long ago", { delivered: 0, last_success_at: minutes(3_000) }, "delivering"],
  ["failed some, which arrived since", { failed: 3 }, "delivering"],
  ["failed some, which wait", { failed: 3, pending: 2 }, "retrying"],
  ["fails since a moment", { failing_since: minutes(4), failed: 1, pending: 1 }, "retrying"],
  ["fails since 5 minutes", { failing_since: minutes(5), failed: 1, pending: 1 }, "failing"],
  ["fails at each of many", { failing_since: minutes(1), delivered: 0, failed: 5 }, "failing"],
  ["never succeeded", { last_success_at: null, failing_since: minutes(9) }, "failing"],
  ["was never tried", { last_success_at: null, delivered: 0 }, "unused"],
  ["is paused while failing", { paused: true, failing_since: minutes(60) }, "paused"],
  ["lacks its secret", { sendable: false, failing_since: minutes(60) }, "unsendable"],
];

for (const [name, facts, health] of CASES) {
  Deno.test(`judgeHealth() calls an endpoint ${health} that ${name}`, () => {
    assert.equal(judgeHealth({ ...FACTS, ...facts }, NOW), health);
  });
}

Deno.test("firstExhausted() adds the waits that are left, and takes the earliest", () => {
  const retry_ms = [0, 60_000, 300_000];
  const pending = [
    { counted: 0, due_at: NOW },
    { counted: 1, due_at: NOW + 50_000 },
    { counted: 2, due_at: NOW + 355_000 },
  ];
  assert.equal(firstExhausted(pending, retry_ms), NOW + 350_000);
  assert.equal(firstExhausted(pending.slice(0, 1), retry_ms), NOW + 360_000);
  assert.equal(firstExhausted([], retry_ms), null);
});
