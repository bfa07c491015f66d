import { type Bagged, makeBag } from "../core/bag.ts";
import { makeStallWatch } from "../core/stall.ts";

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
const stalls = makeStallWatch(LOOK_MS);
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
  stalls.start(performance.now());
  looking = setInterval(endWaits, LOOK_MS);
}

function endWaits(): void {
  stalled_ms += stalls.tick(performance.now());
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

/** Waits until `woken` resolves, at most `wait_ms`. */
export async function pause(woken: Promise<void>, wait_ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const slept = new Promise<void>((resolve) => timer = setTimeout(resolve, wait_ms));
  await Promise.race([slept, woken]);
  clearTimeout(timer);
}
