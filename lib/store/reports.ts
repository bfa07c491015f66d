import type { PendingQuery, Row, Sql } from "postgres";

/** What a list of deliveries may be narrowed to. */
export interface DeliveryFilter {
  readonly status?: "pending" | "delivered" | "failed" | "cancelled" | undefined;
  /** Endpoint id. */
  readonly endpoint?: string | undefined;
  readonly type?: string | undefined;
  /** The outcome of the last attempt. */
  readonly reason?: string | undefined;
  /** Created at or after, ISO 8601. */
  readonly since?: string | undefined;
  /** Created before, ISO 8601. */
  readonly until?: string | undefined;
  /** Only deliveries with a smaller UUID: where the last page ended. */
  readonly before?: string | undefined;
  readonly limit: number;
}

/** A delivery as the lists show it. Times are the database's. */
export interface DeliveryRow {
  readonly uuid: string;
  readonly event_uuid: string;
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
  readonly last_outcome: string | null;
  readonly last_status: number | null;
  readonly last_attempt_at: Date | null;
}

type Fragment = PendingQuery<Row[]>;

/** Deliveries, newest first. */
export async function listDeliveries(sql: Sql, filter: DeliveryFilter): Promise<DeliveryRow[]> {
  return await select(sql, filter, sql`true`);
}

/** One delivery, or undefined. */
export async function getDelivery(sql: Sql, uuid: string): Promise<DeliveryRow | undefined> {
  const [row] = await select(sql, { limit: 1 }, sql`d.id = ${uuid}::uuid`);
  return row;
}

/** The deliveries of one event. */
export async function deliveriesOf(sql: Sql, event_uuid: string): Promise<DeliveryRow[]> {
  return await select(
    sql,
    { limit: 10_000 },
    sql`d.id between ${event_uuid}::uuid and last_of(${event_uuid}::uuid)`,
  );
}

// Each half is found and cut off by its own index; the outer sort has at most twice the limit.
async function select(sql: Sql, filter: DeliveryFilter, which: Fragment): Promise<DeliveryRow[]> {
  const { status, limit } = filter;
  const none = sql`false`;
  const conditions = conditionsOf(sql, filter, which);
  const pending = status === undefined || status === "pending" ? conditions : none;
  const ended = status === "pending"
    ? none
    : sql`${conditions} ${status === undefined ? sql`` : sql`and d.status = ${status}`}`;
  return await sql<DeliveryRow[]>`
    select d.*, n.id as endpoint, e.type, e.test from (
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

function conditionsOf(sql: Sql, filter: DeliveryFilter, which: Fragment): Fragment {
  const { endpoint, type, reason, since, until, before } = filter;
  const all = [which];
  if (endpoint !== undefined) {
    all.push(sql`d.endpoint_no = (select no from endpoints where id = ${endpoint})`);
  }
  if (type !== undefined) {
    all.push(sql`exists (select from events x where x.id = d.event_id and x.type = ${type})`);
  }
  if (reason !== undefined) all.push(sql`d.last_outcome = ${reason}`);
  if (since !== undefined) all.push(sql`d.created_at >= ${since}::text::timestamptz`);
  if (until !== undefined) all.push(sql`d.created_at < ${until}::text::timestamptz`);
  if (before !== undefined) all.push(sql`d.id < ${before}::uuid`);
  return all.reduce((left, right) => sql`${left} and ${right}`);
}

/** An attempt with its request and its response. */
export interface AttemptRow {
  readonly number: number;
  readonly started_at: Date;
  readonly ended_at: Date;
  readonly duration_ms: number;
  readonly outcome: string;
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
