import type { Sql } from "postgres";
import { literal } from "./arrays.ts";

/** The table `changes`, as those who follow it read it. */

/** How long changes are kept, and are written after nobody says any more that somebody follows. */
export const KEPT_MS = 600_000;

/** What one statement changed. */
export interface Changes {
  readonly no: number;
  /** When the number was taken, in milliseconds since 1970. */
  readonly at_ms: number;
  /** UUIDs, and the business of each event. */
  readonly events: readonly string[];
  readonly businesses: readonly (string | null)[];
  readonly deliveries: readonly string[];
  /** Ids. */
  readonly endpoints: readonly string[];
  /** UUIDs. */
  readonly replays: readonly string[];
  readonly alerts: readonly string[];
}

/**
 * Has changes written down for the next ten minutes. True if they were not being written: those before are
 * forgotten then, and a row without changes marks the beginning.
 */
export async function keepChanges(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ began: boolean }[]>`
    with was as materialized (
      -- One after the other: a second daemon sees what the first one began.
      select streamed_until > now() as is_on from fleet for update
    ), begun as (
      insert into changes (events) select '{}' from was where not is_on returning no
    ), forgotten as (
      delete from changes c using begun b where c.no < b.no
    ), renewed as (
      update fleet set streamed_until = now() + ${KEPT_MS}::int * interval '1 ms' from was
    )
    select exists (select from begun) as began`;
  return row?.began ?? false;
}

/** The database's time, as text. */
export async function timeNow(sql: Sql): Promise<string> {
  const [row] = await sql<{ at: string }[]>`select clock_timestamp()::text as at`;
  return row?.at ?? "";
}

/**
 * Whether a statement of these daemons is running that began at `at` or before: it may not have seen that
 * its changes are wanted.
 */
export async function runsSince(sql: Sql, at: string): Promise<boolean> {
  const [row] = await sql<{ runs: boolean }[]>`
    select exists (
      select from pg_stat_activity
      where datname = current_database() and usename = current_user and state = 'active'
        and pid <> pg_backend_pid() and xact_start <= ${at}::text::timestamptz
    ) as runs`;
  return row?.runs ?? false;
}

/** Numbers of the first row and the last that are kept. */
export interface Kept {
  readonly first: number;
  readonly last: number;
  /** No row up to here can be missing any more: the next ones are `patience_ms` old. */
  readonly settled: number;
}

/** The numbers that are kept; undefined if changes were never written. */
export async function keptChanges(sql: Sql, patience_ms: number): Promise<Kept | undefined> {
  const [row] = await sql<Kept[]>`
    with bounds as materialized (
      select min(no) as first, max(no) as last from changes
    )
    select first::float8, last::float8, coalesce((
        select no from changes
        where at <= clock_timestamp() - ${patience_ms}::int * interval '1 ms'
        order by no desc limit 1), first)::float8 as settled
    from bounds where first is not null`;
  return row;
}

/**
 * The number to go on from for whoever had read until `at_ms`, milliseconds since 1970: that of the last row
 * taken `slack_ms` before. Undefined if what came after that time is not kept.
 */
export async function numberAt(
  sql: Sql,
  at_ms: number,
  slack_ms: number,
): Promise<number | undefined> {
  const [row] = await sql<{ no: number }[]>`
    select coalesce((
        select no from changes where at <= to_timestamp(${at_ms - slack_ms}::float8 / 1000)
        order by no desc limit 1), first.no)::float8 as no
    from (select no, at from changes order by no limit 1) first
    where first.at <= to_timestamp(${at_ms}::float8 / 1000)`;
  return row?.no;
}

/** A page of changes, in the order of their numbers. */
export interface ChangesPage {
  readonly rows: readonly Changes[];
  /** The database's time, in milliseconds since 1970. */
  readonly now_ms: number;
  /** The first number that is kept. */
  readonly first: number;
}

/** Changes above a number, and those of `missing` that have come; at most `limit`. */
export async function readChanges(
  sql: Sql,
  above: number,
  missing: readonly number[],
  limit: number,
): Promise<ChangesPage> {
  const [row] = await sql<ChangesPage[]>`
    with found as materialized (
      select no from changes where no > ${above}::float8::bigint
      union all
      select no from changes where no = any(${literal(missing)}::bigint[])
      order by no limit ${limit}
    )
    select coalesce((select min(no) from changes), 0)::float8 as first,
      (extract(epoch from clock_timestamp()) * 1000)::float8 as now_ms,
      (select coalesce(json_agg(json_build_object('no', c.no,
          'at_ms', extract(epoch from c.at) * 1000, 'events', c.events, 'businesses', c.businesses,
          'deliveries', c.deliveries, 'endpoints', c.endpoints, 'replays', c.replays,
          'alerts', c.alerts)
          order by c.no), '[]')
        from changes c where c.no in (select no from found)) as rows`;
  if (row === undefined) throw new Error("Reading changes answered nothing");
  return row;
}

/**
 * Forgets changes that are older than ten minutes, at most `limit`. The last row stays, without its content:
 * it says that nothing has happened since.
 */
export async function purgeChanges(sql: Sql, limit: number): Promise<number> {
  const rows = await sql`
    with first as materialized (
      select no, at from changes order by no limit ${limit}
    ), old as materialized (
      select no from first where at < now() - ${KEPT_MS}::int * interval '1 ms'
    ), last as materialized (
      select max(no) as no from changes
    ), blanked as (
      update changes c
      set events = '{}', businesses = '{}', deliveries = '{}', endpoints = '{}', replays = '{}',
        alerts = '{}'
      from last where c.no = last.no and c.no in (select no from old)
        and cardinality(events || deliveries || replays || alerts) + cardinality(endpoints) > 0
    )
    delete from changes c using old, last where c.no = old.no and c.no < last.no
    returning 1`;
  return rows.length;
}
