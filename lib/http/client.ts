/**
 * The HTTP/1.1 client of deliveries, over node:net and node:tls. Other clients do things unasked: this
 * one never re-sends a request, follows no redirect, obeys no proxy, inflates nothing, and speaks only
 * to addresses that it has checked itself.
 */

import { makeStallWatch } from "../core/stall.ts";
import { type ConnectOptions, makeConnector } from "./connect.ts";
import { makeExchanges } from "./exchange.ts";
import {
  type Exchange,
  failFlight,
  makeRoute,
  newFlight,
  type PostRequest,
  type Route,
  STOPPED,
  type Target,
} from "./flight.ts";
import { makePool, type PoolOptions } from "./pool.ts";

export type { Exchange, FailureReason, PostRequest, Target } from "./flight.ts";

/** The HTTP client of deliveries. */
export interface HttpClient {
  /** One request, a POST unless the target is asked by GET, sent at most once. Never throws. */
  post(target: Target, request: PostRequest): Promise<Exchange>;
  /** Ends requests under way as `interrupted` and closes every connection. */
  close(): void;
  /** Connections that are open or opening, idle ones included. */
  readonly open_connections: number;
}

/** Where a client may connect, and how many connections it keeps. */
export type HttpClientOptions = ConnectOptions & PoolOptions;

/** Precision of every deadline. */
const TICK_MS = 25;
const CLOSED = "the client was closed";

/** A client with a pool of its own. */
export function makeHttpClient(options: HttpClientOptions): HttpClient {
  const pool = makePool(options);
  const exchanges = makeExchanges(pool);
  const connector = makeConnector(options, pool, exchanges);
  const routes = new WeakMap<Target, Route>();
  let closed = false;
  let ticker: ReturnType<typeof setInterval> | undefined;
  const stalls = makeStallWatch(TICK_MS);

  function post(target: Target, request: PostRequest): Promise<Exchange> {
    return new Promise((resolve) => {
      const route = routeOf(target);
      const now_ms = performance.now();
      const flight = newFlight(route, request, resolve, now_ms);
      if (closed) return failFlight(flight, "interrupted", CLOSED, null);
      if (request.signal?.aborted) return failFlight(flight, "interrupted", STOPPED, null);
      startTicking();
      const connection = pool.findIdle(route, now_ms);
      if (connection === undefined) connector.open(flight);
      else exchanges.send(connection, flight, now_ms);
    });
  }

  function routeOf(target: Target): Route {
    let route = routes.get(target);
    if (route === undefined) {
      route = makeRoute(target);
      routes.set(target, route);
    }
    return route;
  }

  /** One timer watches every deadline. */
  function startTicking(): void {
    if (ticker !== undefined) return;
    stalls.start(performance.now());
    ticker = setInterval(tick, TICK_MS);
  }

  function stopTicking(): void {
    clearInterval(ticker);
    ticker = undefined;
  }

  function tick(): void {
    const now_ms = performance.now();
    // After a stall of the process its sockets come first, because answers may be waiting there.
    const due_ms = stalls.tick(now_ms) > 0 ? -Infinity : now_ms;
    connector.tick(due_ms);
    exchanges.tick(due_ms);
    pool.sweep(now_ms);
    if (connector.size === 0 && pool.size === pool.count("closing")) stopTicking();
  }

  function close(): void {
    closed = true;
    connector.interruptAll(CLOSED);
    exchanges.interruptAll(CLOSED);
    pool.closeAll();
    stopTicking();
  }

  return {
    post,
    close,
    get open_connections() {
      return pool.size;
    },
  };
}
