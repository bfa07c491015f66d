import type { Sql } from "postgres";
import type { Trouble } from "../core/alerting/kinds.ts";
import type { SharedFile } from "../config/shared.ts";
import { CHANNEL, DAEMONS } from "./changes.ts";
import { SEEN } from "./fragments.ts";

/** A socket that a daemon listens on. */
export interface Listener {
  readonly address: string;
  readonly port: number;
}

/** A daemon on the database. */
export interface Daemon {
  /** `dmn_…` */
  readonly id: string;
  /** Equal for daemons on one machine, whose loopback addresses mean the same. */
  readonly machine: string;
  readonly listeners: readonly Listener[];
  readonly version: string;
  /** Digest of its configuration file. */
  readonly file: string;
  readonly troubles: readonly Trouble[];
}

/** A daemon as stored. */
export interface StoredDaemon extends Daemon {
  readonly started_at: Date;
  readonly seen_at: Date;
  readonly stopped_at: Date | null;
  /** Seen within a minute and not stopped. */
  readonly lives: boolean;
}

/** Why a daemon announces itself. A reload makes its file the one seen last. */
export type Occasion = "start" | "beat" | "reload";

/**
 * Announces a daemon, for a minute, and its file. One that starts where nobody else lives takes the place
 * of those that stopped; with `alone`, the database has no other. Returns how long ago it announced itself
 * before, in milliseconds, or null: a long time means that all others may seem to be gone as well.
 */
export async function announce(
  sql: Sql,
  { id, machine, listeners, version, file, troubles }: Daemon,
  { sections, endpoints }: Pick<SharedFile, "sections" | "endpoints">,
  occasion: Occasion,
  alone: boolean,
): Promise<number | null> {
  const [row] = await sql<{ gap_ms: number | null }[]>`
    with gone as (
      delete from daemons where id <> ${id} and (${alone}
        or seen_at not between now() - interval '1 hour' and now() + interval '1 hour'
        or ${occasion === "start"} and stopped_at is not null and not exists (
          select from daemons where id <> ${id} and stopped_at is null and ${sql.unsafe(SEEN)}))
    ), before as materialized (
      select file, extract(epoch from now() - seen_at)::float8 * 1000 as gap_ms
      from daemons where id = ${id}
    ), known as (
      insert into files as f (digest, seen_at, sections, endpoints)
      values (${file},
        greatest(now(), (select max(seen_at) from files) + interval '1 microsecond'),
        ${JSON.stringify(sections)}::text::jsonb, ${JSON.stringify(endpoints)}::text::jsonb)
      on conflict (digest) do update set sections = excluded.sections, endpoints = excluded.endpoints,
        seen_at = case when ${occasion === "reload"} then excluded.seen_at else f.seen_at end
      where f.sections is null or ${occasion === "reload"}
    ), dropped as (
      update files f set sections = null, endpoints = null
      where ${occasion === "start"} and f.sections is not null and f.digest <> ${file}
        and not exists (select from daemons d where d.file = f.digest)
        and not exists (select from file_in_force i where i.digest = f.digest)
    ), mine as (
      insert into daemons (id, machine, listeners, version, file, troubles, seen_at)
      values (${id}, ${machine}, ${JSON.stringify(listeners)}::text::jsonb, ${version}, ${file},
        ${JSON.stringify(troubles)}::text::jsonb, now())
      on conflict (id) do update set file = excluded.file, troubles = excluded.troubles,
        seen_at = excluded.seen_at
    )
    select (select gap_ms from before) as gap_ms,
      case when ${occasion !== "beat"} or not exists (select from before where file = ${file})
        then pg_notify(${CHANNEL}, ${DAEMONS}) end`;
  return row?.gap_ms ?? null;
}

/** Says that a daemon has stopped. */
export async function withdraw(sql: Sql, id: string): Promise<void> {
  await sql`
    with stopped as (
      update daemons set seen_at = now(), stopped_at = now() where id = ${id}
    )
    select pg_notify(${CHANNEL}, ${DAEMONS})`;
}

/** The daemons on the database, and their files. */
export interface Company {
  /** The last one started first; those not seen for an hour are forgotten. */
  readonly daemons: readonly StoredDaemon[];
  /** Digest of the file in force; null before the first. */
  readonly in_force: string | null;
  /** Digest of the file that should be in force, as `newest_held_file` has it. */
  readonly newest: string | null;
  /** The files of these daemons, and the one in force. */
  readonly files: readonly SharedFile[];
}

/** Reads who is on the database with which file. */
export async function readCompany(sql: Sql): Promise<Company> {
  const [state] = await sql<Omit<Company, "daemons">[]>`
    select i.digest as in_force, newest_held_file() as newest,
      coalesce((
        select json_agg(json_build_object(
          'digest', f.digest, 'sections', f.sections, 'endpoints', f.endpoints))
        from files f where f.sections is not null
          and (f.digest = i.digest or f.digest in (select file from daemons))
      ), '[]') as files
    from file_in_force i`;
  if (state === undefined) throw new Error("The table file_in_force is empty");
  const daemons = await sql<StoredDaemon[]>`
    select id, machine, listeners, version, file, troubles, started_at, seen_at, stopped_at,
      stopped_at is null and ${sql.unsafe(SEEN)} as lives
    from daemons order by started_at desc, id`;
  return { ...state, daemons };
}

/** The address of this session as the server sees it; empty on a local socket. */
export async function clientAddress(sql: Sql): Promise<string> {
  const [row] = await sql<{ address: string | null }[]>`
    select host(inet_client_addr()) as address`;
  return row?.address ?? "";
}
