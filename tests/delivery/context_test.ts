import assert from "node:assert/strict";
import { makeClock } from "../../lib/delivery/context.ts";

Deno.test("Clock.sync() follows the database's clock to within the round trip", () => {
  const clock = makeClock();
  for (const wrong_ms of [3_600_000, -3_600_000, 0]) {
    const asked_at = performance.now();
    const database_ms = Date.now() + wrong_ms;
    clock.sync(database_ms, asked_at);
    const now_ms = clock.now();
    const answered_at = performance.now();
    assert.ok(now_ms >= database_ms && now_ms <= database_ms + answered_at - asked_at);
  }
});

Deno.test("Clock.sync() ignores how late an answer is", () => {
  const clock = makeClock();
  const asked_at = performance.now();
  const database_ms = 1_800_000_000_000;
  clock.sync(database_ms, asked_at);
  const before = clock.now() - performance.now();
  // The answer to a question of ten seconds ago, whose clock was read halfway.
  clock.sync(database_ms - 5_000, asked_at - 10_000);
  assert.ok(Math.abs(clock.now() - performance.now() - before) < 1);
});
