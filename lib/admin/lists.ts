import { invalidAt } from "../core/errors.ts";
import { firstUuidAt } from "../core/ids.ts";
import type { Bounded, Page, Period } from "../store/reports/page.ts";
import type * as shown from "./shown.ts";

/** Which page of a list. */
export interface Paged {
  /** `next_cursor` of the page before. */
  readonly cursor?: string | undefined;
  readonly limit: number;
}

/** Whether the whole list is counted as well, as far as that is cheap. */
export interface Countable {
  readonly count?: boolean | undefined;
}

/** Times that narrow a list, ISO 8601. */
export interface Within {
  /** At or after. */
  readonly since?: string | undefined;
  /** Before. */
  readonly until?: string | undefined;
}

/** Refuses times that nothing lies between. */
export function refuseEmpty({ since, until }: Within): void {
  if (since === undefined || until === undefined || since < until) return;
  throw invalidAt("/since", emptyPeriod(since, until));
}

/** The message for times that nothing lies between. */
export function emptyPeriod(since: string, until: string): string {
  return `Must lie before until, which is ${until}; it is ${since}`;
}

/** The message for a cursor that no page gave. */
export const CURSOR_RULE = "Must be the next_cursor of the page before";

/** The key that a cursor stands for. Throws an `AppError` if `parse` makes nothing of it. */
export function readCursor(
  cursor: string | undefined,
  parse: (text: string) => string | undefined,
): string | undefined {
  if (cursor === undefined) return undefined;
  const key = parse(cursor);
  if (key === undefined) throw invalidAt("/cursor", CURSOR_RULE);
  return key;
}

/** A page with the count of its whole list, if that was asked for. */
export async function counted<Shown extends shown.Page<unknown>>(
  page: Shown,
  asked: boolean | undefined,
  count: () => Promise<Bounded>,
): Promise<Shown & { count?: Bounded }> {
  return asked === true ? { ...page, count: await count() } : page;
}

/** A page as shown: each row by `view`, its next key by `cursorOf`. */
export function viewPage<Row, Shown>(
  { rows, next }: Page<Row>,
  view: (row: Row) => Shown,
  cursorOf: (key: string) => string = (key) => key,
): shown.Page<Shown> {
  return { data: rows.map((row) => view(row)), next_cursor: next === null ? null : cursorOf(next) };
}

/**
 * How far a UUID's time may be from the database's. They differ by milliseconds, by more only after the
 * database's clock was set back: UUIDs never go back. All that lies in between is read for nothing.
 */
const SLACK_MS = 60_000;

/**
 * A period with its bounds on UUIDs, whose times may differ from the database's by `slack_ms`. Throws an
 * `AppError` if nothing lies in it.
 */
export function periodOf({ since, until }: Within, slack_ms = SLACK_MS): Period {
  refuseEmpty({ since, until });
  return {
    since,
    until,
    first_uuid: since === undefined ? undefined : firstUuidAt(Date.parse(since) - slack_ms),
    last_uuid: until === undefined ? undefined : firstUuidAt(Date.parse(until) + slack_ms),
  };
}
