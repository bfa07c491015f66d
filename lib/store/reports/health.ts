import type { Sql } from "postgres";
import { PROMISE } from "../../core/promise.ts";
import type { Scope } from "../../core/scope.ts";
import { literal } from "../arrays.ts";
import { spansOf } from "../fragments.ts";
import { eventInScope, numberInScope } from "../scope.ts";

/** Attempts that were recorded within an hour (UTC). */
export interface HourRow {
  /** Null: of all endpoints together. */
  readonly endpoint_no: number | null;
  /** Its beginning, in milliseconds since 1970. */
  readonly hour: number;
  readonly delivered: number;
  readonly failed: number;
  readonly first_attempts: number;
  /** Deliveries that the 30-second promise covers: their first attempts. */
  readonly promised: number;
  /** Those of them that began in time. */
  readonly promised_begun: number;
  /** Attempts of such deliveries that delivered in time. */
  readonly promised_delivered: number;
}

/**
 * Counts the attempts of the last `hours` hours, this one included, by hour: of each of these endpoints, or of all
 * in scope together.
 */
export async function attemptsByHour(
  sql: Sql,
  scope: Scope,
  hours: number,
  endpoint_nos: readonly number[] | "together",
): Promise<HourRow[]> {
  const only = (column: string) =>
    endpoint_nos === "together"
      ? numberInScope(sql, scope, column)
      : sql`and ${sql.unsafe(column)} = any(${literal(endpoint_nos)}::int[])`;
  const group = endpoint_nos === "together" ? sql`null::int` : sql`endpoint_no`;
  const first = sql`date_trunc('hour', now(), 'UTC') - ${hours - 1} * interval '1 hour'`;
  type Counts = [number | null, number, number, number, number, number, number, number];
  const [row] = await sql<{ counts: Counts[] }[]>`
    with counted as (
      select s.endpoint_no, s.starts_at as hour, s.attempts, s.outcome = 'delivered' as delivered,
        s.first_attempts, s.promised, s.promised_begun, s.promised_delivered
      from ${
    endpoint_nos === "together"
      ? sql`attempt_stats s where s.span = 'hour' and s.starts_at >= ${first}
        and s.starts_at <= now() ${only("s.endpoint_no")}`
      : spansOf(sql, endpoint_nos, "hour", first, sql`now()`)
  }
      union all
      select x.endpoint_no, date_trunc('hour', u.recorded_at, 'UTC'), 1, x.outcome = 1,
        (x.number = 1)::int, sign(x.promise & ${PROMISE.covered})::int,
        sign(x.promise & ${PROMISE.begun})::int,
        sign(x.promise & ${PROMISE.delivered})::int
      from uncounted_attempts u
      cross join lateral unnest(u.endpoint_nos, u.outcomes, u.numbers, u.promises)
        as x (endpoint_no, outcome, number, promise)
      where u.recorded_at >= ${first} ${only("x.endpoint_no")}
    ), hours as (
      select ${group} as endpoint_no, hour,
        coalesce(sum(attempts) filter (where delivered), 0)::float8 as good,
        coalesce(sum(attempts) filter (where not delivered), 0)::float8 as bad,
        sum(first_attempts)::float8 as firsts, coalesce(sum(promised), 0)::float8 as promised, coalesce(sum(promised_begun), 0)::float8 as begun,
        coalesce(sum(promised_delivered), 0)::float8 as prompt
      from counted group by 1, hour
    )
    -- One value: many rows cost more to send than to count.
    select coalesce(json_agg(json_build_array(endpoint_no,
      (date_part('epoch', hour) * 1000)::float8, good, bad, firsts, promised, begun, prompt)), '[]') as counts
    from hours`;
  return (row?.counts ?? []).map((
    [endpoint_no, hour, delivered, failed, first_attempts, ...promises],
  ) => {
    const [promised, promised_begun, promised_delivered] = promises;
    const promise = { promised, promised_begun, promised_delivered };
    return { endpoint_no, hour, delivered, failed, first_attempts, ...promise };
  });
}

/** How an endpoint's latest attempts ended. */
export interface Latest {
  readonly endpoint_no: number;
  /** Of the latest attempt that failed; null without one among those looked at. */
  readonly outcome: string | null;
  readonly status: number | null;
  readonly cause: string | null;
  /** Of the latest handshake that showed a certificate; null without one among those looked at. */
  readonly certificate_ends_at: Date | null;
  /** Of the pending deliveries looked at, the first due of each number of attempts that count. */
  readonly remaining: readonly { readonly counted: number; readonly due_at: number }[];
}

/** Most deliveries of one endpoint that are looked at in each place. */
const LOOKED_AT = 200;

/** Looks at the latest deliveries of these endpoints: those that ended, and the first due of those that wait. */
export async function latestOf(sql: Sql, endpoint_nos: readonly number[]): Promise<Latest[]> {
  // Those that wait are a CTE of each endpoint: of one for all, each endpoint would read every row.
  return await sql<Latest[]>`
    select n.no as endpoint_no, l.* from unnest(${literal(endpoint_nos)}::int[]) as n (no)
    cross join lateral (
      with waits as materialized (
        select * from pending_deliveries p where p.endpoint_no = n.no
        order by p.due_at limit ${LOOKED_AT}
      )
      select f.last_outcome as outcome, f.last_status as status, f.cause,
        coalesce(
          (select a.certificate_ends_at from waits w
            join attempts a on a.delivery_id = w.id and a.number = w.attempts
            where a.certificate_ends_at is not null
            order by a.ended_at desc limit 1),
          (select e.certificate_ends_at from (
            select certificate_ends_at, last_attempt_at from ended_deliveries
            where endpoint_no = n.no order by id desc limit ${LOOKED_AT}
          ) e where e.certificate_ends_at is not null order by e.last_attempt_at desc limit 1)
        ) as certificate_ends_at,
        coalesce((
          select json_agg(json_build_object('counted', r.counted,
            'due_at', (date_part('epoch', r.due_at) * 1000)::float8))
          from (select w.counted, min(w.due_at) as due_at from waits w group by w.counted) r
        ), '[]') as remaining
      from (select) one left join lateral (
        select * from (
          (select w.last_outcome, w.last_status, w.last_attempt_at, (
              select a.cause from attempts a where a.delivery_id = w.id and a.number = w.attempts
            ) as cause
            from waits w where w.last_outcome <> 'interrupted'
            order by w.last_attempt_at desc nulls last limit 1)
          union all
          (select e.last_outcome, e.last_status, e.last_attempt_at, e.cause from (
            -- As a range, which needs the order of the index of each endpoint: by the index of all, the few
            -- failures of one are looked for among those of all.
            select * from ended_deliveries
            where endpoint_no >= n.no and endpoint_no <= n.no and status <> 'delivered'
            order by endpoint_no desc, id desc limit ${LOOKED_AT}
          ) e where e.last_outcome <> 'interrupted' order by e.last_attempt_at desc nulls last limit 1)
        ) both_places order by last_attempt_at desc nulls last limit 1
      ) f on true
    ) l`;
}

/** Whether an event of the scope has been stored, test events excepted. */
export async function hasEvents(sql: Sql, scope: Scope): Promise<boolean> {
  const [row] = await sql<{ found: boolean }[]>`
    select exists (select from (
      select e.test from events e where true ${
    eventInScope(sql, scope)
  } order by e.id desc limit 1000
    ) latest where not test) as found`;
  return row?.found ?? false;
}
