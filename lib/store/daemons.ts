import type { Sql } from "postgres";
import { CHANNEL } from "./changes.ts";

/** A socket that a daemon listens on. */
export interface Listener {
  readonly address: string;
  readonly port: number;
}

/** A daemon on the database. */
export interface Daemon {
  readonly id: string;
  /** Equal for daemons on one machine, whose loopback addresses mean the same. */
  readonly machine: string;
  readonly listeners: readonly Listener[];
}

/** The payload on `CHANNEL` that says that a daemon came. */
export const DAEMONS = "daemons";

/**
 * Announces a daemon, for a minute, and returns the others that did so within the last one. Those that
 * are older are forgotten.
 */
export async function announce(
  sql: Sql,
  { id, machine, listeners }: Daemon,
): Promise<readonly Daemon[]> {
  const rows = await sql<{ others: readonly Daemon[] }[]>`
    with gone as (
      delete from daemons where seen_at < now() - interval '1 minute' and id <> ${id}::uuid
    ), known as (
      select from daemons where id = ${id}::uuid
    ), mine as (
      insert into daemons (id, machine, listeners, seen_at)
      values (${id}::uuid, ${machine}, ${JSON.stringify(listeners)}::text::jsonb, now())
      on conflict (id) do update set machine = excluded.machine, listeners = excluded.listeners,
        seen_at = excluded.seen_at
    )
    select coalesce(json_agg(json_build_object(
        'id', id, 'machine', machine, 'listeners', listeners)), '[]') as others,
      case when not exists (select from known) then pg_notify(${CHANNEL}, ${DAEMONS}) end
    from daemons where id <> ${id}::uuid and seen_at >= now() - interval '1 minute'`;
  return rows[0]?.others ?? [];
}

/** Withdraws a daemon that stops. */
export async function withdraw(sql: Sql, id: string): Promise<void> {
  await sql`delete from daemons where id = ${id}::uuid`;
}
