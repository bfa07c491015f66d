import { Buffer } from "node:buffer";
import { fsyncSync } from "node:fs";
import { Duplex } from "node:stream";
import type { PGlite } from "@electric-sql/pglite";
import { AppError, messageOf } from "../core/errors.ts";

/** PostgreSQL inside this process, on a directory that no other process may open. */
export interface Embedded {
  /** A socket that speaks the PostgreSQL protocol; one at a time, because there is one session. */
  connect(): Duplex;
  close(): Promise<void>;
}

/** Whether the directory holds an embedded database. */
export function hasEmbedded(directory: string): boolean {
  return exists(`${directory}/${CLUSTER}`);
}

/** PostgreSQL settings of a session, by name. */
export type Settings = Readonly<Record<string, string | number>>;

/**
 * Opens the embedded database in `directory` with these settings, and makes it if there is none. Throws
 * an `AppError` with the PID of another process that holds the directory.
 */
export async function openEmbedded(directory: string, settings: Settings): Promise<Embedded> {
  const lock = lockDirectory(directory);
  try {
    const db = await openCluster(directory, settings);
    return {
      connect: () => sessionSocket(db),
      async close() {
        await db.close();
        unlock(lock);
      },
    };
  } catch (error) {
    unlock(lock);
    throw error;
  }
}

// PGlite does not lock its directory, and two processes on one corrupt it silently. The lock file is
// never removed: a third process could then lock a new one of the same name.
function lockDirectory(directory: string): Deno.FsFile {
  makeDirectory(directory);
  const path = `${directory}/lock`;
  const file = Deno.openSync(path, { read: true, write: true, create: true, mode: 0o600 });
  if (!file.tryLockSync(true)) {
    const pid = Deno.readTextFileSync(path).trim();
    file.close();
    throw new AppError(
      "conflict",
      `The database directory ${directory} is in use by process ${pid === "" ? "unknown" : pid}; ` +
        "stop that one first, or set another database.directory",
    );
  }
  file.truncateSync(0);
  file.writeSync(new TextEncoder().encode(`${Deno.pid}\n`));
  return file;
}

function makeDirectory(directory: string): void {
  try {
    Deno.mkdirSync(directory, { recursive: true, mode: 0o700 });
    Deno.chmodSync(directory, 0o700);
  } catch (error) {
    throw new AppError(
      "conflict",
      `The database directory ${directory} cannot be used: ${messageOf(error)}; set ` +
        "database.directory to a directory that this user may write to",
    );
  }
}

// Unlocked explicitly: closing is not enough, because a child that is just being started has a copy of
// the descriptor, and with it the lock, until its exec.
function unlock(lock: Deno.FsFile): void {
  lock.unlockSync();
  lock.close();
}

const CLUSTER = "postgres";
const UNFINISHED = "postgres.new";

async function openCluster(directory: string, settings: Settings): Promise<PGlite> {
  // Imported here, because a daemon on a server must not pay for it.
  const { PGlite } = await import("@electric-sql/pglite");
  const cluster = `${directory}/${CLUSTER}`;
  if (!exists(cluster)) {
    // Made under another name first: a crash on the way leaves nothing that looks like a database.
    const aside = `${directory}/${UNFINISHED}`;
    if (exists(aside)) Deno.removeSync(aside, { recursive: true });
    const fresh = await PGlite.create({ dataDir: aside });
    await fresh.close();
    // initdb's files are not flushed yet. Without this, a power cut soon after the first start would
    // leave a directory that does not open, and with it acknowledged events.
    await flushTree(aside);
    Deno.renameSync(aside, cluster);
    await flush(directory);
  }
  return await PGlite.create({ fs: await durableFs(cluster), startParams: startParams(settings) });
}

async function flushTree(path: string): Promise<void> {
  const entries = [...Deno.readDirSync(path)];
  // The files of a directory at once: the file system writes them in few commits.
  await Promise.all(
    entries.filter((entry) => entry.isFile).map((entry) => flush(`${path}/${entry.name}`)),
  );
  for (const entry of entries) if (entry.isDirectory) await flushTree(`${path}/${entry.name}`);
  await flush(path);
}

async function flush(path: string): Promise<void> {
  using file = await Deno.open(path);
  await file.sync();
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

// PGlite runs without fsync, so a power cut would lose acknowledged events. Its file system has no fsync
// operation; this one adds it.
async function durableFs(cluster: string) {
  const { NodeFS } = await import("@electric-sql/pglite/nodefs");
  type Init = InstanceType<typeof NodeFS>["init"];
  class DurableFS extends NodeFS {
    override async init(...args: Parameters<Init>): ReturnType<Init> {
      const { emscriptenOpts } = await super.init(...args);
      const addFsync = (module: unknown) => {
        const { NODEFS } = module as {
          NODEFS: { stream_ops: { fsync?: (stream: { nfd: number }) => number } };
        };
        NODEFS.stream_ops.fsync = (stream) => {
          fsyncSync(stream.nfd);
          return 0;
        };
      };
      return {
        emscriptenOpts: { ...emscriptenOpts, preRun: [...preRuns(emscriptenOpts), addFsync] },
      };
    }
  }
  return new DurableFS(cluster);
}

function preRuns(options: { preRun?: unknown }): ((module: unknown) => void)[] {
  const { preRun } = options;
  if (preRun === undefined) return [];
  return (Array.isArray(preRun) ? preRun : [preRun]) as ((module: unknown) => void)[];
}

// PGlite's own parameters without -F (which turns fsync off).
function startParams(settings: Settings): string[] {
  const all = {
    search_path: "public",
    exit_on_error: "false",
    log_checkpoints: "false",
    max_worker_processes: "0",
    max_parallel_workers: "0",
    max_parallel_workers_per_gather: "0",
    max_parallel_maintenance_workers: "0",
    io_method: "sync",
    wal_sync_method: "fsync",
    jit: "off",
    ...settings,
  };
  return [
    "--single",
    "-O",
    "-j",
    ...Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
  ];
}

function sessionSocket(db: PGlite): Duplex {
  const socket = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      // Deferred, because postgres.js drops writes that it is asked for during a write.
      queueMicrotask(() => {
        const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length);
        db.execProtocolRawStream(bytes, {
          syncToFs: false,
          onRawData: (answer) => void socket.push(Buffer.from(answer)),
        }).then(() => done(), done);
      });
    },
    final(done) {
      done();
      socket.destroy();
    },
  });
  // postgres.js says goodbye only to a socket whose readyState is "open", as net.Socket has it.
  Object.defineProperty(socket, "readyState", {
    get: () => socket.destroyed ? "closed" : "open",
  });
  return socket;
}
