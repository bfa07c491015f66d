import { statSync } from "node:fs";
import { isIP } from "node:net";
import type { Config } from "../../config/config.ts";
import { cidrContains, isLoopback } from "../../core/address.ts";
import { messageOf } from "../../core/errors.ts";
import { PLATFORM } from "../../core/platform.ts";
import { formatSize } from "../../core/units.ts";
import { limitOf, lowDisk } from "../../disk.ts";
import { freeBytes } from "../../store/disk.ts";
import { bad, good, odd, type Verdict } from "./verdict.ts";

/** Whether the embedded database's disk has room. `measure` gives the free bytes of a directory. */
export function checkDisk(
  { database }: Pick<Config, "database">,
  measure: (directory: string) => number = freeBytes,
): Verdict {
  const subject = "disk";
  if (database.kind === "server") {
    return good(subject, "the server's cannot be seen from here; watch its free space there");
  }
  const { directory } = database;
  const min_free_bytes = limitOf(database.min_free_bytes);
  try {
    const free_bytes = measure(directory);
    const remedy = "free some space, or move database.directory to a larger disk";
    if (free_bytes < min_free_bytes) {
      return bad(subject, lowDisk(directory, free_bytes, min_free_bytes), remedy);
    }
    const text = `${formatSize(free_bytes)} free for ${directory}; ingest stops below ` +
      `${formatSize(min_free_bytes)} (database.min_free)`;
    return free_bytes < 2 * min_free_bytes ? odd(subject, text, remedy) : good(subject, text);
  } catch (error) {
    const text = `the free space of ${directory} cannot be read: ${messageOf(error)}`;
    return odd(subject, text, "run this as the daemon's user");
  }
}

/** Whether only its owner may enter the embedded database's directory. Ask before it is opened. */
export function checkDirectory({ database }: Pick<Config, "database">): Verdict[] {
  if (database.kind === "server" || !PLATFORM.has_modes) return [];
  const { directory } = database;
  const subject = "data directory";
  let mode: number;
  try {
    mode = statSync(directory).mode & 0o777;
  } catch {
    return []; // not made yet, or the database's line says so
  }
  if ((mode & 0o077) === 0) return [good(subject, `only its owner may enter ${directory}`)];
  const rights = mode.toString(8).padStart(4, "0");
  return [
    odd(subject, `others may enter ${directory} (mode ${rights})`, `chmod 700 ${directory}`),
  ];
}

/** Whether requests come from the ranges that receivers allow (`/ip-ranges`). */
export function checkAddresses(
  { delivery, environment, ip_ranges }: Pick<Config, "delivery" | "environment" | "ip_ranges">,
  own: readonly string[] = ownAddresses(),
): Verdict {
  const subject = "source address";
  const ranges = ip_ranges[environment];
  const listed = `ip_ranges.${environment} (${ranges.map(({ text }) => text).join(", ")})`;
  const inside = (address: string) => ranges.some((cidr) => cidrContains(cidr, address));
  const having = own.length === 0 ? "it has the loopback's only" : own.join(", ");
  const { source_address } = delivery;
  if (source_address !== null) {
    if (!own.includes(source_address) && !isLoopback(source_address)) {
      const text = `delivery.source_address ${source_address} is no address of this machine`;
      return bad(subject, `${text} (${having})`, "set it to one that is, or remove it");
    }
    return inside(source_address) ? good(subject, `${source_address} lies in ${listed}`) : odd(
      subject,
      `delivery.source_address ${source_address} lies outside ${listed}`,
      "correct one of the two: receivers that allow those networks only refuse it",
    );
  }
  const fitting = own.filter(inside);
  if (fitting.length > 0) {
    return good(subject, `${fitting.join(", ")} of this machine lies in ${listed}`);
  }
  return odd(
    subject,
    `no address of this machine (${having}) lies in ${listed}`,
    `add the address that receivers see to ip_ranges.${environment}: those that allow these only ` +
      "refuse all others",
  );
}

function ownAddresses(): string[] {
  return Deno.networkInterfaces()
    .map(({ address }) => address)
    .filter((address) => isIP(address) !== 0 && !/^(127\.|::1$|fe80:)/i.test(address));
}
