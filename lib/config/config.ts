import type { AddressRules, Cidr } from "../core/address.ts";
import type { Secret } from "../core/secret.ts";

/** The configuration in force: validated, every reference resolved, deeply frozen. */
export interface Config {
  /** The file, absolute, so that it can be read again from anywhere. */
  readonly path: string;
  /** Which of `ip_ranges` is in force, and how strict the rules are. */
  readonly environment: Environment;
  readonly server: {
    /** `host` is an address without brackets, or a name; port 0 is any free one. */
    readonly listen: { readonly host: string; readonly port: number };
    readonly trusted_proxies: readonly Cidr[];
  };
  readonly database: DatabaseConfig;
  /**
   * Keys that seal the secrets of endpoints made through the API, as `parseSealKey` reads them: the
   * first one seals, all of them open. Empty: the embedded database makes one for itself.
   */
  readonly encryption_keys: readonly Secret[];
  readonly ip_ranges: Readonly<Record<Environment, readonly Cidr[]>>;
  readonly ingest: {
    /** Any of them may have signed what is posted; empty: posts are not signed. */
    readonly secrets: readonly Secret[];
    readonly max_body_bytes: number;
    /** An event with an older `timestamp` is refused; null: none is. */
    readonly max_age_ms: number | null;
  };
  readonly admin: {
    readonly tokens: readonly AdminToken[];
    /** What is shown without a token. */
    readonly public: readonly PublicPage[];
  };
  /** Those that the file adds to the documentation's eight. */
  readonly event_types: readonly EventTypeConfig[];
  /** What holds for an endpoint that says nothing else. */
  readonly delivery: {
    readonly timeout_ms: number;
    /** The wait before each attempt; its length is the number of attempts. */
    readonly retry_ms: readonly number[];
    /** Attempts under way at once, all endpoints together. */
    readonly concurrency: number;
    /** Private networks that endpoints may live in. */
    readonly allow_networks: readonly Cidr[];
    readonly source_address: string | null;
  };
  readonly retention: { readonly events_ms: number; readonly attempts_ms: number };
  readonly alerts: {
    /** Share of failed attempts, above 0 and at most 1. */
    readonly failure_rate: number;
    readonly window_ms: number;
    readonly min_attempts: number;
    /** Ids of the endpoints that alerts are sent to. */
    readonly to: readonly string[];
  };
  readonly endpoints: readonly EndpointConfig[];
}

export type Environment = "development" | "production";

/** Directory of the embedded database (absolute), or a server's URL. */
export type DatabaseConfig =
  | { readonly kind: "embedded"; readonly directory: string }
  | { readonly kind: "server"; readonly url: Secret };

export interface AdminToken {
  readonly name: string;
  readonly token: Secret;
  /** A viewer may only read. */
  readonly role: "admin" | "viewer";
}

export type PublicPage = "metrics" | "openapi";

/** An event type of the file's. */
export interface EventTypeConfig {
  readonly name: string;
  readonly description: string;
  /** A JSON Schema of the event's `data`, read from its file. */
  readonly schema?: Readonly<Record<string, unknown>>;
}

/** An endpoint of the file's, with `delivery` already applied. */
export interface EndpointConfig {
  readonly id: string;
  readonly url: string;
  /** Null only where `unsigned` says so. */
  readonly secret: Secret | null;
  readonly unsigned: boolean;
  /** Exact names, `booking.*`, or `*`, as written. */
  readonly events: readonly string[];
  /** Only events of these, or null for all. */
  readonly businesses: readonly string[] | null;
  /** Further request headers. */
  readonly headers: Readonly<Record<string, string>>;
  readonly timeout_ms: number;
  readonly retry_ms: readonly number[];
  /** Attempts under way at once, or null for the dispatcher's own bound. */
  readonly concurrency: number | null;
  /** Attempts begun in a second, or null for no limit. May be a fraction: `30/m` is 0.5. */
  readonly rate_limit_per_s: number | null;
  readonly tls: TlsConfig | null;
  readonly description?: string;
}

/** PEM texts for one endpoint's TLS. `cert` and `key` come together. */
export interface TlsConfig {
  /** The authorities to trust; the usual ones only where it is absent. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: Secret;
}

/** What holds where the file says nothing, as the file would say it. */
export const DEFAULTS = {
  environment: "development",
  listen: "127.0.0.1:8080",
  directory: "./data",
  ip_ranges: { development: ["192.168.1.0/24"], production: ["10.0.0.0/8"] },
  max_body: "1MiB",
  timeout: "30s",
  retry: ["0s", "1m", "5m", "15m", "1h", "6h", "24h"],
  concurrency: 256,
  retention: { events: "30d", attempts: "30d" },
  alerts: { failure_rate: 0.2, window: "15m", min_attempts: 20 },
} as const;

/**
 * Where the endpoints of a configuration may live. The own listener is the one that the file names;
 * a daemon that listens on a wildcard or on port 0 adds what it knows better.
 */
export function addressRules(
  config: Pick<Config, "environment" | "server" | "delivery">,
): AddressRules {
  const { host, port } = config.server.listen;
  return {
    allow_loopback: config.environment === "development",
    allow_networks: config.delivery.allow_networks,
    own_listener: [{ address: host === "localhost" ? "127.0.0.1" : host, port }],
  };
}
