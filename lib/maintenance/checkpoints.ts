import { checkpointIfDue } from "../store/checkpoint.ts";
import type { Job } from "./schedule.ts";

/**
 * Bounds the log of the embedded database. It has no process that makes checkpoints: without this its
 * log would grow until the daemon stops, and the recovery after a crash with it.
 */
export const checkpoints: Job = {
  name: "the database's log",
  pattern: "8-59/10 * * * * *",
  async run({ db }) {
    await checkpointIfDue(db.admin, db.backups?.under_way === true);
    return 0;
  },
};
