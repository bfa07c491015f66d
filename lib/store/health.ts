import type { Sql } from "postgres";
import type { DatabaseAddress } from "../core/database_address.ts";
import { openPool, openSession } from "./connect.ts";
import { makeConnector } from "./connection/connector.ts";
import { hasEmbedded, openEmbedded } from "./embedded.ts";
import { strangeMistake } from "./migrations.ts";
import { markedMistake, parseMark, readVersions } from "./transfer_mark.ts";

/** A database's condition, as it reports it. */
export interface DatabaseHealth {
  readonly version: string;
  /** Null if it has no schema yet. */
  readonly schema_version: number | null;
  /**
   * Why no daemon uses it, with the remedy: it is one side of a transfer, or a development version made it.
   * Null if neither.
   */
  readonly unusable: string | null;
  /** Settings without which a power cut loses acknowledged events: `on`, `off` and the like. */
  readonly fsync: string;
  readonly full_page_writes: string;
  readonly encoding: string;
  /** The role that this program is, and the schema that its tables are in, or will be. */
  readonly role: string;
  readonly schema: string | null;
  /** Whether the role may make tables there. */
  readonly may_create: boolean;
  /** Tables that the role may not read and write. */
  readonly forbidden: readonly string[];
  /** The owner of the partitioned tables, unless the role has its rights: only with these it can make partitions. */
  readonly owner: string | null;
  /** Endpoints in force whose secrets are sealed under an `encryption_key`. */
  readonly sealed: number;
  /** Its clock minus this machine's, in milliseconds, give or take half of `round_trip_ms`. */
  readonly ahead_ms: number;
  readonly round_trip_ms: number;
}

const APPLICATION = "bookme-webhooks doctor";

/**
 * Inspects a server's database without changing anything. Rejects if it does not answer, or accepts no
 * writes.
 */
export async function inspectServer(address: DatabaseAddress): Promise<DatabaseHealth> {
  const pool = openPool(makeConnector(address), {
    application_name: APPLICATION,
    settings: { statement_timeout: 10_000 },
    max: 1,
  });
  try {
    return await inspect(pool.sql);
  } finally {
    await pool.close();
  }
}

/**
 * Inspects an embedded database; undefined if the directory holds none. Throws an `AppError` if another
 * process has it open.
 */
export async function inspectEmbedded(directory: string): Promise<DatabaseHealth | undefined> {
  if (!hasEmbedded(directory)) return undefined;
  const session = openSession(await openEmbedded(directory, {}));
  try {
    return await inspect(session.sql);
  } finally {
    await session.close();
  }
}

async function inspect(sql: Sql): Promise<DatabaseHealth> {
  // The first statement also opens the connection, so it is not the one that is timed.
  const [has] = await sql<
    { table: string | null; forbidden: readonly string[]; owner: string | null }[]
  >`
    select to_regclass('migrations')::text as table, array_to_json(array(
      select relname::text from pg_class
      where relnamespace = to_regnamespace(current_schema()) and relkind in ('r', 'p')
        and not relispartition and not (has_table_privilege(oid, 'select') and has_table_privilege(oid, 'insert')
          and has_table_privilege(oid, 'update') and has_table_privilege(oid, 'delete'))
      order by relname)) as forbidden,
      (select pg_get_userbyid(relowner)::text from pg_class
        where relnamespace = to_regnamespace(current_schema()) and relkind = 'p'
          and not pg_has_role(relowner, 'usage') limit 1) as owner`;
  const forbidden = has?.table == null ? [] : has.forbidden;
  // Without the right to read them these would fail.
  const { version = null, sealed = 0, unusable = null } = has?.table == null || forbidden.length > 0
    ? {}
    : await inspectTables(sql);
  const asked_ms = Date.now();
  const [row] = await sql<(Measured & { clock_ms: number })[]>`
    select current_setting('server_version') as version,
      current_setting('fsync') as fsync,
      current_setting('full_page_writes') as full_page_writes,
      current_setting('server_encoding') as encoding,
      current_user::text as role,
      current_schema()::text as schema,
      coalesce(has_schema_privilege(current_schema(), 'create'), false) as may_create,
      (extract(epoch from clock_timestamp()) * 1000)::float8 as clock_ms`;
  const round_trip_ms = Date.now() - asked_ms;
  if (row === undefined) throw new Error("The database reports no settings");
  const { clock_ms, ...settings } = row;
  return {
    ...settings,
    schema_version: version,
    unusable,
    forbidden,
    owner: has?.owner ?? null,
    sealed,
    ahead_ms: clock_ms - (asked_ms + round_trip_ms / 2),
    round_trip_ms,
  };
}

/** What one statement reads. */
type Measured = Omit<
  DatabaseHealth,
  "schema_version" | "unusable" | "forbidden" | "owner" | "sealed" | "ahead_ms" | "round_trip_ms"
>;

async function inspectTables(sql: Sql): Promise<{
  version: number;
  sealed: number;
  unusable: string | null;
}> {
  const versions = await readVersions(sql);
  const { version, mark } = versions;
  const unusable = mark === null ? strangeMistake(versions) : markedMistake(parseMark(mark));
  if (version === 0 || unusable !== null) return { version, sealed: 0, unusable };
  const [count] = await sql<{ sealed: number }[]>`
    select count(*)::int as sealed from endpoints where sealed is not null and retired_at is null`;
  return { version, sealed: count?.sealed ?? 0, unusable };
}
