import { readText } from "../config/references.ts";
import { dayExists } from "../core/time.ts";
import { DURATION, formatDuration, parseDuration } from "../core/units.ts";
import { STATUS_CODE } from "../core/outcome.ts";
import { AppError } from "../core/errors.ts";
import type { Tracing } from "../observe/traces.ts";
import type { Io } from "./terminal.ts";

/** Names that only a running daemon knows: shell completion asks it. */
export type Completes = "endpoints";

/** An option of a command, as `parseArgs` of node:util takes it, with its help. */
export interface Option {
  readonly type: "string" | "boolean";
  readonly short?: string;
  readonly multiple?: boolean;
  readonly default?: string;
  /** The only values that it takes. */
  readonly choices?: readonly string[];
  readonly completes?: Completes;
  /** What stands for the value in the help, `PORT`. */
  readonly value?: string;
  readonly about: string;
}

/** The options of a command, by name. */
export type Options = Readonly<Record<string, Option>>;

type Value<O extends Option> = O extends { readonly type: "boolean" } ? boolean
  : O extends { readonly multiple: true } ? readonly string[]
  : O extends { readonly default: string } ? string
  : string | undefined;

/** What the options of a command line mean. */
export type Values<O extends Options> = { readonly [K in keyof O]: Value<O[K]> };

/** What a command runs on. */
export interface Invocation<O extends Options = Options> {
  readonly io: Io;
  /** For the daemon. */
  readonly tracing: Tracing | undefined;
  readonly values: Values<O>;
  readonly positionals: readonly string[];
}

/** A command: its help, and what it does. */
export interface Command<O extends Options = Options> {
  readonly name: string;
  /** An earlier name, which goes on working. */
  readonly alias?: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What the help says below the usage line. */
  readonly about: string;
  /** Arguments without a name: how the usage line shows them, and how many there may be. */
  readonly positionals?: {
    readonly usage: string;
    readonly min: number;
    readonly max: number;
    readonly completes?: Completes;
  };
  readonly options: O;
  readonly examples: readonly (readonly [line: string, does: string])[];
  /** Whether its standard error is a log, which has its errors as well. */
  readonly logs?: boolean;
  /** Answers the exit code: 0 done, 1 failed, 2 wrong usage or configuration. */
  run(invocation: Invocation<O>): Promise<number>;
}

/** Defines a command, so that `run` knows the types of its options. */
export function command<const O extends Options>(definition: Command<O>): Command {
  return definition;
}

/** A command line that cannot be understood: told with the usage line, exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** `--config`, the same everywhere. */
export const CONFIG = {
  type: "string",
  short: "c",
  default: "config.yaml",
  value: "FILE",
  about: "Configuration file",
} as const;

/** An option's whole number. Throws a `UsageError` where it is none or out of range. */
export function integer(option: string, text: string, min: number, max: number): number {
  if (/^\d{1,9}$/.test(text) && Number(text) >= min && Number(text) <= max) return Number(text);
  throw new UsageError(`${option} must be a whole number from ${min} to ${max}`);
}

/** Throws a `UsageError` if `--code` names no status. */
export function checkCode(text: string): void {
  if (!STATUS_CODE.test(text)) throw new UsageError("--code must be a status such as 401, or 4xx");
}

const ISO_TIME = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d))?$/;

/**
 * An option's moment, in ISO 8601 and UTC: `2h` is two hours before `now_ms`, a date is its beginning
 * in UTC. Throws a `UsageError` for anything else.
 */
export function moment(option: string, text: string, now_ms: number): string {
  const at_ms = /^\d+(ms|s|m|h|d)$/.test(text)
    ? now_ms - readOption(option, () => parseDuration(text))
    : ISO_TIME.test(text) && dayExists(text)
    ? Date.parse(text)
    : NaN;
  if (at_ms >= 0) return new Date(at_ms).toISOString();
  throw new UsageError(
    `${option} must be how long ago, such as 2h or 30m, or a time such as 2026-11-24T10:00:00Z`,
  );
}

/**
 * `--since` and `--until` in ISO 8601 and UTC. Throws a `UsageError` if nothing lies between them, or
 * `--since` is yet to come.
 */
export function period(
  { since, until }: { readonly since: string | undefined; readonly until?: string | undefined },
  now_ms: number,
): { readonly since: string | undefined; readonly until: string | undefined } {
  const read = {
    since: since === undefined ? undefined : moment("--since", since, now_ms),
    until: until === undefined ? undefined : moment("--until", until, now_ms),
  };
  if (read.since === undefined) return read;
  const now = new Date(now_ms).toISOString();
  if (read.since > now) {
    throw new UsageError(`--since ${since} is yet to come: it is ${now} now`);
  }
  if (read.since < (read.until ?? "9999")) return read;
  throw new UsageError(
    `--since ${since} (${read.since}) must lie before --until ${until} (${read.until})`,
  );
}

/**
 * An option's moment to come, in ISO 8601 and UTC, or `now`: `2h` is two hours after `now_ms`. Throws a
 * `UsageError` for anything else.
 */
export function comingMoment(option: string, text: string, now_ms: number): string {
  if (text === "now") return text;
  const at_ms = DURATION.test(text)
    ? now_ms + parseDuration(text)
    : ISO_TIME.test(text) && dayExists(text)
    ? Date.parse(text)
    : NaN;
  if (at_ms >= 0) return new Date(at_ms).toISOString();
  throw new UsageError(
    `${option} must be now, how long from now, such as 2h, or a time such as 2026-11-24T10:00:00Z`,
  );
}

/** An option's duration (`5s`), in milliseconds. Throws a `UsageError` where it is none. */
export function duration(option: string, text: string, max_ms: number): number {
  const read = readOption(option, () => parseDuration(text));
  if (read <= max_ms) return read;
  throw new UsageError(`${option} must be at most ${formatDuration(max_ms)}`);
}

/** What `read` makes of an option's value; an `AppError` of its becomes a `UsageError`. */
export function readOption<T>(option: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw new UsageError(`${option}: ${error.message}`);
  }
}

/** How a secret is handed over. */
export const SECRET_VALUE = "env:NAME|file:PATH|-";

/**
 * The secret that an option names: `env:NAME`, `file:PATH` or `-` for standard input (a newline at
 * the end of either is dropped). Throws a `UsageError`, which never shows it, for anything else.
 */
export async function readSecret(io: Io, option: string, reference: string): Promise<string> {
  if (reference === "-") return chomp(new TextDecoder().decode(await io.stdin()), option);
  if (reference.startsWith("file:")) {
    const path = reference.slice("file:".length);
    return chomp(readOption(option, () => readText(path, false)), option);
  }
  const name = /^env:([A-Za-z_][A-Za-z0-9_]*)$/.exec(reference)?.[1];
  if (name === undefined) {
    throw new UsageError(
      `${option} takes ${SECRET_VALUE}, never the secret itself: every user of this machine can ` +
        "see the arguments, and the shell keeps them in its history",
    );
  }
  const value = io.env(name) ?? "";
  if (value === "") throw new UsageError(`${option}: environment variable ${name} is not set`);
  return value;
}

/** The secrets that `--previous-secret` names. */
export async function readPrevious(io: Io, references: readonly string[]): Promise<string[]> {
  const secrets: string[] = [];
  for (const reference of references) {
    secrets.push(await readSecret(io, "--previous-secret", reference));
  }
  return secrets;
}

function chomp(text: string, option: string): string {
  const secret = text.replace(/\r?\n$/, "");
  if (secret === "") throw new UsageError(`${option}: it is empty`);
  return secret;
}
