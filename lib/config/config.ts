import type { AddressRules, Cidr } from "../core/address.ts";
import type { DatabaseAddress } from "../core/database_address.ts";
import type { Secret } from "../core/secret.ts";

/** The configuration in force: validated, every reference resolved, deeply frozen. */
export interface Config {
  /** The file, absolute, so that it can be read again from anywhere. */
  readonly path: string;
  /** Selects from `ip_ranges`, and decides how strict the rules are. */
  readonly environment: Environment;
  readonly server: {
    /** `host` is an address without brackets, or a name; port 0 means any free port. */
    readonly listen: { readonly host: string; readonly port: number };
    /** What the listener shows over TLS; null: it speaks plain HTTP. */
    readonly tls: ListenerTls | null;
    readonly trusted_proxies: readonly Cidr[];
    /** Where others reach this program, without a slash at the end. */
    readonly public_url: string | null;
  };
  readonly database: DatabaseConfig;
  /**
   * Keys for the secrets of endpoints made through the API, as `parseSealKey` reads them: the first
   * one seals, all of them open. Empty: a daemon on an embedded database makes one.
   */
  readonly encryption_keys: readonly Secret[];
  readonly ip_ranges: Readonly<Record<Environment, readonly Cidr[]>>;
  readonly ingest: {
    /** Each may sign posts; empty: posts are not signed. */
    readonly secrets: readonly Secret[];
    readonly max_body_bytes: number;
    /** Events with an older `timestamp` are refused; null: none are. */
    readonly max_age_ms: number | null;
  };
  readonly admin: {
    readonly tokens: readonly AdminToken[];
    /** Pages that need no token. */
    readonly public: readonly PublicPage[];
  };
  /** Event types besides the documentation's eight. */
  readonly event_types: readonly EventTypeConfig[];
  /** Defaults of every endpoint, and limits of all together. */
  readonly delivery: {
    readonly timeout_ms: number;
    /** The wait before each attempt; its length is the number of attempts. */
    readonly retry_ms: readonly number[];
    /** Attempts under way at once, all endpoints together. */
    readonly concurrency: number;
    /** Private networks that may contain endpoints. */
    readonly allow_networks: readonly Cidr[];
    readonly source_address: string | null;
  };
  readonly retention: Retention;
  readonly alerts: {
    /** Share of failed attempts, above 0 and at most 1. */
    readonly failure_rate: number;
    readonly window_ms: number;
    readonly min_attempts: number;
    /** Ids of the endpoints that receive alerts. */
    readonly to: readonly string[];
    readonly chat: readonly ChatTarget[];
    readonly mail: MailTarget | null;
    /** Asked by GET while all is well, or null. */
    readonly heartbeat: { readonly url: Secret; readonly every_ms: number } | null;
    /** After so long of nothing but failures an endpoint is paused; null: never. */
    readonly auto_pause_ms: number | null;
  };
  readonly portal: {
    /** Endpoints that each business may have in force. */
    readonly max_endpoints: number;
  };
  readonly endpoints: readonly EndpointConfig[];
  /** Where they are in the file: lines by id. A moved one counts as unchanged. */
  readonly endpoint_lines: ReadonlyMap<string, number>;
}

/** A channel that people read. */
export interface ChatTarget {
  /** `slack`, and for a second one `slack-2`. */
  readonly name: string;
  readonly kind: ChatKind;
  /** It is all that it takes to write there. */
  readonly url: Secret;
}

/** Where a chat target is. */
export type ChatKind = "slack" | "teams";

/** Where alerts go by mail. */
export interface MailTarget {
  /** `smtp://user:password@host:587`, or `smtps:`. */
  readonly smtp: Secret;
  readonly from: string;
  readonly to: readonly string[];
}

/** Which set of rules and address ranges is in force. */
export type Environment = "development" | "production";

/** The embedded database, or a server. */
export type DatabaseConfig =
  | {
    readonly kind: "embedded";
    /** Absolute. */
    readonly directory: string;
    /** Free space on its disk below which ingest stops; never less than 16 MiB in effect. */
    readonly min_free_bytes: number;
  }
  | {
    readonly kind: "server";
    readonly address: DatabaseAddress;
    /** How long a start waits for the server. */
    readonly connect_timeout_ms: number;
  };

/** A token of the admin API. */
export interface AdminToken {
  readonly name: string;
  readonly token: Secret;
  /** A viewer may only read. */
  readonly role: "admin" | "viewer";
  /** Whether it shows what events and answers contain; only a viewer's may not. */
  readonly payloads: boolean;
}

/** A page that needs no token if `admin.public` lists it. */
export type PublicPage = "metrics" | "openapi";

/** An event type that the file adds. */
export interface EventTypeConfig {
  readonly name: string;
  readonly description: string;
  /** JSON Schema of the event's `data`. */
  readonly schema?: Readonly<Record<string, unknown>>;
}

/** An endpoint of the file, with the defaults of `delivery` applied. */
export interface EndpointConfig {
  readonly id: string;
  readonly url: string;
  /** In force first, and the one before during a rotation; empty if the endpoint is unsigned. */
  readonly secret: readonly Secret[];
  readonly unsigned: boolean;
  /** Exact names, `booking.*`, or `*`, as written. */
  readonly events: readonly string[];
  /** Only events of these businesses, or null for all. */
  readonly businesses: readonly string[] | null;
  /** Further request headers. */
  readonly headers: Readonly<Record<string, string>>;
  readonly timeout_ms: number;
  readonly retry_ms: readonly number[];
  /** Attempts under way at once, or null for the dispatcher's own limit. */
  readonly concurrency: number | null;
  /** Attempts begun per second, possibly a fraction (`30/m` is 0.5), or null for no limit. */
  readonly rate_limit_per_s: number | null;
  readonly tls: TlsConfig | null;
  /** Whether its requests carry the `traceparent` of their attempt. */
  readonly traceparent: boolean;
  readonly description?: string;
}

/** PEM texts of an endpoint's TLS. `cert` and `key` come together. */
export interface TlsConfig {
  /** Trusted authorities, instead of the usual ones. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: Secret;
}

/** PEM texts of the listener: its certificate, followed by those between it and its authority. */
export interface ListenerTls {
  readonly cert: string;
  readonly key: Secret;
}

/** How long history is kept; each at most as long as the one after it. */
export interface Retention {
  readonly payloads_ms: number;
  readonly attempts_ms: number;
  readonly events_ms: number;
  readonly keys_ms: number;
}

/** Defaults, written as in the file. */
export const DEFAULTS = {
  environment: "development",
  listen: "127.0.0.1:8080",
  directory: "./data",
  connect_timeout: "60s",
  min_free: "512MiB",
  ip_ranges: { development: ["192.168.1.0/24"], production: ["10.0.0.0/8"] },
  max_body: "1MiB",
  timeout: "30s",
  retry: ["0s", "1m", "5m", "15m", "1h", "6h", "24h"],
  concurrency: 256,
  retention: "30d",
  max_endpoints: 10,
  alerts: { failure_rate: 0.2, window: "15m", min_attempts: 20, heartbeat_every: "1m" },
} as const;

/**
 * The addresses that a configuration allows to endpoints. The own listener is as in the file; a daemon
 * on a wildcard or port 0 adds its actual addresses.
 */
export function addressRules(
  config: Pick<Config, "environment" | "server" | "delivery">,
): AddressRules {
  const { listen: { host, port }, public_url } = config.server;
  return {
    ...(public_url === null ? {} : { public_url: new URL(public_url) }),
    allow_loopback: config.environment === "development",
    allow_networks: config.delivery.allow_networks,
    own_listener: [{ address: host === "localhost" ? "127.0.0.1" : host, port }],
  };
}
