import assert from "node:assert/strict";
import {
  BUCKET_OF_30S,
  bucketOf,
  LAST_BUCKET,
  packHistogram,
  percentile,
  sumHistograms,
  within30s,
} from "../../lib/core/histogram.ts";

Deno.test("bucketOf() grows by quarter octaves, with 30 s as an exact bound", () => {
  const first_ms = 30_000 / 2 ** 17;
  assert.deepEqual([-1, 0, first_ms, NaN].map(bucketOf), [0, 0, 0, 0]);
  assert.deepEqual([first_ms * 1.0001, 2 * first_ms, 1e12].map(bucketOf), [1, 4, LAST_BUCKET]);
  assert.deepEqual([29_999.999, 30_000, 30_000.001].map(bucketOf), [68, BUCKET_OF_30S, 69]);
  for (let bucket = 0; bucket < LAST_BUCKET; bucket++) {
    const bound = 30_000 * 2 ** ((bucket - BUCKET_OF_30S) / 4);
    assert.equal(bucketOf(bound), bucket, `${bound} ms`);
    assert.equal(bucketOf(bound * (1 + 1e-9)), bucket + 1, `above ${bound} ms`);
  }
  assert.ok(bucketOf(31 * 3_600_000) < LAST_BUCKET, "all retries of the documentation");
});

Deno.test("packHistogram() keeps each count, and sums add up", () => {
  const sum = sumHistograms();
  for (const ms of [5, 30_000, 30_001, 5]) sum.add(ms);
  const packed = packHistogram(sum.counts);
  assert.deepEqual(packed.slice(0, 2), [bucketOf(5), 2]);
  assert.deepEqual(packed.slice(-2), [1, 1]);
  const both = sumHistograms();
  for (const one of [packed, [], packed]) both.addPacked(one);
  assert.deepEqual(both.counts, sum.counts.map((count) => 2 * count));
  assert.equal(within30s(both.counts), 6);
  assert.deepEqual(packHistogram(sumHistograms().counts), []);
});

/** A histogram of so many durations of each length. */
function counted(durations: readonly (readonly [ms: number, count: number])[]) {
  const sum = sumHistograms();
  for (const [ms, count] of durations) sum.addPacked([bucketOf(ms), count]);
  return sum.counts;
}

Deno.test("percentile() of one duration lies within 9 % of it", () => {
  for (let ms = 0.26; ms < 300_000; ms *= 1.07) {
    const found = percentile(counted([[ms, 1]]), 0.5) ?? assert.fail();
    // It is rounded to thousandths.
    assert.ok(Math.abs(found - ms) < 0.091 * ms + 0.0005, `${found} for ${ms}`);
  }
});

Deno.test("percentile() counts from the shortest", () => {
  assert.equal(percentile(counted([]), 0.5), null);
  const near = (value: number | null, wanted: number) =>
    assert.ok(value !== null && Math.abs(value / wanted - 1) < 0.1, `${value} for ${wanted}`);
  const counts = counted([[10, 90], [1_000, 10]]);
  near(percentile(counts, 0.5), 10);
  near(percentile(counts, 0.9), 10);
  near(percentile(counts, 0.91), 1_000);
});
