/**
 * How the bench speaks with its own processes: one JSON object per line, on standard input and
 * output. When the bench is gone, its end of the pipe closes and they leave. Node and Deno.
 */

import process from "node:process";
import { createInterface } from "node:readline";

export type Command = Readonly<Record<string, unknown>> & { readonly do: string };

/** What a line that is an answer begins with. */
export const MARK = "@";

/** Answers each command by its handler, in the order they come; `{error}` where one throws. */
export function serveCommands(
  handlers: Readonly<Record<string, (command: Command) => unknown>>,
): void {
  // Marked, because what a library logs goes to standard output as well.
  const say = (answer: unknown) => process.stdout.write(MARK + JSON.stringify(answer ?? {}) + "\n");
  let last: Promise<unknown> = Promise.resolve();
  createInterface({ input: process.stdin }).on("line", (line) => {
    last = last.then(async () => {
      try {
        const command = JSON.parse(line) as Command;
        const handler = handlers[command.do];
        if (handler === undefined) throw new Error(`No handler for ${command.do}`);
        say(await handler(command));
      } catch (error) {
        say({ error: error instanceof Error ? error.stack : String(error) });
      }
    });
  }).on("close", () => process.exit(0));
}

/**
 * Milliseconds on the clock that all Node processes of this machine share. Read from it each time: an offset to
 * `performance.now()`, taken once, is wrong by however long the process waited between the two readings.
 */
export function now(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}
