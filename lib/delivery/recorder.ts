import { deliveryId } from "../core/ids.ts";
import { messageOf } from "../core/errors.ts";
import { isOperational } from "../core/matching.ts";
import { isAstray, isOfConnection, isRefusal } from "../store/errors.ts";
import { within } from "../store/deadline.ts";
import type { SignalValues } from "../observe/signals.ts";
import type { Lease } from "../store/claims.ts";
import { record, type Result } from "../store/results.ts";
import type { Context } from "./context.ts";

/** A result to be recorded. */
export type Unrecorded = Result & {
  /** When its lease runs out, by `performance.now()`: recording is tried until then. */
  readonly lease_ends_at: number;
  /** From when the delivery is owed to the attempt's end. */
  readonly age_ms: number;
};

/** Records results in groups: those that arrive while a group is being written are the next. */
export interface Recorder {
  add(result: Unrecorded): void;
  /** Deliveries whose results are not written yet, or were refused by the database. */
  leases(): Iterable<Lease>;
  /** Results not yet written. The dispatcher claims nothing more while they are too many. */
  readonly backlog: number;
  /** Whether the last write failed and is being tried again: what is sent now could be lost as well. */
  readonly failing: boolean;
  /**
   * Resolves when nothing is left to write, or after `patience_ms` (at least a second). Results that fail
   * after that are not tried again.
   */
  flush(patience_ms: number): Promise<void>;
}

const MAX_BATCH = 500;
const ANSWER_TIMEOUT_MS = 35_000;
const MAX_BACKOFF_MS = 1_000;
const MIN_PATIENCE_MS = 1_000;

/** Results at the front that are recorded together: those of operational events are counted nowhere. */
function sizeOfGroup(queue: readonly Unrecorded[]): number {
  const isCounted = ({ lease }: Unrecorded) => !isOperational(lease.type);
  const [first] = queue;
  const end = queue.findIndex((result, index) =>
    index === MAX_BATCH || (first !== undefined && isCounted(result) !== isCounted(first))
  );
  return end < 0 ? queue.length : end;
}

/** A recorder that reports each result once it is written, and whether its delivery goes on. */
export function makeRecorder(
  ctx: Pick<Context, "db" | "log" | "signals">,
  recorded: (result: Unrecorded, goes_on: boolean) => void,
): Recorder {
  const { signals } = ctx;
  const queue: Unrecorded[] = [];
  let writing: Unrecorded[] = [];
  /** Refused by the database. They were sent, so their leases must run out. */
  let refused: Unrecorded[] = [];
  let running: Promise<void> | undefined;
  let patience_ends_at = Infinity;
  let endPause = () => {};
  let failing = false;

  async function run(): Promise<void> {
    let backoff_ms = 50;
    // Results of one turn of the event loop go together.
    await Promise.resolve();
    while (queue.length > 0) {
      writing = queue.splice(0, sizeOfGroup(queue));
      try {
        await write(writing);
        failing = false;
        backoff_ms = 50;
      } catch (error) {
        failing = true;
        if (isAstray(error)) ctx.db.reset();
        if (!isOfConnection(error)) {
          signals.statement_failed.emit({ part: "engine", cause: messageOf(error) });
        }
        ctx.log.error("Recording failed, trying again", {
          results: writing.length,
          cause: messageOf(error),
        });
        queue.unshift(...writing.filter(stillLeased));
        if (queue.length > 0) await pause(backoff_ms);
        backoff_ms = Math.min(backoff_ms * 2, MAX_BACKOFF_MS);
      }
      writing = [];
    }
    failing = false;
    running = undefined;
  }

  function pause(wait_ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait_ms);
      endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async function idle(): Promise<void> {
    while (running !== undefined) await running;
  }

  function giveUp(): void {
    const left = [...writing, ...queue.splice(0)];
    writing = [];
    left.forEach(stillLeased); // which logs each of them
    endPause();
  }

  // A result that has outlived its lease is lost: maintenance counts the attempt as interrupted.
  function stillLeased(result: Unrecorded): boolean {
    if (performance.now() < Math.min(result.lease_ends_at, patience_ends_at)) return true;
    ctx.log.error("An attempt could not be recorded in time and will be made again", {
      delivery: deliveryId(result.lease.uuid),
    });
    return false;
  }

  async function write(results: readonly Unrecorded[]): Promise<void> {
    const now = performance.now();
    try {
      const answer = await within(record(ctx.db.engine, results, now), ANSWER_TIMEOUT_MS);
      const lost = new Set(answer.lost);
      const going_on = new Set(answer.going_on);
      for (const endpoint of answer.paused) {
        ctx.log.warn("Endpoint paused: it answered 410 Gone", { endpoint });
      }
      for (const result of results) {
        const { uuid } = result.lease;
        if (lost.has(uuid)) loseLease(result);
        else {
          const goes_on = going_on.has(uuid);
          if (signals.recorded.heard) signals.recorded.emit(describe(result, goes_on));
          recorded(result, goes_on);
        }
      }
    } catch (error) {
      if (!isRefusal(error)) throw error;
      if (results.length > 1) {
        // One result that the database refuses must not block the others.
        for (const result of results) await write([result]);
        return;
      }
      const now = performance.now();
      refused = [...refused.filter(({ lease_ends_at }) => lease_ends_at > now), ...results];
      ctx.log.error("The database refuses an attempt; it will be made again", {
        delivery: results[0] === undefined ? "" : deliveryId(results[0].lease.uuid),
        cause: messageOf(error),
      });
    }
  }

  function loseLease({ lease: { uuid, endpoint_no } }: Unrecorded): void {
    const delivery = deliveryId(uuid);
    ctx.log.warn("Lease lost", { delivery });
    signals.lease_lost.emit({ endpoint_no, delivery });
  }

  return {
    add(result) {
      queue.push(result);
      running ??= run();
    },
    *leases() {
      for (const { lease } of [...queue, ...writing, ...refused]) yield lease;
    },
    get backlog() {
      return queue.length + writing.length;
    },
    get failing() {
      return failing;
    },
    async flush(patience_ms) {
      const patience = Math.max(patience_ms, MIN_PATIENCE_MS);
      patience_ends_at = performance.now() + patience;
      // A database that gives no answer must not prolong this.
      await within(idle(), patience).catch(giveUp);
    },
  };
}

function describe(
  { lease, outcome, decision: { verdict }, age_ms, promise }: Unrecorded,
  goes_on: boolean,
): SignalValues["recorded"] {
  return {
    endpoint_no: lease.endpoint_no,
    outcome: outcome.outcome,
    verdict,
    // A retry that does not go on was cancelled meanwhile.
    status: goes_on
      ? null
      : verdict === "delivered" || verdict === "failed"
      ? verdict
      : "cancelled",
    attempt: lease.attempts + 1,
    duration_ms: outcome.duration_ms,
    age_ms,
    promise,
    operational: isOperational(lease.type),
  };
}
