import type { Sql } from "postgres";
import { type Change, logged } from "./changes.ts";
import { all, type Page, pageOf, type Paging } from "./reports/page.ts";

/** A portal link as stored: its token is not. */
export interface PortalLinkRow {
  /** `lnk_…` */
  readonly id: string;
  readonly business: string;
  /** Whether its token may only read. */
  readonly read_only: boolean;
  readonly created_at: Date;
  /** Name of the actor. */
  readonly created_by: string;
  readonly expires_at: Date;
  readonly revoked_at: Date | null;
  /** Of the moment at which it was read. */
  readonly state: "active" | "expired" | "revoked";
}

const COLUMNS = `id, business, read_only, created_at, created_by, expires_at, revoked_at,
  case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired'
    else 'active' end as state`;

/** A portal link that is to be stored. */
export interface NewPortalLink {
  readonly id: string;
  readonly business: string;
  /** SHA-256 of its token, in hexadecimal digits. */
  readonly digest: string;
  readonly read_only: boolean;
  readonly expires_in_ms: number;
}

/** Adds a portal link. */
export async function createPortalLink(
  sql: Sql,
  { id, business, digest, read_only, expires_in_ms }: NewPortalLink,
  change: Change,
): Promise<PortalLinkRow> {
  const [row] = await sql<PortalLinkRow[]>`
    with changed as (
      insert into portal_links (id, business, digest, read_only, created_by, expires_at)
      values (${id}, ${business}, decode(${digest}, 'hex'), ${read_only}, ${change.actor.name},
        now() + ${expires_in_ms} * interval '1 ms')
      returning *
    ), ${logged(sql, change)}
    select ${sql.unsafe(COLUMNS)} from changed`;
  if (row === undefined) throw new Error("The portal link was not stored");
  return row;
}

/** The link in force whose token has this SHA-256, in hexadecimal digits; undefined if there is none. */
export async function findActivePortalLink(
  sql: Sql,
  digest: string,
): Promise<Pick<PortalLinkRow, "id" | "business" | "read_only" | "expires_at"> | undefined> {
  const [row] = await sql<PortalLinkRow[]>`
    select id, business, read_only, expires_at from portal_links
    where digest = decode(${digest}, 'hex') and revoked_at is null and expires_at > now()`;
  return row;
}

/** The link of that id, also one that is over. */
export async function getPortalLink(sql: Sql, id: string): Promise<PortalLinkRow | undefined> {
  const [row] = await sql<PortalLinkRow[]>`
    select ${sql.unsafe(COLUMNS)} from portal_links where id = ${id}`;
  return row;
}

/** Links, the last made first: of all businesses, or of one. */
export async function listPortalLinks(
  sql: Sql,
  { business, before, limit }: Paging & { readonly business?: string | undefined },
): Promise<Page<PortalLinkRow>> {
  const which = all(sql, [
    sql`true`,
    ...(business === undefined ? [] : [sql`business = ${business}`]),
    ...(before === undefined ? [] : [sql`id < ${before}`]),
  ]);
  const rows = await sql<PortalLinkRow[]>`
    select ${sql.unsafe(COLUMNS)} from portal_links where ${which}
    order by id desc limit ${limit + 1}`;
  return pageOf(rows, limit, ({ id }) => id);
}

/** Ends a link. Answers undefined if it is revoked already. */
export async function revokePortalLink(
  sql: Sql,
  id: string,
  change: Change,
): Promise<PortalLinkRow | undefined> {
  const [row] = await sql<PortalLinkRow[]>`
    with changed as (
      update portal_links set revoked_at = now() where id = ${id} and revoked_at is null returning *
    ), ${logged(sql, change)}
    select ${sql.unsafe(COLUMNS)} from changed`;
  return row;
}
