import type { Sql } from "postgres";
import { OUTCOMES } from "../../core/outcome.ts";
import type { PackedHistogram } from "../../core/histogram.ts";
import type { Scope } from "../../core/scope.ts";
import type { Counted } from "../../core/summary.ts";
import { joinRuns, type Run, runsOf, tally } from "../../core/tally.ts";
import { literal } from "../arrays.ts";
import type { Fragment } from "../changes.ts";
import { type Span, spansOf } from "../fragments.ts";
import { endpointInScope, numberInScope } from "../scope.ts";
import { type Answer, attemptsIn, type UncountedColumns } from "../stats.ts";

/** Attempts of one endpoint with one outcome. */
export interface EndpointCounted extends Counted {
  readonly endpoint_no: number;
}

/** The attempts of a window, counted. */
export interface WindowStats {
  readonly since: Date;
  readonly until: Date;
  readonly counts: readonly EndpointCounted[];
}

const HOUR_MS = 3_600_000;
// Attempts that are not counted yet have the places of their outcomes in here, from 1.
const PLACES = `{${OUTCOMES.join(",")}}`;

/** What a window begins with: a minute up to 6 hours, an hour up to 7 days, else a day (UTC). */
function beginning(window_ms: number): "minute" | "hour" | "day" {
  return window_ms <= 6 * HOUR_MS ? "minute" : window_ms <= 168 * HOUR_MS ? "hour" : "day";
}

/**
 * Counts the attempts recorded since `window_ms` ago (from the beginning of that minute, hour or day): from
 * attempt_stats, by the longest spans that fit, and what is not yet in there one by one.
 */
export async function attemptStats(
  sql: Sql,
  scope: Scope,
  window_ms: number,
  endpoint_nos: readonly number[] | undefined,
): Promise<WindowStats> {
  const only = (column: string) =>
    sql`${amongNumbers(sql, endpoint_nos, column)} ${numberInScope(sql, scope, column)}`;
  const [row] = await sql<
    { since: Date; until: Date; counts: string; uncounted: UncountedColumns | null }[]
  >`
    with ${window(sql, window_ms)}, counts as (${covering(sql, scope, endpoint_nos)}
    )
    select since, until, (
        select '[' || coalesce(string_agg('[' || concat_ws(',', endpoint_no, '"' || outcome || '"',
          attempts, response, first_attempt, delivered, promised, promised_begun,
          promised_delivered) || ']', ','), '') || ']'
        from counts
      ) as counts,
      ${uncounted(sql, only, sql`where u.recorded_at >= b.since`)} as uncounted
    from bounds b`;
  if (row === undefined) throw new Error("The statistics came back empty");
  const { since, until, uncounted: columns } = row;
  const counts = (JSON.parse(row.counts) as CountedTuple[]).map((
    [endpoint_no, outcome, attempts, response, first_attempt, delivered, ...promises],
  ) => {
    const [promised, promised_begun, promised_delivered] = promises;
    const histograms = { response, first_attempt, delivered };
    const promise = { promised, promised_begun, promised_delivered };
    return { endpoint_no, outcome, attempts, ...histograms, ...promise };
  });
  const fresh = columns === null ? [] : tally(attemptsIn(columns), () => 0);
  return { since, until, counts: [...counts, ...fresh] };
}

/** The CTEs `bounds` of a window and `edges`, where its longer spans begin. */
function window(sql: Sql, window_ms: number): Fragment {
  return sql`bounds as materialized (
      select now() as until, date_trunc(${
    beginning(window_ms)
  }::text, now() - ${window_ms}::bigint * interval '1 ms', 'UTC') as since
    ), edges as materialized (
      select since, date_bin('10 minutes', since + interval '10 minutes - 1 us', 'epoch') as ten,
        date_trunc('hour', since + interval '1 hour - 1 us', 'UTC') as hour,
        date_trunc('day', since + interval '1 day - 1 us', 'UTC') as day
      from bounds
    )`;
}

/** Attempts of one endpoint, counted. */
export interface AttemptCount {
  readonly endpoint_no: number;
  readonly delivered: number;
  readonly failed: number;
}

/** Counts the same attempts as `attemptStats`, without their times: a hundredth of the bytes. */
export async function attemptCounts(
  sql: Sql,
  scope: Scope,
  window_ms: number,
  endpoint_nos: readonly number[] | undefined,
): Promise<AttemptCount[]> {
  const only = (column: string) =>
    sql`${amongNumbers(sql, endpoint_nos, column)} ${numberInScope(sql, scope, column)}`;
  const [row] = await sql<{ counts: [number, number, number][] }[]>`
    with ${window(sql, window_ms)}, counts as (
      select endpoint_no, attempts, outcome = 'delivered' as delivered
      from (${covering(sql, scope, endpoint_nos)}) c
      union all
      select x.endpoint_no, 1, x.outcome = 1
      from uncounted_attempts u
      cross join lateral unnest(u.endpoint_nos, u.outcomes) as x (endpoint_no, outcome)
      where u.recorded_at >= (select since from bounds) ${only("x.endpoint_no")}
    )
    select coalesce(json_agg(json_build_array(endpoint_no, good, bad)), '[]') as counts
    from (
      select endpoint_no, coalesce(sum(attempts) filter (where delivered), 0)::float8 as good,
        coalesce(sum(attempts) filter (where not delivered), 0)::float8 as bad
      from counts group by endpoint_no
    ) e`;
  return (row?.counts ?? []).map(([endpoint_no, delivered, failed]) => ({
    endpoint_no,
    delivered,
    failed,
  }));
}

/** Attempts of a window, counted by endpoint and outcome. */
export interface OutcomeCounts {
  /** Where the window begins, in milliseconds since 1970. */
  readonly since: number;
  readonly counts: readonly (readonly [endpoint_no: number, outcome: string, attempts: number])[];
}

/** Counts the same attempts by outcome, of all endpoints. */
export async function outcomeCounts(sql: Sql, window_ms: number): Promise<OutcomeCounts> {
  const [row] = await sql<OutcomeCounts[]>`
    with ${window(sql, window_ms)}, counts as (
      select c.endpoint_no, c.outcome, c.attempts from (${covering(sql, "everything", undefined)}) c
      union all
      select x.endpoint_no, (${PLACES}::text[])[x.outcome], 1 from uncounted_attempts u
      cross join lateral unnest(u.endpoint_nos, u.outcomes) as x (endpoint_no, outcome)
      where u.recorded_at >= (select since from bounds)
    )
    select (select (date_part('epoch', since) * 1000)::float8 from bounds) as since,
      coalesce(json_agg(json_build_array(endpoint_no, outcome, attempts)), '[]') as counts
    from (
      select endpoint_no, outcome, sum(attempts)::float8 as attempts from counts group by 1, 2
    ) e`;
  if (row === undefined) throw new Error("The counts came back empty");
  return row;
}

type CountedTuple = [
  endpoint_no: number,
  outcome: string,
  attempts: number,
  response: PackedHistogram,
  first_attempt: PackedHistogram,
  delivered: PackedHistogram,
  promised: number,
  promised_begun: number,
  promised_delivered: number,
];

/**
 * The rows `s` of attempt_stats from `since` on, in the longest spans that fit between the CTE `edges`: of these
 * endpoints one by one, else each span by a scan of the index. Joined with the edges, PostgreSQL reads the whole
 * table.
 */
function covering(
  sql: Sql,
  scope: Scope,
  endpoint_nos: readonly number[] | undefined,
): Fragment {
  const edge = (name: string) => sql`(select ${sql.unsafe(name)} from edges)`;
  const part = (span: Span, first: Fragment, end: Fragment | undefined) => {
    const from = endpoint_nos === undefined
      ? sql`attempt_stats s where s.span = ${sql.unsafe(`'${span}'`)} and s.starts_at >= ${first}
        ${end === undefined ? sql`` : sql`and s.starts_at < ${end}`}`
      : sql`${
        spansOf(sql, endpoint_nos, span, first, end ?? sql`now() + interval '24 hours'`)
      } where true`;
    return sql`
    select s.endpoint_no, s.outcome, s.attempts, s.response, s.first_attempt, s.delivered,
      s.promised, s.promised_begun, s.promised_delivered
    from ${from} ${numberInScope(sql, scope, "s.endpoint_no")}`;
  };
  return sql`${part("minute", edge("since"), edge("ten"))}
    union all ${part("ten_minutes", edge("ten"), edge("hour"))}
    union all ${part("hour", edge("hour"), edge("day"))}
    union all ${part("day", edge("day"), undefined)}`;
}

/** An expression: the attempts that are not counted yet, in columns; null without any. */
function uncounted(sql: Sql, only: (column: string) => Fragment, where: Fragment): Fragment {
  return sql`(
    select case when count(*) > 0 then json_build_object('endpoint_nos', json_agg(a.endpoint_no),
      'outcomes', json_agg(a.outcome), 'numbers', json_agg(a.number),
      'durations_ms', json_agg(a.duration_ms), 'ages_ms', json_agg(a.age_ms),
      'lags_ms', json_agg(a.lag_ms), 'promises', json_agg(a.promise),
      'recorded_at', json_agg((date_part('epoch', a.recorded_at) * 1000)::float8)) end
    from (
      select u.recorded_at, x.* from uncounted_attempts u
      cross join lateral unnest(u.endpoint_nos, u.outcomes, u.numbers, u.durations_ms, u.ages_ms,
        u.lags_ms, u.promises) as x (endpoint_no, outcome, number, duration_ms, age_ms, lag_ms, promise)
      ${where}
    ) a where true ${only("a.endpoint_no")})`;
}

/** Posts of a window with one answer. */
export interface PostsRow {
  readonly answer: Answer;
  /** Of the events; empty for refused posts. */
  readonly type: string;
  readonly posts: number;
  readonly last_at: Date;
  readonly last_address: string | null;
}

/**
 * Counts the events posted and the posts refused since then, those of the latest kind first. Windows are
 * those of `attemptStats`.
 */
export async function postsSince(
  sql: Sql,
  scope: Scope,
  window_ms: number,
  since: Date,
): Promise<readonly PostsRow[]> {
  // A post that was refused belongs to no business, and the others are not counted by business.
  if (scope !== "everything") return [];
  const span = beginning(window_ms) === "minute" ? "minute" : "hour";
  return await sql<PostsRow[]>`
    select answer, type, sum(posts)::float8 as posts, max(last_at) as last_at,
      (array_agg(last_address order by last_at desc))[1] as last_address
    from posts
    where span = ${span} and starts_at >= ${since.toISOString()}::text::timestamptz
    group by answer, type order by max(last_at) desc, answer, type`;
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
  /** End of the last attempt that failed, or null. */
  readonly last_failure_at: Date | null;
  /** How many have failed since the last success. */
  readonly failures: number;
}

/** How the attempts of these endpoints have been ending, up to now. Those never tried are left out. */
export async function endpointRuns(
  sql: Sql,
  endpoint_nos: readonly number[],
): Promise<EndpointRun[]> {
  const only = (column: string) => amongNumbers(sql, endpoint_nos, column);
  const ms = (column: string) => sql`(date_part('epoch', ${sql.unsafe(column)}) * 1000)::float8`;
  const [row] = await sql<{
    runs: (Run & { endpoint_no: number })[];
    uncounted: UncountedColumns | null;
  }[]>`
    select coalesce((
        select json_agg(json_build_object('endpoint_no', r.endpoint_no,
          'success_at', ${ms("r.last_success_at")}, 'failing_since', ${ms("r.failing_since")},
          'failure_at', ${ms("r.last_failure_at")}, 'failures', r.failures))
        from endpoint_runs r where true ${only("r.endpoint_no")}
      ), '[]') as runs, ${uncounted(sql, only, sql``)} as uncounted`;
  const fresh = runsOf(row?.uncounted == null ? [] : [...attemptsIn(row.uncounted)]);
  const runs = new Map(fresh);
  for (const { endpoint_no, ...run } of row?.runs ?? []) {
    const newer = fresh.get(endpoint_no);
    runs.set(endpoint_no, newer === undefined ? run : joinRuns(run, newer));
  }
  return [...runs].map(([endpoint_no, { success_at, failing_since, failure_at, failures }]) => ({
    endpoint_no,
    last_success_at: dateOf(success_at),
    failing_since: dateOf(failing_since),
    last_failure_at: dateOf(failure_at),
    failures,
  }));
}

function dateOf(at: number | null): Date | null {
  return at === null ? null : new Date(at);
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
  /** For how long the oldest of those has been owed, in milliseconds, or null. */
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
        (extract(epoch from now() - min(owed_at)) * 1000)::float8 as oldest_ms,
        (extract(epoch from now() - min(due_at) filter (where leased_until is null
          and due_at <= now())) * 1000)::float8 as oldest_overdue_ms
      from (
        select coalesce(p.renewed_at, p.created_at) as owed_at, p.due_at, p.leased_until
        from pending_deliveries p
        where p.endpoint_no = n.no order by p.due_at limit ${MAX_PENDING_COUNTED}
      ) head
    ) h
    where true ${endpoint_nos === undefined ? sql`and n.retired_at is null` : sql``}
      ${amongNumbers(sql, endpoint_nos, "n.no")} ${endpointInScope(sql, scope)}
    order by n.id`;
}
