import type { Sql } from "postgres";
import type { Scope } from "../../core/scope.ts";
import { uuidLiteral } from "../arrays.ts";
import type { Fragment } from "../changes.ts";
import { causeIs } from "../fragments.ts";
import {
  missingSeen,
  type ReplayedStatus,
  searched,
  selected,
  statusIs,
} from "../replay_search.ts";
import type { Matched, ReplaySelection } from "../replays.ts";
import { actorInScope, endpointInScope, eventInScope } from "../scope.ts";
import {
  all,
  type Bounded,
  type Page,
  pageOf,
  type Paging,
  type Period,
  withinPeriod,
} from "./page.ts";

/** A replay and how far it is. */
export interface ReplayRow {
  readonly uuid: string;
  readonly created_at: Date;
  readonly created_by: string;
  /** Endpoint id, or null for all. */
  readonly endpoint: string | null;
  readonly missing: boolean;
  readonly statuses: readonly ReplayedStatus[];
  readonly type: string | null;
  readonly reason: string | null;
  readonly code: string | null;
  readonly since: Date;
  readonly until: Date;
  readonly rate_per_s: number | null;
  readonly matched: number;
  readonly matched_exact: boolean;
  /** A bigint, as text. */
  readonly replayed: string;
  readonly without_payload: string;
  readonly state: "running" | "done" | "cancelled";
  readonly ended_at: Date | null;
}

/**
 * How far a count goes: `whole` ends within seconds, for whoever asks for the number; `glance` is for a page, which
 * must be there at once. `counted` are counted exactly, and as many as `read` are read for that.
 */
const DEPTHS = {
  whole: {
    matched: { counted: 100_000, read: 200_000 },
    delivered: { counted: 10_000, read: 200_000 },
  },
  glance: {
    matched: { counted: 5_000, read: 10_000 },
    // Each one read is a look-up in attempts.
    delivered: { counted: 1_000, read: 2_000 },
  },
} as const;

/** How far a count goes. */
export type CountDepth = keyof typeof DEPTHS;

/** What a replay would find. */
export interface Counted {
  readonly matched: Matched;
  /** Of these, those whose payload is gone. */
  readonly without_payload: Bounded;
}

/** Counts a selection as it is now: exactly up to the depth's number, unless matches are rare. */
export async function countReplay(
  sql: Sql,
  scope: Scope,
  selection: ReplaySelection,
  depth: CountDepth,
): Promise<Counted> {
  const { type, since, until } = selection;
  const most = DEPTHS[depth].matched;
  const [row] = await sql<{ count: number; payloads: number; seen: number }[]>`
    with ${
    selection.missing
      ? missingCounted(sql, selection, most.read)
      : deliveriesCounted(sql, selection, most.read)
  },
    found as materialized (
      select s.id from seen s join endpoints n on n.no = s.endpoint_no
      where s.is_selected and s.created_at >= ${since}::text::timestamptz
        and s.created_at < ${until}::text::timestamptz and n.retired_at is null
        ${endpointInScope(sql, scope)}
        ${ofType(sql, type)}
      limit ${most.counted + 1}
    )
    select (select count(*) from seen)::int as seen, count(*)::int as count,
      (count((select e.id from events e where e.id = event_of(f.id) and e.payload is not null)))::int
        as payloads
    from found f`;
  const { count = 0, payloads = 0, seen = 0 } = row ?? {};
  const exact = count <= most.counted && seen < most.read;
  const matched = Math.min(count, most.counted);
  return {
    matched: { count: matched, exact },
    without_payload: { value: Math.min(count - payloads, matched), exact },
  };
}

/** Keeps the deliveries `s` whose events have the type, if one is asked for. */
function ofType(sql: Sql, type: string | null): Fragment {
  return type === null
    ? sql``
    : sql`and (select e.type from events e where e.id = event_of(s.id)) = ${type}`;
}

/** The CTE `seen` of the deliveries that a selection is counted among. */
function deliveriesCounted(sql: Sql, selection: ReplaySelection, limit: number): Fragment {
  const first = sql`${selection.first_uuid}::uuid`;
  const last = sql`${selection.last_uuid}::uuid`;
  const { from, which } = selection.statuses.includes("pending")
    ? {
      from: waitingOf(sql, selection.endpoint_no, limit),
      which: sql`d.id > ${first} and d.id <= ${last}`,
    }
    : searched(sql, selection, { first, last, position: first }, limit);
  return sql`
    seen as materialized (
      select d.id, d.created_at, d.endpoint_no, ${selected(sql, selection)} as is_selected
      from ${from} where ${which} limit ${limit}
    )`;
}

/** The CTE `seen` of the deliveries that an endpoint was never owed. */
function missingCounted(sql: Sql, selection: ReplaySelection, limit: number): Fragment {
  return sql`
    asked as (
      select ${selection.endpoint_no}::int as endpoint_no, ${selection.first_uuid}::uuid as position,
        ${selection.last_uuid}::uuid as last_id
    ), ${sql.unsafe(missingSeen("asked", limit))}`;
}

/**
 * Counts the deliveries that a replay of failed ones leaves out because they have been delivered since: those
 * in which an attempt failed for the reason that is asked for. None for other statuses.
 */
export async function countDeliveredSince(
  sql: Sql,
  selection: ReplaySelection,
  depth: CountDepth,
): Promise<Bounded> {
  const most = DEPTHS[depth].delivered;
  const { statuses, type, since, until, endpoint_no, owner } = selection;
  if (!statuses.includes("failed") || statuses.includes("delivered")) {
    return { value: 0, exact: true };
  }
  const first = sql`${selection.first_uuid}::uuid`;
  const last = sql`${selection.last_uuid}::uuid`;
  const failed = all(sql, [
    sql`d.last_outcome <> 'delivered'`,
    ...causeIs(sql, selection, "d.cancel_reason"),
  ]);
  const [row] = await sql<{ count: number; seen: number }[]>`
    with seen as materialized (
      select d.id, d.created_at from endpoints x cross join lateral (
        select d.id, d.created_at from ended_deliveries d
        where d.endpoint_no = x.no and d.id > ${first} and d.id <= ${last}
          and d.status = 'delivered' and d.attempts > 1
        order by d.id limit ${most.read}
      ) d
      where true ${endpoint_no === null ? sql`` : sql`and x.no = ${endpoint_no}`}
        ${owner === null ? sql`` : sql`and x.owner = ${owner}`}
      limit ${most.read}
    )
    select (select count(*) from seen)::int as seen, (select count(*) from (
      select from seen s
      where s.created_at >= ${since}::text::timestamptz
        and s.created_at < ${until}::text::timestamptz
        ${ofType(sql, type)}
        -- Each is a look-up in attempts, whose columns are named as in deliveries here.
        and (select true from (
            select a.outcome as last_outcome, a.status as last_status, null::text as cancel_reason
            from attempts a where a.delivery_id = s.id
          ) d where ${failed} limit 1)
      limit ${most.counted + 1}
    ) found)::int as count`;
  const { count = 0, seen = 0 } = row ?? {};
  return {
    value: Math.min(count, most.counted),
    exact: count <= most.counted && seen < most.read,
  };
}

/** Retired endpoints that are named. */
export const MAX_RETIRED = 5;

/** Ids of retired endpoints that have ended deliveries of this selection, one more than are named at most. */
export async function retiredAmong(
  sql: Sql,
  { statuses, owner, since, first_uuid, last_uuid }: ReplaySelection,
): Promise<string[]> {
  if (statuses.includes("pending")) return [];
  const rows = await sql<{ id: string }[]>`
    select n.id from endpoints n cross join lateral (
      select from ended_deliveries d
      where d.endpoint_no = n.no and d.id > ${first_uuid}::uuid and d.id <= ${last_uuid}::uuid
        and ${statusIs(sql, statuses)}
      limit 1
    ) d
    where n.retired_at >= ${since}::text::timestamptz
      ${owner === null ? sql`` : sql`and n.owner = ${owner}`}
    order by n.retired_at desc limit ${MAX_RETIRED + 1}`;
  return rows.map(({ id }) => id);
}

/** Whether an event within the scope was received in this period: ISO 8601, the end not included. */
export async function anyReceived(
  sql: Sql,
  scope: Scope,
  period: Period,
): Promise<boolean> {
  const [row] = await sql<{ found: boolean }[]>`
    select exists (
      select from events e
      where ${all(sql, withinPeriod(sql, period, "e.id", "e.received_at"))} and not e.test
        ${eventInScope(sql, scope)}
    ) as found`;
  return row?.found ?? false;
}

/** A retired endpoint with the URL of one in force. */
export interface Predecessor {
  readonly id: string;
  readonly retired_at: Date;
}

/** The last retired endpoints within the scope that had this one's URL. */
export async function predecessorsOf(
  sql: Sql,
  scope: Scope,
  { no, url }: { readonly no: number; readonly url: string },
): Promise<Predecessor[]> {
  return await sql<Predecessor[]>`
    select n.id, n.retired_at from endpoints n
    where n.url = ${url} and n.no <> ${no} and n.retired_at is not null ${
    endpointInScope(sql, scope)
  }
    order by n.retired_at desc limit 3`;
}

/** Pending deliveries `d` not due yet, by index: any number of due ones may lie between them. */
function waitingOf(sql: Sql, endpoint_no: number | null, limit: number): Fragment {
  return sql`(
    select p.* from endpoints x cross join lateral (
      select * from pending_deliveries q where q.endpoint_no = x.no and q.due_at > now()
      limit ${limit}) p
    ${endpoint_no === null ? sql`` : sql`where x.no = ${endpoint_no}`}
  ) d`;
}

const COLUMNS = `r.id as uuid, r.created_at,
  (select n.id from endpoints n where n.no = r.endpoint_no) as endpoint,
  r.missing, array_to_json(r.statuses) as statuses, r.type, r.reason, r.code, r.since, r.until, r.rate_per_s, r.matched,
  r.matched_exact, r.replayed, r.without_payload, r.state, r.ended_at`;

/** One replay, or undefined. */
export async function getReplay(
  sql: Sql,
  scope: Scope,
  uuid: string,
): Promise<ReplayRow | undefined> {
  const [row] = await sql<ReplayRow[]>`
    select ${sql.unsafe(COLUMNS)}, ${actorInScope(sql, scope, "r.created_by")} as created_by
    from replays r
    where r.id = ${uuid}::uuid ${replayInScope(sql, scope)}`;
  return row;
}

/** Those of these replays that are there, the newest first. */
export async function replaysById(
  sql: Sql,
  scope: Scope,
  uuids: readonly string[],
): Promise<ReplayRow[]> {
  return await sql<ReplayRow[]>`
    select ${sql.unsafe(COLUMNS)} from replays r
    where r.id = any(${uuidLiteral(uuids)}::uuid[]) ${replayInScope(sql, scope)}
    order by r.id desc`;
}

/** Replays, newest first. */
export async function listReplays(
  sql: Sql,
  scope: Scope,
  { before, limit }: Paging,
): Promise<Page<ReplayRow>> {
  const rows = await sql<ReplayRow[]>`
    select ${sql.unsafe(COLUMNS)}, ${actorInScope(sql, scope, "r.created_by")} as created_by
    from replays r
    where true ${before === undefined ? sql`` : sql`and r.id < ${before}::uuid`}
      ${replayInScope(sql, scope)}
    order by r.id desc limit ${limit + 1}`;
  return pageOf(rows, limit, (row) => row.uuid);
}

/** Keeps the replays of the scope's business: those it made, and an operator's to one of its endpoints. */
function replayInScope(sql: Sql, scope: Scope): Fragment {
  return scope === "everything" ? sql`` : sql`
    and (r.owner = ${scope.business} or r.endpoint_no in (
      select n.no from endpoints n where true ${endpointInScope(sql, scope)}))`;
}
