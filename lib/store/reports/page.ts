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

/**
 * Rows that one page reads in search of what no index finds. A page that found too little among them
 * is short, and the next one continues below: no list takes longer than that, however rare a match.
 */
export const DEPTH = 20_000;

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
  const { since, until, first_uuid, last_uuid } = period;
  const conditions: Fragment[] = [];
  if (since !== undefined) {
    conditions.push(sql`${sql.unsafe(time)} >= ${since}::text::timestamptz`);
  }
  if (until !== undefined) conditions.push(sql`${sql.unsafe(time)} < ${until}::text::timestamptz`);
  if (first_uuid !== undefined) conditions.push(sql`${sql.unsafe(id)} >= ${first_uuid}::uuid`);
  if (last_uuid !== undefined) conditions.push(sql`${sql.unsafe(id)} <= ${last_uuid}::uuid`);
  return conditions;
}

/** Joins conditions by `and`. */
export function all(sql: Sql, conditions: readonly Fragment[]): Fragment {
  return conditions.reduce((left, right) => sql`${left} and ${right}`);
}
