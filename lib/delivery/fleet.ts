import { isDeepStrictEqual } from "node:util";
import type { Config, EndpointConfig } from "../config/config.ts";
import { credentialsOf, type SharedFile } from "../config/shared.ts";
import { messageOf } from "../core/errors.ts";
import { makeMatcher, type Matcher } from "../core/matching.ts";
import type { Timed } from "../core/rotation.ts";
import type { SealKey } from "../core/seal.ts";
import { makeSigner, type Signer } from "../core/signature.ts";
import { showTls, type TlsTexts } from "../core/tls_settings.ts";
import {
  type EndpointFields,
  type FilePolicy,
  openSealed,
  type StoredEndpoint,
  type StoredFile,
  type StoredFleet,
} from "../store/endpoints.ts";
import { makeTarget, type Target } from "../http/flight.ts";
import { USER_AGENT } from "../core/version.ts";

/** A signer, and when it signs. */
export type TimedSigner = Signer & Timed;

/** An endpoint as the engine uses it. */
export interface Endpoint {
  readonly no: number;
  readonly id: string;
  readonly version: number;
  readonly events: readonly string[];
  readonly businesses: readonly string[] | null;
  readonly paused: boolean;
  /** Whether its pause is an automatic one, which a delivered probe ends. */
  readonly probed: boolean;
  /** When a pause of it ended last, in milliseconds since 1970, or null. */
  readonly resumed_ms: number | null;
  /** Whether this process knows how to send to it, that is, has the endpoint's secrets. */
  readonly sendable: boolean;
  /** Why not, in words; null where it does. */
  readonly unsendable_reason: string | null;
  readonly target: Target;
  readonly timeout_ms: number;
  readonly retry_ms: readonly number[];
  /** Attempts under way at once, or null for the dispatcher's own bound. */
  readonly concurrency: number | null;
  readonly rate_limit_per_s: number | null;
  /** All that may sign: `signingAt` says which of them do at a time, and how. */
  readonly signers: readonly TimedSigner[];
  /** Header lines that are the same in each request. */
  readonly headers: string;
  /** Whether requests carry the `traceparent` of their attempt. */
  readonly traceparent: boolean;
}

/** The endpoints in force, as of one revision. */
export interface Fleet {
  readonly revision: string;
  /** Of the file in force, which may be another daemon's. */
  readonly policy: FilePolicy;
  readonly endpoints: ReadonlyMap<number, Endpoint>;
  /** The endpoints that an event is owed to, paused ones included: theirs wait. */
  readonly match: Matcher<Endpoint>;
  /** The longest timeout, in milliseconds. */
  readonly max_timeout_ms: number;
}

/** What the database stores of an endpoint of the file. */
export function toStored(endpoint: EndpointConfig): EndpointFields {
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
      traceparent: endpoint.traceparent,
      tls: endpoint.tls === null ? null : showTls({ ca: endpoint.tls.ca, cert: endpoint.tls.cert }),
    },
  };
}

/** What the database stores of a configuration file whose digests are `shared`. */
export function fileOf(config: Config, shared: SharedFile): StoredFile {
  return {
    digest: shared.digest,
    policy: policyOf(config),
    endpoints: config.endpoints.map((endpoint) => ({
      ...toStored(endpoint),
      credentials: credentialsOf(shared, endpoint.id) ?? null,
    })),
  };
}

function policyOf({ delivery: { timeout_ms, retry_ms }, retention, alerts }: Config): FilePolicy {
  const { failure_rate, window_ms, min_attempts, to, chat, mail, auto_pause_ms } = alerts;
  return {
    timeout_ms,
    retry_ms,
    retention,
    alerts: {
      failure_rate,
      window_ms,
      min_attempts,
      to,
      chat: chat.map(({ name }) => name),
      mail: mail !== null,
      auto_pause_ms,
    },
  };
}

/** What of an endpoint only this process knows, or why it does not. */
type Local =
  | {
    readonly secrets: readonly (Timed & { readonly secret: string })[];
    readonly headers: Readonly<Record<string, string>>;
    readonly tls: TlsTexts;
  }
  | { readonly unsendable_reason: string };

/**
 * Puts what is stored together with what is not: secrets and header values come from the
 * configuration, whose digests are `shared`, or are unsealed with `keys`. Targets that are the same in
 * the `previous` fleet are taken from it, for the sake of their open connections.
 */
export function makeFleet(
  stored: StoredFleet,
  config: Config,
  shared: SharedFile,
  keys: readonly SealKey[] = [],
  previous?: Fleet,
): Fleet {
  const file = new Map(config.endpoints.map((endpoint) => [endpoint.id, endpoint]));
  const policy = stored.policy ?? policyOf(config);
  const endpoints = stored.endpoints.map((endpoint) =>
    makeEndpoint(
      endpoint,
      endpoint.source === "file"
        ? localOfFile(endpoint, file.get(endpoint.id), credentialsOf(shared, endpoint.id))
        : localOfApi(endpoint, keys),
      policy,
      previous?.endpoints.get(endpoint.no)?.target,
    )
  );
  return {
    revision: stored.revision,
    policy,
    endpoints: new Map(endpoints.map((endpoint) => [endpoint.no, endpoint])),
    match: makeMatcher(endpoints),
    max_timeout_ms: Math.max(
      policy.timeout_ms,
      ...endpoints.map((endpoint) => endpoint.timeout_ms),
    ),
  };
}

function localOfFile(
  stored: StoredEndpoint,
  endpoint: EndpointConfig | undefined,
  credentials: string | undefined,
): Local {
  if (endpoint === undefined) {
    return {
      unsendable_reason: "The configuration file of this daemon does not name the endpoint",
    };
  }
  // Never a wrong signature: the receiver knows the secret of the file in force.
  if (credentials !== stored.credentials) {
    return {
      unsendable_reason:
        "The configuration file of this daemon has another secret, header value or " +
        "TLS key for the endpoint than the file in force",
    };
  }
  const { headers, tls } = endpoint;
  // In the order of the list: the first became active last, and the file decides when the other ends.
  const secrets = endpoint.secret.map((secret, index) => ({
    secret: secret.reveal(),
    activates_at: -index,
    expires_at: null,
  }));
  return { secrets, headers, tls: { ...tls, key: tls?.key?.reveal() } };
}

function localOfApi(endpoint: StoredEndpoint, keys: readonly SealKey[]): Local {
  try {
    const { secrets, headers, tls } = openSealed(endpoint, keys);
    // Never unsigned by accident.
    return secrets.length === 0 && !endpoint.settings.unsigned
      ? { unsendable_reason: "The endpoint has no secret; rotate makes one" }
      : { secrets, headers, tls };
  } catch (error) {
    return { unsendable_reason: messageOf(error) };
  }
}

function makeEndpoint(
  stored: StoredEndpoint,
  local: Local,
  policy: FilePolicy,
  previous: Target | undefined,
): Endpoint {
  const { settings } = stored;
  const known = "unsendable_reason" in local ? undefined : local;
  return {
    no: stored.no,
    id: stored.id,
    version: stored.version,
    events: stored.events,
    businesses: stored.businesses,
    paused: stored.paused_at !== null,
    probed: stored.paused_by === "automatic",
    resumed_ms: stored.resumed_at?.getTime() ?? null,
    sendable: known !== undefined,
    unsendable_reason: "unsendable_reason" in local ? local.unsendable_reason : null,
    target: keepSame(previous, makeTarget(stored.url, known?.tls, stored.owner)),
    timeout_ms: settings.timeout_ms ?? policy.timeout_ms,
    retry_ms: settings.retry_ms ?? policy.retry_ms,
    concurrency: settings.concurrency,
    rate_limit_per_s: settings.rate_limit_per_s,
    signers: (known?.secrets ?? []).map(({ secret, activates_at, expires_at }) => ({
      ...makeSigner(secret),
      activates_at,
      expires_at,
    })),
    headers: `Content-Type: application/json\r\nUser-Agent: ${USER_AGENT}\r\n` +
      Object.entries(known?.headers ?? {})
        .map(([name, value]) => `${name}: ${value}\r\n`).join(""),
    traceparent: settings.traceparent,
  };
}

/** The present target if it equals the next one, else the next one. */
function keepSame(present: Target | undefined, next: Target): Target {
  return isDeepStrictEqual(present, next) ? present ?? next : next;
}
