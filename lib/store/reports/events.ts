import type { Sql } from "postgres";
import type { Scope } from "../../core/scope.ts";
import type { Fragment } from "../changes.ts";
import { eventInScope } from "../scope.ts";
import { all, DEPTH, type Page, pageOf, type Paging, type Period, withinPeriod } from "./page.ts";

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
  readonly payload: string;
}

/** An event as the lists show it. */
export type EventSummary = Omit<EventRow, "payload">;

/**
 * Events, newest first, without their payloads. Finds a text that is an event's id or a confirmation
 * number, or both, however old the events are. Subjects have no index: they are searched page by page,
 * for a text that is neither.
 */
export async function listEvents(
  sql: Sql,
  scope: Scope,
  filter: EventFilter,
): Promise<Page<EventSummary>> {
  const { type, business, uuid, text, before, limit } = filter;
  const quick = [
    sql`true ${eventInScope(sql, scope)}`,
    ...withinPeriod(sql, filter.period, "e.id", "e.received_at"),
  ];
  if (business !== undefined) quick.push(sql`e.business = ${business}`);
  if (before !== undefined) quick.push(sql`e.id < ${before}::uuid`);
  const found = text === undefined ? undefined : await findNamed(sql, scope, text, uuid);
  const named = namedBy(sql, found, text, uuid);
  if (named !== undefined) quick.push(named);
  const slow: Fragment[] = [];
  if (type !== undefined) slow.push(sql`e.type = ${type}`);
  if (text !== undefined && named === undefined) slow.push(sql`e.subject = ${text}`);
  const floor = slow.length === 0 ? undefined : await eventFloor(sql, all(sql, quick));
  const floored = floor === undefined ? slow : [...slow, sql`e.id >= ${floor}::uuid`];
  const rows = await sql<EventSummary[]>`
    select e.id as uuid, e.type, e.business, e.subject, e.confirmation, e.test, e.received_at
    from events e where ${all(sql, [...quick, ...floored])} order by e.id desc limit ${limit + 1}`;
  return pageOf(rows, limit, (row) => row.uuid, floor);
}

/** What a text names: an event by its id, events by their confirmation number, or both. */
interface Named {
  readonly is_id: boolean;
  readonly is_number: boolean;
}

async function findNamed(
  sql: Sql,
  scope: Scope,
  text: string,
  uuid: string | undefined,
): Promise<Named | undefined> {
  const by_id = uuid === undefined ? sql`false` : sql`e.id = ${uuid}::uuid`;
  const [found] = await sql<Named[]>`
    select exists (
        select from events e where ${by_id} ${eventInScope(sql, scope)}) as is_id,
      exists (select from events e where e.confirmation = ${text} ${eventInScope(sql, scope)})
        as is_number`;
  return found;
}

function namedBy(
  sql: Sql,
  found: Named | undefined,
  text: string | undefined,
  uuid: string | undefined,
): Fragment | undefined {
  if (found === undefined || text === undefined) return undefined;
  const { is_id, is_number } = found;
  // Two look-ups by index: an `or` could make one long scan of them.
  if (is_id && is_number && uuid !== undefined) {
    return sql`e.id in (
      select ${uuid}::uuid union select c.id from events c where c.confirmation = ${text})`;
  }
  if (is_id && uuid !== undefined) return sql`e.id = ${uuid}::uuid`;
  return is_number ? sql`e.confirmation = ${text}` : undefined;
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

/**
 * Confirmation numbers and subjects of the newest events, as many as one page reads, that have a half in
 * common with the text or contain it, whatever the case: a text with one slip has one half right.
 */
export async function similarNames(sql: Sql, scope: Scope, text: string): Promise<NamedEvent[]> {
  return await sql<NamedEvent[]>`
    with asked as (
      select lower(${text}) as text, greatest(2, length(${text}) / 2)::int as half
    )
    select t.text, (array_agg(t.id order by t.id desc))[1] as uuid from asked a, (
      select e.id, n.text from (
        select e.id, e.confirmation, e.subject from events e
        where true ${eventInScope(sql, scope)} order by e.id desc limit ${DEPTH}
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
      e.payload
    from events e where e.id = ${uuid}::uuid ${eventInScope(sql, scope)}`;
  return row;
}
