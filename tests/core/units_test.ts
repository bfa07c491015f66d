import assert from "node:assert/strict";
import fc from "fast-check";
import {
  formatDuration,
  formatRate,
  formatSize,
  parseDuration,
  parseRate,
  parseSize,
} from "../../lib/core/units.ts";

Deno.test("parseDuration(), parseSize() and parseRate() know their units", () => {
  assert.deepEqual(["500ms", "30s", "15m", "6h", "30d", "0s"].map(parseDuration), [
    500,
    30_000,
    900_000,
    21_600_000,
    2_592_000_000,
    0,
  ]);
  assert.deepEqual(["512B", "1KB", "64KiB", "1MB", "1MiB", "2GB", "2GiB"].map(parseSize), [
    512,
    1000,
    65_536,
    1_000_000,
    1_048_576,
    2_000_000_000,
    2_147_483_648,
  ]);
  assert.deepEqual(["50/s", "300/m", "3600/h"].map(parseRate), [50, 5, 1]);
});

Deno.test("formatDuration() writes what parseDuration() reads, in the largest whole unit", () => {
  assert.deepEqual(
    [0, 1, 999, 1000, 90_000, 300_000, 5_400_000, 86_400_000, 3650 * 86_400_000].map(
      formatDuration,
    ),
    ["0s", "1ms", "999ms", "1s", "90s", "5m", "90m", "1d", "3650d"],
  );
  fc.assert(fc.property(fc.nat({ max: 999_999_999 }), (duration_ms) => {
    assert.equal(parseDuration(formatDuration(duration_ms)), duration_ms);
  }));
});

Deno.test("formatSize() rounds down, so that less than a limit never reads as the limit", () => {
  const limit = 512 * 1024 * 1024;
  assert.deepEqual([0, 1, 1023, 1024, 1536, limit - 1, limit, 3 * limit, 1e15].map(formatSize), [
    "0 B",
    "1 B",
    "1023 B",
    "1 KiB",
    "1.5 KiB",
    "511.9 MiB",
    "512 MiB",
    "1.5 GiB",
    "909.4 TiB",
  ]);
});

Deno.test("formatRate() writes what parseRate() reads, per second if that is a whole number", () => {
  assert.deepEqual([null, 50, 0.5, 5, 1 / 3600, 2.5].map(formatRate), [
    null,
    "50/s",
    "30/m",
    "5/s",
    "1/h",
    "150/m",
  ]);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100_000 }), fc.constantFrom(..."smh"), (n, unit) => {
      const rate = parseRate(`${n}/${unit}`);
      assert.ok(Math.abs(parseRate(formatRate(rate)) - rate) < 1e-9 * rate);
    }),
  );
});
