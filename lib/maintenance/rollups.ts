import { rollUp } from "../store/stats.ts";
import type { Job } from "./schedule.ts";

/**
 * Most steps of one run. Each counts the attempts of up to 200 statements: one daemon counts for all, and each of them
 * records with up to some 250 statements a second.
 */
const MAX_STEPS = 250;

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
