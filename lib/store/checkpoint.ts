import type { Sql } from "postgres";

/** As much of PostgreSQL's log, in bytes, may be kept for a recovery. */
const MAX_LOG_BYTES = 48 * 1024 * 1024;

/** Makes a checkpoint if so much was written since the last one that its log is worth giving up. */
export async function checkpointIfDue(sql: Sql): Promise<void> {
  const [row] = await sql<{ due: boolean }[]>`
    select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), redo_lsn) > ${MAX_LOG_BYTES} as due
    from pg_control_checkpoint()`;
  if (row?.due === true) await sql`checkpoint`.simple();
}
