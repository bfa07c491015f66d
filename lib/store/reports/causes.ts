import type { Sql } from "postgres";
import type { Scope } from "../../core/scope.ts";
import { literal, texts, uuidLiteral } from "../arrays.ts";
import type { Fragment } from "../changes.ts";
import { actorInScope, endpointInScope, numberInScope } from "../scope.ts";

/** An endpoint and a moment. */
export interface EndpointAt {
  readonly endpoint_no: number;
  readonly at: Date;
}

/** An attempt that failed. */
export interface FailedAttempt {
  readonly started_at: Date;
  readonly ended_at: Date;
  readonly outcome: string;
  readonly status: number | null;
  readonly address: string | null;
  readonly certificate_ends_at: Date | null;
}

const FAILED = `a.outcome <> 'delivered' and a.outcome <> 'interrupted'`;
const FAILED_COLUMNS = "a.started_at, a.ended_at, a.outcome, a.status::int, a.address, " +
  "a.certificate_ends_at";

/** The first attempt of each of these deliveries that failed, in no order; none for those without. */
export async function firstFailures(
  sql: Sql,
  scope: Scope,
  uuids: readonly string[],
): Promise<(FailedAttempt & { readonly delivery_uuid: string })[]> {
  return await sql<(FailedAttempt & { delivery_uuid: string })[]>`
    select d.id as delivery_uuid, a.* from unnest(${uuidLiteral(uuids)}::uuid[]) as d (id)
    cross join lateral (
      select ${sql.unsafe(FAILED_COLUMNS)} from attempts_all a
      where a.endpoint_no = endpoint_of(d.id) and a.delivery_id = d.id and ${sql.unsafe(FAILED)}
      order by a.number limit 1
    ) a
    where true ${numberInScope(sql, scope, "endpoint_of(d.id)")}`;
}

/** Deliveries of each kind that `failuresSince` looks at. */
const LOOKED_AT = 100;

/** A kind of failure of an endpoint since some moment. */
export interface FailuresAlike extends FailedAttempt {
  readonly endpoint_no: number;
  /** End of the last attempt that failed like that. */
  readonly last_at: Date;
}

/**
 * The first attempts since these moments that failed, of each outcome and status, as far as they are among the
 * first deliveries that failed and the pending ones that have waited longest for an attempt.
 */
export async function failuresSince(
  sql: Sql,
  scope: Scope,
  endpoints: readonly EndpointAt[],
): Promise<FailuresAlike[]> {
  return await sql<FailuresAlike[]>`
    select w.endpoint_no, f.*
    from unnest(${literal(endpoints.map(({ endpoint_no }) => endpoint_no))}::int[],
      ${
    literal(endpoints.map(({ at }) => at.toISOString()))
  }::timestamptz[]) as w (endpoint_no, since)
    cross join lateral (
      select distinct on (a.outcome, a.status) ${sql.unsafe(FAILED_COLUMNS)},
        max(a.ended_at) over (partition by a.outcome, a.status) as last_at
      from (
        -- The longer the wait, the more attempts there have been.
        (select p.id from pending_deliveries p where p.endpoint_no = w.endpoint_no
          order by p.due_at desc limit ${LOOKED_AT})
        union all
        (select e.id from ended_deliveries e
          -- As a range, which needs the order of the index of each endpoint: by the index of all, the few
          -- failures of one are looked for among those of all.
          where e.endpoint_no >= w.endpoint_no and e.endpoint_no <= w.endpoint_no
            and e.status <> 'delivered' and e.id >= first_id_at(w.since - interval '10 minutes')
          order by e.endpoint_no, e.id limit ${LOOKED_AT})
      ) d
      join lateral (
        select * from attempts_all a where a.endpoint_no = w.endpoint_no and a.delivery_id = d.id
          -- The moment was reckoned from rounded numbers.
          and a.ended_at >= w.since - interval '50 ms' and ${sql.unsafe(FAILED)}
        order by a.number limit 20
      ) a on true
      order by a.outcome, a.status, a.ended_at
    ) f
    where true ${numberInScope(sql, scope, "w.endpoint_no")}`;
}

/** An attempt that was accepted. */
export interface AcceptedAttempt {
  readonly endpoint_no: number;
  readonly delivery_uuid: string;
  readonly number: number;
  readonly started_at: Date;
  readonly ended_at: Date;
  readonly address: string | null;
  readonly certificate_ends_at: Date | null;
  /** Since when the endpoint had been as it was for this attempt. */
  readonly version_since: Date;
}

/** Deliveries that are looked at for those that were accepted, and how many of these are found. */
const DEPTH = 1_000;
const MAX_ACCEPTED = 20;

/**
 * The last attempts to an endpoint that were accepted before a moment, at most twenty, the last one first. Looks at
 * the newest thousand deliveries before it; if none of them was accepted, at those of the last hour of the week
 * before in which the rollups know of one.
 */
export async function lastAccepted(
  sql: Sql,
  scope: Scope,
  { endpoint_no, at }: EndpointAt,
): Promise<AcceptedAttempt[]> {
  const before = sql`${at.toISOString()}::text::timestamptz`;
  const accepted = (last: Fragment) =>
    sql`
      select e.* from (
        select * from ended_deliveries e
        where e.endpoint_no = ${endpoint_no} and e.id < first_id_at(${last})
        order by e.id desc limit ${DEPTH}
      ) e
      where e.status = 'delivered' and e.last_attempt_at <= ${before} limit ${MAX_ACCEPTED}`;
  return await sql<AcceptedAttempt[]>`
    with near as materialized (${accepted(before)}
    ), hour as materialized (
      select max(h.at) + interval '1 hour' as ends_at
      from generate_series(1, 168) n
      cross join lateral (
        select date_trunc('hour', ${before}, 'UTC') - n * interval '1 hour' as at) h
      where not exists (select from near) and exists (
        select from attempt_stats s where s.span = 'hour' and s.starts_at = h.at
          and s.endpoint_no = ${endpoint_no} and s.outcome = 'delivered')
    ), far as materialized (${accepted(sql`(select ends_at from hour)`)}
    )
    select d.endpoint_no, d.id as delivery_uuid, d.attempts::int as number, d.started_at,
      d.last_attempt_at as ended_at, d.address, d.certificate_ends_at, v.created_at as version_since
    from (select * from near union all select * from far) d
    join endpoint_versions v
      on v.endpoint_no = d.endpoint_no and v.version = d.endpoint_version
    where true ${numberInScope(sql, scope, "d.endpoint_no")}
    order by d.last_attempt_at desc`;
}

/** A change of an endpoint. */
export interface EndpointChange {
  readonly object: string;
  readonly at: Date;
  readonly actor: string;
  readonly action: string;
  /** The version of the endpoint that it made; null if it made none. */
  readonly version: number | null;
  readonly before: unknown;
  readonly after: unknown;
}

/** Most changes of an endpoint that are looked at. */
const MAX_CHANGES = 50;

/** The latest changes of these endpoints, by id, that may make attempts fail; the oldest first. */
export async function changesOf(
  sql: Sql,
  scope: Scope,
  ids: readonly string[],
): Promise<EndpointChange[]> {
  return await sql<EndpointChange[]>`
    select n.id as object, a.at, ${
    actorInScope(sql, scope, "a.actor")
  } as actor, a.action, a.before, a.after, (
        -- Made by the same statement.
        select v.version from endpoint_versions v where v.endpoint_no = n.no and v.created_at = a.at
      ) as version
    from endpoints n
    cross join lateral (
      select a.* from audit a
      where a.object = n.id and a.action in ('endpoint.updated', 'endpoint.rotated',
        'endpoint.overlap_moved', 'endpoint.resumed')
      order by a.id desc limit ${MAX_CHANGES}
    ) a
    where n.id = any(string_to_array(${texts(ids)}, chr(30))) ${endpointInScope(sql, scope)}
    order by a.id`;
}
