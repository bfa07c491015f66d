import { setImmediate } from "node:timers";
import { type Bagged, makeBag } from "../core/bag.ts";
import { messageOf } from "../core/errors.ts";
import { decide, type Decision } from "../core/retry.ts";
import type { Outcome } from "../core/outcome.ts";
import { isSilence, within } from "../store/deadline.ts";
import {
  claim,
  type Claimed,
  type Lease,
  overview,
  RATE_HORIZON_MS,
  release,
  type Room,
} from "../store/claims.ts";
import { type Context, leaseOf } from "./context.ts";
import type { Fleet } from "./fleet.ts";
import type { HttpClient } from "../http/client.ts";
import { canSend, isOpen, type Lane, makeLanes, narrow, restore, widen } from "./lanes.ts";
import { makeRecorder, type Unrecorded } from "./recorder.ts";
import { sign, type SignedRequest, toOutcome } from "./send.ts";

/**
 * Claims due deliveries and sends them.
 *
 * Fair by construction: each endpoint has a lane of its own with a cap on attempts under way, and a
 * claim asks, per endpoint, for no more than its lane has room for. An attempt that has no answer
 * after a second leaves the concurrency that all lanes share and halves its lane's cap, until it is
 * answered; each answer in time raises the cap by one. So an endpoint that hangs keeps few slots, others
 * never wait for it, and one that is merely slow keeps its own. However many hang, a quarter of the
 * concurrency is kept for those that answered last time.
 */
export interface Dispatcher {
  readonly fleet: Fleet;
  /** Uses these endpoints from now on. */
  setFleet(fleet: Fleet): void;
  /** Something may be due for these endpoints: claim as soon as there is room. */
  wake(endpoint_nos: Iterable<number> | "all"): void;
  /**
   * Takes a slot for a delivery that is about to be stored as leased by this process, so that it can
   * be sent without being claimed. False where it must wait its turn.
   */
  reserve(endpoint_no: number): boolean;
  /** Gives a reserved slot back. */
  unreserve(endpoint_no: number): void;
  /** Sends deliveries on their reserved slots. `leased_at` is `performance.now()` before the lease. */
  start(claimed: readonly Claimed[], leased_at: number, lease_ms: number): void;
  /** Gives back what this process may have leased without ever sending it. Does not wait. */
  release(leases: readonly Pick<Lease, "uuid" | "token">[]): void;
  /** Decides about an attempt that never reported back and records it. */
  interrupted(lease: Lease): void;
  /** Whether the database answered the dispatcher lately. */
  readonly healthy: boolean;
  readonly in_flight: number;
  /** Claims and begins nothing more from now on, and gives back what is leased and not yet sent. */
  quiesce(): void;
  /**
   * Claims nothing more, waits at most `grace_ms` for what is under way, cuts off the rest and
   * records all of it, within `grace_ms` too where the database is away.
   */
  stop(grace_ms: number): Promise<void>;
}

/** A delivery with its lease, by `performance.now()`. */
interface Leased {
  readonly claimed: Claimed;
  readonly leased_at: number;
  readonly lease_ends_at: number;
}

/** An attempt, from its signing to its outcome. */
interface Sending extends Leased, Bagged {
  readonly lane: Lane;
  readonly request: SignedRequest;
  readonly started_at: number;
  /** Whether it has left the shared concurrency. */
  slow: boolean;
}

/** Attempts that are signed before the first of them is sent: some milliseconds of work. */
const BURST = 128;
const SLOW_AFTER_MS = 1_000;
/** Slow attempts under way at once: each holds a socket. */
const MAX_SLOW = 1_024;
const MAX_BACKLOG = 4_000;
const POLL_MS = 1_000;
const TICK_MS = 250;
const CLAIM_TIMEOUT_MS = 35_000;
/** What a result needs to be recorded in: nothing is sent with less than that left of its lease. */
const RECORD_MARGIN_MS = 10_000;
/** Longer waits are found by the poll. */
const MAX_TIMED_WAKE_MS = 2_000;

/** A dispatcher over these endpoints; `reload` is called when the stored ones have changed. */
export function makeDispatcher(
  ctx: Context,
  client: HttpClient,
  first: Fleet,
  reload: () => void,
): Dispatcher {
  const lanes = makeLanes(ctx.clock.now);
  const active = makeBag<Sending>();
  /** Claimed, and waiting for their slot of a rate limit. */
  const held = new Set<Claimed>();
  /** Leased and ready: claimed ahead, so that there is something to send while the next claim is made. */
  const ready: Leased[] = [];
  const timers = new Set<ReturnType<typeof setTimeout>>();
  /** The poll and what is given back: nothing waits for them but stopping. */
  const errands = new Set<Promise<void>>();
  const abort = new AbortController();
  const recorder = makeRecorder(ctx, recorded);
  let fleet = first;
  let shared = 0; // what is leased or reserved and not slow, under way or not yet
  let doubtful = 0; // what of that is of lanes whose last attempt was not answered
  let slow = 0;
  let claiming: Promise<void> | undefined;
  let ended = 0; // attempts since the last claim was sent
  let going_on = false;
  let failures = 0;
  let stopping = false;
  let answered_at = performance.now();

  setFleet(first);
  later(POLL_MS, () => run(poll()));
  const ticker = setInterval(findSlow, TICK_MS);

  function setFleet(next: Fleet): void {
    fleet = next;
    lanes.use(next);
    pump();
  }

  function wake(endpoint_nos: Iterable<number> | "all"): void {
    lanes.wake(endpoint_nos);
    pump();
  }

  function pump(): void {
    if (claiming !== undefined || stopping || failures > 0) return;
    claiming = claimAll().finally(() => claiming = undefined);
  }

  async function claimAll(): Promise<void> {
    // Wakes of one turn of the event loop are one claim.
    await Promise.resolve();
    for (let rooms = plan(); rooms.length > 0 && !stopping; rooms = plan()) {
      const asked = rooms.map((room) => lanes.get(room.endpoint_no));
      // Before the claim, so that a wake during it is not lost.
      for (const lane of asked) if (lane !== undefined) lane.due = false;
      ended = 0;
      const lease_ms = leaseOf(fleet.max_timeout_ms);
      const leased_at = performance.now();
      try {
        const claimed = await within(claim(ctx.db.engine, rooms, lease_ms), CLAIM_TIMEOUT_MS);
        answered_at = performance.now();
        takeIn(rooms, claimed, leased_at, lease_ms);
      } catch (error) {
        for (const lane of asked) if (lane !== undefined) lane.due = true;
        failed("Claiming failed, trying again", error);
        return;
      }
    }
  }

  // How much to claim for whom. As many slots as became free since the last claim will be while this
  // one is made, so as many are claimed ahead (where nothing moves, none: another process may have
  // room). While there is something to send, half of that is waited for.
  function plan(): Room[] {
    if (recorder.backlog >= MAX_BACKLOG) return [];
    const ahead = Math.min(ended, Math.ceil(concurrency() / 2));
    const free = concurrency() + ahead - shared;
    return ready.length > 0 && free < ahead / 2 ? [] : lanes.rooms(free, doubts() - doubtful);
  }

  function concurrency(): number {
    return ctx.config().delivery.concurrency;
  }

  /** How much of it lanes may have whose last attempt was not answered. */
  function doubts(): number {
    return Math.ceil(concurrency() * 3 / 4);
  }

  function takeIn(
    rooms: readonly Room[],
    claimed: readonly Claimed[],
    leased_at: number,
    lease_ms: number,
  ): void {
    const got = new Map<number, number>();
    const now: Claimed[] = [];
    for (const delivery of claimed) {
      got.set(delivery.endpoint_no, (got.get(delivery.endpoint_no) ?? 0) + 1);
      const lane = lanes.get(delivery.endpoint_no);
      if (lane === undefined || stopping) {
        giveBack([delivery]);
        continue;
      }
      lane.floor_us = Number(delivery.due);
      lane.in_flight++;
      if (delivery.wait_ms < 1) {
        share(lane);
        now.push(delivery);
      } else {
        // It takes a slot that others might use only when its own time has come, and goes first then.
        held.add(delivery);
        later(delivery.wait_ms, () => {
          held.delete(delivery);
          share(lane);
          ready.unshift({ claimed: delivery, leased_at, lease_ends_at: leased_at + lease_ms });
          fill();
        });
      }
    }
    enqueue(now, leased_at, lease_ms);
    // With something under way the next claim goes first.
    if (active.size === 0) fill();
    goOn();
    for (const { endpoint_no, room, interval_us } of rooms) {
      const lane = lanes.get(endpoint_no);
      if (lane === undefined) continue;
      const taken = got.get(endpoint_no) ?? 0;
      if (taken >= room) lane.due = true;
      else if (interval_us !== null && taken > 0) pace(lane);
    }
  }

  // All slots of its rate limit are given out: more of them in half the time they reach ahead. Where
  // there were none, the poll is soon enough.
  function pace(lane: Lane): void {
    if (lane.paced) return;
    lane.paced = true;
    later(RATE_HORIZON_MS / 2, () => {
      lane.paced = false;
      wake([lane.endpoint.no]);
    });
  }

  function share(lane: Lane, slots = 1): void {
    lane.shared += slots;
    shared += slots;
    if (!lane.answered) doubtful += slots;
  }

  function vacate(lane: Lane): void {
    lane.in_flight--;
    share(lane, -1);
  }

  function learn(lane: Lane, answered: boolean): void {
    if (lane.answered === answered) return;
    doubtful += answered ? -lane.shared : lane.shared;
    lane.answered = answered;
  }

  function start(claimed: readonly Claimed[], leased_at: number, lease_ms: number): void {
    if (stopping) return giveBack(claimed);
    enqueue(claimed, leased_at, lease_ms);
    fill();
  }

  function enqueue(claimed: readonly Claimed[], leased_at: number, lease_ms: number): void {
    const lease_ends_at = leased_at + lease_ms;
    for (const delivery of claimed) ready.push({ claimed: delivery, leased_at, lease_ends_at });
  }

  // Signed together, then sent together: a receiver that gets many at once is woken once, and a wake
  // costs more than a signature. Between two bursts the event loop turns: answers are read, and the
  // next claim is on its way while there is still something to send.
  function fill(): void {
    const free = concurrency() - (active.size - slow);
    if (ready.length === 0 || free <= 0) return;
    const now = performance.now();
    const now_ms = ctx.clock.now();
    const burst: Sending[] = [];
    const unsent: Claimed[] = [];
    for (const leased of ready.splice(0, Math.min(BURST, free))) {
      const sending = prepare(leased, now, now_ms);
      if (sending === undefined) unsent.push(leased.claimed);
      else burst.push(sending);
    }
    for (const sending of burst) launch(sending);
    giveBack(unsent);
    if (ready.length > 0) goOn();
  }

  // Undefined where it cannot be sent any more: its slot is free then.
  function prepare(leased: Leased, now: number, now_ms: number): Sending | undefined {
    const { claimed, leased_at, lease_ends_at } = leased;
    const lane = lanes.get(claimed.endpoint_no);
    // A lane is there as long as it has something under way.
    if (lane === undefined) return undefined;
    // Retired, paused, or no longer sendable, since it was claimed.
    if (!isOpen(lane.endpoint)) {
      vacate(lane);
      return undefined;
    }
    const { endpoint } = lane;
    // A process that was frozen wakes up with claims that others may hold by now.
    if (now + endpoint.timeout_ms + RECORD_MARGIN_MS > lease_ends_at) {
      ctx.log.warn("A claim came too late to be sent", { age_ms: now - leased_at });
      vacate(lane);
      return undefined;
    }
    const request = sign(claimed, endpoint, now_ms);
    return { ...leased, lane, request, started_at: now, slow: false, place: -1 };
  }

  // One attempt's whole way: send, decide, record.
  function launch(sending: Sending): void {
    const { lane, claimed, request, lease_ends_at } = sending;
    const { endpoint } = lane;
    active.add(sending);
    client.post(endpoint.target, {
      headers: request.headers,
      body: request.body,
      timeout_ms: endpoint.timeout_ms,
      signal: abort.signal,
    }).then((exchange) => {
      const outcome = toOutcome(exchange, ctx.clock.now());
      const answered = outcome.status !== null;
      active.delete(sending);
      ended++;
      if (sending.slow) {
        lane.in_flight--;
        slow--;
        if (answered) restore(lane);
      } else {
        vacate(lane);
        if (answered) widen(lane);
      }
      learn(lane, answered);
      recorder.add({
        lease: claimed,
        endpoint_version: endpoint.version,
        outcome,
        decision: decide(outcome, claimed, endpoint.retry_ms, ctx.random),
        sent: request.sent,
        ended_at: performance.now(),
        lease_ends_at,
      });
      goOn();
    });
  }

  // Once for all that happens in one turn of the event loop.
  function goOn(): void {
    if (going_on) return;
    going_on = true;
    setImmediate(() => {
      going_on = false;
      pump();
      fill();
    });
  }

  function interrupted(lease: Lease): void {
    if (stopping) return; // another process finds it
    const endpoint = fleet.endpoints.get(lease.endpoint_no);
    const outcome: Outcome = {
      outcome: "interrupted",
      status: null,
      cause: "The attempt never reported back",
      duration_ms: 0,
      retry_after_ms: null,
      address: null,
      response: null,
    };
    recorder.add({
      lease,
      endpoint_version: endpoint?.version ?? 1,
      outcome,
      decision: decide(outcome, lease, endpoint?.retry_ms ?? [0], ctx.random),
      sent: null,
      ended_at: performance.now(),
      lease_ends_at: performance.now() + RECORD_MARGIN_MS,
    });
  }

  function recorded(result: Unrecorded, goes_on: boolean): void {
    answered_at = performance.now();
    if (result.outcome.outcome === "gone") reload();
    const { endpoint_no } = result.lease;
    // Its leases are what is counted, so there is room only now that one has ended.
    if (lanes.get(endpoint_no)?.endpoint.concurrency != null) wake([endpoint_no]);
    if (goes_on) wakeAfter(endpoint_no, result.decision);
  }

  function wakeAfter(endpoint_no: number, decision: Decision): void {
    if (decision.verdict !== "retry" || decision.wait_ms > MAX_TIMED_WAKE_MS) return;
    // The database's clock decides; a millisecond more, so that it does not say "not yet".
    if (decision.wait_ms === 0) wake([endpoint_no]);
    else later(decision.wait_ms + 1, () => wake([endpoint_no]));
  }

  function giveBack(leases: readonly Pick<Lease, "uuid" | "token">[]): void {
    if (leases.length === 0) return;
    run(
      within(release(ctx.db.engine, leases), CLAIM_TIMEOUT_MS).catch((error) =>
        ctx.log.warn("A claim could not be given back; its lease will run out", {
          cause: messageOf(error),
        })
      ),
    );
  }

  function run(errand: Promise<void>): void {
    errands.add(errand);
    errand.finally(() => errands.delete(errand));
  }

  async function poll(): Promise<void> {
    try {
      const view = await within(overview(ctx.db.engine, lanes.quiet()), CLAIM_TIMEOUT_MS);
      answered_at = performance.now();
      failures = 0;
      ctx.clock.sync(view.now_ms);
      if (view.revision !== fleet.revision) reload();
      wake(view.due);
    } catch (error) {
      failed("The poll failed, trying again", error);
    }
    later(POLL_MS, () => run(poll()));
  }

  // The poll goes on every second and sets the failures back; claims wait for that.
  function failed(what: string, error: unknown): void {
    failures++;
    if (isSilence(error)) ctx.db.reset();
    if (failures === 1 || failures % 30 === 0) {
      ctx.log.error(what, { cause: messageOf(error), failures });
    }
  }

  function findSlow(): void {
    const before = performance.now() - SLOW_AFTER_MS;
    for (const sending of active) {
      if (sending.slow || sending.started_at > before || slow >= MAX_SLOW) continue;
      sending.slow = true;
      slow++;
      share(sending.lane, -1);
      learn(sending.lane, false);
      narrow(sending.lane);
    }
    fill();
    pump();
  }

  function quiesce(): void {
    if (stopping) return;
    stopping = true;
    clearInterval(ticker);
    for (const timer of timers) clearTimeout(timer);
    giveBack([...held, ...ready.splice(0).map(({ claimed }) => claimed)]);
  }

  function later(wait_ms: number, what: () => void): void {
    if (stopping) return;
    const timer = setTimeout(() => {
      timers.delete(timer);
      what();
    }, wait_ms);
    timers.add(timer);
  }

  return {
    get fleet() {
      return fleet;
    },
    setFleet,
    wake,
    reserve(endpoint_no) {
      const lane = lanes.get(endpoint_no);
      // What was due before goes first.
      if (lane === undefined || stopping || lane.due || !canSend(lane)) return false;
      // Its limits hold over all processes, so its deliveries are claimed.
      if (lane.endpoint.concurrency !== null || lane.endpoint.rate_limit_per_s !== null) {
        return false;
      }
      if (shared >= concurrency() || (!lane.answered && doubtful >= doubts())) return false;
      lane.in_flight++;
      share(lane);
      return true;
    },
    unreserve(endpoint_no) {
      const lane = lanes.get(endpoint_no);
      if (lane !== undefined) vacate(lane);
      pump();
    },
    start,
    release: giveBack,
    interrupted,
    get healthy() {
      return performance.now() - answered_at < 8_000;
    },
    get in_flight() {
      return active.size;
    },
    quiesce,
    async stop(grace_ms) {
      const end = performance.now() + grace_ms;
      quiesce();
      await claiming;
      while (active.size > 0 && performance.now() < end) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      abort.abort();
      while (active.size > 0) await new Promise((resolve) => setTimeout(resolve, 5));
      await recorder.flush(end - performance.now());
      // A statement that is queued when the database is closed would open a connection anew.
      await Promise.all(errands);
    },
  };
}
