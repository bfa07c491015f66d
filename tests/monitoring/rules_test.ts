/** Prometheus's own tool accepts the rules, and each of them is silent, fires and recovers. */

import assert from "node:assert/strict";
import { stringify } from "yaml";
import { promtool, promtoolTest } from "../support/promtool.ts";
import { dashboardExpressions, MONITORING, readCases, readRules, textOf } from "./files.ts";

const ALERTS = readRules().filter(({ alert }) => alert !== undefined);
/** It always fires: there is no other case. */
const WATCHDOG = "BookmeWebhooksWatchdog";
const GUIDE = Deno.readTextFileSync(new URL("../../docs/monitoring.md", import.meta.url));

promtoolTest("promtool accepts the rules", async () => {
  const output = await promtool(["check", "rules", "rules.yaml"], MONITORING);
  assert.match(output, new RegExp(`SUCCESS: ${readRules().length} rules found`));
});

promtoolTest("each alert is silent, fires and recovers as rules_test.yaml says", async () => {
  await promtool(["test", "rules", "rules_test.yaml"], MONITORING);
});

promtoolTest("promtool accepts the example of a Prometheus", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-prometheus-" });
  try {
    for (const path of ["deploy/monitoring", "data"]) {
      Deno.mkdirSync(`${directory}/${path}`, { recursive: true });
    }
    for (const file of ["prometheus.yaml", "rules.yaml"]) {
      Deno.writeTextFileSync(`${directory}/deploy/monitoring/${file}`, textOf(file));
    }
    // The daemon's first start writes it.
    Deno.writeTextFileSync(`${directory}/data/admin.token`, "a token");
    await promtool(["check", "config", "deploy/monitoring/prometheus.yaml"], directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

promtoolTest("promtool accepts every expression of the dashboard", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-grafana-" });
  try {
    const rules = dashboardExpressions().map(({ expr }, index) => ({
      record: `expression:${index}`,
      expr,
    }));
    const file = stringify({ groups: [{ name: "dashboard", rules }] });
    Deno.writeTextFileSync(`${directory}/rules.yaml`, file);
    const output = await promtool(["check", "rules", "rules.yaml"], directory);
    assert.match(output, new RegExp(`SUCCESS: ${rules.length} rules found`));
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

/** Minutes from the start, of `110m` or `5h30m`. */
function minutesOf(time: string): number {
  const [, hours = "0", minutes = "0"] = /^(?:(\d+)h)?(?:(\d+)m)?$/.exec(time) ?? [];
  return Number(hours) * 60 + Number(minutes);
}

Deno.test("rules_test.yaml has a case for each alert that is silent, fires and recovers", () => {
  const cases = readCases();
  for (const { alert = "" } of ALERTS) {
    const courses = cases.map(({ alert_rule_test = [] }) =>
      alert_rule_test.filter(({ alertname }) => alertname === alert)
        .toSorted((a, b) => minutesOf(a.eval_time) - minutesOf(b.eval_time))
        .map(({ exp_alerts = [] }) => exp_alerts.length > 0 ? "fires" : "silent").join(" ")
    );
    const wanted = alert === WATCHDOG ? "fires" : "silent fires silent";
    assert.ok(courses.some((course) => course.includes(wanted)), `${alert}: ${courses}`);
  }
});

Deno.test("each alert has a severity, a summary, a description and its section of the guide", () => {
  for (const { alert = "", labels = {}, annotations = {} } of ALERTS) {
    assert.match(labels["severity"] ?? "", /^(critical|warning|none)$/, alert);
    assert.deepEqual(Object.keys(annotations), ["summary", "description", "runbook"], alert);
    assert.doesNotMatch(annotations["summary"] ?? "", /\.$/, alert);
    assert.match(annotations["description"] ?? "", /\.$/, alert);
    assert.equal(annotations["runbook"], `docs/monitoring.md#${alert.toLowerCase()}`);
  }
  const sections = [...GUIDE.matchAll(/^### (Bookme\w+)$/gm)].map(([, name]) => name);
  assert.deepEqual(sections.toSorted(), ALERTS.map(({ alert }) => alert).toSorted());
});
