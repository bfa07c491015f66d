import { addressRules, type AdminToken, type Config } from "./config/config.ts";
import { type AddressRules, hostPort, isLoopback, isWildcard } from "./core/address.ts";
import { type EventTypes, makeEventTypes } from "./core/event_types.ts";
import { makeSigner, type Signer } from "./core/signature.ts";

/** What a reload replaces, all of it at once: the configuration and what is derived from it. */
export interface InForce {
  readonly config: Config;
  /** Whether the listener speaks TLS. */
  readonly scheme: "http" | "https";
  /** Where endpoints may live. */
  readonly rules: AddressRules;
  /**
   * The beginning of links to this program: `server.public_url`, else the listener's address if that is on
   * loopback, else null. Never from a request: its Host header may be anybody's.
   */
  readonly base_url: string | null;
  /** Hosts by which requests may call this program, as in a URL; null: any. */
  readonly hosts: ReadonlySet<string> | null;
  readonly event_types: EventTypes;
  readonly tokens: readonly AdminToken[];
  /** One for each secret that BookMe may sign its posts with; empty if posts need no signature. */
  readonly ingest_signers: readonly Signer[];
}

/** The socket that the daemon listens on. */
interface Listener {
  readonly address: string;
  readonly port: number;
}

/**
 * Derives everything that `config` puts in force; `tokens` are those of the admin API, `others` the
 * listeners of other daemons.
 */
export function makeInForce(
  config: Config,
  tokens: readonly AdminToken[],
  listener: Listener,
  others: readonly Listener[] = [],
): InForce {
  const scheme = config.server.tls === null ? "http" : "https";
  return Object.freeze({
    config,
    scheme,
    rules: { ...addressRules(config), own_listener: [...listenersOf(listener), ...others] },
    base_url: config.server.public_url ??
      (isLoopback(listener.address)
        ? `${scheme}://${hostPort(listener.address, listener.port)}`
        : null),
    hosts: hostsOf(config, listener.address),
    event_types: makeEventTypes(config.event_types),
    tokens,
    ingest_signers: config.ingest.secrets.map((secret) => makeSigner(secret.reveal())),
  });
}

/**
 * Every address of a listener: for a wildcard all of this machine's. The bound address counts, not the
 * configured one: that may be a name, or port 0.
 */
export function listenersOf({ address, port }: Listener): Listener[] {
  const addresses = isWildcard(address) ? [address, ...ownAddresses()] : [address];
  return addresses.map((address) => ({ address, port }));
}

/**
 * A page in somebody's browser can make its own name resolve to an address of this machine (DNS
 * rebinding). On loopback no other name than this machine's leads here, and `server.public_url` says
 * which one does from outside.
 */
function hostsOf({ server: { listen, public_url } }: Config, address: string): InForce["hosts"] {
  if (public_url === null && !isLoopback(address)) return null;
  const addresses = listenersOf({ address, port: 0 }).map((own) => own.address);
  const local = isLoopback(address) || isWildcard(address) ? ["localhost", "127.0.0.1", "::1"] : [];
  const hosts = [listen.host, ...addresses, ...local]
    .map((host) => host.includes(":") ? `[${host}]` : host.toLowerCase());
  return new Set(public_url === null ? hosts : [...hosts, new URL(public_url).hostname]);
}

function ownAddresses(): string[] {
  return Deno.networkInterfaces().map(({ address }) => address);
}
