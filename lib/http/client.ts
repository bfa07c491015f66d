/**
 * The HTTP/1.1 client of deliveries, over node:net and node:tls. Its own, because of what others do
 * behind one's back: it never re-sends a request, follows no redirect, obeys no proxy, inflates
 * nothing, and speaks only to an address that it has looked at itself.
 */

import { Buffer } from "node:buffer";
import { lookup as systemLookup } from "node:dns";
import { connect as connectPlain, isIPv6, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import {
  type AddressRules,
  classifyEndpointAddress,
  hostPort,
  literalAddress,
  portOf,
} from "../core/address.ts";
import { type Bagged, makeBag } from "../core/bag.ts";
import { messageOf } from "../core/errors.ts";
import { borrowUtf8 } from "../core/utf8.ts";
import {
  endResponse,
  newResponse,
  quote,
  readResponse,
  type Response,
  takeBody,
} from "./response_parser.ts";

/** Where requests go. Keep the object: what is derived from it is remembered with it. */
export interface Target {
  readonly url: URL;
  /** PEM texts. `ca` is trusted beside the system's authorities; `cert` and `key` are ours. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  /** Connections are shared among targets of one origin, TLS identity and pool key. */
  readonly pool_key?: string;
}

export interface PostRequest {
  /** `Name: value\r\n` lines, without Host, Content-Length and Connection. */
  readonly headers: string;
  /** Sent as UTF-8. */
  readonly body: string;
  /** From now to the end of the response's head: DNS, connect and TLS included. */
  readonly timeout_ms: number;
  /** Aborting it ends the exchange as `interrupted`, within 50 ms. */
  readonly signal?: AbortSignal;
}

/** What came of a request. `address` is `127.0.0.1:443` or `[::1]:443`. */
export type Exchange =
  | {
    readonly answered: true;
    readonly status: number;
    /** Status line and fields, lines split by \r\n, at most 8 KiB. */
    readonly head: string;
    readonly retry_after?: string;
    /** At most 64 KiB. */
    readonly body: Uint8Array;
    /** Whether there was, or may have been, more than `body` holds. */
    readonly truncated: boolean;
    readonly address: string;
    readonly duration_ms: number;
  }
  | {
    readonly answered: false;
    readonly reason: FailureReason;
    /** Raw cause, at most 200 characters: `ECONNREFUSED 127.0.0.1:9`. */
    readonly cause: string;
    readonly address: string | null;
    readonly duration_ms: number;
  };

export type FailureReason =
  | "timeout"
  | "dns"
  | "tls"
  | "connection"
  | "protocol"
  | "blocked"
  | "interrupted";

export interface HttpClient {
  /** One POST, sent at most once. Never throws. */
  post(target: Target, request: PostRequest): Promise<Exchange>;
  /** Ends what is under way as `interrupted` and closes every connection. */
  close(): void;
  /** Connections that are open or being opened, idle ones included. */
  readonly open_connections: number;
}

export interface HttpClientOptions {
  /** The address rules in force. A new object makes idle connections be judged again. */
  readonly rules: () => AddressRules;
  /** The local address to send from. */
  readonly source_address?: string;
  /** All addresses of a name; the system's resolver unless given. */
  readonly lookup?: (host: string) => Promise<readonly string[]>;
  readonly max_idle_per_origin?: number;
  readonly max_idle?: number;
}

/** How long a connection is kept idle where the receiver did not say, in milliseconds. */
const IDLE_MS = 1500;
/** Connections older than this are not reused, so that a change of DNS is followed. */
const MAX_AGE_MS = 60_000;
/** A connection that is closed within this time of its answer was not meant to be kept. */
const AT_ONCE_MS = 100;
/** How long a receiver is remembered that does so: each time it is tried, a request may be lost. */
const CLOSES_FOR_MS = 60_000;
/** How long the rest of a body is waited for behind the head. */
const BODY_MS = 1000;
/** Precision of every deadline. */
const TICK_MS = 25;
/** Longest look at why a TLS handshake failed. */
const DIAGNOSIS_MS = 2000;
const MAX_CAUSE_CHARS = 200;
const READ_BYTES = 64 * 1024;
/** A connection keeps the memory of its last message up to this size, for the next one. */
const KEPT_MESSAGE_BYTES = 8 * 1024;

/** What is derived from a target once. */
interface Route {
  readonly key: string;
  readonly https: boolean;
  /** Name to resolve, or the address where the URL has one. */
  readonly host: string;
  readonly literal: string | undefined;
  readonly port: number;
  /** Request line and Host field. */
  readonly start: string;
  readonly tls: NonNullable<Target["tls"]>;
  /** Until then its connections are not kept, because the receiver was seen to close them unannounced. */
  closes_until_ms: number;
}

type Step = "dns" | "connect" | "tls" | "answer" | "body";

/** One request under way. */
interface Flight extends Bagged {
  readonly route: Route;
  readonly request: PostRequest;
  readonly resolve: (exchange: Exchange) => void;
  readonly started_ms: number;
  deadline_ms: number;
  /** When the present try to connect gives way to the next address. */
  connect_until_ms: number;
  step: Step;
  settled: boolean;
  address: string | null;
  connection: Connection | undefined;
  /** The rules under which its addresses were allowed. */
  rules: AddressRules | undefined;
  /** While it is looked into why a handshake failed: what is known so far, and how to stop. */
  diagnosis: { readonly cause: string; readonly stop: AbortController } | undefined;
}

/** The socket under a connection. */
interface Wire {
  /** Writes all of the bytes, then calls back. */
  readonly write: (bytes: Uint8Array, wrote: (error?: Error | null) => void) => void;
  readonly destroy: () => void;
}

/** What a wire reports, in this order; `lost` and `closed` at any time, `closed` last and always. */
interface WireEvents {
  readonly connected: (peer: string | undefined, local: string | undefined) => void;
  readonly secured: () => void;
  /** The bytes are good until it returns. */
  readonly data: (bytes: Buffer) => void;
  readonly ended: () => void;
  readonly lost: (error: Error) => void;
  readonly closed: () => void;
}

interface Connection {
  wire: Wire;
  readonly route: Route;
  readonly ip: string;
  readonly address: string;
  readonly opened_ms: number;
  /** The rules under which the address was allowed. */
  rules: AddressRules | undefined;
  /** Requests that were sent on it. */
  sent: number;
  flight: Flight | undefined;
  response: Response;
  /** Where messages are put together: free again when `writing` ends. */
  message: Buffer;
  writing: boolean;
  /** Made once: called when a request is written, or could not be. */
  readonly wrote: (error?: Error | null) => void;
  /** How the try to open it ends; undefined once open. */
  opening: ((cause: Opened) => void) | undefined;
  last_error: Error | undefined;
  idle_since_ms: number;
  idle_until_ms: number;
  closed: boolean;
}

/** How a try to open a connection ended. */
type Opened = "open" | { readonly step: "connect" | "tls"; readonly cause: string; code: string };

/** A client with a pool of its own. */
export function makeHttpClient(options: HttpClientOptions): HttpClient {
  const { rules, source_address, max_idle_per_origin = 256, max_idle = 1024 } = options;
  const resolve = coalesce(options.lookup ?? lookupAll);
  const routes = new WeakMap<Target, Route>();
  const flights = makeBag<Flight>();
  const connections = new Set<Connection>();
  const idle = new Map<string, Connection[]>();
  /** Connections with an answer whose request is still being written. */
  const draining = new Set<Connection>();
  let idle_count = 0;
  let closed = false;
  let ticker: ReturnType<typeof setInterval> | undefined;
  let ticked_ms = 0;
  let was_late = false;

  function post(target: Target, request: PostRequest): Promise<Exchange> {
    return new Promise((resolve) => {
      const now_ms = performance.now();
      const flight: Flight = {
        route: routeOf(target),
        request,
        resolve,
        started_ms: now_ms,
        deadline_ms: now_ms + request.timeout_ms,
        connect_until_ms: Infinity,
        step: "dns",
        settled: false,
        place: -1,
        address: null,
        connection: undefined,
        rules: undefined,
        diagnosis: undefined,
      };
      flights.add(flight);
      if (closed || request.signal?.aborted) return interrupt(flight);
      startTicking();
      const connection = takeIdle(flight.route, now_ms);
      if (connection !== undefined) return send(connection, flight);
      open(flight).catch((error) => failFlight(flight, "connection", messageOf(error)));
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

  // ---- The pool

  function takeIdle(route: Route, now_ms: number): Connection | undefined {
    const waiting = idle.get(route.key);
    // The youngest first: the rest may grow old and close.
    for (let connection = waiting?.pop(); connection; connection = waiting?.pop()) {
      idle_count--;
      if (isFit(connection, now_ms)) return connection;
      destroy(connection);
    }
    return undefined;
  }

  function isFit(connection: Connection, now_ms: number): boolean {
    if (connection.closed || now_ms >= connection.idle_until_ms) return false;
    const present = rules();
    if (connection.rules === present) return true;
    connection.rules = present;
    return refusal(connection.ip, connection.route, present) === undefined;
  }

  function release(connection: Connection, now_ms: number): void {
    const kept_s = connection.response.keep_alive_s;
    const until_ms = now_ms + (kept_s === undefined ? IDLE_MS : (kept_s - 1) * 1000);
    connection.idle_since_ms = now_ms;
    connection.idle_until_ms = Math.min(until_ms, connection.opened_ms + MAX_AGE_MS);
    let waiting = idle.get(connection.route.key);
    if (waiting === undefined) idle.set(connection.route.key, waiting = []);
    if (
      connection.idle_until_ms <= now_ms || now_ms < connection.route.closes_until_ms ||
      idle_count >= max_idle ||
      waiting.length >= max_idle_per_origin
    ) return destroy(connection);
    waiting.push(connection);
    idle_count++;
  }

  /** Takes a connection that ended, or is at its end, out of the pool. */
  function forget(connection: Connection): void {
    const waiting = idle.get(connection.route.key);
    const at = waiting?.indexOf(connection) ?? -1;
    if (at < 0) return;
    waiting?.splice(at, 1);
    idle_count--;
  }

  function destroy(connection: Connection): void {
    connection.closed = true;
    connection.wire.destroy();
  }

  // ---- Opening

  async function open(flight: Flight): Promise<void> {
    const { route } = flight;
    const addresses = await vettedAddresses(flight);
    const causes: string[] = [];
    for (const [at, ip] of addresses.entries()) {
      if (flight.settled) return;
      const now_ms = performance.now();
      // Each address gets its share of the time: one that swallows packets must not take it all.
      flight.connect_until_ms = now_ms + (flight.deadline_ms - now_ms) / (addresses.length - at);
      flight.step = "connect";
      flight.address = hostPort(ip, route.port);
      const opened = await dial(flight, ip);
      if (flight.settled) return;
      if (opened === "open") {
        const connection = flight.connection;
        if (connection !== undefined) send(connection, flight);
        return;
      }
      flight.connection = undefined;
      if (opened.step === "tls") return await failTls(flight, ip, opened);
      causes.push(opened.cause);
    }
    failFlight(flight, "connection", causes.join(", "));
  }

  /** Addresses of the route, all of them allowed. Where there is none, the flight has ended. */
  async function vettedAddresses(flight: Flight): Promise<readonly string[]> {
    const { route } = flight;
    let addresses: readonly string[];
    try {
      addresses = route.literal !== undefined ? [route.literal] : await resolve(route.host);
    } catch (error) {
      failFlight(flight, "dns", `${codeOf(error) || messageOf(error)} ${route.host}`);
      return [];
    }
    const present = flight.rules = rules();
    for (const ip of addresses) {
      const rule = refusal(ip, route, present);
      if (rule !== undefined) {
        failFlight(flight, "blocked", `${ip} is not allowed: ${rule}`);
        return [];
      }
    }
    if (addresses.length === 0) failFlight(flight, "dns", `No address for ${route.host}`);
    if (source_address === undefined) return addresses;
    const reachable = addresses.filter((ip) => isIPv6(ip) === isIPv6(source_address));
    if (reachable.length === 0) {
      failFlight(flight, "connection", `No address of the family of ${source_address}`);
    }
    return reachable;
  }

  function dial(flight: Flight, ip: string): Promise<Opened> {
    return new Promise((opening) => {
      const connection: Connection = {
        wire: NO_WIRE,
        route: flight.route,
        ip,
        address: hostPort(ip, flight.route.port),
        opened_ms: performance.now(),
        rules: flight.rules,
        sent: 0,
        flight,
        response: newResponse(),
        message: NO_MESSAGE,
        writing: false,
        wrote: (error) => onWrote(connection, error),
        opening,
        last_error: undefined,
        idle_since_ms: 0,
        idle_until_ms: 0,
        closed: false,
      };
      flight.connection = connection;
      try {
        connection.wire = openWire(flight.route, ip, source_address, eventsOf(connection));
        connections.add(connection);
      } catch (error) { // what node:tls makes of a certificate or key it cannot read
        endOpening(connection, { step: "tls", cause: messageOf(error), code: "" });
      }
    });
  }

  function eventsOf(connection: Connection): WireEvents {
    return {
      connected: (peer, local) => onConnect(connection, peer, local),
      secured: () => endOpening(connection, "open"),
      data: (bytes) => onData(connection, bytes),
      ended: () => onEnd(connection),
      lost: (error) => {
        connection.last_error = error;
        onLost(connection);
      },
      closed: () => {
        connections.delete(connection);
        draining.delete(connection);
        onLost(connection);
      },
    };
  }

  function onConnect(connection: Connection, peer?: string, local?: string): void {
    const { flight } = connection;
    if (flight === undefined || flight.settled) return destroy(connection);
    const step = connection.route.https ? "tls" : "connect";
    if (peer === undefined || !sameAddress(peer, connection.ip)) {
      const cause = peer === undefined
        ? `closed as soon as it was open ${connection.address}`
        : `connected to ${peer} instead of ${connection.ip}`;
      return endOpening(connection, { step, cause, code: "" });
    }
    if (source_address !== undefined && !sameAddress(local ?? "", source_address)) {
      // Deno 2.6 does not bind. Silently sending from elsewhere would be worse than not sending.
      const cause = `sending from ${source_address} does not work with this version of Deno`;
      return endOpening(connection, { step, cause, code: "" });
    }
    flight.step = step;
    flight.connect_until_ms = Infinity;
    if (step === "connect") endOpening(connection, "open");
  }

  function endOpening(connection: Connection, opened: Opened): void {
    const { opening } = connection;
    connection.opening = undefined;
    if (opened !== "open") {
      connection.flight = undefined; // it goes on without this connection
      destroy(connection);
    }
    opening?.(opened);
  }

  /** Ends a flight whose handshake failed, after a look at why where the runtime does not say. */
  async function failTls(flight: Flight, ip: string, opened: Exclude<Opened, "open">) {
    let why: string | undefined;
    // From another address than the one that was configured, a look would tell something else.
    if (opened.code === VAGUE_CODE && source_address === undefined) {
      const stop = new AbortController();
      flight.diagnosis = { cause: opened.cause, stop };
      flight.deadline_ms = Math.min(flight.deadline_ms, performance.now() + DIAGNOSIS_MS);
      why = await diagnoseTls(flight.route, ip, stop.signal);
    }
    failFlight(flight, "tls", why ?? opened.cause);
  }

  // ---- Exchanging

  function send(connection: Connection, flight: Flight): void {
    flight.step = "answer";
    flight.address = connection.address;
    flight.connection = connection;
    connection.flight = flight;
    if (connection.sent++ > 0) connection.response = newResponse();
    connection.writing = true;
    connection.wire.write(messageBytes(connection, flight), connection.wrote);
  }

  function onWrote(connection: Connection, error?: Error | null): void {
    connection.writing = false;
    if (!draining.delete(connection) || connection.closed) return;
    if (error === null || error === undefined) release(connection, performance.now());
    else destroy(connection);
  }

  function onData(connection: Connection, bytes: Buffer): void {
    const { flight, response } = connection;
    if (flight === undefined || connection.opening !== undefined) {
      // Nobody asked: bytes on an idle connection would be taken for the next answer.
      forget(connection);
      return destroy(connection);
    }
    if (flight.step !== "answer" && flight.step !== "body") {
      const said = quote(bytes.toString("latin1", 0, 100));
      return failFlight(flight, "protocol", `spoke before it was asked: ${said}`);
    }
    readResponse(response, bytes);
    if (response.phase === "done") return answer(connection, flight);
    if (response.phase === "failed") return failFlight(flight, "protocol", response.mistake);
    if (response.phase === "body" && flight.step !== "body") {
      flight.step = "body";
      flight.deadline_ms = performance.now() + BODY_MS;
    }
  }

  function onEnd(connection: Connection): void {
    // During a handshake the error that follows says more.
    if (connection.opening === undefined) onLost(connection);
  }

  function onLost(connection: Connection): void {
    if (connection.opening !== undefined) return endOpening(connection, openingFailure(connection));
    const { flight, response } = connection;
    if (!connection.closed) {
      forget(connection);
      const now_ms = performance.now();
      const unannounced = flight === undefined
        ? now_ms - connection.idle_since_ms < AT_ONCE_MS
        : connection.sent > 1 && !response.started;
      if (unannounced) connection.route.closes_until_ms = now_ms + CLOSES_FOR_MS;
    }
    destroy(connection);
    if (flight === undefined) return;
    endResponse(response, connection.last_error === undefined);
    if (response.phase === "done") return answer(connection, flight);
    const cause = lostCause(connection);
    const by_tls = connection.route.https && connection.sent <= 1 && !response.started &&
      isTlsError(connection.last_error);
    failFlight(flight, by_tls ? "tls" : "connection", cause);
  }

  function answer(connection: Connection, flight: Flight): void {
    const { response } = connection;
    const now_ms = performance.now();
    connection.flight = undefined;
    if (!response.reusable || connection.closed) {
      destroy(connection);
    } else if (connection.writing) {
      connection.idle_until_ms = now_ms + BODY_MS;
      draining.add(connection);
    } else {
      release(connection, now_ms);
    }
    const { status, head, truncated, retry_after } = response;
    const { address } = connection;
    const duration_ms = now_ms - flight.started_ms;
    const body = takeBody(response);
    settle(
      flight,
      retry_after === undefined
        ? { answered: true, status, head, body, truncated, address, duration_ms }
        : { answered: true, status, head, retry_after, body, truncated, address, duration_ms },
    );
  }

  // ---- Ending

  function failFlight(flight: Flight, reason: FailureReason, cause: string): void {
    if (flight.settled) return;
    const { connection, address } = flight;
    if (connection !== undefined) {
      connection.flight = undefined;
      destroy(connection);
    }
    settle(flight, {
      answered: false,
      reason,
      cause: cause.slice(0, MAX_CAUSE_CHARS),
      address,
      duration_ms: performance.now() - flight.started_ms,
    });
  }

  function settle(flight: Flight, exchange: Exchange): void {
    flight.settled = true;
    flight.diagnosis?.stop.abort();
    flights.delete(flight);
    flight.resolve(exchange);
  }

  /** Gives what there is of an answer whose head is there, else ends the flight. */
  function endEarly(flight: Flight, reason: FailureReason, cause: string): void {
    const { connection } = flight;
    if (flight.step !== "body" || connection === undefined) {
      return failFlight(flight, reason, cause);
    }
    endResponse(connection.response, false);
    answer(connection, flight);
  }

  function interrupt(flight: Flight): void {
    endEarly(flight, "interrupted", closed ? "the client was closed" : "stopped at once");
  }

  // ---- Time: one timer for everything

  function startTicking(): void {
    if (ticker !== undefined) return;
    ticked_ms = performance.now();
    ticker = setInterval(tick, TICK_MS);
  }

  function tick(): void {
    const now_ms = performance.now();
    // A process that was held up looks at its sockets first: the answer may be waiting there.
    const late = now_ms - ticked_ms > 4 * TICK_MS && !was_late;
    was_late = late;
    ticked_ms = now_ms;
    for (const flight of flights) {
      if (flight.request.signal?.aborted) interrupt(flight);
      else if (late) continue;
      else if (now_ms >= flight.deadline_ms) expire(flight);
      else if (now_ms >= flight.connect_until_ms) tryNextAddress(flight);
    }
    for (const [key, waiting] of idle) {
      const fresh = waiting.filter((connection) => now_ms < connection.idle_until_ms);
      if (fresh.length === waiting.length && fresh.length > 0) continue;
      for (const connection of waiting) if (!fresh.includes(connection)) destroy(connection);
      idle_count -= waiting.length - fresh.length;
      if (fresh.length > 0) idle.set(key, fresh);
      else idle.delete(key);
    }
    for (const connection of draining) {
      if (now_ms >= connection.idle_until_ms) destroy(connection);
    }
    if (flights.size === 0 && idle.size === 0 && draining.size === 0) stopTicking();
  }

  function stopTicking(): void {
    clearInterval(ticker);
    ticker = undefined;
  }

  function expire(flight: Flight): void {
    if (flight.diagnosis !== undefined) return failFlight(flight, "tls", flight.diagnosis.cause);
    const within = `within ${flight.request.timeout_ms} ms`;
    const place = flight.address;
    endEarly(
      flight,
      "timeout",
      {
        dns: `no answer from DNS for ${flight.route.host} ${within}`,
        connect: `no connection to ${place} ${within}`,
        tls: `no end of the TLS handshake with ${place} ${within}`,
        answer: `no response from ${place} ${within}`,
        body: "",
      }[flight.step],
    );
  }

  function tryNextAddress(flight: Flight): void {
    flight.connect_until_ms = Infinity;
    const { connection } = flight;
    if (connection?.opening === undefined) return;
    const cause = `ETIMEDOUT ${connection.address}`;
    endOpening(connection, { step: "connect", cause, code: "ETIMEDOUT" });
  }

  function close(): void {
    closed = true;
    for (const flight of flights) interrupt(flight);
    for (const connection of connections) destroy(connection);
    idle.clear();
    idle_count = 0;
    stopTicking();
  }

  return {
    post,
    close,
    get open_connections() {
      return connections.size;
    },
  };
}

/** Code of a failed handshake that tells nothing: also what expired certificates get. */
const VAGUE_CODE = "UNABLE_TO_VERIFY_LEAF_SIGNATURE";

function makeRoute(target: Target): Route {
  const { url, tls = {}, pool_key = "" } = target;
  return {
    key: JSON.stringify([pool_key, url.origin, tls.ca, tls.cert, tls.key]),
    https: url.protocol === "https:",
    host: url.hostname.replace(/\.$/, ""),
    // A localhost name is resolved like any other: it may mean ::1 here.
    literal: /^[[\d]/.test(url.hostname) ? literalAddress(url.hostname) : undefined,
    port: portOf(url),
    start: `POST ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\n`,
    tls,
    closes_until_ms: 0,
  };
}

const NO_WIRE: Wire = { write: () => {}, destroy: () => {} };
const NO_MESSAGE = Buffer.alloc(0);

/**
 * Whether node:net and node:tls fall short, as in Deno 2.6: a connection that is destroyed during its
 * TLS handshake is never let go, and a socket cannot read into memory of ours.
 */
const OLD_SOCKETS = /^2\.[0-8]\./.test(Deno.version.deno);

/** What is read goes here, whatever the connection: memory of its own for each read costs more. */
const read_into = Buffer.allocUnsafeSlow(READ_BYTES);

/**
 * Whether a target's TLS is Deno's own: where node's leaks, and a certificate of ours, which Deno's cannot
 * show, is not asked for.
 */
export function isDenoTls({ cert }: Pick<NonNullable<Target["tls"]>, "cert">): boolean {
  return OLD_SOCKETS && cert === undefined;
}

function openWire(
  route: Route,
  ip: string,
  source_address: string | undefined,
  events: WireEvents,
): Wire {
  return route.https && isDenoTls(route.tls)
    ? denoTlsWire(route, ip, events)
    : nodeWire(route, ip, source_address, events);
}

function nodeWire(
  route: Route,
  ip: string,
  source_address: string | undefined,
  events: WireEvents,
): Wire {
  const place = {
    host: ip,
    port: route.port,
    ...(source_address === undefined ? {} : { localAddress: source_address }),
  };
  let socket: Socket;
  if (route.https) {
    const secure = connectTls({
      ...place,
      ...route.tls,
      minVersion: "TLSv1.2",
      rejectUnauthorized: true,
      // Without a name the certificate is checked for the address.
      ...(route.literal === undefined ? { servername: route.host } : {}),
    });
    secure.on("secureConnect", () => {
      // Deno 2.6 says this when a handshake failed, too; then there is no certificate.
      if (secure.authorized && secure.getPeerCertificate()?.valid_to) events.secured();
      else secure.destroy(Object.assign(new Error("TLS handshake failed"), { code: VAGUE_CODE }));
    });
    socket = secure;
  } else {
    const callback = (length: number) => {
      events.data(read_into.subarray(0, length));
      return true;
    };
    const onread = { buffer: read_into, callback };
    socket = connectPlain(OLD_SOCKETS ? place : { ...place, onread });
  }
  if (route.https || OLD_SOCKETS) socket.on("data", events.data);
  socket.on("connect", () => {
    socket.setNoDelay(true);
    events.connected(socket.remoteAddress, socket.localAddress);
  });
  socket.on("end", events.ended);
  socket.on("error", events.lost);
  socket.on("close", events.closed);
  return {
    write: (bytes, wrote) => void socket.write(bytes, wrote),
    destroy: () => void socket.destroy(),
  };
}

function denoTlsWire(route: Route, ip: string, events: WireEvents): Wire {
  const stop = new AbortController();
  let conn: Deno.TlsConn | undefined;
  let destroyed = false;
  const run = async () => {
    try {
      conn = await shakeHands(route, ip, stop.signal, events.connected);
      events.secured();
      const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
      while (!destroyed) {
        const length = await conn.read(buffer);
        if (length === null) return events.ended();
        events.data(buffer.subarray(0, length));
      }
    } catch (error) {
      if (!destroyed) events.lost(error instanceof Error ? error : new Error(String(error)));
    } finally {
      hangUp(conn);
      events.closed();
    }
  };
  const write = async (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length && conn !== undefined;) {
      at += await conn.write(bytes.subarray(at));
    }
  };
  run();
  return {
    // A failure to write is left to the reading side: an answer may be waiting there.
    write: (bytes, wrote) => void write(bytes).then(() => wrote(), wrote),
    destroy: () => {
      if (destroyed) return;
      destroyed = true;
      stop.abort();
      hangUp(conn);
    },
  };
}

/** A TLS connection to the address, shaken hands on. Rejects and leaves nothing open on `stop`. */
async function shakeHands(
  route: Route,
  ip: string,
  stop: AbortSignal,
  connected: WireEvents["connected"],
): Promise<Deno.TlsConn> {
  let conn: Deno.Conn | undefined;
  const onStop = () => hangUp(conn);
  stop.addEventListener("abort", onStop);
  try {
    const plain = await Deno.connect({ hostname: ip, port: route.port, signal: stop });
    conn = plain;
    plain.setNoDelay(true);
    connected(plain.remoteAddr.hostname, plain.localAddr.hostname);
    stop.throwIfAborted();
    const secure = await Deno.startTls(plain, {
      hostname: route.literal ?? route.host,
      ...(route.tls.ca === undefined ? {} : { caCerts: [route.tls.ca] }),
    });
    conn = secure;
    stop.throwIfAborted();
    await secure.handshake();
    return secure;
  } catch (error) {
    hangUp(conn);
    throw error;
  } finally {
    stop.removeEventListener("abort", onStop);
  }
}

/**
 * Head and body in one piece, so that it is one write and, where small, one packet. In the memory of the
 * connection, which carries one message at a time.
 */
function messageBytes(connection: Connection, { route, request }: Flight): Buffer {
  const { headers, body } = request;
  const bytes = borrowUtf8(body);
  const head = `${route.start}${headers}Content-Length: ${bytes.length}\r\n\r\n`;
  // As UTF-8, never as Latin-1: that would turn some characters into line breaks.
  const room = head.length * 3 + bytes.length;
  let { message } = connection;
  if (message.length < room) {
    message = Buffer.allocUnsafeSlow(Math.max(room, KEPT_MESSAGE_BYTES / 2));
    if (room <= KEPT_MESSAGE_BYTES) connection.message = message;
  }
  const { written } = ENCODER.encodeInto(head, message);
  message.set(bytes, written);
  return message.subarray(0, written + bytes.length);
}

const ENCODER = new TextEncoder();

/** Why the route must not lead to the address, or undefined where it may. */
function refusal(ip: string, route: Route, rules: AddressRules): string | undefined {
  const verdict = classifyEndpointAddress(ip, route.port, rules);
  if (!verdict.allowed) return verdict.rule;
  return route.https || verdict.scope !== "public" ? undefined : "plain http to a public address";
}

function sameAddress(a: string, b: string): boolean {
  return a === b || canonical(a) === canonical(b);
}

/** One spelling for each address, IPv4-mapped ones folded. */
function canonical(ip: string): string {
  const host = URL.parse(`http://${hostPort(ip, 80)}`)?.hostname ?? ip;
  // ::ffff:127.0.0.1 as `URL` spells it.
  const [, high, low] = /^\[::ffff:([\da-f]+):([\da-f]+)\]$/.exec(host) ?? [];
  if (high === undefined || low === undefined) return host;
  return URL.parse(`http://${parseInt(high, 16) * 65_536 + parseInt(low, 16)}`)?.hostname ?? ip;
}

function openingFailure(connection: Connection): Exclude<Opened, "open"> {
  const { last_error: error, address, flight } = connection;
  const code = codeOf(error);
  if (flight?.step !== "tls") {
    return { step: "connect", cause: `${code || messageOf(error)} ${address}`, code };
  }
  const cause = error === undefined
    ? "closed during the TLS handshake"
    : `${code} ${nameTlsTrouble(error.message)}`.trim();
  return { step: "tls", cause, code };
}

function lostCause(connection: Connection): string {
  const { last_error: error, response, address } = connection;
  const reused = connection.sent > 1 ? " on a reused connection" : "";
  const code = codeOf(error);
  if (isTlsError(error)) return `${code} ${messageOf(error)}`.trim();
  const when = response.started ? "closed within the response's head" : "closed before an answer";
  return error === undefined
    ? when + reused
    : `${when}${reused}: ${code || messageOf(error)} ${address}`;
}

/** An alert that comes behind the handshake, as for a client certificate that is missing. */
function isTlsError(error: unknown): boolean {
  return /^ERR_(SSL|TLS)_/.test(codeOf(error)) || error instanceof Deno.errors.InvalidData;
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error) || !("code" in error)) return "";
  return typeof error.code === "string" ? error.code : "";
}

/** Shares one lookup among all who ask for the same name at the same time. */
function coalesce(
  lookup: (host: string) => Promise<readonly string[]>,
): (host: string) => Promise<readonly string[]> {
  const under_way = new Map<string, Promise<readonly string[]>>();
  return (host) => {
    let answer = under_way.get(host);
    if (answer === undefined) {
      answer = lookup(host).finally(() => under_way.delete(host));
      under_way.set(host, answer);
    }
    return answer;
  };
}

function lookupAll(host: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    systemLookup(host, { all: true }, (error, addresses) => {
      if (error !== null && error !== undefined) reject(error);
      else resolve(addresses.map(({ address }) => address));
    });
  });
}

/**
 * Why a handshake of node:tls failed: what Deno's own TLS says of it. Sends nothing and hangs up.
 * Undefined where that cannot be found out before `stop`.
 */
async function diagnoseTls(
  route: Route,
  ip: string,
  stop: AbortSignal,
): Promise<string | undefined> {
  try {
    hangUp(await shakeHands(route, ip, stop, () => {}));
    return undefined;
  } catch (error) {
    return isTlsError(error) ? nameTlsTrouble(messageOf(error)) : undefined;
  }
}

function hangUp(conn: Deno.Conn | undefined): void {
  try {
    conn?.close();
  } catch { /* closed already */ }
}

/** The words of rustls, its times as dates. */
function nameTlsTrouble(message: string): string {
  const found = /certificate (expired|not valid yet).* not valid (?:after|before) (\d+)/.exec(
    message,
  );
  if (found === null) return quote(message).slice(1, -1);
  const at = new Date(Number(found[2]) * 1000).toISOString().replace(".000Z", "Z");
  return found[1] === "expired"
    ? `certificate expired ${at}`
    : `certificate not valid before ${at}`;
}
