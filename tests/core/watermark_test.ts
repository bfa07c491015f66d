import assert from "node:assert/strict";
import fc from "fast-check";
import { makeWatermark, type Numbered, PATIENCE_MS } from "../../lib/core/watermark.ts";

const row = (no: number, at_ms = 1_000): Numbered => ({ no, at_ms });

Deno.test("a watermark stays below a missing number until it comes", () => {
  let mark = makeWatermark(5);
  mark = mark.after([row(6), row(7), row(10)], 1_000);
  assert.deepEqual([mark.low, mark.high, mark.missing], [7, 10, [8, 9]]);
  mark = mark.after([row(9)], 1_500);
  assert.deepEqual([mark.low, mark.high, mark.missing], [7, 10, [8]]);
  mark = mark.after([row(8), row(11)], 2_000);
  assert.deepEqual([mark.low, mark.high, mark.missing], [11, 11, []]);
});

Deno.test("a watermark gives a number up once the next one is 15 s old", () => {
  let mark = makeWatermark(0);
  mark = mark.after([row(2, 1_000)], 1_000);
  mark = mark.after([], 1_000 + PATIENCE_MS - 1);
  assert.equal(mark.low, 0);
  mark = mark.after([], 1_000 + PATIENCE_MS);
  assert.equal(mark.low, 2);
  mark = mark.after([row(1)], 1_000 + PATIENCE_MS);
  assert.deepEqual([mark.low, mark.high, mark.missing], [2, 2, []], "late, and harmless");
});

Deno.test("a watermark does not wait for a clock that was set back, nor for a huge gap", () => {
  let mark = makeWatermark(0);
  mark = mark.after([row(2, 9_000_000)], 1_000);
  assert.equal(mark.low, 2);
  mark = mark.after([row(1_000_000)], 1_000);
  assert.equal(mark.missing.length, 10_000);
  assert.equal(mark.low, 1_000_000 - 10_001);
});

Deno.test("no row is read above its watermark for the first time, whatever the order of commits", () => {
  // Rows become visible in any order; each read sees those committed by then.
  const orders = fc.array(fc.nat({ max: 9 }), { minLength: 1, maxLength: 40 });
  fc.assert(fc.property(orders, (committed_at) => {
    let mark = makeWatermark(0);
    const read = new Set<number>();
    for (let turn = 0; turn < 10; turn++) {
      const low = mark.low;
      const visible = committed_at.flatMap((at, n) => at <= turn ? [n + 1] : [])
        .filter((no) => no > mark.high || mark.missing.includes(no));
      for (const no of visible) {
        assert.ok(no > low, `${no} came after ${low} was promised`);
        assert.ok(!read.has(no));
        read.add(no);
      }
      mark = mark.after(visible.map((no) => row(no)), 1_000);
    }
    assert.equal(read.size, committed_at.length);
    assert.equal(mark.low, committed_at.length);
  }));
});
