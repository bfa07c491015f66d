import type { Sql } from "postgres";
import type { Config } from "../config/config.ts";
import type { DatabaseAddress } from "../core/database_address.ts";
import { AppError, messageOf } from "../core/errors.ts";
import { CHANNEL } from "./changes.ts";
import { openPool, openSession, type Pool } from "./connect.ts";
import { isSilence, within } from "./deadline.ts";
import type { Settings } from "./cluster.ts";
import type { Embedded, Say } from "./embedded.ts";
import { migrate } from "./migrations.ts";

/** The open database. On an embedded one, the three pools are one and the same session. */
export interface Database {
  readonly kind: "embedded" | "server";
  /** For ingest, which must not wait for anything else. */
  readonly ingest: Sql;
  /** For claiming and recording. */
  readonly engine: Sql;
  /** For everything that no delivery waits for. */
  readonly admin: Sql;
  /** Names of the migrations that opening applied. */
  readonly migrated: readonly string[];
  /**
   * Calls `heard` with each payload that another process sends on `CHANNEL`, and `fresh` whenever the
   * connection for it opens, again or first: payloads sent in between are lost.
   */
  listen(heard: (payload: string) => void, fresh: () => void): Promise<void>;
  /** Resolves when the database answers; rejects after `timeout_ms`. */
  ping(timeout_ms: number): Promise<void>;
  /** Cuts all connections, for when the server has fallen silent; new ones open on demand. */
  reset(): void;
  close(): Promise<void>;
}

const HEARTBEAT_MS = 2_000;
const SILENCE_MS = 4_000;

/** Statements that run all the time are planned once. */
const HOT = { plan_cache_mode: "force_generic_plan" };

/**
 * Settings under which the engine's statements find rows by index, in its order, whatever the statistics
 * say: a plan made for an empty table must not scan or sort a full one.
 */
const LOOKUPS = {
  enable_hashjoin: "off",
  enable_mergejoin: "off",
  enable_bitmapscan: "off",
  enable_seqscan: "off",
};

/** The part of the configuration that says which database to open. */
interface Place {
  readonly database:
    | Extract<Config["database"], { kind: "server" }>
    | { readonly kind: "embedded"; readonly directory: string };
}

/**
 * Opens the configured database and migrates it to this program's schema. `say` hears what takes a
 * while, and what happens to an embedded database later.
 */
export async function openDatabase({ database }: Place, say?: Say): Promise<Database> {
  if (database.kind === "server") return await openServer(database.address);
  const { openEmbedded } = await import("./embedded.ts");
  return await openOnly(await openEmbedded(database.directory, { ...HOT, ...LOOKUPS }, say));
}

async function openOnly(embedded: Embedded): Promise<Database> {
  const { sql, close } = openSession(embedded);
  try {
    const migrated = await migrate(sql);
    // No other process can be sending: leases are those of a process that is gone.
    await sql`
      update pending_deliveries set leased_until = now() where leased_until > now()`;
    return {
      kind: "embedded",
      ingest: sql,
      engine: sql,
      admin: sql,
      migrated,
      // One process: no other could send anything.
      listen: () => Promise.resolve(),
      ping: async (timeout_ms) => void await within(sql`select 1`, timeout_ms),
      reset: () => {},
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openServer(address: DatabaseAddress): Promise<Database> {
  const pools: Pool[] = [];
  const open = (max: number, settings: Settings) => {
    const pool = openPool(address, max, settings);
    pools.push(pool);
    return pool;
  };
  const close = async () => void await Promise.all(pools.map((pool) => pool.close()));
  try {
    const ingest = open(2, { ...HOT, ...LOOKUPS });
    const engine = open(2, { ...HOT, ...LOOKUPS });
    const admin = open(2, { statement_timeout: 10_000 });
    // Connected during the migration, so that the first event does not wait for it. If that fails, so
    // does the migration, which reports it.
    for (const { sql } of [ingest, engine, admin]) sql`select 1`.catch(() => {});
    const migrations = open(1, { statement_timeout: 0 });
    const migrated = await migrate(migrations.sql);
    void migrations.close();
    // A connection of its own, so that it waits for no other statement.
    const pulse = open(1, {}).sql;
    const ping = (timeout_ms: number) => within(askWhetherWritable(pulse), timeout_ms);
    const reset = () => pools.forEach((pool) => pool.reset());
    const heart = startHeart(ping, reset);
    return {
      kind: "server",
      ingest: ingest.sql,
      engine: engine.sql,
      admin: admin.sql,
      migrated,
      listen: async (heard, fresh) => void await admin.sql.listen(CHANNEL, heard, fresh),
      ping,
      reset,
      close: async () => void await Promise.all([heart.stop(), close()]),
    };
  } catch (error) {
    await close();
    if (error instanceof AppError) throw error;
    throw new AppError(
      "unavailable",
      `The database does not answer: ${
        messageOf(error)
      }; check database.url and that it is running`,
    );
  }
}

async function askWhetherWritable(sql: Sql): Promise<void> {
  const [row] = await sql<{ read_only: string }[]>`
    select current_setting('transaction_read_only') as read_only`;
  // It answers but accepts no writes: a standby, or default_transaction_read_only.
  if (row?.read_only === "on") throw new Error("The database is read-only");
}

// A connection whose other end fell silent (a firewall that forgot it, a machine that is gone) never
// fails by itself: every statement on it would wait forever. Slow statements are not silence, which is
// why the heart has a connection of its own.
function startHeart(ping: (timeout_ms: number) => Promise<void>, silent: () => void) {
  let stopped = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let beating: Promise<void> | undefined;
  const beat = async () => {
    await ping(SILENCE_MS).catch((error) => {
      if (isSilence(error)) silent();
    });
    if (!stopped) timer = setTimeout(() => beating = beat(), HEARTBEAT_MS);
  };
  beating = beat();
  return {
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await beating;
    },
  };
}
