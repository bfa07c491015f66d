import type { Room } from "../store/claims.ts";
import type { Endpoint, Fleet } from "./fleet.ts";

/** What one endpoint has under way and may have, and what is known to be due for it. */
export interface Lane {
  endpoint: Endpoint;
  /** Leased here: under way, or about to be. */
  in_flight: number;
  /** What of that counts against the concurrency that all lanes share. */
  shared: number;
  /** Whether its last attempt was answered, whatever the status. */
  answered: boolean;
  /** Whether a timer looks for the next slots of its rate limit. */
  paced: boolean;
  /** Attempts under way at once: between 1 and `capLimit`. */
  cap: number;
  /** Whether something may be due that is not claimed yet. */
  due: boolean;
  /**
   * When the last that was claimed was due, in microseconds since 1970: the next claim begins to look
   * there. A long transaction elsewhere keeps the rows of deliveries that have ended in the index;
   * without a floor each claim would wade through all of them.
   */
  floor_us: number;
  /** When it was last looked for from the very beginning, by `performance.now()`. */
  swept_at: number;
}

/** A lane for each endpoint, so that one that hangs keeps few slots and others never wait for it. */
export interface Lanes {
  /**
   * Has lanes for these endpoints from now on. Something may be due for each. Others stay, closed, only
   * while they have something under way.
   */
  use(fleet: Fleet): void;
  get(endpoint_no: number): Lane | undefined;
  /** Something may be due for these endpoints. */
  wake(endpoint_nos: Iterable<number> | "all"): void;
  /**
   * How much to claim for whom, together at most `free`, and at most `doubtful` of it for lanes whose
   * last attempt was not answered: lanes take turns, and each is given what is worth looking for.
   */
  rooms(free: number, doubtful: number): Room[];
  /** The endpoints that could be sent to and of which nothing due is known. */
  quiet(): Pick<Room, "endpoint_no" | "floor">[];
}

/** Fewer are claimed for a lane only where it has no room: looking costs more than taking. */
const MIN_SHARE = 8;
const FIRST_CAP = 8;
const MAX_CAP = 32;
/** How often a lane is looked through from the beginning. */
const FLOOR_FOR_MS = 5_000;
/** How late a row may be committed and be found at once. */
const FLOOR_MARGIN_MS = 1_000;

/** Lanes of which `now` tells the database's time, in milliseconds since 1970. */
export function makeLanes(now: () => number): Lanes {
  const lanes = new Map<number, Lane>();
  let turn = 0; // which lane is served first

  function use({ endpoints }: Fleet): void {
    for (const endpoint of endpoints.values()) {
      const lane = lanes.get(endpoint.no);
      if (lane === undefined) {
        const cap = Math.min(FIRST_CAP, capLimit(endpoint));
        lanes.set(endpoint.no, {
          endpoint,
          in_flight: 0,
          shared: 0,
          answered: false,
          paced: false,
          cap,
          due: true,
          floor_us: 0,
          swept_at: -Infinity,
        });
      } else {
        lane.endpoint = endpoint;
        lane.cap = Math.min(lane.cap, capLimit(endpoint));
        lane.due = true;
      }
    }
    for (const [no, lane] of lanes) {
      if (endpoints.has(no)) continue;
      // What is under way counts on, also where the endpoint is brought back meanwhile.
      if (lane.in_flight > 0) lane.endpoint = { ...lane.endpoint, sendable: false };
      else lanes.delete(no);
    }
  }

  function wake(endpoint_nos: Iterable<number> | "all"): void {
    for (const no of endpoint_nos === "all" ? lanes.keys() : endpoint_nos) {
      const lane = lanes.get(no);
      if (lane !== undefined) lane.due = true;
    }
  }

  function rooms(free: number, doubtful: number): Room[] {
    const open = [...lanes.values()].filter((lane) => lane.due && canSend(lane));
    const rooms: Room[] = [];
    const first = turn;
    for (let i = 0; i < open.length && free > 0; i++) {
      turn = (first + i) % open.length;
      const lane = open[turn];
      if (lane === undefined) break;
      const share = Math.max(MIN_SHARE, Math.ceil(free / (open.length - i)));
      const bound = lane.answered ? free : Math.min(free, doubtful);
      const room = Math.min(lane.cap - lane.in_flight, share, bound);
      if (room <= 0) continue;
      free -= room;
      if (!lane.answered) doubtful -= room;
      rooms.push(toRoom(lane, room));
    }
    turn++;
    return rooms;
  }

  function toRoom(lane: Lane, room: number): Room {
    const { no, retry_ms, concurrency, rate_limit_per_s } = lane.endpoint;
    return {
      endpoint_no: no,
      room,
      max_attempts: retry_ms.length,
      floor: floorOf(lane),
      concurrency,
      interval_us: rate_limit_per_s === null ? null : Math.ceil(1_000_000 / rate_limit_per_s),
    };
  }

  // A row that is committed late was due just now, so of a backlog nothing before the floor can appear
  // (but what is given back: for that, each lane is looked through from the beginning now and then).
  function floorOf(lane: Lane): string {
    const asked_at = performance.now();
    if (asked_at - lane.swept_at >= FLOOR_FOR_MS) {
      lane.swept_at = asked_at;
      lane.floor_us = 0;
    }
    const recent_us = Math.floor((now() - FLOOR_MARGIN_MS) * 1000);
    return String(Math.min(lane.floor_us, recent_us));
  }

  return {
    use,
    get: (endpoint_no) => lanes.get(endpoint_no),
    wake,
    rooms,
    quiet: () =>
      [...lanes.values()]
        .filter(({ due, endpoint }) => !due && isOpen(endpoint))
        .map((lane) => ({ endpoint_no: lane.endpoint.no, floor: floorOf(lane) })),
  };
}

/** Whether another delivery may be under way for the lane. */
export function canSend({ endpoint, in_flight, cap }: Lane): boolean {
  return isOpen(endpoint) && in_flight < cap;
}

/** Whether an endpoint may be sent to now. */
export function isOpen({ sendable, paused }: Endpoint): boolean {
  return sendable && !paused;
}

/** An attempt of the lane was answered in time: one more may be under way. */
export function widen(lane: Lane): void {
  lane.cap = Math.min(lane.cap + 1, capLimit(lane.endpoint));
}

/** An attempt of the lane hangs: half as many may be under way. */
export function narrow(lane: Lane): void {
  lane.cap = Math.max(1, Math.floor(lane.cap / 2));
}

/** The lane's hanging attempt was answered after all: what `narrow` did is taken back. */
export function restore(lane: Lane): void {
  lane.cap = Math.min(2 * lane.cap, capLimit(lane.endpoint));
}

function capLimit(endpoint: Endpoint): number {
  return endpoint.concurrency ?? MAX_CAP;
}
