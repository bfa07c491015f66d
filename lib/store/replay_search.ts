import type { Sql } from "postgres";
import { texts } from "./arrays.ts";
import type { Fragment } from "./changes.ts";
import { type CauseFilter, causeIs } from "./fragments.ts";
import { all } from "./reports/page.ts";

/** Where a replay finds its deliveries: for its batches, and for the count before them. */

/** Statuses that a replay selects: ended ones, or `pending` alone. */
export type ReplayedStatus = "delivered" | "failed" | "cancelled" | "pending";

/** The part of a selection that decides where it is searched for. */
export interface Searched extends CauseFilter {
  /** Empty for what is missing. */
  readonly statuses: readonly ReplayedStatus[];
  /** Owes the endpoint what it selects and was never owed. */
  readonly missing: boolean;
  readonly endpoint_no: number | null;
  /** Only endpoints of this business. */
  readonly owner: string | null;
}

/** Expressions: UUIDs above `first` and up to `last`, and the last delivery that a replay has taken. */
export interface SearchBounds {
  readonly first: Fragment;
  readonly last: Fragment;
  readonly position: Fragment;
}

/** Where a replay looks: deliveries `d`, a condition on them, and the order in which it takes them. */
export interface Search {
  readonly from: Fragment;
  readonly which: Fragment;
  readonly order: Fragment;
}

/**
 * Where a replay of deliveries that exist looks, by index: in the order of ids, but for those of all
 * endpoints that were delivered, and those of a business. For these no index has that order, so it takes
 * them endpoint by endpoint, and reads at most `limit` of each.
 */
export function searched(
  sql: Sql,
  { statuses, endpoint_no, owner }: Omit<Searched, "missing">,
  { first, last, position }: SearchBounds,
  limit: number,
): Search {
  const after = sql`d.id > ${position} and d.id <= ${last}`;
  const byId = sql`d.id`;
  // No index has both: in the order of ids, the endpoint is a matter of `selected`.
  if (statuses.includes("pending")) {
    return { from: sql`pending_deliveries d`, which: after, order: byId };
  }
  const from = sql`ended_deliveries d`;
  const status = statusIs(sql, statuses);
  if (endpoint_no !== null) {
    // As a range, so that only an index with the endpoint in front has the order: of an endpoint with few
    // failures, PostgreSQL would otherwise go through those of all endpoints.
    return {
      from: sql`(
        select * from ended_deliveries d
        where d.endpoint_no between ${endpoint_no} and ${endpoint_no} and ${after} and ${status}
        order by d.endpoint_no, d.id limit ${limit}) d`,
      which: sql`true`,
      order: byId,
    };
  }
  if (owner === null && !statuses.includes("delivered")) {
    return { from, which: sql`${after} and ${status}`, order: byId };
  }
  return {
    from: sql`endpoints x cross join lateral (
      select * from ended_deliveries d
      where d.endpoint_no = x.no and d.id > ${first} and d.id <= ${last} and ${status}
        and (x.no > endpoint_of(${position}) or d.id > ${position})
      order by d.id limit ${limit}) d`,
    which: all(sql, [
      sql`x.no >= endpoint_of(${position})`,
      ...(owner === null ? [] : [sql`x.owner = ${owner}`]),
    ]),
    order: sql`x.no, d.id`,
  };
}

/** The condition on deliveries `d` among those searched, besides their times and types. */
export function selected(
  sql: Sql,
  { statuses, endpoint_no, owner, ...cause }: Omit<Searched, "missing">,
): Fragment {
  if (!statuses.includes("pending")) {
    return all(sql, [sql`true`, ...causeIs(sql, cause, "d.reason")]);
  }
  return all(sql, [
    sql`d.leased_until is null and d.cancel_reason is null and d.due_at > now()`,
    ...(endpoint_no === null ? [] : [sql`d.endpoint_no = ${endpoint_no}`]),
    ...(owner === null
      ? []
      : [sql`d.endpoint_no in (select n.no from endpoints n where n.owner = ${owner})`]),
    ...causeIs(sql, cause, "d.cancel_reason"),
  ]);
}

/** A condition on ended deliveries `d`, written out: the indexes of failed ones are partial. */
export function statusIs(sql: Sql, statuses: readonly ReplayedStatus[]): Fragment {
  if (statuses.length === 1 && statuses[0] === "failed") return sql`d.status = 'failed'`;
  const all = sql`d.status = any(string_to_array(${texts(statuses)}, chr(30)))`;
  return statuses.includes("delivered") ? all : sql`d.status <> 'delivered' and ${all}`;
}

/**
 * The CTEs `target`, `looked`, `ended`, `merged` and `seen`: the next `limit` events, and whether the endpoint
 * selects each and was never owed it; if so, with the id of the delivery. `of` is a table expression with the
 * columns endpoint_no, position and last_id.
 *
 * An endpoint of one business reads that business's events. Most events have been owed, and their deliveries
 * have ended: those of consecutive events are read by one scan and merged, which costs a third of look-ups.
 */
export function missingSeen(of: string, limit: number): string {
  const next = (which: string, business: string) =>
    `(
      select e.id, e.type, e.business, e.test, e.received_at from events e
      where ${which} and ${business} and e.id > t.position and e.id <= t.last_id
      order by e.id limit ${limit})`;
  const one = "cardinality(t.businesses) = 1";
  const any = "cardinality(t.businesses) is distinct from 1";
  return `
    target as materialized (
      select n.no, selected_types(n.events) as types, n.businesses, o.position, o.last_id
      from ${of} o join endpoints n on n.no = o.endpoint_no
      where n.retired_at is null
    ), looked as materialized (
      select e.* from target t cross join lateral (
        ${next(one, "e.business = t.businesses[1]")} union all ${next(any, "true")}
      ) e
    ), ended as materialized (
      -- Of one business, others' may lie between, any number of them.
      select d.id from target t cross join looked l cross join lateral (
        select d.id from ended_deliveries d
        where ${one} and d.endpoint_no = t.no and d.id = delivery_of(l.id, t.no) limit 1) d
      union all
      select d.id from target t cross join lateral (
        select d.id from ended_deliveries d
        where ${any} and d.endpoint_no = t.no and d.id > t.position
          and d.id <= last_of((select id from looked order by id desc limit 1))) d
    ), merged as materialized (
      -- Between the ids of two events lies that of the first one's delivery.
      select m.*, lead(m.is_event) over (order by m.id) is distinct from false as never_ended
      from (
        select true as is_event, l.* from looked l
        union all select false, d.id, null, null, null, null from ended d
      ) m
    ), seen as materialized (
      select w.*, w.is_wanted and p.id is null as is_selected, row_number() over (order by w.id) as place
      from (
        select case when m.never_ended then delivery_of(m.id, t.no) else m.id end as id,
          t.no as endpoint_no, m.received_at as created_at,
          m.never_ended and not m.test and m.type ~ t.types and m.type not like 'webhooks.%'
            and (t.businesses is null or coalesce(m.business = any(t.businesses), false))
            as is_wanted
        from merged m cross join target t where m.is_event
      ) w left join lateral (
        select p.id from pending_deliveries p where w.is_wanted and p.id = w.id limit 1) p on true
    )`;
}
