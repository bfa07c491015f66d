import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type Failing,
  failingFrom,
  pauseReason,
  shouldPause,
} from "../../../lib/core/alerting/auto_pause.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = Date.UTC(2026, 10, 24, 10);
const AFTER = 5 * DAY;

/** An endpoint that has failed for six days, last an hour ago, but for `change`. */
function failing(change: Partial<Failing> = {}): Failing {
  return {
    failing_since: NOW - 6 * DAY,
    judged_from: null,
    first_failure_at: NOW - 6 * DAY,
    last_failure_at: NOW - HOUR,
    ...change,
  };
}

for (
  const [name, change, expected] of [
    ["six days of failures", {}, true],
    ["five days to the millisecond", {
      failing_since: NOW - AFTER,
      first_failure_at: NOW - AFTER,
    }, true],
    ["a millisecond less", {
      failing_since: NOW - AFTER + 1,
      first_failure_at: NOW - AFTER + 1,
    }, false],
    ["two failures twelve hours apart", { last_failure_at: NOW - 6 * DAY + 12 * HOUR }, true],
    ["a millisecond less apart", { last_failure_at: NOW - 6 * DAY + 12 * HOUR - 1 }, false],
    ["a single failure", { last_failure_at: NOW - 6 * DAY }, false],
    ["resumed before it failed", { judged_from: NOW - 7 * DAY }, true],
    ["resumed five days ago, with failures since", {
      judged_from: NOW - AFTER,
      first_failure_at: NOW - AFTER + HOUR,
    }, true],
    ["resumed less than five days ago", {
      judged_from: NOW - AFTER + 1,
      first_failure_at: NOW - AFTER + HOUR,
    }, false],
    ["resumed, and no failure since", {
      judged_from: NOW - AFTER,
      first_failure_at: null,
      last_failure_at: NOW - AFTER - 1,
    }, false],
    ["resumed, and one failure since, within the hour that is counted as its first", {
      judged_from: NOW - AFTER,
      first_failure_at: NOW - 3 * DAY + HOUR,
      last_failure_at: NOW - 3 * DAY + HOUR / 2,
    }, false],
  ] as const
) {
  Deno.test(`shouldPause() is ${expected} for ${name}`, () => {
    assert.equal(shouldPause(failing(change), AFTER, NOW), expected);
  });
}

const time = fc.integer({ min: NOW - 40 * DAY, max: NOW });
const ANY_FAILING: fc.Arbitrary<Failing> = fc.record({
  failing_since: time,
  judged_from: fc.option(time),
  first_failure_at: fc.option(time),
  last_failure_at: time,
});
const PERIOD = fc.integer({ min: 12 * HOUR, max: 30 * DAY });

Deno.test("shouldPause() needs the whole time, and two failures in it half a day apart", () => {
  fc.assert(fc.property(ANY_FAILING, PERIOD, (failing, auto_pause_ms) => {
    if (!shouldPause(failing, auto_pause_ms, NOW)) return;
    const { failing_since, judged_from, first_failure_at, last_failure_at } = failing;
    const begin = NOW - auto_pause_ms;
    assert.ok(failing_since <= begin);
    assert.ok(judged_from === null || judged_from <= begin);
    assert.ok(first_failure_at !== null && first_failure_at >= failing_since);
    assert.ok(judged_from === null || first_failure_at >= judged_from);
    assert.ok(last_failure_at - first_failure_at >= 12 * HOUR);
  }));
});

Deno.test("shouldPause() goes on to say so while nothing is delivered, and longer settings come later", () => {
  const more = fc.nat({ max: 30 * DAY });
  fc.assert(fc.property(ANY_FAILING, PERIOD, more, (failing, auto_pause_ms, more_ms) => {
    const pauses = shouldPause(failing, auto_pause_ms, NOW);
    if (pauses) {
      assert.ok(shouldPause(failing, auto_pause_ms, NOW + more_ms));
      const last_failure_at = failing.last_failure_at + more_ms;
      assert.ok(shouldPause({ ...failing, last_failure_at }, auto_pause_ms, NOW));
    } else assert.ok(!shouldPause(failing, auto_pause_ms + more_ms, NOW));
  }));
});

Deno.test("pauseReason() says for how long, from a resume on if it was resumed", () => {
  assert.equal(pauseReason(failing(), NOW), "Nothing but failures for 6 days");
  const resumed = failing({ judged_from: NOW - 13 * HOUR });
  assert.equal(failingFrom(resumed), NOW - 13 * HOUR);
  assert.equal(pauseReason(resumed, NOW), "Nothing but failures for 13 h");
});
