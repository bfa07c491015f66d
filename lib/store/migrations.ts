import { createHash } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import type { Sql } from "postgres";
import { AppError } from "../core/errors.ts";
import { markedMistake, parseMark, readVersions, type Versions } from "./transfer_mark.ts";
import init from "../../migrations/0001_init.sql" with { type: "text" };

/**
 * In order, forward only; a released one is never edited. From the first release on each is additive first,
 * because older daemons go on delivering while it runs and after it: `tests/store/migration_rules.ts`.
 */
const MIGRATIONS: readonly { readonly name: string; readonly sql: string }[] = [
  { name: "0001_init", sql: init },
];

/** Version of the schema that this program works on. */
export const SCHEMA_VERSION = MIGRATIONS.length;

// A number that no other program is likely to lock: "bookme" in ASCII.
const LOCK = 0x626f6f6b6d65;
const ALREADY_APPLIED = "BW001";
// A migration that waits for a table holds up everybody who asks for that table after it, or for those that it
// has: so it gives up soon, lets them through, and comes back.
const LOCK_TIMEOUT_MS = 500;
const LOCK_PAUSE_MS = 2_000;
// Lock not available, deadlock.
const IN_THE_WAY = ["55P03", "40P01"];

/** How a database is migrated. */
export interface MigrateOptions {
  /** The transfer itself asks, of which the database may have the mark. */
  readonly transferring?: boolean;
  /** Ends the waiting for others who use the tables; the promise then rejects. */
  readonly signal?: AbortSignal;
}

/**
 * Brings the database to this program's schema and returns the names of the migrations it applied. Any
 * number of processes may call it at once. Each migration is one batch with its own transaction and
 * lock: a crash leaves it applied or not, and postgres.js is never asked for a transaction (its own are
 * not safe when a connection drops). Throws an `AppError` if the schema is newer than the program, or
 * the database is being transferred or was.
 */
export async function migrate(
  sql: Sql,
  { transferring = false, signal }: MigrateOptions = {},
): Promise<string[]> {
  if (!await checkServer(sql)) {
    // Under the lock, because "if not exists" fails if another process creates it at the same moment.
    await batch(
      sql,
      `create table if not exists migrations (
         version integer primary key, name text not null, applied_at timestamptz not null default now(),
         digest text)`,
      signal,
    );
  }
  const versions = await readVersions(sql);
  const { version: newest, mark } = versions;
  if (mark !== null && !transferring) {
    throw new AppError("conflict", markedMistake(parseMark(mark)));
  }
  if (newest > MIGRATIONS.length) {
    throw new AppError(
      "conflict",
      `The database has schema version ${newest}, and this program knows versions up to ` +
        `${MIGRATIONS.length}; start the newer program that made it, or restore a backup from ` +
        "before the upgrade",
    );
  }
  const mistake = strangeMistake(versions);
  if (mistake !== null) throw new AppError("conflict", mistake);
  return await applyAll(sql, newest, signal);
}

/** Dates the migrations of a database that was made with them, and returns their names. */
export async function adopt(sql: Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    update migrations set applied_at = now() returning name`;
  return rows.map(({ name }) => name).toSorted();
}

async function applyAll(
  sql: Sql,
  newest: number,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const applied: string[] = [];
  for (let version = newest + 1; version <= MIGRATIONS.length; version++) {
    const migration = MIGRATIONS[version - 1];
    if (migration === undefined) break;
    if (await apply(sql, version, migration, signal)) applied.push(migration.name);
  }
  return applied;
}

/**
 * Why this program does not use a database with these versions, with the remedy: a migration has another
 * text than here, so a development version applied it. Null if none has.
 */
export function strangeMistake({ digests }: Versions): string | null {
  const at = MIGRATIONS.findIndex((migration, index) =>
    index < digests.length && digests[index] !== digestOf(migration)
  );
  const strange = MIGRATIONS[at];
  if (strange === undefined) return null;
  return `A development version made this database: its migration ${strange.name} differs from this ` +
    "program's and was never released; use an empty database (another database.directory, or one " +
    "that createdb -E UTF8 -T template0 NAME makes)";
}

function digestOf({ sql }: { readonly sql: string }): string {
  return createHash("sha256").update(sql).digest("hex");
}

/** Checks what the database is, and returns whether it has been migrated before. */
async function checkServer(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ version: number; encoding: string; is_known: boolean }[]>`
    select current_setting('server_version_num')::int as version,
           current_setting('server_encoding') as encoding,
           to_regclass('migrations') is not null as is_known`;
  if (row === undefined) throw new Error("The server reports no version");
  if (row.version < 150_000) {
    throw new AppError(
      "conflict",
      `The server is PostgreSQL ${
        Math.floor(row.version / 10_000)
      }; versions 15 and later are supported`,
    );
  }
  if (row.encoding !== "UTF8") {
    throw new AppError(
      "conflict",
      `The database has the encoding ${row.encoding}; create it with: createdb -E UTF8 -T template0`,
    );
  }
  return row.is_known;
}

async function apply(
  sql: Sql,
  version: number,
  migration: { readonly name: string; readonly sql: string },
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    await batch(
      sql,
      `do $$ begin
         if exists (select from migrations where version = ${version}) then
           raise exception 'applied by another process' using errcode = '${ALREADY_APPLIED}';
         end if;
       end $$;
       ${migration.sql};
       insert into migrations (version, name, digest)
         values (${version}, '${migration.name}', '${digestOf(migration)}')`,
      signal,
    );
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === ALREADY_APPLIED) return false;
    throw error;
  }
}

// Tried until nobody is in the way, or `signal` ends it: a report or a `pg_dump` may hold a table for hours,
// and the older daemons go on meanwhile.
async function batch(
  sql: Sql,
  statements: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (;;) {
    try {
      // The first lock may take as long as another daemon's migration, so it has no limit.
      await sql.unsafe(
        `begin; select pg_advisory_xact_lock(${LOCK});
         set local lock_timeout = ${LOCK_TIMEOUT_MS}; ${statements}; commit`,
      ).simple();
      return;
    } catch (error) {
      await sql.unsafe("rollback").simple().catch(() => {});
      if (!IN_THE_WAY.includes((error as { code?: string }).code ?? "")) throw error;
      await pause(LOCK_PAUSE_MS, undefined, signal === undefined ? {} : { signal });
    }
  }
}
