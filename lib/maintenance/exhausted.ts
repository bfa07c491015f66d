import { failExhausted } from "../store/deliveries.ts";
import type { FilePolicy } from "../store/endpoints.ts";
import { BATCH, inBatches, reportEnded } from "./batches.ts";
import type { Floors } from "./leases.ts";
import type { Job } from "./schedule.ts";

/** Due deliveries of each endpoint that are searched. Nobody claims exhausted ones, so they come to the front. */
const DEPTH = 100;

/** Fails deliveries that have had all attempts of a policy that became shorter. */
export function exhaustedDeliveries(policy: () => FilePolicy, floors: Readonly<Floors>): Job {
  return {
    name: "exhausted deliveries",
    pattern: "*/15 * * * * *",
    done: "Exhausted deliveries failed",
    run: ({ db, signals }, stopping) =>
      inBatches(stopping, async () => {
        const { length } = policy().retry_ms;
        const found = await failExhausted(db.admin, floors.present, DEPTH, BATCH, length);
        return reportEnded(signals, found);
      }),
  };
}
