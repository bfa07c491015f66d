import type { Sql } from "postgres";
import type { Config } from "../config/config.ts";
import type { DatabaseAddress } from "../core/database_address.ts";
import { type Backups, makeBackups } from "./backup.ts";
import { CHANNEL } from "./changes.ts";
import {
  APPLICATION,
  openPool,
  openSession,
  type Pool,
  type PoolOptions,
  STATEMENT_TIMEOUT_MS,
} from "./connect.ts";
import type { Settings } from "./cluster.ts";
import { makeConnector } from "./connection/connector.ts";
import { isSilence, within } from "./deadline.ts";
import type { Embedded, Say } from "./embedded.ts";
import { isAstray } from "./errors.ts";
import { failure } from "./connection/failure.ts";
import { adopt, migrate } from "./migrations.ts";
import { makeAhead } from "./partitions.ts";
import { pooled, TOKEN_SETTING } from "./connection/session.ts";
import { type OpenOptions, untilThere } from "./connection/waiting.ts";

/** The open database. On an embedded one, the three pools are one and the same session. */
export interface Database {
  readonly kind: "embedded" | "server";
  /** For ingest, which must not wait for anything else. */
  readonly ingest: Sql;
  /** For claiming and recording. */
  readonly engine: Sql;
  /** For everything that no delivery waits for. */
  readonly admin: Sql;
  /** Backups of it; undefined on a server, which has its own. */
  readonly backups?: Backups;
  /** Names of the migrations that opening applied. */
  readonly migrated: readonly string[];
  /**
   * Calls `heard` with each payload that another process sends on `CHANNEL`, and `fresh` now and whenever
   * the connection for it opens again: payloads sent in between are lost.
   */
  listen(heard: (payload: string) => void, fresh: () => void): void;
  /**
   * Resolves when the database answers on a connection of each of the three, and accepts writes. Rejects
   * with the reason, after `timeout_ms` at the latest.
   */
  check(timeout_ms: number): Promise<void>;
  /** How long ago the database last answered, in milliseconds, by its pulse. Embedded, 0. */
  silent_ms(): number;
  /** Cuts all connections, for when they lead nowhere any more; new ones open on demand. */
  reset(): void;
  close(): Promise<void>;
}

const HEARTBEAT_MS = 1_000;
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
 * Opens the configured database and migrates it to this program's schema. Waits for a server that is away
 * for `connect_timeout_ms`, unless `signal` ends that. `say` hears what takes a while, and what happens to
 * an embedded database later. Throws an `AppError` with the reason if the database cannot be used.
 */
export async function openDatabase(
  { database }: Place,
  say?: Say,
  signal?: AbortSignal,
): Promise<Database> {
  if (database.kind === "server") {
    const waiting = (cause: string) => say?.info("Waiting for the database", { cause });
    const options = { waiting, ...(signal === undefined ? {} : { signal }) };
    return await openServer(database.address, database.connect_timeout_ms, options);
  }
  const { openEmbedded } = await import("./embedded.ts");
  const { directory } = database;
  return await openOnly(await openEmbedded(directory, { ...HOT, ...LOOKUPS }, say), directory);
}

async function openOnly(embedded: Embedded, directory: string): Promise<Database> {
  const { sql, close } = openSession(embedded);
  try {
    const applied = await migrate(sql);
    const migrated = embedded.is_new ? await adopt(sql) : applied;
    await makeAhead(sql);
    // No other process can be sending: leases are those of a process that is gone.
    await sql`
      update pending_deliveries set leased_until = now() where leased_until > now()`;
    return {
      kind: "embedded",
      ingest: sql,
      engine: sql,
      admin: sql,
      backups: makeBackups(sql, directory),
      migrated,
      // One process: no other could send anything.
      listen: () => {},
      check: async (timeout_ms) => void await within(sql`select 1`, timeout_ms),
      silent_ms: () => 0,
      reset: () => {},
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openServer(
  address: DatabaseAddress,
  connect_timeout_ms: number,
  options: OpenOptions,
): Promise<Database> {
  const connector = makeConnector(address);
  const pools: Pool[] = [];
  const open = (max: number, settings: Settings, more: Partial<PoolOptions> = {}) => {
    const pool = openPool(connector, {
      application_name: address.application_name ?? APPLICATION,
      settings: { statement_timeout: STATEMENT_TIMEOUT_MS, ...settings },
      ...more,
      max,
    });
    pools.push(pool);
    return pool;
  };
  const { listen, ping } = openPulse(open);
  let heart: ReturnType<typeof startHeart> | undefined;
  const close = async () => {
    await Promise.all([heart?.stop(), ...pools.map((pool) => pool.close())]);
    connector.reset();
  };
  try {
    const migrations = open(1, { statement_timeout: 0 });
    const migrated = await untilThere(connector, connect_timeout_ms, options, async () => {
      await ping(SILENCE_MS);
      heart ??= startHeart(ping, connector.reset);
      const applied = await migrate(
        migrations.sql,
        options.signal === undefined ? {} : { signal: options.signal },
      );
      await makeAhead(migrations.sql);
      return applied;
    });
    void migrations.close();
    const ingest = open(2, { ...HOT, ...LOOKUPS }, { busy: true });
    const engine = open(2, { ...HOT, ...LOOKUPS }, { busy: true });
    // Its statements take milliseconds, compiling one a few hundred.
    const admin = open(2, { statement_timeout: 10_000, jit: "off" });
    // So that the first event does not wait for a connection.
    for (const { sql } of [ingest, engine, admin]) sql`select 1`.catch(() => {});
    return {
      kind: "server",
      ingest: ingest.sql,
      engine: engine.sql,
      admin: admin.sql,
      migrated,
      listen,
      check: makeCheck(ping, { ingest, engine, admin }),
      silent_ms: () => heart?.silent_ms() ?? 0,
      reset: connector.reset,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * The pulse: a session of its own, so that it waits for no other statement. It listens, and is asked
 * whether the server accepts writes and the session is still the same one.
 */
function openPulse(
  open: (max: number, settings: Settings, more: Partial<PoolOptions>) => Pool,
): Pick<Database, "listen"> & { ping(timeout_ms: number): Promise<void> } {
  let heard = (_payload: string) => {};
  let fresh = () => {};
  let token = "";
  const { sql } = open(1, {}, {
    channel: CHANNEL,
    heard: (payload) => heard(payload),
    opened: (session) => {
      ({ token } = session);
      fresh();
    },
  });
  const ask = async () => {
    const [row] = await sql<{ read_only: string; token: string | null }[]>`
      select current_setting('transaction_read_only') as read_only,
        current_setting(${TOKEN_SETTING}, true) as token`;
    if (row?.read_only === "on") throw failure("25006", "The database is read-only");
    if (row?.token !== token) throw pooled();
  };
  return {
    ping: (timeout_ms) => within(ask(), timeout_ms),
    listen(hear, freshen) {
      heard = hear;
      fresh = freshen;
      fresh();
    },
  };
}

// A pool whose connections are all taken, or that gets none, is of no use although the database answers.
function makeCheck(
  ping: (timeout_ms: number) => Promise<void>,
  pools: Readonly<Record<string, Pool>>,
): Database["check"] {
  const probes = Object.entries(pools).map(([name, { sql }]) => {
    // One at a time: those that nobody waits for any more are not followed by others.
    let asked: Promise<unknown> | undefined;
    return async (timeout_ms: number) => {
      asked ??= sql`select 1`.finally(() => asked = undefined);
      try {
        await within(asked, timeout_ms);
      } catch (error) {
        if (!isSilence(error)) throw error;
        throw failure("TIMEOUT", `No connection for ${name} became free within ${timeout_ms} ms`);
      }
    };
  });
  return async (timeout_ms) => {
    await Promise.all([ping, ...probes].map((probe) => probe(timeout_ms)));
  };
}

// A connection whose other end fell silent (a firewall that forgot it, a machine that is gone) never
// fails by itself: every statement on it would wait forever. Slow statements are not silence, which is
// why the heart has a connection of its own.
function startHeart(ping: (timeout_ms: number) => Promise<void>, astray: () => void) {
  let stopped = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let beating: Promise<void> | undefined;
  let answered_at = performance.now();
  const beat = async () => {
    await ping(SILENCE_MS).then(() => answered_at = performance.now(), (error) => {
      if (isAstray(error)) astray();
    });
    if (!stopped) timer = setTimeout(() => beating = beat(), HEARTBEAT_MS);
  };
  beating = beat();
  return {
    silent_ms: () => performance.now() - answered_at,
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await beating;
    },
  };
}
