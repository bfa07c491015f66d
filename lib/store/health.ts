import postgres, { type Options, type Sql } from "postgres";
import { hasEmbedded, openEmbedded } from "./embedded.ts";
import { TRANSFER_VERSION } from "./migrations.ts";

/** What a database says of itself. */
export interface DatabaseHealth {
  readonly version: string;
  /** Of the schema; null where it has none yet. */
  readonly schema_version: number | null;
  /** Settings without which a power cut costs what was acknowledged: `on` or `off`, and the like. */
  readonly fsync: string;
  readonly synchronous_commit: string;
  readonly full_page_writes: string;
  /** Whether it is a copy that takes no writes. */
  readonly is_replica: boolean;
  /** Its clock less this machine's, in milliseconds; `round_trip_ms` is how exact that is. */
  readonly ahead_ms: number;
  readonly round_trip_ms: number;
}

const CONNECT_TIMEOUT_S = 5;

/** Looks at a server's database, and changes nothing. Rejects where it does not answer. */
export async function inspectServer(url: string): Promise<DatabaseHealth> {
  const sql = postgres(url, {
    max: 1,
    fetch_types: false,
    connect_timeout: CONNECT_TIMEOUT_S,
    onnotice: () => {},
    connection: { application_name: "bookme-webhooks doctor", statement_timeout: 10_000 },
  } as Options<Record<string, never>>);
  try {
    return await inspect(sql);
  } finally {
    await sql.end({ timeout: 2 });
  }
}

/**
 * Looks at an embedded database; undefined where there is none. Throws an `AppError` where another
 * process has it open.
 */
export async function inspectEmbedded(directory: string): Promise<DatabaseHealth | undefined> {
  if (!hasEmbedded(directory)) return undefined;
  const embedded = await openEmbedded(directory, {});
  const sql = postgres({
    max: 1,
    fetch_types: false,
    onnotice: () => {},
    username: "postgres",
    database: "postgres",
    socket: () => embedded.connect(),
  } as Options<Record<string, never>>);
  try {
    return await inspect(sql);
  } finally {
    await sql.end({ timeout: 5 });
    await embedded.close();
  }
}

async function inspect(sql: Sql): Promise<DatabaseHealth> {
  // The first statement opens the connection, which takes longer than the answer.
  const [has] = await sql<{ table: string | null }[]>`
    select to_regclass('migrations')::text as table`;
  const [schema] = has?.table == null ? [] : await sql<{ version: number }[]>`
    select coalesce(max(version), 0) as version from migrations
    where version < ${TRANSFER_VERSION}::int`;
  const asked_ms = Date.now();
  const [row] = await sql<(Omit<DatabaseHealth, "ahead_ms"> & { clock_ms: number })[]>`
    select current_setting('server_version') as version,
      current_setting('fsync') as fsync,
      current_setting('synchronous_commit') as synchronous_commit,
      current_setting('full_page_writes') as full_page_writes,
      pg_is_in_recovery() as is_replica,
      (extract(epoch from clock_timestamp()) * 1000)::float8 as clock_ms`;
  const round_trip_ms = Date.now() - asked_ms;
  if (row === undefined) throw new Error("The database does not answer for itself");
  const { clock_ms, ...said } = row;
  return {
    ...said,
    schema_version: schema?.version ?? null,
    ahead_ms: clock_ms - (asked_ms + round_trip_ms / 2),
    round_trip_ms,
  };
}
