import type { Sql } from "postgres";
import { LAST_BUCKET } from "../core/histogram.ts";

/**
 * How long ago an attempt must have been recorded to be counted: what has an older recorded_at is
 * committed or never will be, because statements end after 30 seconds.
 */
const SETTLED_MS = 35_000;

// As `bucketOf` of lib/core/histogram.ts. The two are held together by a test.
const BUCKET = `case when a.ended_at - a.started_at <= interval '0.25 ms' then 0
  else least(${LAST_BUCKET}, ceil(ln(extract(epoch from a.ended_at - a.started_at)::float8 * 4000)
    / ln(2::float8) * 4)) end::int`;

/** Time that one statement counts at most: what piled up is counted in steps. */
const STEP_MS = 60_000;

// The watermark, unless it lies in the future: then the database's clock was set back, and it is where it
// would be had it never been ahead. What was recorded before with times from there on is counted a second
// time; what was recorded after, and more than `SETTLED_MS` before `rollUp` saw it, is missed.
const WATERMARK = `case when watermark > now() then now() - interval '${SETTLED_MS} ms'
  else watermark end`;

/** What `rollUp` did. */
export interface RolledUp {
  /** Groups of attempts that were counted. */
  readonly counted: number;
  /** Whether more has settled than one step takes. */
  readonly is_behind: boolean;
}

/**
 * Counts attempts that have settled since the last time, each once, and moves the watermark: one
 * statement. Undefined where there is nothing to do, or another daemon is at it.
 */
export async function rollUp(sql: Sql): Promise<RolledUp | undefined> {
  const [row] = await sql<RolledUp[]>`
    with mark as materialized (
      select ${sql.unsafe(WATERMARK)} as low,
        now() - ${SETTLED_MS}::int * interval '1 ms' as settled
      from attempt_stats_mark
      where watermark < now() - ${SETTLED_MS}::int * interval '1 ms' or watermark > now()
      for update skip locked
    ), step as materialized (
      select low, settled, coalesce(least(settled, (
          -- Stretches without attempts are no steps.
          select x.recorded_at from attempts x where x.recorded_at >= low
          order by x.recorded_at limit 1
        ) + ${STEP_MS}::int * interval '1 ms'), settled) as high
      from mark
    ), fresh as materialized (
      select date_trunc('minute', a.recorded_at) as minute, a.endpoint_no, a.outcome,
        ${sql.unsafe(BUCKET)} as bucket, count(*) as attempts
      from step s cross join lateral (
        select * from attempts x where x.recorded_at >= s.low and x.recorded_at < s.high
      ) a
      group by 1, 2, 3, 4
    ), spans as (
      select 'minute' as span, minute as starts_at, endpoint_no, outcome, bucket, attempts from fresh
      union all
      select 'hour', date_trunc('hour', minute, 'UTC'), endpoint_no, outcome, bucket, sum(attempts)
      from fresh group by 2, 3, 4, 5
    ), counted as (
      insert into attempt_stats as s (span, starts_at, endpoint_no, outcome, bucket, attempts)
      select span, starts_at, endpoint_no, outcome, bucket, attempts from spans
      on conflict (span, starts_at, endpoint_no, outcome, bucket)
        do update set attempts = s.attempts + excluded.attempts
      returning 1
    ), moved as (
      update attempt_stats_mark set watermark = (select high from step) where exists (select from step)
    )
    select (select count(*) from counted)::int as counted, high < settled as is_behind from step`;
  return row;
}

const MINUTES_KEPT_MS = 2 * 86_400_000;
const HOURS_KEPT_MS = 90 * 86_400_000;

/** Removes up to `limit` counts that are too old: minutes after 2 days, hours after 90. */
export async function purgeStats(sql: Sql, limit: number): Promise<number> {
  const rows = await sql`
    delete from attempt_stats where ctid = any(array(
      (select ctid from attempt_stats where span = 'minute'
        and starts_at < now() - ${MINUTES_KEPT_MS}::bigint * interval '1 ms' limit ${limit})
      union all
      (select ctid from attempt_stats where span = 'hour'
        and starts_at < now() - ${HOURS_KEPT_MS}::bigint * interval '1 ms' limit ${limit})))
    returning 1`;
  return rows.length;
}

/** Attempts of one endpoint with one outcome and about one duration. */
export interface Counted {
  readonly endpoint_no: number;
  readonly outcome: string;
  readonly bucket: number;
  readonly attempts: number;
}

/** The attempts of a window, counted. */
export interface WindowStats {
  readonly since: Date;
  readonly until: Date;
  readonly counts: readonly Counted[];
}

/** Windows up to this long are made of minutes, longer ones of hours. */
export const MINUTES_UP_TO_MS = 6 * 3_600_000;

/**
 * Counts the attempts recorded since `window_ms` ago (from the beginning of that minute, or, for windows
 * of more than six hours, of that hour): what has settled from the counts, the rest from the attempts.
 */
export async function attemptStats(
  sql: Sql,
  window_ms: number,
  endpoint_no: number | undefined,
): Promise<WindowStats> {
  const span = window_ms <= MINUTES_UP_TO_MS ? "minute" : "hour";
  const only = (alias: string) =>
    endpoint_no === undefined ? sql`` : sql`and ${sql.unsafe(alias)}.endpoint_no = ${endpoint_no}`;
  const [row] = await sql<{ since: Date; until: Date; counts: Counted[] }[]>`
    with bounds as materialized (
      select ${sql.unsafe(WATERMARK)} as watermark, now() as until,
        date_trunc(${span}::text, now() - ${window_ms}::bigint * interval '1 ms', 'UTC') as since
      from attempt_stats_mark
    ), parts as (
      select s.endpoint_no, s.outcome, s.bucket::int, s.attempts from bounds b
      join attempt_stats s on s.span = ${span} and s.starts_at >= b.since ${only("s")}
      union all
      select a.endpoint_no, a.outcome, ${sql.unsafe(BUCKET)}, count(*)
      from bounds b
      join attempts a on a.recorded_at >= greatest(b.watermark, b.since)
        and a.recorded_at <= b.until ${only("a")}
      group by 1, 2, 3
    ), counts as (
      select endpoint_no, outcome, bucket, sum(attempts)::float8 as attempts from parts
      group by 1, 2, 3
    )
    select since, until, (select coalesce(json_agg(counts), '[]') from counts) as counts from bounds`;
  if (row === undefined) throw new Error("The table attempt_stats_mark is empty");
  return row;
}

/** What an endpoint is owed and has not got. */
export interface Owed {
  readonly endpoint_no: number;
  readonly endpoint: string;
  /** Up to `MAX_PENDING_COUNTED`. */
  readonly pending: number;
  /** Of those, what is due and not being sent. */
  readonly overdue: number;
  readonly sending: number;
  /** Age of the oldest of those, in milliseconds, or null. */
  readonly oldest_ms: number | null;
}

/** Pending deliveries of one endpoint that are counted. */
export const MAX_PENDING_COUNTED = 10_000;

/** What each endpoint in force is owed, the first due being counted first. */
export async function pendingStats(
  sql: Sql,
  endpoint_no: number | undefined,
): Promise<Owed[]> {
  return await sql<Owed[]>`
    select n.no as endpoint_no, n.id as endpoint, h.* from endpoints n
    cross join lateral (
      select count(*)::int as pending,
        (count(*) filter (where leased_until is null and due_at <= now()))::int as overdue,
        (count(*) filter (where leased_until is not null))::int as sending,
        (extract(epoch from now() - min(created_at)) * 1000)::float8 as oldest_ms
      from (
        select p.created_at, p.due_at, p.leased_until from pending_deliveries p
        where p.endpoint_no = n.no order by p.due_at limit ${MAX_PENDING_COUNTED}
      ) head
    ) h
    where n.retired_at is null
      ${endpoint_no === undefined ? sql`` : sql`and n.no = ${endpoint_no}`}
    order by n.id`;
}
