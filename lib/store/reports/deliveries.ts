import type { Sql } from "postgres";
import { SEARCHED_LENGTH, SIGNATURE_WORDS } from "../../core/advice.ts";
import { type Outcome, statusRange } from "../../core/outcome.ts";
import type { Scope } from "../../core/scope.ts";
import { literal } from "../arrays.ts";
import type { Fragment } from "../changes.ts";
import { type CauseFilter, causeIs } from "../fragments.ts";
import { deliveryInScope, numberInScope } from "../scope.ts";
import { all, DEPTH, type Page, pageOf, type Paging, type Period, withinPeriod } from "./page.ts";

/** Narrows a list of deliveries. */
export interface DeliveryFilter extends Paging, CauseFilter {
  readonly status?: "pending" | "delivered" | "failed" | "cancelled" | undefined;
  /** Endpoint id. */
  readonly endpoint?: string | undefined;
  readonly type?: string | undefined;
  readonly period: Period;
}

/** A delivery as the lists show it. Times are the database's. */
export interface DeliveryRow {
  readonly uuid: string;
  readonly event_uuid: string;
  readonly endpoint_no: number;
  readonly endpoint: string;
  readonly type: string;
  readonly test: boolean;
  readonly status: "pending" | "delivered" | "failed" | "cancelled";
  readonly reason: string | null;
  readonly attempts: number;
  readonly created_at: Date;
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
  /** Cause of the last attempt's failure, in words; null too if that attempt was purged. */
  readonly last_cause: string | null;
  /** Whether the answer to the last attempt refuses it and mentions a signature. */
  readonly mentions_signature: boolean;
  readonly paused: boolean;
  readonly pause_reason: string | null;
  readonly retired: boolean;
  /** When the endpoint's rate limit lets its next attempt begin; null if none has begun yet. */
  readonly next_send_at: Date | null;
}

/** Deliveries, newest first. */
export async function listDeliveries(
  sql: Sql,
  scope: Scope,
  filter: DeliveryFilter,
): Promise<Page<DeliveryRow>> {
  const floor = await deliveryFloor(sql, scope, filter);
  const which = floor === undefined ? sql`true` : sql`d.id >= ${floor}::uuid`;
  const { pending, ended } = halves(sql, filter, sql`${which} ${deliveryInScope(sql, scope)}`);
  const limit = filter.limit + 1;
  const found = isHappy(filter)
    ? newestOf(sql, endpointsOf(sql, scope, filter), ended, limit)
    : sql`select * from ended_deliveries d where ${ended}`;
  const rows = await select(sql, { pending, ended: found }, limit);
  return pageOf(rows, filter.limit, (row) => row.uuid, floor);
}

/**
 * The UUID down to which a page of deliveries looks, unless indexes find all it looks for. Above it lie up
 * to `DEPTH` of the ended ones that are searched, and of the pending ones.
 */
async function deliveryFloor(
  sql: Sql,
  scope: Scope,
  filter: DeliveryFilter,
): Promise<string | undefined> {
  const { type, reason, code } = filter;
  const indexed = type === undefined && reason === undefined && code === undefined;
  if (indexed && scope === "everything") return undefined;
  const { pending, ended } = halves(
    sql,
    { ...filter, type: undefined, reason: undefined, code: undefined },
    sql`true ${numberInScope(sql, scope, "d.endpoint_no")}`,
    isHappy(filter),
  );
  const floorOfEnded = isHappy(filter)
    ? floorOf(sql, endpointsOf(sql, scope, filter), ended)
    : sql`select d.id from ended_deliveries d where ${ended} order by d.id desc offset ${DEPTH} limit 1`;
  const [row] = await sql<{ floor: string }[]>`
    select floor from (
      (select d.id as floor from pending_deliveries d where ${pending}
        order by d.id desc offset ${DEPTH} limit 1)
      union all
      (${floorOfEnded})
    ) f order by floor desc limit 1`;
  return row?.floor;
}

/** Whether a list can have delivered ones: no index has those of all endpoints in order. */
function isHappy({ status, reason, code }: DeliveryFilter): boolean {
  const [lowest] = statusRange(code ?? "2xx");
  return reason === undefined && (status === undefined || status === "delivered") && lowest < 300;
}

/** The condition on endpoints `x` whose deliveries a list has. */
function endpointsOf(sql: Sql, scope: Scope, { endpoint }: DeliveryFilter): Fragment {
  return sql`true ${endpoint === undefined ? sql`` : sql`and x.id = ${endpoint}`}
    ${numberInScope(sql, scope, "x.no")}`;
}

/**
 * A select of the newest `limit` ended deliveries that `which` says, in all: first the newest of each
 * endpoint, then more of those endpoints alone that can have any of the newest.
 */
function newestOf(sql: Sql, endpoints: Fragment, which: Fragment, limit: number): Fragment {
  return sql`
    with firsts as materialized (
      select x.no, d.id from endpoints x cross join lateral (
        select d.id from ended_deliveries d where d.endpoint_no = x.no and ${which}
        order by d.id desc limit 1) d
      where ${endpoints} order by d.id desc limit ${limit}
    ), edge as materialized (
      select id from firsts order by id desc offset ${limit - 1}::int limit 1
    ), newest as materialized (
      select f.no, d.id from firsts f cross join lateral (
        select d.id from ended_deliveries d where d.endpoint_no = f.no and ${which}
          and d.id >= coalesce((select id from edge), '00000000-0000-0000-0000-000000000000')
        order by d.id desc limit ${limit}) d
      order by d.id desc limit ${limit}
    )
    select d.* from newest w cross join lateral (
      select * from ended_deliveries d where d.endpoint_no = w.no and d.id = w.id limit 1) d`;
}

/**
 * A select of the id above which there are at most `DEPTH` ended deliveries that `which` says: of each
 * endpoint at most its share.
 */
function floorOf(sql: Sql, endpoints: Fragment, which: Fragment): Fragment {
  return sql`
    with busy as materialized (
      select x.no from endpoints x where ${endpoints} and exists (
        select from ended_deliveries d where d.endpoint_no = x.no and ${which})
    )
    select d.id from busy b cross join lateral (
      select d.id from ended_deliveries d where d.endpoint_no = b.no and ${which}
      order by d.id desc offset (select greatest(1, ${DEPTH}::int / count(*)) from busy) limit 1) d
    order by d.id desc limit 1`;
}

/** One delivery, or undefined. */
export async function getDelivery(
  sql: Sql,
  scope: Scope,
  uuid: string,
): Promise<DeliveryRow | undefined> {
  const inScope = deliveryInScope(sql, scope);
  const [row] = await select(sql, {
    pending: sql`d.id = ${uuid}::uuid ${inScope}`,
    ended: sql`select * from ended_deliveries d
      where d.endpoint_no = endpoint_of(${uuid}::uuid) and d.id = ${uuid}::uuid ${inScope}`,
  }, 1);
  return row;
}

const MAX_OF_EVENT = 10_000;

/** The deliveries of one event. */
export async function deliveriesOf(
  sql: Sql,
  scope: Scope,
  event_uuid: string,
): Promise<DeliveryRow[]> {
  const inScope = deliveryInScope(sql, scope);
  return await select(sql, {
    pending: sql`d.id between ${event_uuid}::uuid and last_of(${event_uuid}::uuid) ${inScope}`,
    ended: sql`select d.* from endpoints x cross join lateral (
        select * from ended_deliveries d
        where d.endpoint_no = x.no and d.id = delivery_of(${event_uuid}::uuid, x.no) limit 1) d
      where true ${inScope}`,
  }, MAX_OF_EVENT);
}

/** Where deliveries `d` are looked for. */
interface Sources {
  /** A condition on `pending_deliveries`. */
  readonly pending: Fragment;
  /** A select of rows of `ended_deliveries`. */
  readonly ended: Fragment;
}

// Each half is found and cut off by its own index; the outer sort has at most twice the limit.
async function select(
  sql: Sql,
  { pending, ended }: Sources,
  limit: number,
): Promise<DeliveryRow[]> {
  return await sql<DeliveryRow[]>`
    select d.uuid, d.event_uuid, d.endpoint_no, d.status, d.reason, d.attempts, d.counted, d.created_at,
      d.ended_at, d.leased_until, d.next_attempt_at, d.sending, d.last_outcome, d.last_status,
      d.last_attempt_at, coalesce(d.cause, a.cause) as last_cause,
      coalesce(d.last_outcome = 'http_4xx' and (
        coalesce(d.response_head, a.response_head) ~* ${SIGNATURE_WORDS}
        -- Binary to PostgreSQL; this writes ASCII as it is.
        or encode(substring(coalesce(d.response_body, a.response_body) for ${SEARCHED_LENGTH}), 'escape')
          ~* ${SIGNATURE_WORDS}), false) as mentions_signature,
      n.id as endpoint, e.type, e.test, n.paused_at is not null as paused,
      n.pause_reason, n.retired_at is not null as retired,
      nullif(n.next_send_at, '-infinity') as next_send_at
    from (
      (select d.id as uuid, d.event_id as event_uuid, d.endpoint_no, 'pending' as status,
         d.cancel_reason as reason, d.attempts::int, d.counted::int, d.created_at,
         null::timestamptz as ended_at, d.leased_until,
         case when d.leased_until is null then d.due_at end as next_attempt_at,
         d.leased_until is not null as sending, d.last_outcome, d.last_status::int,
         d.last_attempt_at, null as cause, null as response_head, null::bytea as response_body
       from pending_deliveries d where ${pending} order by d.id desc limit ${limit})
      union all
      (select d.id, event_of(d.id), d.endpoint_no, d.status, d.reason, d.attempts, 0, d.created_at,
         d.ended_at, null, null, false, d.last_outcome, d.last_status, d.last_attempt_at, d.cause,
         d.response_head, d.response_body
       from (${ended}) d order by d.id desc limit ${limit})
    ) d
    join endpoints n on n.no = d.endpoint_no
    join events e on e.id = d.event_uuid
    left join lateral (
      select a.cause, a.response_head, a.response_body from attempts a
      where d.status = 'pending' and a.delivery_id = d.uuid and a.number = d.attempts
      limit 1) a on true
    order by d.uuid desc limit ${limit}`;
}

/** The conditions of a filter on pending and on ended deliveries. */
function halves(
  sql: Sql,
  filter: DeliveryFilter,
  which: Fragment,
  happy = isHappy(filter),
): { pending: Fragment; ended: Fragment } {
  const { status } = filter;
  const conditions = conditionsOf(sql, filter, which);
  // Written out, not as parameters: the indexes of failed deliveries are partial.
  const ended = all(sql, [
    conditions,
    ...causeIs(sql, filter, "d.reason"),
    ...(status === undefined
      ? []
      : [status === "failed" ? sql`d.status = 'failed'` : sql`d.status = ${status}`]),
    ...(happy ? [] : [sql`d.status <> 'delivered'`]),
  ]);
  return {
    pending: status === undefined || status === "pending"
      ? all(sql, [conditions, ...causeIs(sql, filter, "d.cancel_reason")])
      : sql`false`,
    ended: status === "pending" ? sql`false` : ended,
  };
}

function conditionsOf(sql: Sql, filter: DeliveryFilter, which: Fragment): Fragment {
  const { endpoint, type, before } = filter;
  const conditions = [which, ...withinPeriod(sql, filter.period, "d.id", "d.created_at")];
  if (endpoint !== undefined) {
    conditions.push(sql`d.endpoint_no = (select no from endpoints where id = ${endpoint})`);
  }
  if (type !== undefined) {
    conditions.push(
      sql`exists (select from events x where x.id = event_of(d.id) and x.type = ${type})`,
    );
  }
  if (before !== undefined) conditions.push(sql`d.id < ${before}::uuid`);
  return all(sql, conditions);
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
  a.outcome, a.status, a.cause, a.address, v.url, v.headers as header_names,
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
    from unnest(${literal(uuids.slice(0, MAX_LAST_ATTEMPTS))}::uuid[]) as d (id)
    cross join lateral (
      select * from attempts_all a where a.endpoint_no = endpoint_of(d.id) and a.delivery_id = d.id
      order by a.number desc limit 1
    ) a
    join endpoint_versions v
      on v.endpoint_no = a.endpoint_no and v.version = a.endpoint_version
    where true ${numberInScope(sql, scope, "a.endpoint_no")}`;
}
