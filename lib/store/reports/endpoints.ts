import type { Sql } from "postgres";
import type { Scope } from "../../core/scope.ts";
import { ENDPOINT_COLUMNS, type StoredEndpoint } from "../endpoints.ts";
import { endpointInScope } from "../scope.ts";
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

/** Most ids that `endpointIds` reads. */
const MAX_IDS = 10_000;

/** Ids of the endpoints in force, in their order. */
export async function endpointIds(sql: Sql, scope: Scope): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select n.id from endpoints n where n.retired_at is null ${endpointInScope(sql, scope)}
    order by n.id limit ${MAX_IDS}`;
  return rows.map(({ id }) => id);
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
    before === undefined ? sql`` : sql`and n.no < (select no from endpoints where id = ${before})`
  }
    order by n.no desc limit ${limit + 1}`;
  return pageOf(rows, limit, (row) => row.id);
}

/** The endpoints that matter to an event of that time: those that had not retired by then. */
export async function endpointsSince(
  sql: Sql,
  scope: Scope,
  at: Date,
): Promise<StoredEndpoint[]> {
  return await sql<StoredEndpoint[]>`
    select ${sql.unsafe(ENDPOINT_COLUMNS)} from endpoints n
    where (n.retired_at is null or n.retired_at > ${at.toISOString()}::text::timestamptz)
      ${endpointInScope(sql, scope)}
    order by n.no`;
}
