import type { Sql } from "postgres";
import { OUTCOMES } from "../core/outcome.ts";
import type { Refusal } from "../core/refusals.ts";
import { regroup, type Run, runsOf, type Tallied, tally, type Uncounted } from "../core/tally.ts";
import { literal, texts } from "./arrays.ts";

/** Uncounted attempts as columns, which cost less to send than rows. */
export interface UncountedColumns {
  readonly endpoint_nos: readonly number[];
  readonly outcomes: readonly number[];
  readonly numbers: readonly number[];
  readonly durations_ms: readonly number[];
  readonly ages_ms: readonly number[];
  readonly lags_ms: readonly number[];
  readonly promises: readonly number[];
  /** Of each attempt, or one for all, in milliseconds since 1970. */
  readonly recorded_at: number | readonly number[];
}

/** The attempts in these columns. */
export function* attemptsIn(columns: UncountedColumns): Generator<Uncounted> {
  const { endpoint_nos, outcomes, numbers, durations_ms, ages_ms, lags_ms, promises } = columns;
  for (const [at, endpoint_no] of endpoint_nos.entries()) {
    const recorded_at = typeof columns.recorded_at === "number"
      ? columns.recorded_at
      : columns.recorded_at[at] ?? 0;
    const outcome = OUTCOMES[(outcomes[at] ?? 0) - 1];
    if (outcome === undefined) throw new Error(`The database has an outcome ${outcomes[at]}`);
    yield {
      endpoint_no,
      outcome,
      number: numbers[at] ?? 0,
      duration_ms: durations_ms[at] ?? 0,
      age_ms: ages_ms[at] ?? 0,
      promise: promises[at] ?? 0,
      recorded_at,
      ended_at: recorded_at - (lags_ms[at] ?? 0),
    };
  }
}

/** Spans that attempts are counted by, and their lengths in milliseconds. Each is a part of the next. */
const SPANS = { minute: 60_000, ten_minutes: 600_000, hour: 3_600_000, day: 86_400_000 } as const;

/** Most statements' attempts that one step counts: each has up to 500. */
const MAX_STATEMENTS = 200;

/** The result of `rollUp`. */
export interface RolledUp {
  /** Attempts that were counted. */
  readonly counted: number;
  /** Whether there may be more than one step takes. */
  readonly is_behind: boolean;
}

/**
 * Counts the attempts that are not counted yet, up to those of 200 statements, and notes how each
 * endpoint's have been ending. Counts nothing if another daemon is counting the same ones.
 */
export async function rollUp(sql: Sql): Promise<RolledUp> {
  const rows = await sql<(UncountedColumns & { no: number })[]>`
    select no::float8, (date_part('epoch', recorded_at) * 1000)::float8 as recorded_at,
      to_json(endpoint_nos) as endpoint_nos, to_json(outcomes) as outcomes,
      to_json(numbers) as numbers, to_json(durations_ms) as durations_ms,
      to_json(ages_ms) as ages_ms, to_json(lags_ms) as lags_ms, to_json(promises) as promises
    from uncounted_attempts order by no limit ${MAX_STATEMENTS}`;
  if (rows.length === 0) return { counted: 0, is_behind: false };
  const attempts = rows.flatMap((row) => [...attemptsIn(row)]);
  // Each attempt once, and then the few counts: it is the most costly part of a roll-up.
  const minutes = tally(attempts, ({ recorded_at }) => startOf(recorded_at, SPANS.minute));
  const groups = Object.entries(SPANS).flatMap(([span, ms]) =>
    regroup(minutes, (at) => startOf(at, ms)).map((counts) => ({ span, ...counts }))
  );
  const is_counted = await count(sql, rows.map(({ no }) => no), groups, runsOf(attempts));
  return {
    counted: is_counted ? attempts.length : 0,
    is_behind: is_counted && rows.length === MAX_STATEMENTS,
  };
}

/** When the span of this length begins that a time is in. */
function startOf(at: number, span_ms: number): number {
  return Math.floor(at / span_ms) * span_ms;
}

// All of these rows or none: another daemon may have taken some.
async function count(
  sql: Sql,
  nos: readonly number[],
  groups: readonly (Tallied<number> & { readonly span: string })[],
  runs: ReadonlyMap<number, Run>,
): Promise<boolean> {
  const ended = [...runs.values()];
  const [row] = await sql<{ gone: number }[]>`
    with locked as materialized (
      select no from uncounted_attempts where no = any(${literal(nos)}::bigint[])
      for update skip locked
    ), gone as materialized (
      delete from uncounted_attempts where no = any(array(select no from locked))
        and (select count(*) from locked) = ${nos.length}
      returning 1
    ), counted as (
      insert into attempt_stats as s
        (span, starts_at, endpoint_no, outcome, attempts, response, first_attempt, delivered,
          promised, promised_begun, promised_delivered)
      select g.span, 'epoch'::timestamptz + g.starts_at * interval '1 ms', g.endpoint_no, g.outcome,
        g.attempts, g.response, g.first_attempt, g.delivered, g.promised, g.promised_begun,
        g.promised_delivered
      from unnest(
        string_to_array(${texts(groups.map(({ span }) => span))}, chr(30)),
        ${literal(groups.map(({ group }) => group))}::bigint[],
        ${literal(groups.map((g) => g.endpoint_no))}::int[],
        string_to_array(${texts(groups.map((g) => g.outcome))}, chr(30)),
        ${literal(groups.map((g) => g.attempts))}::bigint[],
        string_to_array(${texts(groups.map((g) => JSON.stringify(g.response)))}, chr(30)),
        string_to_array(${texts(groups.map((g) => JSON.stringify(g.first_attempt)))}, chr(30)),
        string_to_array(${texts(groups.map((g) => JSON.stringify(g.delivered)))}, chr(30)),
        ${literal(groups.map((g) => g.promised))}::bigint[],
        ${literal(groups.map((g) => g.promised_begun))}::bigint[],
        ${literal(groups.map((g) => g.promised_delivered))}::bigint[]
      ) as g (span, starts_at, endpoint_no, outcome, attempts, response, first_attempt, delivered,
        promised, promised_begun, promised_delivered)
      where exists (select from gone)
      -- Sorted, so that two daemons cannot deadlock.
      order by 1, 2, 3, 4
      on conflict (span, starts_at, endpoint_no, outcome) do update set
        attempts = s.attempts + excluded.attempts,
        response = add_histograms(s.response, excluded.response),
        first_attempt = add_histograms(s.first_attempt, excluded.first_attempt),
        delivered = add_histograms(s.delivered, excluded.delivered),
        promised = s.promised + excluded.promised,
        promised_begun = s.promised_begun + excluded.promised_begun,
        promised_delivered = s.promised_delivered + excluded.promised_delivered
    ), ran as (
      insert into endpoint_runs as r
        (endpoint_no, last_success_at, failing_since, last_failure_at, failures)
      select e.endpoint_no, 'epoch'::timestamptz + e.success_at * interval '1 ms',
        'epoch'::timestamptz + e.failing_since * interval '1 ms',
        'epoch'::timestamptz + e.failure_at * interval '1 ms', e.failures
      from unnest(
        ${literal([...runs.keys()])}::int[],
        ${literal(ended.map((run) => run.success_at))}::float8[],
        ${literal(ended.map((run) => run.failing_since))}::float8[],
        ${literal(ended.map((run) => run.failure_at))}::float8[],
        ${literal(ended.map((run) => run.failures))}::bigint[]
      ) as e (endpoint_no, success_at, failing_since, failure_at, failures)
      where exists (select from gone)
      order by e.endpoint_no
      -- As joinRuns of lib/core/tally.ts has it: a test holds the two together.
      on conflict (endpoint_no) do update set (last_success_at, failing_since, last_failure_at, failures) = (
        select n.success_at, f.first_at, greatest(r.last_failure_at, excluded.last_failure_at),
          case when f.first_at is null then 0
            when n.success_at = excluded.last_success_at then excluded.failures
            else r.failures + excluded.failures end
        -- In the future if the database's clock was set back.
        from (select greatest(
          case when r.last_success_at > now() then now() else r.last_success_at end,
          excluded.last_success_at)) n (success_at)
        cross join lateral (
          select min(f.at) as first_at from unnest(array[r.failing_since, r.last_failure_at,
            excluded.failing_since, excluded.last_failure_at]) as f (at)
          where f.at > coalesce(n.success_at, '-infinity')) f)
    )
    select count(*)::int as gone from gone`;
  return row !== undefined && row.gone > 0;
}

/** How long the counts of each span are kept, in days. */
const KEPT_DAYS = { minute: 2, ten_minutes: 14, hour: 90, day: 400 } as const;

/** Removes up to `limit` old counts of each span: minutes after 2 days, days after 400. */
export function purgeStats(sql: Sql, limit: number): Promise<number> {
  return purgeSpans(sql, "attempt_stats", limit);
}

/** The same of posts. */
export function purgePosts(sql: Sql, limit: number): Promise<number> {
  return purgeSpans(sql, "posts", limit);
}

async function purgeSpans(
  sql: Sql,
  table: "attempt_stats" | "posts",
  limit: number,
): Promise<number> {
  const kept = Object.entries(KEPT_DAYS);
  const rows = await sql`
    delete from ${sql(table)} where ctid = any(array(
      select old.place from unnest(
        string_to_array(${texts(kept.map(([span]) => span))}, chr(30)),
        ${literal(kept.map(([, days]) => days))}::int[]) as k (span, days)
      cross join lateral (
        select s.ctid as place from ${sql(table)} s
        where s.span = k.span and s.starts_at < now() - k.days * interval '1 day' limit ${limit}
      ) old))
    returning 1`;
  return rows.length;
}

/** The answer to a post: an event stored, or known already, or why the post was refused. */
export type Answer = "stored" | "duplicate" | Refusal;

/** Events posted, or refused posts, of one kind since a daemon last wrote them down. */
export interface Posted {
  readonly answer: Answer;
  /** Of the event; empty for a refused post. */
  readonly type: string;
  readonly posts: number;
  /** By the database's clock, in milliseconds since 1970. */
  readonly last_at: number;
  readonly last_address: string | null;
}

/** Adds posts to the counts of the minute and the hour in which the last of each kind came. */
export async function addPosts(sql: Sql, posted: readonly Posted[]): Promise<void> {
  await sql`
    insert into posts as p (span, starts_at, answer, type, posts, last_at, last_address)
    select span, date_trunc(span, r.last_at, 'UTC'), r.answer, coalesce(r.type, ''), r.posts,
      r.last_at, r.last_address
    from unnest(
      string_to_array(${texts(posted.map((r) => r.answer))}, chr(30)),
      string_to_array(${texts(posted.map((r) => r.type))}, chr(30), ''),
      ${literal(posted.map((r) => r.posts))}::bigint[],
      string_to_array(${
    texts(posted.map((r) => new Date(r.last_at).toISOString()))
  }, chr(30))::timestamptz[],
      string_to_array(${texts(posted.map((r) => r.last_address))}, chr(30), '')
    ) as r (answer, type, posts, last_at, last_address), unnest(array['minute', 'hour']) as span
    -- Sorted, so that two daemons cannot deadlock.
    order by span, r.answer, r.type
    on conflict (span, starts_at, answer, type) do update set posts = p.posts + excluded.posts,
      last_at = greatest(p.last_at, excluded.last_at),
      last_address = case when excluded.last_at >= p.last_at
        then excluded.last_address else p.last_address end`;
}
