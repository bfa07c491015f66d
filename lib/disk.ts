import type { Config } from "./config/config.ts";
import { AppError } from "./core/errors.ts";
import { formatSize } from "./core/units.ts";
import type { Log } from "./observe/log.ts";
import { freeBytes } from "./store/disk.ts";

/** The disk of an embedded database, as ingest sees it. */
export interface Disk {
  /** The lack of room, with the free space and the limit; undefined if there is enough. */
  problem(): string | undefined;
  /** Throws an `AppError` (`unavailable`) if there is too little room to accept events. */
  requireRoom(): void;
  /** Its free space, and that below which ingest stops; undefined if it cannot be seen from here. */
  room(): { readonly free_bytes: number; readonly min_free_bytes: number } | undefined;
  stop(): void;
}

/** A segment of PostgreSQL's log: with less room a disk is full, whatever `database.min_free` says. */
const FULL_BYTES = 16 * 1024 * 1024;
/** A measurement counts for so long: events of that time take less than any sensible limit. */
const MEASURED_MS = 200;
const LOOK_MS = 1_000;
const RETRY_AFTER_S = 5;

/**
 * Watches the free space of the database's disk, and logs when it falls below `database.min_free` and
 * when there is enough again. Does nothing with a server, whose disk cannot be seen from here. `measure`
 * gives the free bytes of a directory.
 */
export function watchDisk(
  config: () => Pick<Config, "database">,
  log: Log,
  measure: (directory: string) => number = freeBytes,
): Disk {
  let measured_at = -Infinity;
  let free_bytes = Infinity;
  let problem: string | undefined;
  const ticker = setInterval(look, LOOK_MS);
  look();

  function look(): string | undefined {
    const { database } = config();
    if (database.kind === "server") return undefined;
    const { directory } = database;
    // Not remembered, so that the limit of a reload is in force at once.
    const min_free_bytes = limitOf(database.min_free_bytes);
    const now = performance.now();
    if (now - measured_at >= MEASURED_MS) {
      measured_at = now;
      free_bytes = measureOr(directory, Infinity);
    }
    const is_low = free_bytes < min_free_bytes;
    if (!is_low && problem === undefined) return undefined;
    const was_low = problem !== undefined;
    problem = is_low ? lowDisk(directory, free_bytes, min_free_bytes) : undefined;
    const fields = {
      directory,
      // Unknown if it cannot be asked.
      free: Number.isFinite(free_bytes) ? formatSize(free_bytes) : undefined,
      min_free: formatSize(min_free_bytes),
    };
    if (problem !== undefined && !was_low) log.error("Disk low: events are refused", fields);
    if (problem === undefined && was_low) log.info("Disk has room: events are accepted", fields);
    return problem;
  }

  // A disk that cannot be asked is the database's trouble, and reported as such.
  function measureOr(directory: string, otherwise: number): number {
    try {
      return measure(directory);
    } catch {
      return otherwise;
    }
  }

  return {
    problem: look,
    requireRoom() {
      const found = look();
      if (found === undefined) return;
      throw new AppError("unavailable", `${found}; nothing was stored, send it again later`, {
        retry_after_s: RETRY_AFTER_S,
      });
    },
    room() {
      const { database } = config();
      if (database.kind === "server") return undefined;
      look();
      return Number.isFinite(free_bytes)
        ? { free_bytes, min_free_bytes: limitOf(database.min_free_bytes) }
        : undefined;
    },
    stop: () => clearInterval(ticker),
  };
}

/** The free space below which ingest stops. */
export function limitOf(min_free_bytes: number): number {
  return Math.max(min_free_bytes, FULL_BYTES);
}

/** Says that a disk has too little room, with what it has and what is required. */
export function lowDisk(directory: string, free_bytes: number, min_free_bytes: number): string {
  return `Disk low: ${directory} has ${formatSize(free_bytes)} free, and ingest stops below ` +
    `${formatSize(min_free_bytes)} (database.min_free)`;
}
