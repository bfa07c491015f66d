import type { Sql } from "postgres";
import { NO_UUID } from "../core/ids.ts";
import type { Database } from "./database.ts";
import { literal, texts, uuidLiteral } from "./arrays.ts";
import { CHANNEL, MAX_ANNOUNCED, noting } from "./changes.ts";
import type { Term } from "./claims.ts";
import { isOld, KEPT_MS, partitioned } from "./partitions.ts";

/** An event to be stored. */
export interface NewEvent {
  /** Made by `makeEventIds`. */
  readonly uuid: string;
  readonly type: string;
  readonly business: string | null;
  readonly subject: string | null;
  readonly confirmation: string | null;
  readonly test: boolean;
  readonly payload: string;
  /** The `traceparent` of its post, or null. */
  readonly trace: string | null;
}

/** Identifies repetitions of an event. */
export interface StoredKey {
  readonly key: string;
  /** SHA-256 (hex) of the bytes posted under it; null once they were erased. */
  readonly digest: string | null;
  readonly event_uuid: string;
  /** The number of the event's deliveries, which repetitions are answered with. */
  readonly deliveries: number;
}

/** A delivery of a new event. */
export interface NewDelivery {
  readonly uuid: string;
  readonly event_uuid: string;
  readonly endpoint_no: number;
  /** The wait before the first attempt, in milliseconds. */
  readonly wait_ms: number;
  /** Whether it is stored as claimed by this process already: `firstLease` is that claim. */
  readonly leased: boolean;
}

/** Businesses by subject, `appointment:apt_789`; null for a subject without a known one. */
export type Businesses = ReadonlyMap<string, string | null>;

/** A batch's view of its subjects. */
export interface SubjectBusinesses {
  /** Inherited by events: the batch is stored only if each is still the one last stored. */
  readonly inherited: Businesses;
  /** The business of each subject once the batch is stored. */
  readonly named: ReadonlyMap<string, string>;
}

/** Result of a batch: stored whole, or not at all. */
export type Stored =
  | "stored"
  /** A subject's business has changed since it was looked up: look them up again. */
  | "moved"
  /** The endpoints have changed since the batch was matched: match again. */
  | "stale"
  /** At least one key is known already, or was just being stored: look them up. */
  | "repeated";

/** PostgreSQL's unique_violation, and deadlock_detected: two batches with the same keys may deadlock. */
const SAME_KEYS = ["23505", "40P01"];

const NOTING = noting("streamed_until", "select id from owed", "select id, business from stored");

/** What a batch found. */
interface Found {
  readonly is_current: boolean;
  readonly is_settled: boolean;
}

/** Rows that are stored together with events. */
export interface StoredAlong {
  readonly keys?: readonly StoredKey[];
  readonly subjects?: SubjectBusinesses;
}

/**
 * Deliveries of a batch to one endpoint that are due in the same microsecond; the next ones are due a microsecond
 * later, long before the batch is committed. A claim begins at the due time of the last one claimed, and reads again
 * every delivery that shares it: with a thousand, claims cost a quarter more. Shared times make the index smaller:
 * with none shared, storing costs a tenth more.
 */
const DUE_TOGETHER = 16;

const NO_SUBJECTS: SubjectBusinesses = { inherited: new Map(), named: new Map() };

/** The SHA-256 of a key, an expression: half of it, which nobody finds twice, is enough. */
const hashOf = (key: string) => `substring(sha256(convert_to(${key}, 'UTF8')) for 16)`;

/**
 * Stores events, their deliveries, keys and the businesses of their subjects in one statement, and so in one
 * transaction, durable when it answers. All or none: with a stale revision, an inherited business that
 * is not the last stored, or a known key, nothing is stored. Notifies other processes of endpoints with
 * deliveries due that are not leased here.
 *
 * Inherits from every batch that was answered before this one began. If two concurrent batches name
 * different businesses for one subject, either may count as the last.
 */
export async function storeEvents(
  db: Database,
  events: readonly NewEvent[],
  deliveries: readonly NewDelivery[],
  revision: string,
  term: Term,
  { keys = [], subjects: { inherited, named } = NO_SUBJECTS }: StoredAlong = {},
): Promise<Stored> {
  // Sorted, so that two batches with the same subjects cannot deadlock.
  const subjects = [...named.keys()].sort();
  const waiting = [...new Set(deliveries.filter((d) => !d.leased).map((d) => d.endpoint_no))];
  const news = db.kind === "server" && waiting.length > 0 ? wakeUp(waiting) : "";
  const ids = events.map(({ uuid }) => uuid);
  // From 1. Deliveries name their events by it: a UUID takes PostgreSQL five times as long to read.
  const places = new Map(ids.map((uuid, index) => [uuid, index + 1]));
  try {
    const [found] = await partitioned(db.ingest, ids, () =>
      db.ingest<Found[]>`
      with found as materialized (
        select streamed_until, revision = ${revision} as is_current, not exists (
          select from unnest(
            string_to_array(${texts([...inherited.keys()])}, chr(30), ''),
            string_to_array(${texts([...inherited.values()])}, chr(30), '')
          ) as i (subject, business)
          where i.business is distinct from (
            select s.business from subjects s where s.key = i.subject)
        ) as is_settled
        from fleet
      ), gate as materialized (
        select ${uuidLiteral(ids)}::uuid[] as event_ids from found where is_current and is_settled
      ), stored as (
        insert into events
          (id, type, business, subject, confirmation, test, payload, trace, received_at)
        select e.*, now() from gate, unnest(
          gate.event_ids,
          string_to_array(${texts(events.map((e) => e.type))}, chr(30), ''),
          string_to_array(${texts(events.map((e) => e.business))}, chr(30), ''),
          string_to_array(${texts(events.map((e) => e.subject))}, chr(30), ''),
          string_to_array(${texts(events.map((e) => e.confirmation))}, chr(30), ''),
          ${literal(events.map((e) => e.test))}::boolean[],
          string_to_array(${texts(events.map((e) => e.payload))}, chr(30), ''),
          string_to_array(${texts(events.map((e) => e.trace))}, chr(30), '')
        ) as e
        returning id, business
      ), keyed as (
        insert into keys (hash, digest, event_id, deliveries)
        select ${
        db.ingest.unsafe(hashOf("k.key"))
      }, decode(k.digest, 'hex'), k.event_id, k.deliveries
        from gate, unnest(
          string_to_array(${texts(keys.map((k) => k.key))}, chr(30)),
          string_to_array(${texts(keys.map((k) => k.digest))}, chr(30)),
          ${uuidLiteral(keys.map((k) => k.event_uuid))}::uuid[],
          ${literal(keys.map((k) => k.deliveries))}::int[]
        ) as k (key, digest, event_id, deliveries)
      ), owed as (
        insert into pending_deliveries
          (id, event_id, endpoint_no, created_at, due_at, leased_until, leased_by, token)
        select d.id, gate.event_ids[d.place], d.endpoint_no, now(),
          now() + (d.place / ${DUE_TOGETHER}::int + coalesce(d.wait_ms, 0) * 1000) * interval '1 us',
          case when d.leased then now() + ${term.ms}::int * interval '1 ms' end,
          case when d.leased then ${term.holder}::int end, coalesce(d.leased::int, 0)
        from gate, unnest(
          ${uuidLiteral(deliveries.map((d) => d.uuid))}::uuid[],
          ${literal(deliveries.map((d) => places.get(d.event_uuid) ?? null))}::int[],
          ${literal(deliveries.map((d) => d.endpoint_no))}::int[],
          ${literal(deliveries.map((d) => d.wait_ms || null))}::bigint[],
          ${literal(deliveries.map((d) => d.leased || null))}::boolean[]
        ) as d (id, place, endpoint_no, wait_ms, leased)
        returning id
      ), named as (
        insert into subjects (key, business, seen_at)
        select n.subject, n.business, now() from gate, unnest(
          string_to_array(${texts(subjects)}, chr(30), ''),
          string_to_array(${
        texts(subjects.map((subject) => named.get(subject) ?? null))
      }, chr(30), '')
        ) as n (subject, business)
        -- Usually stored already: then no row is locked, so the next batch need not wait.
        where not exists (
          select from subjects s where s.key = n.subject and s.business = n.business
            and s.seen_at > now() - interval '1 day')
        on conflict (key) do update set business = excluded.business, seen_at = excluded.seen_at
      )
      select found.*, case when ${news} <> '' and exists (select from gate)
        then pg_notify(${CHANNEL}, ${news}) end,
        case when exists (select from gate) then ${db.ingest.unsafe(NOTING)} end
      from found`);
    if (found === undefined) throw new Error("The table fleet is empty");
    return !found.is_current ? "stale" : found.is_settled ? "stored" : "moved";
  } catch (error) {
    if (SAME_KEYS.includes((error as { code?: string }).code ?? "")) return "repeated";
    throw error;
  }
}

function wakeUp(endpoint_nos: readonly number[]): string {
  return endpoint_nos.length > MAX_ANNOUNCED ? "all" : endpoint_nos.join(",");
}

/** The businesses last stored for these subjects. */
export async function findBusinesses(
  sql: Sql,
  subjects: readonly string[],
): Promise<Map<string, string | null>> {
  const rows = await sql<{ subject: string; business: string | null }[]>`
    select k.subject, (select s.business from subjects s where s.key = k.subject) as business
    from unnest(string_to_array(${texts(subjects)}, chr(30), '')) as k (subject)`;
  return new Map(rows.map(({ subject, business }) => [subject, business]));
}

/** The keys among these that were stored earlier, with their first answers. The events may be gone. */
export async function findKeys(sql: Sql, keys: readonly string[]): Promise<StoredKey[]> {
  return await sql<StoredKey[]>`
    select a.key, encode(k.digest, 'hex') as digest, k.event_id as event_uuid, k.deliveries
    from unnest(string_to_array(${texts(keys)}, chr(30))) as a (key)
    join keys k on k.hash = ${sql.unsafe(hashOf("a.key"))}`;
}

/** Result of one step of a purge. */
export interface Purged {
  readonly purged: number;
  /** Where the next step begins; null after the last. */
  readonly position: string | null;
}

/**
 * Reads `limit` events after `position`, or from the first on, of old weeks that stay as a whole because
 * something of theirs is pending or has just ended, and of partitions that were made when events were kept
 * for longer, and span more than they would now. Removes those that are older than `age_ms`, with their
 * deliveries and attempts, unless one is pending or has ended within seven days.
 */
export async function purgeEvents(
  sql: Sql,
  age_ms: number,
  position: string | null,
  limit: number,
): Promise<Purged> {
  const kept = sql`interval '1 ms' * ${KEPT_MS}::bigint`;
  // All events from before then would be in partitions that are old.
  const outlived = sql`
    (now() - ${age_ms}::bigint * interval '1 ms' - span_of(${age_ms}::bigint))`;
  const [row] = await sql<Purged[]>`
    with week as materialized (
      select p.first_id, p.last_id, ended_since(p.first_id, p.last_id, now() - ${kept}) as is_fresh,
        case when ${isOld(sql, age_ms)} then p.last_id
          else least(p.last_id, first_id_at(${outlived})) end as until
      from partitions p
      where p.closed_at is null and (${isOld(sql, age_ms)} or time_of(p.first_id) < ${outlived})
        and p.last_id > ${position ?? NO_UUID}::uuid
      order by p.first_id limit 1
    ), looked as materialized (
      select e.id, w.is_fresh, e.received_at < now() - ${age_ms}::bigint * interval '1 ms' as is_old
      from week w cross join lateral (
        select id, received_at from events
        where id >= w.first_id and id < w.until and id > ${position ?? NO_UUID}::uuid
        order by id limit ${limit}
      ) e
    ), old as materialized (
      select e.id from events e where e.id = any(array(
        select l.id from looked l where l.is_old
          and not exists (
            select from pending_deliveries p where p.id between l.id and last_of(l.id))
          and not (l.is_fresh and exists (
            select from endpoints n join ended_deliveries d
              on d.endpoint_no = n.no and d.id = delivery_of(l.id, n.no)
            where d.ended_at > now() - ${kept}))))
        -- Bounds, or every partition is searched.
        and e.id >= (select first_id from week) and e.id < (select last_id from week)
      for update skip locked
    ), purged as materialized (
      -- Locked, and checked again: a delivery may have come back until then.
      select id from old where not is_pending(id)
    ), forgotten as (
      delete from attempts a using purged e where a.delivery_id between e.id and last_of(e.id)
        and a.delivery_id >= (select first_id from week) and a.delivery_id < (select last_id from week)
    ), owed as materialized (
      -- Apart, or the planner may compare each of them with each delivery of the week.
      select n.no as endpoint_no, delivery_of(e.id, n.no) as id from purged e cross join endpoints n
    ), ended as (
      delete from ended_deliveries d using owed o
      where d.endpoint_no = o.endpoint_no and d.id = o.id
        and d.id >= (select first_id from week) and d.id < (select last_id from week)
    ), gone as (
      delete from events e where e.id = any(array(select id from purged))
        and e.id >= (select first_id from week) and e.id < (select last_id from week)
      returning 1
    )
    select (select count(*) from gone)::int as purged,
      coalesce((select id from looked order by id offset ${limit - 1}::int limit 1),
        (select last_id from week)) as position`;
  if (row === undefined) throw new Error("The purge of events answered nothing");
  return row;
}

/**
 * Reads `limit` appointments after `position`, or from the first on. Forgets the businesses of those
 * without an event for `age_ms`. Services never end, so theirs are kept.
 */
export async function purgeSubjects(
  sql: Sql,
  age_ms: number,
  position: string | null,
  limit: number,
): Promise<Purged> {
  const [row] = await sql<Purged[]>`
    with looked as materialized (
      select key from subjects
      where key > ${position ?? "appointment:"} and key < 'appointment;' order by key limit ${limit}
    ), gone as (
      delete from subjects where key = any(array(select key from looked))
        and seen_at < now() - ${age_ms}::bigint * interval '1 ms'
      returning 1
    )
    select (select count(*) from gone)::int as purged,
      (select key from looked order by key offset ${limit - 1}::int limit 1) as position`;
  if (row === undefined) throw new Error("The purge of subjects answered nothing");
  return row;
}
