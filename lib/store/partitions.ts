import type { Sql } from "postgres";
import { texts } from "./arrays.ts";
import type { Fragment } from "./changes.ts";

/**
 * Events, ended deliveries and attempts lie in partitions by their ids, on boundaries that all share: see the
 * table `partitions`. Statements insert through the parents and need not know of them.
 */

/** Makes the partitions of this week and the next, by the database's clock. */
export async function makeAhead(sql: Sql): Promise<void> {
  await sql`
    select make_partitions(w.id)
    from (values (first_id_at(now())), (first_id_at(now() + interval '168 hours'))) w (id)
    where not exists (
      select from partitions p
      where p.first_id <= w.id and p.last_id > w.id and p.closed_at is null)`;
}

/** Makes the partitions that these ids fall into. */
export async function makePartitions(sql: Sql, ids: readonly string[]): Promise<void> {
  await sql`
    select make_partitions(min(i.id)::uuid)
    from unnest(string_to_array(${texts(ids)}, chr(30))) as i (id)
    group by week_of(i.id::uuid)`;
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

/** What ended less than so long ago, in milliseconds, keeps everything. */
export const KEPT_MS = 7 * 86_400_000;

/**
 * A condition on partitions `p`: their ids are of times that lie longer than `age_ms` ago, and so does the
 * making of partitions that were made late, for the ids of a clock that is off.
 */
export function isOld(sql: Sql, age_ms: number): Fragment {
  return sql`
    greatest(time_of(p.last_id), p.made_at + (time_of(p.last_id) - time_of(p.first_id)))
      < now() - ${age_ms}::bigint * interval '1 ms'`;
}

/** Whether a delivery with an id of partitions `p` is pending. */
const HAS_PENDING = `exists (
  select from pending_deliveries d where d.id >= p.first_id and d.id < p.last_id)`;

/** Whether partitions `p` are needed: a delivery of theirs is pending, or has ended within seven days. */
function isNeeded(sql: Sql): Fragment {
  return sql`(${sql.unsafe(HAS_PENDING)}
    or ended_since(p.first_id, p.last_id, now() - ${KEPT_MS}::bigint * interval '1 ms'))`;
}

/** A condition: what has the id in this expression is not about to be dropped. */
export function isOpen(id: string): string {
  return `not exists (
    select from partitions c
    where c.first_id <= ${id} and c.last_id > ${id} and c.closed_at is not null)`;
}

/** Whether what has this id is about to be dropped: no delivery of it may come back. */
export async function isClosed(sql: Sql, id: string): Promise<boolean> {
  const [row] = await sql<{ closed: boolean }[]>`
    select not ${sql.unsafe(isOpen("i.id"))} as closed from (select ${id}::uuid as id) i`;
  return row?.closed ?? false;
}

/**
 * Closes the partitions older than `age_ms` in which no delivery is pending or has ended within seven days:
 * from a minute later on they may be dropped. Opens those again that are to stay after all: events are kept
 * for longer now, or a retry that began before it was closed has brought something back.
 */
export async function closeOld(sql: Sql, age_ms: number): Promise<void> {
  // With its partitions, if a drop has detached some.
  await sql`
    with opened as (
      update partitions p set closed_at = null
      where p.closed_at is not null
        and (not ${isOld(sql, age_ms)} or ${isNeeded(sql)})
      returning first_id
    )
    select make_partitions(first_id) from opened`;
  await sql`
    update partitions p set closed_at = now()
    where p.closed_at is null and ${isOld(sql, age_ms)} and not ${isNeeded(sql)}`;
}

/** What a run of `dropClosed` did. */
export interface Dropped {
  /** Weeks, or spans of weeks. */
  readonly dropped: number;
  /** Whether an old statement or transaction holds the next one up. */
  readonly held_up: boolean;
}

/**
 * Drops the partitions that were closed more than a minute ago, oldest first, unless they are needed after all: what
 * a statement that saw them open has brought back may have ended since. Nothing waits for it: tables are detached concurrently. It waits for every transaction that may
 * see them, for some seconds. Stopped at any moment, it goes on there the next time.
 */
export async function dropClosed(sql: Sql, stopping: AbortSignal): Promise<Dropped> {
  const closed = await sql<{ first_id: string; is_needed: boolean }[]>`
    select p.first_id, ${isNeeded(sql)} as is_needed from partitions p
    where p.closed_at < now() - interval '1 minute' order by p.first_id`;
  let dropped = 0;
  try {
    for (const { first_id, is_needed } of closed) {
      if (stopping.aborted) break;
      if (!is_needed) await detach(sql, first_id);
      // If something is pending after all, it attaches what was detached before.
      const [row] = await sql<
        { done: boolean }[]
      >`select drop_partitions(${first_id}::uuid) as done`;
      if (row?.done === true) dropped++;
    }
  } catch (error) {
    if (!isHeldUp(error)) throw error;
    return { dropped, held_up: true };
  }
  return { dropped, held_up: false };
}

/** A partition of one table. */
interface Leaf {
  readonly parent: string;
  readonly leaf: string;
}

// Each in a transaction of its own, as PostgreSQL demands.
async function detach(sql: Sql, first_id: string): Promise<void> {
  for (const { parent, leaf } of await attached(sql, first_id)) {
    try {
      await sql.unsafe(`alter table ${parent} detach partition ${leaf} concurrently`).simple();
    } catch (error) {
      // Another daemon may be doing it.
      const left = await attached(sql, first_id);
      if (isHeldUp(error) || left.some((one) => one.leaf === leaf)) throw error;
    }
  }
}

async function attached(sql: Sql, first_id: string): Promise<readonly Leaf[]> {
  return await sql<Leaf[]>`
    select parent, leaf from partitions_at(${first_id}::uuid) where is_attached and not is_leaving`;
}

/** Whether PostgreSQL waited too long, for a statement's time or for a lock. */
function isHeldUp(error: unknown): boolean {
  return ["57014", "55P03"].includes(String((error as { code?: unknown }).code));
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
