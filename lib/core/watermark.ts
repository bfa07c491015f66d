/** A row with a number of a sequence. */
export interface Numbered {
  readonly no: number;
  /** When the number was taken, in milliseconds of the clock of `now_ms`. */
  readonly at_ms: number;
}

/** How far a sequence has been read whose rows are committed in another order. Never changes. */
export interface Watermark {
  /** Nothing is missing up to here: who resumes from it misses nothing. */
  readonly low: number;
  /** The highest number read. */
  readonly high: number;
  /** Numbers below that which may still come. */
  readonly missing: readonly number[];
  /** After rows that were read, in the order of their numbers, at the time `now_ms`. */
  after(rows: readonly Numbered[], now_ms: number): Watermark;
}

/**
 * How long a missing number is waited for, in milliseconds, from the next one on. Its statement has failed
 * by then, or takes longer than any should.
 */
export const PATIENCE_MS = 15_000;

/** Most numbers that are waited for in one gap: a server that crashed skips some. */
const MAX_GAP = 10_000;

/** A watermark at `start`: nothing below it is missing. */
export function makeWatermark(start: number): Watermark {
  return watermark(start, new Map());
}

/** `missing` in their order, each with the time at which the next number that was read was taken. */
function watermark(high: number, missing: ReadonlyMap<number, number>): Watermark {
  const [first] = missing.keys();
  return {
    low: first === undefined ? high : first - 1,
    high,
    missing: [...missing.keys()],
    after(rows, now_ms) {
      const next = new Map(missing);
      let last = high;
      for (const { no, at_ms } of rows) {
        next.delete(no);
        for (let gap = Math.max(last + 1, no - MAX_GAP); gap < no; gap++) next.set(gap, at_ms);
        last = Math.max(last, no);
      }
      for (const [no, at_ms] of next) {
        // A time yet to come was taken before the clock was set back.
        if (at_ms > now_ms || now_ms - at_ms >= PATIENCE_MS) next.delete(no);
      }
      return watermark(last, next);
    },
  };
}
