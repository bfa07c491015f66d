import { purgeAttempts, type Purged, purgeEvents, purgeSubjects } from "../store/events.ts";
import { purgeRefused, purgeStats } from "../store/stats.ts";
import type { Context } from "../delivery/context.ts";
import type { FilePolicy } from "../store/endpoints.ts";
import { BATCH, inBatches } from "./batches.ts";
import type { Job } from "./schedule.ts";

/** The policy in force. */
type Policy = () => FilePolicy;

/** Most pieces of one run: a purge must keep up with thousands of events a second. */
const MAX_PIECES = 1_000;

/** Purges attempts older than `retention.attempts` whose deliveries have ended. */
export function oldAttempts(policy: Policy): Job {
  return {
    name: "old attempts",
    pattern: "0 */5 * * * *",
    done: "Old attempts purged",
    run: inPieces(({ db }, position) =>
      purgeAttempts(db.admin, policy().retention.attempts_ms, position, BATCH)
    ),
  };
}

/** Purges events older than `retention.events` without pending deliveries. */
export function oldEvents(policy: Policy): Job {
  return {
    name: "old events",
    pattern: "10 */5 * * * *",
    done: "Old events purged",
    run: inPieces(({ db }, position) =>
      purgeEvents(db.admin, policy().retention.events_ms, position, BATCH)
    ),
  };
}

/** Longest gap between two events of an appointment: bookings are made up to a year ahead. */
const SUBJECTS_KEPT_MS = 400 * 86_400_000;

/** Forgets the businesses of appointments without an event for 400 days, or for `retention.events`. */
export function oldSubjects(policy: Policy): Job {
  return {
    name: "old subjects",
    pattern: "15 40 * * * *",
    done: "Old appointments forgotten",
    run: inPieces(({ db }, position) =>
      purgeSubjects(
        db.admin,
        Math.max(SUBJECTS_KEPT_MS, policy().retention.events_ms),
        position,
        BATCH,
      )
    ),
  };
}

/** Purges statistics that no window reaches any more. */
export const oldStatistics: Job = {
  name: "old statistics",
  pattern: "20 */5 * * * *",
  done: "Old statistics purged",
  run: async ({ db }, stopping) =>
    await inBatches(stopping, () => purgeStats(db.admin, BATCH)) +
    await inBatches(stopping, () => purgeRefused(db.admin, BATCH)),
};

// Piece by piece from the oldest on, so that rows that must stay are read once per pass and not once per
// piece. A run continues where the last one stopped, and from the start after reaching the end.
function inPieces(
  step: (ctx: Context, position: string | null) => Promise<Purged>,
): Job["run"] {
  let position: string | null = null;
  return async (ctx, stopping) => {
    let purged = 0;
    for (let i = 0; i < MAX_PIECES && !stopping.aborted; i++) {
      const piece = await step(ctx, position);
      purged += piece.purged;
      position = piece.position;
      if (position === null) break;
    }
    return purged;
  };
}
