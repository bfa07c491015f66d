import { Duplex } from "node:stream";
import postgres, { type Options, type Sql } from "postgres";
import type { Connector } from "./connection/connector.ts";
import type { Purpose, Session } from "./connection/dial.ts";
import type { Embedded } from "./embedded.ts";
import { failure } from "./connection/failure.ts";
import { watchSilence } from "./connection/silence.ts";

/** Sessions on a server, opened on demand. */
export interface Pool {
  readonly sql: Sql;
  close(): Promise<void>;
}

/** The longest a statement may run on a server: locks held by others end it, and it is retried. */
export const STATEMENT_TIMEOUT_MS = 30_000;

/** The name under which a server's `pg_stat_activity` lists daemons. */
export const APPLICATION = "bookme-webhooks";

/** What a pool does besides running statements. */
export interface PoolOptions extends Purpose {
  readonly max: number;
  /** Called with each session that opens. */
  readonly opened?: (session: Session) => void;
  /** Called with the payload of each notification on the purpose's channel. */
  readonly heard?: (payload: string) => void;
}

/**
 * Every option of postgres.js that it would else read from the environment (`PGDEBUG`, `PGPASSWORD`,
 * `PGTARGETSESSIONATTRS` …). The connector has done what most of them are about.
 */
const COMMON = {
  // Of a server, only for messages.
  host: ["localhost"],
  port: [5432],
  username: "postgres",
  database: "postgres",
  password: "unused",
  ssl: false,
  sslnegotiation: null,
  target_session_attrs: "primary",
  connect_timeout: 0,
  keep_alive: 0,
  idle_timeout: 0,
  max_lifetime: null,
  max_pipeline: 100,
  prepare: true,
  debug: false,
  publications: "alltables",
  fetch_types: false,
  onnotice: () => {},
  // The connector has a backoff. This one would hold up the rejection of each waiting statement.
  backoff: () => 0,
} as const;

/** Bytes from which on postgres.js writes without waiting for more. */
const WRITTEN_AT_ONCE = 1_024;

/** What of a statement of postgres.js is changed. */
interface Statement {
  executed: boolean;
  resolve(result: unknown): void;
  handle(): Promise<void>;
}

const fixed = new WeakSet<Statement>();

/**
 * Fixes what postgres.js 3.4.9 does after a statement that failed in the middle of its rows, by an error or with its
 * session: it counts on from them, so that the next result on that connection began with as many holes.
 */
function fixResults(sql: Sql): Sql {
  // Not run: statements run when they are waited for.
  const statement: Statement = Object.getPrototypeOf(sql`select 1`);
  if (fixed.has(statement)) return sql;
  fixed.add(statement);
  const { handle } = statement;
  statement.handle = function () {
    if (!this.executed) {
      const { resolve } = this;
      this.resolve = (result) => resolve(withoutHoles(result));
    }
    return handle.call(this);
  };
  return sql;
}

function withoutHoles(result: unknown): unknown {
  if (!Array.isArray(result) || result.length === 0 || 0 in result) return result;
  let holes = 0;
  while (!(holes in result)) holes++;
  result.splice(0, holes);
  return result;
}

/** Up to `max` sessions of the connector. */
export function openPool(
  connector: Connector,
  { max, opened, heard, ...purpose }: PoolOptions,
): Pool {
  let closed = false;
  const sockets = new Set<Session["socket"]>();
  async function socket(): Promise<Duplex> {
    try {
      if (closed) throw failure("CONNECTION_ENDED", "The pool is closed");
      const session = await connector.open(purpose);
      const { socket } = session;
      if (closed || socket.destroyed) {
        socket.destroy();
        throw failure("CONNECTION_CLOSED", "The connection was closed as soon as it was open");
      }
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      watchSilence(socket, Number(purpose.settings.statement_timeout ?? 0));
      opened?.(session);
      return handOver(session);
    } catch (error) {
      return lostSocket(error as Error);
    }
  }
  const [first] = connector.address.hosts;
  const options = {
    ...COMMON,
    ...(first !== undefined && "host" in first ? { host: [first.host], port: [first.port] } : {}),
    max,
    max_lifetime: lifetime(),
    // Makes the startup message, which no server sees, so long that it is written at once. A short one joins what a
    // closed connection left unsent, and waits for a timer that postgres.js 3.4.9 has cleared: for good.
    connection: { filler: "x".repeat(WRITTEN_AT_ONCE) },
    socket,
    onnotify: (_channel: string, payload: string) => heard?.(payload),
  };
  const sql = fixResults(postgres(options as unknown as Options<Record<string, never>>));
  return {
    sql,
    async close() {
      closed = true;
      await sql.end({ timeout: 1 });
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** The one session of an embedded database; closing it closes the database. */
export function openSession(embedded: Embedded): Pool {
  const options = { ...COMMON, max: 1, socket: () => embedded.connect() };
  const sql = fixResults(postgres(options as unknown as Options<Record<string, never>>));
  return {
    sql,
    async close() {
      await sql.end({ timeout: 5 });
      await embedded.close();
    },
  };
}

// Between 30 and 60 minutes, in seconds: backends grow with what they have planned.
function lifetime(): () => number {
  return () => 60 * (30 + Math.random() * 30);
}

// The session has started, which postgres.js does not know: its startup message is kept back, and
// answered.
function handOver({ socket, greet }: Session): Duplex {
  const { write } = socket;
  socket.write = ((_startup: Uint8Array) => {
    socket.write = write;
    // Deferred, because postgres.js drops writes that it is asked for during a write.
    queueMicrotask(() => socket.emit("data", greet()));
    return true;
  }) as typeof write;
  return closingAtOnce(socket);
}

/**
 * The socket, of whose error postgres.js hears only when it closes. Between the two it would run statements on it
 * that were never sent nor rejected, and answer them with an empty result once it had connected again.
 */
function closingAtOnce<T extends Duplex>(socket: T): T {
  const { on } = socket;
  let cause: Error | undefined;
  let fail = (_cause: Error) => {};
  on.call(socket, "error", (error: Error) => cause ??= error);
  // It asks for three events when it gets a socket: errors, the end, and drains.
  socket.on = ((event: string, listener: (value?: unknown) => void) => {
    if (event === "error") {
      fail = listener;
      return socket;
    }
    if (event !== "close") {
      socket.on = on;
      return on.call(socket, event, listener);
    }
    return on.call(socket, event, () => {
      fail(cause ?? failure("CONNECTION_CLOSED", "The connection was closed"));
      listener(true);
    });
  }) as typeof on;
  return socket;
}

// From a rejected promise postgres.js would not recover; of a socket that is destroyed it hears nothing.
// This one fails at the first write.
function lostSocket(error: Error): Duplex {
  return closingAtOnce(
    new Duplex({ read() {}, write: (_chunk, _encoding, done) => done(error) }),
  );
}
