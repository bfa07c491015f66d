import { within } from "../store/deadline.ts";
import { claimProbes } from "../store/auto_pause.ts";
import {
  claim,
  type Claimed,
  type Lease,
  RATE_HORIZON_MS,
  type Room,
  type Term,
} from "../store/claims.ts";
import { type Context, leaseOf } from "./context.ts";
import type { Lane, Lanes } from "./lanes.ts";
import { ANSWER_TIMEOUT_MS } from "./pulse.ts";
import type { Returns } from "./returns.ts";
import type { Sender } from "./sender.ts";
import type { Slots } from "./slots.ts";
import type { Timers } from "./timers.ts";

/** Claims due deliveries for the sender, one claim at a time. */
export interface Claimer {
  /** Claims as long as something is due and has room, unless it is claiming or must not. */
  pump(): void;
  /** An automatic pause may be due for a probe: claims as soon as it may. */
  probe(): void;
  /** An attempt ended: its slot is free. */
  freed(): void;
  /** Deliveries that wait for their turn of a rate limit. */
  readonly held: Iterable<Lease>;
  /** Whether nothing is claimed or begun any more. */
  readonly stopping: boolean;
  /** Claims nothing more, and takes out what waits for its turn of a rate limit. */
  quiesce(): Claimed[];
  /** Resolves when no claim is under way. */
  settle(): Promise<void>;
}

/** What a claimer works on, and what it reports. */
interface Parts {
  readonly lanes: Lanes;
  readonly slots: Slots;
  readonly sender: Sender;
  readonly timers: Timers;
  /** The longest timeout of the endpoints in force, in milliseconds. */
  readonly max_timeout_ms: () => number;
  /** Whether nothing may be claimed now: results pile up, or the database is away. */
  readonly blocked: () => boolean;
  readonly answered: () => void;
  readonly failed: (what: string, error: unknown) => void;
  readonly returns: Pick<Returns, "giveBack" | "doubt" | "search">;
  readonly go_on: () => void;
}

/** A claimer that has claimed nothing. */
export function makeClaimer(ctx: Context, parts: Parts): Claimer {
  const { lanes, slots, sender, timers, max_timeout_ms, blocked, returns } = parts;
  /** Claimed, and waiting for their slot of a rate limit. */
  const held = new Set<Claimed>();
  let claiming: Promise<void> | undefined;
  let freed = 0; // slots since the last claim was sent
  let probing = false; // something may be due for a probe
  let stopping = false;

  function pump(): void {
    if (claiming !== undefined || stopping || blocked()) return;
    claiming = claimAll().finally(() => claiming = undefined);
  }

  async function claimAll(): Promise<void> {
    // Wakes of one turn of the event loop are one claim.
    await Promise.resolve();
    try {
      await returns.search();
    } catch (error) {
      return parts.failed("The search for lost leases failed, trying again", error);
    }
    if (!await claimProbed()) return;
    for (let rooms = plan(); rooms.length > 0 && !stopping; rooms = plan()) {
      const asked = rooms.map((room) => lanes.get(room.endpoint_no));
      // Before the claim, so that a wake during it is not lost.
      for (const lane of asked) if (lane !== undefined) lane.due = false;
      freed = 0;
      const claimed = await take((term) => claim(ctx.db.engine, rooms, term));
      if (claimed === undefined) {
        for (const lane of asked) if (lane !== undefined) lane.due = true;
        return;
      }
      lookAgain(rooms, claimed);
    }
  }

  // False if that failed. Where nothing is paused automatically the database is not asked.
  async function claimProbed(): Promise<boolean> {
    const endpoint_nos = probing && !stopping ? lanes.probed() : [];
    probing = false;
    if (endpoint_nos.length === 0) return true;
    const claimed = await take((term) => claimProbes(ctx.db.engine, endpoint_nos, term));
    return claimed !== undefined;
  }

  // How much to claim for whom. As many slots as became free since the last claim will become free while
  // this one is made, so as many are claimed ahead (if nothing moves, none: another process may have
  // room). While there is something to send, half of that is waited for.
  function plan(): Room[] {
    if (blocked()) return [];
    const { concurrency } = ctx.config().delivery;
    const ahead = Math.min(freed, Math.ceil(concurrency / 2));
    const free = concurrency + ahead - slots.shared;
    if (sender.waiting > 0 && free < ahead / 2) return [];
    return lanes.rooms(free, slots.doubtfulRoom(concurrency));
  }

  // Undefined if the claim failed.
  async function take(claims: (term: Term) => Promise<Claimed[]>): Promise<Claimed[] | undefined> {
    const term = { ms: leaseOf(max_timeout_ms()), holder: ctx.holder };
    const leased_at = performance.now();
    let claimed: Claimed[];
    try {
      claimed = await within(claims(term), ANSWER_TIMEOUT_MS);
    } catch (error) {
      returns.doubt(); // it may be committed
      parts.failed("Claiming failed, trying again", error);
      return undefined;
    }
    parts.answered();
    if (claimed.length > 0) {
      const duration_ms = performance.now() - leased_at;
      ctx.signals.claimed.emit({ count: claimed.length, duration_ms });
    }
    for (const delivery of claimed) takeIn(delivery, leased_at, leased_at + term.ms);
    // With something under way the next claim goes first.
    if (sender.in_flight === 0) sender.fill();
    parts.go_on();
    return claimed;
  }

  function takeIn(claimed: Claimed, leased_at: number, lease_ends_at: number): void {
    const lane = lanes.get(claimed.endpoint_no);
    if (lane === undefined || stopping) return returns.giveBack([claimed]);
    // A probe may pass over deliveries that are due before it.
    if (!claimed.probe) lane.floor_us = Number(claimed.due);
    const leased = { claimed, leased_at, lease_ends_at };
    if (claimed.wait_ms < 1) {
      slots.take(lane);
      return sender.add([leased]);
    }
    // It takes a share that others might use only when its turn comes, and goes first then.
    slots.hold(lane);
    held.add(claimed);
    timers.later(claimed.wait_ms, () => {
      held.delete(claimed);
      slots.share(lane);
      sender.add([leased], true);
      sender.fill();
    });
  }

  // A lane whose room was filled may have more due.
  function lookAgain(rooms: readonly Room[], claimed: readonly Claimed[]): void {
    const counts = new Map<number, number>();
    for (const { endpoint_no } of claimed) {
      counts.set(endpoint_no, (counts.get(endpoint_no) ?? 0) + 1);
    }
    for (const { endpoint_no, room, interval_us } of rooms) {
      const lane = lanes.get(endpoint_no);
      if (lane === undefined) continue;
      const count = counts.get(endpoint_no) ?? 0;
      if (count >= room) lane.due = true;
      else if (interval_us !== null && count > 0) pace(lane);
    }
  }

  // All slots of its rate limit are given out: more of them in half the time they reach ahead. If there
  // were none, the poll is soon enough.
  function pace(lane: Lane): void {
    if (lane.paced) return;
    lane.paced = true;
    timers.later(RATE_HORIZON_MS / 2, () => {
      lane.paced = false;
      lane.due = true;
      pump();
    });
  }

  return {
    pump,
    probe() {
      probing = true;
      pump();
    },
    freed: () => void freed++,
    held,
    get stopping() {
      return stopping;
    },
    quiesce() {
      stopping = true;
      return [...held];
    },
    settle: async () => await claiming,
  };
}
