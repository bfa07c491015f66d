import type { Sql } from "postgres";

/**
 * Tables whose rows change all the time, and tables that only grow and are purged. A partitioned one stands
 * for its partitions.
 */
const TABLES = {
  busy: [
    "pending_deliveries",
    "endpoints",
    "fleet",
    "uncounted_attempts",
    "attempt_stats",
    "endpoint_runs",
    "daemons",
  ],
  growing: [
    "ended_deliveries",
    "attempts",
    "posts",
    "events",
    "keys",
    "subjects",
  ],
};

/** Removes dead rows. Returns 0: vacuum changes no row that anybody sees. */
export async function vacuum(sql: Sql, which: keyof typeof TABLES): Promise<number> {
  for (const table of TABLES[which]) await sql.unsafe(`vacuum (analyze) ${table}`).simple();
  return 0;
}
