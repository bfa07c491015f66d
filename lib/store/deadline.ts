import { type Bagged, makeBag } from "../core/bag.ts";

class SilentError extends Error {
  readonly code = "TIMEOUT";
}

/** Whether an error is the rejection of `within`. */
export function isSilence(error: unknown): boolean {
  return error instanceof SilentError;
}

/** A caller that waits for an answer. */
interface Wait extends Bagged {
  readonly timeout_ms: number;
  /** By `clock`. */
  readonly ends_at: number;
  readonly reject: (error: Error) => void;
}

/** How late a wait may end. */
const LOOK_MS = 100;
const waits = makeBag<Wait>();
let looking: ReturnType<typeof setInterval> | undefined;
let looked_at = 0;
let was_late = false;
/** Time in which this process did not run: nobody's silence. */
let stalled_ms = 0;
const clock = () => performance.now() - stalled_ms;

/**
 * The answer of `work`, or a rejection with the code `TIMEOUT` after `timeout_ms`.
 *
 * All waits share one timer. With one each, the runtime's list of timers links them, answers and all,
 * to later ones, and the garbage collector keeps every delivery alive until its next full collection.
 */
export function within<T>(work: PromiseLike<T>, timeout_ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const wait = { timeout_ms, ends_at: clock() + timeout_ms, reject, place: -1 };
    waits.add(wait);
    startLooking();
    work.then((answer) => {
      forget(wait);
      resolve(answer);
    }, (error) => {
      forget(wait);
      reject(error);
    });
  });
}

function startLooking(): void {
  if (looking !== undefined) return;
  looked_at = performance.now();
  looking = setInterval(endWaits, LOOK_MS);
}

// Timers come before sockets: after a stall, answers may wait that nobody has read yet. Two stalls in a
// row count as a slow machine, on which time passes all the same.
function noticeStall(): void {
  const before = looked_at;
  looked_at = performance.now();
  const late_ms = looked_at - before - LOOK_MS;
  const is_late = late_ms > 3 * LOOK_MS && !was_late;
  was_late = is_late;
  if (is_late) stalled_ms += late_ms;
}

function endWaits(): void {
  noticeStall();
  const now = clock();
  for (const wait of waits) {
    if (now < wait.ends_at) continue;
    forget(wait);
    wait.reject(new SilentError(`The database gave no answer within ${wait.timeout_ms} ms`));
  }
}

function forget(wait: Wait): void {
  waits.delete(wait);
  if (waits.size > 0) return;
  clearInterval(looking);
  looking = undefined;
}
