import type { Sql } from "postgres";
import { NO_UUID } from "../core/ids.ts";
import { texts } from "./arrays.ts";
import { type Change, type Fragment, logged } from "./changes.ts";
import { CANCEL_CHOSEN, ENDED, type Ended, type Endings } from "./fragments.ts";

/** What an erasure looks for. */
export type ErasureKind = "event" | "subject" | "containing";

/** An erasure to be stored. */
export interface NewErasure {
  readonly uuid: string;
  readonly kind: ErasureKind;
  readonly dry_run: boolean;
  /** What it looks for, sealed, as hexadecimal digits. */
  readonly sealed: string;
  /** The event, if it looks for one. */
  readonly event_uuid: string | null;
}

/** How long after an erasure began an id may lie that was made before, by another daemon's clock. */
const SLACK = "interval '1 minute'";

/** Starts an erasure; any daemon that has the key carries it out. */
export async function createErasure(sql: Sql, erasure: NewErasure, change: Change): Promise<void> {
  const { uuid, kind, dry_run, sealed, event_uuid } = erasure;
  await sql`
    with bounds as (
      select coalesce(${event_uuid}::uuid, (
          -- Below the first event.
          select first_id_at(time_of(e.id) - interval '1 ms') from events e order by e.id limit 1), ${NO_UUID}::uuid) as first,
        coalesce(${event_uuid}::uuid, first_id_at(now() + ${sql.unsafe(SLACK)})) as last
    ), changed as (
      insert into erasures (id, created_by, kind, dry_run, sealed, first_id, last_id, position)
      select ${uuid}::uuid, ${change.actor.name}, ${kind}, ${dry_run},
        decode(${sealed}, 'hex'), b.first, b.last, b.first
      from bounds b
      returning id
    ), ${logged(sql, change)}
    select 1 from changed`;
}

/** The parts of an erasure, in their order. */
export type ErasurePhase = "events" | "settling" | "subjects" | "keys";

/** A batch of an erasure that this daemon has the turn for. */
export interface Turn {
  readonly uuid: string;
  readonly turn: number;
  readonly kind: ErasureKind;
  readonly dry_run: boolean;
  /** As hexadecimal digits. */
  readonly sealed: string;
  readonly last_uuid: string;
  readonly phase: ErasurePhase;
  readonly position: string;
  readonly matched: number;
  /** Events that still have something. */
  readonly settling: number;
}

/** How long a daemon has for a batch, before another one takes it. */
const TURN = "interval '30 s'";
/** For so long, nobody had the key of an erasure that fails. */
const UNOPENED = "interval '1 hour'";

/** Takes the next batch of an erasure that is due and sealed under one of these keys. */
export async function takeTurn(sql: Sql, key_ids: readonly string[]): Promise<Turn | undefined> {
  const [turn] = await sql<Turn[]>`
    with due as materialized (
      select id from erasures
      where state = 'running' and next_batch_at <= now()
        and encode(substring(sealed from 2 for 4), 'hex')
          = any(string_to_array(${texts(key_ids)}, chr(30)))
      order by next_batch_at limit 1 for update skip locked
    )
    update erasures e set turn = turn + 1, next_batch_at = now() + ${sql.unsafe(TURN)}
    from due where e.id = due.id
    returning e.id as uuid, turn, kind, dry_run, encode(sealed, 'hex') as sealed, last_id as last_uuid,
      phase, position, matched::float8 as matched, jsonb_array_length(settling) as settling`;
  return turn;
}

/** Ends the erasures for which no daemon has had the key for an hour. Returns how many. */
export async function failUnopened(sql: Sql): Promise<number> {
  const rows = await sql`
    update erasures set state = 'failed', ended_at = now(), sealed = null
    where state = 'running' and next_batch_at < now() - ${sql.unsafe(UNOPENED)}
    returning 1`;
  return rows.length;
}

/** A piece of an erasure's way along the events. */
export interface Piece {
  /** Events looked at. */
  readonly looked: number;
  /** The last of them; null if there is none. */
  readonly position: string | null;
  /** Whether the end was reached. */
  readonly is_last: boolean;
}

/** The next events of an erasure that looks for one, or for those of a subject: all of them match. */
export async function findEvents(
  sql: Sql,
  { uuid, kind, position, last_uuid }: Turn,
  subject: string,
  limit: number,
): Promise<Piece & { readonly found: readonly string[] }> {
  const which = kind === "event" ? sql`e.id = ${last_uuid}::uuid` : sql`e.id = any(array(
    select id from subjected where id > ${position}::uuid and id <= ${last_uuid}::uuid
    order by id limit ${limit}))`;
  const [row] = await sql<(Piece & { readonly found: readonly string[] })[]>`
    with subjected as materialized (
      -- Apart, or the planner may walk along all events to have them in order.
      select id from events where subject = ${subject}
    ), looked as materialized (
      select e.id from events e, erasures r
      where r.id = ${uuid}::uuid and ${which} and e.received_at <= r.created_at
    )
    select count(*)::int as looked, coalesce(json_agg(id order by id), '[]') as found,
      (select id from looked order by id desc limit 1) as position,
      ${kind === "event"} or count(*) < ${limit}::int as is_last
    from looked`;
  if (row === undefined) throw new Error("The search for events answered nothing");
  return row;
}

/** The texts of one event, or of one attempt of its deliveries. */
export interface Content {
  readonly event_uuid: string;
  readonly payload: string | null;
  readonly confirmation: string | null;
  readonly subject: string | null;
  readonly business: string | null;
  readonly head: string | null;
  readonly body: Uint8Array | null;
  readonly truncated: boolean | null;
  readonly cause: string | null;
}

/** Most characters and bytes of a piece, unless one event alone has more. */
const MAX_PIECE_BYTES = 1_000_000;

/** The next events of an erasure with everything that a text can be in: at most `limit` of them. */
export async function readContents(
  sql: Sql,
  { uuid, position, last_uuid }: Turn,
  limit: number,
): Promise<Piece & { readonly contents: readonly Content[] }> {
  const [piece] = await sql<Piece[]>`
    with looked as materialized (
      select e.id, octet_length(e.payload) as bytes from events e
      where e.id > ${position}::uuid and e.id <= ${last_uuid}::uuid order by e.id limit ${limit}
    ), ${bounds(sql, sql`looked`)}, sizes as (
      select id, bytes from looked
      union all
      select event_of(t.id), t.bytes from ${told(sql, sql`${sql.unsafe(SIZE)} as bytes`, limit)} t
    ), running as (
      select id, sum(sum(bytes)) over (order by id) - coalesce(sum(bytes), 0) as before
      from sizes group by id
    ), taken as materialized (
      select id from running where coalesce(before, 0) < ${MAX_PIECE_BYTES}
    )
    select count(*)::int as looked, (select id from taken order by id desc limit 1) as position,
      count(*) < ${limit}::int and count(*) = (select count(*) from looked) as is_last
    from taken`;
  if (piece === undefined) throw new Error("The measuring of events answered nothing");
  const contents = piece.position === null ? [] : await sql<Content[]>`
    with looked as materialized (
      select e.* from events e, erasures r
      where e.id > ${position}::uuid and e.id <= ${piece.position}::uuid
        and r.id = ${uuid}::uuid and e.received_at <= r.created_at
    ), ${bounds(sql, sql`looked`)}
    select id as event_uuid, payload, confirmation, subject, business, null as head, null::bytea as body,
      null::boolean as truncated, null as cause
    from looked
    union all
    select event_of(t.id), null, null, null, null, t.response_head, t.response_body,
      t.response_truncated, t.cause
    from ${told(sql, sql`response_head, response_body, response_truncated, cause`, limit)} t
    where ${sql.unsafe(TELLS)} and event_of(t.id) in (select id from looked)`;
  return { ...piece, contents };
}

const SIZE = `coalesce(octet_length(response_head), 0) + coalesce(octet_length(response_body), 0)
  + coalesce(octet_length(cause), 0)`;
/** Whether an attempt has anything that a receiver can have written. */
const TELLS = "num_nonnulls(response_head, response_body, cause) > 0";

/** The CTE `bounds`: the ids that the events in `rows` and their deliveries lie between. */
function bounds(sql: Sql, rows: Fragment): Fragment {
  return sql`bounds as materialized (
      select (select id from ${rows} order by id limit 1) as first,
        last_of((select id from ${rows} order by id desc limit 1)) as last
    )`;
}

/**
 * A table expression: these columns of all attempts within `bounds` that tell something, and their deliveries.
 * By index, in its order: the planner cannot know how little lies between the bounds. An event has one delivery
 * for each endpoint, so an endpoint has at most `limit` there.
 */
function told(sql: Sql, columns: Fragment, limit: number): Fragment {
  return sql`(
      select x.* from bounds b cross join endpoints n cross join lateral (
        select d.id, ${columns} from ended_deliveries d
        where d.endpoint_no = n.no and d.id between b.first and b.last
        order by d.id limit ${limit}
      ) x
      union all
      select x.* from bounds b cross join lateral (
        select a.delivery_id, ${columns} from attempts a
        where a.delivery_id between b.first and b.last
        order by a.delivery_id, a.number offset 0
      ) x
    )`;
}

/** An event to be erased, and whether its subject and its business go too. */
export interface Erased {
  readonly id: string;
  readonly subject: boolean;
  readonly business: boolean;
}

/** Where an erasure is after a batch. */
export interface Advance {
  readonly phase: ErasurePhase;
  /** Left out, it stays. */
  readonly position?: string;
  readonly scanned?: number;
  readonly matched?: number;
  /** Events of the batch that are to be erased. */
  readonly erased?: readonly Erased[];
  /** Until the next batch. */
  readonly pause_ms: number;
}

/** Ends a batch. Nothing happens if another daemon has the turn by now. */
export async function advance(
  sql: Sql,
  { uuid, turn }: Turn,
  { phase, position, scanned = 0, matched = 0, erased = [], pause_ms }: Advance,
): Promise<void> {
  await sql`
    update erasures set phase = ${phase}, position = coalesce(${position ?? null}, position),
      scanned = scanned + ${scanned}::int, matched = matched + ${matched}::int,
      settling = settling || ${JSON.stringify(erased)}::text::jsonb,
      next_batch_at = now() + ${pause_ms}::float8 * interval '1 ms'
    where id = ${uuid}::uuid and turn = ${turn}::int and state = 'running'`;
}

/** Ends an erasure, with its counts in the audit log. Nothing happens if another daemon has the turn by now. */
export async function finishErasure(
  sql: Sql,
  { uuid, turn }: Turn,
  change: Change,
): Promise<void> {
  await sql`
    with changed as (
      update erasures set state = 'done', ended_at = now(), sealed = null
      where id = ${uuid}::uuid and turn = ${turn}::int and state = 'running'
      returning kind, scanned, matched, attempts, cancelled
    ), ${logged(sql, change, "to_jsonb(changed)")}
    select 1 from changed`;
}

/** The event's columns are as an erasure leaves them. */
const IS_BLANK = `e.erased_at is not null and e.payload is null and e.confirmation is null
  and not (i.subject and e.subject is not null) and not (i.business and e.business is not null)`;

/** Events that one statement settles. */
const SETTLED_AT_ONCE = 500;

/**
 * Removes what the events found still have, in steps that other statements cannot fall between. First an
 * event loses its payload, and what is pending of it is cancelled; from then on no delivery comes back. Once
 * nothing is pending any more, its attempts lose what came back, and it is forgotten. Waits for no lock:
 * what another statement holds, or an attempt under way, is left for later. Returns what it cancelled.
 */
export async function settle(sql: Sql, { uuid, turn }: Turn): Promise<readonly Ended[]> {
  const [row] = await sql<Pick<Endings, "ended">[]>`
    with erasure as materialized (
      select settling from erasures
      where id = ${uuid}::uuid and turn = ${turn}::int and state = 'running' for update
    ), items as materialized (
      select i.* from erasure r
      cross join jsonb_to_recordset(r.settling) as i (id uuid, subject boolean, business boolean)
    ), item as materialized (
      select * from items order by id limit ${SETTLED_AT_ONCE}
    ), ${bounds(sql, sql`item`)}, found as materialized (
      -- One by one, as below: any number of other events may lie between them.
      select i.*, e.is_blank,
        exists (select from pending_deliveries p where p.id between i.id and last_of(i.id)) as is_pending
      from item i cross join lateral (
        select ${sql.unsafe(IS_BLANK)} as is_blank from events e where e.id = i.id limit 1) e
    ), ${sql.unsafe(BLANK_EVENTS)}, ${sql.unsafe(CANCEL_CHOSEN)}, quiet as materialized (
      -- Locked, or a purge of the same event takes its rows in another order.
      select f.id from found f cross join lateral (
        select from events e where e.id = f.id for update skip locked) e
      where f.is_blank and not f.is_pending
    ), answers as materialized (
      select sum(blank_answers(id)) as count from quiet
    )
    update erasures r set
      settling = coalesce((
        -- An event that is gone has taken its deliveries along.
        select jsonb_agg(to_jsonb(i)) from items i
        where i.id not in (select id from item)
          or i.id in (select id from found except select id from quiet)), '[]'),
      attempts = r.attempts + coalesce((select count from answers), 0),
      cancelled = r.cancelled + (select count(*) from chosen)
    where r.id = ${uuid}::uuid and exists (select from erasure)
    returning ${sql.unsafe(ENDED)} as ended`;
  return row?.ended ?? [];
}

/** The CTE `blanked`: the events in `found` lose their payloads; and `chosen`, what is cancelled of them. */
const BLANK_EVENTS = `
  locked as materialized (
    select e.id, f.subject, f.business from found f cross join lateral (
      select e.id from events e where e.id = f.id for update skip locked) e
    where not f.is_blank
  ), unended as materialized (
    select p.id, l.id as event_id, p.leased_until is not null as leased,
      p.cancel_reason is null as is_owed
    from locked l join pending_deliveries p on p.id between l.id and last_of(l.id)
    for update of p skip locked
  ), ready as materialized (
    -- With all of its deliveries locked: some may have come back, or be held by others.
    select l.* from locked l
    where pending_count(l.id) = (select count(*) from unended u where u.event_id = l.id)
  ), chosen as materialized (
    select id, leased, 'erased' as reason from unended
    where is_owed and event_id in (select id from ready)
  ), blanked as (
    update events e set payload = null, erased_at = coalesce(e.erased_at, now()), confirmation = null,
      subject = case when r.subject then null else e.subject end,
      business = case when r.business then null else e.business end
    from ready r where e.id = r.id
      -- Bounds, or every partition is searched.
      and e.id between (select first from bounds) and (select last from bounds)
  ), unnamed as (
    -- Streams can read it for some minutes more.
    update changes c set businesses = array(
      select case when exists (select from ready r where r.id = n.id and r.business) then null
        else n.business end
      from unnest(c.events, c.businesses) with ordinality as n (id, business, place) order by n.place)
    where exists (select from ready r where r.business)
      and c.events && array(select r.id from ready r where r.business)
  )`;

/** A stored business of an appointment or a service. */
export interface NamedSubject {
  readonly key: string;
  readonly business: string;
}

/** The next `limit` stored businesses after a key. */
export async function readSubjects(
  sql: Sql,
  after: string,
  limit: number,
): Promise<NamedSubject[]> {
  return await sql<NamedSubject[]>`
    select key, business from subjects where key > ${after} order by key limit ${limit}`;
}

/** Forgets the businesses of these appointments and services. */
export async function forgetSubjects(sql: Sql, keys: readonly string[]): Promise<void> {
  await sql`
    delete from subjects where key = any(string_to_array(${texts(keys)}, chr(30)))`;
}

/**
 * Forgets what was posted under the keys in `count` blocks of their table, from number `first` on, if it was
 * erased. By blocks, because an index on their events would cost each event that is stored.
 */
export async function forgetDigests(
  sql: Sql,
  { uuid }: Turn,
  first: number,
  count: number,
): Promise<void> {
  await sql`
    update keys k set digest = null from erasures r
    where r.id = ${uuid}::uuid
      and k.ctid >= format('(%s,0)', ${first}::int)::tid
      and k.ctid < format('(%s,0)', ${first + count}::int)::tid
      and k.digest is not null and k.event_id between r.first_id and r.last_id
      and (select e.erased_at from events e where e.id = k.event_id) is not null`;
}
