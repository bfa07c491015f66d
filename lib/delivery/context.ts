import type { Config } from "../config/config.ts";
import type { SharedFile } from "../config/shared.ts";
import type { Log } from "../observe/log.ts";
import type { Signals } from "../observe/signals.ts";
import type { Tracing } from "../observe/traces.ts";
import type { Database } from "../store/database.ts";

/** What every part of the engine needs, made once by the daemon. */
export interface Context {
  /** The configuration in force: read it each time, a reload replaces it. */
  readonly config: () => Config;
  /** The digests of that configuration. */
  readonly shared: () => SharedFile;
  readonly db: Database;
  readonly log: Log;
  readonly signals: Signals;
  /** Undefined while nothing is traced. */
  readonly tracing?: Tracing | undefined;
  readonly clock: Clock;
  /** A number in [0, 1). */
  readonly random: () => number;
  /**
   * The number under which this daemon leases, 32 bits: that of the one before at the same address, so
   * that it finds what a kill left leased.
   */
  readonly holder: number;
}

/**
 * The database's time, in milliseconds since 1970, as well as this process knows it: it ticks by the
 * monotonic clock from the last `sync`, so that a wrong wall clock of this machine does not matter.
 * For ids and for what is shown and signed; what is scheduled, the database schedules.
 */
export interface Clock {
  now(): number;
  /** The database said `now_ms`, asked at `asked_at` of `performance.now()`. */
  sync(now_ms: number, asked_at: number): void;
}

/** A clock that follows this machine's wall clock until the first `sync`. */
export function makeClock(): Clock {
  let offset_ms = Date.now() - performance.now();
  return {
    now: () => performance.now() + offset_ms,
    // The database's clock was read between question and answer. An offset that fits stays: a late answer
    // of a busy process says little.
    sync(now_ms, asked_at) {
      offset_ms = Math.min(Math.max(offset_ms, now_ms - performance.now()), now_ms - asked_at);
    },
  };
}

/** 32 random bits from a number in [0, 1). */
export function random32(random: () => number): number {
  return Math.floor(random() * 0x100000000);
}

/** No lease is shorter. */
export const MIN_LEASE_MS = 60_000;

/**
 * How long a claim lasts: the longest timeout of the endpoints, half a minute in which a result
 * can be recorded although the database is away, and half a minute of slack.
 */
export function leaseOf(timeout_ms: number): number {
  return timeout_ms + MIN_LEASE_MS;
}
