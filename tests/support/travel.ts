import type { SharedServer } from "./postgres.ts";
import { connectTo, type FreshDatabase, freshDatabase } from "./postgres.ts";

/** A database whose clock a test can move forward. */
export interface TravelDatabase extends FreshDatabase {
  /** Moves `now()` forward, from the next statement on and for every session. */
  forward(by_ms: number): Promise<void>;
  /** The first row of a query, by the same clock. */
  // deno-lint-ignore no-explicit-any
  row(query: string): Promise<any>;
}

/**
 * A new database in which the test provides `now()`: a schema before `pg_catalog` in the search path
 * has a function of that name. The program gets the time from nowhere else (another test checks that), so
 * days of its schedule pass at once, in every statement.
 */
export async function travelDatabase(server: SharedServer): Promise<TravelDatabase> {
  const fresh = await freshDatabase(server);
  await using setup = connectTo(fresh.url);
  await setup.unsafe(`
    create schema travel;
    create table travel.shift (by interval not null);
    insert into travel.shift values ('0');
    create function travel.now() returns timestamptz language sql stable
      return pg_catalog.now() + (select by from travel.shift);
    do $$ begin
      execute format('alter database %I set search_path = travel, pg_catalog, public',
        current_database());
    end $$`).simple();
  const sql = connectTo(fresh.url);
  return {
    // The program sets its search path itself, unless its URL names one.
    url: `${fresh.url}?options=-c%20search_path%3Dtravel%2Cpg_catalog%2Cpublic`,
    async forward(by_ms) {
      await sql`update travel.shift set by = by + ${by_ms}::float8 * interval '1 ms'`;
    },
    row: async (query) => (await sql.unsafe(query))[0],
    async drop() {
      await sql.end();
      await fresh.drop();
    },
  };
}
