import assert from "node:assert/strict";
import { isPromised, keptBy, PROMISE, PROMISE_MS } from "../../lib/core/promise.ts";

const OWED = { test: false, renewed: false, probe: false, owed_ms: 1_000_000 };
const FREE = { concurrency: null, rate_limit_per_s: null, retry_ms: [0, 60_000], resumed_ms: null };

Deno.test("isPromised() covers a delivery unless somebody asked for the delay", () => {
  assert.equal(isPromised(OWED, FREE), true);
  assert.equal(isPromised(OWED, { ...FREE, resumed_ms: 999_999 }), true, "resumed before");
  for (
    const [name, owed, endpoint] of [
      ["a test", { ...OWED, test: true }, FREE],
      ["a replay", { ...OWED, renewed: true }, FREE],
      ["a probe", { ...OWED, probe: true }, FREE],
      ["a retired endpoint", OWED, undefined],
      ["a limit of attempts at once", OWED, { ...FREE, concurrency: 4 }],
      ["a limit of the rate", OWED, { ...FREE, rate_limit_per_s: 50 }],
      ["a wait before the first attempt", OWED, { ...FREE, retry_ms: [5_000] }],
      ["a pause since then", OWED, { ...FREE, resumed_ms: 1_000_000 }],
    ] as const
  ) assert.equal(isPromised(owed, endpoint), false, name);
});

Deno.test("keptBy() counts a first attempt, whether it began in time, and a delivery in time", () => {
  const made = (number: number, outcome: string, began_ms: number, ended_ms: number) =>
    keptBy({ number, outcome, began_ms, ended_ms });
  const { covered, begun, delivered } = PROMISE;
  assert.equal(made(1, "delivered", 10, 20), covered + begun + delivered);
  assert.equal(made(1, "delivered", PROMISE_MS, PROMISE_MS), covered + begun + delivered);
  assert.equal(made(1, "delivered", PROMISE_MS, PROMISE_MS + 1), covered + begun);
  assert.equal(made(1, "http_5xx", 10, 20), covered + begun);
  assert.equal(made(1, "delivered", PROMISE_MS + 1, PROMISE_MS + 2), covered);
  assert.equal(made(2, "delivered", 20_000, 20_010), delivered);
  assert.equal(made(2, "delivered", 60_000, 60_010), 0);
  assert.equal(made(2, "timeout", 20_000, 20_010), 0);
});
