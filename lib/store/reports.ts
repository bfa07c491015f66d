import type { Sql } from "postgres";
import type { Outcome } from "../core/outcome.ts";
import type { Fragment } from "./changes.ts";

/** What a list of deliveries may be narrowed to. */
export interface DeliveryFilter {
  readonly status?: "pending" | "delivered" | "failed" | "cancelled" | undefined;
  /** Endpoint id. */
  readonly endpoint?: string | undefined;
  readonly type?: string | undefined;
  /** The outcome of the last attempt. */
  readonly reason?: string | undefined;
  readonly period: Period;
  /** Only deliveries with a smaller UUID: where the last page ended. */
  readonly before?: string | undefined;
  readonly limit: number;
}

/** Times, and bounds on the UUIDs that hold all rows of these times: indexes are on UUIDs only. */
export interface Period {
  /** At or after, ISO 8601. */
  readonly since?: string | undefined;
  /** Before, ISO 8601. */
  readonly until?: string | undefined;
  readonly first_uuid?: string | undefined;
  readonly last_uuid?: string | undefined;
}

/** A part of a list. */
export interface Page<Row> {
  readonly rows: readonly Row[];
  /** UUID that the next page comes before, or null where there is none. */
  readonly next: string | null;
}

/** A delivery as the lists show it. Times are the database's. */
export interface DeliveryRow {
  readonly uuid: string;
  readonly event_uuid: string;
  readonly endpoint_no: number;
  readonly endpoint: string;
  readonly type: string;
  readonly test: boolean;
  readonly status: "pending" | "delivered" | "failed" | "cancelled";
  readonly reason: string | null;
  readonly attempts: number;
  readonly created_at: Date;
  readonly ended_at: Date | null;
  /** When the next attempt is due; null for one that ended or is being sent. */
  readonly next_attempt_at: Date | null;
  readonly sending: boolean;
  readonly last_outcome: Outcome["outcome"] | null;
  readonly last_status: number | null;
  readonly last_attempt_at: Date | null;
  /** What the last attempt met, in words; null too where that attempt was purged. */
  readonly last_cause: string | null;
  readonly paused: boolean;
  readonly pause_reason: string | null;
  /** When the endpoint's rate limit lets the next attempt to it begin; null where none has begun. */
  readonly next_send_at: Date | null;
}

/**
 * Rows that one page looks at for what no index knows. A page that found too little among them is short,
 * and the next one goes on below: no list takes longer than that, however rare what it looks for.
 */
const DEPTH = 20_000;

/** Deliveries, newest first. */
export async function listDeliveries(
  sql: Sql,
  filter: DeliveryFilter,
): Promise<Page<DeliveryRow>> {
  const floor = await deliveryFloor(sql, filter);
  const which = floor === undefined ? sql`true` : sql`d.id >= ${floor}::uuid`;
  const rows = await select(sql, { ...filter, limit: filter.limit + 1 }, which);
  return pageOf(rows, filter.limit, floor);
}

function pageOf<Row extends { readonly uuid: string }>(
  rows: readonly Row[],
  limit: number,
  floor: string | undefined,
): Page<Row> {
  const page = rows.slice(0, limit);
  const next = rows.length > limit ? page.at(-1)?.uuid : floor;
  return { rows: page, next: next ?? null };
}

/** The UUID down to which a page of deliveries looks, where it must not look at all of them. */
async function deliveryFloor(sql: Sql, filter: DeliveryFilter): Promise<string | undefined> {
  const { type, reason } = filter;
  if (type === undefined && reason === undefined) return undefined;
  const { pending, ended } = halves(sql, { ...filter, type: undefined }, sql`true`);
  const [row] = await sql<{ floor: string }[]>`
    select floor from (
      (select d.id as floor from pending_deliveries d where ${pending}
        order by d.id desc offset ${DEPTH} limit 1)
      union all
      (select d.id from ended_deliveries d where ${ended}
        order by d.id desc offset ${DEPTH} limit 1)
    ) f order by floor desc limit 1`;
  return row?.floor;
}

/** One delivery, or undefined. */
export async function getDelivery(sql: Sql, uuid: string): Promise<DeliveryRow | undefined> {
  const [row] = await select(sql, { limit: 1, period: {} }, sql`d.id = ${uuid}::uuid`);
  return row;
}

/** The deliveries of one event. */
export async function deliveriesOf(sql: Sql, event_uuid: string): Promise<DeliveryRow[]> {
  return await select(
    sql,
    { limit: 10_000, period: {} },
    sql`d.id between ${event_uuid}::uuid and last_of(${event_uuid}::uuid)`,
  );
}

// Each half is found and cut off by its own index; the outer sort has at most twice the limit.
async function select(sql: Sql, filter: DeliveryFilter, which: Fragment): Promise<DeliveryRow[]> {
  const { limit } = filter;
  const { pending, ended } = halves(sql, filter, which);
  return await sql<DeliveryRow[]>`
    select d.*, n.id as endpoint, e.type, e.test, n.paused_at is not null as paused,
      n.pause_reason, nullif(n.next_send_at, '-infinity') as next_send_at, (
        select a.cause from attempts a where a.delivery_id = d.uuid and a.number = d.attempts
      ) as last_cause
    from (
      (select d.id as uuid, d.event_id as event_uuid, d.endpoint_no, 'pending' as status,
         d.cancel_reason as reason, d.attempts::int, d.created_at, null::timestamptz as ended_at,
         case when d.leased_until is null then d.due_at end as next_attempt_at,
         d.leased_until is not null as sending, d.last_outcome, d.last_status::int,
         d.last_attempt_at
       from pending_deliveries d where ${pending} order by d.id desc limit ${limit})
      union all
      (select d.id, d.event_id, d.endpoint_no, d.status, d.reason, d.attempts, d.created_at,
         d.ended_at, null, false, d.last_outcome, d.last_status, d.last_attempt_at
       from ended_deliveries d where ${ended} order by d.id desc limit ${limit})
    ) d
    join endpoints n on n.no = d.endpoint_no
    join events e on e.id = d.event_uuid
    order by d.uuid desc limit ${limit}`;
}

/** What a filter asks of pending and of ended deliveries. */
function halves(
  sql: Sql,
  filter: DeliveryFilter,
  which: Fragment,
): { pending: Fragment; ended: Fragment } {
  const { status, reason } = filter;
  const conditions = conditionsOf(sql, filter, which);
  // Written out, not as parameters: the indexes of what failed are partial.
  const happy = reason === undefined && (status === undefined || status === "delivered");
  const ended = all(sql, [
    conditions,
    ...(status === undefined
      ? []
      : [status === "failed" ? sql`d.status = 'failed'` : sql`d.status = ${status}`]),
    ...(happy ? [] : [sql`d.status <> 'delivered'`]),
  ]);
  return {
    pending: status === undefined || status === "pending" ? conditions : sql`false`,
    ended: status === "pending" ? sql`false` : ended,
  };
}

function conditionsOf(sql: Sql, filter: DeliveryFilter, which: Fragment): Fragment {
  const { endpoint, type, reason, before } = filter;
  const conditions = [which, ...periodOf(sql, filter.period, "d.id", "d.created_at")];
  if (endpoint !== undefined) {
    conditions.push(sql`d.endpoint_no = (select no from endpoints where id = ${endpoint})`);
  }
  if (type !== undefined) {
    conditions.push(
      sql`exists (select from events x where x.id = d.event_id and x.type = ${type})`,
    );
  }
  if (reason !== undefined) conditions.push(sql`d.last_outcome = ${reason}`);
  if (before !== undefined) conditions.push(sql`d.id < ${before}::uuid`);
  return all(sql, conditions);
}

function periodOf(sql: Sql, period: Period, id: string, time: string): Fragment[] {
  const { since, until, first_uuid, last_uuid } = period;
  const conditions: Fragment[] = [];
  if (since !== undefined) {
    conditions.push(sql`${sql.unsafe(time)} >= ${since}::text::timestamptz`);
  }
  if (until !== undefined) conditions.push(sql`${sql.unsafe(time)} < ${until}::text::timestamptz`);
  if (first_uuid !== undefined) conditions.push(sql`${sql.unsafe(id)} >= ${first_uuid}::uuid`);
  if (last_uuid !== undefined) conditions.push(sql`${sql.unsafe(id)} <= ${last_uuid}::uuid`);
  return conditions;
}

function all(sql: Sql, conditions: readonly Fragment[]): Fragment {
  return conditions.reduce((left, right) => sql`${left} and ${right}`);
}

/** An attempt with its request and its response. */
export interface AttemptRow {
  readonly number: number;
  readonly started_at: Date;
  readonly ended_at: Date;
  readonly duration_ms: number;
  readonly outcome: Outcome["outcome"];
  readonly status: number | null;
  readonly cause: string | null;
  readonly address: string | null;
  readonly url: string;
  /** Names of the endpoint's own request headers. */
  readonly header_names: readonly string[];
  readonly request_timestamp: string | null;
  readonly request_signature: string | null;
  readonly request_webhook_signature: string | null;
  readonly response_head: string | null;
  readonly response_body: Uint8Array | null;
  readonly response_truncated: boolean;
}

/** The attempts of a delivery, the first one first. */
export async function attemptsOf(sql: Sql, uuid: string): Promise<AttemptRow[]> {
  return await sql<AttemptRow[]>`
    select a.number, a.started_at, a.ended_at,
      (extract(epoch from a.ended_at - a.started_at) * 1000)::float8 as duration_ms,
      a.outcome, a.status, a.cause, a.address, v.url, v.headers as header_names,
      a.request_timestamp, a.request_signature, a.request_webhook_signature,
      a.response_head, a.response_body, a.response_truncated
    from attempts a
    join endpoint_versions v
      on v.endpoint_no = a.endpoint_no and v.version = a.endpoint_version
    where a.delivery_id = ${uuid}::uuid
    order by a.number`;
}

/** What a list of events may be narrowed to. */
export interface EventFilter {
  readonly type?: string | undefined;
  readonly business?: string | undefined;
  /** The event itself. */
  readonly uuid?: string | undefined;
  /** A confirmation number, or the id of a subject. */
  readonly text?: string | undefined;
  readonly period: Period;
  /** Only events with a smaller UUID: where the last page ended. */
  readonly before?: string | undefined;
  readonly limit: number;
}

/**
 * Events, newest first, without their payloads. A text that is a confirmation number is found however
 * old its events are; as the id of a subject it has no index and is looked for page by page.
 */
export async function listEvents(sql: Sql, filter: EventFilter): Promise<Page<EventSummary>> {
  const { type, business, uuid, text, before, limit } = filter;
  const quick = [sql`true`, ...periodOf(sql, filter.period, "e.id", "e.received_at")];
  if (uuid !== undefined) quick.push(sql`e.id = ${uuid}::uuid`);
  if (business !== undefined) quick.push(sql`e.business = ${business}`);
  if (before !== undefined) quick.push(sql`e.id < ${before}::uuid`);
  const is_number = text !== undefined && await isConfirmation(sql, text);
  if (is_number) quick.push(sql`e.confirmation = ${text}`);
  const slow: Fragment[] = [];
  if (type !== undefined) slow.push(sql`e.type = ${type}`);
  if (text !== undefined && !is_number) slow.push(sql`e.subject = ${text}`);
  const floor = slow.length === 0 ? undefined : await eventFloor(sql, all(sql, quick));
  const floored = floor === undefined ? slow : [...slow, sql`e.id >= ${floor}::uuid`];
  const rows = await sql<EventSummary[]>`
    select e.id as uuid, e.type, e.business, e.subject, e.confirmation, e.test, e.received_at
    from events e where ${all(sql, [...quick, ...floored])} order by e.id desc limit ${limit + 1}`;
  return pageOf(rows, limit, floor);
}

async function isConfirmation(sql: Sql, text: string): Promise<boolean> {
  const rows = await sql`select from events where confirmation = ${text} limit 1`;
  return rows.length > 0;
}

async function eventFloor(sql: Sql, conditions: Fragment): Promise<string | undefined> {
  const [row] = await sql<{ floor: string }[]>`
    select e.id as floor from events e where ${conditions}
    order by e.id desc offset ${DEPTH} limit 1`;
  return row?.floor;
}

/** An event as the lists show it. */
export type EventSummary = Omit<EventRow, "payload">;

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

/** One event, or undefined. */
export async function getEvent(sql: Sql, uuid: string): Promise<EventRow | undefined> {
  const [row] = await sql<EventRow[]>`
    select id as uuid, type, business, subject, confirmation, test, received_at, payload
    from events where id = ${uuid}::uuid`;
  return row;
}
