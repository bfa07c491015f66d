import type { Room } from "../store/claims.ts";
import type { Endpoint, Fleet } from "./fleet.ts";
import { DEFAULT_LIMIT, type LaneSlots, newLaneSlots, setLimit } from "./slots.ts";

/** One endpoint, with its slots and what is known to be due for it. */
export interface Lane extends LaneSlots {
  endpoint: Endpoint;
  /** Whether a timer looks for the next slots of its rate limit. */
  paced: boolean;
  /** Whether something may be due that is not claimed yet. */
  due: boolean;
  /**
   * Due time of the delivery claimed last, in microseconds since 1970: the next claim looks from there
   * on. A long transaction elsewhere keeps the rows of ended deliveries in the index, and without a
   * floor each claim would read all of them.
   */
  floor_us: number;
  /** When it was last looked for from the very beginning, by `performance.now()`. */
  swept_at: number;
}

/**
 * A lane for each endpoint, so that one that hangs keeps few slots and others never wait for it: which
 * lanes exist, whose turn it is, and where to look for what is due. `slots.ts` counts what they have.
 */
export interface Lanes {
  /**
   * Has lanes for these endpoints from now on, with something due for each, as far as is known. Others
   * stay, closed, only while they have a slot taken.
   */
  use(fleet: Pick<Fleet, "endpoints">): void;
  get(endpoint_no: number): Lane | undefined;
  /** Something may be due for these endpoints; before the floor as well if deliveries were given back. */
  wake(endpoint_nos: Iterable<number> | "all", given_back?: boolean): void;
  /**
   * How much to claim for which endpoint: at most `free` together, and of that at most `doubtful` for
   * lanes whose last attempt was not answered. Lanes take turns, and each gets enough to be worth a look.
   */
  rooms(free: number, doubtful: number): Room[];
  /** The endpoints that could be sent to, but for which nothing is known to be due. */
  quiet(): Pick<Room, "endpoint_no" | "floor">[];
  /** Numbers of the endpoints that may be sent probes. */
  probed(): number[];
}

/** Fewer are claimed for a lane only where it has no room: looking costs more than taking. */
const MIN_SHARE = 8;
/** How often a lane is looked through from the beginning. */
const FLOOR_FOR_MS = 5_000;
/** How late a row may be committed and be found at once. */
const FLOOR_MARGIN_MS = 1_000;

/** No lanes yet. `now` is the database's time, in milliseconds since 1970. */
export function makeLanes(now: () => number): Lanes {
  const lanes = new Map<number, Lane>();
  let turn = 0; // which lane is served first

  function use({ endpoints }: Pick<Fleet, "endpoints">): void {
    for (const endpoint of endpoints.values()) {
      const lane = lanes.get(endpoint.no);
      if (lane === undefined) {
        lanes.set(endpoint.no, {
          ...newLaneSlots(limitOf(endpoint)),
          endpoint,
          paced: false,
          due: true,
          floor_us: 0,
          swept_at: -Infinity,
        });
      } else {
        lane.endpoint = endpoint;
        setLimit(lane, limitOf(endpoint));
        lane.due = true;
      }
    }
    for (const [no, lane] of lanes) {
      if (endpoints.has(no)) continue;
      // Its slots stay counted, even if the endpoint is brought back meanwhile.
      if (lane.in_flight > 0) lane.endpoint = { ...lane.endpoint, sendable: false };
      else lanes.delete(no);
    }
  }

  function wake(endpoint_nos: Iterable<number> | "all", given_back = false): void {
    for (const no of endpoint_nos === "all" ? lanes.keys() : endpoint_nos) {
      const lane = lanes.get(no);
      if (lane === undefined) continue;
      lane.due = true;
      if (given_back) lane.swept_at = -Infinity;
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

  // A row committed late was due just now, so nothing of a backlog can appear before the floor, except
  // what is given back: for that, each lane is searched from the beginning now and then.
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
    probed: () =>
      [...lanes.values()].map(({ endpoint }) => endpoint).filter(isProbed).map(({ no }) => no),
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

/** Whether it may be sent probes. */
export function isProbed({ sendable, probed }: Endpoint): boolean {
  return sendable && probed;
}

function limitOf({ concurrency }: Endpoint): number {
  return concurrency ?? DEFAULT_LIMIT;
}
