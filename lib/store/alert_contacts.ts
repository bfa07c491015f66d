import type { Sql } from "postgres";
import { texts } from "./arrays.ts";
import { type Change, logged } from "./changes.ts";

/** Where a business wants alerts about its own endpoints. */
export interface AlertContact {
  /** Id of one of its endpoints in force; null: none, or it was retired. */
  readonly endpoint: string | null;
  readonly mail: string | null;
}

/** What these businesses chose, by their names; those without a choice are left out. */
export async function contactsOf(
  sql: Sql,
  businesses: readonly string[],
): Promise<ReadonlyMap<string, AlertContact>> {
  const rows = await sql<(AlertContact & { business: string })[]>`
    select c.business, n.id as endpoint, c.mail
    from alert_contacts c
    left join endpoints n on n.no = c.endpoint_no and n.retired_at is null
    where c.business = any(string_to_array(${texts(businesses)}, chr(30)))`;
  return new Map(rows.map(({ business, endpoint, mail }) => [business, { endpoint, mail }]));
}

/** The choice of a business; without one, nothing is sent to it. */
export async function findContact(sql: Sql, business: string): Promise<AlertContact> {
  return (await contactsOf(sql, [business])).get(business) ?? { endpoint: null, mail: null };
}

/** Changes it, for endpoint null and mail null to nothing. */
export async function setContact(
  sql: Sql,
  business: string,
  { endpoint_no, mail }: { readonly endpoint_no: number | null; readonly mail: string | null },
  change: Change,
): Promise<void> {
  const changed = endpoint_no === null && mail === null
    ? sql`delete from alert_contacts where business = ${business} returning 1`
    : sql`
      insert into alert_contacts (business, endpoint_no, mail)
      values (${business}, ${endpoint_no}, ${mail})
      on conflict (business) do update
        set endpoint_no = excluded.endpoint_no, mail = excluded.mail, updated_at = now()
        where (alert_contacts.endpoint_no, alert_contacts.mail)
          is distinct from (excluded.endpoint_no, excluded.mail)
      returning 1`;
  await sql`with changed as (${changed}), ${logged(sql, change)} select 1`;
}
