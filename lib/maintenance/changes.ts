import { purgeChanges } from "../store/stream.ts";
import { BATCH, inBatches } from "./batches.ts";
import type { Job } from "./schedule.ts";

/** Forgets changes that streams do not go back to any more. */
export const oldChanges: Job = {
  name: "changes",
  pattern: "53 * * * * *",
  run: ({ db }, stopping) => inBatches(stopping, () => purgeChanges(db.admin, BATCH)),
};
