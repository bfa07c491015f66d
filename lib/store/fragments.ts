import type { Sql } from "postgres";
import { CANCEL_REASONS, CANCELLED_BY } from "../core/cancellation.ts";
import { OUTCOMES, statusRange } from "../core/outcome.ts";
import { literal } from "./arrays.ts";
import { type Fragment, noted } from "./changes.ts";

/**
 * Parts of statements that move deliveries between `pending_deliveries` and `ended_deliveries`, and of those that
 * read the counts of attempts.
 */

/**
 * Columns that `attempts` and `ended_deliveries` share: what is known of an attempt besides its outcome, its
 * status and its end.
 */
export const ATTEMPT_DETAILS = `endpoint_version, started_at, cause, address,
  request_timestamp, request_signature, request_webhook_signature, response_head, response_body,
  response_truncated, dns_us, connect_us, tls_us, waiting_us, connection_reused, certificate_ends_at`;

/** Columns of a delivery's last attempt in `ended_deliveries`, and the same in `attempts`. */
const LAST_ATTEMPT = `last_outcome, last_status, last_attempt_at, ${ATTEMPT_DETAILS}`;
const AS_ATTEMPT = `outcome, status, ended_at, ${ATTEMPT_DETAILS}`;

/** SQL expressions over the rows that end. */
interface Ending {
  readonly status: string;
  readonly reason?: string;
  readonly ended_at: string;
}

/**
 * Inserts the deliveries in `rows`, a table expression that has the columns of a delivery and those of its
 * last attempt, as in `attempts`, into the ended ones.
 */
export function insertEnded(rows: string, { status, reason = "null", ended_at }: Ending): string {
  return `
    insert into ended_deliveries (id, endpoint_no, created_at, token, attempts, owed_by, status, reason,
      ended_at, ${LAST_ATTEMPT})
    select id, endpoint_no, created_at, token, attempts, owed_by, ${status}, ${reason}, ${ended_at},
      ${AS_ATTEMPT}
    from ${rows}
    returning endpoint_no, status`;
}

/** Deliveries of one endpoint that a statement ended. */
export interface Ended {
  readonly endpoint_no: number;
  readonly status: "failed" | "cancelled";
  readonly count: number;
}

/** What a statement found to end, and what it ended. */
export interface Endings {
  /** Deliveries: those that end with the attempt under way are counted here only. */
  readonly found: number;
  readonly ended: readonly Ended[];
}

/** An expression: what the CTE `ended` has ended, as rows of `Ended`. */
export const ENDED = `coalesce((
  select json_agg(e) from (
    select endpoint_no, status, count(*)::int as count from ended group by endpoint_no, status
  ) e), '[]')`;

/**
 * Inserts the deliveries in `rows`, a table expression of rows just deleted from `pending_deliveries`, into
 * the ended ones. They end now, and their last attempts move out of `attempts`.
 */
export function endWaiting(rows: string, ending: Omit<Ending, "ended_at">): string {
  return insertEnded(
    `(
      select p.*, a.outcome, a.status, a.ended_at, ${prefixed("a", ATTEMPT_DETAILS)}
      from ${rows} p left join lateral take_attempt(p.id, p.attempts) a on true
    ) ending`,
    { ...ending, ended_at: "now()" },
  );
}

function prefixed(table: string, columns: string): string {
  return columns.split(/,\s*/).map((column) => `${table}.${column}`).join(", ");
}

/**
 * The CTEs `marked`, `removed`, `ended` and `noted`: the pending deliveries in the CTE `chosen` (id, leased,
 * reason) end as cancelled. Leased ones are marked, and end with the attempt under way.
 */
export const CANCEL_CHOSEN = `
  marked as (
    update pending_deliveries p set cancel_reason = c.reason
    from chosen c where p.id = c.id and c.leased
  ), removed as (
    delete from pending_deliveries where id = any(array(select id from chosen where not leased))
    returning *
  ), ended as (${
  endWaiting("(select * from removed join (select id, reason from chosen) c using (id))", {
    status: "'cancelled'",
    reason: "reason",
  })
}
  ), ${noted({ deliveries: "select id from chosen" })}`;

/**
 * The CTEs `back`, `unfolded`, `owed` and `noted`: the ended deliveries in the CTE `chosen` are pending again, due
 * now, for a new round of attempts. Their tokens and attempts go on counting, and their last attempts move
 * back into `attempts`.
 */
export const RENEW_CHOSEN = `
  back as (
    delete from ended_deliveries d using chosen c
    where d.endpoint_no = endpoint_of(c.id) and d.id = c.id
    returning d.*
  ), unfolded as (
    insert into attempts (delivery_id, number, endpoint_no, ${AS_ATTEMPT})
    select id, attempts, endpoint_no, ${LAST_ATTEMPT} from back where attempts > 0
  ), owed as (
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at, token, attempts,
      last_outcome, last_status, last_attempt_at, renewed_at, owed_by)
    select id, event_of(id), endpoint_no, created_at, now(), token, attempts, last_outcome, last_status,
      last_attempt_at, now(), owed_by
    from back
    returning id, endpoint_no
  ), ${noted({ deliveries: "select id from owed" })}`;

/**
 * Whether endpoint n does not select the event of delivery s, by the types in `types` of that endpoint.
 * Tests are its own. A look-up for each delivery: joined, the planner may read all events there are.
 */
export const DESELECTED = `(
  select not e.test and not (
    e.type ~ types and (n.businesses is null or coalesce(e.business = any(n.businesses), false)))
  from events e where e.id = s.event_id)`;

/** Pending deliveries that a change of an endpoint cancels; the least number if not exact. */
export interface Cancels {
  readonly cancels: number;
  readonly cancels_exact: boolean;
}

/** Deliveries that are counted exactly. */
const MAX_COUNTED = 10_000;
/** Deliveries read for that: it must end within a second. */
const MAX_COUNT_DEPTH = 50_000;

/**
 * An expression: the `Cancels` of endpoint n (no, events, businesses) as jsonb, if it is retired or comes
 * to select what n says.
 */
export function countCancels(retired: string): string {
  return `(
    with seen as materialized (
      select p.event_id from pending_deliveries p
      where p.endpoint_no = n.no and p.cancel_reason is null
      limit case when ${retired} then ${MAX_COUNTED + 1} else ${MAX_COUNT_DEPTH} end
    ), found as materialized (
      select from seen s cross join (select selected_types(n.events) as types) t
      where ${retired} or ${DESELECTED}
      limit ${MAX_COUNTED + 1}
    )
    select jsonb_build_object('cancels', least(count(*), ${MAX_COUNTED}), 'cancels_exact',
      count(*) <= ${MAX_COUNTED} and (select count(*) from seen) < ${MAX_COUNT_DEPTH})
    from found)`;
}

/** Narrows deliveries by how their last attempt ended, or why they were cancelled. */
export interface CauseFilter {
  /** A failure reason, `any` for all of these, or one of `CANCEL_REASONS`. */
  readonly reason?: string | null | undefined;
  /** A status of the last answer: `401` or `4xx`. */
  readonly code?: string | null | undefined;
}

/** The conditions of a filter on deliveries `d`; `cancelled` is their column of the reason to cancel. */
export function causeIs(
  sql: Sql,
  { reason, code }: CauseFilter,
  cancelled: "d.reason" | "d.cancel_reason",
): Fragment[] {
  const conditions: Fragment[] = [];
  const column = sql.unsafe(cancelled);
  if (reason === "cancelled") conditions.push(sql`${column} like ${`${CANCELLED_BY}%`}`);
  else if (CANCEL_REASONS.some((one) => one === reason)) {
    conditions.push(sql`${column} = ${reason ?? null}`);
  } else if (reason === "any") conditions.push(sql`d.last_outcome <> 'delivered'`);
  else if (reason != null) conditions.push(sql`d.last_outcome = ${reason}`);
  if (code != null) {
    const [first, last] = statusRange(code);
    conditions.push(sql`d.last_status between ${first} and ${last}`);
  }
  return conditions;
}

// The places of outcomes in here, from 1, are what `uncounted_attempts` has instead of their names.
const PLACES = `'{${OUTCOMES.join(",")}}'::text[]`;

/**
 * Writes the attempts in `rows`, a table expression, down as not yet counted: endpoint_no, outcome, attempts
 * (the number of this one), duration_us, lag_us, promise, ended_at, and the delivery's owed_at: since when it is
 * owed, by its event or by what brought it back last.
 */
export function journal(rows: string): string {
  return `
    insert into uncounted_attempts
      (endpoint_nos, outcomes, numbers, durations_ms, ages_ms, lags_ms, promises)
    select array_agg(endpoint_no), array_agg(array_position(${PLACES}, outcome)::smallint),
      array_agg(attempts::smallint), array_agg((duration_us / 1000.0::float8)::real),
      -- Never below zero: the database's clock may have been set back in between.
      array_agg(greatest(0, date_part('epoch', ended_at - owed_at) * 1000)::real),
      array_agg((lag_us / 1000.0::float8)::real), array_agg(promise)
    from ${rows} having count(*) > 0`;
}

/**
 * Whether a daemon's heartbeat is at most a minute old. A time in the future was written before the clock was set
 * back.
 */
export const SEEN = "seen_at between now() - interval '1 minute' and now() + interval '1 minute'";

/** The columns `owed_ms` and `renewed` of a pending delivery. */
export const OWED = `
  (date_part('epoch', coalesce(renewed_at, created_at)) * 1000)::float8 as owed_ms,
  renewed_at is not null as renewed`;

/** Spans that attempt_stats counts by. */
export type Span = "minute" | "ten_minutes" | "hour" | "day";

// In hours, because a day's length depends on the session's time zone.
const LENGTHS: Readonly<Record<Span, string>> = {
  minute: "1 minute",
  ten_minutes: "10 minutes",
  hour: "1 hour",
  day: "24 hours",
};

/**
 * The rows `s` of attempt_stats of these endpoints for the spans that begin from `first` on and before `end`, as a
 * table expression. Each is a look-up: by a range of times, PostgreSQL goes through the spans of all endpoints once
 * for each endpoint.
 */
export function spansOf(
  sql: Sql,
  endpoint_nos: readonly number[],
  span: Span,
  first: Fragment,
  end: Fragment,
): Fragment {
  return sql`unnest(${literal(endpoint_nos)}::int[]) as x (no)
    cross join generate_series(${first}, ${end} - interval '1 us',
      ${sql.unsafe(`interval '${LENGTHS[span]}'`)}) as t (at)
    cross join lateral (
      -- Without the offset it becomes a join, for which PostgreSQL reads the whole table.
      select * from attempt_stats s where s.span = ${sql.unsafe(`'${span}'`)}
        and s.starts_at = t.at and s.endpoint_no = x.no offset 0
    ) s`;
}
