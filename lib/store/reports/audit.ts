import type { Sql } from "postgres";
import type { Scope } from "../../core/scope.ts";
import { endpointInScope } from "../scope.ts";
import { type Page, pageOf, type Paging } from "./page.ts";

/** Narrows a list of changes; its key is an entry's number. */
export interface AuditFilter extends Paging {
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
  readonly object?: string | undefined;
  /** At or after, and before: ISO 8601. */
  readonly since?: string | undefined;
  readonly until?: string | undefined;
}

/** An entry of the audit log. */
export interface AuditRow {
  /** A bigint, as text. */
  readonly id: string;
  readonly at: Date;
  readonly actor: string;
  readonly address: string | null;
  readonly action: string;
  readonly object: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** Changes, the last one first; within a business those of its endpoints. */
export async function listAudit(
  sql: Sql,
  scope: Scope,
  filter: AuditFilter,
): Promise<Page<AuditRow>> {
  const { actor, action, object, since, until, before, limit } = filter;
  const rows = await sql<AuditRow[]>`
    select id, at, actor, address, action, object, before, after from audit
    where true
      ${before === undefined ? sql`` : sql`and id < ${before}::text::bigint`}
      ${actor === undefined ? sql`` : sql`and actor = ${actor}`}
      ${action === undefined ? sql`` : sql`and action = ${action}`}
      ${object === undefined ? sql`` : sql`and object = ${object}`}
      ${since === undefined ? sql`` : sql`and at >= ${since}::text::timestamptz`}
      ${until === undefined ? sql`` : sql`and at < ${until}::text::timestamptz`}
      ${
    scope === "everything" ? sql`` : sql`and object in (
      select n.id from endpoints n where true ${endpointInScope(sql, scope)})`
  }
    order by id desc limit ${limit + 1}`;
  return pageOf(rows, limit, (row) => row.id);
}
