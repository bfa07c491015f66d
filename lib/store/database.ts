import { connect, type Socket } from "node:net";
import postgres, { type Options, type Sql } from "postgres";
import type { Config } from "../config/config.ts";
import { type Bagged, makeBag } from "../core/bag.ts";
import { AppError, messageOf } from "../core/errors.ts";
import type { Embedded } from "./embedded.ts";
import { migrate } from "./migrations.ts";

/** The open database. The three pools are one and the same session where it is embedded. */
export interface Database {
  readonly kind: "embedded" | "server";
  /** For ingest, which must not wait behind anything else. */
  readonly ingest: Sql;
  /** For claiming and recording. */
  readonly engine: Sql;
  /** For everything that is not on the way of a delivery. */
  readonly admin: Sql;
  /** Names of the migrations that opening applied. */
  readonly migrated: readonly string[];
  /**
   * Calls `heard` with each payload that another process sends on our channel, and `fresh` whenever
   * the connection for it is (again) there, since what was said in between is lost.
   */
  listen(heard: (payload: string) => void, fresh: () => void): Promise<void>;
  /** Answers when the database does; rejects after `timeout_ms`. */
  ping(timeout_ms: number): Promise<void>;
  /** Cuts all connections and opens new ones on demand: for when the other end has fallen silent. */
  reset(): void;
  close(): Promise<void>;
}

/** The channel on which daemons wake each other: numbers of endpoints with something due, or `fleet`. */
export const CHANNEL = "bookme_webhooks";

/** No statement of ours may run longer on a server: locks held by others end it, and it is retried. */
export const STATEMENT_TIMEOUT_MS = 30_000;
const CONNECT_TIMEOUT_S = 5;
const HEARTBEAT_MS = 2_000;
const SILENCE_MS = 4_000;

/** Statements that run all the time are planned once. */
const HOT = { plan_cache_mode: "force_generic_plan" };

/**
 * Settings under which the engine's statements look up by index, in its order, whatever the statistics
 * say: a plan made for an empty table must not scan or sort a full one.
 */
const LOOKUPS = {
  enable_hashjoin: "off",
  enable_mergejoin: "off",
  enable_bitmapscan: "off",
  enable_seqscan: "off",
};

/** Whether an error means that the database is away or overloaded, so that trying again makes sense. */
export function isOutage(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code !== "string") return false;
  // Of PostgreSQL's classes: connection, out of resources, operator intervention (shutdown, timeout),
  // transaction rollback (deadlock), lock not available, read-only. The rest are postgres.js's and
  // the operating system's.
  return /^(08|53|57|40|58|25006|55P03|XX)/.test(code) ||
    /^(CONNECT|ECONN|EPIPE|ENOTFOUND|ETIMEDOUT|EHOST|ENET|EAI_|ENOENT|CONNECTION_|TIMEOUT)/.test(
      code,
    );
}

/**
 * Whether an error is about what was to be written, so that trying again makes no sense: PostgreSQL's
 * classes of data, integrity and limits, or none of the database's at all. Of anything else (a role that
 * may not connect, no file descriptors) nobody knows how long it lasts.
 */
export function isRefusal(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code !== "string" || /^(22|23|54)/.test(code);
}

/** Opens the database of the configuration and brings it to this program's schema. */
export async function openDatabase(config: Pick<Config, "database">): Promise<Database> {
  const { database } = config;
  if (database.kind === "server") return await openServer(database.url.reveal());
  const { openEmbedded } = await import("./embedded.ts");
  const embedded = await openEmbedded(database.directory, { ...HOT, ...LOOKUPS });
  try {
    return await openSession(embedded);
  } catch (error) {
    await embedded.close();
    throw error;
  }
}

async function openSession(embedded: Embedded): Promise<Database> {
  const sql = postgres({
    ...COMMON,
    max: 1,
    username: "postgres",
    database: "postgres",
    max_lifetime: null,
    socket: () => embedded.connect(),
  } as Options<Record<string, never>>);
  const migrated = await migrate(sql);
  // Nobody else can be sending: what is leased was so by a process that is gone.
  await sql`
    update pending_deliveries set leased_until = now() where leased_until > now()`;
  return {
    kind: "embedded",
    ingest: sql,
    engine: sql,
    admin: sql,
    migrated,
    // One process: nobody else could say anything.
    listen: () => Promise.resolve(),
    ping: async () => void await sql`select 1`,
    reset: () => {},
    async close() {
      await sql.end({ timeout: 5 });
      await embedded.close();
    },
  };
}

const COMMON = {
  fetch_types: false,
  idle_timeout: 0,
  onnotice: () => {},
  // Short, because deliveries wait for it; the default grows to many seconds.
  backoff: (retries: number) => Math.min(0.05 * 2 ** retries, 1),
};

async function openServer(url: string): Promise<Database> {
  const pools: Pool[] = [];
  const open = (max: number, settings: Record<string, string | number>) => {
    const pool = openPool(url, max, settings);
    pools.push(pool);
    return pool;
  };
  const close = async () => void await Promise.all(pools.map((pool) => pool.close()));
  try {
    const ingest = open(2, HOT);
    const engine = open(2, { ...HOT, ...LOOKUPS });
    const admin = open(2, { statement_timeout: 10_000 });
    // Connected while the schema is looked at, so that the first event does not wait for it. Where that
    // fails, migrating does too, and says so.
    for (const { sql } of [ingest, engine, admin]) sql`select 1`.catch(() => {});
    const migrations = open(1, { statement_timeout: 0 });
    const migrated = await migrate(migrations.sql);
    void migrations.close();
    // Of its own, so that it waits behind no statement of ours.
    const pulse = open(1, {}).sql;
    const reset = () => pools.forEach((pool) => pool.reset());
    const ping = async (timeout_ms: number) => {
      const [row] = await within(
        pulse<{ read_only: string }[]>`
          select current_setting('transaction_read_only') as read_only`,
        timeout_ms,
      );
      // It answers, but takes nothing: a standby, or default_transaction_read_only.
      if (row?.read_only === "on") throw new Error("The database is read-only");
    };
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

// A connection whose other end fell silent (a firewall that forgot it, a machine that is gone) never
// errs by itself: everything on it would wait for ever. Statements of ours that are merely slow are
// not silence, which is why the heart has a connection of its own.
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

interface Pool {
  readonly sql: Sql;
  /** Cuts every connection; what was under way rejects, and new ones are opened on demand. */
  reset(): void;
  close(): Promise<void>;
}

function openPool(url: string, max: number, settings: Record<string, string | number>): Pool {
  const sockets = new Set<Socket>();
  const sql = postgres(url, {
    ...COMMON,
    max,
    connect_timeout: CONNECT_TIMEOUT_S,
    connection: {
      application_name: "bookme-webhooks",
      jit: "off",
      statement_timeout: STATEMENT_TIMEOUT_MS,
      ...settings,
    },
    // Our own sockets, so that reset() can cut them.
    socket: (options: { host: string[]; port: number[]; path?: string | false }) =>
      openSocket(options, sockets),
  } as unknown as Options<Record<string, never>>);
  return {
    sql,
    reset: () => sockets.forEach((socket) => socket.destroy()),
    close: () => sql.end({ timeout: 1 }),
  };
}

// Answered before it is connected: what postgres.js writes waits in the socket, and a failure reaches
// it as the socket's events. (From a rejected promise it would not recover.)
function openSocket(
  options: { host: string[]; port: number[]; path?: string | false },
  sockets: Set<Socket>,
): Socket {
  const host = options.host[0] ?? "localhost";
  const socket = typeof options.path === "string"
    ? connect(options.path)
    : connect({ host, port: options.port[0] ?? 5432, noDelay: true });
  sockets.add(socket);
  socket.once("close", () => sockets.delete(socket));
  // postgres.js reads the name for TLS from here.
  return Object.assign(socket, { host });
}

class SilentError extends Error {
  readonly code = "TIMEOUT";
}

/** Whether an error says that `within` waited in vain. */
export function isSilence(error: unknown): boolean {
  return error instanceof SilentError;
}

/** Somebody who waits for an answer. */
interface Wait extends Bagged {
  readonly timeout_ms: number;
  /** By `performance.now()`. */
  readonly ends_at: number;
  readonly reject: (error: Error) => void;
}

/** How late a wait may end. */
const LOOK_MS = 100;
const waits = makeBag<Wait>();
let looking: ReturnType<typeof setInterval> | undefined;

/**
 * The answer of `work`, or a rejection with the code `TIMEOUT` after `timeout_ms`.
 *
 * All waits share one timer. With one each, the runtime's list of timers links them, answers and all,
 * to the ones that came later, so that the garbage collector took every delivery for alive until its
 * next full collection.
 */
export function within<T>(work: PromiseLike<T>, timeout_ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const wait = { timeout_ms, ends_at: performance.now() + timeout_ms, reject, place: -1 };
    waits.add(wait);
    looking ??= setInterval(endWaits, LOOK_MS);
    work.then((answer) => {
      forget(wait);
      resolve(answer);
    }, (error) => {
      forget(wait);
      reject(error);
    });
  });
}

function endWaits(): void {
  const now = performance.now();
  for (const wait of waits) {
    if (now < wait.ends_at) continue;
    forget(wait);
    wait.reject(new SilentError(`The database gave no answer within ${wait.timeout_ms} ms`));
  }
}

function forget(wait: Wait): void {
  waits.delete(wait);
  if (waits.size > 0) return;
  clearInterval(looking);
  looking = undefined;
}
