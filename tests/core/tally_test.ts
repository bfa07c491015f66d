import assert from "node:assert/strict";
import { OUTCOMES } from "../../lib/core/outcome.ts";
import { PROMISE } from "../../lib/core/promise.ts";
import { regroup, tally, type Uncounted } from "../../lib/core/tally.ts";

const PROMISES = [0, ...Object.values(PROMISE)];

/** Attempts that differ in everything that is counted, over two hours. */
const attempts = Array.from({ length: 5_000 }, (_, at): Uncounted => ({
  endpoint_no: at % 7,
  outcome: OUTCOMES[at % 3] ?? "delivered",
  number: 1 + at % 4,
  duration_ms: 1.5 * (at % 101),
  age_ms: 400 * (at % 103),
  promise: PROMISES[at % PROMISES.length] ?? 0,
  recorded_at: 1_764_430_000_000 + at * 1_440,
  ended_at: 1_764_430_000_000 + at * 1_440 - 5,
}));

const sorted = <T>(rows: readonly T[]) => rows.map((row) => JSON.stringify(row)).sort();

Deno.test("regroup() of a tally is the tally of the larger groups", () => {
  const by = (ms: number) => tally(attempts, ({ recorded_at }) => Math.floor(recorded_at / ms));
  const minutes = by(60_000);
  const hours = regroup(minutes, (minute) => Math.floor(minute / 60));
  assert.deepEqual(sorted(hours), sorted(by(3_600_000)));
  assert.ok(hours.length < minutes.length);
  assert.equal(hours.reduce((sum, { attempts }) => sum + attempts, 0), attempts.length);
});

Deno.test("regroup() leaves groups that stay as they are, and what it was given", () => {
  const minutes = tally(attempts, ({ recorded_at }) => Math.floor(recorded_at / 60_000));
  const before = sorted(minutes);
  assert.deepEqual(sorted(regroup(minutes, (minute) => minute)), before);
  regroup(minutes, () => 0);
  assert.deepEqual(sorted(minutes), before);
});
