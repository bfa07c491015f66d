/** Pauses that the program makes and ends by itself: `alerts.auto_pause`. */

import type { Sql } from "postgres";
import type { Failing } from "../core/alerting/auto_pause.ts";
import { literal, texts } from "./arrays.ts";
import { announceFleet } from "./changes.ts";
import type { Claimed, Term } from "./claims.ts";
import { OWED } from "./fragments.ts";

/** How long after a pause, or a probe, the next probe follows. */
const PROBE_EVERY = "interval '1 hour'";
/**
 * As many of the first due deliveries of an endpoint take turns as probes: as many as a day has hours. Leases that
 * ran out are looked for among the first hundred.
 */
const PROBED_DEPTH = 24;
/** The author of these pauses in the audit log. */
const ACTOR = "the automatic pause";

/** An endpoint whose attempts have been failing. */
export interface FailingEndpoint extends Failing {
  readonly no: number;
}

/** The endpoints in force that are not paused and have not been delivered to for `since_ms`, as far as is counted. */
export async function failingEndpoints(sql: Sql, since_ms: number): Promise<FailingEndpoint[]> {
  const ms = (column: string) =>
    sql.unsafe(`(date_part('epoch', ${column}) * 1000)::float8 as ${column.replace(/.*\./, "")}`);
  return await sql<FailingEndpoint[]>`
    with failing as materialized (
      select n.no, r.failing_since, r.last_failure_at, greatest(n.resumed_at, (
          select max(a.ended_at) from alerts a where a.kind = 'egress_broken')) as judged_from
      from endpoints n join endpoint_runs r on r.endpoint_no = n.no
      where n.retired_at is null and n.paused_at is null
        and r.failing_since <= now() - ${since_ms}::bigint * interval '1 ms'
    ), judged as materialized (
      select f.*, case when f.judged_from > f.failing_since then (
          -- Within that hour; which of several failures there came after judged_from is not known.
          select min(s.starts_at) + interval '1 hour' from attempt_stats s
          where s.span = 'hour' and s.starts_at >= f.judged_from and s.endpoint_no = f.no
            and s.outcome not in ('delivered', 'interrupted'))
        else f.failing_since end as first_failure_at
      from failing f
    )
    select no, ${ms("j.failing_since")}, ${ms("j.last_failure_at")}, ${ms("j.judged_from")},
      ${ms("j.first_failure_at")}
    from judged j`;
}

/** An endpoint to be paused. */
export interface Pausing {
  readonly no: number;
  /** Since when nothing but failures is known, in milliseconds since 1970. */
  readonly from: number;
  readonly reason: string;
}

/**
 * Pauses these endpoints, each unless something was delivered to it after `from`, or it was paused, resumed or
 * retired meanwhile, and none while nothing is delivered anywhere. Returns the ids of those that it paused.
 */
export async function pauseFailing(
  sql: Sql,
  failing: readonly Pausing[],
): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    with failing as materialized (
      select f.no, 'epoch'::timestamptz + f.from_ms * interval '1 ms' as since, f.reason
      from unnest(
        ${literal(failing.map(({ no }) => no))}::int[],
        ${literal(failing.map(({ from }) => from))}::float8[],
        string_to_array(${texts(failing.map(({ reason }) => reason))}, chr(30))
      ) as f (no, from_ms, reason)
    ), paused as (
      update endpoints n
      set paused_at = now(), paused_by = 'automatic', updated_at = now(),
        probe_at = now() + ${sql.unsafe(PROBE_EVERY)}, pause_reason = f.reason
      from failing f join endpoint_runs r on r.endpoint_no = f.no
      where n.no = f.no and n.paused_at is null and n.retired_at is null
        and not coalesce(n.resumed_at > f.since + interval '1 ms', false)
        and r.failing_since is not null and not coalesce(r.last_success_at > f.since, false)
        and not exists (select from alerts a where a.kind = 'egress_broken' and a.ended_at is null)
        -- Attempts of the last seconds, not counted yet; 1: delivered.
        and not exists (
          select from uncounted_attempts u
          cross join lateral unnest(u.endpoint_nos, u.outcomes) as x (endpoint_no, outcome)
          where x.endpoint_no = n.no and x.outcome = 1)
      returning n.id, n.pause_reason
    ), audited as (
      insert into audit (actor, action, object, after)
      select ${ACTOR}, 'endpoint.paused', id, jsonb_build_object('reason', pause_reason) from paused
    ), ${sql.unsafe(announceFleet("paused"))}
    select id from paused left join announced on true`;
  return rows.map(({ id }) => id);
}

/**
 * Claims the first due delivery of each of these endpoints whose automatic pause is to be probed, whether it is
 * due already or not, and moves the next probe on: of several daemons one gets it. Without a delivery there is
 * none until then.
 *
 * The receiver may refuse only that delivery: one that a 4xx answered since the pause lets the next one go first,
 * and once all have been refused, the one whose last attempt is the longest ago.
 */
export async function claimProbes(
  sql: Sql,
  endpoint_nos: readonly number[],
  { ms, holder }: Term,
): Promise<Claimed[]> {
  return await sql<Claimed[]>`
    with probed as materialized (
      select no, paused_at from endpoints
      where no = any(${literal(endpoint_nos)}::int[]) and probe_at <= now() and retired_at is null
        and not exists (select from resumptions r where r.endpoint_no = no)
      for no key update skip locked
    ), moved as (
      update endpoints set probe_at = now() + ${sql.unsafe(PROBE_EVERY)}
      where no = any(array(select no from probed))
    ), chosen as materialized (
      select x.id from probed n cross join lateral (
        select f.id from (
          select p.id, p.due_at, p.last_outcome, p.last_attempt_at from pending_deliveries p
          where p.endpoint_no = n.no and p.leased_until is null and p.cancel_reason is null
          order by p.due_at limit ${PROBED_DEPTH} for update skip locked
        ) f
        order by case when f.last_outcome = 'http_4xx' and f.last_attempt_at >= n.paused_at
          then f.last_attempt_at end nulls first, f.due_at
        limit 1
      ) x
    ), leased as (
      update pending_deliveries
      set leased_until = now() + ${ms}::int * interval '1 ms', leased_by = ${holder}::int,
        -- Searches for leases read due deliveries only.
        token = token + 1, regular_due_at = due_at, due_at = least(due_at, now())
      where id = any(array(select id from chosen))
      returning id, token, endpoint_no, attempts, counted, interruptions, event_id, due_at, ${
    sql.unsafe(OWED)
  }
    )
    select l.id as uuid, l.token, l.endpoint_no, l.attempts, l.counted, l.interruptions, true as probe,
      l.event_id as event_uuid, l.owed_ms, l.renewed, e.type, e.test, e.payload, e.trace,
      (date_part('epoch', l.due_at) * 1000000)::bigint as due, 0::float8 as wait_ms
    from leased l join events e on e.id = l.event_id
    where e.payload is not null`;
}

/** What waited is sent within this time, and no slower than 20 in a second. */
const SPREAD_OVER = "interval '1 hour'";
const MIN_SPREAD = 72_000;

/** Result of one step of ending automatic pauses. */
export interface ResumeStep {
  /** Deliveries that were given another due time. */
  readonly spread: number;
  /** The endpoint whose pause has ended with that; null: there is more to spread, or its pause was another one. */
  readonly resumed: string | null;
}

/**
 * Goes on with ending an automatic pause after a delivered probe: spreads up to `limit` of the deliveries that
 * have been due since before it over the time to come, in their order, or ends the pause if those were the last.
 * Undefined if there is nothing to do, or other daemons are doing it.
 */
export async function resumeProbed(sql: Sql, limit: number): Promise<ResumeStep | undefined> {
  const [row] = await sql<ResumeStep[]>`
    with held as materialized (
      select r.endpoint_no, r.probed_at, coalesce(r.next_due_at, now()) as from_at,
        coalesce(r.step, ${sql.unsafe(SPREAD_OVER)} / greatest(${MIN_SPREAD}::int, (
          select count(*) from pending_deliveries p
          where p.endpoint_no = r.endpoint_no and p.due_at <= r.probed_at))) as step
      from resumptions r order by r.probed_at limit 1 for update skip locked
    ), ending as materialized (
      -- It may be another pause by now, which is not ended.
      select h.*, n.pause_reason from held h join endpoints n on n.no = h.endpoint_no
      where n.paused_by = 'automatic' and n.retired_at is null
    ), waiting as materialized (
      select p.id, row_number() over (order by p.due_at) as turn from ending e cross join lateral (
        select q.id, q.due_at from pending_deliveries q
        where q.endpoint_no = e.endpoint_no and q.due_at <= e.probed_at and q.leased_until is null
        order by q.due_at limit ${limit} for update skip locked
      ) p
    ), spread as (
      -- One look-up for each: to find them by an array as well compares each with each.
      update pending_deliveries p set due_at = e.from_at + w.turn * e.step
      from ending e, waiting w where p.id = w.id
    ), progress as materialized (
      select count(*)::int as count, count(*) = ${limit} as is_full from waiting
    ), moved as (
      update resumptions r
      set next_due_at = h.from_at + (select count from progress) * h.step, step = h.step
      from held h where r.endpoint_no = h.endpoint_no and (select is_full from progress)
    ), done as (
      delete from resumptions
      where endpoint_no in (select endpoint_no from held) and not (select is_full from progress)
    ), resumed as (
      update endpoints n
      set paused_at = null, pause_reason = null, paused_by = null, probe_at = null,
        resumed_at = now(), updated_at = now()
      from ending e
      where n.no = e.endpoint_no and n.paused_by = 'automatic' and n.retired_at is null
        and not (select is_full from progress)
      returning n.id, e.pause_reason
    ), audited as (
      insert into audit (actor, action, object, before)
      select ${ACTOR}, 'endpoint.resumed', id, jsonb_build_object('reason', pause_reason) from resumed
    ), ${sql.unsafe(announceFleet("resumed"))}
    select p.count as spread, (select id from resumed) as resumed
    from held cross join progress p left join announced on true`;
  return row;
}
