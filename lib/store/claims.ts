import type { Sql } from "postgres";
import { timeOfUuid } from "../core/ids.ts";
import { literal, uuidLiteral } from "./arrays.ts";
import type { NewEvent } from "./events.ts";
import { CANCEL_CHOSEN, ENDED, type Ended, type Endings, OWED } from "./fragments.ts";

/** How many deliveries of an endpoint to claim, and under which limits. */
export interface Room {
  readonly endpoint_no: number;
  readonly room: number;
  /** Length of its retry policy: deliveries that have had as many attempts are left to the sweep. */
  readonly max_attempts: number;
  /** Earliest due time to look for (microseconds since 1970, as text). */
  readonly floor: string;
  /** Most attempts under way at once, in all processes together; null for no limit. */
  readonly concurrency: number | null;
  /** Least time between the starts of two attempts, in all processes, in microseconds, or null. */
  readonly interval_us: number | null;
}

/** A delivery under a lease; every write about it must match the token. */
export interface Lease {
  readonly uuid: string;
  readonly token: number;
  readonly endpoint_no: number;
  /** Attempts recorded before this one, interrupted ones included. */
  readonly attempts: number;
  /** Of those, the ones that count against the policy in this round. */
  readonly counted: number;
  readonly interruptions: number;
  /** Of the event. */
  readonly type: string;
  readonly test: boolean;
  /** Since when it is owed, by its event or by what brought it back last, in milliseconds since 1970. */
  readonly owed_ms: number;
  /** Whether a retry or a replay brought it back, or owed it in the first place. */
  readonly renewed: boolean;
  /** Whether it tries whether an automatic pause may end: `claimProbes` gives such leases. */
  readonly probe: boolean;
}

/** How long new leases last, and whose they are. */
export interface Term {
  readonly ms: number;
  /** The daemon's number: `holder` of its context. */
  readonly holder: number;
}

/** A claimed delivery and its event. */
export interface Claimed extends Lease {
  readonly event_uuid: string;
  readonly payload: string;
  /** The `traceparent` of the event's post, or null. */
  readonly trace: string | null;
  /** Due time (microseconds since 1970, as text), the floor of a later claim. */
  readonly due: string;
  /** Wait before sending, because of a rate limit. */
  readonly wait_ms: number;
}

/** The claim of a delivery that `storeEvents` stores as leased: its first, before any attempt. */
export function firstLease(
  { uuid, event, endpoint_no }: {
    readonly uuid: string;
    readonly event: NewEvent;
    readonly endpoint_no: number;
  },
): Claimed {
  return {
    uuid,
    event_uuid: event.uuid,
    endpoint_no,
    type: event.type,
    test: event.test,
    payload: event.payload,
    trace: event.trace,
    attempts: 0,
    counted: 0,
    interruptions: 0,
    probe: false,
    owed_ms: timeOfUuid(event.uuid),
    renewed: false,
    token: 1,
    due: "0",
    wait_ms: 0,
  };
}

/** How far ahead the slots of a rate limit are assigned, in milliseconds. */
export const RATE_HORIZON_MS = 1_000;

// No slot is assigned further ahead than this beyond the horizon and an interval: statements end before.
// One that lies further ahead was assigned before the database's clock was set back.
const RATE_SLACK_MS = 60_000;

// Deliveries of an endpoint that are searched for leased ones, in addition to its limit.
const LEASED_DEPTH = 2_000;

/** What a claim does about limits: CTEs for the room of each endpoint and for its pace, and the waits. */
interface Limits {
  readonly room: string;
  readonly pace: string;
  readonly wait_ms: string;
}

/** Without a limit there is nothing to lock or to pace: a twelfth of a claim's cost. */
const UNLIMITED: Limits = {
  room: `roomy as materialized (
      select endpoint_no, room, max_attempts, floor, interval_us, now() as first_at from wanted
    )`,
  pace: "",
  wait_ms: "0",
};

const LIMITED: Limits = {
  room: `locked as materialized (
      select n.no, n.next_send_at from endpoints n
      where n.no in (
        select endpoint_no from wanted where concurrency is not null or interval_us is not null)
      for no key update skip locked
    ), limited as materialized (
      select w.*, case
          when l.next_send_at > now() + ${RATE_HORIZON_MS + RATE_SLACK_MS} * interval '1 ms'
            + w.interval_us * interval '1 us' then now()
          else greatest(l.next_send_at, now()) end as first_at
      from locked l join wanted w on w.endpoint_no = l.no
    ), roomy as materialized (
      select endpoint_no, room, max_attempts, floor, interval_us, now() as first_at
      from wanted where concurrency is null and interval_us is null
      union all
      select endpoint_no,
        greatest(0, least(room,
          concurrency - leased_count(endpoint_no, max_attempts, concurrency + ${LEASED_DEPTH}),
          ceil(extract(epoch from now() + ${RATE_HORIZON_MS} * interval '1 ms' - first_at)
            * 1000000 / interval_us))),
        max_attempts, floor, interval_us, first_at
      from limited
    )`,
  pace: `paced as materialized (
      select id, endpoint_no, interval_us, extract(epoch from first_at - now()) * 1000 as base_ms,
        first_at, row_number() over (partition by endpoint_no order by due_at) as turn
      from chosen where interval_us is not null
    ), moved as (
      update endpoints n set next_send_at = m.next_at from (
        select endpoint_no, max(first_at + turn * interval_us * interval '1 us') as next_at
        from paced group by endpoint_no
      ) m where n.no = m.endpoint_no
    ),`,
  wait_ms: `coalesce((
        select base_ms + (turn - 1) * interval_us / 1000.0 from paced where id = l.id), 0)`,
};

/**
 * Claims due deliveries in the order they are due, for each endpoint at most as many as it has room for.
 * The lease starts now and has that term. Rows that another process is claiming are skipped.
 *
 * The row of an endpoint that limits its concurrency or rate is locked for the statement, so that one
 * process at a time counts the leases of all and assigns the slots of the rate. An endpoint that another
 * process is claiming for is skipped.
 */
export async function claim(
  sql: Sql,
  rooms: readonly Room[],
  { ms, holder }: Term,
): Promise<Claimed[]> {
  const isLimited = rooms.some((r) => r.concurrency !== null || r.interval_us !== null);
  const { room, pace, wait_ms } = isLimited ? LIMITED : UNLIMITED;
  const claimed = await sql<Claimed[]>`
    with wanted as materialized (
      select * from unnest(
        ${literal(rooms.map((r) => r.endpoint_no))}::int[],
        ${literal(rooms.map((r) => r.room))}::int[],
        ${literal(rooms.map((r) => r.max_attempts))}::int[],
        ${literal(rooms.map((r) => r.floor))}::bigint[],
        ${literal(rooms.map((r) => r.concurrency))}::int[],
        ${literal(rooms.map((r) => r.interval_us))}::bigint[]
      ) as s (endpoint_no, room, max_attempts, floor, concurrency, interval_us)
    ), ${sql.unsafe(room)}, chosen as materialized (
      select x.place, x.id, x.due_at, r.endpoint_no, r.first_at, r.interval_us from roomy r
      cross join lateral (
        select p.ctid as place, p.id, p.due_at from pending_deliveries p
        where p.endpoint_no = r.endpoint_no and p.due_at <= now()
          and p.due_at >= 'epoch'::timestamptz + r.floor * interval '1 us'
          and p.leased_until is null and p.counted < r.max_attempts
        order by p.due_at limit r.room for update skip locked
      ) x
    ), ${sql.unsafe(pace)} leased as (
      update pending_deliveries
      set leased_until = now() + ${ms}::int * interval '1 ms', leased_by = ${holder}::int,
        token = token + 1
      -- Locked rows stay at their place.
      where ctid = any(array(select place from chosen))
      returning id, token, endpoint_no, attempts, counted, interruptions, event_id, due_at, ${
    sql.unsafe(OWED)
  }
    )
    select l.id as uuid, l.token, l.endpoint_no, l.attempts, l.counted, l.interruptions, false as probe,
      l.event_id as event_uuid, l.owed_ms, l.renewed, e.type, e.test, e.payload, e.trace,
      (date_part('epoch', l.due_at) * 1000000)::bigint as due,
      ${sql.unsafe(wait_ms)}::float8 as wait_ms
    from leased l join events e on e.id = l.event_id
    -- None is pending without a payload. Should one be, nothing is sent instead of an empty body.
    where e.payload is not null
    order by l.due_at`;
  // A copy: postgres.js links each result to later ones, which keeps its rows from being collected.
  return claimed.splice(0);
}

/**
 * Gives leased deliveries back as they were, probes too. Nothing was sent, so no attempt is recorded. Deliveries that
 * were cancelled meanwhile end; returns how many.
 */
export async function release(
  sql: Sql,
  leases: readonly Pick<Lease, "uuid" | "token">[],
): Promise<readonly Ended[]> {
  const [row] = await sql<Pick<Endings, "ended">[]>`
    with held as materialized (
      select p.id, p.cancel_reason from unnest(
        ${uuidLiteral(leases.map((l) => l.uuid))}::uuid[],
        ${literal(leases.map((l) => l.token))}::int[]
      ) as l (id, token)
      join pending_deliveries p on p.id = l.id and p.token = l.token
      where p.leased_until is not null
      for update of p
    ), chosen as (
      select id, false as leased, cancel_reason as reason from held where cancel_reason is not null
    ), ${sql.unsafe(CANCEL_CHOSEN)}, released as (
      update pending_deliveries
      set leased_until = null, due_at = coalesce(regular_due_at, due_at), regular_due_at = null
      where id = any(array(select id from held where cancel_reason is null))
    )
    select ${sql.unsafe(ENDED)} as ended`;
  return row?.ended ?? [];
}

/** The state of the queue, which the dispatcher reads once a second. */
export interface Overview {
  /** Endpoints that have something due and unclaimed. */
  readonly due: readonly number[];
  /** The database's clock, in milliseconds since 1970. */
  readonly now_ms: number;
  /** The fleet's revision. */
  readonly revision: string;
}

/**
 * Which of these endpoints have something due above their floor, the time, and the fleet's revision. To
 * be asked only about endpoints of which the first is not known: after many deliveries the search passes
 * through as many dead rows.
 */
export async function overview(
  sql: Sql,
  asked: readonly Pick<Room, "endpoint_no" | "floor">[],
): Promise<Overview> {
  const [row] = await sql<Overview[]>`
    select coalesce((
        select json_agg(a.no) from unnest(
          ${literal(asked.map((a) => a.endpoint_no))}::int[],
          ${literal(asked.map((a) => a.floor))}::bigint[]
        ) as a (no, floor)
        where exists (
          select from pending_deliveries p
          where p.endpoint_no = a.no and p.due_at <= now() and p.leased_until is null
            and p.due_at >= 'epoch'::timestamptz + a.floor * interval '1 us')
      ), '[]') as due,
      (extract(epoch from now()) * 1000)::float8 as now_ms,
      (select revision from fleet) as revision`;
  if (row === undefined) throw new Error("The overview came back empty");
  return row;
}
