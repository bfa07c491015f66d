import { literalAddress, portOf } from "../core/address.ts";
import { NO_PHASES, type Phases } from "../core/outcome.ts";
import type { TlsTexts } from "../core/tls_settings.ts";

/**
 * Where requests go. Reuse the object: connections belong to it, and are never shared with another,
 * because a receiver can answer on any of them what it was not asked.
 */
export interface Target {
  readonly url: URL;
  readonly tls?: TlsIdentity;
  /** Whether it is a business's: `publicOnly` rules are in force for it. */
  readonly public_only?: true;
  /** How it is asked (default: POST). */
  readonly method?: "GET";
}

/** PEM texts. `ca` is trusted instead of the usual authorities; the client shows `cert`. */
export interface TlsIdentity {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** The target at a URL, with the TLS settings and the owner of its endpoint. */
export function makeTarget(
  url: string,
  { ca, cert, key }: TlsTexts = {},
  owner: string | null = null,
): Target {
  const tls = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
  return {
    url: new URL(url),
    ...(Object.keys(tls).length === 0 ? {} : { tls }),
    ...(owner === null ? {} : { public_only: true as const }),
  };
}

/** One request, a POST unless the target is asked by GET, as the client sends it. */
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

/** What every result of a request has. */
interface Course {
  readonly duration_ms: number;
  readonly phases: Phases;
  /** When the certificate of a new connection ends, in milliseconds since 1970, or null. */
  readonly certificate_ends_at: number | null;
}

/** The result of a request. `address` is `127.0.0.1:443` or `[::1]:443`. */
export type Exchange =
  | Course & {
    readonly answered: true;
    readonly status: number;
    /** Status line and fields, lines split by \r\n, at most 8 KiB. */
    readonly head: string;
    readonly retry_after: string | undefined;
    /** At most 64 KiB. */
    readonly body: Uint8Array;
    /** Whether `body` lacks, or may lack, bytes that were sent. */
    readonly truncated: boolean;
    readonly address: string;
  }
  | Course & {
    readonly answered: false;
    readonly reason: FailureReason;
    /** Raw cause, at most 200 characters: `ECONNREFUSED 127.0.0.1:9`. */
    readonly cause: string;
    /** The first bytes of what is no response, at most 4 KiB, if the reason is `protocol`. */
    readonly received?: Uint8Array;
    readonly address: string | null;
  };

/** Why a request got no answer. */
export type FailureReason =
  | "timeout"
  | "dns"
  | "tls"
  | "connection"
  | "protocol"
  | "blocked"
  | "interrupted";

/** A target as the client uses it, derived once. */
export interface Route {
  readonly https: boolean;
  /** The name to resolve; an address if the URL has one. */
  readonly host: string;
  /** The URL's address, if it has no name. */
  readonly literal: string | undefined;
  readonly port: number;
  /** Request line and Host field. */
  readonly start: string;
  readonly tls: TlsIdentity;
  readonly public_only: boolean;
  /**
   * The receiver was seen to close connections unannounced, or to speak unasked: none is kept before
   * this time.
   */
  closes_until_ms: number;
}

/** A phase that takes time. */
export type Phase = Exclude<keyof Phases, "reused">;

/** A request under way: a search looks for its connection, then a connection carries it. */
export interface Flight {
  readonly route: Route;
  readonly request: PostRequest;
  readonly resolve: (exchange: Exchange) => void;
  readonly started_ms: number;
  deadline_ms: number;
  /** The phase that it is in, since `phase_since_ms`. Written only by `enterPhase`. */
  phase: Phase | undefined;
  phase_since_ms: number;
  /** The phases that it has left. */
  readonly phases: { -readonly [name in keyof Phases]: Phases[name] };
  certificate_ends_at: number | null;
}

/** A flight that begins now. */
export function newFlight(
  route: Route,
  request: PostRequest,
  resolve: (exchange: Exchange) => void,
  now_ms: number,
): Flight {
  return {
    route,
    request,
    resolve,
    started_ms: now_ms,
    deadline_ms: now_ms + request.timeout_ms,
    phase: undefined,
    phase_since_ms: now_ms,
    phases: { ...NO_PHASES },
    certificate_ends_at: null,
  };
}

/** Ends the phase that a flight is in, and begins the next, if there is one. */
export function enterPhase(flight: Flight, phase: Phase | undefined, now_ms: number): void {
  if (flight.phase !== undefined) flight.phases[flight.phase] = now_ms - flight.phase_since_ms;
  flight.phase = phase;
  flight.phase_since_ms = now_ms;
}

/** The cause of a flight interrupted by its own signal. */
export const STOPPED = "stopped at once";

const MAX_CAUSE_CHARS = 200;

/** Derives a target's route. */
export function makeRoute(target: Target): Route {
  const { url, tls = {}, method = "POST" } = target;
  return {
    https: url.protocol === "https:",
    host: url.hostname.replace(/\.$/, ""),
    // A localhost name is resolved like any other: it may mean ::1 here.
    literal: /^[[\d]/.test(url.hostname) ? literalAddress(url.hostname) : undefined,
    port: portOf(url),
    start: `${method} ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\n`,
    tls,
    public_only: target.public_only === true,
    closes_until_ms: 0,
  };
}

/**
 * Resolves a flight without an answer. `address` is null if no connection was tried; `received` is of a
 * `protocol` failure.
 */
export function failFlight(
  flight: Flight,
  reason: FailureReason,
  cause: string,
  address: string | null,
  received?: Uint8Array,
): void {
  const now_ms = performance.now();
  enterPhase(flight, undefined, now_ms);
  const { phases, certificate_ends_at } = flight;
  flight.resolve({
    answered: false,
    reason,
    cause: cause.slice(0, MAX_CAUSE_CHARS),
    ...(received === undefined ? {} : { received }),
    address,
    duration_ms: now_ms - flight.started_ms,
    phases,
    certificate_ends_at,
  });
}
