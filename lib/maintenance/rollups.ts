import { rollUp } from "../store/stats.ts";
import type { Job } from "./schedule.ts";

/** Most steps of one run; each counts up to 100,000 attempts. */
const MAX_STEPS = 50;

/** Counts recorded attempts into the statistics. */
export const rollups: Job = {
  name: "statistics",
  pattern: "*/5 * * * * *",
  async run({ db }, stopping) {
    let counted = 0;
    for (let i = 0; i < MAX_STEPS && !stopping.aborted; i++) {
      const step = await rollUp(db.admin);
      counted += step.counted;
      if (!step.is_behind) break;
    }
    return counted;
  },
};
