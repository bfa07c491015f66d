import { MIN_LEASE_MS } from "../delivery/context.ts";
import { type Expired, findExpired, findFloors, type Floor } from "../store/deliveries.ts";
import type { Lease } from "../store/claims.ts";
import { BATCH } from "./batches.ts";
import type { Job } from "./schedule.ts";

/** Due deliveries of each endpoint that are searched for expired leases. */
const DEPTH = 100;
/**
 * How long floors are raised before all are searched again from the very beginning. What expires has been
 * leased for a minute, and due at the same time; its statement took at most half of that. So whatever
 * expires within this time was there when the floors were found, and none was raised above it.
 */
const FLOORS_FOR_MS = 20_000;

/**
 * Where the pending deliveries of each endpoint begin, for the jobs that search them. Dead rows of those
 * that ended stay in the index until the next vacuum, and each search from the beginning reads all of them.
 */
export interface Floors {
  /** Written by `expiredLeases` only. A delivery that comes in below is missed for 20 s at most. */
  present: readonly Floor[];
}

/** Passes each expired lease to `interrupted`, which records the attempt as such. `now` is monotonic. */
export function expiredLeases(
  interrupted: (lease: Lease) => void,
  floors: Floors,
  now: () => number = () => performance.now(),
): Job {
  // A lease that expired belongs to a delivery that has been due for longer than a lease lasts. Only
  // opening the embedded database ends younger ones, so the first runs look at all of them.
  let age_ms = 0;
  let found_at = -Infinity;
  return {
    name: "leases",
    pattern: "*/2 * * * * *",
    // By the engine's sessions: a fresh one maps each page of the table first, at twenty times the cost.
    async run({ db, log }) {
      const started_at = now();
      if (started_at - found_at >= FLOORS_FOR_MS) {
        floors.present = await findFloors(db.engine);
        found_at = started_at;
      }
      const found: Expired[] = await findExpired(db.engine, floors.present, DEPTH, age_ms);
      floors.present = found.map(({ endpoint_no, floor }) => ({ endpoint_no, floor }));
      const expired = found.flatMap(({ leases }) => leases).slice(0, BATCH);
      if (expired.length === 0) age_ms = MIN_LEASE_MS;
      else log.warn("Leases ran out", { count: expired.length });
      for (const lease of expired) interrupted(lease);
      return expired.length;
    },
  };
}
