import { announceExpiring, cancelExpired } from "../store/expiry.ts";
import type { FilePolicy } from "../store/endpoints.ts";
import { BATCH, inBatches, reportEnded } from "./batches.ts";
import type { Job } from "./schedule.ts";

const DAY_MS = 86_400_000;

/**
 * Cancels what has waited longer than `retention.events` at endpoints that are paused, or that this daemon
 * cannot send to. Announces that three days ahead, in the log once a day. A daemon that can send to an endpoint
 * takes an announcement about it back.
 */
export function expiredDeliveries(
  policy: () => FilePolicy,
  unsendable: () => readonly number[],
): Job {
  const logged = new Map<string, number>();
  return {
    name: "expired deliveries",
    pattern: "35 */10 * * * *",
    done: "Deliveries cancelled: they waited longer than retention.events",
    async run({ db, clock, log, signals }, stopping) {
      const { events_ms } = policy().retention;
      const now = clock.now();
      for (const one of await announceExpiring(db.admin, events_ms, unsendable())) {
        const { endpoint, deliveries, deliveries_exact, first_at } = one;
        if (Math.abs(now - (logged.get(endpoint) ?? -Infinity)) < DAY_MS) continue;
        logged.set(endpoint, now);
        log.warn(
          "Deliveries that nobody sends will be cancelled; resume the endpoint, or cancel them",
          {
            endpoint,
            deliveries: deliveries_exact ? deliveries : `${deliveries} or more`,
            from: first_at.toISOString(),
          },
        );
      }
      return await inBatches(
        stopping,
        async () =>
          reportEnded(signals, await cancelExpired(db.admin, events_ms, unsendable(), BATCH)),
      );
    },
  };
}
