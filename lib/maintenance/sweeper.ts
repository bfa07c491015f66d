import { Cron } from "croner";
import { messageOf } from "../core/errors.ts";
import type { SealKey } from "../core/seal.ts";
import { cancelRetired, failExhausted, findExpired } from "../store/deliveries.ts";
import { purgeAttempts, type Purged, purgeEvents } from "../store/events.ts";
import { purgeStats, rollUp } from "../store/stats.ts";
import { tidy } from "../store/database.ts";
import { type Context, MIN_LEASE_MS } from "../delivery/context.ts";
import type { Dispatcher } from "../delivery/dispatcher.ts";
import { dropExpiredSecrets } from "./sealed_secrets.ts";

/** The schedules of what keeps the tables in order. Each daemon runs them; none minds another. */
export interface Sweeper {
  /** Runs everything once, now, one after the other; what fails is logged. */
  sweep(): Promise<void>;
  stop(): Promise<void>;
}

/** Due deliveries of an endpoint that are looked through for expired leases, and for exhausted ones. */
const EXPIRED_DEPTH = 250;
const EXHAUSTED_DEPTH = 1_000;
const BATCH = 1_000;
/** Batches of one run, so that a run ends; the next one goes on. */
const MAX_BATCHES = 50;
/** Of a purge, which must keep up with thousands of events a second. */
const MAX_PIECES = 1_000;
/** Minutes of attempts that are counted in one run. */
const MAX_STEPS = 500;

/**
 * Starts the sweep: expired leases, exhausted and orphaned deliveries, statistics, secrets whose overlap
 * has ended (which `seal_keys` open), retention.
 */
export function startSweeper(
  ctx: Context,
  dispatcher: Pick<Dispatcher, "interrupted">,
  seal_keys: readonly SealKey[] = [],
): Sweeper {
  const running = new Set<Promise<void>>();
  let stopping = false;

  async function batches(what: string, step: () => Promise<number>): Promise<void> {
    let done = 0;
    for (let i = 0; i < MAX_BATCHES && !stopping; i++) {
      const found = await step();
      done += found;
      if (found < BATCH) break;
    }
    if (done > 0) ctx.log.info(what, { count: done });
  }

  // Piece by piece from the oldest on, so that what must stay is passed by once and not for each piece. A
  // run goes on where the one before stopped, and begins anew behind the end.
  function purge(what: string, step: (position: string | null) => Promise<Purged>) {
    let position: string | null = null;
    return async () => {
      let done = 0;
      for (let i = 0; i < MAX_PIECES && !stopping; i++) {
        const piece = await step(position);
        done += piece.purged;
        position = piece.position;
        if (position === null) break;
      }
      if (done > 0) ctx.log.info(what, { count: done });
    };
  }

  // A lease that ran out belongs to a delivery that has been due for longer than a lease lasts. Only
  // opening the embedded database ends younger ones, so the first looks are at all.
  let age_ms = 0;
  async function leases(): Promise<void> {
    const expired = await findExpired(ctx.db.admin, EXPIRED_DEPTH, BATCH, age_ms);
    if (expired.length === 0) age_ms = MIN_LEASE_MS;
    for (const lease of expired) dispatcher.interrupted(lease);
    if (expired.length > 0) ctx.log.warn("Leases ran out", { count: expired.length });
  }

  const { admin } = ctx.db;
  const exhausted = () =>
    batches(
      "Exhausted deliveries failed",
      () => failExhausted(admin, EXHAUSTED_DEPTH, BATCH, ctx.config().delivery.retry_ms.length),
    );
  const orphans = () =>
    batches("Deliveries of retired endpoints cancelled", () => cancelRetired(admin, BATCH));
  const attempts = purge(
    "Old attempts purged",
    (position) => purgeAttempts(admin, ctx.config().retention.attempts_ms, position, BATCH),
  );
  const events = purge(
    "Old events purged",
    (position) => purgeEvents(admin, ctx.config().retention.events_ms, position, BATCH),
  );
  const statistics = () => batches("Old statistics purged", () => purgeStats(admin, BATCH));
  const counts = async () => {
    for (let i = 0; i < MAX_STEPS && !stopping; i++) {
      if ((await rollUp(admin))?.is_behind !== true) break;
    }
  };
  const secrets = () =>
    batches(
      "Secrets dropped whose overlap ended",
      () => dropExpiredSecrets(ctx.db, seal_keys, ctx.clock.now(), BATCH),
    );
  // What grows is large, and the embedded database does one thing at a time.
  const busy = () => tidy(ctx.db, "busy");
  const growing = () => tidy(ctx.db, "growing");

  function run(name: string, what: () => Promise<void>): Promise<void> {
    const run: Promise<void> = what().catch((error) => {
      if (!stopping) ctx.log.error(`The sweep of ${name} failed`, { cause: messageOf(error) });
    }).finally(() => running.delete(run));
    running.add(run);
    return run;
  }

  const jobs = [
    ["*/2 * * * * *", "leases", leases],
    ["*/15 * * * * *", "exhausted deliveries", exhausted],
    ["*/5 * * * * *", "retired endpoints", orphans],
    ["*/10 * * * * *", "statistics", counts],
    ["15 * * * * *", "secrets", secrets],
    // Each by itself: one that fails does not keep the others from running.
    ["0 */5 * * * *", "old attempts", attempts],
    ["10 */5 * * * *", "old events", events],
    ["20 */5 * * * *", "old statistics", statistics],
    ["30 * * * * *", "dead rows", busy],
    ["45 7 * * * *", "dead rows of large tables", growing],
  ] as const;
  const crons = jobs.map(([pattern, name, what]) =>
    new Cron(pattern, { protect: true }, () => run(name, what))
  );

  return {
    async sweep() {
      for (const [, name, what] of jobs) await run(name, what);
    },
    async stop() {
      stopping = true;
      for (const cron of crons) cron.stop();
      await Promise.all(running);
    },
  };
}
