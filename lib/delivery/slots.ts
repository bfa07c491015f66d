/** The slots of one endpoint. */
export interface LaneSlots {
  /** Leased by this process: under way, or about to be. */
  in_flight: number;
  /** Those that count against the concurrency that all lanes share. */
  shared: number;
  /** Whether its last attempt was answered, whatever the status. */
  answered: boolean;
  /** Attempts under way at once, between 1 and `limit`: grows and shrinks with the answers. */
  cap: number;
  limit: number;
}

/**
 * Counts the slots of all lanes; `lanes.ts` says which lanes exist and what is due for them.
 *
 * An attempt that has no answer after a second leaves the shared concurrency and halves its lane's cap;
 * its answer takes that back, and each answer in time raises the cap by one. However many endpoints
 * hang, a quarter of the concurrency is kept for lanes whose last attempt was answered.
 */
export interface Slots {
  /** Leased or reserved and not slow, under way or not yet. */
  readonly shared: number;
  /** Those of lanes whose last attempt was not answered. */
  readonly doubtful: number;
  /** Under way without an answer for a second. */
  readonly slow: number;
  /** How many more doubtful slots this concurrency allows. */
  doubtfulRoom(concurrency: number): number;
  /** Whether one more attempt of the lane fits into the shared concurrency. */
  hasRoom(lane: LaneSlots, concurrency: number): boolean;
  /** Takes a slot of the lane alone: its attempt waits for its turn of a rate limit. */
  hold(lane: LaneSlots): void;
  /** Gives a held slot its share of the concurrency: the turn has come. */
  share(lane: LaneSlots): void;
  /** Takes a slot of the lane with its share. */
  take(lane: LaneSlots): void;
  /** Frees a taken slot: its attempt never began. */
  vacate(lane: LaneSlots): void;
  /** An attempt is slow: it leaves the shared concurrency. False if too many have. */
  slowDown(lane: LaneSlots): boolean;
  /** An attempt ended: frees its slot, and learns from whether it was answered. */
  end(lane: LaneSlots, was_slow: boolean, answered: boolean): void;
}

const FIRST_CAP = 8;
/** The limit of an endpoint without a `concurrency` of its own. */
export const DEFAULT_LIMIT = 32;
/** Slow attempts under way at once: each holds a socket. */
const MAX_SLOW = 1_024;

/** The slots of a new lane: not answered yet. */
export function newLaneSlots(limit: number): LaneSlots {
  return { in_flight: 0, shared: 0, answered: false, cap: Math.min(FIRST_CAP, limit), limit };
}

/** Gives the lane another limit. */
export function setLimit(lane: LaneSlots, limit: number): void {
  lane.limit = limit;
  lane.cap = Math.min(lane.cap, limit);
}

/** An account without slots taken. */
export function makeSlots(): Slots {
  let shared = 0;
  let doubtful = 0;
  let slow = 0;

  function addShare(lane: LaneSlots, slots: 1 | -1): void {
    lane.shared += slots;
    shared += slots;
    if (!lane.answered) doubtful += slots;
  }

  function take(lane: LaneSlots): void {
    lane.in_flight++;
    addShare(lane, 1);
  }

  function vacate(lane: LaneSlots): void {
    lane.in_flight--;
    addShare(lane, -1);
  }

  function learn(lane: LaneSlots, answered: boolean): void {
    if (lane.answered === answered) return;
    doubtful += answered ? -lane.shared : lane.shared;
    lane.answered = answered;
  }

  const doubtfulRoom = (concurrency: number) => Math.ceil(concurrency * 3 / 4) - doubtful;

  return {
    get shared() {
      return shared;
    },
    get doubtful() {
      return doubtful;
    },
    get slow() {
      return slow;
    },
    doubtfulRoom,
    hasRoom: (lane, concurrency) =>
      shared < concurrency && (lane.answered || doubtfulRoom(concurrency) > 0),
    hold: (lane) => void lane.in_flight++,
    share: (lane) => addShare(lane, 1),
    take,
    vacate,
    slowDown(lane) {
      if (slow >= MAX_SLOW) return false;
      slow++;
      addShare(lane, -1);
      learn(lane, false);
      lane.cap = Math.max(1, Math.floor(lane.cap / 2));
      return true;
    },
    end(lane, was_slow, answered) {
      if (was_slow) {
        slow--;
        lane.in_flight--;
      } else vacate(lane);
      if (answered) lane.cap = Math.min(lane.limit, was_slow ? 2 * lane.cap : lane.cap + 1);
      learn(lane, answered);
    },
  };
}
