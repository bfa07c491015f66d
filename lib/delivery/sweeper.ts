import { Cron } from "croner";
import { messageOf } from "../core/errors.ts";
import type { SealKey } from "../core/seal.ts";
import { cancelRetired, failExhausted, findExpired } from "../store/deliveries.ts";
import { purgeAttempts, purgeEvents } from "../store/events.ts";
import { purgeStats, rollUp } from "../store/stats.ts";
import { tidy } from "../store/database.ts";
import { type Context, MIN_LEASE_MS } from "./context.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { dropExpiredSecrets } from "./rekey.ts";

/** The schedules of what keeps the tables in order. Each daemon runs them; none minds another. */
export interface Sweeper {
  /** Runs everything once, now. */
  sweep(): Promise<void>;
  stop(): Promise<void>;
}

/** Due deliveries of an endpoint that are looked through for expired leases, and for exhausted ones. */
const EXPIRED_DEPTH = 250;
const EXHAUSTED_DEPTH = 1_000;
const BATCH = 1_000;
/** Batches of one run, so that a run ends; the next one goes on. */
const MAX_BATCHES = 50;
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
  const old = async () => {
    const { attempts_ms, events_ms } = ctx.config().retention;
    await batches("Old attempts purged", () => purgeAttempts(admin, attempts_ms, BATCH));
    await batches("Old events purged", () => purgeEvents(admin, events_ms, BATCH));
    await batches("Old statistics purged", () => purgeStats(admin, BATCH));
  };
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

  const schedule = (pattern: string, name: string, what: () => Promise<void>) =>
    new Cron(pattern, { protect: true }, () => run(name, what));
  const crons = [
    schedule("*/2 * * * * *", "leases", leases),
    schedule("*/15 * * * * *", "exhausted deliveries", exhausted),
    schedule("*/5 * * * * *", "retired endpoints", orphans),
    schedule("*/10 * * * * *", "statistics", counts),
    schedule("15 * * * * *", "secrets", secrets),
    schedule("0 */5 * * * *", "old rows", old),
    schedule("30 * * * * *", "dead rows", busy),
    schedule("45 7 * * * *", "dead rows of large tables", growing),
  ];

  return {
    async sweep() {
      for (const what of [leases, exhausted, orphans, counts, secrets, old, busy, growing]) {
        await what();
      }
    },
    async stop() {
      stopping = true;
      for (const cron of crons) cron.stop();
      await Promise.all(running);
    },
  };
}
