import type { Sql } from "postgres";
import type { Scope } from "../../core/scope.ts";
import type { Fragment } from "../changes.ts";
import {
  type Matched,
  type ReplayedStatus,
  type ReplaySelection,
  searched,
  selected,
} from "../replays.ts";
import { actorInScope, numberInScope } from "../scope.ts";
import { type Page, pageOf, type Paging } from "./page.ts";

/** A replay and how far it is. */
export interface ReplayRow {
  readonly uuid: string;
  readonly created_at: Date;
  readonly created_by: string;
  /** Endpoint id, or null for all. */
  readonly endpoint: string | null;
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

/** Deliveries that are counted exactly. */
export const MAX_COUNTED = 100_000;
/** Deliveries read for that: it must end within seconds. */
const MAX_COUNT_DEPTH = 200_000;

/** Counts a selection as it is now: exactly up to `MAX_COUNTED`, unless matches are rare. */
export async function countReplay(
  sql: Sql,
  scope: Scope,
  selection: ReplaySelection,
): Promise<Matched> {
  const { statuses, endpoint_no, type, since, until } = selection;
  const first = sql`${selection.first_uuid}::uuid`;
  const last = sql`${selection.last_uuid}::uuid`;
  const { from, which } = statuses.includes("pending")
    ? { from: waitingOf(sql, endpoint_no), which: sql`d.id > ${first} and d.id <= ${last}` }
    : searched(sql, statuses, endpoint_no, { first, last, position: first }, MAX_COUNT_DEPTH);
  const [row] = await sql<{ count: number; seen: number }[]>`
    with seen as materialized (
      select d.id, d.created_at, d.endpoint_no, ${selected(sql, selection)} as is_selected
      from ${from}
      where ${which} ${numberInScope(sql, scope, "d.endpoint_no")}
      limit ${MAX_COUNT_DEPTH}
    )
    select (select count(*) from seen)::int as seen, (select count(*) from (
      select from seen s join endpoints n on n.no = s.endpoint_no
      where s.is_selected and s.created_at >= ${since}::text::timestamptz
        and s.created_at < ${until}::text::timestamptz and n.retired_at is null
        ${
    type === null
      ? sql``
      : sql`and (select e.type from events e where e.id = event_of(s.id)) = ${type}`
  }
      limit ${MAX_COUNTED + 1}
    ) found)::int as count`;
  const { count = 0, seen = 0 } = row ?? {};
  return {
    count: Math.min(count, MAX_COUNTED),
    exact: count <= MAX_COUNTED && seen < MAX_COUNT_DEPTH,
  };
}

/** Pending deliveries `d` not due yet, by index: any number of due ones may lie between them. */
function waitingOf(sql: Sql, endpoint_no: number | null): Fragment {
  return sql`(
    select p.* from endpoints x cross join lateral (
      select * from pending_deliveries q where q.endpoint_no = x.no and q.due_at > now()
      limit ${MAX_COUNT_DEPTH}) p
    ${endpoint_no === null ? sql`` : sql`where x.no = ${endpoint_no}`}
  ) d`;
}

const COLUMNS = `r.id as uuid, r.created_at,
  (select n.id from endpoints n where n.no = r.endpoint_no) as endpoint,
  array_to_json(r.statuses) as statuses, r.type, r.reason, r.code, r.since, r.until, r.rate_per_s, r.matched,
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
    where r.id = ${uuid}::uuid ${numberInScope(sql, scope, "r.endpoint_no")}`;
  return row;
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
      ${numberInScope(sql, scope, "r.endpoint_no")}
    order by r.id desc limit ${limit + 1}`;
  return pageOf(rows, limit, (row) => row.uuid);
}
