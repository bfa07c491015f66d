import type { Sql } from "postgres";
import { texts } from "./arrays.ts";
import { announceDue, type Change, type Fragment, logged, noted } from "./changes.ts";
import { RENEW_CHOSEN } from "./fragments.ts";
import { isOpen } from "./partitions.ts";
import { missingSeen, type Searched, searched, selected } from "./replay_search.ts";

/** Selects the deliveries of a replay. */
export interface ReplaySelection extends Searched {
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

/** Starts a replay; any daemon carries it out. */
export async function createReplay(sql: Sql, replay: NewReplay, change: Change): Promise<void> {
  const { matched } = replay;
  await sql`
    with changed as (
      insert into replays (id, created_by, owner, endpoint_no, missing, statuses, type, reason, code, since,
        until, rate_per_s, first_id, position, last_id, matched, matched_exact)
      values (${replay.uuid}::uuid, ${change.actor.name}, ${replay.owner}, ${replay.endpoint_no},
        ${replay.missing}, string_to_array(${texts(replay.statuses)}, chr(30)), ${replay.type},
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
export interface RunningReplay extends Searched {
  readonly uuid: string;
  /** Until its next batch; 0 if that is due. */
  readonly wait_ms: number;
}

/**
 * The replays under way, in the order in which they are due. One of missing deliveries waits until every
 * statement that may still store events for the endpoint as it was before has ended, or has timed out.
 */
export async function runningReplays(sql: Sql): Promise<RunningReplay[]> {
  return await sql<RunningReplay[]>`
    select id as uuid, endpoint_no, missing, owner, array_to_json(statuses) as statuses, reason, code,
      greatest(0, extract(epoch from next_batch_at - now()) * 1000)::float8 as wait_ms
    from replays
    where state = 'running' and (not missing or created_at < now() - interval '1 minute'
      or pg_snapshot_xmin(pg_current_snapshot()) > made_in)
    order by next_batch_at limit 100`;
}

/** Result of one batch of a replay. */
export interface ReplayStep {
  readonly replayed: number;
  readonly state: "running" | "done";
  /** Numbers of the endpoints with deliveries due now. */
  readonly endpoint_nos: readonly number[];
}

/**
 * The CTEs `owed` and `noted`: the ended deliveries in the CTE `sendable` begin a new round. They are locked
 * in the order of ids, so that replays which select the same ones wait for each other instead of deadlocking;
 * what another one has taken meanwhile is left to it.
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

/**
 * The CTEs `owed` and `noted`: the deliveries in the CTE `sendable` are pending, unless another replay has owed
 * them since this statement began. They have their event's time, like all others, by which they are listed.
 */
const OWE_SENDABLE = `
  owed as (
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at, renewed_at, owed_by)
    select s.id, event_of(s.id), s.endpoint_no, s.created_at, now(), now(), (select id from replay)
    from sendable s where not is_owed(s.id)
    returning id, endpoint_no
  ), ${noted({ deliveries: "select id from owed" })}`;

/** Most deliveries of one batch. */
const MAX_BATCH = 500;
/** Deliveries that one batch reads: if few of them match, the batch is small. */
const DEPTH = 5_000;
/** Batches per second that make up a rate. */
const BATCHES_PER_S = 4;

/**
 * Runs the next batch of a replay, in one statement: its deliveries are pending, again or at last, or due
 * now, and its position is after them. Undefined if another daemon is running it, or it is not due or has ended.
 */
export async function stepReplay(
  sql: Sql,
  replay: Omit<RunningReplay, "wait_ms">,
): Promise<ReplayStep | undefined> {
  const { uuid, statuses, missing } = replay;
  const [row] = await sql<ReplayStep[]>`
    with replay as materialized (
      select *, case when rate_per_s is null then ${MAX_BATCH}::int
        else least(${MAX_BATCH}::int, ceil(rate_per_s / ${BATCHES_PER_S}::int)::int) end as room
      from replays
      where id = ${uuid}::uuid and state = 'running' and next_batch_at <= now()
      for update skip locked
    ), ${missing ? sql.unsafe(missingSeen("replay", DEPTH)) : deliveriesSeen(sql, replay)},
    wanted as materialized (
      select s.id, s.endpoint_no, s.created_at, s.place from seen s, replay r
      where s.is_selected and s.created_at >= r.since and s.created_at < r.until
        and (r.type is null or (select e.type from events e where e.id = event_of(s.id)) = r.type)
        and s.endpoint_no not in (select no from endpoints where retired_at is not null)
      order by s.place limit (select room from replay)
    ), sendable as materialized (
      -- Locks the events, so that none loses its payload under a delivery that comes back.
      select w.id, w.endpoint_no, w.created_at from wanted w join events e on e.id = event_of(w.id)
      where e.payload is not null and ${sql.unsafe(isOpen("e.id"))} order by w.id
      for ${sql.unsafe(missing ? "no key update" : "key share")} of e
    ), ${
    sql.unsafe(
      missing ? OWE_SENDABLE : statuses.includes("pending") ? HASTEN_SENDABLE : RENEW_SENDABLE,
    )
  }, progress as materialized (
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
        -- One that found little takes a quarter of the time: what is being sent goes first.
        next_batch_at = now() + greatest(coalesce(p.taken / r.rate_per_s, 0) * interval '1 s',
          case when not p.is_full then 4 * (clock_timestamp() - now()) end)
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

/** The CTE `seen`: the next deliveries after the position, and whether each is selected. */
function deliveriesSeen(sql: Sql, replay: Searched): Fragment {
  const bounds = { first: sql`r.first_id`, last: sql`r.last_id`, position: sql`r.position` };
  const { from, which, order } = searched(sql, replay, bounds, DEPTH);
  return sql`
    seen as materialized (
      select x.* from replay r cross join lateral (
        select d.id, d.endpoint_no, d.created_at,
          ${selected(sql, replay)} as is_selected, row_number() over (order by ${order}) as place
        from ${from} where ${which} order by ${order} limit ${DEPTH}
      ) x
    )`;
}
