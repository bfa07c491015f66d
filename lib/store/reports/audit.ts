import type { Sql } from "postgres";
import type { Scope } from "../../core/scope.ts";
import type { Fragment } from "../changes.ts";
import { actorInScope, endpointInScope } from "../scope.ts";
import { all, type Page, pageOf, type Paging } from "./page.ts";

/** Narrows a list of changes; its key is an entry's UUID. */
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
  readonly uuid: string;
  readonly at: Date;
  readonly actor: string;
  readonly address: string | null;
  readonly action: string;
  readonly object: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** The change of a business, not of an endpoint, that the business reads. */
const CONTACT_UPDATED = "alert_contact.updated";

/** Entries that one page reads in search of an actor or an action, which have no index. */
const DEPTH = 20_000;

/**
 * Changes, the last one first; within a business those of its endpoints and of where its alerts go, by its
 * portal links or by an operator without name and address.
 */
export async function listAudit(
  sql: Sql,
  scope: Scope,
  filter: AuditFilter,
): Promise<Page<AuditRow>> {
  const { actor, action, object, limit } = filter;
  const quick = [
    ...bounds(sql, filter),
    ...(object === undefined ? [] : [sql`a.object = ${object}`]),
  ];
  const slow = [
    ...(actor === undefined ? [] : [sql`${actorInScope(sql, scope, "a.actor")} = ${actor}`]),
    ...(action === undefined ? [] : [sql`a.action = ${action}`]),
  ];
  const floor = slow.length === 0 || scope !== "everything"
    ? undefined
    : await auditFloor(sql, all(sql, quick));
  const which = all(sql, [
    ...quick,
    ...slow,
    ...(floor === undefined ? [] : [sql`a.id >= ${floor}::uuid`]),
  ]);
  const shown = actorInScope(sql, scope, "a.actor");
  const found = sql`
    select a.id, a.at, ${shown} as actor, case when ${shown} = a.actor then a.address end as address,
      a.action, a.object, a.before, a.after
    from audit a where ${which}`;
  const rows = await sql<AuditRow[]>`
    select a.id as uuid, a.at, a.actor, a.address, a.action, a.object, a.before, a.after from ${
    scope === "everything" ? sql`(${found}) a` : sql`(
        select a.* from endpoints n cross join lateral (
          ${found} and a.object = n.id order by a.id desc limit ${limit + 1}) a
        where true ${endpointInScope(sql, scope)}
        union all (
          ${found} and a.object = ${scope.business} and a.action = ${CONTACT_UPDATED}
          order by a.id desc limit ${limit + 1})
      ) a`
  }
    order by a.id desc limit ${limit + 1}`;
  return pageOf(rows, limit, (row) => row.uuid, floor);
}

// Ids follow times to within a minute: a statement takes less.
function bounds(sql: Sql, { since, until, before }: AuditFilter): Fragment[] {
  const conditions = [sql`true`];
  if (before !== undefined) conditions.push(sql`a.id < ${before}::uuid`);
  if (since !== undefined) {
    conditions.push(sql`a.at >= ${since}::text::timestamptz and a.id >= (
      select b.id from audit b where b.at >= ${since}::text::timestamptz - interval '1 min'
      order by b.at limit 1)`);
  }
  if (until !== undefined) {
    conditions.push(sql`a.at < ${until}::text::timestamptz and a.id <= (
      select b.id from audit b where b.at < ${until}::text::timestamptz + interval '1 min'
      order by b.at desc limit 1)`);
  }
  return conditions;
}

async function auditFloor(sql: Sql, which: Fragment): Promise<string | undefined> {
  const [row] = await sql<{ floor: string }[]>`
    select a.id as floor from audit a where ${which} order by a.id desc offset ${DEPTH} limit 1`;
  return row?.floor;
}
