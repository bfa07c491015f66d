import { lookup as systemLookup } from "node:dns";
import { isIPv6 } from "node:net";
import {
  type AddressRules,
  classifyEndpointAddress,
  hostPort,
  isPublicHost,
  PUBLIC_HOST,
  PUBLIC_ONLY,
  publicOnly,
} from "../core/address.ts";
import { messageOf } from "../core/errors.ts";
import type { FailureReason, Route } from "./flight.ts";
import { codeOf } from "./wire.ts";

/** How names are resolved, and which addresses are allowed. */
export interface AddressOptions {
  /** The address rules in force. */
  readonly rules: () => AddressRules;
  /** The local address to send from. */
  readonly source_address?: string;
  /** All addresses of a name (default: by the system's resolver). */
  readonly lookup?: (host: string) => Promise<readonly string[]>;
}

/** An address that the rules forbid, and why. */
export interface Refused {
  readonly address: string;
  readonly rule: string;
}

/**
 * Addresses to dial, in this order, of those `found`, and the rules that allowed them; or why there are
 * none.
 */
export type Vetted =
  | {
    readonly addresses: readonly string[];
    readonly found: readonly string[];
    readonly rules: AddressRules;
  }
  | {
    readonly reason: FailureReason;
    readonly cause: string;
    readonly addresses: readonly string[];
    readonly refused: readonly Refused[];
  };

/** Codes for a name without addresses. */
const NO_SUCH_NAME = /NOTFOUND|NODATA|NONAME/;

/**
 * A function that looks up a route's addresses and checks each; one that is forbidden blocks all. Calls
 * `asking` if it has to ask for them.
 */
export function makeVetter(
  options: AddressOptions,
): (route: Route, asking?: () => void) => Promise<Vetted> {
  const { rules, source_address } = options;
  const resolve = coalesce(options.lookup ?? lookupAll);
  return async (route, asking) => {
    const { host, literal } = route;
    const fail = (
      reason: FailureReason,
      cause: string,
      addresses: readonly string[] = [],
      refused: readonly Refused[] = [],
    ): Vetted => ({ reason, cause, addresses, refused });
    const refuseHost = (rule: string) =>
      fail("blocked", `${host} is not allowed: ${rule}`, [host], [{ address: host, rule }]);
    if (isPublicHost(host, route.port, rules())) {
      return refuseHost(route.public_only ? PUBLIC_ONLY : PUBLIC_HOST);
    }
    let addresses: readonly string[];
    if (literal === undefined) asking?.();
    try {
      addresses = literal !== undefined ? [literal] : await resolve(host);
    } catch (error) {
      const code = codeOf(error);
      // Else a business could tell names of the operator's network from those that nobody has.
      if (route.public_only && NO_SUCH_NAME.test(code)) return refuseHost(PUBLIC_ONLY);
      return fail("dns", `${code || messageOf(error)} ${host}`);
    }
    const present = rules();
    const refused = addresses.flatMap((address) => {
      const rule = refusal(address, route, present);
      return rule === undefined ? [] : [{ address, rule }];
    });
    const [first] = refused;
    if (route.public_only && (first !== undefined || addresses.length === 0)) {
      return refuseHost(PUBLIC_ONLY);
    }
    if (first !== undefined) {
      const cause = `${first.address} is not allowed: ${first.rule}`;
      return fail("blocked", cause, addresses, refused);
    }
    if (addresses.length === 0) return fail("dns", `No address for ${host}`);
    const found = addresses;
    if (source_address === undefined) return { addresses, found, rules: present };
    const reachable = addresses.filter((ip) => isIPv6(ip) === isIPv6(source_address));
    return reachable.length > 0
      ? { addresses: reachable, found, rules: present }
      : fail("connection", `No address of the family of ${source_address}`, addresses);
  };
}

/** Why the rules forbid the route to lead to the address, or undefined if they allow it. */
export function refusal(ip: string, route: Route, rules: AddressRules): string | undefined {
  if ([route.host, ip].some((host) => isPublicHost(host, route.port, rules))) return PUBLIC_HOST;
  const own = route.public_only ? publicOnly(rules) : rules;
  const verdict = classifyEndpointAddress(ip, route.port, own);
  if (!verdict.allowed) return verdict.rule;
  return route.https || verdict.scope !== "public" ? undefined : "plain http to a public address";
}

/** Whether two spellings mean one address. An IPv4-mapped IPv6 address equals its IPv4 one. */
export function sameAddress(a: string, b: string): boolean {
  return a === b || canonical(a) === canonical(b);
}

function canonical(ip: string): string {
  const host = URL.parse(`http://${hostPort(ip, 80)}`)?.hostname ?? ip;
  // `URL` spells ::ffff:127.0.0.1 in hexadecimal.
  const [, high, low] = /^\[::ffff:([\da-f]+):([\da-f]+)\]$/.exec(host) ?? [];
  if (high === undefined || low === undefined) return host;
  return URL.parse(`http://${parseInt(high, 16) * 65_536 + parseInt(low, 16)}`)?.hostname ?? ip;
}

/** Shares one lookup among all who ask for a name at the same time. */
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
