import assert from "node:assert/strict";
import { figuresOf, ratioText, type Sample } from "../../bench/harness/stats.ts";
import { mustShow, type Verdict } from "../../bench/harness/targets.ts";

Deno.test("ratioText() uses words if there is no ratio", () => {
  assert.equal(ratioText(3, 2), "1.50 ×");
  assert.equal(ratioText(1, 1_000), "0.001 ×");
  assert.equal(ratioText(5, 0), "no ratio, the other is 0");
  assert.equal(ratioText(0, 0), "both are 0");
  assert.equal(ratioText(-1, 2), "no ratio, one is below 0");
});

function rowOf(figure: string, samples: readonly Sample[]): Verdict {
  const row = mustShow(figuresOf(samples)).find((verdict) => verdict.figure === figure);
  assert.ok(row);
  return row;
}

function samples(
  scenario: string,
  metric: string,
  values: Readonly<Record<string, number>>,
): Sample[] {
  return Object.entries(values).map(([contender, value]) => ({
    scenario,
    variant: "",
    contender,
    metric,
    unit: "",
    value,
  }));
}

Deno.test("mustShow() compares rates with the faster peer, costs with the cheaper one", () => {
  const rates = samples("drain", "rate", {
    "bookme-webhooks": 165,
    "graphile-worker": 90,
    "pg-boss": 100,
    ceiling: 300,
  });
  assert.deepEqual(rowOf("drain: rate", rates), {
    figure: "drain: rate",
    target: "at least 1.65 × the better peer's",
    found: "1.65 × (165 / 100)",
    met: true,
  });
  const costs = { "bookme-webhooks": 61, "graphile-worker": 100, "pg-boss": 200 };
  const cost = rowOf("drain: all CPU per delivery", samples("drain", "CPU", costs));
  assert.deepEqual([cost.found, cost.met], ["0.61 × (61 / 100)", false]);
});

Deno.test("mustShow() is not met by holding no rate, as the peers do", () => {
  const held = (ours: number) => {
    const values = { "bookme-webhooks": ours, "graphile-worker": 0, "pg-boss": 0 };
    const figure = "highest rate with p99 below 50 ms";
    return rowOf(figure, samples("sustained", "rate held", values)).met;
  };
  assert.deepEqual([held(0), held(500)], [false, true]);
});

Deno.test("mustShow() has a row for what was not measured, also if one peer is missing", () => {
  const two = samples("drain", "rate", { "bookme-webhooks": 100, "pg-boss": 10 });
  for (const measured of [[], two]) {
    const { found, met } = rowOf("drain: rate", measured);
    assert.deepEqual([found, met], ["–", undefined]);
  }
});
