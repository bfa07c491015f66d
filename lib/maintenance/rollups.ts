import { rollUp } from "../store/stats.ts";
import type { Job } from "./schedule.ts";

/** Most steps of one run; each covers up to a minute of attempts. */
const MAX_STEPS = 500;

/** Counts settled attempts into the statistics. */
export const rollups: Job = {
  name: "statistics",
  pattern: "*/10 * * * * *",
  async run({ db }, stopping) {
    let counted = 0;
    for (let i = 0; i < MAX_STEPS && !stopping.aborted; i++) {
      const step = await rollUp(db.admin);
      counted += step?.counted ?? 0;
      if (step?.is_behind !== true) break;
    }
    return counted;
  },
};
