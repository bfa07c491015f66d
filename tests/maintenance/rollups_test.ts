import assert from "node:assert/strict";
import type { Context } from "../../lib/delivery/context.ts";
import { rollups } from "../../lib/maintenance/rollups.ts";
import { onServer } from "../support/databases.ts";

/** What eight daemons write in five seconds if each records 300 statements a second. */
const STATEMENTS = 12_000;

onServer(
  "one run of rollups counts what several daemons record until the next",
  async (database) => {
    await using db = await database.open();
    await db.admin`
    insert into uncounted_attempts (endpoint_nos, outcomes, numbers, durations_ms, ages_ms, lags_ms)
    select '{1}', '{1}', '{1}', '{5}', '{6}', '{1}' from generate_series(1, ${STATEMENTS}::int)`;
    const ctx = { db } as unknown as Context;
    assert.equal(await rollups.run(ctx, new AbortController().signal), STATEMENTS);
    const [left] = await db.admin`select from uncounted_attempts limit 1`;
    assert.equal(left, undefined);
  },
);
