import type { Sql } from "postgres";
import { AppError } from "../core/errors.ts";
import { type DatabaseAddress, describeAddress } from "../core/database_address.ts";
import { APPLICATION, openPool, openSession } from "./connect.ts";
import { makeConnector } from "./connection/connector.ts";
import { hasEmbedded, openEmbedded } from "./embedded.ts";
import { migrate } from "./migrations.ts";
import { dropsOf, makeRecorded } from "./partitions.ts";
import {
  hasMark,
  markSource,
  markTarget,
  readMark,
  sealTarget,
  type TransferMark,
  unmark,
} from "./transfer_mark.ts";

/** Progress of a transfer, in rows of one table. */
export interface TransferProgress {
  readonly phase: "copying" | "verifying";
  readonly table: string;
  readonly rows: number;
  readonly total: number;
}

/** The result of a transfer. */
export interface Transferred {
  /** The target for people, without user and password. */
  readonly target: string;
  /** Rows that are in the target now, moved by this run or an earlier one. */
  readonly tables: readonly { readonly table: string; readonly rows: number }[];
  /** Whether an earlier run had begun it. */
  readonly resumed: boolean;
}

/**
 * Moves everything from the embedded database in `directory` into the one at `address`, which must be empty
 * or hold the beginning of this very transfer. From the start no daemon can use either, so that nothing
 * changes after it was copied. Once every table has the same rows and checksum on both sides, the target
 * can be used, and the source never again. Throws an `AppError` if the transfer cannot begin or the two
 * differ in the end. A transfer stopped at any moment continues when it is called again with the same
 * target, and only with that.
 */
export async function transfer(
  directory: string,
  address: DatabaseAddress,
  report: (progress: TransferProgress) => void,
): Promise<Transferred> {
  await using stack = new AsyncDisposableStack();
  const { sql: source, ...from } = await openSource(directory);
  stack.defer(() => from.close());
  const { sql: target, ...to } = openPool(makeConnector(address), {
    application_name: `${APPLICATION} transfer`,
    settings: FORMAT,
    max: 1,
  });
  stack.defer(() => to.close());
  const name = describeAddress(address);
  await migrate(source, { transferring: true });
  const before = stepOf(await readMark(source), await readMark(target), name);
  await migrate(target, { transferring: true });
  // Back into their tables, if a drop of theirs was cut off.
  await makeRecorded(source);
  const tables = await tablesOf(source);
  if (before.step !== "end") {
    const id = await begin(source, target, tables, before, name);
    for (const table of tables) {
      await copy(source, target, table, id, report);
      if (table.name === PARTITIONS) await makeRecorded(target);
    }
    for (const table of tables) await verify(source, target, table, id, report);
    await copySequences(source, target, tables, id);
    await target`analyze`;
    await seal(source, target, id, name);
  }
  const moved = [];
  for (const table of tables) {
    moved.push({ table: table.name, rows: await count(target, table) });
  }
  const rows = moved.reduce((sum, table) => sum + table.rows, 0);
  await unmark(target, { action: "database.transferred", after: { target: name, rows } });
  return { target: name, tables: moved, resumed: before.step !== "begin" };
}

/**
 * Gives a source back to the daemon, and returns the mark that it had. The rows copied so far stay in the
 * target, which no daemon uses unless the transfer is complete: then `confirm` is awaited first, and what
 * it throws leaves the source as it is.
 */
export async function abandonTransfer(
  directory: string,
  confirm: (mark: TransferMark) => Promise<void>,
): Promise<TransferMark | undefined> {
  const source = await openSource(directory);
  try {
    const mark = await readMark(source.sql);
    if (mark === undefined) return undefined;
    if (mark.seal !== null) await confirm(mark);
    const after = { target: mark.target, was_complete: mark.seal !== null };
    await unmark(source.sql, { action: "database.transfer_abandoned", after });
    return mark;
  } finally {
    await source.close();
  }
}

// Both sides must write times and bytes in the same way, or equal rows have different checksums.
const FORMAT = { TimeZone: "UTC", bytea_output: "hex", extra_float_digits: "1" };

async function openSource(directory: string) {
  if (!hasEmbedded(directory)) {
    throw new AppError("not_found", `There is no embedded database in ${directory}`);
  }
  return openSession(await openEmbedded(directory, FORMAT));
}

/** A table, and how to read it page by page. */
interface Table {
  readonly name: string;
  /** Columns of its primary key. */
  readonly key: readonly string[];
  /** Whether the key sorts alike on both sides; texts do not. */
  readonly is_ordered: boolean;
  /** Identity columns. */
  readonly identities: readonly string[];
  /** Columns that are written: the database makes the others. */
  readonly columns: readonly string[];
  /** Other tables that its rows refer to. */
  readonly needs: readonly string[];
}

/** Every table except `migrations`, each after the tables it refers to. */
async function tablesOf(sql: Sql): Promise<Table[]> {
  const found = await sql<(Omit<Table, "key"> & { key: string[] | null })[]>`
    select c.relname as name,
      (select json_agg(a.attname order by a.attnum) from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          and a.attgenerated = '') as columns,
      (select json_agg(a.attname order by k.place) from pg_index i
        cross join lateral unnest(i.indkey::int2[]) with ordinality as k (attnum, place)
        join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum
        where i.indrelid = c.oid and i.indisprimary) as key,
      not exists (select from pg_index i join pg_attribute a
        on a.attrelid = c.oid and a.attnum = any(i.indkey::int2[])
        where i.indrelid = c.oid and i.indisprimary and a.atttypid = 'text'::regtype) as is_ordered,
      (select coalesce(json_agg(a.attname), '[]') from pg_attribute a
        where a.attrelid = c.oid and a.attidentity <> '') as identities,
      (select coalesce(json_agg(distinct f.relname), '[]') from pg_constraint k
        join pg_class f on f.oid = k.confrelid
        where k.conrelid = c.oid and k.contype = 'f' and f.oid <> c.oid) as needs
    from pg_class c
    where c.relkind in ('r', 'p') and c.relnamespace = current_schema()::regnamespace
      -- The parent of partitions has their rows.
      and not c.relispartition and c.relname <> 'migrations'
    order by c.relname`;
  const tables = found.map((table) => {
    if (table.key !== null) return { ...table, key: table.key };
    throw new Error(`The table ${table.name} has no primary key`);
  });
  // First, because no row goes into a partitioned table without.
  const sorted = tables.filter(({ name }) => name === PARTITIONS);
  while (sorted.length < tables.length) {
    const next = tables.filter((table) =>
      !sorted.includes(table) &&
      table.needs.every((name) => sorted.some((before) => before.name === name))
    );
    if (next.length === 0) throw new Error("The tables refer to each other in a circle");
    sorted.push(...next);
  }
  return sorted;
}

/** The table that says which partitions there are. */
const PARTITIONS = "partitions";

/** Whether a table has exactly one row, which exists from the start and is replaced. */
function isSingle(table: Table): boolean {
  return table.key.join() === "singleton";
}

// --- which transfer this is ------------------------------------------------------------------------

/** The work that is left: everything (`begin`), what is missing (`resume`), or only the mark's removal. */
type Left =
  | { readonly step: "begin"; readonly id?: string }
  | { readonly step: "resume"; readonly id: string }
  | { readonly step: "end" };

/** The work that the marks of both sides leave. Throws an `AppError` unless they fit each other. */
function stepOf(
  from: TransferMark | undefined,
  to: TransferMark | undefined,
  name: string,
): Left {
  if (from !== undefined && from.seal !== null) {
    if (to?.seal === from.seal) return { step: "end" };
    throw new AppError(
      "conflict",
      `The embedded database was transferred to ${from.target} already; set database.url to that ` +
        "server",
    );
  }
  if (to !== undefined) {
    if (to.id === from?.id) return { step: "resume", id: to.id };
    throw new AppError(
      "conflict",
      `${name} holds the beginning of a transfer from another embedded database, or of one that ` +
        "was abandoned; give an empty database",
    );
  }
  if (from === undefined) return { step: "begin" };
  // It was stopped before it marked the target, or the target was emptied.
  if (from.target === name) return { step: "begin", id: from.id };
  throw new AppError(
    "conflict",
    `The embedded database is being transferred to ${from.target}, not to ${name}; run transfer ` +
      `to ${from.target} again, or transfer --abandon before you choose another`,
  );
}

/** Marks both sides, the source first: from then on it has this target and no other. */
async function begin(
  source: Sql,
  target: Sql,
  tables: readonly Table[],
  left: Exclude<Left, { step: "end" }>,
  name: string,
): Promise<string> {
  await refuseDaemons(target);
  if (left.step === "resume") return left.id;
  await refuseFull(target, tables, name);
  const mark = { id: left.id ?? crypto.randomUUID(), seal: null, target: name };
  await markSource(source, mark);
  // It gets the source's partitions, whose boundaries may be others.
  if (await markTarget(target, mark, await dropsOf(target))) return mark.id;
  throw new AppError("conflict", `Another transfer to ${name} began at the same moment`);
}

/**
 * Ends the copying: the target first, so that it is known by the seal when the source has it as well, and
 * a target that was completed is never taken for an older copy of it.
 */
async function seal(source: Sql, target: Sql, id: string, name: string): Promise<void> {
  const mark = { id, seal: crypto.randomUUID(), target: name };
  if (!await sealTarget(target, mark)) throw endedByAnother();
  // Before the target can be used, so that at no moment both could be.
  await markSource(source, mark);
}

async function refuseDaemons(target: Sql): Promise<void> {
  const [row] = await target<{ daemons: number }[]>`
    select count(distinct client_addr)::int as daemons from pg_stat_activity
    where datname = current_database() and application_name = ${APPLICATION}
      having count(*) > 0`;
  if (row === undefined) return;
  throw new AppError("conflict", "A daemon is using the target database; stop it first");
}

async function refuseFull(target: Sql, tables: readonly Table[], name: string): Promise<void> {
  for (const table of tables.filter((table) => !isSingle(table) && table.name !== PARTITIONS)) {
    const rows = await target`select from ${target(table.name)} limit 1`;
    if (rows.length === 0) continue;
    throw new AppError(
      "conflict",
      `${name} is not empty: there is something in its table ${table.name}; give an empty database ` +
        "(createdb -E UTF8 -T template0 NAME makes one)",
    );
  }
}

// A copy of the source's directory has its mark: from two of them one target can be filled at once.
function endedByAnother(): AppError {
  return new AppError(
    "conflict",
    "Another run of this transfer has ended it; set database.url to that server",
  );
}

// --- rows ------------------------------------------------------------------------------------------

/** Rows travel as JSON texts, which lose nothing of the types in this schema. */
const MAX_BATCH_BYTES = 8 * 1024 * 1024;
const MIN_BATCH_ROWS = 8;
const MAX_BATCH_ROWS = 2_000;
const MAX_PAGE_ROWS = 5_000;

/** Copies missing rows in the order of the key. */
async function copy(
  source: Sql,
  target: Sql,
  table: Table,
  id: string,
  report: (progress: TransferProgress) => void,
): Promise<void> {
  const total = await count(source, table);
  let rows = 0;
  let position: string | null = null;
  if (table.is_ordered && !isSingle(table)) {
    position = await lastKey(target, table);
    if (position !== null) rows = await count(target, table);
  }
  let limit = MIN_BATCH_ROWS;
  for (;;) {
    report({ phase: "copying", table: table.name, rows, total });
    const batch = await readBatch(source, table, position, limit);
    if (batch.last === null) return;
    await writeBatch(target, table, id, batch.lines);
    position = batch.last;
    rows += batch.rows;
    limit = Math.min(Math.max(batch.rows * 2, MIN_BATCH_ROWS), MAX_BATCH_ROWS);
  }
}

async function count(sql: Sql, table: Table): Promise<number> {
  const [row] = await sql<{ rows: number }[]>`
    select count(*)::float8 as rows from ${sql(table.name)}`;
  return row?.rows ?? 0;
}

async function lastKey(sql: Sql, table: Table): Promise<string | null> {
  const { key_json, descending } = fragments(sql, table);
  const [row] = await sql<{ last: string }[]>`
    select ${key_json} as last from ${sql(table.name)} t order by ${descending} limit 1`;
  return row?.last ?? null;
}

interface Batch {
  /** A JSON array. */
  readonly lines: string;
  readonly rows: number;
  /** Key of the last row, or null after the end of the table. */
  readonly last: string | null;
}

async function readBatch(
  sql: Sql,
  table: Table,
  position: string | null,
  limit: number,
): Promise<Batch> {
  const { key_json, ascending, after } = fragments(sql, table, position);
  const [row] = await sql<Batch[]>`
    with page as materialized (
      select row_to_json(t)::text as line, ${key_json} as last,
        row_number() over (order by ${ascending}) as place
      from ${sql(table.name)} t where ${after} order by ${ascending} limit ${limit}
    ), sized as (
      select *, sum(octet_length(line)) over (order by place) as bytes from page
    )
    select coalesce('[' || string_agg(line, ',' order by place) || ']', '[]') as lines,
      count(*)::int as rows, (array_agg(last order by place desc))[1] as last
    from sized where place = 1 or bytes <= ${MAX_BATCH_BYTES}`;
  return row ?? { lines: "[]", rows: 0, last: null };
}

// Nothing is written to a target that has lost the mark: it may be in use.
async function writeBatch(sql: Sql, table: Table, id: string, lines: string): Promise<void> {
  const { all, others } = fragments(sql, table);
  await sql`
    insert into ${sql(table.name)} (${all}) overriding system value
    select ${all} from json_populate_recordset(null::${sql(table.name)}, ${lines}::text::json)
    where ${hasMark(sql, id)}
    on conflict ${isSingle(table) ? sql`(singleton) do update set ${others}` : sql`do nothing`}`;
}

/** The parts of statements that differ from table to table. */
function fragments(sql: Sql, table: Table, position: string | null = null) {
  const names = table.key.map((name) => `"${name}"`);
  const pairs = table.key.map((name) => `'${name}', t."${name}"`);
  const others = table.columns.filter((name) => !table.key.includes(name));
  return {
    key_json: sql.unsafe(`json_build_object(${pairs.join(", ")})::text`),
    ascending: sql.unsafe(names.map((name) => `t.${name}`).join(", ")),
    descending: sql.unsafe(names.map((name) => `t.${name} desc`).join(", ")),
    all: sql.unsafe(table.columns.map((name) => `"${name}"`).join(", ")),
    others: sql.unsafe(others.map((name) => `"${name}" = excluded."${name}"`).join(", ")),
    after: position === null ? sql`true` : sql`
      (${sql.unsafe(names.map((name) => `t.${name}`).join(", "))}) > (
        select ${sql.unsafe(names.join(", "))}
        from json_populate_record(null::${sql(table.name)}, ${position}::text::json))`,
  };
}

// --- the end ---------------------------------------------------------------------------------------

async function verify(
  source: Sql,
  target: Sql,
  table: Table,
  id: string,
  report: (progress: TransferProgress) => void,
): Promise<void> {
  const total = 2 * await count(source, table);
  const progress = (rows: number) => report({ phase: "verifying", table: table.name, rows, total });
  const before = await summarise(source, table, progress);
  const after = await summarise(target, table, (rows) => progress(before.rows + rows));
  if (before.rows === after.rows && before.sum === after.sum) return;
  if ((await readMark(target))?.id !== id) throw endedByAnother();
  throw new AppError(
    "conflict",
    `The table ${table.name} has ${before.rows} rows with the checksum ${before.sum} in the embedded ` +
      `database and ${after.rows} with ${after.sum} in the target: something else wrote to one of ` +
      "them; empty the target and run transfer again",
  );
}

/** Number and checksum of a table's rows; the checksum does not depend on their order. */
async function summarise(
  sql: Sql,
  table: Table,
  progress: (rows: number) => void,
): Promise<{ rows: number; sum: bigint }> {
  let position: string | null = null;
  let rows = 0;
  let sum = 0n;
  for (;;) {
    const { key_json, ascending, after } = fragments(sql, table, position);
    const [page] = await sql<{ rows: number; sum: string; last: string | null }[]>`
      with page as materialized (
        select md5(row_to_json(t)::text) as digest, ${key_json} as last,
          row_number() over (order by ${ascending}) as place
        from ${sql(table.name)} t where ${after} order by ${ascending} limit ${MAX_PAGE_ROWS}
      )
      select count(*)::int as rows, (array_agg(last order by place desc))[1] as last,
        coalesce(sum(('x' || left(digest, 15))::bit(60)::bigint), 0)::text as sum
      from page`;
    if (page === undefined || page.last === null) return { rows, sum };
    rows += page.rows;
    sum += BigInt(page.sum);
    position = page.last;
    progress(rows);
  }
}

/** Copies the next numbers of identity columns, which must also exceed those of deleted rows. */
async function copySequences(
  source: Sql,
  target: Sql,
  tables: readonly Table[],
  id: string,
): Promise<void> {
  for (const { name, identities } of tables) {
    for (const column of identities) {
      const [sequence] = await source<{ name: string }[]>`
        select pg_get_serial_sequence(${name}, ${column}) as name`;
      if (sequence === undefined) continue;
      const [state] = await source<{ last_value: string; is_called: boolean }[]>`
        select last_value, is_called from ${source.unsafe(sequence.name)}`;
      if (state === undefined) continue;
      await target`
        select setval(pg_get_serial_sequence(${name}, ${column}), ${state.last_value}::text::bigint,
          ${state.is_called}) where ${hasMark(target, id)}`;
    }
  }
}
