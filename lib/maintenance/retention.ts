import { type Purged, purgeEvents, purgeSubjects } from "../store/events.ts";
import {
  blankPayloads,
  keyBlocks,
  purgeKeys,
  trimAttempts,
  type Trimmed,
} from "../store/retention.ts";
import { closeOld, dropClosed, makeAhead } from "../store/partitions.ts";
import { purgePosts, purgeStats } from "../store/stats.ts";
import type { Context } from "../delivery/context.ts";
import type { FilePolicy } from "../store/endpoints.ts";
import { BATCH, inBatches } from "./batches.ts";
import type { Job } from "./schedule.ts";

/** The policy in force. */
type Policy = () => FilePolicy;

const DAY_MS = 86_400_000;

/**
 * Most pieces of one run, each of up to `BATCH` rows: what is read and has nothing left to take away takes some 4 ms a
 * piece, and a purge must keep up with tens of thousands of events a second.
 */
const MAX_PIECES = 10_000;

/**
 * Takes away the payloads of events older than `retention.payloads`. Not if events themselves are kept no
 * longer: they go at once, in whole weeks.
 */
export function oldPayloads(policy: Policy): Job {
  return {
    name: "old payloads",
    pattern: "50 */5 * * * *",
    done: "Old payloads removed",
    run: beforeEvents(policy, "payloads_ms", blankPayloads),
  };
}

/** The same for `retention.attempts`: all but the last attempt of each delivery, and its response. */
export function oldAttempts(policy: Policy): Job {
  return {
    name: "old attempts",
    pattern: "0 */5 * * * *",
    done: "Deliveries freed of old attempts",
    run: beforeEvents(policy, "attempts_ms", trimAttempts),
  };
}

/** Makes the partitions of this week and the next. */
export const weeksAhead: Job = {
  name: "weeks ahead",
  pattern: "50 30 * * * *",
  async run({ db }) {
    await makeAhead(db.admin);
    return 0;
  },
};

/** Drops whole weeks of events older than `retention.events`, with their deliveries and attempts. */
export function oldWeeks(policy: Policy): Job {
  return {
    name: "old weeks",
    pattern: "5 */5 * * * *",
    done: "Old weeks dropped",
    async run({ db, log }, stopping) {
      await closeOld(db.admin, policy().retention.events_ms);
      const { dropped, held_up } = await dropClosed(db.admin, stopping);
      if (held_up) log.info("An old week is not dropped yet: a transaction began before that");
      return dropped;
    },
  };
}

/** Purges events older than `retention.events` in the weeks that pending deliveries hold up. */
export function oldEvents(policy: Policy): Job {
  return {
    name: "old events",
    pattern: "10 */5 * * * *",
    done: "Old events purged",
    run: inPieces(({ db }, position) =>
      purgeEvents(db.admin, policy().retention.events_ms, position, BATCH)
    ),
  };
}

/** Blocks of keys that one step reads, some 6,000 rows. */
const KEY_BLOCKS = 100;
/** Least steps of a run, and runs in which it gets through any table: a day. */
const KEY_STEPS = 40;
const KEY_RUNS = 24;

/**
 * Forgets idempotency keys older than `retention.keys`, at most a day later. The blocks of the table are read
 * in turn, whoever reads them: a daemon begins anywhere, so that all are read even if it never runs long.
 */
export function oldKeys(policy: Policy): Job {
  let next: number | undefined;
  return {
    name: "old keys",
    pattern: "25 20 * * * *",
    done: "Old idempotency keys forgotten",
    async run({ db, random }, stopping) {
      const blocks = await keyBlocks(db.admin);
      const all = Math.ceil(blocks / KEY_BLOCKS);
      const steps = Math.min(all, Math.max(KEY_STEPS, Math.ceil(all / KEY_RUNS)));
      next ??= Math.floor(random() * all);
      let purged = 0;
      for (let i = 0; i < steps && !stopping.aborted; i++) {
        const first = (next % all) * KEY_BLOCKS;
        purged += await purgeKeys(db.admin, policy().retention.keys_ms, first, KEY_BLOCKS);
        next = (next + 1) % all;
      }
      return purged;
    },
  };
}

/** Longest gap between two events of an appointment: bookings are made up to a year ahead. */
const SUBJECTS_KEPT_MS = 400 * DAY_MS;

/** Forgets the businesses of appointments without an event for 400 days, or for `retention.events`. */
export function oldSubjects(policy: Policy): Job {
  return {
    name: "old subjects",
    pattern: "15 40 * * * *",
    done: "Old appointments forgotten",
    run: inPieces(({ db }, position) =>
      purgeSubjects(
        db.admin,
        Math.max(SUBJECTS_KEPT_MS, policy().retention.events_ms),
        position,
        BATCH,
      )
    ),
  };
}

/** Purges statistics that no window reaches any more. */
export const oldStatistics: Job = {
  name: "old statistics",
  pattern: "20 */5 * * * *",
  done: "Old statistics purged",
  run: async ({ db }, stopping) =>
    await inBatches(stopping, () => purgeStats(db.admin, BATCH)) +
    await inBatches(stopping, () => purgePosts(db.admin, BATCH)),
};

// Only if that is kept for a shorter time than events.
function beforeEvents(
  policy: Policy,
  kept: "payloads_ms" | "attempts_ms",
  step: typeof trimAttempts,
): Job["run"] {
  return alongEvents(({ db }, position) => {
    const { events_ms, [kept]: age_ms } = policy().retention;
    return age_ms === events_ms ? undefined : step(db.admin, age_ms, position, BATCH);
  });
}

/**
 * Along the events, which become old in their order: a run continues where the last one stopped, and finds
 * nothing to read but what has become old since. Once a day it starts over, for rows that had to stay: not before it
 * came to the end, or what a day does not suffice for would never have its turn. `step` takes what is old from a
 * position on; it answers undefined where nothing is to be done.
 */
export function alongEvents(
  step: (ctx: Context, position: string | null) => Promise<Trimmed> | undefined,
): Job["run"] {
  let position: string | null = null;
  let began = -Infinity;
  let is_through = true;
  return async (ctx, stopping) => {
    const now = ctx.clock.now();
    if (is_through && Math.abs(now - began) >= DAY_MS) [position, began] = [null, now];
    let trimmed = 0;
    for (let i = 0; i < MAX_PIECES && !stopping.aborted; i++) {
      const piece = await step(ctx, position);
      if (piece === undefined) break;
      trimmed += piece.trimmed;
      position = piece.position ?? position;
      is_through = piece.is_last;
      if (is_through) break;
    }
    return trimmed;
  };
}

// Piece by piece from the oldest on, so that rows that must stay are read once per pass and not once per
// piece. A run continues where the last one stopped, and from the start after reaching the end.
function inPieces(
  step: (ctx: Context, position: string | null) => Promise<Purged>,
): Job["run"] {
  let position: string | null = null;
  return async (ctx, stopping) => {
    let purged = 0;
    for (let i = 0; i < MAX_PIECES && !stopping.aborted; i++) {
      const piece = await step(ctx, position);
      purged += piece.purged;
      position = piece.position;
      if (position === null) break;
    }
    return purged;
  };
}
