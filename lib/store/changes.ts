import type { PendingQuery, Row, Sql } from "postgres";

/** The author of a change: the name of an admin token, or of a part of the program. */
export interface Actor {
  readonly name: string;
  /** The client's address; null for the program itself. */
  readonly address: string | null;
}

/** A change as the audit log keeps it, without secrets. */
export interface Change {
  readonly actor: Actor;
  /** `endpoint.created` */
  readonly action: string;
  /** Id of the changed object. */
  readonly object: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

/** Part of a statement, with its parameters. */
export type Fragment = PendingQuery<Row[]>;

/**
 * The CTE `logged`: writes the change to the audit log, in the statement that makes it, if the CTE
 * `changed` has a row. `found` adds to `after`: a jsonb object, or null, by a column of `changed`.
 */
export function logged(sql: Sql, change: Change, found = "null::jsonb"): Fragment {
  const { actor, action, object } = change;
  return sql`logged as (
    insert into audit (actor, address, action, object, before, after)
    select ${actor.name}, ${actor.address}, ${action}, ${object},
      ${json(change.before)}::text::jsonb, coalesce(after || found, after, found)
    from (
      select ${json(change.after)}::text::jsonb as after, ${sql.unsafe(found)} as found
      from changed limit 1
    ) one
  )`;
}

function json(value: unknown): string | null {
  return value == null ? null : JSON.stringify(value);
}

/**
 * The channel on which daemons wake each other. A payload is `fleet` (the endpoints changed), `daemons`,
 * `all` (every endpoint may have something due), or numbers of endpoints with something due.
 */
export const CHANNEL = "bookme_webhooks";

/** The payload that says that a daemon came, went, has another file, or put its own in force. */
export const DAEMONS = "daemons";

/** A notification holds 8,000 bytes: more endpoints than this are announced as `all`. */
export const MAX_ANNOUNCED = 500;

/** Queries for what a statement changed: the ids, as `id`. */
export interface Touched {
  readonly deliveries?: string;
  readonly endpoints?: string;
  readonly replays?: string;
  readonly alerts?: string;
}

/**
 * The CTE `name`: writes these ids to the table `changes` while somebody follows. Otherwise it reads the one
 * row of `fleet`, and none of the queries runs.
 */
export function noted(touched: Touched, name = "noted"): string {
  const kinds = Object.entries(touched);
  return `
  ${name} as (
    insert into changes (${kinds.map(([kind]) => kind).join(", ")})
    select ${kinds.map(([, query]) => arrayOf("id", query)).join(", ")} from fleet
    where streamed_until > now()
      and (${kinds.map(([, query]) => `exists (${query})`).join(" or ")})
  )`;
}

/**
 * The same as a column of a statement's last part, which costs less than a CTE: for statements that run all
 * the time. `until` is `fleet.streamed_until`.
 */
export function noting(until: string, deliveries: string, events?: string): string {
  const parts = events === undefined
    ? ["'{}'", "'{}'"]
    : [arrayOf("id", events), arrayOf("business", events)];
  return `
    case when ${until} > now()
      then note_changes(${[...parts, arrayOf("id", deliveries)].join(", ")}) end`;
}

function arrayOf(column: string, query: string): string {
  return `array(select ${column} from (${query}) t)`;
}

/**
 * The CTEs `revised`, `announced` and `noted_endpoints`: if the CTE `rows` has a row, the endpoints get a new
 * revision and every daemon hears of it. Its `id` is that of an endpoint, or null if it stands for none. The
 * statement must join `announced`, or nothing is sent.
 */
export function announceFleet(rows = "changed"): string {
  return `
  ${noted({ endpoints: `select id from ${rows} where id is not null` }, "noted_endpoints")},
  revised as (
    update fleet set revision = revision + 1 where exists (select from ${rows})
  ), announced as materialized (
    select pg_notify('${CHANNEL}', 'fleet') where exists (select from ${rows})
  )`;
}

/**
 * The CTE `announced`: every daemon hears which endpoints in the CTE `rows` have something due. The
 * statement must join it, or nothing is sent.
 */
export function announceDue(rows: string): string {
  return `
  announced as materialized (
    select pg_notify('${CHANNEL}', case when count(*) > ${MAX_ANNOUNCED} then 'all'
      else string_agg(endpoint_no::text, ',') end)
    from (select distinct endpoint_no from ${rows}) o having count(*) > 0
  )`;
}
