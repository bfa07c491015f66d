import { MIN_LEASE_MS } from "../delivery/context.ts";
import { findExpired } from "../store/deliveries.ts";
import type { Lease } from "../store/claims.ts";
import { BATCH } from "./batches.ts";
import type { Job } from "./schedule.ts";

/** Due deliveries of each endpoint that are searched for expired leases. */
const DEPTH = 250;

/** Passes each expired lease to `interrupted`, which records the attempt as such. */
export function expiredLeases(interrupted: (lease: Lease) => void): Job {
  // A lease that expired belongs to a delivery that has been due for longer than a lease lasts. Only
  // opening the embedded database ends younger ones, so the first runs look at all of them.
  let age_ms = 0;
  return {
    name: "leases",
    pattern: "*/2 * * * * *",
    async run({ db, log }) {
      const expired = await findExpired(db.admin, DEPTH, BATCH, age_ms);
      if (expired.length === 0) age_ms = MIN_LEASE_MS;
      else log.warn("Leases ran out", { count: expired.length });
      for (const lease of expired) interrupted(lease);
      return expired.length;
    },
  };
}
