import type { Sql } from "postgres";
import type { Scope } from "../../core/scope.ts";
import type { Fragment } from "../changes.ts";
import { eventInScope } from "../scope.ts";
import { all, DEPTH, type Page, pageOf, type Paging, type Period, withinPeriod } from "./page.ts";

/** Narrows a list of events. */
export interface EventFilter extends Paging {
  readonly type?: string | undefined;
  readonly business?: string | undefined;
  /** The event itself. */
  readonly uuid?: string | undefined;
  /** A confirmation number, or the id of a subject. */
  readonly text?: string | undefined;
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
 * Events, newest first, without their payloads. A text that is a confirmation number is found however
 * old its events are; as the id of a subject it has no index and is looked for page by page.
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
  if (uuid !== undefined) quick.push(sql`e.id = ${uuid}::uuid`);
  if (business !== undefined) quick.push(sql`e.business = ${business}`);
  if (before !== undefined) quick.push(sql`e.id < ${before}::uuid`);
  const is_number = text !== undefined && await isConfirmation(sql, scope, text);
  if (is_number) quick.push(sql`e.confirmation = ${text}`);
  const slow: Fragment[] = [];
  if (type !== undefined) slow.push(sql`e.type = ${type}`);
  if (text !== undefined && !is_number) slow.push(sql`e.subject = ${text}`);
  const floor = slow.length === 0 ? undefined : await eventFloor(sql, all(sql, quick));
  const floored = floor === undefined ? slow : [...slow, sql`e.id >= ${floor}::uuid`];
  const rows = await sql<EventSummary[]>`
    select e.id as uuid, e.type, e.business, e.subject, e.confirmation, e.test, e.received_at
    from events e where ${all(sql, [...quick, ...floored])} order by e.id desc limit ${limit + 1}`;
  return pageOf(rows, limit, (row) => row.uuid, floor);
}

async function isConfirmation(sql: Sql, scope: Scope, text: string): Promise<boolean> {
  const rows = await sql`
    select from events e where e.confirmation = ${text} ${eventInScope(sql, scope)} limit 1`;
  return rows.length > 0;
}

async function eventFloor(sql: Sql, conditions: Fragment): Promise<string | undefined> {
  const [row] = await sql<{ floor: string }[]>`
    select e.id as floor from events e where ${conditions}
    order by e.id desc offset ${DEPTH} limit 1`;
  return row?.floor;
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
