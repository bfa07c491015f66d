import { cancelRetired } from "../store/deliveries.ts";
import { BATCH, inBatches, reportEnded } from "./batches.ts";
import type { Job } from "./schedule.ts";

/** Cancels pending deliveries of retired endpoints. */
export const retiredEndpoints: Job = {
  name: "retired endpoints",
  pattern: "*/5 * * * * *",
  done: "Deliveries of retired endpoints cancelled",
  run: ({ db, signals }, stopping) =>
    inBatches(stopping, async () => reportEnded(signals, await cancelRetired(db.admin, BATCH))),
};
