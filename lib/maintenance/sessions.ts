import { deleteExpiredSessions, forgetNotes } from "../store/sessions.ts";
import { BATCH, inBatches } from "./batches.ts";
import type { Job } from "./schedule.ts";

/** Removes sessions that are over, and the notes of forms that cannot be read any more. */
export const oldSessions: Job = {
  name: "sessions",
  pattern: "47 * * * * *",
  async run({ db }, stopping) {
    const notes = await inBatches(stopping, () => forgetNotes(db.admin, BATCH));
    return notes + await inBatches(stopping, () => deleteExpiredSessions(db.admin, BATCH));
  },
};
