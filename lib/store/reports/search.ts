import type { Sql } from "postgres";
import { OVERDUE_MS } from "../../core/explain.ts";
import { NO_UUID } from "../../core/ids.ts";
import type { Scope } from "../../core/scope.ts";
import type { Fragment } from "../changes.ts";
import { type CauseFilter, causeIs } from "../fragments.ts";
import { endpointInScope } from "../scope.ts";
import { all, type Paging, type Period, withinIds, withinTimes } from "./page.ts";

/*
 * Which deliveries a filter finds, newest first, in a bounded time. No index has all ended deliveries in
 * the order of their ids: those of each endpoint have one, and what a page needs is merged from these.
 * Conditions without an index are checked row by row, for a bounded number of rows. A page that reaches that
 * bound is short, and the next one continues from there.
 */

/**
 * Deliveries that one page reads in search of what no index finds, for 20 ms at most: each costs up to two
 * look-ups, in a table with a partition for each week.
 */
const DEPTH = 1_000;

const ENDED = ["delivered", "failed", "cancelled"] as const;

/** Narrows a list of deliveries. */
export interface DeliveryFilter extends Paging, CauseFilter {
  /** Any of these; left out, all. */
  readonly statuses?: readonly ("pending" | typeof ENDED[number])[] | undefined;
  /** Only those that are due, are not being sent, and wait for nothing that anybody asked for. */
  readonly overdue?: boolean | undefined;
  /** Only those of test events. */
  readonly test?: boolean | undefined;
  /** Endpoint id. */
  readonly endpoint?: string | undefined;
  readonly type?: string | undefined;
  readonly period: Period;
}

/** A filter in SQL. */
interface Parts {
  readonly scope: Scope;
  /** Which endpoints `n`, or undefined for all. */
  readonly endpoints: Fragment | undefined;
  /** Bounds on the ids of deliveries `d`, which their events `e` meet too. */
  readonly ids: Fragment;
  readonly event_ids: Fragment;
  /** Condition on pending deliveries `d` that the index of those due finds; undefined for all. */
  readonly due: Fragment | undefined;
  /** Conditions judged row by row: on pending deliveries `d`, on ended ones. */
  readonly pending: readonly Fragment[];
  readonly ended: readonly Fragment[];
  /** The same on their events `e`. */
  readonly events: readonly Fragment[];
  /** Whether all that is wanted of the ended ones did not deliver: those have an index of their own. */
  readonly is_unhappy: boolean;
}

/**
 * The CTEs `found` and `floor`, each with a column id: the newest deliveries that match, at most `limit`,
 * and the id down to which they were looked for; no row if that was the end.
 */
export function searched(
  sql: Sql,
  scope: Scope,
  filter: DeliveryFilter,
  limit: number,
): Fragment {
  const parts = partsOf(sql, scope, filter);
  const { statuses, overdue } = filter;
  const halves = [
    ...(statuses?.includes("pending") ?? true ? [pendingHalf(sql, parts, limit)] : []),
    ...(overdue === true || endedOf(filter).length === 0
      ? []
      : parts.is_unhappy && parts.endpoints === undefined
      ? [unhappyHalf(sql, parts, limit)]
      : [endedHalf(sql, parts, limit)]),
  ];
  const [first, second] = halves;
  if (first === undefined) throw new Error("Deliveries are pending or ended");
  const either = (of: (half: Half) => Fragment) =>
    second === undefined ? of(first) : sql`${of(first)} union all ${of(second)}`;
  return sql`
    streams as materialized (
      select n.no from endpoints n where ${parts.endpoints ?? sql`true`}
    ), ${first.ctes} ${
    second === undefined ? sql`` : sql`, ${second.ctes}`
  }, floor as materialized (
      select f.id from (${either((half) => half.floor)}) f order by f.id desc limit 1
    ), found as materialized (
      select m.id from (${either((half) => half.matches)}) m order by m.id desc limit ${limit}
    )`;
}

/** One of the two tables: its CTEs, the ids it stopped at, and the newest ids that match above the floor. */
interface Half {
  readonly ctes: Fragment;
  readonly floor: Fragment;
  readonly matches: Fragment;
}

const OF_ENDED = "ended_deliveries d where d.endpoint_no = c.no and d.id = c.id";
const OF_EVENT = "events e where e.id = event_of(c.id)";
const AT_FLOOR = `c.id >= coalesce((select id from floor), '${NO_UUID}')`;

/** The pending deliveries: all of some endpoints, if these are few, else the newest that there may be. */
function pendingHalf(sql: Sql, parts: Parts, limit: number): Half {
  const { scope, endpoints, ids, due, pending, events } = parts;
  const is_some = endpoints !== undefined;
  const reach = is_some || pending.length + events.length > 0 ? DEPTH : limit;
  const waiting = is_some
    ? sql`waiting as materialized (
        select w.id from streams s cross join lateral (
          select d.id from pending_deliveries d
          where d.endpoint_no = s.no ${due === undefined ? sql`` : sql`and ${due}`}
          order by d.due_at limit ${reach + 1}) w
        limit ${reach + 1}
      ), `
    : sql``;
  const are_many = sql`(select count(*) > ${reach} from waiting)`;
  const conditions = is_some
    ? [...pending, sql`d.endpoint_no in (select no from streams)`]
    : pending;
  const newest = scope === "everything"
    ? sql`newest as materialized (
      select d.id from pending_deliveries d where ${is_some ? sql`${are_many} and` : sql``} ${ids}
      order by d.id desc limit ${reach + 1}
    )`
    : newestOf(sql, scope.business, parts, are_many);
  return {
    ctes: sql`${waiting} ${newest}`,
    floor: scope === "everything"
      ? sql`(select id from newest order by id desc offset ${reach} limit 1)`
      : sql`(select id from own where (select count(*) from own) = (select events from depth)
          order by id limit 1)`,
    matches: sql`(
      select c.id from (
        select d.id from newest d
        ${
      is_some ? sql`union all select d.id from waiting d where not ${are_many} and ${ids}` : sql``
    }
        order by id desc
      ) c ${judged(sql, "event", OF_EVENT, events)} ${
      judged(sql, "delivery", "pending_deliveries d where d.id = c.id", conditions)
    }
      where ${sql.unsafe(AT_FLOOR)} order by c.id desc limit ${limit})`,
  };
}

/** Deliveries that the newest events of a business might have. */
const OWN_DEPTH = 5_000;

/**
 * The CTE `newest` of a business: what its newest events may have pending. Read among the pending deliveries
 * of all, the floor would be another's, and show that it is there.
 */
function newestOf(
  sql: Sql,
  business: string,
  { event_ids, ids }: Parts,
  are_many: Fragment,
): Fragment {
  return sql`depth as materialized (
      select greatest(1, ${OWN_DEPTH} / greatest(1, count(*))) as events from streams
    ), own as materialized (
      select e.id from events e where ${are_many} and e.business = ${business} and ${event_ids}
      order by e.id desc limit (select events from depth)
    ), newest as materialized (
      select d.id from own cross join streams s
      cross join lateral (select delivery_of(own.id, s.no) as id) d where ${ids}
    )`;
}

/**
 * The ended deliveries of all endpoints that did not deliver: these have an index in the order of their ids. Read
 * endpoint by endpoint, PostgreSQL would go through it once for each.
 */
function unhappyHalf(sql: Sql, { ids, ended, events }: Parts, limit: number): Half {
  const need = ended.length + events.length > 0 ? Math.max(DEPTH, limit) : limit;
  return {
    // Written out, not as a parameter: the index is partial.
    ctes: sql`unhappy as materialized (
      select d.id from ended_deliveries d where ${ids} and d.status <> 'delivered'
      order by d.id desc limit ${need + 1}
    )`,
    floor: sql`(select id from unhappy order by id desc offset ${need} limit 1)`,
    matches: sql`(
      select c.id from (
        select d.id, endpoint_of(d.id) as no from unhappy d order by d.id desc
      ) c ${judged(sql, "event", OF_EVENT, events)} ${judged(sql, "delivery", OF_ENDED, ended)}
      where ${sql.unsafe(AT_FLOOR)} order by c.id desc limit ${limit})`,
  };
}

/** Rows read beyond the first round, by all endpoints together. */
const MORE = 500;

/**
 * The ended deliveries, merged from those of each endpoint. A first round reads a few of each; they bound
 * how old the page can be. A second one reads on where more may lie above that bound: usually few endpoints.
 */
function endedHalf(sql: Sql, { ids, ended, events, is_unhappy }: Parts, limit: number): Half {
  const need = ended.length + events.length > 0 ? Math.max(DEPTH, limit) : limit;
  // Written out, not as a parameter: the index is partial.
  const which = sql`${ids} ${is_unhappy ? sql`and d.status <> 'delivered'` : sql``}`;
  const bound = sql.unsafe(`coalesce((select id from bound), '${NO_UUID}')`);
  // As a range, so that only the index with the endpoint in front has the order: of an endpoint with few of these,
  // PostgreSQL would otherwise go through those of all endpoints.
  const of = (no: string) =>
    sql.unsafe(
      is_unhappy ? `d.endpoint_no between ${no} and ${no}` : `d.endpoint_no = ${no}`,
    );
  const newest = sql.unsafe(is_unhappy ? "d.endpoint_no desc, d.id desc" : "d.id desc");
  return {
    ctes: sql`heads as materialized (
      select s.no, array(
          select d.id from ended_deliveries d where ${of("s.no")} and ${which}
          order by ${newest} limit s.reach) as ids, s.reach
      from (
        select no, least(${need}::int, 2 * ${need}::int / (count(*) over ())::int + 1) as reach from streams
      ) s
    ), bound as materialized (
      select h.id from heads, unnest(heads.ids) as h (id) order by h.id desc offset ${
      need - 1
    } limit 1
    ), cut as materialized (
      select h.no, h.last, greatest(1, ${
      sql.unsafe(String(MORE))
    } / (count(*) over ())::int) as reach
      from (select no, ids[reach] as last from heads) h where h.last > ${bound}
    ), tails as materialized (
      select c.no, array(
          select d.id from ended_deliveries d
          where ${of("c.no")} and d.id < c.last and d.id >= ${bound} and ${which}
          order by ${newest} limit c.reach) as ids, c.reach
      from cut c
    )`,
    floor: sql`(select b.id from (
        select id from bound union all select ids[reach] from tails where ids[reach] is not null
      ) b order by b.id desc limit 1)`,
    matches: sql`(
      select c.id from (
        select r.no, i.id from (select no, ids from heads union all select no, ids from tails) r,
          unnest(r.ids) as i (id)
        order by i.id desc
      ) c ${judged(sql, "event", OF_EVENT, events)} ${judged(sql, "delivery", OF_ENDED, ended)}
      where ${sql.unsafe(AT_FLOOR)} order by c.id desc limit ${limit})`,
  };
}

/** Joins rows `c` whose delivery or event meets the conditions: look-ups, where a join might read tables. */
function judged(
  sql: Sql,
  name: "delivery" | "event",
  from: string,
  conditions: readonly Fragment[],
): Fragment {
  if (conditions.length === 0) return sql``;
  return sql`cross join lateral (
    select from ${sql.unsafe(from)} and ${all(sql, conditions)} limit 1) ${sql.unsafe(name)}`;
}

/** The statuses of ended deliveries that a filter wants. */
function endedOf({ statuses }: DeliveryFilter): readonly typeof ENDED[number][] {
  return ENDED.filter((status) => statuses?.includes(status) ?? true);
}

function partsOf(sql: Sql, scope: Scope, filter: DeliveryFilter): Parts {
  const { endpoint, overdue, test, reason, code, type, period, before } = filter;
  const ended = endedOf(filter);
  const of = [
    ...(endpoint === undefined ? [] : [sql`n.id = ${endpoint}`]),
    ...(overdue === true ? [sql`n.paused_at is null and n.retired_at is null`] : []),
  ];
  const endpoints = of.length === 0 && scope === "everything"
    ? undefined
    : sql`${all(sql, [sql`true`, ...of])} ${endpointInScope(sql, scope)}`;
  const due = overdue === true
    ? sql`d.leased_until is null and d.due_at <= now() - ${OVERDUE_MS}::int * interval '1 ms'`
    : undefined;
  const cause = { reason, code };
  const times = withinTimes(sql, period, "d.created_at");
  const bounds = (id: string) =>
    all(sql, [
      sql`true`,
      ...withinIds(sql, period, id),
      ...(before === undefined ? [] : [sql`${sql.unsafe(id)} < ${before}::uuid`]),
    ]);
  return {
    scope,
    endpoints,
    ids: bounds("d.id"),
    event_ids: bounds("e.id"),
    due,
    pending: [
      ...(due === undefined ? [] : [due]),
      ...causeIs(sql, cause, "d.cancel_reason"),
      ...times,
    ],
    ended: [
      ...(ended.length === ENDED.length
        ? []
        : [sql`d.status = any(string_to_array(${ended.join(",")}, ','))`]),
      ...causeIs(sql, cause, "d.reason"),
      ...times,
    ],
    events: [
      ...(type === undefined ? [] : [sql`e.type = ${type}`]),
      ...(test === true ? [sql`e.test`] : []),
      ...(scope === "everything" ? [] : [sql`e.business = ${scope.business}`]),
    ],
    is_unhappy: reason !== undefined || !ended.includes("delivered") ||
      (code != null && !code.startsWith("2")),
  };
}
