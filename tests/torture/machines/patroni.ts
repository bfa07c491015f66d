import { stringify } from "yaml";
import { openPool } from "../../../lib/store/connect.ts";
import { makeConnector } from "../../../lib/store/connection/connector.ts";
import { serverConfig } from "../../support/config.ts";
import { serverUser } from "../../support/postgres.ts";
import { until } from "../../support/wait.ts";
import { type Cluster, databasesOf, SETTINGS } from "../cluster.ts";
import type { Programs } from "./debian.ts";
import type { Machine } from "./network.ts";

/** A cluster of two servers that fails over by itself: Patroni on each, which agree by etcd. */
export interface Patroni extends Cluster {
  /** The machine whose server accepts writes, as those say that can be reached. */
  leader(): Promise<Machine>;
  /** Waits until one leads and the other is its synchronous standby. */
  settled(): Promise<void>;
  /** Leaves the superuser's connections, where the server behind them has been cut off. */
  leave(): void;
  /** Kills the server of a machine, and waits until Patroni has started another there. */
  killServer(machine: Machine): Promise<void>;
  /** Has the standby take the leader's place in an orderly way. */
  switchOver(): Promise<void>;
}

/** Starts a program on a machine, as the user who runs servers or as root, with a log of its own. */
export type Start = (
  machine: Machine,
  name: string,
  command: readonly string[],
  user?: ReturnType<typeof serverUser>,
) => void;

export interface PatroniOptions {
  readonly programs: Programs;
  readonly servers: readonly [Machine, Machine];
  readonly etcd: Machine;
  /** For data, configurations and logs; readable by the user who runs servers. */
  readonly directory: string;
  readonly start: Start;
}

export const APP_PASSWORD = "password-of-the-torture";
const PASSWORD = "superuser-of-the-torture";
export const POSTGRES_PORT = 5432;
export const REST_PORT = 8008;
const ETCD_PORT = 2379;
const ETCD_PEER_PORT = 2380;

/** The shortest that Patroni allows: a leader that is cut off is replaced after `ttl` seconds. */
const TIMES = { ttl: 20, loop_wait: 2, retry_timeout: 5 };

interface Member {
  readonly name: string;
  readonly role: string;
  readonly state: string;
}

/** Starts etcd and both servers, and makes the role `app`. Ends with the processes on its machines. */
export async function startPatroni(options: PatroniOptions): Promise<Patroni> {
  const { servers, directory } = options;
  const user = serverUser();
  startEtcd(options);
  for (const server of servers) startServer(options, server);
  const pools: ReturnType<typeof openPool>[] = [];
  const connectors: ReturnType<typeof makeConnector>[] = [];
  const hosts = servers.map(({ address }) => `${address}:${POSTGRES_PORT}`).join(",");

  function connect(database: string) {
    const url = `postgres://postgres:${PASSWORD}@${hosts}/${database}?sslmode=disable`;
    const connector = makeConnector(serverConfig(url).address);
    const pool = openPool(connector, { application_name: "torture", settings: {}, max: 3 });
    connectors.push(connector);
    pools.push(pool);
    return pool.sql;
  }

  async function members(): Promise<readonly Member[]> {
    return await Promise.any(servers.map(async ({ address }) => {
      const signal = AbortSignal.timeout(2_000);
      const answer = await fetch(`http://${address}:${REST_PORT}/cluster`, { signal });
      return (await answer.json()).members;
    }));
  }

  // It may be a leader that has lost its lock and does not know yet; so it is asked itself.
  async function leader(): Promise<Machine> {
    return await until(
      "there is a leader",
      async () =>
        await Promise.any(servers.map(async (machine) => {
          const signal = AbortSignal.timeout(2_000);
          const answer = await fetch(`http://${machine.address}:${REST_PORT}/primary`, { signal });
          await answer.body?.cancel();
          if (answer.status !== 200) throw new Error(`${machine.name} says ${answer.status}`);
          return machine;
        })),
    );
  }

  async function settled(): Promise<void> {
    await until("one leads and the other is its synchronous standby", async () => {
      const roles = (await members()).filter(({ state }) =>
        state === "running" || state === "streaming"
      )
        .map(({ role }) => role);
      return roles.includes("leader") && roles.includes("sync_standby");
    });
  }

  await settled();
  const admin = connect("postgres");
  const [row] = await admin<{ version: string }[]>`
    select current_setting('server_version') as version`;
  await admin.unsafe(`create role app login password '${APP_PASSWORD}'`);

  const not_here = () => Promise.reject(new Error("Patroni's servers fail over by themselves"));
  return {
    version: row?.version ?? "unknown",
    ports: servers.map(() => () => POSTGRES_PORT),
    connect,
    leader,
    settled,
    leave: () => connectors.forEach((connector) => connector.reset()),
    async killServer({ name }) {
      const path = `${directory}/${name}/data/postmaster.pid`;
      const read = async () => Number((await Deno.readTextFile(path)).split("\n")[0]);
      const pid = await read();
      Deno.kill(pid, "SIGKILL");
      await until("Patroni starts another server", async () => await read() !== pid);
    },
    async switchOver() {
      const { name, address } = await leader();
      const candidate = servers.find((server) => server.name !== name)?.name;
      const answer = await fetch(`http://${address}:${REST_PORT}/switchover`, {
        method: "POST",
        body: JSON.stringify({ leader: name, candidate }),
      });
      const text = await answer.text();
      if (!answer.ok) throw new Error(`No switchover from ${name}: ${answer.status} ${text}`);
    },
    ...databasesOf(admin),
    stop: not_here,
    kill: not_here,
    start: not_here,
    demote: not_here,
    promote: not_here,
    async run(statements) {
      for (const statement of statements.split(";")) await admin.unsafe(statement);
    },
    async close() {
      for (const pool of pools) await pool.close();
    },
  };

  function startServer({ programs, etcd, start }: PatroniOptions, machine: Machine): void {
    const home = `${directory}/${machine.name}`;
    Deno.mkdirSync(home);
    if (user !== undefined) Deno.chownSync(home, user.uid, user.gid);
    const path = `${directory}/${machine.name}.yaml`;
    Deno.writeTextFileSync(path, stringify(patroniConfig(machine, home, programs, etcd)));
    start(machine, "patroni", [...programs.patroni, path], user);
  }
}

function startEtcd({ programs, etcd, directory, start }: PatroniOptions): void {
  const url = (port: number) => `http://${etcd.address}:${port}`;
  const options = {
    "data-dir": `${directory}/etcd`,
    "listen-client-urls": url(ETCD_PORT),
    "advertise-client-urls": url(ETCD_PORT),
    "listen-peer-urls": url(ETCD_PEER_PORT),
    "initial-advertise-peer-urls": url(ETCD_PEER_PORT),
    "initial-cluster": `default=${url(ETCD_PEER_PORT)}`,
  };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  start(etcd, "etcd", [...programs.etcd, ...args]);
}

function patroniConfig(machine: Machine, home: string, programs: Programs, etcd: Machine) {
  const at = (port: number) => `${machine.address}:${port}`;
  const login = (username: string) => ({ username, password: PASSWORD });
  return {
    scope: "torture",
    name: machine.name,
    restapi: { listen: at(REST_PORT), connect_address: at(REST_PORT) },
    etcd3: { host: `${etcd.address}:${ETCD_PORT}` },
    bootstrap: {
      dcs: {
        ...TIMES,
        // Only a standby that has everything may take over.
        synchronous_mode: true,
        postgresql: {
          use_pg_rewind: true,
          parameters: { max_connections: 200, wal_log_hints: "on" },
        },
      },
      initdb: [{ encoding: "UTF8" }, { locale: "C" }],
    },
    postgresql: {
      listen: at(POSTGRES_PORT),
      connect_address: at(POSTGRES_PORT),
      data_dir: `${home}/data`,
      bin_dir: programs.postgres,
      pgpass: `${home}/pgpass`,
      authentication: { superuser: login("postgres"), replication: login("replicator") },
      parameters: {
        ...SETTINGS,
        unix_socket_directories: home,
        // Nothing is left in /dev/shm by servers that are killed.
        dynamic_shared_memory_type: "mmap",
        shared_buffers: "32MB",
        wal_sender_timeout: "5s",
        wal_receiver_timeout: "5s",
      },
      pg_hba: [
        "local all all trust",
        "host all all all scram-sha-256",
        "host replication replicator all scram-sha-256",
      ],
    },
  };
}
