import type { Config } from "./config/config.ts";
import { cidrContains } from "./core/address.ts";
import type { Log } from "./observe/log.ts";

/**
 * The address that requests to endpoints come from, if one is configured. Warns if it lies in none of the ip_ranges
 * in force: receivers that allow the networks of /ip-ranges only would refuse what comes from there.
 */
export function sourceAddress(
  { delivery: { source_address }, environment, ip_ranges }: Config,
  log: Log,
): { readonly source_address?: string } {
  if (source_address === null) return {};
  const inside = ip_ranges[environment].some((cidr) => cidrContains(cidr, source_address));
  const fields = { source_address, environment };
  if (inside) log.info("delivery.source_address lies in the ip_ranges in force", fields);
  else log.warn("delivery.source_address lies in none of the ip_ranges in force", fields);
  return { source_address };
}
