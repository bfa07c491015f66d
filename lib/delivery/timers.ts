/** Timers that end together. */
export interface Timers {
  /** Calls `run` after `wait_ms`, unless `clear` was called. */
  later(wait_ms: number, run: () => void): void;
  /** Ends all timers, for good. */
  clear(): void;
}

/** No timers yet. */
export function makeTimers(): Timers {
  const timers = new Set<ReturnType<typeof setTimeout>>();
  let ended = false;
  return {
    later(wait_ms, run) {
      if (ended) return;
      const timer = setTimeout(() => {
        timers.delete(timer);
        run();
      }, wait_ms);
      timers.add(timer);
    },
    clear() {
      ended = true;
      for (const timer of timers) clearTimeout(timer);
    },
  };
}
