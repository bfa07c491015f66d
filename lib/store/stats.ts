import type { Sql } from "postgres";
import { LAST_BUCKET } from "../core/histogram.ts";
import type { Refusal } from "../core/refusals.ts";
import { literal, texts } from "./arrays.ts";

/**
 * Age from which attempts are counted: one with an older recorded_at is committed by now or never will
 * be, because statements end after 30 seconds.
 */
const SETTLED_MS = 35_000;

/** Bucket of an attempt `a`, as `bucketOf` of lib/core/histogram.ts: a test holds the two together. */
export const BUCKET = `case when a.ended_at - a.started_at <= interval '0.25 ms' then 0
  else least(${LAST_BUCKET}, ceil(ln(extract(epoch from a.ended_at - a.started_at)::float8 * 4000)
    / ln(2::float8) * 4)) end::int`;

/** Most time that one statement counts: a backlog is counted in steps. */
const STEP_MS = 60_000;

/** The attempts `a` of a step. */
const STEP = `step s cross join lateral (
  select * from attempts_all x where x.recorded_at >= s.low and x.recorded_at < s.high) a`;

/**
 * The watermark, unless it lies in the future because the database's clock was set back. Then it is where
 * it would be had the clock never been ahead: attempts recorded before with later times are counted a
 * second time, and attempts recorded after, more than `SETTLED_MS` before `rollUp` saw it, are missed.
 */
export const WATERMARK = `case when watermark > now() then now() - interval '${SETTLED_MS} ms'
  else watermark end`;

/** Outcomes of a failed attempt. One that a daemon interrupted says nothing about its endpoint. */
const FAILED = "outcome not in ('delivered', 'interrupted')";

/**
 * The CTE `runs`: how the attempts of each endpoint have been ending, from `endpoint_runs` and the attempts
 * in `within`, a table expression `a`. Those are not in `endpoint_runs`, nor older than `low`, an
 * expression; the CTE `fresh` has them by endpoint_no and outcome, each with its last end in last_at.
 */
export function runsOf(within: string, low: string): string {
  return `
  ends as materialized (
    select f.endpoint_no,
      greatest(
        -- In the future if the database's clock was set back.
        (select least(r.last_success_at, ${low}) from endpoint_runs r
          where r.endpoint_no = f.endpoint_no and r.last_success_at is not null),
        max(f.last_at) filter (where f.outcome = 'delivered')
      ) as success_at,
      max(f.last_at) filter (where f.${FAILED}) as failure_at
    from fresh f group by f.endpoint_no
  ), newly as materialized (
    -- Only these need another look at their attempts.
    select e.endpoint_no, coalesce(e.success_at, '-infinity') as success_at from ends e
    where e.failure_at > coalesce(e.success_at, '-infinity') and not exists (
      select from endpoint_runs r where r.endpoint_no = e.endpoint_no
        and r.failing_since > coalesce(e.success_at, '-infinity'))
  ), began as (
    select n.endpoint_no, min(a.ended_at) as at
    from newly n join ${within} on a.endpoint_no = n.endpoint_no
    -- Recorded no earlier than they ended: the index finds the few that can count.
    where a.${FAILED} and a.ended_at > n.success_at
      and a.recorded_at > (select min(success_at) from newly)
    group by n.endpoint_no
  ), runs as (
    select e.endpoint_no, e.success_at as last_success_at, coalesce(
      (select b.at from began b where b.endpoint_no = e.endpoint_no),
      (select r.failing_since from endpoint_runs r where r.endpoint_no = e.endpoint_no
        and r.failing_since > coalesce(e.success_at, '-infinity'))) as failing_since
    from ends e
  )`;
}

/** The result of `rollUp`. */
export interface RolledUp {
  /** Groups of attempts that were counted. */
  readonly counted: number;
  /** Whether more has settled than one step takes. */
  readonly is_behind: boolean;
}

/**
 * Counts attempts that have settled since the last time, each once, notes how each endpoint's have been
 * ending, and moves the watermark, in one statement. Undefined if nothing has settled or another daemon is counting.
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
          select x.recorded_at from attempts_all x where x.recorded_at >= low
          order by x.recorded_at limit 1
        ) + ${STEP_MS}::int * interval '1 ms'), settled) as high
      from mark
    ), fresh as materialized (
      select date_trunc('minute', a.recorded_at) as minute, a.endpoint_no, a.outcome,
        ${sql.unsafe(BUCKET)} as bucket, count(*) as attempts, max(a.ended_at) as last_at
      from ${sql.unsafe(STEP)}
      group by 1, 2, 3, 4
    ), ${sql.unsafe(runsOf(`(select a.* from ${STEP}) a`, "(select low from step)"))}, ran as (
      insert into endpoint_runs select * from runs
      on conflict (endpoint_no) do update set last_success_at = excluded.last_success_at,
        failing_since = excluded.failing_since
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

/** Removes up to `limit` old counts of each span: minutes after 2 days, hours after 90. */
export function purgeStats(sql: Sql, limit: number): Promise<number> {
  return purgeSpans(sql, "attempt_stats", limit);
}

/** The same of refused posts. */
export function purgeRefused(sql: Sql, limit: number): Promise<number> {
  return purgeSpans(sql, "refused_posts", limit);
}

async function purgeSpans(
  sql: Sql,
  table: "attempt_stats" | "refused_posts",
  limit: number,
): Promise<number> {
  const rows = await sql`
    delete from ${sql(table)} where ctid = any(array(
      (select ctid from ${sql(table)} where span = 'minute'
        and starts_at < now() - ${MINUTES_KEPT_MS}::bigint * interval '1 ms' limit ${limit})
      union all
      (select ctid from ${sql(table)} where span = 'hour'
        and starts_at < now() - ${HOURS_KEPT_MS}::bigint * interval '1 ms' limit ${limit})))
    returning 1`;
  return rows.length;
}

/** Refused posts of one kind since a daemon last wrote them down. */
export interface Refused {
  readonly refusal: Refusal;
  readonly posts: number;
  /** By the database's clock, in milliseconds since 1970. */
  readonly last_at: number;
  readonly last_address: string | null;
}

/** Adds refused posts to the counts of the minute and the hour in which the last of each kind came. */
export async function addRefused(sql: Sql, refused: readonly Refused[]): Promise<void> {
  await sql`
    insert into refused_posts as p (span, starts_at, refusal, posts, last_at, last_address)
    select span, date_trunc(span, r.last_at, 'UTC'), r.refusal, r.posts, r.last_at, r.last_address
    from unnest(
      string_to_array(${texts(refused.map((r) => r.refusal))}, chr(30)),
      ${literal(refused.map((r) => r.posts))}::bigint[],
      string_to_array(${
    texts(refused.map((r) => new Date(r.last_at).toISOString()))
  }, chr(30))::timestamptz[],
      string_to_array(${texts(refused.map((r) => r.last_address))}, chr(30), '')
    ) as r (refusal, posts, last_at, last_address), unnest(array['minute', 'hour']) as span
    -- Sorted, so that two daemons cannot deadlock.
    order by span, r.refusal
    on conflict (span, starts_at, refusal) do update set posts = p.posts + excluded.posts,
      last_at = greatest(p.last_at, excluded.last_at),
      last_address = case when excluded.last_at >= p.last_at
        then excluded.last_address else p.last_address end`;
}
