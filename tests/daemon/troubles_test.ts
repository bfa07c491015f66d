import assert from "node:assert/strict";
import { makeSignals } from "../../lib/observe/signals.ts";
import { watchTroubles } from "../../lib/troubles.ts";

const MIN = 100;

Deno.test("watchTroubles() reports a disk from twice its limit on, until it has 2.5 times that", () => {
  let now = 0;
  let free_bytes = 1_000;
  const troubles = watchTroubles(
    { room: () => ({ free_bytes, min_free_bytes: MIN }) },
    makeSignals(),
    () => now,
  );
  const at = (time: number, free: number) => {
    [now, free_bytes] = [time, free];
    return troubles();
  };
  assert.deepEqual(at(0, 200), []);
  assert.deepEqual(at(10, 199), [
    { kind: "disk_low", for_ms: 0, free_bytes: 199, min_free_bytes: MIN },
  ]);
  assert.deepEqual(at(30, 240).map(({ for_ms }) => for_ms), [20]);
  assert.deepEqual(at(40, 250), []);
  assert.deepEqual(at(50, 240), [], "it has to fall below twice its limit again");
});

/** How long statements have been failing at `at`, in seconds, if one failed at each of these seconds. */
function failingFor(failed: readonly number[], at: number): number | undefined {
  let now = 0;
  const signals = makeSignals();
  const troubles = watchTroubles({ room: () => undefined }, signals, () => now);
  for (const second of failed) {
    now = second * 1_000;
    signals.statement_failed.emit({ part: "engine", cause: "permission denied" });
    // A statement that succeeds does not undo what failed.
    signals.claimed.emit({ count: 1, duration_ms: 1 });
  }
  now = at * 1_000;
  const [trouble, ...others] = troubles();
  assert.deepEqual(others, []);
  if (trouble === undefined) return undefined;
  assert.equal(trouble.kind, "database_failing");
  return trouble.for_ms / 1_000;
}

const FAILURES: readonly (readonly [string, number[], at: number, expected: number | undefined])[] =
  [
    ["none", [], 30, undefined],
    ["one, half a minute ago", [0], 30, undefined],
    ["for less than half a minute", [0, 10, 29.9], 30, undefined],
    ["for half a minute", [0, 10, 20, 30], 30, 30],
    ["every 15 s", [0, 15, 30], 40, 40],
    ["the last one 59 s ago", [0, 15, 30], 89, 89],
    ["the last one a minute ago", [0, 15, 30], 90, undefined],
    ["two with a minute in between", [0, 60], 60, undefined],
    ["after a quiet minute it begins again", [0, 30, 90, 100, 120], 125, 35],
  ];

for (const [name, failed, at, expected] of FAILURES) {
  Deno.test(`watchTroubles() reports statements that fail for half a minute: ${name}`, () => {
    assert.equal(failingFor(failed, at), expected);
  });
}
