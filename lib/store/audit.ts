import type { Sql } from "postgres";
import { type Change, logged } from "./changes.ts";

/** What a list of changes may be narrowed to. */
export interface AuditFilter {
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
  readonly object?: string | undefined;
  /** Where the last page ended: an entry's number. */
  readonly before?: string | undefined;
  readonly limit: number;
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

/** Changes, the last one first. */
export async function listAudit(sql: Sql, filter: AuditFilter): Promise<AuditRow[]> {
  const { actor, action, object, before, limit } = filter;
  return await sql<AuditRow[]>`
    select id, at, actor, address, action, object, before, after from audit
    where true
      ${before === undefined ? sql`` : sql`and id < ${before}::text::bigint`}
      ${actor === undefined ? sql`` : sql`and actor = ${actor}`}
      ${action === undefined ? sql`` : sql`and action = ${action}`}
      ${object === undefined ? sql`` : sql`and object = ${object}`}
    order by id desc limit ${limit}`;
}

/** Writes down a change that is not made by a statement of its own. */
export async function writeAudit(sql: Sql, change: Change): Promise<void> {
  await sql`with changed as (select 1), ${logged(sql, change)} select 1`;
}
