import type { Sql } from "postgres";
import type { Process } from "../harness/processes.ts";
import type { Database } from "../harness/postgres.ts";

/** Where a contender's work comes from and goes to. */
export interface Setup {
  /** The run's own directory. */
  readonly directory: string;
  /** The run's own database, which an embedded contender leaves empty. */
  readonly database: Database;
  /** URLs of the endpoints; an endpoint is its index. */
  readonly urls: readonly string[];
  /** Whether an event is owed to the endpoint of its business, or to every endpoint. */
  readonly owed: "one" | "all";
  /** The file of the authority that signed the endpoints' certificates; undefined for plain HTTP. */
  readonly authority: string | undefined;
}

/** Deliveries that are there before anything starts. Events are numbered `first`, `first` + 1, … */
export interface Backlog {
  readonly first: number;
  readonly events: number;
  /** The endpoints that are owed them. */
  readonly endpoints: readonly [from: number, to: number];
  /** `spread`: each event to one endpoint, in turn. `fan`: each event to all of them. */
  readonly shape: "spread" | "fan";
  /** `half`: those with odd numbers are due in an hour. */
  readonly later: "none" | "half";
}

/** `both`: takes events and sends. The others do one of the two. */
export type Role = "both" | "ingest" | "send";

export interface Running {
  readonly process: Process;
  /** Where it takes events. */
  readonly port: number;
  stop(patience_ms?: number): Promise<void>;
}

/** A contender with its tables made. */
export interface Prepared {
  load(backlog: Backlog): Promise<void>;
  start(role?: Role): Promise<Running>;
  /** Whether all that is due is finished and recorded; undefined where nobody can look meanwhile. */
  finished(): Promise<boolean | undefined>;
  /** What the database says was attempted: for each endpoint the events' numbers, ascending. */
  attempts(): Promise<ReadonlyMap<number, readonly number[]>>;
}

export interface Contender {
  readonly name: string;
  /** Ours, embedded or not. */
  readonly ours: boolean;
  prepare(setup: Setup): Promise<Prepared>;
}

/** Rows of `{endpoint, numbers}`, the numbers joined by commas in ascending order. */
export async function readAttempts(sql: Sql, query: string): Promise<Map<number, number[]>> {
  const rows = await sql.unsafe<{ endpoint: number; numbers: string }[]>(query);
  return new Map(
    rows.map(({ endpoint, numbers }) => [Number(endpoint), numbers.split(",").map(Number)]),
  );
}
