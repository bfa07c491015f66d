import type { Signals } from "../observe/signals.ts";
import type { Endings } from "../store/fragments.ts";

/** Most rows that one statement of a job changes: locks are held briefly. */
export const BATCH = 1_000;
/** Most batches of one run, so that it ends; the next run goes on. */
const MAX_BATCHES = 50;

/** Repeats `step`, which changes up to `BATCH` rows, until it finds fewer. Returns the sum. */
export async function inBatches(
  stopping: AbortSignal,
  step: () => Promise<number>,
): Promise<number> {
  let sum = 0;
  for (let i = 0; i < MAX_BATCHES && !stopping.aborted; i++) {
    const found = await step();
    sum += found;
    if (found < BATCH) break;
  }
  return sum;
}

/** Reports what a statement ended, and returns how much it found. */
export function reportEnded(
  { ended: signal }: Pick<Signals, "ended">,
  { found, ended }: Endings,
): number {
  ended.forEach(signal.emit);
  return found;
}
