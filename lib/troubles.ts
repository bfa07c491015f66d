import type { Trouble } from "./core/alerting/kinds.ts";
import type { Disk } from "./disk.ts";
import type { Signals } from "./observe/signals.ts";

/** Statements that fail for a moment are an accident. */
const FAILING_MS = 30_000;
/** Failures with less time in between belong together, whatever succeeds meanwhile; after that they are over. */
const QUIET_MS = 60_000;
/** Shares of `database.min_free`: with less room somebody should look, and with more it is well again. */
const LOW = 2;
const ROOMY = 2.5;

/** The troubles of this daemon, as it tells the others with each heartbeat. `now` is monotonic, in milliseconds. */
export function watchTroubles(
  disk: Pick<Disk, "room">,
  { statement_failed }: Pick<Signals, "statement_failed">,
  now: () => number = () => performance.now(),
): () => readonly Trouble[] {
  let failures: { readonly from: number; readonly last: number } | undefined;
  let low_from: number | undefined;
  /** The failures that are not over at that time. */
  const lasting = (at: number) =>
    failures !== undefined && at - failures.last < QUIET_MS ? failures : undefined;

  statement_failed.on(() => {
    const at = now();
    failures = { from: lasting(at)?.from ?? at, last: at };
  });
  return () => {
    const at = now();
    const failing = lasting(at);
    const room = disk.room();
    const share = room === undefined ? Infinity : room.free_bytes / room.min_free_bytes;
    low_from = share < (low_from === undefined ? LOW : ROOMY) ? low_from ?? at : undefined;
    const troubles: Trouble[] = [];
    if (failing !== undefined && failing.last - failing.from >= FAILING_MS) {
      troubles.push({ kind: "database_failing", for_ms: at - failing.from });
    }
    if (low_from !== undefined && room !== undefined) {
      troubles.push({ kind: "disk_low", for_ms: at - low_from, ...room });
    }
    return troubles;
  };
}
