import { AppError, messageOf } from "../core/errors.ts";
import { idText, messageText } from "../core/server_sent.ts";
import { makeWatermark, PATIENCE_MS, type Watermark } from "../core/watermark.ts";
import type { Database } from "../store/database.ts";
import { pause } from "../store/deadline.ts";
import * as store from "../store/stream.ts";
import type { AdminContext, Asker } from "./context.ts";
import { filterEndpoint } from "./lookup.ts";
import { messagesOf, type Sight } from "./stream_messages.ts";

/** The other end of a stream. */
export interface Reader {
  /** Bytes that were written and not taken yet. */
  readonly unsent: number;
  write(text: string): void;
  end(): void;
  /** Calls `left` once the reader has gone or the stream has ended. */
  onLeft(left: () => void): void;
}

/** Whose stream it is, and where it begins. */
export interface Opening {
  readonly by: Asker;
  /** The id that the reader had last; undefined to begin now. */
  readonly last_id: string | undefined;
  /** Whether the token still allows the same. */
  readonly isGood: () => Promise<boolean>;
}

/** The streams of a daemon. */
export interface Streams {
  /** Begins a stream. Throws an `AppError` if there are too many, or the daemon is stopping. */
  open(opening: Opening, endpoint: Sight["endpoint"], reader: Reader): void;
  /** How many are open. */
  readonly count: number;
  /** Ends all of them at once; resolves when nothing of them is left. */
  stop(): Promise<void>;
}

/** Most streams with one token, and of a daemon. */
const MAX_OF_TOKEN = 10;
const MAX_STREAMS = 200;
/** A reader with more unsent bytes is cut off: it can resume. */
export const MAX_UNSENT_BYTES = 1024 * 1024;

/** How often what happens, in milliseconds. */
export interface StreamPace {
  /** Changes are read. */
  readonly poll_ms: number;
  /** Each stream gets a comment, and its token is looked at. */
  readonly ping_ms: number;
  /** The database hears that changes are wanted. */
  readonly keep_ms: number;
}

/** The pace of a daemon. */
const PACE: StreamPace = { poll_ms: 1_000, ping_ms: 15_000, keep_ms: 60_000 };

/** How long a beginning waits for statements that cannot know of it. */
const SETTLE_MS = 2_000;
const SETTLE_POLL_MS = 10;
/** Statements whose changes are read at once, and most such pages that a stream is brought up by. */
const PAGE = 500;
const MAX_PAGES = 20;

/**
 * Opens a stream of what changes within the scope, or of what concerns one endpoint. Throws an `AppError` if
 * that is none, or there are too many streams.
 */
export async function openStream(
  ctx: AdminContext,
  opening: Opening,
  endpoint: string | undefined,
  reader: Reader,
): Promise<void> {
  ctx.streams.open(opening, await filterEndpoint(ctx, opening.by, endpoint), reader);
}

interface Stream extends Sight {
  readonly opening: Opening;
  readonly reader: Reader;
  /** Where it begins, until it has joined. */
  last_id: string | undefined;
  /** Whether it gets what is read from now on. */
  joined: boolean;
}

/** The open streams, and what ends them. `emptied` is called after the last. */
function makeAudience(emptied: () => void) {
  const streams = new Set<Stream>();

  function leave(stream: Stream): void {
    if (streams.delete(stream) && streams.size === 0) emptied();
  }

  function end(stream: Stream): void {
    leave(stream);
    stream.reader.end();
  }

  function write(stream: Stream, text: string): void {
    if (!streams.has(stream)) return;
    stream.reader.write(text);
    if (stream.reader.unsent > MAX_UNSENT_BYTES) end(stream);
  }

  /** Ends a stream whose token is not good any more. */
  async function isAllowed(stream: Stream): Promise<boolean> {
    if (await stream.opening.isGood()) return true;
    end(stream);
    return false;
  }

  return { streams, leave, end, write, isAllowed };
}

/** How far the table of changes has been read, and when, by the database's clock. */
interface Reading {
  readonly mark: Watermark;
  readonly now_ms: number;
}

/**
 * The streams of a daemon, which share one reading of the database, once a second while there is any. `failed`
 * hears why that fails, once for each outage.
 */
export function makeStreams(
  db: Database,
  failed: (cause: string) => void,
  { poll_ms, ping_ms, keep_ms } = PACE,
): Streams {
  const { streams, write, end, leave, isAllowed } = makeAudience(() => woken.resolve());
  let stopping = false;
  let running: Promise<void> | undefined;
  let woken = Promise.withResolvers<void>();
  let reading: Reading | undefined;

  async function run(): Promise<void> {
    const pinger = setInterval(() => streams.forEach((stream) => void ping(stream)), ping_ms);
    let kept_at = -Infinity;
    let is_failing = false;
    while (streams.size > 0) {
      woken = Promise.withResolvers();
      try {
        if (performance.now() - kept_at > keep_ms) {
          if (await store.keepChanges(db.admin)) lose();
          kept_at = performance.now();
        }
        await turn();
        is_failing = false;
      } catch (error) {
        if (!is_failing && !stopping) failed(messageOf(error));
        is_failing = true;
      }
      await pause(woken.promise, poll_ms);
    }
    clearInterval(pinger);
    reading = undefined;
    running = undefined;
  }

  async function turn(): Promise<void> {
    reading ??= await beginning(db);
    for (const stream of streams) {
      if (!stream.joined) await join(stream, reading);
    }
    for (let is_full = true; is_full && streams.size > 0;) {
      const { rows, first, now_ms }: store.ChangesPage = await readPage(db, reading.mark);
      if (first > reading.mark.low) return lose();
      const mark = reading.mark.after(rows, now_ms);
      await tell([...streams].filter(({ joined }) => joined), rows, mark.low, now_ms);
      // Only now: if telling fails, it is repeated, and nobody pings ahead of it.
      reading = { mark, now_ms };
      is_full = rows.length === PAGE;
    }
  }

  /** Changes have gone that nobody read: all begin again. */
  function lose(): void {
    reading = undefined;
    for (const stream of streams) {
      if (!stream.joined) continue;
      stream.joined = false;
      stream.last_id = undefined;
      write(stream, messageText("reset", {}));
    }
  }

  async function join(stream: Stream, { mark: { low }, now_ms }: Reading): Promise<void> {
    write(stream, messageText("ready", { at: new Date(now_ms).toISOString() }));
    if (stream.last_id !== undefined && !await catchUp(stream, stream.last_id, low)) {
      write(stream, messageText("reset", {}));
    }
    stream.last_id = undefined;
    stream.joined = true;
    write(stream, resumeText(stream, low, now_ms));
  }

  /** Tells a stream what has changed since `last_id`. False if that is not kept, or too much. */
  async function catchUp(stream: Stream, last_id: string, low: number): Promise<boolean> {
    let at = await keptPosition(db, stream.scope, last_id);
    for (let pages = 0; at !== undefined && pages < MAX_PAGES; pages++) {
      const { rows }: store.ChangesPage = await store.readChanges(db.admin, at, [], PAGE);
      at = rows.at(-1)?.no ?? at;
      await tell([stream], rows, Math.min(at, low), null);
      if (rows.length < PAGE) return true;
    }
    return false;
  }

  /**
   * Writes messages about changes, with the number below which nothing is missing, as of `now_ms`; null while
   * a stream is being brought up.
   */
  async function tell(
    to: readonly Stream[],
    changes: readonly store.Changes[],
    low: number,
    now_ms: number | null,
  ): Promise<void> {
    if (changes.length === 0) return;
    // The same for all that see the same.
    const alike = Map.groupBy(to, ({ scope, endpoint }) => JSON.stringify([scope, endpoint?.no]));
    for (const group of alike.values()) {
      const [first] = group;
      const text = first === undefined ? "" : await messagesOf(db, changes, first);
      if (text === "") continue;
      await Promise.all(group.map(async (stream) => {
        if (await isAllowed(stream)) write(stream, text + resumeText(stream, low, now_ms));
      }));
    }
  }

  async function ping(stream: Stream): Promise<void> {
    // During an outage nobody can tell, and there is nothing to show.
    if (!await isAllowed(stream).catch(() => true)) return;
    const read = stream.joined ? reading : undefined;
    const resume = read === undefined ? "\n" : resumeText(stream, read.mark.low, read.now_ms);
    write(stream, `: ping\n${resume}`);
  }

  return {
    get count() {
      return streams.size;
    },
    open(opening, endpoint, reader) {
      const { by: { actor, scope }, last_id } = opening;
      if (stopping) throw stopped();
      refuseMore([...streams], actor.name);
      const stream = { opening, reader, scope, endpoint, last_id, joined: false };
      streams.add(stream);
      reader.onLeft(() => leave(stream));
      // So that the head of the answer does not wait for the database.
      write(stream, ":\n\n");
      woken.resolve();
      running ??= run();
    },
    async stop() {
      stopping = true;
      streams.forEach(end);
      await running;
    },
  };
}

function stopped(): AppError {
  return new AppError("unavailable", "The daemon is stopping", { retry_after_s: 1 });
}

/** A reading may begin that much before the time that it has. */
const READING_MS = 2_000;

/**
 * Where a stream resumes, as of `now_ms`. For a business it is that time, because numbers count everybody's
 * changes: what its reading may have missed is repeated. None while it is being brought up.
 */
function resumeText({ scope }: Stream, low: number, now_ms: number | null): string {
  if (scope === "everything") return idText(low);
  return now_ms === null ? "" : idText(`t${Math.floor(now_ms)}`);
}

/** The number that an id stands for, if all that came after it is kept. */
async function keptPosition(
  db: Database,
  scope: Sight["scope"],
  last_id: string,
): Promise<number | undefined> {
  const [, at = "NaN"] = /^t?(\d{1,15})$/.exec(last_id) ?? [];
  if (last_id.startsWith("t") !== (scope !== "everything")) return undefined;
  if (scope !== "everything") {
    return await store.numberAt(db.admin, Number(at), PATIENCE_MS + READING_MS);
  }
  const kept = await store.keptChanges(db.admin, PATIENCE_MS);
  return kept !== undefined && Number(at) >= kept.first && Number(at) <= kept.last
    ? Number(at)
    : undefined;
}

function refuseMore(streams: readonly Stream[], token: string): void {
  const own = streams.filter(({ opening }) => opening.by.actor.name === token);
  if (own.length >= MAX_OF_TOKEN) {
    throw new AppError(
      "too_many_requests",
      `The token ${token} has ${MAX_OF_TOKEN} streams open at this daemon; close one first`,
      { retry_after_s: 15 },
    );
  }
  if (streams.length >= MAX_STREAMS) {
    throw new AppError(
      "too_many_requests",
      `This daemon has ${MAX_STREAMS} streams open; try again later`,
      { retry_after_s: 15 },
    );
  }
}

/** Where reading begins: after everything that is committed, below what may still be. */
async function beginning(db: Database): Promise<Reading> {
  const kept = await store.keptChanges(db.admin, PATIENCE_MS);
  let mark = makeWatermark(kept?.settled ?? 0);
  let page: store.ChangesPage;
  do {
    page = await readPage(db, mark);
    mark = mark.after(page.rows, page.now_ms);
  } while (page.rows.length === PAGE);
  // An embedded database has one session, so nothing else is running.
  if (db.kind === "server") await settle(db);
  return { mark, now_ms: page.now_ms };
}

/** Waits until no statement is running that began before changes were written down. */
async function settle(db: Database): Promise<void> {
  const at = await store.timeNow(db.admin);
  const ends_at = performance.now() + SETTLE_MS;
  while (performance.now() < ends_at && await store.runsSince(db.admin, at)) {
    await pause(new Promise(() => {}), SETTLE_POLL_MS);
  }
}

function readPage({ admin }: Database, { high, missing }: Watermark): Promise<store.ChangesPage> {
  return store.readChanges(admin, high, missing, PAGE);
}
