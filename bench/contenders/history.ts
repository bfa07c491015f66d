import type { Sql } from "postgres";
import { OUTCOMES } from "../../lib/core/outcome.ts";
import { literal } from "../../lib/store/arrays.ts";
import { rollUp } from "../../lib/store/stats.ts";
import { BODY_PARTS, NUMBER_DIGITS } from "../workload.ts";
import type { Database } from "../harness/postgres.ts";
import { openServer } from "./bookme.ts";

/** One delivery of so many has failed, after so many attempts; the others needed one. */
const FAILED_EVERY = 20;
export const ATTEMPTS_OF_FAILED = 6;
/** Events that one statement stores. */
const PORTION = 4_000;
const DAY_MS = 86_400_000;

/** Attempts of an event that is owed to so many endpoints. */
export function attemptsPerEvent(endpoints: number): number {
  return endpoints * (1 + (ATTEMPTS_OF_FAILED - 1) / FAILED_EVERY);
}

/** The values that all attempts have, or that follow from their time. */
const ATTEMPT = `1, at, '127.0.0.1:8080', extract(epoch from at)::bigint,
  decode(repeat('0123456789abcdef', 4), 'hex'), decode(repeat('0123456789abcdef', 4), 'hex'),
  e'HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nContent-Length: 2\\r\\n\\r\\n', 'ok'::bytea, false`;

/** Stores events of the last 24 hours, each ended at every endpoint, in portions. */
export async function loadHistory(sql: Sql, events: number): Promise<void> {
  await sql`select make_partitions(first_id_at(now() - interval '25 hours'))`;
  for (let first = 0; first < events; first += PORTION) {
    const last = Math.min(first + PORTION, events) - 1;
    // By the clock of each portion: when all is loaded, the last hour is as full as the others.
    const end_ms = Date.now();
    await sql`
      with numbers as (
        select n, (${end_ms}::float8 - ${DAY_MS}::float8 * (${events}::int - n) / ${events}::int)
          ::bigint as ms
        from generate_series(${first}::int, ${last}::int) n
      ), fresh as materialized (
        select n, to_timestamp(ms / 1000.0) as at,
          lpad(to_hex(ms), 12, '0') || '700080000000' as digits
        from numbers
      ), stored as (
        insert into events (id, type, business, subject, confirmation, received_at, payload)
        select (digits || '00000000')::uuid, 'booking.created', 'bus_' || n % 1000, 'apt_' || n,
          'BK' || n, at, ${BODY_PARTS.before}::text || 'bus_' || n % 1000 ||
          ${BODY_PARTS.middle}::text || lpad(n::text, ${NUMBER_DIGITS}::int, '0') ||
          ${BODY_PARTS.after}::text
        from fresh
      ), owed as materialized (
        select *, case when failed then 'http_5xx' else 'delivered' end as outcome,
          case when failed then 503 else 200 end as status
        from (
          select f.at, e.no, (digits || lpad(to_hex(e.no), 8, '0'))::uuid as id,
            5 * 2 ^ (random() * 5) * interval '1 ms' as duration,
            (f.n + e.no) % ${FAILED_EVERY}::int = 0 as failed
          from fresh f cross join endpoints e
        ) x
      ), ended as (
        insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts,
          last_outcome, last_status, last_attempt_at, endpoint_version, started_at, address,
          request_timestamp, request_signature, request_webhook_signature, response_head, response_body,
          response_truncated)
        select id, no, at, at + duration, case when failed then 'failed' else 'delivered' end, 1,
          case when failed then ${ATTEMPTS_OF_FAILED}::int else 1 end, outcome, status, at + duration,
          ${sql.unsafe(ATTEMPT)}
        from owed
      )
      insert into attempts (delivery_id, number, endpoint_no, outcome, status, ended_at, endpoint_version,
        started_at, address, request_timestamp, request_signature,
        request_webhook_signature, response_head, response_body, response_truncated)
      select id, number, no, outcome, status, at + duration, ${sql.unsafe(ATTEMPT)}
      from owed cross join generate_series(1, ${ATTEMPTS_OF_FAILED - 1}::int) number
      where failed order by id, number`;
  }
}

/** Counts the attempts into the rollups as the daemon's sweep does, which would take its time over a whole day. */
export async function countHistory({ sql, url }: Pick<Database, "sql" | "url">): Promise<void> {
  // Not on one of the daemon's own connections, whose statements must end in time.
  await sql`
    insert into uncounted_attempts
      (recorded_at, endpoint_nos, outcomes, numbers, durations_ms, ages_ms, lags_ms)
    select date_trunc('minute', ended_at), array_agg(endpoint_no),
      array_agg(array_position(${literal(OUTCOMES)}::text[], outcome)::smallint),
      array_agg(number), array_agg(ms::real), array_agg(ms::real), array_agg(0::real)
    from attempts_all, lateral (select date_part('epoch', ended_at - started_at) * 1000 as ms) d
    -- As many in a row as one statement records.
    group by date_trunc('minute', ended_at), hashtext(delivery_id::text) % 16`;
  const db = await openServer(url);
  try {
    while ((await rollUp(db.admin)).is_behind);
  } finally {
    await db.close();
  }
}
