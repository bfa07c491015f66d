import type { Sql } from "postgres";
import { SEARCHED_LENGTH, SIGNATURE_WORDS } from "../../core/advice.ts";
import type { Outcome } from "../../core/outcome.ts";
import type { Scope } from "../../core/scope.ts";
import { uuidLiteral } from "../arrays.ts";
import type { Fragment } from "../changes.ts";
import { isOpen } from "../partitions.ts";
import { endpointInScope, eventInScope, numberInScope } from "../scope.ts";
import { type Bounded, boundedOf, MAX_FOUND, type Page, pageOf } from "./page.ts";
import { type DeliveryFilter, searched } from "./search.ts";

/** A delivery as the lists show it. Times are the database's. */
export interface DeliveryRow {
  readonly uuid: string;
  readonly event_uuid: string;
  readonly endpoint_no: number;
  readonly endpoint: string;
  /** The endpoint's. */
  readonly owner: string | null;
  readonly type: string;
  readonly test: boolean;
  readonly subject: string | null;
  readonly confirmation: string | null;
  readonly status: "pending" | "delivered" | "failed" | "cancelled";
  readonly reason: string | null;
  readonly attempts: number;
  /** When its event was received. */
  readonly created_at: Date;
  /** The replay that owed it later, or null. */
  readonly owed_by: string | null;
  readonly ended_at: Date | null;
  /** When the next attempt is due; null for a delivery that ended or is being sent. */
  readonly next_attempt_at: Date | null;
  readonly sending: boolean;
  /** When the lease of the attempt under way ends. */
  readonly leased_until: Date | null;
  /** Attempts of this round that count against the policy; 0 for a delivery that ended. */
  readonly counted: number;
  readonly last_outcome: Outcome["outcome"] | null;
  readonly last_status: number | null;
  readonly last_attempt_at: Date | null;
  /** Cause of the last attempt's failure, in words. */
  readonly last_cause: string | null;
  /** Whether the answer to the last attempt refuses it and mentions a signature. */
  readonly mentions_signature: boolean;
  readonly paused: boolean;
  readonly pause_reason: string | null;
  /** When the endpoint's automatic pause is next probed; null for any other pause. */
  readonly probe_at: Date | null;
  readonly retired: boolean;
  /** Whether its payload is gone, or about to be dropped with its week. */
  readonly is_spent: boolean;
  /** When the endpoint's rate limit lets its next attempt begin; null if none has begun yet. */
  readonly next_send_at: Date | null;
}

/** Deliveries, newest first. */
export async function listDeliveries(
  sql: Sql,
  scope: Scope,
  filter: DeliveryFilter,
): Promise<Page<DeliveryRow>> {
  const { found, floor } = await select(sql, scope, searched(sql, scope, filter, filter.limit + 1));
  const { rows, next } = pageOf(found, filter.limit, (row) => row.found, floor);
  return { rows: rows.filter(isShown), next };
}

/** Counts the deliveries that match, up to `MAX_FOUND`, without regard to pages. */
export async function countDeliveries(
  sql: Sql,
  scope: Scope,
  filter: DeliveryFilter,
): Promise<Bounded> {
  const all = { ...filter, before: undefined };
  const [row] = await sql<{ count: number; is_cut: boolean }[]>`
    with ${searched(sql, scope, all, MAX_FOUND + 1)}
    select (select count(*) from found)::int as count, exists (select from floor) as is_cut`;
  return boundedOf(row);
}

/** Deliveries of one status to one endpoint, whose last attempts ended alike. */
export interface DeliveryGroup {
  readonly status: DeliveryRow["status"];
  /** Endpoint id. */
  readonly endpoint: string;
  readonly last_outcome: Outcome["outcome"] | null;
  readonly last_status: number | null;
  readonly deliveries: number;
}

/** The newest deliveries that match, at most `MAX_FOUND`, in groups, the largest first. */
export async function groupDeliveries(
  sql: Sql,
  scope: Scope,
  filter: DeliveryFilter,
): Promise<{ readonly groups: readonly DeliveryGroup[]; readonly exact: boolean }> {
  const all = { ...filter, before: undefined };
  const rows = await sql<
    ((DeliveryGroup | { readonly status: null }) & { readonly exact: boolean })[]
  >`
    with ${searched(sql, scope, all, MAX_FOUND + 1)}
    select b.exact, g.*
    from (
      select (select count(*) from found) <= ${MAX_FOUND} and not exists (select from floor) as exact
    ) b
    left join (
      select s.status, n.id as endpoint, s.last_outcome, s.last_status, count(*)::int as deliveries
      from (select id from found order by id desc limit ${MAX_FOUND}) f
      cross join lateral (${either(sql)} limit 1) s
      join endpoints n on n.no = s.endpoint_no
      group by 1, 2, 3, 4
    ) g on true
    order by g.deliveries desc, g.endpoint, g.status, g.last_outcome, g.last_status`;
  return {
    groups: rows.flatMap(({ exact: _, ...row }) => row.status === null ? [] : [row]),
    exact: rows[0]?.exact ?? true,
  };
}

/** One delivery, or undefined. */
export async function getDelivery(
  sql: Sql,
  scope: Scope,
  uuid: string,
): Promise<DeliveryRow | undefined> {
  const ctes = sql`found as (select ${uuid}::uuid as id), floor as (select null::uuid as id)`;
  const { found } = await select(sql, scope, ctes);
  return found.find(isShown);
}

/** Those of these deliveries that are still there, the newest first. */
export async function deliveriesById(
  sql: Sql,
  scope: Scope,
  uuids: readonly string[],
): Promise<DeliveryRow[]> {
  const ctes = sql`
    found as (select id from unnest(${uuidLiteral(uuids)}::uuid[]) as u (id)),
    floor as (select null::uuid as id)`;
  return (await select(sql, scope, ctes)).found.filter(isShown);
}

/** The deliveries of one event. */
export async function deliveriesOf(
  sql: Sql,
  scope: Scope,
  event_uuid: string,
): Promise<DeliveryRow[]> {
  const inRange = sql`d.id > ${event_uuid}::uuid and d.id <= last_of(${event_uuid}::uuid)`;
  // They are a range of ids, but only those that wait have an index in that order: of those that ended, each
  // endpoint's is looked up.
  const ctes = sql`
    found as (
      select d.id from pending_deliveries d where ${inRange} ${
    numberInScope(sql, scope, "d.endpoint_no")
  }
      union all
      select d.id from endpoints n
      cross join lateral (
        select d.id from ended_deliveries d
        where d.endpoint_no = n.no and d.id = delivery_of(${event_uuid}::uuid, n.no) and ${inRange}
        limit 1) d
      where true ${endpointInScope(sql, scope)}
    ),
    floor as (select null::uuid as id)`;
  return (await select(sql, scope, ctes)).found.filter(isShown);
}

/** What of an event has not arrived. */
export interface OpenRow {
  readonly uuid: string;
  readonly pending: boolean;
  readonly failed: boolean;
}

/** Whether any delivery of these events is pending or failed. */
export async function openOf(
  sql: Sql,
  scope: Scope,
  event_uuids: readonly string[],
): Promise<OpenRow[]> {
  const inScope = numberInScope(sql, scope, "endpoint_of(d.id)");
  // The deliveries of an event are a range of ids: of those that arrived, no index has that order.
  return await sql<OpenRow[]>`
    select u.id as uuid,
      exists (select from pending_deliveries d
        where d.id > u.id and d.id <= last_of(u.id) ${inScope}) as pending,
      exists (select from ended_deliveries d
        where d.id > u.id and d.id <= last_of(u.id) and d.status <> 'delivered'
          and d.status = 'failed' ${inScope}) as failed
    from unnest(${uuidLiteral(event_uuids)}::uuid[]) as u (id)`;
}

/** A delivery that was found, or its UUID alone if it or its event is gone, or out of scope. */
type Found = { readonly found: string } & (DeliveryRow | { readonly uuid: null });

function isShown(row: Found): row is Found & DeliveryRow {
  return row.uuid !== null;
}

/**
 * The deliveries in the CTE `found`, newest first, and the id in the CTE `floor`. Each is looked up in both
 * tables, and its event in one: a join might read whole tables.
 */
async function select(
  sql: Sql,
  scope: Scope,
  ctes: Fragment,
): Promise<{ readonly found: Found[]; readonly floor: string | undefined }> {
  const rows = await sql<
    ((Found | { readonly found: null }) & { readonly floor: string | null })[]
  >`
    with ${ctes}
    select b.floor, f.id as found, s.*
    from (select (select id from floor) as floor) b
    left join found f on true
    left join lateral (
      select d.*, event_of(f.id) as event_uuid, coalesce(d.cause, a.cause) as last_cause,
        coalesce(d.last_outcome = 'http_4xx' and (
          coalesce(d.response_head, a.response_head) ~* ${SIGNATURE_WORDS}
          -- Binary to PostgreSQL; this writes ASCII as it is.
          or encode(substring(coalesce(d.response_body, a.response_body) for ${SEARCHED_LENGTH}), 'escape')
            ~* ${SIGNATURE_WORDS}), false) as mentions_signature,
        n.id as endpoint, n.owner, e.type, e.test, e.subject, e.confirmation, n.paused_at is not null as paused,
        n.pause_reason, n.probe_at, n.retired_at is not null as retired,
        e.is_gone or not ${sql.unsafe(isOpen("f.id"))} as is_spent,
        nullif(n.next_send_at, '-infinity') as next_send_at
      from (${either(sql)} limit 1) d
      join endpoints n on n.no = d.endpoint_no
      cross join lateral (
        select e.type, e.test, e.business, e.subject, e.confirmation, e.payload is null as is_gone
        from events e where e.id = event_of(f.id) limit 1) e
      left join lateral (
        select a.cause, a.response_head, a.response_body from attempts a
        where d.status = 'pending' and a.delivery_id = f.id and a.number = d.attempts
        limit 1) a on true
      where true ${endpointInScope(sql, scope)} ${eventInScope(sql, scope)}
    ) s on true
    order by f.id desc`;
  return {
    found: rows.filter((row) => row.found !== null),
    floor: rows[0]?.floor ?? undefined,
  };
}

/** The delivery of an `f`, whichever table it is in. */
function either(sql: Sql): Fragment {
  return sql`
    select d.id as uuid, d.endpoint_no, 'pending' as status, d.cancel_reason as reason,
      d.attempts::int, d.counted::int, d.created_at, d.owed_by, null::timestamptz as ended_at, d.leased_until,
      case when d.leased_until is null then d.due_at end as next_attempt_at,
      d.leased_until is not null as sending, d.last_outcome, d.last_status::int, d.last_attempt_at,
      null as cause, null as response_head, null::bytea as response_body
    from pending_deliveries d where d.id = f.id
    union all
    select d.id, d.endpoint_no, d.status, d.reason, d.attempts, 0, d.created_at, d.owed_by, d.ended_at,
      null, null, false, d.last_outcome, d.last_status, d.last_attempt_at, d.cause,
      d.response_head, d.response_body
    from ended_deliveries d where d.endpoint_no = endpoint_of(f.id) and d.id = f.id`;
}

/** An attempt with its request and its response. */
export interface AttemptRow {
  readonly number: number;
  readonly started_at: Date;
  readonly ended_at: Date;
  readonly duration_ms: number;
  readonly dns_ms: number | null;
  readonly connect_ms: number | null;
  readonly tls_ms: number | null;
  readonly waiting_ms: number | null;
  readonly connection_reused: boolean | null;
  readonly certificate_ends_at: Date | null;
  readonly outcome: Outcome["outcome"];
  readonly status: number | null;
  readonly cause: string | null;
  readonly address: string | null;
  readonly url: string;
  /** The version of the endpoint that it was sent under. */
  readonly endpoint_version: number;
  /** Names of the endpoint's own request headers. */
  readonly header_names: readonly string[];
  readonly request_timestamp: string | null;
  /** HMACs, as in `attempts`; null if it was not signed, or nothing was sent. */
  readonly request_signature: Uint8Array | null;
  readonly request_webhook_signature: Uint8Array | null;
  readonly response_head: string | null;
  readonly response_body: Uint8Array | null;
  readonly response_truncated: boolean;
}

/** The columns of an `AttemptRow`, but for its response's body: of attempts `a` and their versions `v`. */
const ATTEMPT_COLUMNS = `a.number, a.started_at, a.ended_at,
  (extract(epoch from a.ended_at - a.started_at) * 1000)::float8 as duration_ms,
  a.dns_us / 1000::float8 as dns_ms, a.connect_us / 1000::float8 as connect_ms,
  a.tls_us / 1000::float8 as tls_ms, a.waiting_us / 1000::float8 as waiting_ms,
  a.connection_reused, a.certificate_ends_at,
  a.outcome, a.status, a.cause, a.address, v.url, v.version as endpoint_version,
  v.headers as header_names,
  a.request_timestamp, a.request_signature, a.request_webhook_signature, a.response_head`;

/** The attempts of a delivery, first to last. */
export async function attemptsOf(sql: Sql, scope: Scope, uuid: string): Promise<AttemptRow[]> {
  return await sql<AttemptRow[]>`
    select ${sql.unsafe(ATTEMPT_COLUMNS)}, a.response_body, a.response_truncated
    from attempts_all a
    join endpoint_versions v
      on v.endpoint_no = a.endpoint_no and v.version = a.endpoint_version
    where a.endpoint_no = endpoint_of(${uuid}::uuid) and a.delivery_id = ${uuid}::uuid
      ${numberInScope(sql, scope, "a.endpoint_no")}
    order by a.number`;
}

/** An attempt, and the delivery that it was the last one of. */
export interface LastAttemptRow extends AttemptRow {
  readonly delivery_uuid: string;
}

const MAX_LAST_ATTEMPTS = 200;

/** The last attempts of these deliveries, at most 200, with the beginnings of the answers. */
export async function lastAttemptsOf(
  sql: Sql,
  scope: Scope,
  uuids: readonly string[],
): Promise<LastAttemptRow[]> {
  return await sql<LastAttemptRow[]>`
    select a.delivery_id as delivery_uuid, ${sql.unsafe(ATTEMPT_COLUMNS)},
      substring(a.response_body for ${SEARCHED_LENGTH}) as response_body,
      a.response_truncated or octet_length(a.response_body) > ${SEARCHED_LENGTH}
        as response_truncated
    from unnest(${uuidLiteral(uuids.slice(0, MAX_LAST_ATTEMPTS))}::uuid[]) as d (id)
    cross join lateral (
      select * from attempts_all a where a.endpoint_no = endpoint_of(d.id) and a.delivery_id = d.id
      order by a.number desc limit 1
    ) a
    join endpoint_versions v
      on v.endpoint_no = a.endpoint_no and v.version = a.endpoint_version
    where true ${numberInScope(sql, scope, "a.endpoint_no")}`;
}
