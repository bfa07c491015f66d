import type { Sql } from "postgres";
import { NO_UUID } from "../core/ids.ts";
import { announceDue, type Change, type Fragment, logged, noted } from "./changes.ts";
import type { Lease, Room } from "./claims.ts";
import { literal, texts } from "./arrays.ts";
import {
  CANCEL_CHOSEN,
  DESELECTED,
  ENDED,
  type Endings,
  endWaiting,
  OWED,
  RENEW_CHOSEN,
} from "./fragments.ts";
import { isOpen } from "./partitions.ts";

// Endpoints with pending deliveries, and the first due time of each, found by skipping through the index:
// a millisecond for any number of deliveries, but for the dead rows before the first of each.
const ENDPOINTS_WITH_PENDING = `
  with recursive e (no, due_at) as (
    (select endpoint_no, due_at from pending_deliveries order by endpoint_no, due_at limit 1)
    union all
    select n.* from e cross join lateral (
      select p.endpoint_no, p.due_at from pending_deliveries p
      where p.endpoint_no > e.no order by p.endpoint_no, p.due_at limit 1) n
  )`;

/** An endpoint, and the earliest due time to look for (microseconds since 1970, as text). */
export type Floor = Pick<Room, "endpoint_no" | "floor">;

/** Finds the endpoints with pending deliveries, and where those of each begin. */
export async function findFloors(sql: Sql): Promise<Floor[]> {
  return await sql<Floor[]>`
    ${sql.unsafe(ENDPOINTS_WITH_PENDING)}
    select no as endpoint_no, (date_part('epoch', due_at) * 1000000)::bigint as floor from e`;
}

/** Expired leases of an endpoint, and the due time before which it has no delivery. */
export interface Expired extends Floor {
  readonly leases: readonly Lease[];
}

/**
 * Finds expired leases among the first `depth` deliveries from each floor on that have been due for
 * `age_ms`. Claimed deliveries were the first due, and come to the front again as others leave.
 */
export async function findExpired(
  sql: Sql,
  floors: readonly Floor[],
  depth: number,
  age_ms: number,
): Promise<Expired[]> {
  return await sql<Expired[]>`
    select f.endpoint_no, (date_part('epoch', p.floor) * 1000000)::bigint as floor, p.leases
    from ${floorRows(sql, floors)} cross join lateral (
      select coalesce(min(q.due_at), now() - ${age_ms}::int * interval '1 ms') as floor,
        coalesce(json_agg(json_build_object('uuid', q.id, 'token', q.token, 'endpoint_no', q.endpoint_no,
          'attempts', q.attempts, 'counted', q.counted, 'interruptions', q.interruptions,
          'probe', q.regular_due_at is not null, 'renewed', q.renewed_at is not null,
          'owed_ms', date_part('epoch', coalesce(q.renewed_at, q.created_at)) * 1000,
          'type', e.type, 'test', e.test))
          filter (where q.leased_until < now()), '[]') as leases
      from (
        select * from pending_deliveries q
        where q.endpoint_no = f.endpoint_no and q.due_at >= f.due_at
          and q.due_at <= now() - ${age_ms}::int * interval '1 ms'
        order by q.due_at limit ${depth}
      ) q left join lateral (
        select type, test from events where q.leased_until < now() and id = q.event_id) e on true
    ) p`;
}

// The table `f` of floors.
function floorRows(sql: Sql, floors: readonly Floor[]): Fragment {
  return sql`(
    select s.endpoint_no, 'epoch'::timestamptz + s.floor * interval '1 us' as due_at
    from unnest(
      ${literal(floors.map((f) => f.endpoint_no))}::int[],
      ${literal(floors.map((f) => f.floor))}::bigint[]
    ) as s (endpoint_no, floor)) f`;
}

/**
 * Finds the leases of a holder that have not expired, among the first `depth` due deliveries of each
 * endpoint: claimed deliveries were the first due.
 */
export async function findHeld(sql: Sql, holder: number, depth: number): Promise<Lease[]> {
  return await sql<Lease[]>`
    ${sql.unsafe(ENDPOINTS_WITH_PENDING)}
    select p.id as uuid, p.token, p.endpoint_no, p.attempts, p.counted, p.interruptions,
      p.regular_due_at is not null as probe, ${sql.unsafe(OWED)}, v.type, v.test
    from e cross join lateral (
      select * from pending_deliveries q
      where q.endpoint_no = e.no and q.due_at >= e.due_at and q.due_at <= now()
      order by q.due_at limit ${depth}
    ) p left join lateral (select type, test from events where id = p.event_id) v on true
    where p.leased_by = ${holder}::int and p.leased_until >= now()`;
}

/**
 * Fails up to `limit` due deliveries that have had all their attempts, because the policy became shorter,
 * among the first `depth` from each floor on; `default_attempts` is the length of the policy of endpoints
 * without their own.
 */
export async function failExhausted(
  sql: Sql,
  floors: readonly Floor[],
  depth: number,
  limit: number,
  default_attempts: number,
): Promise<Endings> {
  const [row] = await sql<Endings[]>`
    with exhausted as materialized (
      select p.id from ${floorRows(sql, floors)}
      join endpoints n on n.no = f.endpoint_no
      cross join lateral (
        select * from pending_deliveries q
        where q.endpoint_no = f.endpoint_no and q.due_at >= f.due_at and q.due_at <= now()
        order by q.due_at limit ${depth}
      ) p
      where p.leased_until is null and p.counted >= coalesce(
          jsonb_array_length(nullif(n.settings -> 'retry_ms', 'null')), ${default_attempts})
      limit ${limit}
    ), removed as (
      delete from pending_deliveries
      where id = any(array(select id from exhausted)) and leased_until is null
      returning *
    ), ${sql.unsafe(noted({ deliveries: "select id from removed" }))}, ended as (
      ${sql.unsafe(endWaiting("removed", { status: "'failed'" }))}
    )
    select count(*)::int as found, ${sql.unsafe(ENDED)} as ended from removed`;
  return row ?? { found: 0, ended: [] };
}

/**
 * Cancels up to `limit` pending deliveries of retired endpoints. One that is being sent is marked, and ends with
 * its attempt.
 */
export async function cancelRetired(sql: Sql, limit: number): Promise<Endings> {
  const [row] = await sql<Endings[]>`
    with chosen as materialized (
      select p.id, p.leased_until is not null as leased,
        'endpoint_retired' as reason
      from endpoints n
      cross join lateral (
        select * from pending_deliveries q
        where q.endpoint_no = n.no and q.cancel_reason is null
        limit ${limit} for update skip locked
      ) p
      where n.retired_at is not null and ${sql.unsafe(CANCELS)}
      limit ${limit}
    ), ${sql.unsafe(CANCEL_CHOSEN)}
    select count(*)::int as found, ${sql.unsafe(ENDED)} as ended from chosen`;
  return row ?? { found: 0, ended: [] };
}

// Of endpoints whose deliveries may be cancelled by now.
const CANCELS = "coalesce(cancels_from <= now(), true)";

/** An endpoint that selects less than before, and since when. */
export interface Narrowed {
  readonly no: number;
  /** A timestamp, as text. */
  readonly at: string;
  /** Whether every event stored before has been committed: its statement has timed out since. */
  readonly is_settled: boolean;
}

/** The endpoints that may be owed something that they no longer select. */
export async function narrowedEndpoints(sql: Sql): Promise<Narrowed[]> {
  return await sql<Narrowed[]>`
    select no, narrowed_at::text as at, narrowed_at < now() - interval '1 minute' as is_settled
    from endpoints
    where narrowed_at is not null and retired_at is null and ${sql.unsafe(CANCELS)}`;
}

/** Result of one step of a pass over the pending deliveries. */
export interface Deselected extends Endings {
  /** Where the next step begins; null after the last. */
  readonly position: string | null;
}

/**
 * Reads `limit` pending deliveries after `position`, or from the first on, and cancels those that a
 * narrowed endpoint does not select as it is now. One that is being sent is marked, and ends with its
 * attempt. Test events are left alone, and so is what was brought back after the endpoint was narrowed.
 * A step stops before a delivery that another statement holds.
 */
export async function cancelDeselected(
  sql: Sql,
  position: string | null,
  limit: number,
): Promise<Deselected> {
  const [row] = await sql<Deselected[]>`
    with narrowed as materialized (
      select no, selected_types(events) as types, businesses, narrowed_at from endpoints
      where narrowed_at is not null and retired_at is null and ${sql.unsafe(CANCELS)}
    ), seen as materialized (
      select id, event_id, endpoint_no, renewed_at, cancel_reason from pending_deliveries
      where id > ${position ?? NO_UUID}::uuid order by id limit ${limit}
    ), unowed as materialized (
      select s.id from seen s join narrowed n on n.no = s.endpoint_no
      where s.cancel_reason is null and (s.renewed_at is null or s.renewed_at <= n.narrowed_at)
        and ${sql.unsafe(DESELECTED)}
    ), chosen as materialized (
      select p.id, p.leased_until is not null as leased, 'deselected' as reason
      from pending_deliveries p
      where p.id = any(array(select id from unowed)) and p.cancel_reason is null
      for update skip locked
    ), held as materialized (
      select id from unowed where id not in (select id from chosen) order by id limit 1
    ), ${sql.unsafe(CANCEL_CHOSEN)}
    select (select count(*) from chosen)::int as found, ${sql.unsafe(ENDED)} as ended,
      case when exists (select from held) then coalesce(
          (select s.id from seen s, held h where s.id < h.id order by s.id desc limit 1),
          ${position ?? NO_UUID}::uuid)
        else (select id from seen order by id offset ${limit - 1}::int limit 1) end as position`;
  if (row === undefined) throw new Error("The sweep of deselected deliveries answered nothing");
  return row;
}

/** Forgets that these endpoints were narrowed, unless they have been narrowed again since. */
export async function forgetNarrowed(sql: Sql, narrowed: readonly Narrowed[]): Promise<void> {
  await sql`
    update endpoints n set narrowed_at = null from unnest(
      ${literal(narrowed.map(({ no }) => no))}::int[],
      string_to_array(${texts(narrowed.map(({ at }) => at))}, chr(30))
    ) as f (no, at)
    where n.no = f.no and n.narrowed_at = f.at::timestamptz`;
}

/** Cancels a pending delivery. Nothing is found if it is not pending or is being cancelled already. */
export async function cancel(
  sql: Sql,
  uuid: string,
  reason: string,
  change: Change,
): Promise<Endings> {
  const [row] = await sql<Endings[]>`
    with chosen as materialized (
      select p.id, p.leased_until is not null as leased, ${reason}::text as reason
      from pending_deliveries p
      where p.id = ${uuid}::uuid and p.cancel_reason is null
      for update
    ), changed as (
      select id from chosen
    ), ${logged(sql, change)}, ${sql.unsafe(CANCEL_CHOSEN)}
    select count(*)::int as found, ${sql.unsafe(ENDED)} as ended from chosen`;
  return row ?? { found: 0, ended: [] };
}

/**
 * Starts a new round of attempts for an ended delivery, or makes a waiting one due now. Returns the number
 * of its endpoint, or undefined if nothing was done: it is being sent, is due already, its endpoint is
 * retired, or its payload is gone.
 */
export async function retryNow(
  sql: Sql,
  uuid: string,
  change: Change,
): Promise<number | undefined> {
  const [row] = await sql<{ endpoint_no: number }[]>`
    with hastened as (
      update pending_deliveries set due_at = now()
      where id = ${uuid}::uuid and leased_until is null and due_at > now() and cancel_reason is null
      returning id, endpoint_no
    ), ${
    sql.unsafe(noted({ deliveries: "select id from hastened" }, "noted_hastened"))
  }, chosen as materialized (
      -- The event's row is locked, so that it keeps its payload under a delivery that comes back.
      select d.id from ended_deliveries d
      join endpoints n on n.no = d.endpoint_no and n.retired_at is null
      join events e on e.id = event_of(d.id)
      where d.endpoint_no = endpoint_of(${uuid}::uuid) and d.id = ${uuid}::uuid
        and e.payload is not null and ${sql.unsafe(isOpen("e.id"))}
      for key share of e
    ), ${sql.unsafe(RENEW_CHOSEN)}, changed as (
      select endpoint_no from hastened union all select endpoint_no from owed
    ), ${sql.unsafe(announceDue("changed"))}, ${logged(sql, change)}
    select changed.endpoint_no from changed left join announced on true`;
  return row?.endpoint_no;
}
