import type { Sql } from "postgres";
import { serverUser } from "../../support/postgres.ts";
import { until } from "../../support/wait.ts";
import type { Machine } from "./network.ts";
import { type PatroniOptions, POSTGRES_PORT, REST_PORT } from "./patroni.ts";

const POOLER_PORT = 6432;
/** Where daemons find the balancer on its machine. */
export const BALANCER_PORT = 5432;
/** Eight connections of each daemon, and those that a reset has not ended yet. */
const POOL_SIZE = 60;

/**
 * Starts a PgBouncer before each server, and before both, on a machine of its own, a HAProxy that asks Patroni
 * which of them leads. `sql`: the superuser's, for what PgBouncer knows passwords by.
 */
export async function startBalancer(
  options: PatroniOptions,
  balancer: Machine,
  sql: Sql,
): Promise<void> {
  const users = await sql<{ line: string }[]>`
    select format('"%s" "%s"', rolname, rolpassword) as line from pg_authid where rolname = 'app'`;
  for (const server of options.servers) startPooler(options, server, users.map(({ line }) => line));
  const { programs, directory, servers, start } = options;
  const path = `${directory}/haproxy.cfg`;
  Deno.writeTextFileSync(path, haproxyConfig(balancer, servers));
  start(balancer, "haproxy", [...programs.haproxy, "-db", "-f", path]);
  await until("the balancer accepts connections", async () => {
    using _connection = await Deno.connect({ hostname: balancer.address, port: BALANCER_PORT });
    return true;
  });
}

function startPooler(
  { programs, directory, start }: PatroniOptions,
  server: Machine,
  users: readonly string[],
): void {
  const { name, address } = server;
  const user = serverUser();
  const path = `${directory}/${name}-pgbouncer.ini`;
  const auth_file = `${directory}/${name}-users.txt`;
  Deno.writeTextFileSync(auth_file, users.map((line) => `${line}\n`).join(""), { mode: 0o600 });
  if (user !== undefined) Deno.chownSync(auth_file, user.uid, user.gid);
  const settings = {
    listen_addr: address,
    listen_port: POOLER_PORT,
    unix_socket_dir: "",
    pool_mode: "session",
    auth_type: "scram-sha-256",
    auth_file,
    max_client_conn: 500,
    default_pool_size: POOL_SIZE,
    // A server that was away is asked again soon.
    server_login_retry: 1,
    server_connect_timeout: 5,
  };
  const lines = Object.entries(settings).map(([key, value]) => `${key} = ${value}\n`).join("");
  Deno.writeTextFileSync(
    path,
    `[databases]\n* = host=${address} port=${POSTGRES_PORT}\n[pgbouncer]\n${lines}`,
  );
  start(server, "pgbouncer", [...programs.pgbouncer, path], user);
}

function haproxyConfig(balancer: Machine, servers: readonly Machine[]): string {
  const lines = servers.map(({ name, address }) =>
    `  server ${name} ${address}:${POOLER_PORT} check port ${REST_PORT}\n`
  );
  return `
global
  maxconn 1000
defaults
  mode tcp
  timeout connect 2s
  timeout check 2s
  timeout client 1h
  timeout server 1h
listen primary
  bind ${balancer.address}:${BALANCER_PORT}
  option httpchk OPTIONS /primary
  http-check expect status 200
  default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
${lines.join("")}`;
}
