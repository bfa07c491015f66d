import { PLATFORM } from "../core/platform.ts";

/** What a command speaks through: the process's own streams, or a test's. */
export interface Io {
  /** Writes a line to standard output. */
  out(line: string): void;
  /** Writes a line to standard error. */
  err(line: string): void;
  /** Whether standard output is a terminal: only then there are colours and progress. */
  readonly isTerminal: boolean;
  /** The terminal's width; undefined if that is unknown, or the output no terminal. */
  readonly columns?: number | undefined;
  /** An environment variable. */
  env(name: string): string | undefined;
  /** All of standard input. */
  stdin(): Promise<Uint8Array>;
  /** Asks whoever sits at the terminal; null where nobody does. */
  ask(question: string): string | null;
}

const MAX_STDIN = 64 * 1024 * 1024;

/** The streams of this process. */
export function standardIo(): Io {
  return {
    out: writer(Deno.stdout),
    err: writer(Deno.stderr),
    isTerminal: Deno.stdout.isTerminal(),
    columns: columnsOf(),
    env: (name) => Deno.env.get(name),
    stdin: () => readAll(Deno.stdin.readable),
    // It would answer for somebody who never saw the question, were that written to a file.
    ask: (question) => Deno.stdout.isTerminal() ? prompt(question) : null,
  };
}

function columnsOf(): number | undefined {
  try {
    // Some terminals do not know their size; then the environment may.
    const columns = Deno.consoleSize().columns || Number(Deno.env.get("COLUMNS"));
    return columns > 0 ? columns : undefined;
  } catch {
    return undefined;
  }
}

function writer(stream: { writeSync(bytes: Uint8Array): number }): (line: string) => void {
  const encoder = new TextEncoder();
  return (line) => {
    const bytes = encoder.encode(line + "\n");
    try {
      for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
    } catch (error) {
      // `… | head` has read enough: that is no failure.
      if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
    }
  };
}

async function readAll(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  for await (const chunk of stream) {
    length += chunk.length;
    if (length > MAX_STDIN) throw new Error(`Standard input is longer than ${MAX_STDIN} bytes`);
    chunks.push(new Uint8Array(chunk));
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

type Paint = (text: string) => string;

/** Colours, or none: not on a terminal, or `NO_COLOR` is set (no-color.org). */
export interface Palette {
  readonly bold: Paint;
  readonly dim: Paint;
  readonly red: Paint;
  readonly green: Paint;
  readonly yellow: Paint;
  readonly cyan: Paint;
}

/** The palette of this output. */
export function paletteOf(io: Io): Palette {
  const on = io.isTerminal && (io.env("NO_COLOR") ?? "") === "";
  const paint = (start: number, end: number): Paint => (text) =>
    on ? `\x1b[${start}m${text}\x1b[${end}m` : text;
  return {
    bold: paint(1, 22),
    dim: paint(2, 22),
    red: paint(31, 39),
    green: paint(32, 39),
    yellow: paint(33, 39),
    cyan: paint(36, 39),
  };
}

// Control characters act on a terminal, and directional ones rearrange what is read there.
const UNPRINTABLE =
  // deno-lint-ignore no-control-regex
  /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** A text from outside, in one line: what a terminal would obey is written as `\u001b`. */
export function printable(text: string): string {
  return text.replace(
    UNPRINTABLE,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A text from outside as it is, in lines that no terminal obeys. Tabs are kept. */
export function printableLines(text: string): string[] {
  return text.split(/\r?\n/).map((line) => line.split("\t").map(printable).join("\t"));
}

/** Time of day of a moment, `15:04:05`, in UTC as in the daemon's log. */
export function clock(at_ms: number): string {
  return new Date(at_ms).toISOString().slice(11, 19);
}

/** A line on a terminal that says how far something is; elsewhere nothing. */
export interface Progress extends Disposable {
  show(text: string): void;
}

/** Progress goes to standard error, so that results can be read without it. */
export function makeProgress(io: Io): Progress {
  const { dim } = paletteOf(io);
  let last: string | undefined;
  const show = (text: string) => {
    if (!io.isTerminal || text === last) return;
    // Up to the line before, which is cleared.
    io.err((last === undefined ? "" : "\x1b[A\x1b[2K\r") + dim(text));
    last = text;
  };
  return { show, [Symbol.dispose]: () => last = undefined };
}

/** Calls `handler` on Ctrl-C and when the process is asked to end, until it is disposed of. */
export function onStop(handler: () => void): Disposable {
  return onSignal(PLATFORM.stop_signals, handler);
}

/** Calls `handler` on a request to reload by a signal, until it is disposed of. */
export function onReload(handler: () => void): Disposable {
  return onSignal(PLATFORM.reload_signals, handler);
}

/** Its signal is aborted as `onStop` calls, until it is disposed of. */
export function stoppable(): Disposable & { readonly signal: AbortSignal } {
  const stopping = new AbortController();
  return Object.assign(onStop(() => stopping.abort()), { signal: stopping.signal });
}

function onSignal(signals: readonly Deno.Signal[], handler: () => void): Disposable {
  for (const signal of signals) Deno.addSignalListener(signal, handler);
  return {
    [Symbol.dispose]() {
      for (const signal of signals) Deno.removeSignalListener(signal, handler);
    },
  };
}

/** Calls `handler` with each error that nothing catches, instead of Deno's end, until it is disposed of. */
export function onUncaught(handler: (error: unknown) => void): Disposable {
  const thrown = (event: ErrorEvent) => {
    event.preventDefault();
    handler(event.error);
  };
  const rejected = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    handler(event.reason);
  };
  globalThis.addEventListener("error", thrown);
  globalThis.addEventListener("unhandledrejection", rejected);
  return {
    [Symbol.dispose]() {
      globalThis.removeEventListener("error", thrown);
      globalThis.removeEventListener("unhandledrejection", rejected);
    },
  };
}
