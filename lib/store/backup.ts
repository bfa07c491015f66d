import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { Sql } from "postgres";
import {
  CLUSTER_ENTRY,
  DIGEST_ENTRY,
  FORMAT,
  type Manifest,
  MANIFEST_ENTRY,
  type RowBounds,
} from "../core/backup.ts";
import { AppError } from "../core/errors.ts";
import { paddingOf, TAR_END, tarHeader } from "../core/tar.ts";
import { VERSION } from "../core/version.ts";
import { SCHEMA_VERSION } from "./migrations.ts";

/** Takes backups of an embedded database while it is used: one at a time. */
export interface Backups {
  /** PostgreSQL's log must be kept meanwhile. */
  readonly under_way: boolean;
  /**
   * The archive of a new backup, once `begin` is done; it ends when it was read, or by its `return`. Throws an
   * `AppError` if another one is under way. The archive throws an `AppError` if it cannot be finished.
   */
  take(begin: () => Promise<void>): Promise<AsyncGenerator<Uint8Array>>;
}

/** Backups of the database that `sql` uses, in that directory. */
export function makeBackups(sql: Sql, directory: string): Backups {
  let under_way = false;
  async function* taken(): AsyncGenerator<Uint8Array> {
    try {
      yield* archive(sql, `${directory}/postgres`);
    } finally {
      under_way = false;
    }
  }
  return {
    get under_way() {
      return under_way;
    },
    async take(begin) {
      if (under_way) {
        throw new AppError("conflict", "A backup is under way; wait until it has ended");
      }
      under_way = true;
      try {
        await begin();
      } catch (error) {
        under_way = false;
        throw error;
      }
      return taken();
    },
  };
}

/** PostgreSQL makes these again, or must not find them (as pg_basebackup has it). */
const LEFT_OUT = new Set([
  "postmaster.pid",
  "postmaster.opts",
  "pg_internal.init",
  "backup_label.old",
]);
/** Directories of which only the name is copied. The log follows at the end. */
const EMPTIED = new Set([
  ...["pg_wal", "pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots"],
  ...["pg_stat_tmp", "pg_subtrans"],
]);
const LOG = "pg_wal";
const CONTROL = "global/pg_control";

// The files change while they are copied. PostgreSQL's log of that time, which comes last, repairs them
// when the copy is opened.
async function* archive(sql: Sql, cluster: string): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  const hashed = async function* (parts: AsyncIterable<Uint8Array>) {
    for await (const part of parts) {
      hash.update(part);
      yield part;
    }
  };
  // Before the log is kept, because counting may write to it.
  const counted = await countRows(sql);
  const began = await beginCopy(sql);
  let is_open = true;
  try {
    for (const path of pathsOf(cluster, "")) yield* hashed(pathEntry(cluster, path));
    yield* hashed(pathEntry(cluster, CONTROL));
    const ended = await endCopy(sql);
    is_open = false;
    yield* hashed(textEntry(`${CLUSTER_ENTRY}/backup_label`, ended.label));
    yield* hashed(logEntries(cluster, began.log, ended.log));
    const tables = boundsOf(counted, ended.tables);
    const manifest: Manifest = {
      format: FORMAT,
      program: VERSION,
      schema_version: SCHEMA_VERSION,
      postgres: began.postgres,
      database: began.database,
      began_at: began.at,
      taken_at: ended.at,
      tables,
    };
    yield* hashed(textEntry(MANIFEST_ENTRY, JSON.stringify(manifest, null, 2) + "\n"));
    yield* textEntry(DIGEST_ENTRY, hash.digest("hex") + "\n");
    yield TAR_END;
  } finally {
    // The session, and with it the copy, may be gone.
    if (is_open) await sql`select pg_backup_stop(false)`.catch(() => {});
  }
}

// --- statements ------------------------------------------------------------------------------------------

interface Begun {
  /** Name of the log's first file that is needed. */
  readonly log: string;
  readonly at: string;
  readonly postgres: string;
  readonly database: string;
}

async function beginCopy(sql: Sql): Promise<Begun> {
  const [row] = await sql<Begun[]>`
    select pg_walfile_name(pg_backup_start('bookme-webhooks', true)) as log,
      to_json(now() at time zone 'UTC') #>> '{}' || 'Z' as at,
      current_setting('server_version') as postgres,
      (select system_identifier::text from pg_control_system()) as database`;
  if (row === undefined) throw new Error("pg_backup_start answered nothing");
  return row;
}

interface Ended {
  /** Name of the log's last file that is needed. */
  readonly log: string;
  readonly label: string;
  readonly at: string;
  readonly tables: readonly TableState[];
}

// One statement, so that no row is written between the figures and the end.
async function endCopy(sql: Sql): Promise<Ended> {
  await sql`select pg_stat_force_next_flush()`;
  const [row] = await sql<Ended[]>`
    with states as materialized (
      select coalesce(json_agg(t), '[]') as tables from (${tableStates(sql)}) t
    ), ended as materialized (
      select e.* from states, pg_backup_stop(false) e
    )
    select pg_walfile_name(lsn) as log, labelfile as label, tables,
      to_json(clock_timestamp() at time zone 'UTC') #>> '{}' || 'Z' as at
    from states, ended`;
  if (row === undefined) throw new Error("pg_backup_stop answered nothing");
  return row;
}

/** A table with rows of its own, and what happened to it since PostgreSQL started. */
interface TableState {
  readonly name: string;
  /** The partitioned table that it belongs to, or itself. */
  readonly belongs_to: string;
  readonly blocks: number;
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
}

function tableStates(sql: Sql) {
  return sql`
    select c.relname as name, coalesce(p.relname, c.relname) as belongs_to,
      (pg_relation_size(c.oid) / current_setting('block_size')::int)::float8 as blocks,
      coalesce(s.n_tup_ins, 0)::float8 as inserted, coalesce(s.n_tup_upd, 0)::float8 as updated,
      coalesce(s.n_tup_del, 0)::float8 as deleted
    from pg_class c
    left join pg_inherits i on i.inhrelid = c.oid
    left join pg_class p on p.oid = i.inhparent
    left join pg_stat_user_tables s on s.relid = c.oid
    where c.relkind = 'r' and c.relnamespace = current_schema()::regnamespace
    -- Large ones first: the later a table is counted, the less it changes until the end.
    order by blocks desc`;
}

/** Blocks that one statement counts: 2 MiB, some milliseconds, because everything else waits for it. */
const BLOCKS_AT_ONCE = 256;
/**
 * Counting fresh rows marks them on their pages. They are written to disk after every 16 statements, 32 MiB, a
 * tenth of a second each time: the copy begins with a checkpoint, which would else write all of them while
 * everything waits.
 */
const STEPS_AT_ONCE = 16;

interface Counted extends TableState {
  readonly rows: number;
}

async function countRows(sql: Sql): Promise<readonly Counted[]> {
  await sql`select pg_stat_force_next_flush()`;
  const counted: Counted[] = [];
  let steps = 0;
  for (const table of await sql<TableState[]>`${tableStates(sql)}`) {
    let rows = 0;
    for (let from = 0; from < table.blocks; from += BLOCKS_AT_ONCE) {
      const began = performance.now();
      const [page] = await sql<{ rows: number }[]>`
        select count(*)::float8 as rows from ${sql(table.name)}
        where ctid >= ${`(${from},0)`}::text::tid
          and ctid < ${`(${from + BLOCKS_AT_ONCE},0)`}::text::tid`.catch(dropped);
      rows += page?.rows ?? 0;
      steps++;
      if (steps % STEPS_AT_ONCE === 0) await sql`checkpoint`.simple();
      // Half of the time is everybody else's.
      const took_ms = performance.now() - began;
      await new Promise((resolve) => setTimeout(resolve, took_ms));
    }
    counted.push({ ...table, rows });
  }
  return counted;
}

// Retention drops a week as a whole.
function dropped(error: unknown): [] {
  if ((error as { code?: unknown }).code === "42P01") return [];
  throw error;
}

/**
 * Between which numbers the rows of each table are at the end. A row that came or went since the figures of
 * `counted` may be among those counted or not, and so may one that an update moved to another page.
 */
function boundsOf(
  counted: readonly Counted[],
  ended: readonly TableState[],
): Record<string, RowBounds> {
  const before = new Map(counted.map((table) => [table.name, table]));
  const bounds: Record<string, RowBounds> = {};
  for (const { name, belongs_to, ...now } of ended) {
    const { rows, ...then } = before.get(name) ??
      { rows: 0, blocks: 0, inserted: 0, updated: 0, deleted: 0 };
    const moved = then.blocks > BLOCKS_AT_ONCE ? now.updated - then.updated : 0;
    const { at_least, at_most } = bounds[belongs_to] ?? { at_least: 0, at_most: 0 };
    bounds[belongs_to] = {
      at_least: at_least + Math.max(0, rows - (now.deleted - then.deleted) - moved),
      at_most: at_most + rows + (now.inserted - then.inserted) + moved,
    };
  }
  return bounds;
}

/** The rows of every table of a database that nobody else uses. */
export async function exactRows(sql: Sql): Promise<Record<string, number>> {
  const all: Record<string, number> = {};
  for (const { name, belongs_to } of await sql<TableState[]>`${tableStates(sql)}`) {
    const [row] = await sql<{ rows: number }[]>`
      select count(*)::float8 as rows from ${sql(name)}`;
    all[belongs_to] = (all[belongs_to] ?? 0) + (row?.rows ?? 0);
  }
  return all;
}

// --- files -----------------------------------------------------------------------------------------------

/** Paths below a directory, each after the directory that it is in, with a slash at the end of directories. */
function* pathsOf(root: string, below: string): Generator<string> {
  for (const { name, isDirectory } of [...Deno.readDirSync(`${root}/${below}`)]) {
    const path = `${below}${name}`;
    if (isDirectory) {
      yield `${path}/`;
      const is_emptied = below === "" && EMPTIED.has(name);
      if (is_emptied && name === LOG) yield `${path}/archive_status/`;
      if (!is_emptied && !name.startsWith("pgsql_tmp")) yield* pathsOf(root, `${path}/`);
    } else if (path !== CONTROL && !LEFT_OUT.has(name)) yield path;
  }
}

const CHUNK_BYTES = 256 * 1024;

async function* pathEntry(cluster: string, path: string): AsyncGenerator<Uint8Array> {
  const name = `${CLUSTER_ENTRY}/${path}`;
  if (path.endsWith("/")) yield header(name, 0);
  else {
    using file = await Deno.open(`${cluster}/${path}`).catch(gone);
    if (file !== undefined) yield* fileEntry(name, file);
  }
}

// Tables are dropped meanwhile: the log says so too.
function gone(error: unknown): undefined {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

async function* fileEntry(name: string, file: Deno.FsFile): AsyncGenerator<Uint8Array> {
  const { size } = await file.stat();
  yield header(name, size);
  let left = size;
  while (left > 0) {
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, left));
    const read = await file.read(chunk);
    // It was cut off meanwhile. Zeros stand for the rest, which the log cuts off too.
    if (read === null) break;
    left -= read;
    yield chunk.subarray(0, read);
  }
  for (; left > 0; left -= Math.min(CHUNK_BYTES, left)) {
    yield new Uint8Array(Math.min(CHUNK_BYTES, left));
  }
  yield new Uint8Array(paddingOf(size));
}

async function* textEntry(name: string, text: string): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  yield header(name, bytes.length);
  yield bytes;
  yield await Promise.resolve(new Uint8Array(paddingOf(bytes.length)));
}

// Their names sort by their place in the log.
async function* logEntries(
  cluster: string,
  first: string,
  last: string,
): AsyncGenerator<Uint8Array> {
  const names = [...Deno.readDirSync(`${cluster}/${LOG}`)].map(({ name }) => name)
    .filter((name) => /^[0-9A-F]{24}$/.test(name) && name >= first && name <= last).toSorted();
  if (names[0] !== first) {
    throw new AppError(
      "unavailable",
      "The backup took too long: the database has given up the log that it needs; take it again, and " +
        "read it faster",
    );
  }
  for (const name of names) yield* pathEntry(cluster, `${LOG}/${name}`);
}

function header(name: string, size: number): Uint8Array {
  const entry = { name, is_directory: name.endsWith("/"), size };
  return tarHeader(entry, Math.floor(Date.now() / 1000));
}
