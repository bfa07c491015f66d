import { closeSync, fsyncSync, openSync } from "node:fs";
import { AppError } from "../core/errors.ts";
import { PLATFORM } from "../core/platform.ts";
import { pgliteFiles } from "./pglite_files.ts";

/** PostgreSQL settings of a session, by name. */
export type Settings = Readonly<Record<string, string | number>>;

/** A running PostgreSQL on the files of a directory. */
export interface Cluster {
  /** The answers to protocol messages. Throws an `AppError` if PostgreSQL stops meanwhile, or has stopped. */
  exec(messages: Uint8Array): Promise<Uint8Array[]>;
  /** Why PostgreSQL has stopped, in its own words; undefined while it runs. */
  readonly stopped: string | undefined;
  close(): Promise<void>;
}

/** An open file of its file system: its descriptor outside, and its mode. */
interface Stream {
  readonly nfd: number;
  readonly node: { readonly mode: number };
}

// Of a mode: the bits of the type, and a directory's.
const FILE_TYPE = 0o170000;
const DIRECTORY = 0o040000;

/** The part of PGlite's WebAssembly module that we change. */
interface Module {
  readonly NODEFS: {
    readonly stream_ops: { fsync?: (stream: Stream) => number };
    realPath(node: Stream["node"]): string;
  };
  readonly FS: { readonly streams: readonly ({ readonly nfd?: number } | null)[] };
  onRuntimeInitialized?: () => void;
  _PostgresMainLoopOnce(): void;
  _PostgresSendReadyForQueryIfNecessary(): void;
  _pgl_pq_flush(): void;
  stackRestore(place: number): void;
}

/** Version of the PostgreSQL that PGlite contains. A test asks it. */
export const POSTGRES_VERSION = "18.6";

/** The exit status by which PostgreSQL leaves a statement that failed, and goes on. */
const STATEMENT_FAILED = 100;

/** Opens the cluster in a directory. After a crash, PostgreSQL replays its log first. */
export async function openCluster(directory: string, settings: Settings): Promise<Cluster> {
  // Imported here, because a daemon on a server must not pay for it.
  const { PGlite } = await import("@electric-sql/pglite");
  let module: Module | undefined;
  let stopped: string | undefined;
  let last_words: string | undefined;
  const fs = await durableFs(directory, (prepared) => {
    module = prepared;
    const theirs = prepared.onRuntimeInitialized;
    prepared.onRuntimeInitialized = () => {
      theirs?.();
      guard(prepared, (error) => {
        stopped ??= last_words ?? String(error instanceof Error ? error.message : error);
        closeFiles(prepared);
      });
    };
  });
  const listen = (line: string) => {
    last_words = /\b(?:PANIC|FATAL):\s*(.*)/.exec(line)?.[1] ?? last_words;
    return false;
  };
  const options = {
    ...await pgliteFiles(),
    fs,
    startParams: startParams(settings),
    onStderr: listen,
  };
  const db = new PGlite(options);
  // For results that PGlite reads itself: a fifth of a second for its first statement, over half the catalogs.
  db._initArrayTypes = () => Promise.resolve();
  try {
    await db.waitReady;
  } catch (error) {
    if (module !== undefined) closeFiles(module);
    throw last_words === undefined ? error : new Error(last_words, { cause: error });
  }
  return {
    async exec(messages) {
      const answers: Uint8Array[] = [];
      // Copied, because they lie in the memory that the next one overwrites.
      const onRawData = (answer: Uint8Array) => void answers.push(answer.slice());
      try {
        if (stopped === undefined) {
          await db.execProtocolRawStream(messages, { syncToFs: false, onRawData });
        }
      } catch (error) {
        if (stopped === undefined) throw error;
      }
      if (stopped !== undefined) {
        throw new AppError("unavailable", `The embedded database stopped: ${stopped}`);
      }
      return answers;
    },
    get stopped() {
      return stopped;
    },
    async close() {
      if (stopped === undefined) await db.close();
    },
  };
}

// PostgreSQL ends its process when it cannot write its log, and does so here by an exception. PGlite
// swallows that and calls it again, forever: this ends the loop instead. (It restores the stack after
// any exception, outside of its `try`.) An error of fsync, which ours throws through PostgreSQL's
// frames, ends it as well: nothing may count as written after that.
function guard(module: Module, stopped: (error: unknown) => void): void {
  const once = module._PostgresMainLoopOnce;
  module._PostgresMainLoopOnce = () => {
    try {
      once();
    } catch (error) {
      if ((error as { status?: unknown } | null)?.status !== STATEMENT_FAILED) {
        module.stackRestore = () => {
          throw error;
        };
        module._PostgresSendReadyForQueryIfNecessary = () => {};
        module._pgl_pq_flush = () => {};
        stopped(error);
      }
      throw error;
    }
  };
}

// It closes nothing itself when it stops, and would leave its files open each time.
function closeFiles({ FS }: Module): void {
  for (const stream of FS.streams) {
    if (stream?.nfd === undefined) continue;
    try {
      closeSync(stream.nfd);
    } catch {
      // It was closed already.
    }
  }
}

// PGlite runs without fsync, so a power cut would lose acknowledged events. Its file system has no fsync
// operation; this one adds it.
async function durableFs(directory: string, prepare: (module: Module) => void) {
  const { NodeFS } = await import("@electric-sql/pglite/nodefs");
  type Init = InstanceType<typeof NodeFS>["init"];
  class DurableFS extends NodeFS {
    override async init(...args: Parameters<Init>): ReturnType<Init> {
      const { emscriptenOpts } = await super.init(...args);
      const addFsync = (module: unknown) => {
        const { NODEFS } = module as Module;
        NODEFS.stream_ops.fsync = ({ nfd, node }) => {
          if (PLATFORM.opens_directories) fsyncSync(nfd);
          else if ((node.mode & FILE_TYPE) !== DIRECTORY) {
            flushOnWindows(nfd, NODEFS.realPath(node));
          }
          return 0;
        };
        prepare(module as Module);
      };
      return {
        emscriptenOpts: { ...emscriptenOpts, preRun: [...preRuns(emscriptenOpts), addFsync] },
      };
    }
  }
  return new DurableFS(directory);
}

// A descriptor that only reads cannot flush there, and PostgreSQL flushes through such when it recovers.
function flushOnWindows(nfd: number, path: string): void {
  try {
    fsyncSync(nfd);
  } catch (error) {
    if ((error as { code?: unknown }).code !== "EPERM") throw error;
    const own = openSync(path, "r+");
    try {
      fsyncSync(own);
    } finally {
      closeSync(own);
    }
  }
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
    // It is zeroed at each start, and the system caches files as well.
    shared_buffers: "64MB",
    // Of the log, what a checkpoint leaves to be used again; the default is up to a gigabyte.
    max_wal_size: "64MB",
    min_wal_size: "32MB",
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
