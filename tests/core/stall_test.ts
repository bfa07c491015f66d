import assert from "node:assert/strict";
import { makeStallWatch } from "../../lib/core/stall.ts";

Deno.test("makeStallWatch() counts a stall once, and not twice in a row", () => {
  const watch = makeStallWatch(100);
  watch.start(1_000);
  const ticks = [1_100, 1_500, 1_901, 2_901, 3_000, 5_000];
  assert.deepEqual(ticks.map((now_ms) => watch.tick(now_ms)), [0, 0, 301, 0, 0, 1_900]);
  watch.start(9_000);
  assert.equal(watch.tick(9_100), 0);
});
