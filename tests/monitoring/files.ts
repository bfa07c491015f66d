/** The files in `deploy/monitoring`, as tests read them. */

import assert from "node:assert/strict";
import { parse } from "yaml";

/** The directory of the files. */
export const MONITORING = new URL("../../deploy/monitoring/", import.meta.url);

/** A rule: one that records, or one that alerts. */
export interface Rule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A case of `promtool test rules`. */
export interface Case {
  readonly name: string;
  readonly input_series: readonly { readonly series: string }[];
  readonly alert_rule_test?: readonly {
    readonly alertname: string;
    /** As `110m` or `5h30m`. */
    readonly eval_time: string;
    readonly exp_alerts?: readonly unknown[];
  }[];
  readonly promql_expr_test?: readonly { readonly expr: string }[];
}

/** A panel of the dashboard; a row has only its title. */
export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly datasource?: { readonly type: string; readonly uid: string };
  readonly targets?: readonly {
    readonly expr: string;
    readonly datasource?: { readonly type: string; readonly uid: string };
  }[];
}

/** Grafana's dashboard. */
export interface Dashboard {
  readonly id: null;
  readonly uid: string;
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly annotations: {
    readonly list: readonly { readonly name: string; readonly expr?: string }[];
  };
  readonly templating: {
    readonly list: readonly {
      readonly name: string;
      readonly type: string;
      readonly definition?: string;
    }[];
  };
}

/** The text of one of the files. */
export function textOf(file: string): string {
  return Deno.readTextFileSync(new URL(file, MONITORING));
}

/** All rules. */
export function readRules(): Rule[] {
  const { groups }: { groups: { rules: Rule[] }[] } = parse(textOf("rules.yaml"));
  return groups.flatMap(({ rules }) => rules);
}

/** All cases of the rules' tests. */
export function readCases(): Case[] {
  return parse(textOf("rules_test.yaml")).tests;
}

/** The dashboard. */
export function readDashboard(): Dashboard {
  return JSON.parse(textOf("grafana.json"));
}

/** Every expression of the dashboard with its panel's title, Grafana's variables replaced as Grafana does. */
export function dashboardExpressions(): { readonly title: string; readonly expr: string }[] {
  const { panels, annotations } = readDashboard();
  const written = [
    ...panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr }))),
    ...annotations.list.flatMap(({ name, expr }) =>
      expr === undefined ? [] : { title: name, expr }
    ),
  ];
  const found = written.map(({ title, expr }) => ({
    title,
    expr: expr.replaceAll("$__rate_interval", "5m").replaceAll("$__range", "1h")
      .replaceAll(/\$(instance|endpoint)\b/g, ".*"),
  }));
  for (const { title, expr } of found) assert.doesNotMatch(expr, /\$/, title);
  return found;
}
