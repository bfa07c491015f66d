import assert from "node:assert/strict";
import { fullName, type MetricName, METRICS } from "../../lib/observe/metrics.ts";

Deno.test("docs/metrics.md lists every metric, with its labels, type and help", () => {
  const text = Deno.readTextFileSync(new URL("../../docs/metrics.md", import.meta.url));
  const rows = [...text.matchAll(/^\| `([a-z_]+)(?:\{([a-z,]+)\})?` +\| (\w+) +\| (.+?) +\|$/gm)]
    .map(([, name, labels = "", type, help]) => [name, labels, type, help]);
  const expected = Object.entries(METRICS).map(([name, { type, labels, help }]) => [
    fullName(name as MetricName),
    labels.join(","),
    type,
    help,
  ]);
  assert.deepEqual(rows, expected);
});
