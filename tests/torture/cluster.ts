import postgres, { type Sql } from "postgres";
import { type PostgresServer, startPostgres } from "../support/postgres.ts";
import { until } from "../support/wait.ts";

/** A durable PostgreSQL server that can be treated badly. */
export interface Cluster {
  readonly version: string;
  /** Where daemons find it: one port for each of its hosts. */
  readonly ports: readonly (() => number)[];
  /** The superuser's connections to a database, which no fault of ours shuts out. */
  connect(database: string): Sql;
  /** Makes an empty database of the role `app`, as which daemons connect. */
  createDatabase(name: string): Promise<void>;
  dropDatabase(name: string): Promise<void>;
  /** Ends it as `systemctl stop` does. */
  stop(): Promise<void>;
  /** Ends all of its processes by SIGKILL. */
  kill(): Promise<void>;
  start(): Promise<void>;
  /** Restarts it as a standby, which accepts no writes. `promote` makes it a primary again. */
  demote(): Promise<void>;
  promote(): Promise<void>;
  /** Runs statements as the superuser. */
  run(statements: string): Promise<void>;
  close(): Promise<void>;
}

/** Settings of servers that keep what they acknowledge. */
export const SETTINGS = {
  fsync: "on",
  synchronous_commit: "on",
  deadlock_timeout: "200ms",
  // Restarts are part of the plan: they should not wait for a checkpoint of much.
  max_wal_size: "256MB",
};

/** Starts a server with the role `app`. */
export async function startCluster(): Promise<Cluster> {
  const server = await startPostgres(SETTINGS);
  const port = Number(new URL(server.url("postgres")).port);
  const admin = open(server, "postgres");
  const [row] = await admin<{ version: string }[]>`
    select current_setting('server_version') as version`;
  await admin.unsafe("create role app login");
  const start = async () => {
    await server.start();
    await until("PostgreSQL takes connections", async () => await admin`select 1`);
  };
  return {
    version: row?.version ?? "unknown",
    ports: [() => port],
    connect: (database) => open(server, database),
    ...databasesOf(admin),
    stop: () => server.stop(),
    async kill() {
      killAll(await postmaster(admin));
      await server.stop(); // which has nothing to stop any more
    },
    start,
    async demote() {
      // `cat`, because the statement fails if the program ends without reading its input.
      await admin.unsafe("copy (select) to program 'cat > standby.signal'");
      await server.stop();
      await start();
    },
    async promote() {
      await until("it is promoted", async () => await admin`select pg_promote()`);
    },
    async run(statements) {
      await until("the superuser's statement runs", async () => {
        // One by one: some of them refuse to be in a transaction.
        for (const statement of statements.split(";")) await admin.unsafe(statement);
        return true;
      });
    },
    async close() {
      await admin.end({ timeout: 2 });
      await server.close();
    },
  };
}

/** Databases of a cluster. `admin`: the superuser's connections to it. */
export function databasesOf(admin: Sql): Pick<Cluster, "createDatabase" | "dropDatabase"> {
  return {
    async createDatabase(name) {
      await admin.unsafe(
        `create database ${name} owner app template template0 locale 'C' encoding 'UTF8'`,
      );
    },
    async dropDatabase(name) {
      await until("the database is dropped", async () => {
        await admin.unsafe(`drop database if exists ${name} with (force)`);
        return true;
      });
    },
  };
}

function open(server: PostgresServer, database: string): Sql {
  return postgres(server.url(database), {
    max: 3,
    fetch_types: false,
    idle_timeout: 0,
    onnotice: () => {},
    backoff: () => 0.05,
    connection: { application_name: "torture", default_transaction_read_only: false },
  });
}

async function postmaster(admin: Sql): Promise<number> {
  const [row] = await admin<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const parent = row === undefined ? undefined : parentOf(row.pid);
  if (parent === undefined) throw new Error("The server's main process was not found");
  return parent;
}

// The main process first, so that it starts nobody anew.
function killAll(main: number): void {
  const children = [...Deno.readDirSync("/proc")].map(({ name }) => Number(name))
    .filter((pid) => pid > 0 && parentOf(pid) === main);
  for (const pid of [main, ...children]) {
    try {
      Deno.kill(pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    // The name in brackets may hold anything, spaces too.
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return undefined;
  }
}
