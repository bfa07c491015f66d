import type { Sql } from "postgres";
import { AppError } from "../core/errors.ts";
import { isObject } from "../core/json.ts";
import { type Change, type Fragment, logged } from "./changes.ts";

/**
 * Version of the row of `migrations` that marks a database as one side of a transfer. It is greater than
 * any schema's, so that every program refuses the database.
 */
export const TRANSFER_VERSION = 2_147_483_647;

/**
 * The mark of a database that is transferred, or is transferred into. No daemon uses a marked database.
 * The source has it from before the first row is copied; the target loses it at the very end.
 */
export interface TransferMark {
  readonly role: "source" | "target";
  /** Equal on both sides: the identity of the target, however its address is written. */
  readonly id: string;
  /** Made when both sides were compared and are equal; from then on only the end is missing. */
  readonly seal: string | null;
  /** The target for people, without user and password. */
  readonly target: string;
}

/** The mark of a database, or undefined; also of one without any tables. */
export async function readMark(sql: Sql): Promise<TransferMark | undefined> {
  const [{ exists } = { exists: false }] = await sql<{ exists: boolean }[]>`
    select to_regclass('migrations') is not null as exists`;
  if (!exists) return undefined;
  const { mark } = await readVersions(sql);
  return mark === null ? undefined : parseMark(mark);
}

/** What the table `migrations` of a database holds. */
export interface Versions {
  /** The newest migration, 0 if none. */
  readonly version: number;
  /** SHA-256 (hex) of each migration's text, in their order; null where a development version kept none. */
  readonly digests: readonly (string | null)[];
  /** The text of the transfer's mark, if any. */
  readonly mark: string | null;
}

/** Reads the versions of a database that has the table. */
export async function readVersions(sql: Sql): Promise<Versions> {
  // As JSON: development versions made the table without the column.
  const [row] = await sql<Versions[]>`
    select coalesce(max(version) filter (where version < ${TRANSFER_VERSION}::int), 0) as version,
      coalesce(json_agg(to_jsonb(m) ->> 'digest' order by version)
        filter (where version < ${TRANSFER_VERSION}::int), '[]') as digests,
      max(name) filter (where version = ${TRANSFER_VERSION}::int) as mark
    from migrations m`;
  return row ?? { version: 0, digests: [], mark: null };
}

/** Reads the text of a mark. Throws an `AppError` if another version of the program wrote it. */
export function parseMark(text: string): TransferMark {
  try {
    const mark = JSON.parse(text);
    if (isObject(mark) && "role" in mark) return mark as unknown as TransferMark;
  } catch {
    // Not JSON: see below.
  }
  throw new AppError(
    "conflict",
    "Another version of this program began a transfer of the database; end it with that version",
  );
}

/** Marks a source, in place of an earlier mark. */
export async function markSource(sql: Sql, mark: Omit<TransferMark, "role">): Promise<void> {
  await sql`
    insert into migrations (version, name)
    values (${TRANSFER_VERSION}::int, ${textOf({ role: "source", ...mark })})
    on conflict (version) do update set name = excluded.name`;
}

/**
 * Marks a target that has no mark, and runs `statements` with it. False if another transfer marked it first:
 * then nothing was done.
 */
export async function markTarget(
  sql: Sql,
  mark: Omit<TransferMark, "role">,
  statements: string,
): Promise<boolean> {
  const name = textOf({ role: "target", ...mark }).replaceAll("'", "''");
  try {
    await sql.unsafe(
      `begin; insert into migrations (version, name) values (${TRANSFER_VERSION}, '${name}');
       ${statements}; commit`,
    ).simple();
    return true;
  } catch (error) {
    await sql.unsafe("rollback").simple().catch(() => {});
    if ((error as { code?: string }).code === "23505") return false;
    throw error;
  }
}

/** A condition: the database has the mark of that transfer. */
export function hasMark(sql: Sql, id: string): Fragment {
  return sql`exists (
    select from migrations where version = ${TRANSFER_VERSION}::int and strpos(name, ${id}) > 0)`;
}

/** Seals a target that has the mark of that transfer. False if it has it no more. */
export async function sealTarget(sql: Sql, mark: Omit<TransferMark, "role">): Promise<boolean> {
  const rows = await sql`
    update migrations set name = ${textOf({ role: "target", ...mark })}
    where version = ${TRANSFER_VERSION}::int and ${hasMark(sql, mark.id)} returning 1`;
  return rows.length > 0;
}

const TRANSFER = { name: "transfer", address: null };

/** Removes the mark of a database, and logs why in the same statement. */
export async function unmark(sql: Sql, change: Pick<Change, "action" | "after">): Promise<void> {
  await sql`
    with changed as (
      delete from migrations where version = ${TRANSFER_VERSION}::int returning version
    ), ${logged(sql, { actor: TRANSFER, object: "database", ...change })}
    select 1 from changed`;
}

/** Why a daemon does not use a marked database, with the remedy. */
export function markedMistake({ role, seal, target }: TransferMark): string {
  if (role === "target") {
    return "A transfer into this database is under way; run it again to its end before anything " +
      "else uses the database, or use another one if the transfer was abandoned";
  }
  return seal === null
    ? `This database is being transferred to ${target}; run transfer again to its end, or ` +
      "transfer --abandon to go on with this one"
    : `This database was transferred to ${target}; set database.url to that server`;
}

function textOf(mark: TransferMark): string {
  return JSON.stringify(mark);
}
