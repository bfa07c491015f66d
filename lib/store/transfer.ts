import postgres, { type Options, type Sql } from "postgres";
import { AppError } from "../core/errors.ts";
import { hasEmbedded, openEmbedded } from "./embedded.ts";
import { migrate, TRANSFER_VERSION } from "./migrations.ts";

/** How far a transfer is: rows of one table. */
export interface TransferProgress {
  readonly phase: "copying" | "verifying";
  readonly table: string;
  readonly rows: number;
  readonly total: number;
}

/** What a transfer moved, or found moved already. */
export interface Transferred {
  readonly tables: readonly { readonly table: string; readonly rows: number }[];
  /** Whether an earlier run had begun it. */
  readonly resumed: boolean;
}

/**
 * Moves everything from the embedded database in `directory` into the one at `url`, which must be empty
 * or hold the beginning of this very transfer. From its start on neither can be used by a daemon, so that
 * what was copied stays what there is; when every table has the same rows and checksum on both sides,
 * the target can be used and the source never again. Throws an `AppError` where it cannot begin or the
 * two differ in the end. Stopped at any moment, it goes on when it is called again.
 */
export async function transfer(
  directory: string,
  url: string,
  report: (progress: TransferProgress) => void,
): Promise<Transferred> {
  await using stack = new AsyncDisposableStack();
  const source = await openSource(directory);
  stack.defer(() => source.close());
  const target = openTarget(url);
  stack.defer(() => target.end({ timeout: 2 }));
  await migrate(source.sql, { transferring: true });
  await migrate(target, { transferring: true });
  const tables = await tablesOf(source.sql);
  const id = await begin(source.sql, target, tables, nameOf(url));
  const moved = [];
  for (const table of tables) {
    moved.push({ table: table.name, rows: await copy(source.sql, target, table, report) });
  }
  for (const table of tables) await verify(source.sql, target, table, report);
  await copySequences(source.sql, target, tables);
  await target`analyze`;
  // First the source, so that there is no moment at which both could be used.
  await mark(source.sql, `transferred ${id.id} to ${nameOf(url)}`);
  await unmark(target);
  return { tables: moved, resumed: id.resumed };
}

/** Gives a source back to the daemon. What is in the target must not be used then. */
export async function abandonTransfer(directory: string): Promise<boolean> {
  const source = await openSource(directory);
  try {
    return await unmark(source.sql);
  } finally {
    await source.close();
  }
}

interface Source {
  readonly sql: Sql;
  close(): Promise<void>;
}

// Both sides must write times and bytes in the same way.
const FORMAT = { TimeZone: "UTC", bytea_output: "hex", extra_float_digits: "1" };

async function openSource(directory: string): Promise<Source> {
  if (!hasEmbedded(directory)) {
    throw new AppError("not_found", `There is no embedded database in ${directory}`);
  }
  const embedded = await openEmbedded(directory, FORMAT);
  const sql = postgres({
    max: 1,
    fetch_types: false,
    idle_timeout: 0,
    max_lifetime: null,
    onnotice: () => {},
    username: "postgres",
    database: "postgres",
    socket: () => embedded.connect(),
  } as Options<Record<string, never>>);
  return {
    sql,
    async close() {
      await sql.end({ timeout: 5 });
      await embedded.close();
    },
  };
}

const APPLICATION = "bookme-webhooks transfer";

function openTarget(url: string): Sql {
  return postgres(url, {
    max: 1,
    fetch_types: false,
    idle_timeout: 0,
    connect_timeout: 5,
    onnotice: () => {},
    connection: { application_name: APPLICATION, statement_timeout: 0, jit: "off", ...FORMAT },
  } as Options<Record<string, never>>);
}

/** A server's name, without what lets one in. */
function nameOf(url: string): string {
  const { host, pathname } = new URL(url);
  return host + pathname;
}

/** A table, and how to walk through it. */
interface Table {
  readonly name: string;
  /** Columns of its primary key. */
  readonly key: readonly string[];
  /** Whether the key's order is the same on both sides: that of a text is not. */
  readonly is_ordered: boolean;
  /** Columns that number themselves. */
  readonly identities: readonly string[];
  readonly columns: readonly string[];
  /** Tables that its rows refer to. */
  readonly needs: readonly string[];
}

/** Every table but that of the migrations, each behind those that it refers to. */
async function tablesOf(sql: Sql): Promise<Table[]> {
  const found = await sql<(Omit<Table, "key"> & { key: string[] | null })[]>`
    select c.relname as name,
      (select json_agg(a.attname order by a.attnum) from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
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
    where c.relkind = 'r' and c.relnamespace = current_schema()::regnamespace
      and c.relname <> 'migrations'
    order by c.relname`;
  const tables = found.map((table) => {
    if (table.key !== null) return { ...table, key: table.key };
    throw new Error(`The table ${table.name} has no primary key`);
  });
  const sorted: Table[] = [];
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

/** Tables of one row, which is there from the start and is replaced. */
function isSingle(table: Table): boolean {
  return table.key.join() === "singleton";
}

// --- which transfer this is ------------------------------------------------------------------------

async function begin(
  source: Sql,
  target: Sql,
  tables: readonly Table[],
  name: string,
): Promise<{ readonly id: string; readonly resumed: boolean }> {
  await refuseDaemons(target);
  const from = readMark(await markOf(source));
  const to = readMark(await markOf(target));
  if (to !== undefined && to.id !== from?.id) {
    throw new AppError(
      "conflict",
      `${name} holds the beginning of a transfer from another embedded database; give an empty ` +
        "database",
    );
  }
  if (to !== undefined) return { id: to.id, resumed: true };
  if (from?.what === "transferred") {
    throw new AppError(
      "conflict",
      `The embedded database was transferred to ${from.to} already; set database.url to that server`,
    );
  }
  await refuseFull(target, tables, name);
  const id = from?.id ?? crypto.randomUUID();
  await mark(source, `transfer ${id} to ${name}`);
  await mark(target, `transfer ${id}`);
  return { id, resumed: false };
}

async function refuseDaemons(target: Sql): Promise<void> {
  const [row] = await target<{ daemons: number }[]>`
    select count(distinct client_addr)::int as daemons from pg_stat_activity
    where datname = current_database() and application_name = 'bookme-webhooks'
      having count(*) > 0`;
  if (row === undefined) return;
  throw new AppError("conflict", "A daemon is using the target database; stop it first");
}

async function refuseFull(target: Sql, tables: readonly Table[], name: string): Promise<void> {
  for (const table of tables.filter((table) => !isSingle(table))) {
    const rows = await target`select from ${target(table.name)} limit 1`;
    if (rows.length === 0) continue;
    throw new AppError(
      "conflict",
      `${name} is not empty: there is something in its table ${table.name}; give an empty database ` +
        "(createdb -E UTF8 -T template0 NAME makes one)",
    );
  }
}

async function markOf(sql: Sql): Promise<string | undefined> {
  const [row] = await sql<{ name: string }[]>`
    select name from migrations where version = ${TRANSFER_VERSION}::int`;
  return row?.name;
}

function readMark(name: string | undefined) {
  const [, what, id = "", to = ""] =
    /^(transfer|transferred) (\S+)(?: to (.+))?$/.exec(name ?? "") ?? [];
  return what === undefined ? undefined : { what, id, to };
}

async function mark(sql: Sql, name: string): Promise<void> {
  await sql`
    insert into migrations (version, name) values (${TRANSFER_VERSION}::int, ${name})
    on conflict (version) do update set name = excluded.name`;
}

async function unmark(sql: Sql): Promise<boolean> {
  const rows = await sql`
    delete from migrations where version = ${TRANSFER_VERSION}::int returning 1`;
  return rows.length > 0;
}

// --- rows ------------------------------------------------------------------------------------------

/** Rows travel as JSON texts, which lose nothing of the types that there are. */
const MAX_BATCH_BYTES = 8 * 1024 * 1024;
const MIN_BATCH_ROWS = 8;
const MAX_BATCH_ROWS = 2_000;
const MAX_PAGE_ROWS = 5_000;

/** Copies what is not there yet, in the order of the key; answers how many rows the table has. */
async function copy(
  source: Sql,
  target: Sql,
  table: Table,
  report: (progress: TransferProgress) => void,
): Promise<number> {
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
    if (batch.last === null) return total;
    await writeBatch(target, table, batch.lines);
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
  /** Key of the last row, or null where there is no row any more. */
  readonly last: string | null;
}

async function readBatch(
  sql: Sql,
  table: Table,
  position: string | null,
  limit: number,
): Promise<Batch> {
  const { key_json, ascending, behind } = fragments(sql, table, position);
  const [row] = await sql<Batch[]>`
    with page as materialized (
      select row_to_json(t)::text as line, ${key_json} as last,
        row_number() over (order by ${ascending}) as place
      from ${sql(table.name)} t where ${behind} order by ${ascending} limit ${limit}
    ), sized as (
      select *, sum(octet_length(line)) over (order by place) as bytes from page
    )
    select coalesce('[' || string_agg(line, ',' order by place) || ']', '[]') as lines,
      count(*)::int as rows, (array_agg(last order by place desc))[1] as last
    from sized where place = 1 or bytes <= ${MAX_BATCH_BYTES}`;
  return row ?? { lines: "[]", rows: 0, last: null };
}

async function writeBatch(sql: Sql, table: Table, lines: string): Promise<void> {
  const { others } = fragments(sql, table);
  await sql`
    insert into ${sql(table.name)} overriding system value
    select * from json_populate_recordset(null::${sql(table.name)}, ${lines}::text::json)
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
    others: sql.unsafe(others.map((name) => `"${name}" = excluded."${name}"`).join(", ")),
    behind: position === null ? sql`true` : sql`
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
  report: (progress: TransferProgress) => void,
): Promise<void> {
  const total = 2 * await count(source, table);
  const tell = (rows: number) => report({ phase: "verifying", table: table.name, rows, total });
  const before = await summarise(source, table, tell);
  const after = await summarise(target, table, (rows) => tell(before.rows + rows));
  if (before.rows === after.rows && before.sum === after.sum) return;
  throw new AppError(
    "conflict",
    `The table ${table.name} has ${before.rows} rows with the checksum ${before.sum} in the embedded ` +
      `database and ${after.rows} with ${after.sum} in the target: something else wrote to one of ` +
      "them; empty the target and run transfer again",
  );
}

/** Number and checksum of a table's rows, in whatever order they stand. */
async function summarise(
  sql: Sql,
  table: Table,
  tell: (rows: number) => void,
): Promise<{ rows: number; sum: bigint }> {
  let position: string | null = null;
  let rows = 0;
  let sum = 0n;
  for (;;) {
    const { key_json, ascending, behind } = fragments(sql, table, position);
    const [page] = await sql<{ rows: number; sum: string; last: string | null }[]>`
      with page as materialized (
        select md5(row_to_json(t)::text) as digest, ${key_json} as last,
          row_number() over (order by ${ascending}) as place
        from ${sql(table.name)} t where ${behind} order by ${ascending} limit ${MAX_PAGE_ROWS}
      )
      select count(*)::int as rows, (array_agg(last order by place desc))[1] as last,
        coalesce(sum(('x' || left(digest, 15))::bit(60)::bigint), 0)::text as sum
      from page`;
    if (page === undefined || page.last === null) return { rows, sum };
    rows += page.rows;
    sum += BigInt(page.sum);
    position = page.last;
    tell(rows);
  }
}

/** The next numbers: greater than those of rows that were there and are not any more, too. */
async function copySequences(source: Sql, target: Sql, tables: readonly Table[]): Promise<void> {
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
          ${state.is_called})`;
    }
  }
}
