import { vacuum } from "../store/vacuum.ts";
import type { Job } from "./schedule.ts";

/**
 * Removes dead rows from the embedded database, which has no autovacuum. It does one thing at a time, so
 * large tables wait for their own hour.
 */
export const deadRows: readonly Job[] = [
  { name: "dead rows", pattern: "30 * * * * *", run: ({ db }) => vacuum(db.admin, "busy") },
  {
    name: "dead rows of large tables",
    pattern: "45 7 * * * *",
    run: ({ db }) => vacuum(db.admin, "growing"),
  },
];
