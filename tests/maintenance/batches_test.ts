import assert from "node:assert/strict";
import { BATCH, inBatches } from "../../lib/maintenance/batches.ts";

const never = new AbortController().signal;

Deno.test("inBatches() repeats until a batch is not full, and adds up", async () => {
  const found = [BATCH, BATCH, 5, BATCH];
  assert.equal(await inBatches(never, () => Promise.resolve(found.shift() ?? 0)), 2 * BATCH + 5);
  assert.deepEqual(found, [BATCH]);
});

Deno.test("inBatches() ends although every batch is full, and at a stop", async () => {
  let steps = 0;
  const full = () => Promise.resolve((steps++, BATCH));
  assert.equal(await inBatches(never, full), 50 * BATCH);
  const stop = new AbortController();
  steps = 0;
  await inBatches(stop.signal, () => {
    if (steps === 2) stop.abort();
    return full();
  });
  assert.equal(steps, 3);
});
