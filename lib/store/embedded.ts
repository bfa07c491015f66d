import { Buffer } from "node:buffer";
import { Duplex } from "node:stream";
import { KEY_FILE, TOKEN_FILE } from "../config/first_start.ts";
import { AppError, listed, messageOf } from "../core/errors.ts";
import { PLATFORM } from "../core/platform.ts";
import { formatSize } from "../core/units.ts";
import { type Cluster, openCluster, type Settings } from "./cluster.ts";
import { flushDirectory, freeBytes } from "./disk.ts";
import { unpackReady } from "./ready_database.ts";

/** PostgreSQL inside this process, on a directory that no other process may open. */
export interface Embedded {
  /** Whether it was made just now, with everything that `migrate` of this program makes. */
  readonly is_new: boolean;
  /** A socket that speaks the PostgreSQL protocol; one at a time, because there is one session. */
  connect(): Duplex;
  close(): Promise<void>;
}

/** Whether the directory holds an embedded database. */
export function hasEmbedded(directory: string): boolean {
  return exists(`${directory}/${CLUSTER}`);
}

/** The part of a log that hears what opening does, and when the database stops and opens again. */
export type Say = Record<
  "info" | "error",
  (message: string, fields: Readonly<Record<string, string | number>>) => void
>;

const SILENT: Say = { info() {}, error() {} };

/** When to ask again while the database waits for room, in seconds. */
const RETRY_AFTER_S = 5;

/**
 * Opens the embedded database in `directory` with these settings, and makes it if there is none. If
 * PostgreSQL stops, because its disk is full for instance, later statements open it again as soon as that
 * works, and reject with an `AppError` until then. Throws an `AppError` with the PID of another process
 * that holds the directory, or with what prevents that the database is made or opened.
 */
export async function openEmbedded(
  directory: string,
  settings: Settings,
  say: Say = SILENT,
): Promise<Embedded> {
  const lock = lockDirectory(directory);
  try {
    const cluster = `${directory}/${CLUSTER}`;
    const is_new = !exists(cluster);
    if (is_new) await create(directory, say);
    const first = await openCluster(cluster, settings).catch((error) => {
      throw unusable(directory, "opened", error);
    });
    const db = makeReopened(first, directory, settings, say);
    return {
      is_new,
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

/** The copy of a database that is put in place. */
interface Copy {
  /** About what it takes. */
  readonly bytes: number;
  /** Puts its files into an empty directory. */
  readonly unpack: (cluster: string) => Promise<void>;
}

/** Files that may be next to a database that is yet to be put in place. */
const BESIDE = ["lock", KEY_FILE, TOKEN_FILE];

/**
 * Puts a copy in place as the embedded database of `directory`, once it opens and `prepare` has done with it and
 * closed it. Under its name it is there as a whole or not at all. Throws an `AppError` unless the directory is
 * empty but for key and token, and what `prepare` throws.
 */
export async function restoreEmbedded<T>(
  directory: string,
  { bytes, unpack }: Copy,
  prepare: (embedded: Embedded) => Promise<T>,
): Promise<T> {
  refuseOthers(directory);
  const lock = lockDirectory(directory);
  const aside = `${directory}/${UNFINISHED}`;
  try {
    removeTree(aside);
    requireRoom(directory, bytes + REOPEN_BYTES, "The backup");
    Deno.mkdirSync(aside, { mode: 0o700 });
    await unpack(aside);
    const cluster = await openCluster(aside, {}).catch((error) => {
      throw unusable(directory, "restored", error);
    });
    const current = () => Promise.resolve(cluster);
    const done = await prepare({
      is_new: false,
      connect: () => sessionSocket({ current, close: cluster.close }),
      close: cluster.close,
    });
    await flushTree(aside);
    Deno.renameSync(aside, `${directory}/${CLUSTER}`);
    await flushDirectory(directory);
    return done;
  } catch (error) {
    removeTree(aside);
    throw error;
  } finally {
    unlock(lock);
  }
}

function refuseOthers(directory: string): void {
  if (!exists(directory)) return;
  const others = [...Deno.readDirSync(directory)].map(({ name }) => name)
    .filter((name) => name !== UNFINISHED && !BESIDE.includes(name)).toSorted();
  if (others.length === 0) return;
  throw new AppError(
    "conflict",
    `The database directory ${directory} is not empty: it has ${
      listed(others)
    }; move that away, or set ` +
      "database.directory to an empty directory",
  );
}

function requireRoom(directory: string, bytes: number, what: string): void {
  const free = freeBytes(directory);
  if (free >= bytes) return;
  throw new AppError(
    "unavailable",
    `${what} needs ${formatSize(bytes)}, and ${directory} has ${
      formatSize(free)
    } free; free some space, ` +
      "or set database.directory to a larger disk",
  );
}

// PGlite does not lock its directory, and two processes on one corrupt it silently. The lock file is
// never removed: a third process could then lock a new one of the same name.
function lockDirectory(directory: string): Deno.FsFile {
  makeDirectory(directory);
  const path = `${directory}/lock`;
  const file = Deno.openSync(path, { read: true, write: true, create: true, mode: 0o600 });
  if (!file.tryLockSync(true)) {
    const pid = readPid(path);
    file.close();
    throw new AppError(
      "conflict",
      `The database directory ${directory} is in use by process ${pid === "" ? "unknown" : pid}; ` +
        "stop that one first, or set another database.directory",
    );
  }
  try {
    file.truncateSync(0);
    file.writeSync(new TextEncoder().encode(`${Deno.pid}\n`));
  } catch {
    // A full disk: the lock holds without the number, which only the message of others has.
  }
  return file;
}

// Windows lets nobody read a locked file; the message then lacks the number.
function readPid(path: string): string {
  try {
    return Deno.readTextFileSync(path).trim();
  } catch {
    return "";
  }
}

function makeDirectory(directory: string): void {
  try {
    Deno.mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (PLATFORM.has_modes) Deno.chmodSync(directory, 0o700);
  } catch (error) {
    throw new AppError(
      "conflict",
      `The database directory ${directory} cannot be used: ${messageOf(error)}; set ` +
        "database.directory to a directory that this user may write to",
    );
  }
}

// Unlocked explicitly: closing is not enough, because a child that is just being started has a copy of
// the descriptor, and with it the lock, until its exec. On Windows there are no such children, and Wine's
// unlocking fails (error 33).
function unlock(lock: Deno.FsFile): void {
  if (PLATFORM.forks) lock.unlockSync();
  lock.close();
}

const CLUSTER = "postgres";
const UNFINISHED = "postgres.new";

/** What a new database takes, with room for the first events. It is 25 MiB itself. */
const CREATE_BYTES = 64 * 1024 * 1024;
/** What PostgreSQL needs to open again after its disk was full: a segment of its log and the next. */
const REOPEN_BYTES = 48 * 1024 * 1024;
/** Opening blocks the process for a moment, so it is not tried more often. */
const REOPEN_PAUSE_MS = 2_000;

// A database made half-way is not one: it is made under another name first, so that a crash leaves
// nothing that looks like a database.
async function create(directory: string, say: Say): Promise<void> {
  const aside = `${directory}/${UNFINISHED}`;
  removeTree(aside);
  say.info("Creating the embedded database, which takes some seconds", { directory });
  requireRoom(directory, CREATE_BYTES, "A new database");
  const began = performance.now();
  try {
    unpackReady(aside);
    // Its files are not flushed yet. Without this, a power cut soon after the first start would
    // leave a directory that does not open, and with it acknowledged events.
    await flushTree(aside);
    Deno.renameSync(aside, `${directory}/${CLUSTER}`);
    await flushDirectory(directory);
  } catch (error) {
    removeTree(aside); // it gives the room back
    throw unusable(directory, "created", error);
  }
  say.info("Embedded database created", { took_ms: Math.round(performance.now() - began) });
}

function removeTree(path: string): void {
  if (exists(path)) Deno.removeSync(path, { recursive: true });
}

/** The cluster of a directory, opened again after PostgreSQL stopped. */
interface Reopened {
  current(): Promise<Cluster>;
  close(): Promise<void>;
}

// Everything committed is still there once it opens. With the disk as full as it was it would only stop
// again, so it waits for room.
function makeReopened(first: Cluster, directory: string, settings: Settings, say: Say): Reopened {
  let cluster = first;
  let opening: Promise<Cluster> | undefined;
  let tried_at = -Infinity;
  let told: string | undefined;
  let problem = "";

  async function reopen(stopped: string): Promise<Cluster> {
    if (told !== stopped) say.error("The embedded database stopped", { cause: stopped, directory });
    told = stopped;
    if (performance.now() - tried_at < REOPEN_PAUSE_MS) throw away(problem);
    tried_at = performance.now();
    problem = whyNot(directory, stopped);
    if (problem !== "") throw away(problem);
    try {
      cluster = await openCluster(`${directory}/${CLUSTER}`, settings);
    } catch (error) {
      problem = unusable(directory, "opened again", error).message;
      throw away(problem);
    }
    told = undefined;
    tried_at = -Infinity;
    say.info("The embedded database is open again", { directory });
    return cluster;
  }

  return {
    async current() {
      if (cluster.stopped === undefined) return cluster;
      return await (opening ??= reopen(cluster.stopped).finally(() => opening = undefined));
    },
    async close() {
      await opening?.catch(() => {});
      await cluster.close();
    },
  };
}

// Why a database that stopped cannot be opened yet, or nothing.
function whyNot(directory: string, stopped: string): string {
  const free = freeBytes(directory);
  if (free >= REOPEN_BYTES) return "";
  return `The embedded database stopped (${stopped}): ${directory} has ${
    formatSize(free)
  } free; it ` +
    `opens again by itself once ${formatSize(REOPEN_BYTES)} are`;
}

function away(problem: string): AppError {
  return new AppError("unavailable", problem, { retry_after_s: RETRY_AFTER_S });
}

/** Errors of the WebAssembly file system have a number (WASI's) and no message. */
const WASI_ERRORS: Readonly<Record<number, string>> = {
  2: "permission denied",
  19: "the disk quota is used up",
  29: "the disk fails (input/output error)",
  33: "too many open files",
  41: "too many open files in the system",
  51: "no space left on the disk",
  63: "operation not permitted",
  69: "the file system is read-only",
};

/** Those of the system that also mean that a disk is full, which its messages end with. */
const FULL_ERRORS: Readonly<Record<string, number>> = { "28": 51, "122": 19 };

function causeOf(error: unknown): string {
  const { errno, message } = error as { errno?: unknown; message?: unknown };
  if (typeof errno === "number" && message === undefined) {
    return WASI_ERRORS[errno] ?? `error ${errno}`;
  }
  const [, number = ""] = /\(os error (\d+)\)/.exec(messageOf(error)) ?? [];
  return WASI_ERRORS[FULL_ERRORS[number] ?? 0] ?? messageOf(error);
}

function unusable(directory: string, verb: string, error: unknown): AppError {
  return new AppError(
    "unavailable",
    `The database in ${directory} cannot be ${verb}: ${causeOf(error)} (${
      formatSize(freeBytes(directory))
    } ` +
      "free)",
  );
}

async function flushTree(path: string): Promise<void> {
  const entries = [...Deno.readDirSync(path)];
  // The files of a directory at once: the file system writes them in few commits.
  await Promise.all(
    entries.filter((entry) => entry.isFile).map((entry) => flush(`${path}/${entry.name}`)),
  );
  for (const entry of entries) if (entry.isDirectory) await flushTree(`${path}/${entry.name}`);
  await flushDirectory(path);
}

async function flush(path: string): Promise<void> {
  // Windows flushes no file that is open for reading only.
  using file = await Deno.open(path, { read: true, write: true });
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

function sessionSocket(db: Reopened): Duplex {
  const socket = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      // Deferred, because postgres.js drops writes that it is asked for during a write.
      queueMicrotask(() => {
        const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length);
        // All of an answer or nothing: postgres.js would keep an error of which the end is missing, and
        // report it for the next connection's first statement.
        db.current().then((cluster) => cluster.exec(bytes)).then((answers) => {
          for (const answer of answers) socket.push(answer);
          done();
        }, done);
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
