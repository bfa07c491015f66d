import ipaddr from "ipaddr.js";
import { AppError, show } from "./errors.ts";

/** A network. IPv4-mapped IPv6 is folded into IPv4, so `::ffff:10.0.0.0/104` is `10.0.0.0/8`. */
export interface Cidr {
  /** Canonical text, `10.0.0.0/8`. */
  readonly text: string;
  /** The network's address: 4 or 16 octets. */
  readonly octets: readonly number[];
  /** Length of the prefix in bits. */
  readonly prefix: number;
}

/** The addresses that endpoints may have besides public ones. */
export interface AddressRules {
  /** Whether loopback is allowed, as in `development`. */
  readonly allow_loopback: boolean;
  /** Private networks that may contain endpoints: `delivery.allow_networks`. */
  readonly allow_networks: readonly Cidr[];
  /**
   * Addresses of this daemon's listener and of others on its database, which are never endpoints. A
   * wildcard (`0.0.0.0`, `::`) covers every loopback address at its port; the caller adds the machine's
   * other addresses.
   */
  readonly own_listener: readonly { readonly address: string; readonly port: number }[];
  /** `server.public_url`: its host is never an endpoint. */
  readonly public_url?: URL;
  /** Whether no refusal names an address or a setting. */
  readonly public_only?: true;
}

/**
 * The rules of an endpoint that a business made: https at public addresses, whatever the installation
 * allows to its operator.
 */
export function publicOnly(rules: AddressRules): AddressRules {
  return { ...rules, allow_loopback: false, allow_networks: [], public_only: true };
}

/**
 * Why a business's endpoint may not have a host, in words. The same for every host: the actual reason would
 * tell a business where things are in the operator's network, and what its resolver knows.
 */
export const PUBLIC_ONLY = "endpoints of a business are https, at public addresses only";

/**
 * Whether an address is allowed. `scope` is the reason why, because plain http is for loopback and
 * listed networks only; `rule` is the reason why not, in words.
 */
export type AddressVerdict =
  | { readonly allowed: true; readonly scope: "public" | "loopback" | "listed" }
  | { readonly allowed: false; readonly rule: string };

/** An endpoint's URL, or its mistake. `rule` is a stable short name. */
export type UrlVerdict =
  | { readonly url: URL; readonly mistake?: never }
  | { readonly mistake: string; readonly rule: string; readonly url?: never };

/** Longest URL of an endpoint, in characters. */
export const MAX_URL_LENGTH = 2048;

/** Metadata services, which hand out credentials, and link-local addresses. */
const METADATA: readonly Cidr[] = [
  "169.254.0.0/16", // AWS, Azure, Google and others at 169.254.169.254
  "100.100.100.200/32", // Alibaba
  "168.63.129.16/32", // Azure's platform agent, at a public address
  "192.0.0.192/32", // Oracle
  "fd00:ec2::254/128", // AWS
  "fd20:ce::254/128", // Google
  "fe80::/10",
].map(parseCidr);

// Ranges of ipaddr.js whose addresses are no single other machine. No list can allow them.
const NO_HOST = new Set(["unspecified", "multicast", "broadcast"]);

const GLOBAL_UNICAST = parseCidr("2000::/3");

const LOOPBACK =
  "loopback is allowed in environment development only, and delivery.allow_networks " +
  "cannot allow it; put a reverse proxy in front of the receiver, at a public name or at an address " +
  "that delivery.allow_networks lists";

/**
 * Reads a network in CIDR notation. Throws an `AppError` `invalid` for anything else, and for bits set
 * after the prefix, because then the meaning is unclear.
 */
export function parseCidr(text: string): Cidr {
  const slash = text.lastIndexOf("/");
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) {
    throw new AppError("invalid", `"${text}" is not a network; write one like 10.0.0.0/8`);
  }
  const bits = address.length * 8;
  if (slash < 0) {
    throw new AppError("invalid", `"${text}" lacks a prefix length; write ${text}/${bits}`);
  }
  const written = text.slice(slash + 1);
  const prefix = Number(written) - (isMapped(text.slice(0, slash)) ? 96 : 0);
  if (!/^(0|[1-9]\d{0,2})$/.test(written) || prefix < 0 || prefix > bits) {
    throw new AppError("invalid", `"${text}" has a prefix length outside 0 to ${bits}`);
  }
  const octets = address.map((octet, at) => octet & maskOctet(prefix, at));
  const network = `${ipaddr.fromByteArray(octets).toString()}/${prefix}`;
  if (octets.some((octet, at) => octet !== address[at])) {
    throw new AppError("invalid", `"${text}" has bits set after its prefix; write ${network}`);
  }
  return { text: network, octets, prefix };
}

// The last address: each request checks its client against network after network, and most requests
// come from the same client.
let asked: { readonly text: string; readonly octets: number[] | undefined } = {
  text: "",
  octets: undefined,
};

/** Whether the network contains the address. Text that is not an address is in no network. */
export function cidrContains(cidr: Cidr, address: string): boolean {
  if (asked.text !== address) asked = { text: address, octets: parseAddress(address) };
  return asked.octets !== undefined && contains(cidr, asked.octets);
}

/** Whether all of the network is of one range (RFC 6890) that is not public. */
export function isPrivate({ octets, prefix }: Cidr): boolean {
  const range = rangeOf(octets);
  const last = octets.map((octet, at) => octet | (255 & ~maskOctet(prefix, at)));
  return range !== "unicast" && rangeOf(last) === range;
}

/**
 * Whether an endpoint may have this address and port. Metadata services, the daemon's own listener and
 * addresses of no single host are always refused; loopback depends on its own switch only; public
 * unicast is allowed; any other address needs its network listed.
 *
 * IPv4-mapped IPv6 is that IPv4 address. Other forms that carry an IPv4 address (NAT64, 6to4,
 * Teredo, IPv4-compatible, SIIT) lead a packet there, so the carried address must be public.
 */
export function classifyEndpointAddress(
  ip: string,
  port: number,
  rules: AddressRules,
): AddressVerdict {
  const octets = parseAddress(ip);
  if (octets === undefined) return refuse("not an IP address");
  if (isMetadata(octets)) {
    return refuse("metadata and link-local addresses are never allowed");
  }
  const range = rangeOf(octets);
  if (NO_HOST.has(range)) return refuse(`${range} addresses are never allowed`);
  if (isOwnListener(octets, range === "loopback", port, rules)) {
    return refuse("this is a daemon's own listener");
  }
  const carried = carriedIpv4(octets);
  if (carried !== undefined) {
    const inner = carried.find((part) => rangeOf(part) !== "unicast" || isMetadata(part));
    return inner === undefined
      ? { allowed: true, scope: "public" }
      : refuse(`it carries ${inner.join(".")}, which is not public`);
  }
  if (range === "rfc6052") return refuse("a NAT64 address of unknown layout is never allowed");
  if (range === "loopback") {
    return rules.allow_loopback ? { allowed: true, scope: "loopback" } : refuse(LOOPBACK);
  }
  if (rules.allow_networks.some((cidr) => contains(cidr, octets))) {
    return { allowed: true, scope: "listed" };
  }
  return range === "unicast" ? { allowed: true, scope: "public" } : refuse(
    `${inWords(range)} addresses are allowed only if delivery.allow_networks lists them`,
  );
}

/**
 * Checks an endpoint's URL before it is stored. Judges hosts that are an address in any spelling (octal,
 * hexadecimal, one number, full-width: `URL` makes them canonical) or a name of loopback. The addresses
 * of other names are judged at each connect.
 */
export function checkEndpointUrl(text: string, rules: AddressRules): UrlVerdict {
  const verdict = judgeUrl(text, rules);
  if (rules.public_only !== true || verdict.url !== undefined) return verdict;
  const { rule } = verdict;
  return rule === "address" || rule === "scheme"
    ? { mistake: "Must be an https URL whose host has public addresses only", rule }
    : verdict;
}

function judgeUrl(text: string, rules: AddressRules): UrlVerdict {
  const shape = shapeMistake(text);
  if (shape !== undefined) return shape;
  const url = URL.parse(text);
  // Without the text: its user or path may be a secret.
  if (url === null) return { mistake: `Not a valid URL${whyNot(text)}`, rule: "url" };
  if (url.port === "0") return { mistake: "Port 0 cannot be connected to", rule: "port" };
  const misnamed = nameMistake(url.hostname);
  if (misnamed !== undefined) return { mistake: misnamed, rule: "host" };
  const http = url.protocol === "http:";
  if (isPublicHost(url.hostname, portOf(url), rules)) {
    return { mistake: `The host ${url.hostname} is not allowed: ${PUBLIC_HOST}`, rule: "address" };
  }
  const ip = literalAddress(url.hostname);
  if (ip === undefined) {
    if (http && !rules.allow_loopback && rules.allow_networks.length === 0) return plainHttp();
    return { url };
  }
  const verdict = classifyEndpointAddress(ip, portOf(url), rules);
  if (!verdict.allowed) {
    const means = ip === url.hostname ? ip : `${url.hostname} (${ip})`;
    return { mistake: `The address ${means} is not allowed: ${verdict.rule}`, rule: "address" };
  }
  if (verdict.scope !== "public") return { url };
  if (http) return plainHttp();
  // 1.2.3 is 1.2.0.3 to URL, and more likely cut short.
  const written = /^https:\/\/([^:/?#]*)/i.exec(text)?.[1];
  return url.hostname === ip && written !== ip
    ? {
      mistake: `The host ${show(written)} is read as the address ${ip}; write that`,
      rule: "host",
    }
    : { url };
}

/** Why `URL` makes nothing of a text, if it is one of the mistakes that people make. */
function whyNot(text: string): string {
  const [, host = "", port = ""] = /^https?:\/\/([^/?#:]*)(?::(\d+))?(?:[/?#]|$)/i.exec(text) ?? [];
  if (Number(port) > 65_535) return ": its port is above 65535";
  return /(^|\.)(\d+|0x[0-9a-f]*)\.?$/i.test(host)
    ? ": its host ends in a number but is no IPv4 address"
    : "";
}

/** Why a URL's hostname can be no name in DNS (RFC 1123, 2.1; RFC 1035, 2.3.4), or undefined. */
function nameMistake(hostname: string): string | undefined {
  if (hostname.startsWith("[") || ipaddr.IPv4.isValidFourPartDecimal(hostname)) return undefined;
  const name = hostname.replace(/\.$/, "");
  const mistake = (why: string) => `The host ${show(hostname)} is not a name: ${why}`;
  if (name.length > 253) return mistake("it has more than 253 characters");
  for (const label of name.split(".")) {
    if (label === "") return mistake("it has an empty part");
    if (label.length > 63) return mistake("a part has more than 63 characters");
    // Underscores are no part of host names, but of names that resolvers find, as in Docker's networks.
    if (!/^[a-z0-9_-]+$/.test(label)) {
      return mistake("its parts have letters, digits, - and _ only");
    }
    if (/^-|-$/.test(label)) return mistake("a part begins or ends with -");
  }
  return undefined;
}

/** Why the host of `server.public_url` is not allowed, in words. */
export const PUBLIC_HOST = "it is the host of server.public_url, which is this program";

/**
 * Whether a host, a URL's or an address, is that of `server.public_url`. Its port does not matter, except
 * on loopback, where other programs have other ports.
 */
export function isPublicHost(host: string, port: number, { public_url }: AddressRules): boolean {
  if (public_url === undefined) return false;
  const own = bareHost(public_url.hostname);
  const name = bareHost(host);
  const octets = parseAddress(name);
  const own_octets = parseAddress(own);
  const same = octets !== undefined && own_octets !== undefined
    ? sameOctets(octets, own_octets)
    : name === own;
  const loopback = parseAddress(literalAddress(own) ?? own);
  return same && (port === portOf(public_url) ||
    loopback === undefined || rangeOf(loopback) !== "loopback");
}

// Without the brackets of IPv6 and the dot at the end of a name.
function bareHost(host: string): string {
  return host.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "").toLowerCase();
}

/** Whether a listener at this address accepts connections to every address of its machine. */
export function isWildcard(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}

/** Whether a host, an address or `localhost`, leads to its own machine only. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" ||
    (ipaddr.IPv4.isValidFourPartDecimal(host) && host.startsWith("127."));
}

/** The address of a listener for clients on its own machine: loopback for a wildcard. */
export function ownAddressOf(address: string): string {
  if (!isWildcard(address)) return address;
  return address === "::" ? "::1" : "127.0.0.1";
}

/** A host and a port as in URLs: IPv6 in brackets. */
export function hostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The port of a URL: its own, or the default of its scheme. */
export function portOf(url: URL): number {
  if (url.port !== "") return Number(url.port);
  return url.protocol === "http:" ? 80 : 443;
}

/**
 * The address of a URL's hostname if it needs no DNS: a literal, without brackets, or 127.0.0.1 for the
 * localhost names (RFC 6761, 6.3). Undefined for a name to resolve.
 */
export function literalAddress(hostname: string): string | undefined {
  if (hostname.startsWith("[")) return hostname.slice(1, -1);
  if (ipaddr.IPv4.isValidFourPartDecimal(hostname)) return hostname;
  return /(^|\.)localhost\.?$/.test(hostname) ? "127.0.0.1" : undefined;
}

// Mistakes that `URL` repairs silently.
function shapeMistake(text: string): UrlVerdict | undefined {
  if (text.length > MAX_URL_LENGTH) {
    return { mistake: `A URL has at most ${MAX_URL_LENGTH} characters`, rule: "length" };
  }
  // deno-lint-ignore no-control-regex
  if (/[\s\x00-\x1f\x7f-\x9f\\]/.test(text)) {
    return {
      mistake: "A URL must not contain white space, control characters or backslashes; " +
        "write them percent-encoded",
      rule: "characters",
    };
  }
  if (!/^https?:\/\/[^/]/i.test(text)) {
    return { mistake: "An endpoint's URL starts with https:// and a host", rule: "scheme" };
  }
  if (/^[^/]*\/\/[^/?#]*@/.test(text)) {
    return {
      mistake: "A URL must not contain a user name or password; use the endpoint's headers",
      rule: "userinfo",
    };
  }
  return text.includes("#")
    ? { mistake: "A URL must not have a fragment: it would not be sent", rule: "fragment" }
    : undefined;
}

function plainHttp(): UrlVerdict {
  return {
    mistake: "Plain http is allowed only to loopback in environment development and to networks " +
      "that delivery.allow_networks lists; write https",
    rule: "scheme",
  };
}

function refuse(rule: string): AddressVerdict {
  return { allowed: false, rule };
}

// carrierGradeNat → carrier grade nat
function inWords(range: string): string {
  return range.replace(/[A-Z]/g, (capital) => ` ${capital.toLowerCase()}`);
}

function isMetadata(octets: readonly number[]): boolean {
  return METADATA.some((cidr) => contains(cidr, octets));
}

function isOwnListener(
  octets: readonly number[],
  loopback: boolean,
  port: number,
  rules: AddressRules,
): boolean {
  return rules.own_listener.some((own) => {
    if (own.port !== port) return false;
    const listens = parseAddress(own.address);
    if (listens === undefined) return false;
    return sameOctets(listens, octets) || (loopback && rangeOf(listens) === "unspecified");
  });
}

/** The name of an address's range by ipaddr.js; `unicast` is public. */
function rangeOf(octets: readonly number[]): string {
  const range = ipaddr.fromByteArray([...octets]).range();
  // Outside 2000::/3 nothing is assigned to the public Internet (RFC 4291, 2.4).
  if (range === "unicast" && octets.length === 16 && !contains(GLOBAL_UNICAST, octets)) {
    return "unassigned";
  }
  return range;
}

/** The IPv4 addresses that an IPv6 address carries, or undefined if it is of no such form. */
function carriedIpv4(octets: readonly number[]): (readonly number[])[] | undefined {
  if (octets.length !== 16) return undefined;
  const group = (at: number) => ((octets[at * 2] ?? 0) << 8) | (octets[at * 2 + 1] ?? 0);
  const zero = (from: number, to: number) => octets.slice(from, to).every((octet) => octet === 0);
  const last = octets.slice(12);
  if (group(0) === 0x2002) return [octets.slice(2, 6)]; // 6to4, RFC 3056
  if (group(0) === 0x2001 && group(1) === 0) { // Teredo, RFC 4380: server, and client inverted
    return [octets.slice(4, 8), last.map((octet) => octet ^ 0xff)];
  }
  if (group(0) === 0x64 && group(1) === 0xff9b) {
    // NAT64: RFC 6052's own prefix, and a /96 within RFC 8215's. Other prefixes in the latter have the
    // address in other places, so classifyEndpointAddress() refuses them.
    return zero(4, 12) || (group(2) === 1 && zero(6, 12)) ? [last] : undefined;
  }
  if (zero(0, 8) && group(4) === 0xffff && group(5) === 0) return [last]; // SIIT, RFC 2765
  // IPv4-compatible, RFC 4291, 2.5.5.1; not :: and ::1.
  if (zero(0, 12) && !(zero(12, 15) && (octets[15] ?? 0) <= 1)) return [last];
  return undefined;
}

/** The octets of an address, IPv4-mapped folded; undefined if the text is not an address. */
function parseAddress(text: string): number[] | undefined {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text).toByteArray();
  if (!text.includes(":") || text.includes("%") || !ipaddr.IPv6.isValid(text)) return undefined;
  // ipaddr.js reads ::1.2.3.4 as IPv4-mapped, which it is not: spell the tail as groups.
  const octets = ipaddr.IPv6.parse(text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, tailGroups))
    .toByteArray();
  return isMappedOctets(octets) ? octets.slice(12) : octets;
}

function tailGroups(_: string, a: string, b: string, c: string, d: string): string {
  const group = (high: string, low: string) => ((Number(high) << 8) | Number(low)).toString(16);
  return `${group(a, b)}:${group(c, d)}`;
}

function isMapped(text: string): boolean {
  return text.includes(":") && parseAddress(text)?.length === 4;
}

function isMappedOctets(octets: readonly number[]): boolean {
  return octets.slice(0, 10).every((octet) => octet === 0) && octets[10] === 0xff &&
    octets[11] === 0xff;
}

function contains(cidr: Cidr, octets: readonly number[]): boolean {
  return cidr.octets.length === octets.length &&
    cidr.octets.every((octet, at) => octet === ((octets[at] ?? 0) & maskOctet(cidr.prefix, at)));
}

function maskOctet(prefix: number, at: number): number {
  const bits = Math.min(8, Math.max(0, prefix - at * 8));
  return (0xff << (8 - bits)) & 0xff;
}

function sameOctets(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((octet, at) => octet === b[at]);
}
