import type { Sql } from "postgres";
import type { Scope } from "../../core/scope.ts";
import { uuidLiteral } from "../arrays.ts";
import type { Fragment } from "../changes.ts";
import { eventInScope } from "../scope.ts";
import {
  all,
  type Bounded,
  boundedOf,
  MAX_FOUND,
  type Page,
  pageOf,
  type Paging,
  type Period,
  withinPeriod,
} from "./page.ts";

/**
 * Events that one page reads in search of what no index finds. A page that found too little among them is
 * short, and the next one continues below: no list takes longer than that, however rare a match.
 */
const DEPTH = 10_000;

/** Narrows a list of events. */
export interface EventFilter extends Paging {
  readonly type?: string | undefined;
  readonly business?: string | undefined;
  /** An event's id, a confirmation number, or the id of a subject. */
  readonly text?: string | undefined;
  /** The id's UUID, if the text looks like one. */
  readonly uuid?: string | undefined;
  readonly period: Period;
}

/** An event as it was posted. */
export interface EventRow {
  readonly uuid: string;
  readonly type: string;
  readonly business: string | null;
  readonly subject: string | null;
  readonly confirmation: string | null;
  readonly test: boolean;
  readonly received_at: Date;
  /** Null if it is gone: erased, or older than `retention.payloads`. */
  readonly payload: string | null;
  readonly erased_at: Date | null;
}

/** An event as the lists show it. */
export type EventSummary = Omit<EventRow, "payload" | "erased_at">;

/**
 * Events, newest first, without their payloads. Finds a text that is an event's id, a confirmation number or
 * a subject, however old the events are.
 */
export async function listEvents(
  sql: Sql,
  scope: Scope,
  filter: EventFilter,
): Promise<Page<EventSummary>> {
  const { limit } = filter;
  const { which, floor } = await searched(sql, scope, filter);
  const rows = await sql<EventSummary[]>`
    select e.id as uuid, e.type, e.business, e.subject, e.confirmation, e.test, e.received_at
    from events e where ${which} order by e.id desc limit ${limit + 1}`;
  return pageOf(rows, limit, (row) => row.uuid, floor);
}

/** Those of these events that are still there, the newest first. */
export async function eventsById(
  sql: Sql,
  scope: Scope,
  uuids: readonly string[],
): Promise<EventSummary[]> {
  return await sql<EventSummary[]>`
    select e.id as uuid, e.type, e.business, e.subject, e.confirmation, e.test, e.received_at
    from unnest(${uuidLiteral(uuids)}::uuid[]) as u (id)
    -- One by one, or every partition is searched.
    cross join lateral (select * from events e where e.id = u.id limit 1) e
    where true ${eventInScope(sql, scope)} order by e.id desc`;
}

/** Counts the events that match, up to `MAX_FOUND`, without regard to pages. */
export async function countEvents(sql: Sql, scope: Scope, filter: EventFilter): Promise<Bounded> {
  const { which, floor } = await searched(sql, scope, { ...filter, before: undefined });
  const [row] = await sql<{ count: number }[]>`
    select count(*)::int from (
      select from events e where ${which} order by e.id desc limit ${MAX_FOUND + 1}) found`;
  return boundedOf({ count: row?.count ?? 0, is_cut: floor !== undefined });
}

/** The condition on events that match, and the UUID down to which it looks; undefined if to the end. */
async function searched(
  sql: Sql,
  scope: Scope,
  { type, business, uuid, text, before, period }: EventFilter,
): Promise<{ readonly which: Fragment; readonly floor: string | undefined }> {
  const quick = [
    sql`true ${eventInScope(sql, scope)}`,
    ...withinPeriod(sql, period, "e.id", "e.received_at"),
  ];
  if (business !== undefined) quick.push(sql`e.business = ${business}`);
  if (before !== undefined) quick.push(sql`e.id < ${before}::uuid`);
  if (text !== undefined) quick.push((await namedBy(sql, scope, text, uuid)).which);
  if (type === undefined) return { which: all(sql, quick), floor: undefined };
  const floor = await eventFloor(sql, all(sql, quick));
  const floored = floor === undefined ? quick : [...quick, sql`e.id >= ${floor}::uuid`];
  return { which: all(sql, [...floored, sql`e.type = ${type}`]), floor };
}

/** The condition on events that a text names. In an object: a fragment that is awaited runs. */
async function namedBy(
  sql: Sql,
  scope: Scope,
  text: string,
  uuid: string | undefined,
): Promise<{ readonly which: Fragment }> {
  const ways = [
    ...(uuid === undefined ? [] : [sql`e.id = ${uuid}::uuid`]),
    sql`e.confirmation = ${text}`,
    sql`e.subject = ${text}`,
  ];
  const asked = ways.map((way, n) =>
    sql`${n === 0 ? sql`` : sql`,`}
      exists (select from events e where ${way} ${eventInScope(sql, scope)})`
  );
  const [row] = await sql<{ found: boolean[] }[]>`select json_build_array(${asked}) as found`;
  const [first, ...more] = ways.filter((_, n) => row?.found[n] === true);
  if (first === undefined) return { which: sql`false` };
  if (more.length === 0) return { which: first };
  // A look-up by each index: an `or` could make one long scan of them.
  const others = more.map((way) => sql`union select e.id from events e where ${way}`);
  return { which: sql`e.id in (select e.id from events e where ${first} ${others})` };
}

async function eventFloor(sql: Sql, conditions: Fragment): Promise<string | undefined> {
  const [row] = await sql<{ floor: string }[]>`
    select e.id as floor from events e where ${conditions}
    order by e.id desc offset ${DEPTH} limit 1`;
  return row?.floor;
}

/** A confirmation number or subject, and the newest event that has it. */
export interface NamedEvent {
  readonly text: string;
  readonly uuid: string;
}

const MAX_SIMILAR = 1_000;
/** Events that are read for them. */
const SIMILAR_DEPTH = 4_000;

/**
 * Confirmation numbers and subjects of the newest events that have a half in common with the text or contain
 * it, whatever the case: a text with one slip has one half right.
 */
export async function similarNames(sql: Sql, scope: Scope, text: string): Promise<NamedEvent[]> {
  return await sql<NamedEvent[]>`
    with asked as (
      select lower(${text}) as text, greatest(2, length(${text}) / 2)::int as half
    )
    select t.text, (array_agg(t.id order by t.id desc))[1] as uuid from asked a, (
      select e.id, n.text from (
        select e.id, e.confirmation, e.subject from events e
        where true ${eventInScope(sql, scope)} order by e.id desc limit ${SIMILAR_DEPTH}
      ) e, lateral (values (e.confirmation), (e.subject)) as n (text)
    ) t
    where left(lower(t.text), a.half) = left(a.text, a.half)
      or right(lower(t.text), a.half) = right(a.text, a.half)
      or position(a.text in lower(t.text)) > 0
      or (length(t.text) > 3 and position(lower(t.text) in a.text) > 0)
    group by t.text order by 2 desc limit ${MAX_SIMILAR}`;
}

/** Most events that are counted. */
export const MAX_EVENTS_COUNTED = 10_000;

/** Counts the events of a period without a known business, test events excepted. */
export async function countWithoutBusiness(
  sql: Sql,
  scope: Scope,
  period: Period,
): Promise<number> {
  const conditions = [
    sql`e.business is null and not e.test ${eventInScope(sql, scope)}`,
    ...withinPeriod(sql, period, "e.id", "e.received_at"),
  ];
  const [row] = await sql<{ count: number }[]>`
    select count(*)::int from (
      select from events e where ${all(sql, conditions)} limit ${MAX_EVENTS_COUNTED}) found`;
  return row?.count ?? 0;
}

/** One event, or undefined. */
export async function getEvent(
  sql: Sql,
  scope: Scope,
  uuid: string,
): Promise<EventRow | undefined> {
  const [row] = await sql<EventRow[]>`
    select e.id as uuid, e.type, e.business, e.subject, e.confirmation, e.test, e.received_at,
      e.payload, e.erased_at
    from events e where e.id = ${uuid}::uuid ${eventInScope(sql, scope)}`;
  return row;
}

/** An event's payload, and that with which its booking began. */
export interface PayloadRow {
  readonly uuid: string;
  readonly payload: string | null;
  /** Null for events of other types. */
  readonly created: string | null;
}

/** Longer payloads are not read for a list, in bytes. */
const MAX_LISTED_PAYLOAD = 65_536;

/** The payloads of these events, as far as they are there and short. */
export async function payloadsOf(
  sql: Sql,
  scope: Scope,
  uuids: readonly string[],
): Promise<PayloadRow[]> {
  const short = (of: string) =>
    sql.unsafe(
      `case when octet_length(${of}.payload) <= ${MAX_LISTED_PAYLOAD} then ${of}.payload end`,
    );
  return await sql<PayloadRow[]>`
    select e.id as uuid, ${
    short("e")
  } as payload, case when e.type like 'booking.%' and e.type <> 'booking.created' then (
        -- All of one subject, which are few: ordered with a limit, it might walk all events there are.
        select (array_agg(${short("b")} order by b.id))[1] from events b
        where b.subject = e.subject and b.type = 'booking.created'
          and b.business is not distinct from e.business
      ) end as created
    from unnest(${uuidLiteral(uuids)}::uuid[]) as u (id)
    -- One by one, or every partition is searched.
    cross join lateral (select * from events e where e.id = u.id limit 1) e
    where true ${eventInScope(sql, scope)}`;
}
