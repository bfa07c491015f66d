import type { Sql } from "postgres";
import { literal } from "./arrays.ts";
import type { Fragment } from "./changes.ts";
import { CANCEL_CHOSEN, ENDED, type Endings } from "./fragments.ts";

/** Deliveries that nobody sends: they wait at most as long as events are kept. */

/** How long before deliveries expire this is announced, in milliseconds. */
export const NOTICE_MS = 3 * 86_400_000;

/** Most deliveries that are counted. */
const MAX_COUNTED = 1_000;

/** What will expire at an endpoint within three days. */
export interface Expiring {
  readonly endpoint_no: number;
  readonly endpoint: string;
  readonly deliveries: number;
  /** False: at least this many. */
  readonly deliveries_exact: boolean;
  /** When the first of them expires. */
  readonly first_at: Date;
}

/**
 * Lists the endpoints whose deliveries start to expire within three days: paused ones, and those in
 * `unsendable`, to which this daemon cannot send. `only` limits the list to some endpoints. A delivery expires
 * once it has been due for `age_ms`.
 */
export async function listExpiring(
  sql: Sql,
  age_ms: number,
  unsendable: readonly number[],
  only?: readonly number[],
): Promise<Expiring[]> {
  return await sql<Expiring[]>`
    with ${expiring(sql, age_ms, unsendable, only)}
    select * from expiring order by endpoint`;
}

/**
 * The same for all endpoints, and records when each was first listed: its deliveries expire three days after
 * that at the earliest.
 */
export async function announceExpiring(
  sql: Sql,
  age_ms: number,
  unsendable: readonly number[],
): Promise<Expiring[]> {
  return await sql<Expiring[]>`
    with ${expiring(sql, age_ms, unsendable)}, announced as (
      update endpoints n
      set expiry_announced_at = case when n.expiry_announced_at is null then now() end
      where (n.expiry_announced_at is null) = (n.no in (select endpoint_no from expiring))
    )
    select * from expiring order by endpoint`;
}

/**
 * Cancels up to `limit` deliveries that have been due for `age_ms` at such endpoints, if that was announced
 * three days ago or earlier.
 */
export async function cancelExpired(
  sql: Sql,
  age_ms: number,
  unsendable: readonly number[],
  limit: number,
): Promise<Endings> {
  const [row] = await sql<Endings[]>`
    with chosen as materialized (
      select p.id, false as leased, 'expired' as reason
      from endpoints n
      cross join lateral (
        select q.id from pending_deliveries q
        where q.endpoint_no = n.no and q.due_at <= now() - ${age_ms}::bigint * interval '1 ms'
          and q.leased_until is null and q.cancel_reason is null
        order by q.due_at limit ${limit} for update skip locked
      ) p
      where ${stuck(sql, unsendable)}
        and n.expiry_announced_at <= now() - ${NOTICE_MS}::bigint * interval '1 ms'
      limit ${limit}
    ), ${sql.unsafe(CANCEL_CHOSEN)}
    select count(*)::int as found, ${sql.unsafe(ENDED)} as ended from chosen`;
  return row ?? { found: 0, ended: [] };
}

/** The CTE `expiring`: rows of `Expiring`. */
function expiring(
  sql: Sql,
  age_ms: number,
  unsendable: readonly number[],
  only?: readonly number[],
): Fragment {
  const which = only === undefined ? sql`true` : sql`n.no = any(${literal(only)}::int[])`;
  return sql`
    expiring as materialized (
      select n.no as endpoint_no, n.id as endpoint,
        least(w.count, ${MAX_COUNTED})::int as deliveries,
        w.count <= ${MAX_COUNTED} as deliveries_exact,
        greatest(w.first_due + ${age_ms}::bigint * interval '1 ms',
          coalesce(n.expiry_announced_at, now()) + ${NOTICE_MS}::bigint * interval '1 ms') as first_at
      from endpoints n cross join lateral (
        select count(*) as count, min(due_at) as first_due from (
          select q.due_at from pending_deliveries q
          where q.endpoint_no = n.no and q.cancel_reason is null
            and q.due_at <= now() - ${Math.max(0, age_ms - NOTICE_MS)}::bigint * interval '1 ms'
          order by q.due_at limit ${MAX_COUNTED + 1}
        ) due
      ) w
      where ${stuck(sql, unsendable)} and ${which} and w.count > 0
    )`;
}

function stuck(sql: Sql, unsendable: readonly number[]): Fragment {
  return sql`n.retired_at is null
    and (n.paused_at is not null or n.no = any(${literal(unsendable)}::int[]))`;
}
