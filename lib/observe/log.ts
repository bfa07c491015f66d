import { type LineWriter, makeLineWriter } from "./line_writer.ts";

/** Fields of a line: ids, counts and reasons only, never a secret or a payload. */
export type Fields = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** Structured log: one line per call. */
export interface Log {
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
}

/**
 * A log that passes each line to `write`: a JSON object, or text for a terminal. `now` gives milliseconds
 * since 1970. Never throws: a log that cannot be written must not stop a delivery.
 */
export function makeLog(
  write: (line: string) => void,
  style: "json" | "text",
  now: () => number = Date.now,
): Log {
  const line = (level: "info" | "warn" | "error") => (message: string, fields: Fields = {}) => {
    const time = new Date(now()).toISOString();
    try {
      write(
        style === "json"
          ? JSON.stringify({ time, level, message, ...fields })
          : `${time.slice(11, 23)} ${level === "info" ? "" : level + ": "}${message}${
            inWords(fields)
          }`,
      );
    } catch {
      // A closed pipe or a full disk, and nowhere left to report it.
    }
  };
  return { info: line("info"), warn: line("warn"), error: line("error") };
}

function inWords(fields: Fields): string {
  const words = Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== null)
    // Causes may quote receivers, whose control characters would act on a terminal.
    // deno-lint-ignore no-control-regex
    .map(([name, value]) => `${name}=${String(value).replace(/[\x00-\x1f\x7f-\x9f]/g, "\ufffd")}`);
  return words.length === 0 ? "" : `  ${words.join(" ")}`;
}

/** How a daemon logs to standard error: text on a terminal, else JSON. */
export function logStyle(): "json" | "text" {
  return Deno.stderr.isTerminal() ? "text" : "json";
}

/** The log of a daemon, on standard error. */
export function standardLog(): { readonly log: Log; readonly lines: LineWriter } {
  const style = logStyle();
  const lines = makeLineWriter(Deno.stderr, (count) => {
    let line = "";
    makeLog((text) => line = text, style).warn(`${count} lines dropped`, { dropped: count });
    return line;
  });
  return { log: makeLog(lines.write, style), lines };
}

/**
 * Sends what packages write to the console to the log, until it is disposed of: the console would wait
 * for its reader, and the daemon with it.
 */
export function logConsole(log: Log): Disposable {
  const own = { ...console };
  const to = (level: keyof Log) => (...values: unknown[]) =>
    log[level](
      values.map((value) => typeof value === "string" ? value : Deno.inspect(value)).join(" "),
    );
  const { info, warn, error } = { info: to("info"), warn: to("warn"), error: to("error") };
  Object.assign(console, { debug: info, log: info, info, warn, error });
  return { [Symbol.dispose]: () => void Object.assign(console, own) };
}
