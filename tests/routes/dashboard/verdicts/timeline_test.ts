import assert from "node:assert/strict";
import type * as shown from "../../../../lib/admin/shown.ts";
import { type Point, wayOf } from "../../../../routes/dashboard/verdicts/timeline.ts";
import { attempt, deliveryFacts } from "./delivery_facts.ts";
import { NOW } from "./facts.ts";

function way(delivery: Partial<shown.DeliveryDetail>, endpoint: Partial<shown.Endpoint> = {}) {
  const facts = deliveryFacts(delivery, endpoint);
  return wayOf(facts.delivery, facts.endpoint, 5, { audience: "operator", now: Date.parse(NOW) });
}

/** Points as lines: time, title, note, wait; planned ones in brackets. */
function lines(points: readonly Point[]): string[] {
  return points.map(({ at, title, note, wait_after, planned }) => {
    const line = [
      at?.slice(11, 16) ?? "–",
      title,
      note,
      wait_after === undefined ? undefined : `→ ${wait_after}`,
    ]
      .filter((part) => part !== undefined).join(" ");
    return planned ? `(${line})` : line;
  });
}

Deno.test("a failed delivery: every attempt with the wait after it, and what is left", () => {
  const points = way({
    status: "failed",
    state: "failed",
    attempts: [attempt(1), attempt(2, "timeout", null, { duration_ms: 30_000 })],
    ended_at: "2026-11-26T14:04:20.000Z",
  });
  assert.deepEqual(lines(points), [
    "14:02 Posted by BookMe",
    "14:02 Stored owed to 5 endpoints → 1 min 4 s",
    "14:03 401 attempt 1, 84 ms → 1 min 4 s",
    "14:04 timeout attempt 2, 30 s",
    "14:04 Failed attempts used up → only by hand",
    "(– Attempt 3 if you retry)",
  ]);
});

Deno.test("a waiting delivery: the planned attempts, dashed, by the policy's waits", () => {
  const points = way({
    attempts: Array.from({ length: 5 }, (_, n) => attempt(n + 1)),
    next_attempt_at: "2026-11-26T21:26:00.000Z",
  });
  assert.deepEqual(lines(points).slice(-3), [
    "(21:26 Attempt 6 next → 1 d)",
    "(21:26 Attempt 7 the last)",
    "(– Failed if that one fails too)",
  ]);
});

Deno.test("what has no time of its own has none", () => {
  assert.deepEqual(
    lines(way({ state: "sending", sending: true, attempts: [attempt(1)] })).slice(2, 5),
    [
      "14:03 401 attempt 1, 84 ms",
      "– Attempt 2 under way",
      "(15:36 Attempt 3 → 15 min)",
    ],
  );
  assert.deepEqual(lines(way({ state: "paused" })).slice(2), [
    "(– Attempt 1 when it is resumed, and up to six more)",
  ]);
  assert.deepEqual(
    lines(way({ status: "failed", state: "failed", attempt_count: 3, attempts: [attempt(3)] }))[2],
    "– 2 attempts no longer kept",
  );
});

Deno.test("tests, replays, retired endpoints and erasures", () => {
  assert.match(lines(way({ test: true }))[0] ?? "", /Test sent by hand/);
  assert.match(lines(way({ owed_by: "rpl_1" }))[1] ?? "", /Owed later by a replay/);
  const retired = way(
    { status: "cancelled", state: "cancelled", cancel_reason: "endpoint_retired", ended_at: NOW },
    { state: "retired" },
  );
  assert.equal(lines(retired).at(-1), "15:31 Cancelled the endpoint was deleted");
  const delivered = way({
    status: "delivered",
    state: "delivered",
    attempts: [attempt(1, "delivered", 200)],
  });
  assert.equal(lines(delivered).at(-1), "14:03 200 attempt 1, 84 ms");
});

Deno.test("a business reads of systems, and of answers in words", () => {
  const { delivery, endpoint } = deliveryFacts({
    status: "failed",
    state: "failed",
    attempts: [attempt(1, "connection")],
    ended_at: NOW,
  });
  const points = wayOf(delivery, endpoint, 3, { audience: "business", now: Date.parse(NOW) });
  assert.deepEqual(points.map(({ title, note }) => `${title} ${note}`).slice(1, 4), [
    "Stored for 3 systems",
    "No answer attempt 1, 84 ms",
    "Given up attempts used up",
  ]);
});
