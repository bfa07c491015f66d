import type { Config, EndpointConfig } from "../config/config.ts";
import { makeMatcher, type Matcher } from "../core/matching.ts";
import { makeSigner, type Signer } from "../core/signature.ts";
import type { FileEndpoint, StoredEndpoint, StoredFleet } from "../store/endpoints.ts";
import type { Target } from "./http_client.ts";
import { USER_AGENT } from "../core/version.ts";

/** An endpoint as the engine uses it. */
export interface Endpoint {
  readonly no: number;
  readonly id: string;
  readonly version: number;
  readonly events: readonly string[];
  readonly businesses: readonly string[] | null;
  readonly paused: boolean;
  /** Whether this process knows how to send to it: its own file names the endpoint's secret. */
  readonly sendable: boolean;
  readonly target: Target;
  readonly timeout_ms: number;
  readonly retry_ms: readonly number[];
  /** Attempts under way at once, or null for the dispatcher's own bound. */
  readonly concurrency: number | null;
  readonly rate_limit_per_s: number | null;
  /** The first one signs `X-BookMe-Signature`, all of them `webhook-signature`. */
  readonly signers: readonly Signer[];
  /** Header lines that are the same in each request. */
  readonly headers: string;
}

/** The endpoints in force, as of one revision. */
export interface Fleet {
  readonly revision: string;
  readonly endpoints: ReadonlyMap<number, Endpoint>;
  /** The endpoints that an event is owed to, paused ones included: theirs wait. */
  readonly match: Matcher<Endpoint>;
  /** The longest timeout, in milliseconds. */
  readonly max_timeout_ms: number;
}

/** What the database stores of an endpoint of the file. */
export function toStored(endpoint: EndpointConfig): FileEndpoint {
  return {
    id: endpoint.id,
    url: endpoint.url,
    events: endpoint.events,
    businesses: endpoint.businesses,
    settings: {
      timeout_ms: endpoint.timeout_ms,
      retry_ms: endpoint.retry_ms,
      concurrency: endpoint.concurrency,
      rate_limit_per_s: endpoint.rate_limit_per_s,
      unsigned: endpoint.unsigned,
      description: endpoint.description ?? null,
      headers: Object.keys(endpoint.headers),
    },
  };
}

/** Puts what is stored together with what only the configuration knows: secrets, header values. */
export function makeFleet(stored: StoredFleet, config: Config): Fleet {
  const known = new Map(config.endpoints.map((endpoint) => [endpoint.id, endpoint]));
  const endpoints = stored.endpoints.map((endpoint) =>
    makeEndpoint(endpoint, known.get(endpoint.id))
  );
  return {
    revision: stored.revision,
    endpoints: new Map(endpoints.map((endpoint) => [endpoint.no, endpoint])),
    match: makeMatcher(endpoints),
    max_timeout_ms: Math.max(
      config.delivery.timeout_ms,
      ...endpoints.map((endpoint) => endpoint.timeout_ms),
    ),
  };
}

function makeEndpoint(stored: StoredEndpoint, local: EndpointConfig | undefined): Endpoint {
  const { settings } = stored;
  return {
    no: stored.no,
    id: stored.id,
    version: stored.version,
    events: stored.events,
    businesses: stored.businesses,
    paused: stored.paused_at !== null,
    sendable: local !== undefined,
    target: makeTarget(stored, local),
    timeout_ms: settings.timeout_ms,
    retry_ms: settings.retry_ms,
    concurrency: settings.concurrency,
    rate_limit_per_s: settings.rate_limit_per_s,
    signers: local?.secret == null ? [] : [makeSigner(local.secret.reveal())],
    headers: `Content-Type: application/json\r\nUser-Agent: ${USER_AGENT}\r\n` +
      Object.entries(local?.headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`).join(""),
  };
}

function makeTarget(stored: StoredEndpoint, local: EndpointConfig | undefined): Target {
  const url = new URL(stored.url);
  const tls = local?.tls;
  if (tls == null) return { url };
  return {
    url,
    tls: {
      ...(tls.ca === undefined ? {} : { ca: tls.ca }),
      ...(tls.cert === undefined ? {} : { cert: tls.cert }),
      ...(tls.key === undefined ? {} : { key: tls.key.reveal() }),
    },
  };
}
