import { messageOf } from "../core/errors.ts";
import { pause } from "../store/deadline.ts";

/**
 * Work that an administrator has asked for, done in batches at its own pace. Not a job of the schedule: it is
 * woken, and waits as long as the pace asks for.
 */
export interface Paced {
  /** Looks for work at once. */
  wake(): void;
  stop(): Promise<void>;
}

/** Interval of looking for work that another daemon was asked for. */
export const POLL_MS = 1_000;

/**
 * Repeats `round`, which returns the wait before the next in milliseconds. `failed` gets the cause of a
 * failure.
 */
export function startPaced(
  round: (isStopping: () => boolean) => Promise<number>,
  failed: (cause: string) => void,
): Paced {
  let stopping = false;
  let woken = Promise.withResolvers<void>();
  const running = run();

  async function run(): Promise<void> {
    while (!stopping) {
      let wait_ms = POLL_MS;
      try {
        wait_ms = await round(() => stopping);
      } catch (error) {
        if (!stopping) failed(messageOf(error));
      }
      await pause(woken.promise, wait_ms);
      woken = Promise.withResolvers();
    }
  }

  return {
    wake: () => woken.resolve(),
    async stop() {
      stopping = true;
      woken.resolve();
      await running;
    },
  };
}
