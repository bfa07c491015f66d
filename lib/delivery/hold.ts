import { firstLease, type Lease, type Term } from "../store/claims.ts";
import type { NewDelivery } from "../store/events.ts";
import type { Owed } from "./batch.ts";
import type { Claimer } from "./claimer.ts";
import { type Context, leaseOf } from "./context.ts";
import { canSend, type Lanes } from "./lanes.ts";
import type { Returns } from "./returns.ts";
import type { Sender } from "./sender.ts";
import type { Slots } from "./slots.ts";

/**
 * Slots for deliveries that are about to be stored, so that they can be sent without being claimed.
 * Disposing frees the slots, unless `start` used them.
 */
export interface Hold extends Disposable {
  /** The deliveries as they are to be stored: `leased` if they have a slot. */
  readonly deliveries: readonly NewDelivery[];
  /** The term of their leases. */
  readonly term: Term;
  /** They are stored: sends those with a slot, and wakes the lanes of the others. */
  start(): void;
  /**
   * Storing failed, yet they may be stored: gives back their leases, at once and when `storing` has
   * settled. Does not wait.
   */
  lost(storing?: Promise<unknown>): void;
}

/** The dispatcher, as far as a hold reaches it. */
interface Parts {
  readonly lanes: Pick<Lanes, "get" | "wake">;
  readonly slots: Slots;
  readonly sender: Sender;
  readonly claimer: Pick<Claimer, "pump" | "stopping">;
  /** The longest timeout of the endpoints in force, in milliseconds. */
  readonly max_timeout_ms: () => number;
  readonly returns: Pick<Returns, "giveBack" | "doubt">;
}

/** Makes holds. */
export interface Holds {
  /** A slot for each delivery that is due at once and need not wait its turn. */
  hold(owed: readonly Owed[]): Hold;
  /** Deliveries that are being stored as leased. */
  leases(): Iterable<Lease>;
}

/** Holds whose slots are those of `parts`. */
export function makeHolds(ctx: Context, parts: Parts): Holds {
  const { lanes, slots, sender, claimer, max_timeout_ms, returns } = parts;
  const storing = new Set<() => readonly Lease[]>();

  function take(endpoint_no: number): boolean {
    const lane = lanes.get(endpoint_no);
    // Earlier deliveries go first.
    if (lane === undefined || claimer.stopping || lane.due || !canSend(lane)) return false;
    // Limits hold over all processes, so the deliveries of such an endpoint are claimed.
    const { concurrency, rate_limit_per_s } = lane.endpoint;
    if (concurrency !== null || rate_limit_per_s !== null) return false;
    if (!slots.hasRoom(lane, ctx.config().delivery.concurrency)) return false;
    slots.take(lane);
    return true;
  }

  function hold(owed: readonly Owed[]): Hold {
    const term = { ms: leaseOf(max_timeout_ms()), holder: ctx.holder };
    const leased_at = performance.now();
    const deliveries = owed.map(({ uuid, event, endpoint_no, wait_ms }): NewDelivery => {
      const leased = wait_ms === 0 && take(endpoint_no);
      return { uuid, event_uuid: event.uuid, endpoint_no, wait_ms, leased };
    });
    let started = false;
    const claims = () => owed.filter((_, index) => deliveries[index]?.leased).map(firstLease);
    storing.add(claims);
    return {
      deliveries,
      term,
      start() {
        started = true;
        if (claimer.stopping) returns.giveBack(claims());
        else {
          const lease_ends_at = leased_at + term.ms;
          sender.add(claims().map((claimed) => ({ claimed, leased_at, lease_ends_at })));
          sender.fill();
        }
        const waiting = deliveries.filter(({ leased }) => !leased);
        if (waiting.length === 0) return;
        lanes.wake(new Set(waiting.map(({ endpoint_no }) => endpoint_no)));
        claimer.pump();
      },
      lost(storing) {
        const giveBack = () => returns.giveBack(claims());
        returns.doubt(); // it may be committed even later
        giveBack();
        void storing?.then(giveBack, giveBack);
      },
      [Symbol.dispose]() {
        storing.delete(claims);
        if (started) return;
        for (const { endpoint_no, leased } of deliveries) {
          const lane = leased ? lanes.get(endpoint_no) : undefined;
          if (lane !== undefined) slots.vacate(lane);
        }
        claimer.pump();
      },
    };
  }

  return {
    hold,
    *leases() {
      for (const claims of storing) yield* claims();
    },
  };
}
