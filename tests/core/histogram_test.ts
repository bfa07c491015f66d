import assert from "node:assert/strict";
import { bucketOf, LAST_BUCKET, percentile } from "../../lib/core/histogram.ts";

Deno.test("bucketOf() grows by quarter octaves", () => {
  assert.deepEqual([-1, 0, 0.25, NaN].map(bucketOf), [0, 0, 0, 0]);
  assert.deepEqual([0.2501, 0.5, 1, 1_000, 300_000, 1e12].map(bucketOf), [
    1,
    4,
    8,
    48,
    81,
    LAST_BUCKET,
  ]);
});

Deno.test("percentile() of one duration lies within 9 % of it", () => {
  for (let ms = 0.26; ms < 300_000; ms *= 1.07) {
    const found = percentile(new Map([[bucketOf(ms), 1]]), 0.5) ?? assert.fail();
    // It is rounded to thousandths.
    assert.ok(Math.abs(found - ms) < 0.091 * ms + 0.0005, `${found} for ${ms}`);
  }
});

Deno.test("percentile() counts from the shortest", () => {
  assert.equal(percentile(new Map(), 0.5), null);
  const near = (value: number | null, wanted: number) =>
    assert.ok(value !== null && Math.abs(value / wanted - 1) < 0.1, `${value} for ${wanted}`);
  const counts = new Map([[bucketOf(10), 90], [bucketOf(1_000), 10]]);
  near(percentile(counts, 0.5), 10);
  near(percentile(counts, 0.9), 10);
  near(percentile(counts, 0.91), 1_000);
});
