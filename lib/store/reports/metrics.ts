import type { Sql } from "postgres";
import { SEEN } from "../fragments.ts";

/** What the metrics of all daemons have in common. */
export interface SharedMetrics {
  readonly endpoints: readonly EndpointMetrics[];
  readonly alerts: Readonly<Record<string, number>>;
  readonly daemons: number;
  readonly schema_version: number;
}

/** An endpoint in force. Durations in milliseconds, times in milliseconds since 1970. */
export interface EndpointMetrics {
  readonly endpoint: string;
  readonly no: number;
  readonly paused: boolean;
  /** Up to 10,000. */
  readonly pending: number;
  /** For how long the first due delivery that nobody sends has been due; 0 without one, and while paused. */
  readonly overdue_ms: number;
  readonly certificate_ends_at: number | null;
}

/** Most pending deliveries of an endpoint that are counted: by the index alone, in microseconds each. */
export const MAX_PENDING = 10_000;
/** The first due deliveries of an endpoint among which one that is not leased is looked for. */
const MAX_LEASED = 2_000;

/** Reads them: of each endpoint a part of an index, of the other tables a few rows. */
export async function readSharedMetrics(sql: Sql): Promise<SharedMetrics> {
  const [row] = await sql<SharedMetrics[]>`
    select coalesce((
        select json_agg(json_build_object('endpoint', n.id, 'no', n.no,
          'paused', n.paused_at is not null, 'pending', p.pending,
          'overdue_ms', case when n.paused_at is null and o.due_at is not null
            then (date_part('epoch', now() - o.due_at) * 1000)::float8 else 0 end,
          'certificate_ends_at', (date_part('epoch', c.certificate_ends_at) * 1000)::float8) order by n.no)
        from endpoints n
        cross join lateral (
          select count(*)::int as pending from (
            select from pending_deliveries q where q.endpoint_no = n.no
            order by q.due_at limit ${MAX_PENDING}) counted
        ) p
        left join lateral (
          select f.due_at from (
            select q.due_at, q.leased_until from pending_deliveries q
            where q.endpoint_no = n.no and q.due_at <= now() order by q.due_at limit ${MAX_LEASED}
          ) f where f.leased_until is null order by f.due_at limit 1
        ) o on true
        left join endpoint_checks c on c.endpoint_no = n.no
        where n.retired_at is null
      ), '[]') as endpoints,
      (select coalesce(json_object_agg(kind, open), '{}') from (
        select kind, count(*)::int as open from alerts where ended_at is null group by kind) a) as alerts,
      (select count(*)::int from daemons where stopped_at is null and ${
    sql.unsafe(SEEN)
  }) as daemons,
      (select coalesce(max(version), 0)::int from migrations) as schema_version`;
  if (row === undefined) throw new Error("The metrics came back empty");
  return row;
}
