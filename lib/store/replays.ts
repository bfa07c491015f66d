import type { Sql } from "postgres";
import { texts } from "./arrays.ts";
import { announceDue, type Change, type Fragment, logged, noted } from "./changes.ts";
import { type CauseFilter, causeIs, RENEW_CHOSEN } from "./fragments.ts";
import { isOpen } from "./partitions.ts";
import { all } from "./reports/page.ts";

/** Statuses that a replay selects: ended ones, or `pending` alone. */
export type ReplayedStatus = "delivered" | "failed" | "cancelled" | "pending";

/** Selects the deliveries of a replay. */
export interface ReplaySelection extends CauseFilter {
  readonly statuses: readonly ReplayedStatus[];
  readonly endpoint_no: number | null;
  readonly type: string | null;
  /** Created at or after, and before: ISO 8601. */
  readonly since: string;
  readonly until: string;
  /** Bounds on their UUIDs that hold all of these: the first, an event's, not included. */
  readonly first_uuid: string;
  readonly last_uuid: string;
}

/** A replay to be stored. */
export interface NewReplay extends ReplaySelection {
  readonly uuid: string;
  readonly rate_per_s: number | null;
  readonly matched: Matched;
}

/** Number of deliveries in a selection; the least number if not exact. */
export interface Matched {
  readonly count: number;
  readonly exact: boolean;
}

/** Expressions: UUIDs above `first` and up to `last`, and the last delivery that a replay has taken. */
export interface SearchBounds {
  readonly first: Fragment;
  readonly last: Fragment;
  readonly position: Fragment;
}

/** Where a replay looks: deliveries `d`, a condition on them, and the order in which it takes them. */
export interface Search {
  readonly from: Fragment;
  readonly which: Fragment;
  readonly order: Fragment;
}

/**
 * Where a replay of these statuses and this endpoint looks, by index: in the order of ids, but for those
 * of all endpoints that were delivered. For these no index has that order, so it takes them endpoint by
 * endpoint, and reads at most `limit` of each.
 */
export function searched(
  sql: Sql,
  statuses: readonly ReplayedStatus[],
  endpoint_no: number | null,
  { first, last, position }: SearchBounds,
  limit: number,
): Search {
  const after = sql`d.id > ${position} and d.id <= ${last}`;
  const byId = sql`d.id`;
  // No index has both: in the order of ids, the endpoint is a matter of `selected`.
  if (statuses.includes("pending")) {
    return { from: sql`pending_deliveries d`, which: after, order: byId };
  }
  const from = sql`ended_deliveries d`;
  // Written out: the indexes of failed ones are partial.
  const status = statusIs(sql, statuses);
  if (endpoint_no !== null) {
    return {
      from,
      which: sql`d.endpoint_no = ${endpoint_no} and ${after} and ${status}`,
      order: byId,
    };
  }
  if (!statuses.includes("delivered")) {
    return { from, which: sql`${after} and ${status}`, order: byId };
  }
  return {
    from: sql`endpoints x cross join lateral (
      select * from ended_deliveries d
      where d.endpoint_no = x.no and d.id > ${first} and d.id <= ${last} and ${status}
        and (x.no > endpoint_of(${position}) or d.id > ${position})
      order by d.id limit ${limit}) d`,
    which: sql`x.no >= endpoint_of(${position})`,
    order: sql`x.no, d.id`,
  };
}

/** The condition on deliveries `d` among those searched, besides their times and types. */
export function selected(
  sql: Sql,
  { statuses, endpoint_no, ...cause }:
    & Pick<ReplaySelection, "statuses" | "endpoint_no">
    & CauseFilter,
): Fragment {
  if (!statuses.includes("pending")) {
    return all(sql, [sql`true`, ...causeIs(sql, cause, "d.reason")]);
  }
  return all(sql, [
    sql`d.leased_until is null and d.cancel_reason is null and d.due_at > now()`,
    ...(endpoint_no === null ? [] : [sql`d.endpoint_no = ${endpoint_no}`]),
    ...causeIs(sql, cause, "d.cancel_reason"),
  ]);
}

function statusIs(sql: Sql, statuses: readonly ReplayedStatus[]): Fragment {
  if (statuses.length === 1 && statuses[0] === "failed") return sql`d.status = 'failed'`;
  const all = sql`d.status = any(string_to_array(${texts(statuses)}, chr(30)))`;
  return statuses.includes("delivered") ? all : sql`d.status <> 'delivered' and ${all}`;
}

/** Starts a replay; any daemon carries it out. */
export async function createReplay(sql: Sql, replay: NewReplay, change: Change): Promise<void> {
  const { matched } = replay;
  await sql`
    with changed as (
      insert into replays (id, created_by, endpoint_no, statuses, type, reason, code, since, until,
        rate_per_s, first_id, position, last_id, matched, matched_exact)
      values (${replay.uuid}::uuid, ${change.actor.name}, ${replay.endpoint_no},
        string_to_array(${texts(replay.statuses)}, chr(30)), ${replay.type},
        ${replay.reason ?? null}, ${replay.code ?? null},
        ${replay.since}::text::timestamptz, ${replay.until}::text::timestamptz,
        ${replay.rate_per_s}, ${replay.first_uuid}::uuid, ${replay.first_uuid}::uuid,
        ${replay.last_uuid}::uuid,
        ${matched.count}, ${matched.exact})
      returning id
    ), ${sql.unsafe(noted({ replays: "select id from changed" }))}, ${logged(sql, change)}
    select 1 from changed`;
}

/** Ends a replay where it is; deliveries it renewed continue. False if it has ended. */
export async function cancelReplay(sql: Sql, uuid: string, change: Change): Promise<boolean> {
  const rows = await sql`
    with changed as (
      update replays set state = 'cancelled', ended_at = now()
      where id = ${uuid}::uuid and state = 'running'
      returning id
    ), ${sql.unsafe(noted({ replays: "select id from changed" }))}, ${logged(sql, change)}
    select 1 from changed`;
  return rows.length > 0;
}

/** A replay under way. */
export interface RunningReplay extends CauseFilter {
  readonly uuid: string;
  readonly endpoint_no: number | null;
  readonly statuses: readonly ReplayedStatus[];
  /** Until its next batch; 0 if that is due. */
  readonly wait_ms: number;
}

/** The replays under way, in the order in which they are due. */
export async function runningReplays(sql: Sql): Promise<RunningReplay[]> {
  return await sql<RunningReplay[]>`
    select id as uuid, endpoint_no, array_to_json(statuses) as statuses, reason, code,
      greatest(0, extract(epoch from next_batch_at - now()) * 1000)::float8 as wait_ms
    from replays where state = 'running' order by next_batch_at limit 100`;
}

/** Result of one batch of a replay. */
export interface ReplayStep {
  readonly replayed: number;
  readonly state: "running" | "done";
  /** Numbers of the endpoints with deliveries due now. */
  readonly endpoint_nos: readonly number[];
}

/**
 * The CTEs `owed` and `noted`: the ended deliveries in the CTE `sendable` begin a new round. They are locked in the order of
 * ids, so that replays which select the same ones wait for each other instead of deadlocking; what another
 * one has taken meanwhile is left to it.
 */
const RENEW_SENDABLE = `
  chosen as materialized (
    select d.id from sendable s
    join ended_deliveries d on d.endpoint_no = s.endpoint_no and d.id = s.id
    order by s.id for update of d
  ), ${RENEW_CHOSEN}`;

/**
 * The CTEs `owed` and `noted`: the waiting deliveries in the CTE `sendable` are due now, for their next
 * attempt. Those that another statement holds are left to it: they are being sent, or were just scheduled.
 */
const HASTEN_SENDABLE = `
  waiting as materialized (
    select p.id from pending_deliveries p
    where p.id = any(array(select id from sendable))
      and p.leased_until is null and p.cancel_reason is null and p.due_at > now()
    for update skip locked
  ), owed as (
    update pending_deliveries set due_at = now()
    where id = any(array(select id from waiting))
    returning id, endpoint_no
  ), ${noted({ deliveries: "select id from owed" })}`;

/** Most deliveries of one batch. */
const MAX_BATCH = 500;
/** Deliveries that one batch reads: if few of them match, the batch is small. */
const DEPTH = 5_000;
/** Batches per second that make up a rate. */
const BATCHES_PER_S = 4;

/**
 * Runs the next batch of a replay, in one statement: its deliveries are pending again, or due now, and
 * its position is after them. Undefined if another daemon is running it, or it is not due or has ended.
 */
export async function stepReplay(
  sql: Sql,
  replay: Omit<RunningReplay, "wait_ms">,
): Promise<ReplayStep | undefined> {
  const { uuid, statuses, endpoint_no } = replay;
  const bounds = { first: sql`r.first_id`, last: sql`r.last_id`, position: sql`r.position` };
  const { from, which, order } = searched(sql, statuses, endpoint_no, bounds, DEPTH);
  const [row] = await sql<ReplayStep[]>`
    with replay as materialized (
      select *, case when rate_per_s is null then ${MAX_BATCH}::int
        else least(${MAX_BATCH}::int, ceil(rate_per_s / ${BATCHES_PER_S}::int)::int) end as room
      from replays
      where id = ${uuid}::uuid and state = 'running' and next_batch_at <= now()
      for update skip locked
    ), seen as materialized (
      select x.* from replay r cross join lateral (
        select d.id, d.endpoint_no, d.created_at,
          ${selected(sql, replay)} as is_selected, row_number() over (order by ${order}) as place
        from ${from} where ${which} order by ${order} limit ${DEPTH}
      ) x
    ), wanted as materialized (
      select s.id, s.endpoint_no, s.place from seen s, replay r
      where s.is_selected and s.created_at >= r.since and s.created_at < r.until
        and (r.type is null or (select e.type from events e where e.id = event_of(s.id)) = r.type)
        and s.endpoint_no not in (select no from endpoints where retired_at is not null)
      order by s.place limit (select room from replay)
    ), sendable as materialized (
      -- Locks the events, so that none loses its payload under a delivery that comes back.
      select w.id, w.endpoint_no from wanted w join events e on e.id = event_of(w.id)
      where e.payload is not null and ${sql.unsafe(isOpen("e.id"))} order by w.id for key share of e
    ), ${sql.unsafe(statuses.includes("pending") ? HASTEN_SENDABLE : RENEW_SENDABLE)},
    progress as materialized (
      select (select count(*) from owed) as done,
        (select count(*) from wanted) as taken,
        (select count(*) from sendable) as sendable,
        (select count(*) from wanted) = (select room from replay) as is_full,
        (select count(*) from seen) = ${DEPTH} as is_deep,
        (select id from wanted order by place desc limit 1) as last_wanted,
        (select id from seen order by place desc limit 1) as last_seen
    ), moved as (
      update replays r set replayed = r.replayed + p.done,
        without_payload = r.without_payload + p.taken - p.sendable,
        position = case when p.is_full then p.last_wanted
                        when p.is_deep then p.last_seen else r.last_id end,
        state = case when p.is_full or p.is_deep then 'running' else 'done' end,
        ended_at = case when p.is_full or p.is_deep then null else now() end,
        next_batch_at = now() + coalesce(p.taken / r.rate_per_s, 0) * interval '1 s'
      from progress p where r.id = (select id from replay)
      returning r.id, r.state
    ), ${sql.unsafe(noted({ replays: "select id from moved" }, "noted_replay"))}, ${
    sql.unsafe(announceDue("owed"))
  }
    select p.done::int as replayed, m.state,
      (select coalesce(json_agg(distinct endpoint_no), '[]') from owed) as endpoint_nos
    from moved m cross join progress p left join announced on true`;
  return row;
}
