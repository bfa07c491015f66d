import type { Sql } from "postgres";
import { countMistakes } from "../core/backup.ts";
import { AppError } from "../core/errors.ts";
import type { Archive } from "./archive.ts";
import { exactRows } from "./backup.ts";
import { logged } from "./changes.ts";
import { openSession } from "./connect.ts";
import { restoreEmbedded } from "./embedded.ts";
import { migrate, SCHEMA_VERSION } from "./migrations.ts";

/** The result of a restore. */
export interface Restored {
  /** Rows by table, as the manifest has them. */
  readonly rows: Readonly<Record<string, number>>;
  /** Endpoints that are paused now and were not before. */
  readonly paused: number;
  /** Ids of endpoints that were paused in the backup. */
  readonly paused_before: readonly string[];
  readonly sessions_ended: number;
  readonly portal_links_revoked: number;
}

/**
 * Makes the embedded database of a backup in `directory`, which must be empty but for key and token. Digest
 * and rows are checked, sessions and portal links ended, and every endpoint is paused before the database
 * gets its name: stopped at any moment, there is none. `look` sees it last. Throws an `AppError` if the backup is
 * not whole or newer than this program, or the directory in use.
 */
export async function restore<Seen>(
  archive: Archive,
  directory: string,
  look: (sql: Sql) => Promise<Seen>,
): Promise<Restored & { readonly seen: Seen }> {
  const { manifest, bytes } = archive;
  if (manifest.schema_version > SCHEMA_VERSION) {
    throw new AppError(
      "conflict",
      `The backup has schema version ${manifest.schema_version}, and this program knows versions up to ` +
        `${SCHEMA_VERSION}; restore it with bookme-webhooks ${manifest.program} or newer`,
    );
  }
  const unpack = (cluster: string) => archive.read(cluster);
  return await restoreEmbedded(directory, { bytes, unpack }, async (embedded) => {
    const { sql, close } = openSession(embedded);
    try {
      const rows = await exactRows(sql);
      const mistakes = countMistakes(manifest, rows);
      if (mistakes.length > 0) {
        throw new AppError("conflict", `The backup is not complete: ${mistakes.join(", ")}`);
      }
      await migrate(sql);
      return { rows, ...await hold(sql, manifest.taken_at), seen: await look(sql) };
    } finally {
      await close();
    }
  });
}

// Sessions and links may have been ended since, and receivers may have got since what is still pending here.
async function hold(sql: Sql, taken_at: string): Promise<Omit<Restored, "rows">> {
  const reason = `Restored from the backup of ${taken_at}; resume --all begins delivery`;
  const [row] = await sql<Omit<Restored, "rows">[]>`
    with paused as (
      update endpoints
      set paused_at = now(), pause_reason = ${reason}, paused_by = 'hand', probe_at = null,
        updated_at = now()
      where retired_at is null and (paused_at is null or paused_by = 'automatic')
      returning id
    ), ended as (
      delete from sessions returning 1
    ), revoked as (
      update portal_links set revoked_at = now()
      where revoked_at is null and expires_at > now() returning 1
    ), changed as materialized (
      select jsonb_build_object('paused', (select count(*) from paused),
        'sessions_ended', (select count(*) from ended),
        'portal_links_revoked', (select count(*) from revoked)) as found
    ), revised as (
      update fleet set revision = revision + 1
    ), ${
    logged(sql, {
      actor: { name: "restore", address: null },
      action: "database.restored",
      object: "database",
      after: { taken_at },
    }, "found")
  }
    select (found ->> 'paused')::int as paused,
      (found ->> 'sessions_ended')::int as sessions_ended,
      (found ->> 'portal_links_revoked')::int as portal_links_revoked,
      (select coalesce(json_agg(id order by id), '[]') from endpoints
        where retired_at is null and paused_at is not null and paused_by <> 'automatic')
        as paused_before
    from changed`;
  if (row === undefined) throw new Error("The restored database could not be held");
  return row;
}
