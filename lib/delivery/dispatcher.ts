import { setImmediate } from "node:timers";
import type { Decision } from "../core/retry.ts";
import type { HttpClient } from "../http/client.ts";
import type { SignalValues } from "../observe/signals.ts";
import type { Lease } from "../store/claims.ts";
import { interrupted } from "./attempt.ts";
import type { Owed } from "./batch.ts";
import { makeClaimer } from "./claimer.ts";
import type { Context } from "./context.ts";
import type { Fleet } from "./fleet.ts";
import { type Hold, makeHolds } from "./hold.ts";
import { holdupOf } from "./holdup.ts";
import { makeLanes } from "./lanes.ts";
import { makeRecorder, type Unrecorded } from "./recorder.ts";
import { makePulse } from "./pulse.ts";
import { makeReturns } from "./returns.ts";
import { makeSender, RECORD_MARGIN_MS } from "./sender.ts";
import { makeSlots } from "./slots.ts";
import { makeTimers } from "./timers.ts";

/**
 * Sends deliveries: the claimer takes due ones, the sender makes their attempts, the recorder writes
 * the results down.
 *
 * Fair by construction: each endpoint has a lane of its own with a cap on attempts under way, and a
 * claim asks, per endpoint, for no more than its lane has room for (see `slots.ts`). So an endpoint that
 * hangs keeps few slots, others never wait for it, and one that is merely slow keeps its own.
 */
export interface Dispatcher {
  readonly fleet: Fleet;
  /** Uses these endpoints from now on. */
  setFleet(fleet: Fleet): void;
  /** Something may be due for these endpoints: claim as soon as there is room. */
  wake(endpoint_nos: Iterable<number> | "all"): void;
  /** Takes slots for deliveries that are about to be stored. */
  hold(owed: readonly Owed[]): Hold;
  /** Why it begins no attempt to an endpoint now, in words; null if it would. */
  holdup(endpoint_no: number): string | null;
  /** Tries the endpoints of automatic pauses whose time for that has come. */
  probe(): void;
  /** Decides about an attempt that never reported back, and records it. */
  interrupted(lease: Lease): void;
  /** Whether the database has answered within the last eight seconds. */
  readonly healthy: boolean;
  /** Whether it was quiesced. */
  readonly stopping: boolean;
  /** Attempts under way. */
  readonly in_flight: number;
  /** Results that wait to be recorded. */
  readonly unrecorded: number;
  /** Claims and begins nothing more, and gives back what is leased and not yet sent. */
  quiesce(): void;
  /**
   * Quiesces, waits at most `grace_ms` for the attempts under way, cuts off the rest and records all of
   * them, within `grace_ms` even if the database is away.
   */
  stop(grace_ms: number): Promise<void>;
}

const MAX_BACKLOG = 4_000;
const TICK_MS = 250;
/** The poll finds what waits longer. */
const MAX_TIMED_WAKE_MS = 2_000;

/** A dispatcher over these endpoints. Calls `reload` when the stored ones have changed. */
export function makeDispatcher(
  ctx: Context,
  client: HttpClient,
  first: Fleet,
  reload: () => void,
): Dispatcher {
  const lanes = makeLanes(ctx.clock.now);
  const slots = makeSlots();
  const timers = makeTimers();
  const returns = makeReturns(ctx, {
    held: () => [sender.leases(), claimer.held, recorder.leases(), holds.leases()],
    given_back: (endpoint_nos) => wake(endpoint_nos, true),
    left_over: endInterrupted,
  });
  const pulse = makePulse(ctx, timers, {
    asked: () => lanes.quiet(),
    heard: ({ due, revision }) => {
      if (revision !== fleet.revision) reload();
      wake(due);
    },
  });
  const recorder = makeRecorder(ctx, recorded);
  const sender = makeSender(ctx, client, lanes, slots, {
    ended,
    unsent: returns.giveBack,
    go_on: goOn,
  });
  const shared = { lanes, slots, sender, max_timeout_ms: () => fleet.max_timeout_ms };
  const claimer = makeClaimer(ctx, {
    ...shared,
    timers,
    blocked: () => pulse.is_away || recorder.failing || recorder.backlog >= MAX_BACKLOG,
    answered: pulse.answered,
    failed: pulse.failed,
    returns,
    go_on: goOn,
  });
  const holds = makeHolds(ctx, { ...shared, claimer, returns });
  const concurrency = () => ctx.config().delivery.concurrency;
  let fleet = first;
  let going_on = false;

  setFleet(first);
  pulse.start();
  const ticker = setInterval(() => {
    sender.findSlow();
    sender.fill();
    claimer.pump();
  }, TICK_MS);

  function setFleet(next: Fleet): void {
    fleet = next;
    lanes.use(next);
    claimer.pump();
    ctx.signals.endpoints_changed.emit(identify(next));
  }

  function wake(endpoint_nos: Iterable<number> | "all", given_back = false): void {
    lanes.wake(endpoint_nos, given_back);
    claimer.pump();
  }

  // Once for everything that happens in one turn of the event loop.
  function goOn(): void {
    if (going_on) return;
    going_on = true;
    setImmediate(() => {
      going_on = false;
      claimer.pump();
      sender.fill();
    });
  }

  function ended(result: Unrecorded): void {
    claimer.freed();
    finish(result);
    goOn();
  }

  // The one place where an attempt's result is known, also of one that never reported back.
  function finish(result: Unrecorded): void {
    recorder.add(result);
    if (ctx.signals.attempted.heard) ctx.signals.attempted.emit(describe(result, fleet));
  }

  function recorded(result: Unrecorded, goes_on: boolean): void {
    pulse.answered();
    if (result.outcome.outcome === "gone") reload();
    const { endpoint_no } = result.lease;
    // Its limit counts leases, so there is room only now that one has ended.
    if (lanes.get(endpoint_no)?.endpoint.concurrency != null) wake([endpoint_no]);
    if (goes_on) wakeAfter(endpoint_no, result.decision);
  }

  function wakeAfter(endpoint_no: number, decision: Decision): void {
    if (decision.verdict !== "retry" || decision.wait_ms > MAX_TIMED_WAKE_MS) return;
    // The database's clock decides; a millisecond more, so that it does not say "not yet".
    if (decision.wait_ms === 0) wake([endpoint_no]);
    else timers.later(decision.wait_ms + 1, () => wake([endpoint_no]));
  }

  function endInterrupted(lease: Lease): void {
    if (claimer.stopping) return; // another process finds it
    const endpoint = fleet.endpoints.get(lease.endpoint_no);
    const until = performance.now() + RECORD_MARGIN_MS;
    finish(interrupted(lease, endpoint, ctx, until));
  }

  function quiesce(): void {
    if (claimer.stopping) return;
    clearInterval(ticker);
    timers.clear();
    returns.giveBack([...claimer.quiesce(), ...sender.takeBack()]);
  }

  return {
    get fleet() {
      return fleet;
    },
    setFleet,
    wake: (endpoint_nos) => wake(endpoint_nos),
    hold: holds.hold,
    holdup: (endpoint_no) =>
      holdupOf({ claimer, pulse, recorder, lanes, slots, concurrency }, endpoint_no),
    probe: claimer.probe,
    interrupted: endInterrupted,
    get healthy() {
      return pulse.healthy;
    },
    get stopping() {
      return claimer.stopping;
    },
    get in_flight() {
      return sender.in_flight;
    },
    get unrecorded() {
      return recorder.backlog;
    },
    quiesce,
    async stop(grace_ms) {
      const end = performance.now() + grace_ms;
      quiesce();
      await claimer.settle();
      await sender.finish(end - performance.now());
      await recorder.flush(end - performance.now());
      // A statement still queued when the database is closed would open a new connection.
      await Promise.all([pulse.settle(), returns.settle()]);
    },
  };
}

// Without secrets: whoever listens may write down what it hears.
function identify({ revision, endpoints }: Fleet): SignalValues["endpoints_changed"] {
  return { revision, endpoints: [...endpoints.values()].map(({ no, id }) => ({ no, id })) };
}

function describe({ lease, outcome }: Unrecorded, { endpoints }: Fleet): SignalValues["attempted"] {
  const { endpoint_no, attempts } = lease;
  const { outcome: name, status, cause, duration_ms } = outcome;
  return {
    endpoint_no,
    endpoint: endpoints.get(endpoint_no)?.id ?? "",
    outcome: name,
    status,
    cause,
    duration_ms,
    test: lease.test,
    attempt: attempts + 1,
  };
}
