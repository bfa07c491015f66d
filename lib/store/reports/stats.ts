import type { Sql } from "postgres";
import type { Refusal } from "../../core/refusals.ts";
import type { Scope } from "../../core/scope.ts";
import type { Counted } from "../../core/summary.ts";
import { literal } from "../arrays.ts";
import type { Fragment } from "../changes.ts";
import { endpointInScope, numberInScope } from "../scope.ts";
import { BUCKET, runsOf, WATERMARK } from "../stats.ts";

/** Attempts of one endpoint with one outcome and about one duration. */
export interface EndpointCounted extends Counted {
  readonly endpoint_no: number;
}

/** The attempts of a window, counted. */
export interface WindowStats {
  readonly since: Date;
  readonly until: Date;
  readonly counts: readonly EndpointCounted[];
}

/** Windows up to this long are made of minutes, longer ones of hours. */
export const MINUTES_UP_TO_MS = 6 * 3_600_000;

/**
 * Counts the attempts recorded since `window_ms` ago (from the beginning of that minute, or, for windows
 * of more than six hours, of that hour): settled ones from their counts, the rest one by one.
 */
export async function attemptStats(
  sql: Sql,
  scope: Scope,
  window_ms: number,
  endpoint_nos: readonly number[] | undefined,
): Promise<WindowStats> {
  const span = window_ms <= MINUTES_UP_TO_MS ? "minute" : "hour";
  const only = (column: string) =>
    sql`${amongNumbers(sql, endpoint_nos, column)} ${numberInScope(sql, scope, column)}`;
  const [row] = await sql<{ since: Date; until: Date; counts: EndpointCounted[] }[]>`
    with bounds as materialized (
      select ${sql.unsafe(WATERMARK)} as watermark, now() as until,
        date_trunc(${span}::text, now() - ${window_ms}::bigint * interval '1 ms', 'UTC') as since
      from attempt_stats_mark
    ), parts as (
      select s.endpoint_no, s.outcome, s.bucket::int, s.attempts from bounds b
      join attempt_stats s on s.span = ${span} and s.starts_at >= b.since ${only("s.endpoint_no")}
      union all
      select a.endpoint_no, a.outcome, ${sql.unsafe(BUCKET)}, count(*)
      from bounds b
      join attempts_all a on a.recorded_at >= greatest(b.watermark, b.since)
        and a.recorded_at <= b.until ${only("a.endpoint_no")}
      group by 1, 2, 3
    ), counts as (
      select endpoint_no, outcome, bucket, sum(attempts)::float8 as attempts from parts
      group by 1, 2, 3
    )
    select since, until, (select coalesce(json_agg(counts), '[]') from counts) as counts from bounds`;
  if (row === undefined) throw new Error("The table attempt_stats_mark is empty");
  return row;
}

/** Refused posts of a window and one kind. */
export interface RefusedRow {
  readonly refusal: Refusal;
  readonly posts: number;
  readonly last_at: Date;
  readonly last_address: string | null;
}

/** Counts the posts refused since then, the latest kind first. Windows are those of `attemptStats`. */
export async function refusedPosts(
  sql: Sql,
  scope: Scope,
  window_ms: number,
  since: Date,
): Promise<readonly RefusedRow[]> {
  // A post that was refused belongs to no business.
  if (scope !== "everything") return [];
  const span = window_ms <= MINUTES_UP_TO_MS ? "minute" : "hour";
  return await sql<RefusedRow[]>`
    select refusal, sum(posts)::float8 as posts, max(last_at) as last_at,
      (array_agg(last_address order by last_at desc))[1] as last_address
    from refused_posts
    where span = ${span} and starts_at >= ${since.toISOString()}::text::timestamptz
    group by refusal order by max(last_at) desc, refusal`;
}

function amongNumbers(sql: Sql, nos: readonly number[] | undefined, column: string): Fragment {
  return nos === undefined ? sql`` : sql`and ${sql.unsafe(column)} = any(${literal(nos)}::int[])`;
}

/** How the attempts of an endpoint have been ending. */
export interface EndpointRun {
  readonly endpoint_no: number;
  /** End of the last attempt that delivered, or null. */
  readonly last_success_at: Date | null;
  /** End of the first attempt that failed after that, or null. */
  readonly failing_since: Date | null;
}

/** How the attempts of these endpoints have been ending, up to now. Those never tried are left out. */
export async function endpointRuns(
  sql: Sql,
  endpoint_nos: readonly number[],
): Promise<EndpointRun[]> {
  const unsettled = `(select x.* from bounds b join attempts_all x
    on x.recorded_at >= b.watermark and x.recorded_at <= b.until) a`;
  return await sql<EndpointRun[]>`
    with bounds as materialized (
      select ${sql.unsafe(WATERMARK)} as watermark, now() as until from attempt_stats_mark
    ), fresh as materialized (
      select a.endpoint_no, a.outcome, max(a.ended_at) as last_at
      from ${sql.unsafe(unsettled)} where true ${amongNumbers(sql, endpoint_nos, "a.endpoint_no")}
      group by 1, 2
    ), ${sql.unsafe(runsOf(unsettled, "(select watermark from bounds)"))}
    select * from runs
    union all
    select * from endpoint_runs r
    where r.endpoint_no not in (select endpoint_no from runs)
      ${amongNumbers(sql, endpoint_nos, "r.endpoint_no")}`;
}

/** Pending deliveries of an endpoint, counted. */
export interface Owed {
  readonly endpoint_no: number;
  readonly endpoint: string;
  /** Up to `MAX_PENDING_COUNTED`. */
  readonly pending: number;
  /** Of those, the ones that are due and not being sent. */
  readonly overdue: number;
  readonly sending: number;
  /** Age of the oldest of those, in milliseconds, or null. */
  readonly oldest_ms: number | null;
  /** For how long the first due of the overdue ones has been due, in milliseconds, or null. */
  readonly oldest_overdue_ms: number | null;
}

/** Most pending deliveries of one endpoint that are counted. */
export const MAX_PENDING_COUNTED = 10_000;

/** Counts the pending deliveries of each endpoint in force, or of these, the first due first. */
export async function pendingStats(
  sql: Sql,
  scope: Scope,
  endpoint_nos: readonly number[] | undefined,
): Promise<Owed[]> {
  return await sql<Owed[]>`
    select n.no as endpoint_no, n.id as endpoint, h.* from endpoints n
    cross join lateral (
      select count(*)::int as pending,
        (count(*) filter (where leased_until is null and due_at <= now()))::int as overdue,
        (count(*) filter (where leased_until is not null))::int as sending,
        (extract(epoch from now() - min(created_at)) * 1000)::float8 as oldest_ms,
        (extract(epoch from now() - min(due_at) filter (where leased_until is null
          and due_at <= now())) * 1000)::float8 as oldest_overdue_ms
      from (
        select p.created_at, p.due_at, p.leased_until from pending_deliveries p
        where p.endpoint_no = n.no order by p.due_at limit ${MAX_PENDING_COUNTED}
      ) head
    ) h
    where true ${endpoint_nos === undefined ? sql`and n.retired_at is null` : sql``}
      ${amongNumbers(sql, endpoint_nos, "n.no")} ${endpointInScope(sql, scope)}
    order by n.id`;
}
