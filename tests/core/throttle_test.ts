import assert from "node:assert/strict";
import { makeThrottle } from "../../lib/core/throttle.ts";

Deno.test("makeThrottle() gives a burst, then one token each refill, to each key", () => {
  let now = 0;
  const throttle = makeThrottle(3, 1_000, () => now);
  const take = (key = "a") => throttle.take(key);
  assert.deepEqual([take(), take(), take(), take(), take()], [0, 0, 0, 1, 1]);
  assert.equal(take("b"), 0, "others have their own");
  now = 1_000;
  assert.deepEqual([take(), take()], [0, 1]);
  now = 60_000;
  assert.deepEqual([take(), take(), take(), take()], [0, 0, 0, 1], "never more than the burst");
});

Deno.test("makeThrottle() remembers a bounded number of keys", () => {
  const throttle = makeThrottle(1, 1_000, () => 0);
  assert.deepEqual([throttle.take("first"), throttle.take("first")], [0, 1]);
  for (let i = 0; i < 10_000; i++) throttle.take(`key ${i}`);
  assert.equal(throttle.take("first"), 0, "forgotten for those that came after");
});
