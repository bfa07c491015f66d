import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import { type Cidr, cidrContains } from "../../lib/core/address.ts";

/** The address that a request comes from, or undefined (see `clientOf`). */
export function clientAddress(
  { socket, headers }: IncomingMessage,
  trusted: readonly Cidr[],
): string | undefined {
  const forwarded_for = headers["x-forwarded-for"] as string | undefined;
  return clientOf(socket.remoteAddress ?? "", forwarded_for ?? "", trusted);
}

/**
 * The peer's address or, if the peer is a trusted proxy, the right-most address in X-Forwarded-For (all
 * headers of that name, joined by commas) that is not a trusted proxy. A client may have written
 * everything left of that, so it is not even read. Undefined if a trusted proxy passed on something that
 * is not an address.
 */
export function clientOf(
  peer: string,
  forwarded_for: string,
  trusted: readonly Cidr[],
): string | undefined {
  if (!isAddress(peer)) return undefined;
  let address = peer;
  const hops = forwarded_for.split(",").map((hop) => hop.trim()).filter((hop) => hop !== "");
  while (trusted.some((cidr) => cidrContains(cidr, address))) {
    const hop = hops.pop();
    if (hop === undefined) break;
    const next = withoutPort(hop);
    if (!isAddress(next)) return undefined;
    address = next;
  }
  return address;
}

// Some proxies write 192.0.2.7:50123 and [2001:db8::7]:50123.
function withoutPort(hop: string): string {
  const [, ipv6, ipv4] = /^(?:\[([^\]]*)\](?::\d{1,5})?|([\d.]+):\d{1,5})$/.exec(hop) ?? [];
  return ipv6 ?? ipv4 ?? hop;
}

function isAddress(text: string): boolean {
  return isIP(text) !== 0 && !text.includes("%");
}

/** What an address is limited as: one client with an IPv6 address usually controls its whole /64. */
export function networkOf(address: string): string {
  if (isIP(address) !== 6) return address;
  const ip = ipaddr.process(address);
  return ip.kind() === "ipv4" ? ip.toString() : ip.toNormalizedString().split(":", 4).join(":");
}
