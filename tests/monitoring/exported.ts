/** The metrics that the program exports, as far as rules and the dashboard depend on them. */

import { KINDS } from "../../lib/core/alerting/kinds.ts";
import { OUTCOMES } from "../../lib/core/outcome.ts";
import { REFUSALS } from "../../lib/core/refusals.ts";
import { fullName, type Metric, type MetricName, METRICS } from "../../lib/observe/metrics.ts";

/** Every metric by its full name. */
export function exportedFamilies(): Map<string, Metric> {
  return new Map(
    Object.entries(METRICS).map(([name, metric]) => [fullName(name as MetricName), metric]),
  );
}

/** Labels that have these values only. */
export const LABEL_VALUES: Readonly<Record<string, readonly string[]>> = {
  answer: ["stored", "duplicate", ...REFUSALS],
  outcome: OUTCOMES,
  status: ["delivered", "failed", "cancelled"],
  part: ["ingest", "engine", "api"],
  result: ["ok", "failed"],
  database: ["embedded", "server"],
  kind: KINDS,
};
