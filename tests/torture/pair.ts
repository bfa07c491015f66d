import { openPool } from "../../lib/store/connect.ts";
import { makeConnector } from "../../lib/store/connection/connector.ts";
import { serverConfig } from "../support/config.ts";
import { connectTo, type Home, type PostgresServer, startPostgres } from "../support/postgres.ts";
import { until } from "../support/wait.ts";
import { type Cluster, databasesOf, SETTINGS } from "./cluster.ts";
import { type Proxy, startProxy } from "./proxy.ts";

/** A primary and its synchronous standby, which can take each other's place. */
export interface Pair extends Cluster {
  /** Which of the two hosts is the primary: 0 or 1. */
  readonly primary: 0 | 1;
  /** Makes the standby the primary. The old one, if it still runs, is seen by daemons only. */
  failOver(): Promise<void>;
  /** Ends the old primary, and makes a new standby in its place; `ended` is called between the two. */
  rebuild(ended?: () => Promise<void>): Promise<void>;
}

/** With a network between them that may be cut, they must notice soon. */
const PRIMARY = { ...SETTINGS, wal_sender_timeout: "5s", wal_receiver_timeout: "5s" };
/** Once it is the primary, it too waits for a standby before it acknowledges anything. */
const STANDBY = { ...PRIMARY, synchronous_standby_names: "s1" };

/** Starts a primary and its standby, with the role `app`; on loopback unless they have homes. */
export async function startPair(homes: readonly [Home, Home] | [] = []): Promise<Pair> {
  const first = await startPostgres(PRIMARY, { home: homes[0] });
  {
    await using sql = connectTo(first.url("postgres"));
    await sql.unsafe("create role app login");
  }
  const second = await first.standby("s1", STANDBY, homes[1]);
  const servers: [PostgresServer, PostgresServer] = [first, second];
  const portOf = (at: 0 | 1) => Number(new URL(servers[at].url("postgres")).port);
  let primary: 0 | 1 = 0;
  // By which the superuser finds whichever is primary, on whatever port.
  const fronts = [
    await startProxy(() => portOf(0), homes[0]?.address),
    await startProxy(() => portOf(1), homes[1]?.address),
  ] as const;
  const pools: ReturnType<typeof openPool>[] = [];

  function connect(database: string) {
    const hosts = fronts.map(({ port }) => `127.0.0.1:${port}`).join(",");
    const { address } = serverConfig(`postgres://postgres@${hosts}/${database}?sslmode=disable`);
    const pool = openPool(makeConnector(address), {
      application_name: "torture",
      settings: {},
      max: 3,
    });
    pools.push(pool);
    return pool.sql;
  }
  const admin = connect("postgres");
  const [row] = await admin<{ version: string }[]>`
    select current_setting('server_version') as version`;

  async function isSynchronous(): Promise<void> {
    await using sql = connectTo(servers[primary].url("postgres"));
    await until("the standby is synchronous", async () => {
      const rows = await sql`select from pg_stat_replication where sync_state = 'sync'`;
      return rows.length === 1;
    });
  }
  {
    await using sql = connectTo(first.url("postgres"));
    await sql.unsafe("alter system set synchronous_standby_names = 's1'");
    await sql`select pg_reload_conf()`;
  }
  await isSynchronous();

  return {
    version: row?.version ?? "unknown",
    get primary() {
      return primary;
    },
    ports: [() => portOf(0), () => portOf(1)],
    connect,
    ...databasesOf(admin),
    stop: () => servers[primary].stop(),
    kill: () => servers[primary].kill(),
    start: () => servers[primary].start(),
    demote: () => Promise.reject(new Error("A pair fails over instead")),
    promote: () => Promise.reject(new Error("A pair fails over instead")),
    async run(statements) {
      for (const statement of statements.split(";")) await admin.unsafe(statement);
    },
    async failOver() {
      const front: Proxy = fronts[primary];
      front.play = (client) => client.destroy();
      front.cut();
      primary = primary === 0 ? 1 : 0;
      await using sql = connectTo(servers[primary].url("postgres"));
      await sql`select pg_promote()`;
    },
    async rebuild(ended) {
      const other = primary === 0 ? 1 : 0;
      await servers[other].close();
      await ended?.();
      // The primary goes on writing: a file may vanish while it is copied.
      servers[other] = await until(
        "a standby is made",
        () => servers[primary].standby("s1", STANDBY, homes[other]),
      );
      fronts[other].play = undefined;
      await isSynchronous();
    },
    async close() {
      for (const pool of pools) await pool.close();
      for (const front of fronts) await front.close();
      for (const server of servers) await server.close();
    },
  };
}
