import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

/** Limits how often something may be done from one address, by a token bucket for each. */
export interface Throttle {
  /** Takes a token of the address. Returns 0 or, if none is left, the seconds until the next one. */
  take(address: string): number;
}

/** Addresses remembered. Beyond that, the one unseen for the longest is forgotten. */
const MAX_ADDRESSES = 10_000;

/** Allows `burst` at once and one more every `refill_ms`. `now` is monotonic, in milliseconds. */
export function makeThrottle(
  burst: number,
  refill_ms: number,
  now: () => number = () => performance.now(),
): Throttle {
  // When each bucket is full again. A Map keeps the order in which addresses were last seen.
  const full_at = new Map<string, number>();
  return {
    take(address) {
      const key = network(address);
      const at = now();
      const full = Math.max(at, full_at.get(key) ?? 0);
      const wait_ms = full - at - (burst - 1) * refill_ms;
      if (wait_ms > 0) return Math.ceil(wait_ms / 1000);
      full_at.delete(key);
      full_at.set(key, full + refill_ms);
      if (full_at.size > MAX_ADDRESSES) full_at.delete(full_at.keys().next().value ?? "");
      return 0;
    },
  };
}

// A client with one IPv6 address usually controls its whole /64.
function network(address: string): string {
  if (isIP(address) !== 6) return address;
  const ip = ipaddr.process(address);
  return ip.kind() === "ipv4" ? ip.toString() : ip.toNormalizedString().split(":", 4).join(":");
}
