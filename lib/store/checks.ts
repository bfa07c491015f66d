import type { Sql } from "postgres";
import type { Finding } from "../core/examination.ts";
import { literal } from "./arrays.ts";

/** How often each receiver is looked at, by whichever daemon comes first. */
const INTERVAL = "1 hour";
/** A new endpoint is looked at soon, but not while somebody is still setting up its receiver. */
const FIRST = "1 minute";

/** What a look at a receiver found. */
export interface Checked {
  readonly ok: boolean;
  readonly findings: readonly Finding[];
  /** Of the receiver's certificate, in milliseconds since 1970; null if none was seen. */
  readonly certificate_ends_at: number | null;
}

/** The last one, as stored. */
export interface StoredCheck {
  readonly endpoint_no: number;
  readonly checked_at: Date;
  readonly ok: boolean;
  readonly findings: readonly Finding[];
  readonly certificate_ends_at: Date | null;
  /** Since when each one has found a fault; null if the last one did not. */
  readonly failing_since: Date | null;
}

/**
 * Takes up to `limit` endpoints in force whose check is due, as numbers: once an hour, about, and once an endpoint has
 * changed. No other daemon takes them meanwhile.
 */
export async function takeChecks(sql: Sql, limit: number): Promise<number[]> {
  const rows = await sql<{ endpoint_no: number }[]>`
    with missing as (
      insert into endpoint_checks (endpoint_no, next_at)
      select n.no, now() + ${FIRST}::text::interval from endpoints n
      where n.retired_at is null and not exists (
        select from endpoint_checks c where c.endpoint_no = n.no)
      on conflict do nothing
    ), due as materialized (
      select c.endpoint_no from endpoint_checks c join endpoints n on n.no = c.endpoint_no
      where n.retired_at is null and (c.next_at <= now() or c.checked_at < n.updated_at)
      order by c.next_at limit ${limit} for update of c skip locked
    )
    update endpoint_checks c
    -- Spread, so that the endpoints of one file are not all looked at in one minute.
    set next_at = now() + ${INTERVAL}::text::interval * (0.9 + 0.2 * random()), checked_at = now()
    where c.endpoint_no = any(array(select endpoint_no from due))
    returning c.endpoint_no`;
  return rows.map(({ endpoint_no }) => endpoint_no);
}

/** Keeps what a look at an endpoint's receiver found. */
export async function storeCheck(
  sql: Sql,
  endpoint_no: number,
  { ok, findings, certificate_ends_at }: Checked,
): Promise<void> {
  await sql`
    insert into endpoint_checks as c
      (endpoint_no, checked_at, next_at, ok, findings, certificate_ends_at, failing_since)
    values (${endpoint_no}, now(), now() + ${INTERVAL}::text::interval, ${ok},
      ${JSON.stringify(findings)}::text::jsonb,
      'epoch'::timestamptz + ${certificate_ends_at}::float8 * interval '1 ms',
      case when not ${ok} then now() end)
    on conflict (endpoint_no) do update set
      checked_at = excluded.checked_at, next_at = greatest(c.next_at, excluded.checked_at), ok = excluded.ok,
      findings = excluded.findings, certificate_ends_at = excluded.certificate_ends_at,
      failing_since = case when excluded.ok then null
        else coalesce(c.failing_since, excluded.failing_since) end`;
}

/** The last checks of these endpoints, as far as there are any. */
export async function readChecks(
  sql: Sql,
  endpoint_nos: readonly number[],
): Promise<StoredCheck[]> {
  return await sql<StoredCheck[]>`
    select endpoint_no, checked_at, ok, findings, certificate_ends_at, failing_since
    from endpoint_checks
    where endpoint_no = any(${literal(endpoint_nos)}::int[]) and ok is not null`;
}
