import type { Sql } from "postgres";

/**
 * Events, ended deliveries and attempts lie in partitions by their ids, on boundaries that all share: see the
 * table `partitions`. Statements insert through the parents and need not know of them.
 */

/** Makes the partitions of this week and the next, by the database's clock. */
export async function makeAhead(sql: Sql): Promise<void> {
  await sql`
    select make_partitions(first_id_at(now())),
      make_partitions(first_id_at(now() + interval '168 hours'))`;
}

/** Makes the partitions that these ids fall into. */
export async function makePartitions(sql: Sql, ids: readonly string[]): Promise<void> {
  // Ids with the same first 32 bits are of the same minute.
  const minutes = new Map(ids.map((id) => [id.slice(0, 8), id]));
  for (const id of minutes.values()) await sql`select make_partitions(${id}::uuid)`;
}

/** Makes what is missing of the partitions that the table `partitions` has. */
export async function makeRecorded(sql: Sql): Promise<void> {
  await sql`select make_partitions(first_id) from partitions`;
}

/** Statements that drop every partition, of a database without events. */
export async function dropsOf(sql: Sql): Promise<string> {
  const held = await sql<{ leaf: string }[]>`
    select l.leaf from partitions p cross join lateral partitions_at(p.first_id) l where l.is_there`;
  return [...held.map(({ leaf }) => `drop table ${leaf}`), "delete from partitions"].join("; ");
}

/**
 * Runs `write`, which inserts rows of these ids. If they fall into no partition, because maintenance slept or
 * a clock is weeks off, makes it and runs `write` again. Nothing was written the first time.
 */
export async function partitioned<T>(
  sql: Sql,
  ids: readonly string[],
  write: () => Promise<T>,
): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (!isUnpartitioned(error)) throw error;
    await makePartitions(sql, ids);
    return await write();
  }
}

/** Whether PostgreSQL found no partition for a row: of a check that fails, it names the constraint. */
function isUnpartitioned(error: unknown): boolean {
  const { code, constraint_name } = error as { code?: unknown; constraint_name?: unknown };
  return code === "23514" && constraint_name === undefined;
}
