import assert from "node:assert/strict";
import fc from "fast-check";
import { OUTCOMES, REASONS } from "../../lib/core/outcome.ts";
import { decide, MAX_INTERRUPTIONS } from "../../lib/core/retry.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const POLICY = [0, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, 24 * HOUR];

const FAILED = { outcome: "http_5xx", status: 500, retry_after_ms: null } as const;
/** Of a delivery that has had no attempt. */
const FRESH = { counted: 0, interruptions: 0, probe: false } as const;

const CUT_OFF = { outcome: "interrupted", status: null, retry_after_ms: null } as const;

/** Lets a delivery meet one outcome after another; the waits between its attempts. */
function waits(outcomes: readonly (typeof FAILED | typeof CUT_OFF)[], random: () => number) {
  const found: number[] = [];
  let counted = 0;
  let interruptions = 0;
  for (const outcome of outcomes) {
    const decision = decide(outcome, { counted, interruptions, probe: false }, POLICY, random);
    if (decision.verdict !== "retry") return { found, verdict: decision.verdict };
    if (decision.counts) counted++;
    else interruptions++;
    found.push(decision.wait_ms);
  }
  return { found, verdict: "pending" };
}

Deno.test("decide() makes seven attempts with the documentation's waits", () => {
  assert.deepEqual(waits(Array(6).fill(FAILED), () => 0), {
    found: POLICY.slice(1),
    verdict: "pending",
  });
  assert.deepEqual(waits(Array(7).fill(FAILED), () => 0), {
    found: POLICY.slice(1),
    verdict: "failed",
  });
});

Deno.test("decide() delivers on success and fails on 410, whatever came before", () => {
  for (let counted = 0; counted < 7; counted++) {
    const progress = { ...FRESH, counted };
    assert.deepEqual(
      decide(
        { outcome: "delivered", status: 204, retry_after_ms: HOUR },
        progress,
        POLICY,
        () => 0,
      ),
      { verdict: "delivered", counts: true },
    );
    assert.deepEqual(
      decide({ outcome: "gone", status: 410, retry_after_ms: HOUR }, progress, POLICY, () => 0),
      { verdict: "failed", counts: true },
    );
  }
});

Deno.test("decide() waits after every other reason", () => {
  for (const reason of REASONS) {
    if (reason === "gone" || reason === "interrupted") continue;
    assert.deepEqual(
      decide(
        { outcome: reason, status: null, retry_after_ms: null },
        FRESH,
        POLICY,
        () => 0,
      ),
      { verdict: "retry", counts: true, wait_ms: MINUTE },
      reason,
    );
  }
});

Deno.test("decide() is never early and adds at most 10 % of jitter", () => {
  const policy = fc.array(fc.integer({ min: 0, max: 48 * HOUR }), { minLength: 1, maxLength: 12 });
  const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(fc.property(policy, chance, fc.nat({ max: 12 }), (policy, chance, counted) => {
    const decision = decide(FAILED, { ...FRESH, counted }, policy, () => chance);
    const wait_ms = policy[counted + 1];
    if (wait_ms === undefined) return decision.verdict === "failed";
    return decision.verdict === "retry" && Number.isInteger(decision.wait_ms) &&
      decision.wait_ms >= wait_ms && decision.wait_ms <= wait_ms * 1.1;
  }));
});

Deno.test("decide() spreads the waits of a minute over six seconds", () => {
  const spread = [0, 0.5, 0.999].map((chance) => waits([FAILED], () => chance).found[0]);
  assert.deepEqual(spread, [60_000, 63_000, 65_994]);
});

Deno.test("decide() lets a Retry-After lengthen a wait on 429 and 503, up to a day", () => {
  const asked = (status: number, retry_after_ms: number | null) => {
    const outcome = status < 500 ? "http_4xx" as const : "http_5xx" as const;
    const decision = decide(
      { outcome, status, retry_after_ms },
      FRESH,
      POLICY,
      () => 0,
    );
    return decision.verdict === "retry" ? decision.wait_ms : assert.fail(decision.verdict);
  };
  for (const status of [429, 503]) {
    assert.equal(asked(status, null), MINUTE);
    assert.equal(asked(status, 0), MINUTE);
    assert.equal(asked(status, 59 * SECOND), MINUTE);
    assert.equal(asked(status, 2 * HOUR), 2 * HOUR);
    assert.equal(asked(status, 25 * HOUR), 24 * HOUR);
    assert.equal(asked(status, 9_999_999_999_000), 24 * HOUR);
  }
  for (const status of [400, 500, 502, 504, 301]) assert.equal(asked(status, 2 * HOUR), MINUTE);
});

Deno.test("decide() never shortens a wait because of a Retry-After", () => {
  const wait = fc.integer({ min: 0, max: 72 * HOUR });
  fc.assert(fc.property(wait, wait, fc.constantFrom(429, 503, 500), (wait_ms, asked_ms, status) => {
    const outcome = { outcome: "http_5xx", status, retry_after_ms: asked_ms } as const;
    const decision = decide(outcome, FRESH, [0, wait_ms], () => 0);
    return decision.verdict === "retry" && decision.wait_ms >= wait_ms &&
      decision.wait_ms <= Math.max(wait_ms, 24 * HOUR);
  }));
});

Deno.test("decide() makes no eighth attempt because of a Retry-After", () => {
  const outcome = { outcome: "http_5xx", status: 503, retry_after_ms: HOUR } as const;
  assert.equal(
    decide(outcome, { ...FRESH, counted: 6 }, POLICY, () => 0).verdict,
    "failed",
  );
});

Deno.test("decide() sends an interrupted attempt again at once, five times uncounted", () => {
  const cut = waits(Array(MAX_INTERRUPTIONS).fill(CUT_OFF), () => 0);
  assert.deepEqual(cut, { found: [0, 0, 0, 0, 0], verdict: "pending" });
  assert.equal(waits(Array(5 + 6).fill(CUT_OFF), () => 0).verdict, "pending");
  assert.deepEqual(waits(Array(5 + 7).fill(CUT_OFF), () => 0), {
    found: [0, 0, 0, 0, 0, ...POLICY.slice(1)],
    verdict: "failed",
  });
});

Deno.test("decide() ends every delivery, with seven counted attempts where none succeeds", () => {
  const course = fc.array(fc.constantFrom(FAILED, CUT_OFF), { minLength: 12, maxLength: 20 });
  fc.assert(fc.property(course, (course) => {
    const { found, verdict } = waits(course, () => 0);
    assert.equal(verdict, "failed");
    assert.ok(found.length >= 6 && found.length <= 11);
    assert.deepEqual(found.filter((wait_ms) => wait_ms > 0), POLICY.slice(1));
  }));
});

Deno.test("decide() keeps a delivery as it was after a failed probe, whatever came before", () => {
  for (const reason of REASONS) {
    if (reason === "gone") continue;
    for (const counted of [0, 6]) {
      assert.deepEqual(
        decide(
          { outcome: reason, status: 503, retry_after_ms: HOUR },
          { counted, interruptions: MAX_INTERRUPTIONS, probe: true },
          POLICY,
          () => 0,
        ),
        { verdict: "kept", counts: false },
        reason,
      );
    }
  }
});

Deno.test("decide() keeps deliveries after probes only, and ends them by a probe as by any attempt", () => {
  const progress = fc.record({
    counted: fc.nat({ max: 12 }),
    interruptions: fc.nat({ max: MAX_INTERRUPTIONS }),
  });
  const outcome = fc.record({
    outcome: fc.constantFrom(...OUTCOMES),
    status: fc.constantFrom(null, 200, 410, 429, 503),
    retry_after_ms: fc.option(fc.nat({ max: 48 * HOUR })),
  });
  const policy = fc.array(fc.nat({ max: 48 * HOUR }), { minLength: 1, maxLength: 12 });
  fc.assert(fc.property(outcome, progress, policy, (outcome, progress, policy) => {
    const probed = decide(outcome, { ...progress, probe: true }, policy, () => 0);
    const usual = decide(outcome, { ...progress, probe: false }, policy, () => 0);
    assert.notEqual(usual.verdict, "kept");
    const ends = outcome.outcome === "delivered" || outcome.outcome === "gone";
    assert.deepEqual(probed, ends ? usual : { verdict: "kept", counts: false });
  }));
});

Deno.test("decide() makes one attempt under a policy of one", () => {
  assert.equal(decide(FAILED, FRESH, [0], () => 0).verdict, "failed");
});
