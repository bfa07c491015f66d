/**
 * Lines to a stream that may have no reader, or no room. Writing never blocks the event loop and never
 * throws: lines wait in a bounded buffer, those beyond it are dropped, and how many is written once
 * there is room again.
 */
export interface LineWriter {
  write(line: string): void;
  /** Resolves once everything is written or cannot be, or after `patience_ms`; true if it is written. */
  flush(patience_ms: number): Promise<boolean>;
}

/** The part of `Deno.stderr` that a writer needs. It is never asked for two writes at once. */
export interface Sink {
  write(bytes: Uint8Array): Promise<number>;
}

/** UTF-16 units that wait at most, next to those being written: some thousand lines of a log. */
const MAX_WAITING = 1024 * 1024;
const NEWLINE = 10;
const ENCODER = new TextEncoder();

/** A writer to `sink`; `dropped` makes the line that says how many are missing. */
export function makeLineWriter(sink: Sink, dropped: (count: number) => string): LineWriter {
  let waiting: string[] = [];
  let waiting_units = 0;
  let lost = 0;
  /** Whether the last line written was cut off. */
  let cut = false;
  let running: Promise<void> | undefined;

  function write(line: string): void {
    if (waiting_units + line.length > MAX_WAITING) lost++;
    else {
      waiting.push(line);
      waiting_units += line.length;
    }
    running ??= run().finally(() => running = undefined);
  }

  async function run(): Promise<void> {
    while (waiting.length > 0) {
      // Lines were dropped after those that wait, and before any that come from now on.
      const lines = lost > 0 ? [...waiting, dropped(lost)] : waiting;
      const missing = lost + waiting.length;
      waiting = [];
      waiting_units = 0;
      lost = 0;
      const written = await writeAll(lines);
      // Then the next line tries again.
      lost += missing - Math.min(written, missing);
    }
  }

  /** Writes lines, and returns how many are written: fewer if there is no reader, or no room. */
  async function writeAll(lines: readonly string[]): Promise<number> {
    const start = cut ? "\n" : "";
    const bytes = ENCODER.encode(`${start}${lines.join("\n")}\n`);
    let at = 0;
    try {
      while (at < bytes.length) at += await sink.write(bytes.subarray(at));
      cut = false;
      return Infinity;
    } catch {
      const done = bytes.subarray(0, at);
      if (at > 0) cut = done.at(-1) !== NEWLINE;
      return done.filter((byte) => byte === NEWLINE).length - (at > 0 ? start.length : 0);
    }
  }

  async function flush(patience_ms: number): Promise<boolean> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, patience_ms));
    await Promise.race([running, late]);
    clearTimeout(timer);
    return running === undefined && lost === 0;
  }

  return { write, flush };
}
