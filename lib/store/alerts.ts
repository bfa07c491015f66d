import type { Sql } from "postgres";
import type {
  Change,
  DaemonFacts,
  Details,
  EndpointFacts,
  OpenAlert,
  TargetFacts,
} from "../core/alerting/kinds.ts";
import type { Spoken } from "../core/alerting/words.ts";
import type { Reason } from "../core/outcome.ts";
import { literal, texts } from "./arrays.ts";
import { type Fragment, noted } from "./changes.ts";
import { SEEN } from "./fragments.ts";

/** What alerts are judged by, how they are opened and ended, and the notices that say so. */

/** The time between two turns, in milliseconds: shorter than that between two runs of the job. */
const TURN_MS = 8_000;

/** The endpoint `n` of an alert, for words about it; null without one. */
const ENDPOINT_SAID = `case when n.no is not null then
    json_build_object('id', n.id, 'description', n.settings ->> 'description') end`;

/** A turn of judging. */
export interface Turn {
  /** The database's clock, in milliseconds since 1970. */
  readonly now: number;
  readonly open: readonly OpenAlert[];
  /** When the last `egress_broken` ended, or null. */
  readonly egress_ended_at: number | null;
}

/** Takes the turn to judge, unless a daemon has had it within the last eight seconds. */
export async function takeTurn(sql: Sql): Promise<Turn | undefined> {
  const [row] = await sql<Turn[]>`
    with turn as (
      update alerting set judged_at = now()
      -- In the future if the database's clock was set back.
      where judged_at not between now() - ${TURN_MS} * interval '1 ms' and now()
      returning judged_at
    )
    select ${sql.unsafe(ms("t.judged_at"))} as now, coalesce((
        select json_agg(json_build_object('id', a.id, 'kind', a.kind, 'subject', a.subject,
          'endpoint_no', a.endpoint_no, 'business', a.business, 'began_at', ${
    sql.unsafe(ms("a.began_at"))
  },
          'opened_at', ${sql.unsafe(ms("a.opened_at"))}, 'details', a.details,
          'occasions', a.occasions, 'remind_at', ${sql.unsafe(ms("a.remind_at"))},
          'acknowledged_at', ${sql.unsafe(ms("a.acknowledged_at"))},
          'snoozed_until', ${sql.unsafe(ms("a.snoozed_until"))}) order by a.id)
        from alerts a where a.ended_at is null
      ), '[]') as open, (
        select ${sql.unsafe(ms("max(a.ended_at)"))} from alerts a where a.kind = 'egress_broken'
      ) as egress_ended_at
    from turn t`;
  return row;
}

function ms(time: string): string {
  return `(date_part('epoch', ${time}) * 1000)::float8`;
}

/** What an endpoint is judged by, besides the counts of its attempts. */
export type JudgedEndpoint = Omit<EndpointFacts, "window" | "last_third" | "recent" | "run">;

/** The endpoints in force, and these others. */
export async function judgedEndpoints(
  sql: Sql,
  others: readonly number[],
): Promise<JudgedEndpoint[]> {
  const [row] = await sql<{ endpoints: JudgedEndpoint[] }[]>`
    select coalesce(json_agg(json_build_object('no', n.no, 'id', n.id, 'owner', n.owner,
      'paused_by', n.paused_by, 'paused_at', ${sql.unsafe(ms("n.paused_at"))},
      'resumed_at', ${sql.unsafe(ms("n.resumed_at"))}, 'retired_at', ${
    sql.unsafe(ms("n.retired_at"))
  },
      'overdue_ms', (
        select (extract(epoch from now() - first.due_at) * 1000)::float8 from (
          -- As a range: with "is null", statistics that take few for idle make PostgreSQL read all of them.
          select p.due_at from pending_deliveries p
          where p.endpoint_no = n.no and coalesce(p.leased_until, '-infinity') <= '-infinity'
          order by p.due_at limit 1
        ) first where first.due_at <= now()),
      'check', case when c.ok is not null then json_build_object(
        'checked_at', ${sql.unsafe(ms("c.checked_at"))}, 'ok', c.ok,
        'failing_since', ${sql.unsafe(ms("c.failing_since"))},
        'certificate_ends_at', ${sql.unsafe(ms("c.certificate_ends_at"))}) end)), '[]') as endpoints
    from endpoints n left join endpoint_checks c on c.endpoint_no = n.no
    where n.retired_at is null or n.no = any(${literal(others)}::int[])`;
  return row?.endpoints ?? [];
}

/**
 * An endpoint that nothing holds up, and whose first due delivery nobody has sent for so long; undefined if there is
 * none. Bounds of its own may hold one up for any time.
 */
export async function overdueEndpoint(sql: Sql, overdue_ms: number): Promise<string | undefined> {
  const [row] = await sql<{ id: string }[]>`
    select n.id from endpoints n
    where n.retired_at is null and n.paused_at is null
      and coalesce(n.settings -> 'rate_limit_per_s', 'null') = 'null'
      and coalesce(n.settings -> 'concurrency', 'null') = 'null'
      and exists (
        select from (
          select p.due_at, p.leased_until from pending_deliveries p
          where p.endpoint_no = n.no order by p.due_at limit 1
        ) first
        where first.leased_until is null
          and first.due_at < now() - ${overdue_ms} * interval '1 ms')
    order by n.id limit 1`;
  return row?.id;
}

/** When events were stored. Times in milliseconds since 1970, or null. */
export interface StoredTimes {
  readonly last_event_at: number | null;
  readonly counted_since: number | null;
}

/** Hours that are looked at for the last event: each has a row for each type that came. */
const LAST_HOURS_ROWS = 200;

/** When the last event was stored, and since when they have been counted. */
export async function storedTimes(sql: Sql): Promise<StoredTimes> {
  const [row] = await sql<StoredTimes[]>`
    select (
        select ${sql.unsafe(ms("max(p.last_at)"))} from (
          select last_at, answer from posts where span = 'hour'
          order by starts_at desc limit ${LAST_HOURS_ROWS}
        ) p where p.answer = 'stored'
      ) as last_event_at, (
        select ${sql.unsafe(ms("starts_at"))} from posts where span = 'hour'
        order by starts_at limit 1
      ) as counted_since`;
  return row ?? { last_event_at: null, counted_since: null };
}

/** Events stored in each hour (UTC) that these times touch: `[starts_at, events]`, in milliseconds since 1970. */
export async function storedByHour(
  sql: Sql,
  times: readonly { readonly from: number; readonly to: number }[],
): Promise<[number, number][]> {
  const [row] = await sql<{ hours: [number, number][] }[]>`
    select coalesce(json_agg(json_build_array(${
    sql.unsafe(ms("h.starts_at"))
  }, h.events)), '[]') as hours
    from (
      select p.starts_at, sum(p.posts)::float8 as events
      from unnest(${literal(times.map(({ from }) => from))}::float8[],
        ${literal(times.map(({ to }) => to))}::float8[]) as t (since, until)
      join posts p on p.span = 'hour' and p.answer = 'stored'
        and p.starts_at > 'epoch'::timestamptz + t.since * interval '1 ms' - interval '1 hour'
        and p.starts_at < 'epoch'::timestamptz + t.until * interval '1 ms'
      group by p.starts_at
    ) h`;
  return row?.hours ?? [];
}

/** The daemons that live, and the file in force; null before the first. */
export interface LivingDaemons {
  readonly daemons: readonly DaemonFacts[];
  readonly file: { readonly digest: string; readonly seen_at: number } | null;
}

/** Who lives, with which file, and what is wrong there. */
export async function livingDaemons(sql: Sql): Promise<LivingDaemons> {
  const [row] = await sql<LivingDaemons[]>`
    select coalesce((
        select json_agg(json_build_object('id', d.id, 'file', d.file, 'version', d.version,
          'started_at', ${sql.unsafe(ms("d.started_at"))}, 'troubles', d.troubles))
        from daemons d where d.stopped_at is null and ${sql.unsafe(SEEN)}
      ), '[]') as daemons, (
        select json_build_object('digest', f.digest, 'seen_at', ${sql.unsafe(ms("f.seen_at"))})
        from file_in_force i join files f on f.digest = i.digest
      ) as file`;
  return row ?? { daemons: [], file: null };
}

/** Operational events that are looked at, and deliveries of an endpoint. */
const LOOKED_AT = 50;

/**
 * How those who get alerts were reached last: of the notices by their target, and of these endpoints, as far as the
 * latest operational events were owed to them. Those never tried are left out.
 */
export async function triedTargets(
  sql: Sql,
  endpoint_ids: readonly string[],
): Promise<TargetFacts[]> {
  return await sql<TargetFacts[]>`
    with ${sql.unsafe(TRIED_NOTICES)}, ${triedEndpoints(sql, endpoint_ids)}
    select * from tried_notices union all select * from tried_endpoints`;
}

/** CTEs: what became of notices. Only the end of the last attempt of each is known. */
const TRIED_NOTICES = `
    notices as materialized (
      select n.*, case n.target when 'business-mail' then 'business-mail:' || a.business
        else n.target end as reaches
      from alert_notices n left join alerts a on a.id = n.alert_id
      where n.tried_at > now() - interval '7 days'
    ), tried_notices as (
      select reaches as target, null::int as endpoint_no,
        -- Of one older than the last success it is not known how many attempts came after that; one that is
        -- under way has not failed.
        coalesce(sum(case when created_at > coalesce(reached_at, '-infinity')
          then attempts - (leased_until is not null)::int else 1 end)
          filter (where is_later), 0)::int as failures,
        ${ms("min(tried_at) filter (where is_later)")} as failing_since,
        ${ms("max(reached_at)")} as reached_at,
        coalesce(bool_or(failed_at is not null) filter (where is_later), false) as given_up
      from (
        select n.*, r.at as reached_at,
          n.done_at is null and n.tried_at > coalesce(r.at, '-infinity') as is_later
        from notices n
        join (select reaches, max(done_at) as at from notices group by reaches) r using (reaches)
      ) n
      group by reaches
    )`;

/** CTEs: what became of operational events at these endpoints, attempt by attempt. */
function triedEndpoints(sql: Sql, endpoint_ids: readonly string[]): Fragment {
  return sql`
    named as materialized (
      select n.no, n.id from endpoints n
      where n.id = any(string_to_array(${texts(endpoint_ids)}, chr(30))) and n.retired_at is null
    ), latest as materialized (
      select delivery_of(e.id, n.no) as id, n.no
      from (
        select id from events where type like 'webhooks.%' order by id desc limit ${LOOKED_AT}
      ) e cross join named n
    ), tries as materialized (
      select l.no, t.*
      from latest l
      -- Without the offset it becomes a join, for which PostgreSQL may read all attempts.
      cross join lateral (
        select a.outcome, a.ended_at as at from attempts_all a
        where a.endpoint_no = l.no and a.delivery_id = l.id and a.outcome <> 'interrupted'
        union all
        select 'given_up', d.ended_at from ended_deliveries d
        where d.endpoint_no = l.no and d.id = l.id and d.status = 'failed'
        offset 0
      ) t
    ), reached as (
      select t.no, max(t.at) filter (where t.outcome = 'delivered') as at from tries t group by t.no
    ), tried_endpoints as (
      select 'events:' || n.id, n.no,
        (count(*) filter (where t.at > coalesce(r.at, '-infinity') and t.outcome <> 'given_up'))::int,
        ${sql.unsafe(ms("min(t.at) filter (where t.at > coalesce(r.at, '-infinity'))"))},
        ${sql.unsafe(ms("r.at"))},
        coalesce(bool_or(t.outcome = 'given_up')
          filter (where t.at > coalesce(r.at, '-infinity')), false)
      from named n join reached r on r.no = n.no join tries t on t.no = n.no
      group by n.no, n.id, r.at
    )`;
}

/** A change with what its statement needs besides. */
export type Announced = Change & {
  /** A new UUID, for one that begins. */
  readonly id: string;
  /** Names of those who get a notice. */
  readonly targets: readonly string[];
};

/** An alert that was changed, as it is now; its id is a UUID. */
export interface Changed extends Spoken {
  readonly what: Change["what"];
}

/**
 * Opens, reminds of and ends alerts, and writes their notices, in one statement. Nothing is done about an alert that
 * another daemon has changed meanwhile. Answers with those that were changed.
 */
export async function applyChanges(sql: Sql, changes: readonly Announced[]): Promise<Changed[]> {
  const given = changes.map((change) => ({
    id: change.what === "began" ? change.id : change.alert.id,
    what: change.what,
    kind: change.kind,
    subject: change.subject,
    endpoint_no: change.endpoint_no,
    business: change.business,
    began_at: change.began_at,
    details: change.details,
    occasions: change.what === "began" ? 0 : change.alert.occasions,
    remind_at: change.what === "ended" ? null : change.remind_at,
    end_reason: change.what === "ended" ? change.end_reason : null,
    targets: change.targets,
  }));
  return await sql<Changed[]>`
    with given as materialized (
      select g.*, 'epoch'::timestamptz + g.remind_at * interval '1 ms' as reminds
      from jsonb_to_recordset(${
    JSON.stringify(given)
  }::text::jsonb) as g (id uuid, what text, kind text,
        subject text, endpoint_no int, business text, began_at float8, details jsonb, occasions int,
        remind_at float8, end_reason text, targets jsonb)
    ), began as (
      insert into alerts (id, kind, subject, endpoint_no, business, began_at, details, remind_at)
      select g.id, g.kind, g.subject, g.endpoint_no, g.business,
        least(now(), 'epoch'::timestamptz + g.began_at * interval '1 ms'), g.details, g.reminds
      from given g where g.what = 'began'
      on conflict (kind, subject) where ended_at is null do nothing
      returning *
    ), gone_on as (
      update alerts a set details = g.details, occasions = a.occasions + 1,
        remind_at = case when g.what = 'reminded' then g.reminds end,
        ended_at = case when g.what = 'ended' then now() end, end_reason = g.end_reason
      from given g
      where g.what <> 'began' and a.id = g.id and a.ended_at is null and a.occasions = g.occasions
      returning a.*
    ), changed as (
      select * from began union all select * from gone_on
    ), noticed as (
      insert into alert_notices (alert_id, occasion, what, target, details)
      select c.id, c.occasions, g.what, t.target, c.details
      from changed c join given g on g.id = c.id
      cross join lateral jsonb_array_elements_text(g.targets) as t (target)
    ), ${sql.unsafe(noted({ alerts: "select id from changed" }))}
    select c.id, g.what, c.kind, c.subject, ${sql.unsafe(ENDPOINT_SAID)} as endpoint,
      ${sql.unsafe(ms("c.began_at"))} as began_at, ${sql.unsafe(ms("c.opened_at"))} as opened_at,
      ${sql.unsafe(ms("c.ended_at"))} as ended_at, c.end_reason, c.details
    from changed c join given g on g.id = c.id left join endpoints n on n.no = c.endpoint_no`;
}

/** An example of what fails at an endpoint. */
export interface Example {
  readonly endpoint_no: number;
  readonly reason: Reason;
  /** UUID of the delivery. */
  readonly delivery_uuid: string;
  readonly code: number | null;
}

/** The latest delivery of each of these endpoints that failed for this reason, among the latest that failed. */
export async function examplesOf(
  sql: Sql,
  failing: readonly { readonly endpoint_no: number; readonly reason: Reason }[],
): Promise<Example[]> {
  return await sql<Example[]>`
    select f.no as endpoint_no, f.reason, d.id as delivery_uuid, d.code::int
    from unnest(${literal(failing.map(({ endpoint_no }) => endpoint_no))}::int[],
      string_to_array(${texts(failing.map(({ reason }) => reason))}, chr(30))) as f (no, reason)
    cross join lateral (
      select x.id, x.last_status as code from (
        (select p.id, p.last_status, p.last_outcome, p.last_attempt_at from pending_deliveries p
          where p.endpoint_no = f.no order by p.due_at desc limit ${LOOKED_AT})
        union all
        -- As a range, which needs the order of the index of each endpoint.
        (select e.id, e.last_status, e.last_outcome, e.last_attempt_at from ended_deliveries e
          where e.endpoint_no >= f.no and e.endpoint_no <= f.no and e.status <> 'delivered'
          order by e.endpoint_no desc, e.id desc limit ${LOOKED_AT})
      ) x
      where x.last_outcome = f.reason order by x.last_attempt_at desc limit 1
    ) d`;
}

/** A notice under a lease. Times in milliseconds since 1970. */
export interface Notice {
  readonly no: string;
  readonly what: Change["what"];
  readonly occasion: number;
  /** When the alert changed. */
  readonly at: number;
  readonly target: string;
  /** Attempts so far, this one included. */
  readonly attempts: number;
  readonly details: Details;
  /** Its id is a UUID. */
  readonly alert: Omit<Spoken, "details"> & {
    readonly endpoint_no: number | null;
    readonly business: string | null;
  };
}

/** How long a notice is being sent at most, in milliseconds. */
const LEASE_MS = 60_000;

/**
 * Takes up to `limit` due notices, each for a minute: no other daemon sends them meanwhile. Of one alert and target,
 * none before an earlier one that is due or being sent: else one that is sent again after a kill could say last that
 * an alert has begun. Those that are no operational events only if this is the digest of the file in force.
 */
export async function takeNotices(
  sql: Sql,
  digest: string,
  limit: number,
): Promise<Notice[]> {
  return await sql<Notice[]>`
    with due as materialized (
      select n.no from alert_notices n
      where n.done_at is null and n.failed_at is null and n.due_at <= now()
        and coalesce(n.leased_until <= now(), true)
        and not exists (
          select from alert_notices b
          where b.alert_id = n.alert_id and b.target = n.target and b.no < n.no
            and b.done_at is null and b.failed_at is null and b.due_at <= now())
        and (n.target = 'events'
          or exists (select from file_in_force i where i.digest = ${digest}))
      order by n.no limit ${limit} for update skip locked
    ), taken as (
      update alert_notices n
      set leased_until = now() + ${LEASE_MS} * interval '1 ms', attempts = n.attempts + 1
      where n.no = any(array(select no from due))
      returning n.*
    )
    select t.no::text, t.what, t.occasion, ${
    sql.unsafe(ms("t.created_at"))
  } as at, t.target, t.attempts, t.details,
      json_build_object('id', a.id, 'kind', a.kind, 'subject', a.subject,
        'endpoint_no', a.endpoint_no, 'endpoint', ${sql.unsafe(ENDPOINT_SAID)},
        'business', a.business, 'began_at', ${sql.unsafe(ms("a.began_at"))},
        'opened_at', ${sql.unsafe(ms("a.opened_at"))}, 'ended_at', ${sql.unsafe(ms("a.ended_at"))},
        'end_reason', a.end_reason) as alert
    from taken t join alerts a on a.id = t.alert_id left join endpoints n on n.no = a.endpoint_no
    order by t.no`;
}

/** Why a notice that waited for another attempt is given up. */
export const OUTDATED = "A later one arrived first";

/**
 * Writes down that a notice has arrived. Earlier ones of its alert and target, which wait for another attempt, are
 * given up: the last word must be true.
 */
export async function finishNotice(sql: Sql, no: string): Promise<void> {
  await sql`
    with done as (
      update alert_notices set done_at = now(), tried_at = now(), leased_until = null, cause = null
      where no = ${no}::bigint
      returning alert_id, target, no
    )
    update alert_notices b set failed_at = now(), leased_until = null, cause = ${OUTDATED}
    from done d
    where b.alert_id = d.alert_id and b.target = d.target and b.no < d.no
      and b.done_at is null and b.failed_at is null`;
}

/**
 * Writes down that a notice has not arrived, and why. It is due again after `wait_ms`, in milliseconds; null: it is
 * given up.
 */
export async function postponeNotice(
  sql: Sql,
  no: string,
  cause: string,
  wait_ms: number | null,
): Promise<void> {
  await sql`
    update alert_notices set tried_at = now(), leased_until = null, cause = ${cause},
      due_at = now() + coalesce(${wait_ms}::float8, 0) * interval '1 ms',
      failed_at = case when ${wait_ms}::float8 is null then now() end
    where no = ${no}::bigint`;
}

/** How long alerts and their notices are kept after they have ended. */
const KEPT = "400 days";

/** Removes up to `limit` alerts that ended long ago, with their notices. */
export async function purgeAlerts(sql: Sql, limit: number): Promise<number> {
  const rows = await sql`
    delete from alerts where id = any(array(
      select id from alerts where ended_at < now() - ${KEPT}::text::interval order by id limit ${limit}))
    returning 1`;
  return rows.length;
}
