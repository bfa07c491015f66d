import { Cron } from "croner";
import { messageOf } from "../core/errors.ts";
import type { Context } from "../delivery/context.ts";

/** One thing that keeps the tables in order. */
export interface Job {
  /** Completes "The sweep of … failed", and names the job in the signal `maintained`. */
  readonly name: string;
  /** A cron pattern with seconds. */
  readonly pattern: string;
  /** The message logged with the number of changed rows, unless that is zero. */
  readonly done?: string;
  /** Does a bounded amount of work, less once `stopping` is aborted. Returns how many rows it changed. */
  run(ctx: Context, stopping: AbortSignal): Promise<number>;
}

/** Jobs that run by the clock. */
export interface Schedule {
  /** Names of the jobs. */
  readonly names: readonly string[];
  /** Runs a job now, after a run of it under way. Resolves when that run has ended. */
  run(job: Job): Promise<void>;
  /** Starts no further run; resolves when those under way have ended. */
  stop(): Promise<void>;
}

/**
 * Runs each job by its pattern, never two runs of one at a time. Jobs do not wait for each other. Each
 * daemon has such a schedule: the statements of a job are safe to run anywhere at once.
 */
export function startSchedule(ctx: Context, jobs: readonly Job[]): Schedule {
  const stopping = new AbortController();
  const running = new Map<Job, Promise<void>>();
  const start = (job: Job): Promise<void> => {
    const run = runJob(ctx, job, stopping.signal).finally(() => running.delete(job));
    running.set(job, run);
    return run;
  };
  // A run that is under way serves whoever asks once it has begun.
  const join = (job: Job) => running.get(job) ?? start(job);
  const crons = jobs.map((job) => new Cron(job.pattern, { protect: true }, () => join(job)));
  return {
    names: jobs.map(({ name }) => name),
    async run(job) {
      await running.get(job);
      if (!stopping.signal.aborted) await join(job);
    },
    async stop() {
      stopping.abort();
      for (const cron of crons) cron.stop();
      await Promise.all(running.values());
    },
  };
}

/** Runs a job once, logs and reports what came of it. Never rejects. */
export async function runJob(ctx: Context, job: Job, stopping: AbortSignal): Promise<void> {
  const { name, done } = job;
  const started_ms = performance.now();
  let count = 0;
  let failure: string | null = null;
  try {
    count = await job.run(ctx, stopping);
    if (done !== undefined && count > 0) ctx.log.info(done, { count });
  } catch (error) {
    // A stop does not wait long: the database may be closed under a run.
    if (stopping.aborted) return;
    failure = messageOf(error);
    ctx.log.error(`The sweep of ${name} failed`, { cause: failure });
  }
  const duration_ms = performance.now() - started_ms;
  ctx.signals.maintained.emit({ job: name, count, duration_ms, failure });
}
