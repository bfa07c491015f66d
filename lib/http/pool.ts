import { type AddressRules, hostPort } from "../core/address.ts";
import { type Bagged, makeBag } from "../core/bag.ts";
import { refusal } from "./addresses.ts";
import type { Flight, Route } from "./flight.ts";
import { newResponse, type Response } from "./response_parser.ts";
import { NO_WIRE, type Wire } from "./wire.ts";

/**
 * The states of a connection. It is in exactly one:
 *
 *     closed ─→ opening ─→ sending ─→ waiting ─→ idle ─→ sending …
 *                             └─→ draining ───────┘
 *
 * Each of them but `closed` may turn into `closing`, which ends as `closed`.
 */
export type State =
  /** Not yet opened, or gone. */
  | "closed"
  /** Connecting, or shaking hands. */
  | "opening"
  /** Its request is being written. */
  | "sending"
  /** Its request is written, the answer not complete. */
  | "waiting"
  /** The answer came first: its request is still being written. */
  | "draining"
  | "idle"
  /** Destroyed; the system has yet to let it go. */
  | "closing";

const NEXT: Readonly<Record<State, readonly State[]>> = {
  closed: ["opening"],
  opening: ["sending", "closing"],
  sending: ["waiting", "draining", "closing"],
  waiting: ["idle", "closing"],
  draining: ["idle", "closing"],
  idle: ["sending", "closing"],
  closing: ["closed"],
};

/** A connection to one address of a route. */
export interface Connection extends Bagged {
  /** Written only by the pool's `move`. */
  state: State;
  wire: Wire;
  readonly route: Route;
  readonly ip: string;
  readonly address: string;
  readonly opened_ms: number;
  /** The rules that last allowed the address. */
  rules: AddressRules | undefined;
  /** Requests sent on it so far. */
  sent: number;
  /** The request that it carries, while `sending` or `waiting`. */
  flight: Flight | undefined;
  response: Response;
  last_error: Error | undefined;
  idle_since_ms: number;
  /** When to close it, while `idle` or `draining`. */
  until_ms: number;
}

/** A connection to one address of the route, not opened yet. The rules allow the address. */
export function newConnection(
  route: Route,
  ip: string,
  rules: AddressRules | undefined,
): Connection {
  return {
    state: "closed",
    place: -1,
    wire: NO_WIRE,
    route,
    ip,
    address: hostPort(ip, route.port),
    opened_ms: performance.now(),
    rules,
    sent: 0,
    flight: undefined,
    response: newResponse(),
    last_error: undefined,
    idle_since_ms: 0,
    until_ms: 0,
  };
}

/** How long and how many connections are kept. */
export interface PoolOptions {
  /** The address rules in force. A new object makes the pool check idle connections again. */
  readonly rules: () => AddressRules;
  readonly max_idle_per_route?: number;
  readonly max_idle?: number;
}

/** Every open connection of a client. */
export interface Pool {
  /** Puts a connection into a state. Throws if no way leads there from its own. */
  move(connection: Connection, to: State): void;
  /** The route's youngest idle connection. Closes those found unfit. */
  findIdle(route: Route, now_ms: number): Connection | undefined;
  /** Keeps an answered connection as idle, or closes it. */
  release(connection: Connection, now_ms: number): void;
  /** Closes a connection that is open. */
  close(connection: Connection): void;
  /** Closes a connection that its receiver ended, and learns from that. */
  lose(connection: Connection): void;
  /** Closes a connection on which bytes came unasked, and for a while keeps none of its route. */
  distrust(connection: Connection): void;
  /** Closes idle and draining connections whose time is up. */
  sweep(now_ms: number): void;
  closeAll(): void;
  /** Connections in any state but `closed`. A loop over them may move the one it got last. */
  readonly connections: Iterable<Connection>;
  readonly size: number;
  /** Connections in a state. */
  count(state: Exclude<State, "closed">): number;
}

/** How long an idle connection is kept if the receiver did not say, in milliseconds. */
const IDLE_MS = 1500;
/** Connections older than this are not reused, so that requests follow a change of DNS. */
const MAX_AGE_MS = 60_000;
/** A connection closed within this time of its answer was not meant to be kept. */
const AT_ONCE_MS = 100;
/** How long the pool remembers such a receiver: each time it tries again, a request may be lost. */
const CLOSES_FOR_MS = 60_000;

/** An empty pool. */
export function makePool(options: PoolOptions): Pool {
  const { rules, max_idle_per_route = 256, max_idle = 1024 } = options;
  const connections = makeBag<Connection>();
  /** The idle connections of each route, the youngest last. */
  const idle = new WeakMap<Route, Connection[]>();
  const counts = { opening: 0, sending: 0, waiting: 0, draining: 0, idle: 0, closing: 0 };

  function move(connection: Connection, to: State): void {
    const { state: from, route } = connection;
    if (!NEXT[from].includes(to)) throw new Error(`A connection cannot go from ${from} to ${to}`);
    if (from === "closed") connections.add(connection);
    else counts[from]--;
    if (from === "idle") takeFrom(idleOf(route), connection);
    connection.state = to;
    if (to === "idle") idleOf(route).push(connection);
    if (to === "closed") connections.delete(connection);
    else counts[to]++;
  }

  function idleOf(route: Route): Connection[] {
    let list = idle.get(route);
    if (list === undefined) idle.set(route, list = []);
    return list;
  }

  function findIdle(route: Route, now_ms: number): Connection | undefined {
    const list = idleOf(route);
    // The youngest first, so that the rest can grow old and close.
    for (let found = list.at(-1); found !== undefined; found = list.at(-1)) {
      if (isFit(found, now_ms)) return found;
      close(found);
    }
    return undefined;
  }

  function isFit(connection: Connection, now_ms: number): boolean {
    if (now_ms >= connection.until_ms) return false;
    const present = rules();
    if (connection.rules === present) return true;
    connection.rules = present;
    return refusal(connection.ip, connection.route, present) === undefined;
  }

  function release(connection: Connection, now_ms: number): void {
    const { route, opened_ms, response: { keep_alive_s } } = connection;
    const kept_ms = keep_alive_s === undefined ? IDLE_MS : (keep_alive_s - 1) * 1000;
    const until_ms = Math.min(now_ms + kept_ms, opened_ms + MAX_AGE_MS);
    if (
      until_ms <= now_ms || now_ms < route.closes_until_ms ||
      counts.idle >= max_idle || idleOf(route).length >= max_idle_per_route
    ) return close(connection);
    connection.idle_since_ms = now_ms;
    connection.until_ms = until_ms;
    move(connection, "idle");
  }

  function close(connection: Connection): void {
    if (connection.state === "closing" || connection.state === "closed") return;
    move(connection, "closing");
    connection.wire.destroy();
  }

  function lose(connection: Connection): void {
    const { state, flight, sent, response, route } = connection;
    const now_ms = performance.now();
    const unannounced = state === "idle"
      ? now_ms - connection.idle_since_ms < AT_ONCE_MS
      : flight !== undefined && sent > 1 && !response.started;
    if (unannounced) route.closes_until_ms = now_ms + CLOSES_FOR_MS;
    close(connection);
  }

  function distrust(connection: Connection): void {
    const { state, route } = connection;
    if (state === "closing" || state === "closed") return;
    route.closes_until_ms = performance.now() + CLOSES_FOR_MS;
    for (const other of [connection, ...idleOf(route)]) close(other);
  }

  function sweep(now_ms: number): void {
    for (const connection of connections) {
      const { state, until_ms } = connection;
      if ((state === "idle" || state === "draining") && now_ms >= until_ms) close(connection);
    }
  }

  function closeAll(): void {
    for (const connection of connections) close(connection);
  }

  return {
    move,
    findIdle,
    release,
    close,
    lose,
    distrust,
    sweep,
    closeAll,
    connections,
    get size() {
      return connections.size;
    },
    count: (state) => counts[state],
  };
}

/** Takes a connection out of a list where it most often is the last. */
function takeFrom(list: Connection[], connection: Connection): void {
  if (list.at(-1) === connection) list.pop();
  else list.splice(list.indexOf(connection), 1);
}
