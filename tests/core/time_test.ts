import assert from "node:assert/strict";
import fc from "fast-check";
import { dayExists, isDateTime, millisecondsOf } from "../../lib/core/time.ts";

Deno.test("isDateTime() accepts RFC 3339 date-times of days that exist", () => {
  for (
    const text of [
      "2026-11-24T10:00:00Z",
      "2026-11-24t10:00:00.123456789z",
      "2024-02-29T23:59:60+14:00",
      "0001-01-01T00:00:00-23:59",
      "0004-02-29T00:00:00Z",
    ]
  ) assert.ok(isDateTime(text), text);
  for (
    const text of [
      "",
      "2026-11-24",
      "2026-11-24 10:00:00Z",
      "2026-11-24T10:00:00",
      "2026-11-24T10:00Z",
      "2026-11-24T24:00:00Z",
      "2026-13-01T00:00:00Z",
      "2026-02-29T00:00:00Z",
      "1900-02-29T00:00:00Z",
      "2026-04-31T00:00:00Z",
      "0000-01-01T00:00:00Z",
      "2026-11-24T10:00:00Z\n",
      `2026-11-24T10:00:00.${"0".repeat(64)}Z`,
    ]
  ) assert.ok(!isDateTime(text), text);
});

Deno.test("dayExists() agrees with Date about every day, and on years before 100", () => {
  fc.assert(fc.property(fc.date({ noInvalidDate: true, min: new Date(0) }), (date) => {
    return !/^\d{4}-/.test(date.toISOString()) || dayExists(date.toISOString());
  }));
  assert.deepEqual(["0096-02-29", "0097-02-29", "2026-02-30", "2026-00-10", "x"].map(dayExists), [
    true,
    false,
    false,
    false,
    false,
  ]);
});

Deno.test("millisecondsOf() reads leap seconds and lower-case letters, unlike Date", () => {
  const second = Date.UTC(2026, 10, 24, 10, 0, 59);
  assert.equal(millisecondsOf("2026-11-24t10:00:60z"), second);
  assert.equal(millisecondsOf("2026-11-24T10:00:60.5Z"), second + 500);
  assert.equal(millisecondsOf("2026-11-24T11:00:59+01:00"), second);
});
