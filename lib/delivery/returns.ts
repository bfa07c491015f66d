import { messageOf } from "../core/errors.ts";
import { type Lease, release } from "../store/claims.ts";
import { within } from "../store/deadline.ts";
import { findHeld } from "../store/deliveries.ts";
import type { Context } from "./context.ts";
import { ANSWER_TIMEOUT_MS } from "./pulse.ts";

/** A lease to be given back. */
type Given = Pick<Lease, "uuid" | "token" | "endpoint_no">;

/** Gives leased deliveries back that this process will not send. */
export interface Returns {
  /** Does not wait. A lease that cannot be given back now is found by a search. */
  giveBack(leases: readonly Given[]): void;
  /** This daemon may have leases that it does not know of: a statement failed, and may be committed. */
  doubt(): void;
  /**
   * Gives back the leases that this daemon has and does not know of, if there may be any. To be awaited
   * while no claim is under way. Rejects if the database gives no answer.
   */
  search(): Promise<void>;
  /** Resolves when nothing is being given back. */
  settle(): Promise<void>;
}

/** What a search needs to know, and who hears of what was found. */
interface Parts {
  /** Everything that is leased as far as this process knows: each is in one of them until it is recorded. */
  readonly held: () => readonly Iterable<Given>[];
  /** They are free: other attempts may begin. */
  readonly given_back: (endpoint_nos: ReadonlySet<number>) => void;
  /** A lease of the process before, which may have sent it. */
  readonly left_over: (lease: Lease) => void;
}

/** A statement that was given up runs, and may be committed, for so long at most. */
const DOUBT_MS = 40_000;
const SEARCH_MS = 1_000;
/** Due deliveries of each endpoint that are searched. */
const DEPTH = 2_000;

/** Gives leases back through the engine's connections. The first search is for those of a killed process. */
export function makeReturns(
  { db, log, holder, signals }: Pick<Context, "db" | "log" | "holder" | "signals">,
  { held, given_back, left_over }: Parts,
): Returns {
  const under_way = new Set<Promise<void>>();
  let is_first = true;
  let doubted_until = -Infinity;
  let searched_at = -Infinity;

  async function tryRelease(leases: readonly Given[]): Promise<void> {
    try {
      const ended = await within(release(db.engine, leases), ANSWER_TIMEOUT_MS);
      ended.forEach(signals.ended.emit);
      given_back(new Set(leases.map(({ endpoint_no }) => endpoint_no)));
    } catch (error) {
      doubt();
      log.warn("A claim could not be given back yet", { cause: messageOf(error) });
    }
  }

  function giveBack(leases: readonly Given[]): void {
    if (leases.length === 0) return;
    const one = tryRelease(leases).finally(() => under_way.delete(one));
    under_way.add(one);
  }

  function doubt(): void {
    doubted_until = Math.max(doubted_until, performance.now() + DOUBT_MS);
  }

  async function search(): Promise<void> {
    const now = performance.now();
    if (now < searched_at + SEARCH_MS || (!is_first && now > doubted_until)) return;
    searched_at = now;
    const found = await within(findHeld(db.engine, holder, DEPTH), ANSWER_TIMEOUT_MS);
    // As of now, not of when it was asked: the token protects what ended or was leased again meanwhile.
    const known = new Set(held().flatMap((leases) => [...leases]).map(({ uuid }) => uuid));
    const lost = found.filter(({ uuid }) => !known.has(uuid));
    if (lost.length > 0) log.warn("Leases were found that nobody held", { count: lost.length });
    if (!is_first) return giveBack(lost);
    is_first = false;
    lost.forEach(left_over);
  }

  return {
    giveBack,
    doubt,
    search,
    settle: async () => void await Promise.all(under_way),
  };
}
