import type { Sql } from "postgres";
import { type Change, type Fragment, logged, noted } from "./changes.ts";

/** Says who looks after an open alert: the first one stays. */
export async function acknowledgeAlert(sql: Sql, uuid: string, change: Change): Promise<void> {
  await act(
    sql,
    sql`update alerts set acknowledged_at = now(), acknowledged_by = ${change.actor.name}
      where id = ${uuid}::uuid and ended_at is null and acknowledged_at is null returning id`,
    change,
  );
}

/** Keeps an open alert quiet for a number of milliseconds from now on. */
export async function snoozeAlert(
  sql: Sql,
  uuid: string,
  for_ms: number,
  change: Change,
): Promise<void> {
  await act(
    sql,
    sql`update alerts set snoozed_until = now() + ${for_ms}::float8 * interval '1 ms'
      where id = ${uuid}::uuid and ended_at is null returning id`,
    change,
  );
}

async function act(sql: Sql, changed: Fragment, change: Change): Promise<void> {
  await sql`with changed as (${changed}), ${logged(sql, change)},
    ${sql.unsafe(noted({ alerts: "select id from changed" }))} select 1`;
}
