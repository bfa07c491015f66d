import assert from "node:assert/strict";
import { summarise } from "../../lib/core/summary.ts";

Deno.test("summarise() sums up by outcome, and is empty without attempts", () => {
  const summary = summarise([
    { outcome: "delivered", bucket: 5, attempts: 3 },
    { outcome: "tls", bucket: 6, attempts: 1 },
    { outcome: "delivered", bucket: 7, attempts: 4 },
  ]);
  assert.deepEqual([summary.attempts, summary.delivered, summary.success_rate], [8, 7, 7 / 8]);
  assert.deepEqual(summary.failed, { tls: 1 });
  assert.deepEqual(summarise([]).duration_ms, { p50: null, p95: null, p99: null });
});
