import type { Sql } from "postgres";
import type { Scope } from "../../core/scope.ts";
import { texts } from "../arrays.ts";
import { ENDPOINT_COLUMNS, type StoredEndpoint } from "../endpoints.ts";
import { endpointInScope, eventInScope } from "../scope.ts";
import { type Page, pageOf, type Paging } from "./page.ts";

/** Narrows a list of endpoints; its key is an endpoint's id. */
export interface EndpointFilter extends Paging {
  readonly retired: boolean;
  readonly source?: "file" | "api" | undefined;
}

/** One endpoint, retired ones included, or undefined. */
export async function getEndpoint(
  sql: Sql,
  scope: Scope,
  id: string,
): Promise<StoredEndpoint | undefined> {
  const [row] = await sql<StoredEndpoint[]>`
    select ${sql.unsafe(ENDPOINT_COLUMNS)} from endpoints n
    where n.id = ${id} ${endpointInScope(sql, scope)}`;
  return row;
}

/** Those of these endpoints that are there, retired ones included. */
export async function endpointsById(
  sql: Sql,
  scope: Scope,
  ids: readonly string[],
): Promise<StoredEndpoint[]> {
  return await sql<StoredEndpoint[]>`
    select ${sql.unsafe(ENDPOINT_COLUMNS)} from endpoints n
    where n.id = any(string_to_array(${texts(ids)}, chr(30))) ${endpointInScope(sql, scope)}
    order by n.no desc`;
}

/** Numbers and ids of all endpoints, retired ones included. */
export async function endpointNumbers(
  sql: Sql,
  scope: Scope,
): Promise<Pick<StoredEndpoint, "no" | "id">[]> {
  return await sql<Pick<StoredEndpoint, "no" | "id">[]>`
    select n.no, n.id from endpoints n where true ${endpointInScope(sql, scope)}`;
}

/** Most ids that `endpointIds` reads. */
const MAX_IDS = 10_000;

/** Ids of the endpoints in force, in their order. */
export async function endpointIds(sql: Sql, scope: Scope): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select n.id from endpoints n where n.retired_at is null ${endpointInScope(sql, scope)}
    order by n.id limit ${MAX_IDS}`;
  return rows.map(({ id }) => id);
}

/** Ids and descriptions of all endpoints, retired ones included. */
export async function endpointNames(
  sql: Sql,
  scope: Scope,
): Promise<{ readonly id: string; readonly description: string | null }[]> {
  return await sql<{ id: string; description: string | null }[]>`
    select n.id, n.settings ->> 'description' as description from endpoints n
    where true ${endpointInScope(sql, scope)} order by n.no desc limit ${MAX_IDS}`;
}

/** Ids, descriptions and selections of the endpoints in force, in their order. */
export async function endpointSelections(
  sql: Sql,
  scope: Scope,
): Promise<(Pick<StoredEndpoint, "id" | "events"> & { readonly description: string | null })[]> {
  return await sql<(Pick<StoredEndpoint, "id" | "events"> & { description: string | null })[]>`
    select n.id, n.settings ->> 'description' as description, array_to_json(n.events) as events
    from endpoints n
    where n.retired_at is null ${endpointInScope(sql, scope)} order by n.id limit ${MAX_IDS}`;
}

/** Endpoints, the last made first. */
export async function listEndpoints(
  sql: Sql,
  scope: Scope,
  filter: EndpointFilter,
): Promise<Page<StoredEndpoint>> {
  const { retired, source, before, limit } = filter;
  const rows = await sql<StoredEndpoint[]>`
    select ${sql.unsafe(ENDPOINT_COLUMNS)} from endpoints n
    where (n.retired_at is not null) = ${retired} ${endpointInScope(sql, scope)}
      ${source === undefined ? sql`` : sql`and n.source = ${source}`}
      ${
    before === undefined ? sql`` : sql`and (n.created_at, n.no) < (
        select b.created_at, b.no from endpoints b where b.id = ${before})`
  }
    order by n.created_at desc, n.no desc limit ${limit + 1}`;
  return pageOf(rows, limit, (row) => row.id);
}

/** An endpoint, and what it was when an event was stored. */
export interface EndpointThen
  extends
    Pick<StoredEndpoint, "no" | "id" | "events" | "businesses" | "created_at" | "retired_at"> {
  /** The types and businesses that it selected then; null if it was made later. */
  readonly events_then: readonly string[] | null;
  readonly businesses_then: readonly string[] | null;
  /** When it had been retired, if it was retired then. */
  readonly retired_then_at: Date | null;
  /** When it first selected something else after that, or null. */
  readonly selection_changed_at: Date | null;
}

/**
 * All endpoints, retired ones included, as they are and as they were when the event was stored, in the order
 * in which they were made.
 */
export async function endpointsAtEvent(
  sql: Sql,
  scope: Scope,
  event_uuid: string,
): Promise<EndpointThen[]> {
  return await sql<EndpointThen[]>`
    select no, id, array_to_json(events) as events, array_to_json(businesses) as businesses,
      created_at, retired_at, array_to_json(events_then) as events_then,
      array_to_json(businesses_then) as businesses_then, retired_then_at, selection_changed_at
    from (
      select n.*, v.events as events_then, v.businesses as businesses_then,
        case when v.retired_at <= e.received_at then v.retired_at end as retired_then_at, (
          select min(c.created_at) from endpoint_versions c
          where c.endpoint_no = n.no and c.version > v.version
            and (c.events, c.businesses) is distinct from (v.events, v.businesses)
        ) as selection_changed_at
      from events e cross join endpoints n
      left join lateral (
        select * from endpoint_versions v
        where v.endpoint_no = n.no and v.created_at <= e.received_at
        order by v.version desc limit 1
      ) v on true
      where e.id = ${event_uuid}::uuid ${eventInScope(sql, scope)} ${endpointInScope(sql, scope)}
    ) n
    order by created_at, no`;
}

/** An endpoint that a text was found in. */
export interface FoundEndpoint {
  readonly id: string;
  readonly description: string | null;
  readonly url: string;
  readonly retired: boolean;
}

/** Shorter texts are parts of too much. */
const MIN_PART = 3;

/**
 * Endpoints whose id, description or URL is the text or contains it, in any case, or that name it as a business;
 * those in force first. It reads all endpoints in scope, which are few next to everything else.
 */
export async function searchEndpoints(
  sql: Sql,
  scope: Scope,
  text: string,
  limit: number,
): Promise<FoundEndpoint[]> {
  return await sql<FoundEndpoint[]>`
    select n.id, n.settings ->> 'description' as description, n.url, n.retired_at is not null as retired
    from endpoints n cross join (select lower(${text}) as text) a
    cross join lateral (
      select bool_or(lower(x.name) = a.text) as is_it,
        bool_or(position(a.text in lower(x.name)) > 0) and length(a.text) >= ${MIN_PART} as has_it
      from (values (n.id), (n.settings ->> 'description'), (n.url)) as x (name)
    ) m
    where (m.is_it or m.has_it or n.owner = ${text} or ${text} = any(n.businesses))
      ${endpointInScope(sql, scope)}
    order by n.retired_at is not null, m.is_it desc, n.id limit ${limit}`;
}
