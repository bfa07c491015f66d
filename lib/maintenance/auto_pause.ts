import { failingFrom, pauseReason, shouldPause } from "../core/alerting/auto_pause.ts";
import type { Dispatcher } from "../delivery/dispatcher.ts";
import { failingEndpoints, pauseFailing, resumeProbed } from "../store/auto_pause.ts";
import type { FilePolicy } from "../store/endpoints.ts";
import { BATCH } from "./batches.ts";
import type { Job } from "./schedule.ts";

/** Pauses endpoints to which nothing was delivered for as long as `alerts.auto_pause` says. */
export function failingEndpointsPaused(policy: () => FilePolicy): Job {
  return {
    name: "failing endpoints",
    pattern: "25 * * * * *",
    async run({ db, clock, log }) {
      const { auto_pause_ms } = policy().alerts;
      if (auto_pause_ms === null) return 0;
      const now = clock.now();
      const due = (await failingEndpoints(db.admin, auto_pause_ms))
        .filter((failing) => shouldPause(failing, auto_pause_ms, now))
        .map((failing) => ({
          no: failing.no,
          from: failingFrom(failing),
          reason: pauseReason(failing, now),
        }));
      const paused = due.length === 0 ? [] : await pauseFailing(db.admin, due);
      for (const endpoint of paused) {
        log.warn("Endpoint paused automatically: nothing but failures", { endpoint });
      }
      return paused.length;
    },
  };
}

/** Has the endpoints of automatic pauses tried, each once an hour. */
export function probes({ probe }: Pick<Dispatcher, "probe">): Job {
  return {
    name: "probes",
    pattern: "*/10 * * * * *",
    run() {
      probe();
      return Promise.resolve(0);
    },
  };
}

/** Ends automatic pauses after delivered probes: first spreads what waits, then resumes the endpoint. */
export const probedEndpoints: Job = {
  name: "probed endpoints",
  pattern: "*/2 * * * * *",
  async run({ db, log }, stopping) {
    let count = 0;
    while (!stopping.aborted) {
      const step = await resumeProbed(db.admin, BATCH);
      if (step === undefined) break;
      count += step.spread;
      if (step.resumed !== null) {
        log.info("Endpoint resumed: its probe was delivered", { endpoint: step.resumed });
      }
    }
    return count;
  },
};
