import type { Buffer } from "node:buffer";
import type { AddressRules } from "../core/address.ts";
import { type Bagged, makeBag } from "../core/bag.ts";
import { messageOf } from "../core/errors.ts";
import { type AddressOptions, makeVetter, sameAddress } from "./addresses.ts";
import type { Exchanges } from "./exchange.ts";
import {
  enterPhase,
  failFlight,
  type FailureReason,
  type Flight,
  type Phase,
  type Route,
  STOPPED,
} from "./flight.ts";
import { type Connection, newConnection, type Pool } from "./pool.ts";
import { MAX_RECEIVED_BYTES, quote } from "./response_parser.ts";
import { diagnoseTls, handshakeCause, isVague } from "./tls_failure.ts";
import { codeOf, openWire, type WireEvents } from "./wire.ts";

/** How connections are opened. */
export interface ConnectOptions extends AddressOptions {
  /** How to open a wire (default: over node:net and node:tls). */
  readonly open_wire?: typeof openWire;
}

/** Opens connections for flights that found none idle. */
export interface Connector {
  /** Sends the flight's request on a new connection, or fails the flight. */
  open(flight: Flight): void;
  /** Ends searches that were aborted or are over time by `due_ms`; leaves addresses that are too slow. */
  tick(due_ms: number): void;
  interruptAll(cause: string): void;
  /** Searches under way. */
  readonly size: number;
}

/** A flight's search for a connection: DNS, then one address after the other. */
interface Search extends Bagged {
  /** Undefined once the search is over: a connection outlives it, and must not hold the request. */
  flight: Flight | undefined;
  /** Allowed by `rules`; the first `tried` of them were dialed. */
  addresses: readonly string[];
  rules: AddressRules | undefined;
  tried: number;
  /** Why earlier addresses failed. */
  readonly causes: string[];
  /** The last one dialed. */
  connection: Connection | undefined;
  /** `tls` from the start of a handshake: if that fails, no other address is tried. */
  step: "connect" | "tls";
  /** When the present address gives way to the next. */
  next_at_ms: number;
  /** While a failed handshake is examined: the cause known so far, and how to stop. */
  diagnosis: { readonly cause: string; readonly stop: AbortController } | undefined;
}

/** Why a search fails, and what the receiver sent. */
type Failure = [reason: FailureReason, cause: string, received?: Uint8Array];

/** Longest look at why a TLS handshake failed. */
const DIAGNOSIS_MS = 2000;

/** A connector whose connections are the pool's. */
export function makeConnector(
  options: ConnectOptions,
  pool: Pool,
  exchanges: Exchanges,
): Connector {
  const { source_address, open_wire = openWire } = options;
  const vet = makeVetter(options);
  const searches = makeBag<Search>();

  function open(flight: Flight): void {
    const search = newSearch(flight);
    searches.add(search);
    start(search, flight.route).catch((error) => fail(search, "connection", messageOf(error)));
  }

  async function start(search: Search, route: Route): Promise<void> {
    const vetted = await vet(route, () => begin(search, "dns_ms"));
    if ("cause" in vetted) return fail(search, vetted.reason, vetted.cause);
    search.addresses = vetted.addresses;
    search.rules = vetted.rules;
    begin(search, "connect_ms");
    dialNext(search);
  }

  function dialNext(search: Search): void {
    const { flight, addresses, tried } = search;
    if (flight === undefined) return;
    const ip = addresses[tried];
    if (ip === undefined) return fail(search, "connection", search.causes.join(", "));
    const now_ms = performance.now();
    // Each address gets its share of the time: one that swallows packets must not use it all.
    search.next_at_ms = now_ms + (flight.deadline_ms - now_ms) / (addresses.length - tried);
    search.tried++;
    const connection = search.connection = newConnection(flight.route, ip, search.rules);
    try {
      connection.wire = open_wire(flight.route, ip, source_address, eventsOf(search, connection));
      pool.move(connection, "opening");
    } catch (error) { // thrown by node:tls for a certificate or key that it cannot read
      fail(search, "tls", messageOf(error));
    }
  }

  /** Events go to the search while the connection is opening, to the exchanges from then on. */
  function eventsOf(search: Search, connection: Connection): WireEvents {
    const onLost = () => {
      if (isOpening(connection)) giveUp(search, connection, openingCause(search, connection));
      else exchanges.lost(connection);
    };
    return {
      connected: (peer) => onConnected(search, connection, peer),
      secured: (ends_at) => succeed(search, connection, ends_at),
      written: (error) => exchanges.written(connection, error),
      data: (bytes) => {
        if (!isOpening(connection)) return exchanges.data(connection, bytes);
        fail(search, ...spokenEarly(bytes));
      },
      ended: () => {
        // During a handshake the error that follows says more.
        if (!isOpening(connection)) exchanges.lost(connection);
      },
      lost: (error) => {
        connection.last_error = error;
        onLost();
      },
      closed: () => {
        onLost();
        pool.move(connection, "closed");
      },
    };
  }

  function onConnected(search: Search, connection: Connection, peer: string | undefined): void {
    if (!isOpening(connection)) return;
    const { route: { https }, ip, address } = connection;
    if (https) {
      search.step = "tls";
      begin(search, "tls_ms");
    }
    if (peer === undefined) {
      giveUp(search, connection, `closed as soon as it was open ${address}`);
    } else if (!sameAddress(peer, ip)) {
      giveUp(search, connection, `connected to ${peer} instead of ${ip}`);
    } else {
      search.next_at_ms = Infinity;
      if (!https) succeed(search, connection, null);
    }
  }

  function giveUp(search: Search, connection: Connection, cause: string): void {
    pool.close(connection);
    if (search.step === "tls") return void failTls(search, connection, cause);
    search.causes.push(cause);
    dialNext(search);
  }

  /** Fails after a handshake, and first examines why if node:tls does not say. */
  async function failTls(search: Search, connection: Connection, cause: string): Promise<void> {
    // From another source address a second handshake may find something else.
    const is_clear = source_address !== undefined || !isVague(connection.last_error);
    fail(search, "tls", is_clear ? cause : await diagnose(search, connection, cause));
  }

  function succeed(search: Search, connection: Connection, ends_at: number | null): void {
    if (!isOpening(connection)) return;
    const { flight } = search;
    end(search);
    if (flight === undefined) return;
    flight.certificate_ends_at = ends_at;
    exchanges.send(connection, flight, performance.now());
  }

  function fail(search: Search, ...[reason, cause, received]: Failure): void {
    const { flight, connection } = search;
    if (flight === undefined) return;
    end(search);
    if (connection !== undefined) pool.close(connection);
    failFlight(flight, reason, cause, connection?.address ?? null, received);
  }

  function end(search: Search): void {
    searches.delete(search);
    search.flight = undefined;
    search.diagnosis?.stop.abort();
  }

  function tick(due_ms: number): void {
    for (const search of searches) {
      const { flight, connection } = search;
      if (flight === undefined) continue;
      if (flight.request.signal?.aborted) fail(search, "interrupted", STOPPED);
      else if (due_ms >= flight.deadline_ms) fail(search, ...expiry(search, flight));
      else if (connection !== undefined && due_ms >= search.next_at_ms) {
        giveUp(search, connection, `ETIMEDOUT ${connection.address}`);
      }
    }
  }

  return {
    open,
    tick,
    interruptAll(cause) {
      for (const search of searches) fail(search, "interrupted", cause);
    },
    get size() {
      return searches.size;
    },
  };
}

function newSearch(flight: Flight): Search {
  return {
    place: -1,
    flight,
    addresses: [],
    rules: undefined,
    tried: 0,
    causes: [],
    connection: undefined,
    step: "connect",
    next_at_ms: Infinity,
    diagnosis: undefined,
  };
}

function begin({ flight }: Search, phase: Phase): void {
  if (flight === undefined) return;
  if (phase === "connect_ms") flight.phases.reused = false;
  // The first begins with the flight, so that nothing is missing between them.
  enterPhase(flight, phase, flight.phase === undefined ? flight.started_ms : performance.now());
}

/**
 * The cause of a failed handshake, found by another one, which ends with the search; else `known`. The
 * time of the examination counts as no phase.
 */
async function diagnose(search: Search, { route, ip }: Connection, known: string): Promise<string> {
  const { flight } = search;
  if (flight === undefined) return known;
  const stop = new AbortController();
  search.diagnosis = { cause: known, stop };
  const now_ms = performance.now();
  flight.deadline_ms = Math.min(flight.deadline_ms, now_ms + DIAGNOSIS_MS);
  enterPhase(flight, undefined, now_ms);
  const found = await diagnoseTls(route, ip, stop.signal);
  flight.certificate_ends_at = found?.expired_at ?? null;
  return found?.cause ?? known;
}

/** The failure of a receiver that speaks first. */
function spokenEarly(bytes: Buffer): Failure {
  const said = quote(bytes.toString("latin1", 0, 100));
  const received = new Uint8Array(bytes.subarray(0, MAX_RECEIVED_BYTES));
  return ["protocol", `spoke before it was asked: ${said}`, received];
}

function isOpening({ state }: Connection): boolean {
  return state === "opening";
}

/** Reason and cause of a search whose time is up. */
function expiry(search: Search, { route, request }: Flight): [FailureReason, string] {
  const { connection, step, diagnosis } = search;
  if (diagnosis !== undefined) return ["tls", diagnosis.cause];
  const missing = connection === undefined
    ? `answer from DNS for ${route.host}`
    : step === "tls"
    ? `end of the TLS handshake with ${connection.address}`
    : `connection to ${connection.address}`;
  return ["timeout", `no ${missing} within ${request.timeout_ms} ms`];
}

function openingCause({ step }: Search, { last_error, address }: Connection): string {
  return step === "tls"
    ? handshakeCause(last_error)
    : `${codeOf(last_error) || messageOf(last_error)} ${address}`;
}
