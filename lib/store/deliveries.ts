import { Buffer } from "node:buffer";
import type { Sql } from "postgres";
import type { Outcome } from "../core/outcome.ts";
import type { Decision } from "../core/retry.ts";
import { foreignTexts, literal, texts } from "./arrays.ts";
import { type Change, logged, RENEW_CHOSEN } from "./changes.ts";

/** How much of which endpoint to claim. */
export interface Room {
  readonly endpoint_no: number;
  readonly room: number;
  /** The length of its retry policy: what has had that many attempts is the sweep's. */
  readonly max_attempts: number;
  /** Nothing due before this moment is looked for (microseconds since 1970, as text). */
  readonly floor: string;
  /** Attempts under way at once, in all processes together; null for no such limit. */
  readonly concurrency: number | null;
  /** The least time between the beginnings of two attempts, in all processes, in microseconds. */
  readonly interval_us: number | null;
}

/** A delivery under a lease: only who shows its token may write about it. */
export interface Lease {
  readonly uuid: string;
  readonly token: number;
  readonly endpoint_no: number;
  /** Attempts recorded before this one, interrupted ones included. */
  readonly attempts: number;
  /** Of those, what counts against the policy in this round. */
  readonly counted: number;
  readonly interruptions: number;
}

/** A claimed delivery with what is to be sent. */
export interface Claimed extends Lease {
  readonly event_uuid: string;
  readonly type: string;
  readonly test: boolean;
  readonly payload: string;
  /** When it was due (microseconds since 1970, as text), the floor of a later claim. */
  readonly due: string;
  /** How long to wait before sending, because of a rate limit. */
  readonly wait_ms: number;
}

/** How far ahead the slots of a rate limit are given out, in milliseconds. */
export const RATE_HORIZON_MS = 1_000;

// No slot is given out further ahead than this beyond the horizon and an interval: statements end before.
// One that is was given out before the database's clock was set back.
const RATE_SLACK_MS = 60_000;

// Deliveries of an endpoint that are looked through for leased ones, beside its limit.
const LEASED_DEPTH = 2_000;

/**
 * Claims what is due, for each endpoint at most as much as it has room for, in the order it is due.
 * The lease begins now and lasts `lease_ms`; rows that another process is claiming are passed over.
 *
 * Where an endpoint limits its concurrency or rate, its row is locked for the statement: so the leases
 * of all processes are counted, and the slots of the rate given out, by one at a time. An endpoint
 * that another process is claiming for is passed over.
 */
export async function claim(
  sql: Sql,
  rooms: readonly Room[],
  lease_ms: number,
): Promise<Claimed[]> {
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
    ), locked as materialized (
      select n.no, n.next_send_at from endpoints n
      where n.no in (
        select endpoint_no from wanted where concurrency is not null or interval_us is not null)
      for no key update skip locked
    ), limited as materialized (
      select w.*, case
          when l.next_send_at > now() + ${RATE_HORIZON_MS + RATE_SLACK_MS}::int * interval '1 ms'
            + w.interval_us * interval '1 us' then now()
          else greatest(l.next_send_at, now()) end as first_at
      from locked l join wanted w on w.endpoint_no = l.no
    ), roomy as materialized (
      select endpoint_no, room, max_attempts, floor, interval_us, now() as first_at
      from wanted where concurrency is null and interval_us is null
      union all
      select endpoint_no,
        greatest(0, least(room,
          concurrency -
            leased_count(endpoint_no, max_attempts, concurrency + ${LEASED_DEPTH}::int),
          ceil(extract(epoch from now() + ${RATE_HORIZON_MS}::int * interval '1 ms' - first_at)
            * 1000000 / interval_us))),
        max_attempts, floor, interval_us, first_at
      from limited
    ), chosen as materialized (
      select x.place, x.id, x.due_at, r.endpoint_no, r.first_at, r.interval_us from roomy r
      cross join lateral (
        select p.ctid as place, p.id, p.due_at from pending_deliveries p
        where p.endpoint_no = r.endpoint_no and p.due_at <= now()
          and p.due_at >= 'epoch'::timestamptz + r.floor * interval '1 us'
          and p.leased_until is null and p.counted < r.max_attempts
        order by p.due_at limit r.room for update skip locked
      ) x
    ), paced as materialized (
      select id, endpoint_no, interval_us, extract(epoch from first_at - now()) * 1000 as base_ms,
        first_at, row_number() over (partition by endpoint_no order by due_at) as turn
      from chosen where interval_us is not null
    ), moved as (
      update endpoints n set next_send_at = m.next_at from (
        select endpoint_no, max(first_at + turn * interval_us * interval '1 us') as next_at
        from paced group by endpoint_no
      ) m where n.no = m.endpoint_no
    ), leased as (
      update pending_deliveries
      set leased_until = now() + ${lease_ms}::int * interval '1 ms', token = token + 1
      -- They are locked, so they stay where they are.
      where ctid = any(array(select place from chosen))
      returning *
    )
    select l.id as uuid, l.token, l.endpoint_no, l.attempts, l.counted, l.interruptions,
      l.event_id as event_uuid, e.type, e.test, e.payload,
      (date_part('epoch', l.due_at) * 1000000)::bigint as due,
      coalesce((select base_ms + (turn - 1) * interval_us / 1000.0 from paced where id = l.id),
        0)::float8 as wait_ms
    from leased l join events e on e.id = l.event_id
    order by l.due_at`;
  // Taken out: postgres.js links each result to later ones, which keeps old rows from being collected.
  return claimed.splice(0);
}

/** What an attempt sent, beside the event's bytes and what follows from its endpoint. */
export interface SentRecord {
  readonly timestamp_s: number;
  readonly signature: string;
  readonly webhook_signature: string;
}

/** An attempt's result, ready to be recorded. */
export interface Result {
  readonly lease: Lease;
  readonly endpoint_version: number;
  readonly outcome: Outcome;
  readonly decision: Decision;
  readonly sent: SentRecord | null;
  /** When the attempt ended, in milliseconds of any clock. */
  readonly ended_at: number;
}

/** What became of results, by their deliveries: what is in neither list has ended. */
export interface Recorded {
  /** Had lost their lease: nothing was written about them. */
  readonly lost: readonly string[];
  /** Are scheduled for another attempt. */
  readonly going_on: readonly string[];
  /** Ids of the endpoints that a 410 paused. */
  readonly paused: readonly string[];
}

/**
 * Records attempts with what was decided, one statement for all: each attempt is added and its
 * delivery ended or scheduled anew, or neither. Only under the token of the present lease. `now` is by
 * the clock of `ended_at`; the times that are stored are the database's, counted back from its own.
 *
 * A 410 pauses the endpoint in the same statement, and the audit log has it. A delivery that was
 * cancelled meanwhile ends as cancelled instead of waiting for another attempt.
 */
export async function record(
  sql: Sql,
  results: readonly Result[],
  now: number,
): Promise<Recorded> {
  const outcomes = results.map((r) => r.outcome);
  // One row for all: most have nothing to tell.
  const [recorded] = await sql<Recorded[]>`
    with result as materialized (
      select * from unnest(
        ${literal(results.map((r) => r.lease.uuid))}::uuid[],
        ${literal(results.map((r) => r.lease.token))}::int[],
        ${literal(results.map((r) => r.endpoint_version))}::int[],
        string_to_array(${texts(results.map((r) => r.decision.verdict))}, chr(30)),
        ${literal(results.map((r) => r.decision.counts ? 1 : 0))}::int[],
        ${literal(results.map((r) => waitOf(r.decision)))}::bigint[],
        ${literal(outcomes.map((o) => Math.ceil(o.duration_ms * 1000)))}::bigint[],
        ${literal(results.map((r) => Math.floor((now - r.ended_at) * 1000)))}::bigint[],
        string_to_array(${texts(outcomes.map((o) => o.outcome))}, chr(30)),
        ${literal(outcomes.map((o) => o.status))}::smallint[],
        string_to_array(${foreignTexts(outcomes.map((o) => o.cause))}, chr(30), ''),
        string_to_array(${texts(outcomes.map((o) => o.address))}, chr(30), ''),
        ${literal(results.map((r) => r.sent?.timestamp_s ?? null))}::bigint[],
        string_to_array(${texts(results.map((r) => r.sent?.signature ?? null))}, chr(30), ''),
        string_to_array(${
    texts(results.map((r) => r.sent?.webhook_signature ?? null))
  }, chr(30), ''),
        string_to_array(${foreignTexts(outcomes.map((o) => o.response?.head ?? null))},
          chr(30), ''),
        string_to_array(${texts(outcomes.map((o) => hexOf(o.response?.body)))}, chr(30), ''),
        ${literal(outcomes.map((o) => o.response?.truncated ?? false))}::boolean[]
      ) as r (id, token, endpoint_version, verdict, counts, wait_ms, duration_us, lag_us,
        outcome, status, cause, address, request_timestamp, request_signature,
        request_webhook_signature, response_head, response_body, response_truncated)
    ), ending as (
      delete from pending_deliveries p using result r
      where p.id = r.id and ${sql.unsafe(STILL_HELD)}
        and r.verdict <> 'retry'
      returning ${sql.unsafe(HELD)}, r.verdict as final
    ), going_on as materialized (
      -- Locked before it is looked at: it may be being cancelled.
      select ${
    sql.unsafe(HELD)
  }, case when p.cancel_reason is not null then 'cancelled' end as final
      from result r join pending_deliveries p on p.id = r.id
      where ${sql.unsafe(STILL_HELD)} and r.verdict = 'retry'
      for update of p
    ), held as materialized (
      select * from ending union all select * from going_on
    ), removed as (
      delete from pending_deliveries
      where id = any(array(select id from going_on where final is not null))
    ), ended as (
      insert into ended_deliveries (id, event_id, endpoint_no, created_at, ended_at, status, reason,
        token, attempts, last_outcome, last_status, last_attempt_at)
      select id, event_id, endpoint_no, created_at, ended_at, final,
        case final when 'cancelled' then cancel_reason end,
        token, attempts, outcome, status, ended_at
      from held where final is not null
    ), kept as (
      update pending_deliveries p
      set due_at = h.ended_at + h.wait_ms * interval '1 ms', leased_until = null,
        attempts = h.attempts, counted = h.counted, interruptions = h.interruptions,
        last_outcome = h.outcome, last_status = h.status, last_attempt_at = h.ended_at
      from going_on h where h.final is null and p.id = h.id
    ), logged as (
      insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at,
        ended_at, outcome, status, cause, address, request_timestamp, request_signature,
        request_webhook_signature, response_head, response_body, response_truncated)
      select id, attempts, endpoint_no, endpoint_version,
        ended_at - duration_us * interval '1 us', ended_at, outcome, status, cause, address,
        request_timestamp, request_signature, request_webhook_signature, response_head,
        decode(response_body, 'hex'), response_truncated
      from held
    ), paused as (
      update endpoints set paused_at = now(), pause_reason = 'The endpoint answered 410 Gone',
        updated_at = now()
      where no = any(array(select endpoint_no from held where outcome = 'gone'))
        and paused_at is null
      returning id, pause_reason
    ), audited as (
      insert into audit (actor, action, object, after)
      select 'the dispatcher', 'endpoint.paused', id, jsonb_build_object('reason', pause_reason)
      from paused
    ), revised as (
      update fleet set revision = revision + 1 where exists (select from paused)
    )
    select
      coalesce((select json_agg(id) from result where id not in (select id from held)), '[]') as lost,
      coalesce((select json_agg(id) from held where final is null), '[]') as going_on,
      coalesce((select json_agg(id) from paused), '[]') as paused,
      case when exists (select from paused) then pg_notify('bookme_webhooks', 'fleet') end`;
  if (recorded === undefined) throw new Error("Recording came back empty");
  return recorded;
}

/** Whether the lease of delivery p is still the one under which result r came about. */
const STILL_HELD = "p.token = r.token and p.leased_until is not null";

/** What recording needs of a result r and its delivery p. */
const HELD = `
  r.*, p.event_id, p.endpoint_no, p.created_at, p.cancel_reason,
  p.attempts + 1 as attempts, p.counted + r.counts as counted,
  p.interruptions + 1 - r.counts as interruptions,
  now() - r.lag_us * interval '1 us' as ended_at`;

function waitOf(decision: Decision): number {
  return decision.verdict === "retry" ? Math.ceil(decision.wait_ms) : 0;
}

function hexOf(bytes: Uint8Array | undefined): string | null {
  if (bytes === undefined || bytes.length === 0) return null;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
}

/**
 * Gives leased deliveries back as they were: nothing was sent, so no attempt is recorded. One that was
 * cancelled meanwhile ends.
 */
export async function release(
  sql: Sql,
  leases: readonly Pick<Lease, "uuid" | "token">[],
): Promise<void> {
  await sql`
    with held as materialized (
      select p.id, p.cancel_reason from unnest(
        ${literal(leases.map((l) => l.uuid))}::uuid[],
        ${literal(leases.map((l) => l.token))}::int[]
      ) as l (id, token)
      join pending_deliveries p on p.id = l.id and p.token = l.token
      where p.leased_until is not null
      for update of p
    ), chosen as (
      select id, false as leased, cancel_reason as reason from held where cancel_reason is not null
    ), ${sql.unsafe(CANCEL_CHOSEN)}
    update pending_deliveries set leased_until = null
    where id = any(array(select id from held where cancel_reason is null))`;
}

// The endpoints that have pending deliveries, by skipping through the index: a millisecond, however
// many deliveries there are.
const ENDPOINTS_WITH_PENDING = `
  with recursive e (no) as (
    (select endpoint_no from pending_deliveries order by endpoint_no limit 1)
    union all
    select (select p.endpoint_no from pending_deliveries p
            where p.endpoint_no > e.no order by p.endpoint_no limit 1)
    from e where e.no is not null
  )`;

/** What the dispatcher asks once a second. */
export interface Overview {
  /** Endpoints that have something due which nobody has claimed. */
  readonly due: readonly number[];
  /** The database's clock, in milliseconds since 1970. */
  readonly now_ms: number;
  /** The fleet's revision. */
  readonly revision: string;
}

/**
 * Which of these endpoints have something due above their floor, what time it is, and whether the
 * endpoints have changed. Asked only about those of which it is not known: where much has just been
 * delivered, looking means wading through rows that are no more.
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

/**
 * Leases that have run out, at most `limit`. Looks at the first `depth` deliveries of each endpoint
 * that have been due for `age_ms`: what was claimed was the first due then, and comes to the front
 * again as others leave.
 */
export async function findExpired(
  sql: Sql,
  depth: number,
  limit: number,
  age_ms: number,
): Promise<Lease[]> {
  return await sql<Lease[]>`
    ${sql.unsafe(ENDPOINTS_WITH_PENDING)}
    select p.id as uuid, p.token, p.endpoint_no, p.attempts, p.counted, p.interruptions
    from e cross join lateral (
      select * from pending_deliveries q
      where q.endpoint_no = e.no and q.due_at <= now() - ${age_ms}::int * interval '1 ms'
      order by q.due_at limit ${depth}
    ) p
    where p.leased_until < now()
    limit ${limit}`;
}

/**
 * Fails deliveries that are due although they have had all their attempts (the policy became
 * shorter meanwhile). `default_attempts` is the length of the policy that holds where an endpoint has
 * none of its own. Answers how many.
 */
export async function failExhausted(
  sql: Sql,
  depth: number,
  limit: number,
  default_attempts: number,
): Promise<number> {
  const rows = await sql`
    ${sql.unsafe(ENDPOINTS_WITH_PENDING)}
    , exhausted as materialized (
      select p.id from e
      join endpoints n on n.no = e.no
      cross join lateral (
        select * from pending_deliveries q
        where q.endpoint_no = e.no and q.due_at <= now()
        order by q.due_at limit ${depth}
      ) p
      where p.leased_until is null and p.counted >= coalesce(
          jsonb_array_length(nullif(n.settings -> 'retry_ms', 'null')), ${default_attempts})
      limit ${limit}
    ), removed as (
      delete from pending_deliveries
      where id = any(array(select id from exhausted)) and leased_until is null
      returning *
    )
    insert into ended_deliveries (id, event_id, endpoint_no, created_at, ended_at, status, token,
      attempts, last_outcome, last_status, last_attempt_at)
    select id, event_id, endpoint_no, created_at, now(), 'failed', token, attempts, last_outcome,
      last_status, last_attempt_at
    from removed
    returning 1`;
  return rows.length;
}

/**
 * Cancels up to `limit` pending deliveries of retired endpoints, and answers how many were found.
 * One that is being sent is marked, and ends with its attempt.
 */
export async function cancelRetired(sql: Sql, limit: number): Promise<number> {
  const [row] = await sql<{ found: number }[]>`
    with chosen as materialized (
      select p.id, p.leased_until is not null as leased,
        'The endpoint was retired'::text as reason
      from endpoints n
      cross join lateral (
        select * from pending_deliveries q
        where q.endpoint_no = n.no and q.cancel_reason is null
        limit ${limit} for update skip locked
      ) p
      where n.retired_at is not null
      limit ${limit}
    ), ${sql.unsafe(CANCEL_CHOSEN)}
    select count(*)::int as found from chosen`;
  return row?.found ?? 0;
}

/** Cancels a pending delivery. False where it is not pending or is being cancelled already. */
export async function cancel(
  sql: Sql,
  uuid: string,
  reason: string,
  change: Change,
): Promise<boolean> {
  const rows = await sql`
    with chosen as materialized (
      select p.id, p.leased_until is not null as leased, ${reason}::text as reason
      from pending_deliveries p
      where p.id = ${uuid}::uuid and p.cancel_reason is null
      for update
    ), changed as (
      select id from chosen
    ), ${logged(sql, change)}, ${sql.unsafe(CANCEL_CHOSEN)}
    select 1 from chosen`;
  return rows.length > 0;
}

const CANCEL_CHOSEN = `
  marked as (
    update pending_deliveries p set cancel_reason = c.reason
    from chosen c where p.id = c.id and c.leased
  ), removed as (
    delete from pending_deliveries where id = any(array(select id from chosen where not leased))
    returning *
  ), ended as (
    insert into ended_deliveries (id, event_id, endpoint_no, created_at, ended_at, status, reason,
      token, attempts, last_outcome, last_status, last_attempt_at)
    select r.id, r.event_id, r.endpoint_no, r.created_at, now(), 'cancelled', c.reason,
      r.token, r.attempts, r.last_outcome, r.last_status, r.last_attempt_at
    from removed r join chosen c on c.id = r.id
  )`;

/**
 * Begins a new round of attempts, at once, for a delivery that has ended, and makes a pending one that
 * waits due now. Answers the number of its endpoint, or undefined where nothing was done: it is being
 * sent, is due already, or its endpoint is retired.
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
      returning endpoint_no
    ), chosen as materialized (
      -- The event's row is held, so that it is not purged under a delivery that comes back.
      select d.id from ended_deliveries d
      join endpoints n on n.no = d.endpoint_no and n.retired_at is null
      join events e on e.id = d.event_id
      where d.id = ${uuid}::uuid
      for key share of e
    ), ${sql.unsafe(RENEW_CHOSEN)}, changed as (
      select endpoint_no from hastened union all select endpoint_no from owed
    ), told as materialized (
      select pg_notify('bookme_webhooks', endpoint_no::text) from changed
    ), ${logged(sql, change)}
    select changed.endpoint_no from changed left join told on true`;
  return row?.endpoint_no;
}
