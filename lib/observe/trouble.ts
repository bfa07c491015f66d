/**
 * When the log mentions an endpoint that fails: when it starts to, after a minute, ten minutes, an hour,
 * then daily, and when it recovers. Pure: a state per endpoint and the time go in, a new state and at
 * most one line come out. Nothing runs by a timer, so a mark is noticed at the first failure after it.
 */

import type { Fields } from "./log.ts";
import type { SignalValues } from "./signals.ts";

/** The part of an attempt that decides about lines and appears in them. */
export type Tried = Pick<
  SignalValues["attempted"],
  "endpoint" | "outcome" | "status" | "cause" | "test"
>;

/** An endpoint that fails, or recently did. Endpoints without failures have no state. */
export interface Trouble {
  /** Failed attempts in a row; 0 after a success. */
  readonly failures: number;
  /** Time of the first of these. */
  readonly since_ms: number;
  /** A failure from this moment on is logged. */
  readonly due_ms: number;
  /** Whether the log says that the endpoint is failing. */
  readonly logged: boolean;
  /** The log does not say before this moment that the endpoint starts to fail again. */
  readonly quiet_until_ms: number;
  /** Failures in rows that ended before they were logged, since the last line. */
  readonly unlogged: number;
}

/** One line of the log. */
export interface Line {
  readonly level: "info" | "warn";
  readonly message: string;
  readonly fields: Fields;
}

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const MARKS_MS = [MINUTE_MS, 10 * MINUTE_MS, 60 * MINUTE_MS];

/**
 * An endpoint that fails every other attempt would start to fail thousands of times a minute. After a
 * start, the next within this time is logged only if the endpoint then fails for a minute.
 */
const QUIET_MS = 10 * MINUTE_MS;

/** The state after an attempt that ended at `now_ms` (milliseconds since 1970), and the line to log. */
export function follow(
  before: Trouble | undefined,
  tried: Tried,
  now_ms: number,
): { readonly trouble: Trouble | undefined; readonly line?: Line } {
  // Nobody knows the result of an interrupted attempt; and a test is not traffic.
  if (tried.test || tried.outcome === "interrupted") return { trouble: before };
  return tried.outcome === "delivered"
    ? succeed(before, tried, now_ms)
    : fail(before, tried, now_ms);
}

function fail(before: Trouble | undefined, tried: Tried, now_ms: number) {
  const row = before !== undefined && before.failures > 0 ? before : startOf(before, now_ms);
  const trouble = { ...row, failures: row.failures + 1 };
  if (now_ms < row.due_ms) return { trouble };
  const line: Line = {
    level: "warn",
    message: row.logged ? "Endpoint still failing" : "Endpoint failing",
    fields: fieldsOf(trouble, tried),
  };
  return {
    trouble: {
      ...trouble,
      logged: true,
      unlogged: 0,
      due_ms: nextMark(row.since_ms, now_ms),
      quiet_until_ms: row.logged ? row.quiet_until_ms : now_ms + QUIET_MS,
    },
    line,
  };
}

function startOf(before: Trouble | undefined, now_ms: number): Trouble {
  const { quiet_until_ms = now_ms, unlogged = 0 } = before ?? {};
  return {
    failures: 0,
    since_ms: now_ms,
    due_ms: Math.min(quiet_until_ms, now_ms + MINUTE_MS),
    logged: false,
    quiet_until_ms,
    unlogged,
  };
}

function succeed(before: Trouble | undefined, tried: Tried, now_ms: number) {
  if (before === undefined) return { trouble: undefined };
  const { failures, logged, unlogged, quiet_until_ms } = before;
  const trouble = now_ms < quiet_until_ms
    ? { ...before, failures: 0, logged: false, unlogged: logged ? 0 : unlogged + failures }
    : undefined;
  if (!logged) return { trouble };
  const fields = fieldsOf(before, tried);
  return { trouble, line: { level: "info", message: "Endpoint recovered", fields } as const };
}

function nextMark(since_ms: number, now_ms: number): number {
  const elapsed_ms = now_ms - since_ms;
  const mark_ms = MARKS_MS.find((mark_ms) => mark_ms > elapsed_ms) ??
    (Math.floor(elapsed_ms / DAY_MS) + 1) * DAY_MS;
  return since_ms + mark_ms;
}

function fieldsOf({ failures, since_ms, unlogged }: Trouble, tried: Tried): Fields {
  const { endpoint, outcome, status, cause } = tried;
  return {
    endpoint,
    outcome,
    status,
    // Quotes of the receiver stay out of the log.
    cause: outcome === "protocol" ? cause?.replace(/"[^]*"/, '"…"') : cause,
    failures,
    since: new Date(since_ms).toISOString(),
    ...(unlogged > 0 ? { unlogged } : {}),
  };
}
