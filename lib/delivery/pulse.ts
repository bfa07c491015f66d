import { messageOf } from "../core/errors.ts";
import { type Overview, overview, type Room } from "../store/claims.ts";
import { within } from "../store/deadline.ts";
import { isAstray, isOfConnection } from "../store/errors.ts";
import type { Context } from "./context.ts";
import type { Timers } from "./timers.ts";

/** The dispatcher's contact with its database: asks once a second what is due, and knows how it goes. */
export interface Pulse {
  /** Begins to ask. */
  start(): void;
  /** The database answered a statement. */
  answered(): void;
  /** A statement failed: nothing is claimed until the next answer to a poll. */
  failed(what: string, error: unknown): void;
  /** Whether the last statement failed. */
  readonly is_away: boolean;
  /** Whether the database has answered within the last eight seconds. */
  readonly healthy: boolean;
  /** Resolves when no poll is under way. */
  settle(): Promise<void>;
}

/** What a pulse asks about, and who gets the answer. */
interface Polling {
  readonly asked: () => readonly Pick<Room, "endpoint_no" | "floor">[];
  readonly heard: (view: Overview) => void;
}

const POLL_MS = 1_000;
const HEALTHY_MS = 8_000;
/** Longest wait for an answer to any statement of the dispatcher. */
export const ANSWER_TIMEOUT_MS = 35_000;

/** A pulse whose polls end with `timers`. */
export function makePulse(
  { db, log, clock, signals }: Pick<Context, "db" | "log" | "clock" | "signals">,
  timers: Timers,
  { asked, heard }: Polling,
): Pulse {
  let failures = 0;
  let answered_at = performance.now();
  let polling: Promise<void> | undefined;

  function start(): void {
    timers.later(POLL_MS, () => polling = poll().finally(start));
  }

  async function poll(): Promise<void> {
    const asked_at = performance.now();
    try {
      const view = await within(overview(db.engine, asked()), ANSWER_TIMEOUT_MS);
      answered();
      failures = 0;
      clock.sync(view.now_ms, asked_at);
      heard(view);
    } catch (error) {
      failed("The poll failed, trying again", error);
    }
  }

  function answered(): void {
    answered_at = performance.now();
  }

  function failed(what: string, error: unknown): void {
    failures++;
    if (isAstray(error)) db.reset();
    if (!isOfConnection(error)) {
      signals.statement_failed.emit({ part: "engine", cause: messageOf(error) });
    }
    if (failures === 1 || failures % 30 === 0) {
      log.error(what, { cause: messageOf(error), failures });
    }
  }

  return {
    start,
    answered,
    failed,
    get is_away() {
      return failures > 0;
    },
    get healthy() {
      return performance.now() - answered_at < HEALTHY_MS;
    },
    settle: async () => await polling,
  };
}
