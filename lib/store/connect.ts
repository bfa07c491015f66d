import { connect, type Socket } from "node:net";
import postgres, { type Options, type Sql } from "postgres";
import type { DatabaseAddress } from "../core/database_address.ts";
import type { Settings } from "./cluster.ts";
import type { Embedded } from "./embedded.ts";

/** Sessions on a server, opened on demand. */
export interface Pool {
  readonly sql: Sql;
  /** Cuts every connection: statements under way reject, and later ones open new connections. */
  reset(): void;
  close(): Promise<void>;
}

/** The longest a statement may run on a server: locks held by others end it, and it is retried. */
export const STATEMENT_TIMEOUT_MS = 30_000;

/** The name under which a server's `pg_stat_activity` lists daemons. */
export const APPLICATION = "bookme-webhooks";

const CONNECT_TIMEOUT_MS = 5_000;

const COMMON = {
  fetch_types: false,
  idle_timeout: 0,
  onnotice: () => {},
  // Short, because deliveries wait for it; the default grows to many seconds.
  backoff: (retries: number) => Math.min(0.05 * 2 ** retries, 1),
};

/** Up to `max` sessions on a server. */
export function openPool(address: DatabaseAddress, max: number, settings: Settings): Pool {
  const sockets = new Set<Socket>();
  const sql = postgres({
    ...COMMON,
    ...targetOf(address),
    max,
    connect_timeout: (address.connect_timeout_ms ?? CONNECT_TIMEOUT_MS) / 1000,
    connection: {
      ...address.options,
      application_name: address.application_name ?? APPLICATION,
      jit: "off",
      statement_timeout: STATEMENT_TIMEOUT_MS,
      ...settings,
    },
    // postgres.js keeps its sockets to itself, and reset() must cut them.
    socket: (target: Target) => openSocket(target, sockets),
  } as unknown as Options<Record<string, never>>);
  return {
    sql,
    reset: () => sockets.forEach((socket) => socket.destroy()),
    close: () => sql.end({ timeout: 1 }),
  };
}

/** The one session of an embedded database; closing it closes the database. */
export function openSession(embedded: Embedded): Omit<Pool, "reset"> {
  const sql = postgres({
    ...COMMON,
    max: 1,
    max_lifetime: null,
    username: "postgres",
    database: "postgres",
    socket: () => embedded.connect(),
  } as Options<Record<string, never>>);
  return {
    sql,
    async close() {
      await sql.end({ timeout: 5 });
      await embedded.close();
    },
  };
}

function targetOf({ hosts, user, password, name, tls }: DatabaseAddress) {
  const [first] = hosts;
  const tcp = hosts.filter((host) => "host" in host);
  const is_socket = first !== undefined && "socket" in first;
  return {
    ...(is_socket
      ? { path: first.socket, host: "localhost" }
      : { host: tcp.map((each) => each.address ?? each.host), port: tcp.map(({ port }) => port) }),
    username: user,
    // Empty, or postgres.js takes one from the environment.
    password: password?.reveal() ?? "",
    database: name,
    ssl: is_socket ? false : tlsOf(tls),
  };
}

function tlsOf({ mode, ca, cert, key }: DatabaseAddress["tls"]) {
  if (mode === "disable") return false;
  if (mode === "allow" || mode === "prefer") return mode;
  return {
    rejectUnauthorized: mode !== "require",
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert, key: key?.reveal() }),
    ...(mode === "verify-ca" ? { checkServerIdentity: () => undefined } : {}),
  };
}

/** The part of postgres.js's options that says where to connect. */
interface Target {
  readonly host: readonly string[];
  readonly port: readonly number[];
  readonly path?: string | false;
}

// Returned before it is connected: postgres.js writes into the socket's buffer, and hears of a failure
// by the socket's events. (From a rejected promise it would not recover.)
function openSocket(target: Target, sockets: Set<Socket>): Socket {
  const host = target.host[0] ?? "localhost";
  const socket = typeof target.path === "string"
    ? connect(target.path)
    : connect({ host, port: target.port[0] ?? 5432, noDelay: true });
  sockets.add(socket);
  socket.once("close", () => sockets.delete(socket));
  // postgres.js reads the name for TLS from here.
  return Object.assign(socket, { host });
}
