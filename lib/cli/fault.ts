import { ConfigError } from "../config/error.ts";
import { AppError, messageOf } from "../core/errors.ts";
import { hideSecrets } from "../core/secret.ts";
import { logStyle, makeLog } from "../observe/log.ts";
import { type Command, UsageError } from "./command.ts";
import type { Io } from "./terminal.ts";
import { PROGRAM, usageLine } from "./usage.ts";

/** An error in words, and its stack where that was asked for. */
interface Fault {
  readonly message: string;
  readonly stack?: string;
}

/**
 * Reports why a command failed and answers its exit code: 1 failed, 2 wrong usage or configuration. The
 * errors of a command that logs are lines of its log: JSON, unless that is a terminal. Wrong usage is
 * text: it is the command line's mistake, before there is a log.
 */
export async function report(
  error: unknown,
  command: Command | undefined,
  io: Io,
): Promise<number> {
  if (error instanceof UsageError) {
    const help = command === undefined ? `${PROGRAM} --help` : `${PROGRAM} ${command.name} --help`;
    io.err(error.message);
    io.err(`${usageLine(command)}    (${help} explains)`);
    return 2;
  }
  const is_json = command?.logs === true && logStyle() === "json";
  for (const { message, ...more } of await explain(error, io)) {
    if (is_json) makeLog(io.err, "json").error(message, more);
    else for (const line of [message, ...Object.values(more)]) io.err(line);
  }
  return error instanceof ConfigError ? 2 : 1;
}

async function explain(error: unknown, io: Io): Promise<readonly Fault[]> {
  if (error instanceof ConfigError) {
    return error.message.split("\n").map((message) => ({ message }));
  }
  const message = error instanceof AppError ? error.message : await outsideFault(error);
  return [message === undefined ? bug(error, io) : { message }];
}

/** An error that nobody foresaw. Its stack is shown only on request. */
export function bug(error: unknown, io: Io): Fault {
  const debug = (io.env("BOOKME_DEBUG") ?? "") !== "";
  const hint = debug ? "" : "; BOOKME_DEBUG=1 shows where";
  return {
    message: `${hideSecrets(messageOf(error))} (this is a bug${hint})`,
    ...(debug && error instanceof Error && error.stack !== undefined ? { stack: error.stack } : {}),
  };
}

/** What the database or the operating system refused, in words; undefined for anything else. */
async function outsideFault(error: unknown): Promise<string | undefined> {
  const kinds = [Deno.errors.PermissionDenied, Deno.errors.NotCapable, Deno.errors.NotFound];
  if (kinds.some((kind) => error instanceof kind)) return messageOf(error);
  // EIO, ENOSPC, EDQUOT: what is written has no place.
  if (/\(os error (5|28|122)\)$/.test(messageOf(error))) return messageOf(error);
  const { isOutage } = await import("../store/errors.ts");
  const isRefusal = (one: unknown) =>
    isOutage(one) || (one instanceof Error && one.name === "PostgresError");
  if (isRefusal(error)) return `The database cannot be used: ${messageOf(error)}`;
  // Opening the database puts what it met into words of its own.
  return error instanceof Error && isRefusal(error.cause) ? error.message : undefined;
}
