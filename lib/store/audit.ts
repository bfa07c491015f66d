import type { Sql } from "postgres";
import { type Change, logged } from "./changes.ts";

/** Logs a change that no statement of its own makes. */
export async function writeAudit(sql: Sql, change: Change): Promise<void> {
  await sql`with changed as (select 1), ${logged(sql, change)} select 1`;
}
