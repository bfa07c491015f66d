import type { Sql } from "postgres";

/** As much of PostgreSQL's log, in bytes, may be kept for a recovery. */
const MAX_LOG_BYTES = 48 * 1024 * 1024;
/** A backup needs the log since it began; one that takes longer than this is given up. */
const MAX_BACKUP_LOG_BYTES = 2 * 1024 * 1024 * 1024;

/** Makes a checkpoint if so much was written since the last one that its log is worth giving up. */
export async function checkpointIfDue(sql: Sql, is_backed_up: boolean): Promise<void> {
  const max_bytes = is_backed_up ? MAX_BACKUP_LOG_BYTES : MAX_LOG_BYTES;
  const [row] = await sql<{ due: boolean }[]>`
    select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), redo_lsn) > ${max_bytes}::bigint as due
    from pg_control_checkpoint()`;
  if (row?.due === true) await sql`checkpoint`.simple();
}
