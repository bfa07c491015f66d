import { AppError } from "../core/errors.ts";
import { writeAudit } from "../store/audit.ts";
import type { AdminContext, Asker } from "./context.ts";
import { requireEverything } from "./lookup.ts";

/**
 * The archive of a new backup, which holds everything but the files that stand next to the database. The audit
 * log has it before the first byte is read. Throws an `AppError` with the remedy if the database is on a server,
 * or a backup is under way.
 */
export async function takeBackup(
  { db }: AdminContext,
  by: Asker,
): Promise<AsyncGenerator<Uint8Array>> {
  requireEverything(by);
  if (db.backups === undefined) {
    throw new AppError(
      "conflict",
      "The database is on a server, and backups here are of the embedded one; back up the server with " +
        "pg_basebackup and WAL archiving (docs/operations.md, Backup and restore)",
    );
  }
  return await db.backups.take(() =>
    writeAudit(db.admin, {
      actor: by.actor,
      action: "database.backup_begun",
      object: "database",
    })
  );
}
