import { type Bagged, makeBag } from "../core/bag.ts";
import type { HttpClient } from "../http/client.ts";
import type { Claimed, Lease } from "../store/claims.ts";
import { attempt, type Leased } from "./attempt.ts";
import type { Context } from "./context.ts";
import { isOpen, isProbed, type Lane, type Lanes } from "./lanes.ts";
import type { Unrecorded } from "./recorder.ts";
import type { Slots } from "./slots.ts";

/** Makes the attempts of leased deliveries, each on a slot that it holds already. */
export interface Sender {
  /** Sends them as soon as there is room, `first` before what waits already. */
  add(leased: readonly Leased[], first?: boolean): void;
  /** Begins as many as there is room for; calls `go_on` if that was not all. */
  fill(): void;
  /** Lets attempts without an answer for a second leave the shared concurrency. */
  findSlow(): void;
  /** Attempts under way. */
  readonly in_flight: number;
  /** Leased deliveries that wait for room. */
  readonly waiting: number;
  /** Every delivery under way or waiting. */
  leases(): Iterable<Lease>;
  /** Takes out what has not begun. */
  takeBack(): Claimed[];
  /** Resolves when nothing is under way; after `grace_ms`, attempts are cut off as `interrupted`. */
  finish(grace_ms: number): Promise<void>;
}

/** What a sender reports. */
interface SenderEvents {
  readonly ended: (result: Unrecorded, lane: Lane) => void;
  /** They cannot be sent any more; their slots are free. */
  readonly unsent: (claimed: readonly Claimed[]) => void;
  /** There is more to begin in the next turn of the event loop. */
  readonly go_on: () => void;
}

/** An attempt under way. */
interface Sending extends Bagged {
  readonly lane: Lane;
  readonly lease: Lease;
  readonly started_at: number;
  /** Whether it has left the shared concurrency. */
  slow: boolean;
}

/** Attempts begun in one turn: some milliseconds of signing. */
const BURST = 128;
const SLOW_AFTER_MS = 1_000;
/** Time for recording a result: nothing is sent with less of its lease left. */
export const RECORD_MARGIN_MS = 10_000;

/** A sender whose deliveries have slots of `slots`, in lanes of `lanes`. */
export function makeSender(
  ctx: Context,
  client: HttpClient,
  lanes: Pick<Lanes, "get">,
  slots: Slots,
  { ended, unsent, go_on }: SenderEvents,
): Sender {
  const active = makeBag<Sending>();
  /** Claimed ahead, so that there is something to send while the next claim is made. */
  const ready: Leased[] = [];
  const abort = new AbortController();
  const { clock, random, tracing } = ctx;
  const attempts = { client, clock, random, tracing, signal: abort.signal };

  // Between two bursts the event loop turns: answers are read, and the next claim is on its way while
  // there is still something to send.
  function fill(): void {
    const free = ctx.config().delivery.concurrency - (active.size - slots.slow);
    if (ready.length === 0 || free <= 0) return;
    const now = performance.now();
    const rest: Claimed[] = [];
    for (const leased of ready.splice(0, Math.min(BURST, free))) {
      const lane = lanes.get(leased.claimed.endpoint_no);
      // A lane exists as long as it has a slot taken.
      if (lane !== undefined && mayBegin(leased, lane, now)) void begin(leased, lane, now);
      else rest.push(leased.claimed);
    }
    unsent(rest);
    if (ready.length > 0) go_on();
  }

  function mayBegin(
    { claimed, leased_at, lease_ends_at }: Leased,
    lane: Lane,
    now: number,
  ): boolean {
    const { endpoint } = lane;
    // A process that was frozen wakes up with claims that others may hold by now.
    const is_late = now + endpoint.timeout_ms + RECORD_MARGIN_MS > lease_ends_at;
    // Not open: retired, paused, or no longer sendable, since it was claimed.
    const is_open = claimed.probe ? isProbed(endpoint) : isOpen(endpoint);
    if (is_open && !is_late) return true;
    if (is_open) ctx.log.warn("A claim came too late to be sent", { age_ms: now - leased_at });
    slots.vacate(lane);
    return false;
  }

  async function begin(leased: Leased, lane: Lane, now: number): Promise<void> {
    const sending: Sending = {
      lane,
      lease: leased.claimed,
      started_at: now,
      slow: false,
      place: -1,
    };
    active.add(sending);
    const result = await attempt(attempts, leased, lane.endpoint);
    active.delete(sending);
    slots.end(lane, sending.slow, result.outcome.status !== null);
    ended(result, lane);
  }

  return {
    add(leased, first = false) {
      if (first) ready.unshift(...leased);
      else for (const one of leased) ready.push(one);
    },
    fill,
    findSlow() {
      const before = performance.now() - SLOW_AFTER_MS;
      for (const sending of active) {
        if (sending.slow || sending.started_at > before) continue;
        sending.slow = slots.slowDown(sending.lane);
      }
    },
    get in_flight() {
      return active.size;
    },
    get waiting() {
      return ready.length;
    },
    *leases() {
      for (const { lease } of active) yield lease;
      for (const { claimed } of ready) yield claimed;
    },
    takeBack: () => ready.splice(0).map(({ claimed }) => claimed),
    async finish(grace_ms) {
      const end = performance.now() + grace_ms;
      const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
      while (active.size > 0 && performance.now() < end) await pause(10);
      abort.abort();
      while (active.size > 0) await pause(5);
    },
  };
}
