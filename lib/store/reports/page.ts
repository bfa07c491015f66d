import type { Sql } from "postgres";
import type { Fragment } from "../changes.ts";

/** One page of a list. */
export interface Page<Row> {
  readonly rows: readonly Row[];
  /** Key that the next page comes before; null after the last page. */
  readonly next: string | null;
}

/** Where a page begins and how long it is. */
export interface Paging {
  /** Key that the last page ended with: only what comes after it in the list's order. */
  readonly before?: string | undefined;
  readonly limit: number;
}

/**
 * Makes a page of `limit` + 1 rows or fewer, each with the key `keyOf`. `floor` is the key down to
 * which they were looked for, if that was not the end.
 */
export function pageOf<Row>(
  rows: readonly Row[],
  limit: number,
  keyOf: (row: Row) => string,
  floor?: string,
): Page<Row> {
  const page = rows.slice(0, limit);
  const last = rows.length > limit ? page.at(-1) : undefined;
  return { rows: page, next: last === undefined ? floor ?? null : keyOf(last) };
}

/** Matches that are counted. */
export const MAX_FOUND = 1_000;

/** A number of matches; the least there are if not exact. */
export interface Bounded {
  readonly value: number;
  readonly exact: boolean;
}

/** Makes a count of up to `MAX_FOUND` + 1 matches, not all of which were looked for if `is_cut`. */
export function boundedOf(
  row: { readonly count: number; readonly is_cut: boolean } | undefined,
): Bounded {
  const { count = 0, is_cut = false } = row ?? {};
  return { value: Math.min(count, MAX_FOUND), exact: count <= MAX_FOUND && !is_cut };
}

/** Times, and bounds on the UUIDs that hold all rows of these times: indexes are on UUIDs only. */
export interface Period {
  /** At or after, ISO 8601. */
  readonly since?: string | undefined;
  /** Before, ISO 8601. */
  readonly until?: string | undefined;
  readonly first_uuid?: string | undefined;
  readonly last_uuid?: string | undefined;
}

/** The conditions of a period on the columns `id` and `time`. */
export function withinPeriod(sql: Sql, period: Period, id: string, time: string): Fragment[] {
  return [...withinTimes(sql, period, time), ...withinIds(sql, period, id)];
}

/** The conditions of a period on the column `time`. */
export function withinTimes(sql: Sql, { since, until }: Period, time: string): Fragment[] {
  const column = sql.unsafe(time);
  return [
    ...(since === undefined ? [] : [sql`${column} >= ${since}::text::timestamptz`]),
    ...(until === undefined ? [] : [sql`${column} < ${until}::text::timestamptz`]),
  ];
}

/** The bounds of a period on the column `id`. */
export function withinIds(
  sql: Sql,
  { first_uuid, last_uuid }: Period,
  id: string,
): Fragment[] {
  const column = sql.unsafe(id);
  return [
    ...(first_uuid === undefined ? [] : [sql`${column} >= ${first_uuid}::uuid`]),
    ...(last_uuid === undefined ? [] : [sql`${column} <= ${last_uuid}::uuid`]),
  ];
}

/** Joins conditions by `and`. */
export function all(sql: Sql, conditions: readonly Fragment[]): Fragment {
  return conditions.reduce((left, right) => sql`${left} and ${right}`);
}
