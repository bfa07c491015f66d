import type { Sql } from "postgres";
import { NO_UUID } from "../core/ids.ts";
import type { Fragment } from "./changes.ts";
import { KEPT_MS } from "./partitions.ts";

/** What of the history goes before its events do. */

/** Result of one step along the events. */
export interface Trimmed {
  readonly trimmed: number;
  /** The last event that was old enough, or null. */
  readonly position: string | null;
  /** Whether an event was found that is too young, or the end. */
  readonly is_last: boolean;
}

/**
 * Reads `limit` events after `position`, or from the first on. Takes away the payloads of those that are older
 * than `age_ms`, except while a delivery is pending and for seven days after the last one ended.
 */
export async function blankPayloads(
  sql: Sql,
  age_ms: number,
  position: string | null,
  limit: number,
): Promise<Trimmed> {
  const [row] = await sql<Trimmed[]>`
    with ${oldEvents(sql, age_ms, position, limit)}, recent as materialized (
      select event_of(x.id) as id from bounds b cross join endpoints n cross join lateral (
        select d.id from ended_deliveries d
        where d.endpoint_no = n.no and d.id between b.first and b.last
          and d.ended_at > now() - ${KEPT_MS}::bigint * interval '1 ms'
        order by d.id limit ${limit}
      ) x
    ), locked as materialized (
      -- For update, as nobody who brings a delivery back shares it: see the column.
      select e.id from old o join events e on e.id = o.id
      where o.has_payload and e.payload is not null
        and e.id between (select first from bounds) and (select last from bounds)
        and e.id not in (select id from recent)
        and not exists (select from pending_deliveries p where p.id between e.id and last_of(e.id))
      for update of e skip locked
    ), chosen as materialized (
      -- Locked, and checked again: a delivery may have come back until then.
      select id from locked where not is_pending(id)
    ), blanked as (
      update events e set payload = null from chosen c
      where e.id = c.id and e.id between (select first from bounds) and (select last from bounds)
      returning 1
    )
    select (select count(*) from blanked)::int as trimmed, ${progress(sql, limit)}`;
  if (row === undefined) throw new Error("The blanking of payloads answered nothing");
  return row;
}

/**
 * Reads `limit` events after `position`, or from the first on. Of those that are older than `age_ms`, removes
 * the attempts of deliveries that ended at least seven days ago, except the last ones, and of these the
 * responses.
 */
export async function trimAttempts(
  sql: Sql,
  age_ms: number,
  position: string | null,
  limit: number,
): Promise<Trimmed> {
  const inBounds = (column: string) =>
    sql`${sql.unsafe(column)} between (select first from bounds) and (select last from bounds)`;
  const [row] = await sql<Trimmed[]>`
    with ${oldEvents(sql, age_ms, position, limit)}, found as materialized (
      select x.* from bounds b cross join endpoints n cross join lateral (
        select d.id, d.endpoint_no, d.attempts, d.response_head is not null
          or d.response_body is not null as has_response
        from ended_deliveries d
        where d.endpoint_no = n.no and d.id between b.first and b.last
          and d.ended_at <= now() - ${KEPT_MS}::bigint * interval '1 ms'
          and d.created_at < now() - ${age_ms}::bigint * interval '1 ms'
        order by d.id limit ${limit}
      ) x
    ), locked as materialized (
      -- So that none comes back meanwhile.
      select d.id, d.endpoint_no, f.has_response
      from found f join ended_deliveries d on d.endpoint_no = f.endpoint_no and d.id = f.id
      where ${inBounds("d.id")} and (f.has_response or (
        f.attempts > 1 and exists (select from attempts a where a.delivery_id = f.id)))
      for update of d skip locked
    ), blanked as (
      update ended_deliveries d
      set response_head = null, response_body = null, response_truncated = false
      from locked l
      where d.endpoint_no = l.endpoint_no and d.id = l.id and l.has_response and ${inBounds("d.id")}
    ), gone as (
      delete from attempts a using locked l
      where a.delivery_id = l.id and ${inBounds("a.delivery_id")}
    )
    select (select count(*) from locked)::int as trimmed, ${progress(sql, limit)}`;
  if (row === undefined) throw new Error("The trimming of attempts answered nothing");
  return row;
}

/**
 * The CTEs `looked`, `old` and `bounds`: `limit` events after a position, those that are older than `age_ms`,
 * and the ids that these and their deliveries lie between.
 */
function oldEvents(sql: Sql, age_ms: number, position: string | null, limit: number): Fragment {
  return sql`
    looked as materialized (
      select id, received_at, payload is not null as has_payload from events
      where id > ${position ?? NO_UUID}::uuid order by id limit ${limit}
    ), old as materialized (
      select id, has_payload from looked
      where received_at < now() - ${age_ms}::bigint * interval '1 ms'
    ), bounds as materialized (
      select (select id from old order by id limit 1) as first,
        last_of((select id from old order by id desc limit 1)) as last
    )`;
}

/** The columns of the progress. Ids are in the order of time, but for the clocks of several daemons. */
function progress(sql: Sql, limit: number): Fragment {
  return sql`(select id from old order by id desc limit 1) as position,
    (select count(*) from old) < ${limit}::int as is_last`;
}

/** The number of blocks that the table of keys has. */
export async function keyBlocks(sql: Sql): Promise<number> {
  const [row] = await sql<{ blocks: number }[]>`
    select (pg_relation_size('keys') / current_setting('block_size')::int)::int as blocks`;
  return row?.blocks ?? 0;
}

/**
 * Forgets the keys older than `age_ms` that are stored in `count` blocks, from number `first` on. Returns how
 * many. An index on their age would cost each event that is stored.
 */
export async function purgeKeys(
  sql: Sql,
  age_ms: number,
  first: number,
  count: number,
): Promise<number> {
  const [row] = await sql<{ purged: number }[]>`
    with gone as (
      delete from keys
      where ctid >= format('(%s,0)', ${first}::int)::tid
        and ctid < format('(%s,0)', ${first + count}::int)::tid
        and created_at < now() - ${age_ms}::bigint * interval '1 ms'
      returning 1
    )
    select count(*)::int as purged from gone`;
  return row?.purged ?? 0;
}
