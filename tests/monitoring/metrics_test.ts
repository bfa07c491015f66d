/** Rules and dashboard ask only for metrics that the program exports, as what they are. */

import assert from "node:assert/strict";
import type { Metric } from "../../lib/observe/metrics.ts";
import { exportedFamilies, LABEL_VALUES } from "./exported.ts";
import { dashboardExpressions, readCases, readDashboard, readRules } from "./files.ts";
import { type Names, namesIn, type Use } from "./promql.ts";

/** Labels that Prometheus gives every series. A metric's own labels of these names become `exported_…`. */
const TARGET = ["job", "instance"];
/** Functions of ranges that take counters, and those that take gauges. */
const OF_COUNTERS = ["rate", "increase"];
const OF_GAUGES = ["predict_linear"];

/** A series, as the table of metrics describes it. */
type Family = Pick<Metric, "type" | "labels" | "shared">;

const series = seriesByName();
const expressions = [
  ...readRules().map(({ record, alert, expr }) => ({ title: record ?? alert ?? "", expr })),
  ...readCases().flatMap(({ name, promql_expr_test = [] }) =>
    promql_expr_test.map(({ expr }) => ({ title: name, expr }))
  ),
  ...dashboardExpressions(),
];

/** Every series that Prometheus has of a daemon, by name: histograms have several. */
function seriesByName(): Map<string, Family> {
  const found = new Map<string, Family>([
    ["up", { type: "gauge", labels: TARGET }],
    ["ALERTS", { type: "gauge", labels: ["alertname", "alertstate", "severity"] }],
  ]);
  for (const [name, { type, labels, shared }] of exportedFamilies()) {
    const stored = labels.map((label) => TARGET.includes(label) ? `exported_${label}` : label);
    const all = [...TARGET, ...stored];
    if (type !== "histogram") found.set(name, { type, labels: all, ...(shared && { shared }) });
    else {
      found.set(`${name}_bucket`, { type: "counter", labels: [...all, "le"] });
      for (const suffix of ["_sum", "_count"]) {
        found.set(name + suffix, { type: "counter", labels: all });
      }
    }
  }
  for (const { record } of readRules()) {
    if (record !== undefined) found.set(record, { type: "gauge", labels: [] });
  }
  return found;
}

/** What is wrong with a metric in an expression. */
function mistakesOf({ name, matchers, within }: Use): string[] {
  const known = series.get(name);
  if (known === undefined) return [`${name} is not exported`];
  const found: string[] = [];
  for (const { label, value } of matchers) {
    if (!known.labels.includes(label)) found.push(`${name} has no label ${label}`);
    const values = LABEL_VALUES[label];
    for (const one of values === undefined || value === ".*" ? [] : value.split("|")) {
      if (!values?.includes(one)) found.push(`${name}: ${label} is never ${one}`);
    }
  }
  if (OF_COUNTERS.includes(within) && known.type !== "counter") found.push(`${within} of a gauge`);
  if (OF_GAUGES.includes(within) && known.type !== "gauge") found.push(`${within} of a counter`);
  // Every daemon reads the same from the database: a sum over daemons would count it repeatedly.
  if (within === "sum" && known.shared) found.push(`sum of ${name}, which takes max`);
  return found;
}

function mistakesIn({ uses, labels }: Names): string[] {
  const known = uses.flatMap(({ name }) => series.get(name)?.labels ?? []);
  return [
    ...uses.flatMap(mistakesOf),
    ...labels.filter((label) => !known.includes(label)).map((label) => `no metric has ${label}`),
  ];
}

Deno.test("namesIn() finds metrics, their labels and what is around them", () => {
  const found = namesIn(
    `sum by (endpoint) (rate(a_total{x=~"b|c)", y!="d"}[5m])) / on () group_left (z) e offset 5m > 1.5 or up`,
  );
  assert.deepEqual(found.labels, ["endpoint", "z"]);
  assert.deepEqual(found.uses, [
    {
      name: "a_total",
      matchers: [
        { label: "x", operator: "=~", value: "b|c)" },
        { label: "y", operator: "!=", value: "d" },
      ],
      within: "rate",
    },
    { name: "e", matchers: [], within: "" },
    { name: "up", matchers: [], within: "" },
  ]);
  assert.equal(namesIn("sum by (kind) (b)").uses[0]?.within, "sum");
  assert.equal(namesIn("sum(b)").uses[0]?.within, "sum");
});

Deno.test("a mistake in an expression is found", () => {
  const mistakes = (expr: string) => mistakesIn(namesIn(expr));
  assert.deepEqual(mistakes("bookme_webhooks_redy"), ["bookme_webhooks_redy is not exported"]);
  assert.deepEqual(mistakes('bookme_webhooks_ready{endpoint="crm"}'), [
    "bookme_webhooks_ready has no label endpoint",
  ]);
  assert.deepEqual(mistakes('bookme_webhooks_alerts_open{kind="disk"}'), [
    "bookme_webhooks_alerts_open: kind is never disk",
  ]);
  assert.deepEqual(mistakes("rate(bookme_webhooks_ready[5m])"), ["rate of a gauge"]);
  assert.deepEqual(mistakes("sum(bookme_webhooks_pending)"), [
    "sum of bookme_webhooks_pending, which takes max",
  ]);
  assert.deepEqual(mistakes("max by (type) (bookme_webhooks_pending)"), ["no metric has type"]);
});

Deno.test("rules and dashboard ask for what is exported", () => {
  assert.ok(expressions.length > 50);
  const found = expressions.flatMap(({ title, expr }) =>
    mistakesIn(namesIn(expr)).map((mistake) => `${title}: ${mistake}`)
  );
  assert.deepEqual(found, []);
});

Deno.test("the rules' tests have series as they are exported", () => {
  for (const { name, input_series } of readCases()) {
    for (const { series: text } of input_series) {
      const [use] = namesIn(text).uses;
      assert.ok(use, text);
      assert.deepEqual(mistakesOf(use), [], name);
      const labels = use.matchers.map(({ label }) => label);
      assert.deepEqual(labels.toSorted(), series.get(use.name)?.labels.toSorted(), text);
    }
  }
});

Deno.test("the dashboard's variables ask for labels that are exported", () => {
  for (const { name, type, definition = "" } of readDashboard().templating.list) {
    if (type !== "query") continue;
    const [, metric = "", label = ""] = /^label_values\((\w+).*, (\w+)\)$/.exec(definition) ?? [];
    assert.ok(series.get(metric)?.labels.includes(label), `${name}: ${definition}`);
  }
});
