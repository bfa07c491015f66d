/** How late a timer may come, in periods, before that counts as a stall of the process. */
const LATE_PERIODS = 3;

/** Notices stalls of the process by a timer of a fixed period. */
export interface StallWatch {
  /** The timer begins at `now_ms`. */
  start(now_ms: number): void;
  /**
   * The timer came at `now_ms`: how late by a stall, or 0. Timers come before sockets, so answers may wait
   * that nobody has read yet. Two stalls in a row count as a slow machine, on which time passes all the
   * same: the second is 0.
   */
  tick(now_ms: number): number;
}

/** A watch for a timer of `period_ms`. */
export function makeStallWatch(period_ms: number): StallWatch {
  let ticked_ms = 0;
  let was_late = false;
  return {
    start: (now_ms) => void (ticked_ms = now_ms),
    tick(now_ms) {
      const late_ms = now_ms - ticked_ms - period_ms;
      ticked_ms = now_ms;
      was_late = late_ms > LATE_PERIODS * period_ms && !was_late;
      return was_late ? late_ms : 0;
    },
  };
}
