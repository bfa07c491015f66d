import type { Claimer } from "./claimer.ts";
import type { Lanes } from "./lanes.ts";
import type { Pulse } from "./pulse.ts";
import type { Recorder } from "./recorder.ts";
import type { Slots } from "./slots.ts";

/** The parts of a dispatcher that may keep it from beginning an attempt. */
interface Parts {
  readonly claimer: Pick<Claimer, "stopping">;
  readonly pulse: Pick<Pulse, "is_away">;
  readonly recorder: Pick<Recorder, "failing">;
  readonly lanes: Pick<Lanes, "get">;
  readonly slots: Pick<Slots, "hasRoom">;
  /** `delivery.concurrency`. */
  readonly concurrency: () => number;
}

/** Why a dispatcher begins no attempt to an endpoint now, in words; null if it would. */
export function holdupOf(
  { claimer, pulse, recorder, lanes, slots, concurrency }: Parts,
  endpoint_no: number,
): string | null {
  if (claimer.stopping) return "this daemon is stopping; another one, or its next start, sends it";
  if (pulse.is_away) return "the database has not answered this daemon's last question";
  if (recorder.failing) return "this daemon cannot record the results of its attempts";
  const lane = lanes.get(endpoint_no);
  if (lane === undefined) return null;
  const { in_flight, cap, limit, endpoint } = lane;
  if (endpoint.concurrency !== null && in_flight >= endpoint.concurrency) {
    return `the endpoint has ${in_flight} under way, as many as its concurrency allows`;
  }
  if (in_flight >= cap) {
    const grows = cap < limit ? `; answers within a second raise that to ${limit}` : "";
    return `the endpoint has ${in_flight} under way here, as many as it may have now${grows}`;
  }
  if (slots.hasRoom(lane, concurrency())) return null;
  // Without numbers: a business reads this, too, and the attempts are others'.
  return "this daemon has as many under way as delivery.concurrency allows; a quarter is kept for " +
    "endpoints that answer";
}
