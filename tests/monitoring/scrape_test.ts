/** What a daemon really answers, in the eyes of Prometheus's own tool. */

import assert from "node:assert/strict";
import { stringify } from "yaml";
import { booking, endpoint, startDaemon, VIEWER } from "../support/daemon.ts";
import { onBoth } from "../support/databases.ts";
import { type Scrape, scrape } from "../support/metrics.ts";
import { findPromtool, promtool, promtoolTest } from "../support/promtool.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";
import { readRules, textOf } from "./files.ts";

const WATCHDOG = "BookmeWebhooksWatchdog";

/** A case in which a daemon answers the same all the time: after two hours no alert but the watchdog fires. */
function calmCase({ values }: Scrape) {
  const target = 'job="bookme-webhooks", instance="a"';
  const input_series = [...values].map(([series, value]) => {
    const [name = "", labels = ""] = series.split(/[{}]/);
    const stored = labels.replaceAll(/\b(job|instance)=/g, "exported_$1=");
    return {
      series: `${name}{${target}${stored === "" ? "" : `, ${stored}`}}`,
      values: `${value}x120`,
    };
  });
  return {
    interval: "1m",
    input_series: [{ series: `up{${target}}`, values: "1x120" }, ...input_series],
    alert_rule_test: readRules().flatMap(({ alert }) =>
      alert === undefined || alert === WATCHDOG ? [] : { alertname: alert, eval_time: "2h" }
    ),
  };
}

async function firesNothing(found: Scrape): Promise<void> {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-scrape-" });
  try {
    Deno.writeTextFileSync(`${directory}/rules.yaml`, textOf("rules.yaml"));
    const file = {
      rule_files: ["rules.yaml"],
      evaluation_interval: "1m",
      tests: [calmCase(found)],
    };
    Deno.writeTextFileSync(`${directory}/rules_test.yaml`, stringify(file));
    await promtool(["test", "rules", "rules_test.yaml"], directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

const NAME = "a healthy daemon fires no alert, with endpoints and without";
if (findPromtool() === undefined) promtoolTest(NAME, () => Promise.resolve()); // Says that it is ignored.
else {
  onBoth(NAME, async (database) => {
    {
      await using daemon = await startDaemon({ database: database.section });
      await firesNothing(await scrape(daemon.url, VIEWER));
    }
    await using receiver = await startReceiver();
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [endpoint("crm", receiver.url)],
    });
    await daemon.post(booking("apt_1"));
    // The attempt is in the counters once it is recorded.
    const found = await until("it is recorded", async () => {
      const answered = await scrape(daemon.url, VIEWER);
      const attempts = answered.sum(/^bookme_webhooks_attempts_total\{endpoint="crm"/);
      return attempts > 0 ? answered : undefined;
    });
    await promtool(["check", "metrics"], ".", found.text);
    await firesNothing(found);
    const without = new Map(found.values);
    without.delete("bookme_webhooks_ready");
    await assert.rejects(
      firesNothing({ ...found, values: without }),
      /BookmeWebhooksMetricsMissing/,
    );
  });
}
