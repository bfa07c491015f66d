import assert from "node:assert/strict";
import { bucketOf } from "../../lib/core/histogram.ts";
import { summarise } from "../../lib/core/summary.ts";

Deno.test("summarise() sums up by outcome, and is empty without attempts", () => {
  const [quick, limit] = [bucketOf(20), bucketOf(30_000)];
  const summary = summarise([
    {
      outcome: "delivered",
      attempts: 5,
      response: [quick, 3, 0, 2],
      first_attempt: [quick, 3],
      delivered: [limit - 1, 1, 2, 2],
      promised: 4,
      promised_begun: 3,
      promised_delivered: 2,
    },
    {
      outcome: "tls",
      attempts: 1,
      response: [quick, 1],
      first_attempt: [limit + 1, 1],
      delivered: [],
      promised: 1,
      promised_begun: 0,
      promised_delivered: 0,
    },
    {
      outcome: "delivered",
      attempts: 2,
      response: [quick, 2],
      first_attempt: [],
      delivered: [limit, 2],
      promised: 0,
      promised_begun: 0,
      promised_delivered: 1,
    },
  ]);
  assert.deepEqual([summary.attempts, summary.delivered, summary.success_rate], [8, 7, 7 / 8]);
  assert.deepEqual(summary.failed, { tls: 1 });
  assert.deepEqual([summary.first_attempts, summary.first_attempts_within_30s], [4, 3]);
  assert.equal(summary.delivered_within_30s, 5);
  assert.deepEqual(summary.promise, { deliveries: 5, begun_in_time: 3, delivered_in_time: 3 });
  assert.ok(Math.abs((summary.duration_ms.p50 ?? 0) - 20) < 2);
  const none = { p50: null, p95: null, p99: null };
  assert.deepEqual(summarise([]).duration_ms, none);
  assert.deepEqual(summarise([]).delivered_ms, none);
});
