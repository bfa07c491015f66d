import { createHmac, randomBytes } from "node:crypto";
import { AppError } from "../core/errors.ts";
import { NONCE_BYTES, seal, type SealKey, unseal } from "../core/seal.ts";
import { pause } from "../store/deadline.ts";
import * as store from "../store/sessions.ts";
import type { AdminContext } from "./context.ts";
import { digestOf } from "./sessions.ts";

/** Shown once, by the page that follows a form. */
export interface Note {
  /** The result in a sentence. */
  readonly text: string;
  /** Such as a new secret, or the id of a test's delivery. */
  readonly values?: Readonly<Record<string, string>>;
}

/** The page that follows a form. */
export interface Outcome {
  readonly location: string;
  readonly note?: Note;
}

/** How often a second submission looks for the end of the first, and for how long, in milliseconds. */
const LOOK_MS = 50;
const PATIENCE_MS = 60_000;

const ONCE = /^[\w-]{16,64}$/;

/** A new value for the field `once` of a form. */
export function newOnce(): string {
  return randomBytes(16).toString("base64url");
}

/**
 * Does what a form of the session asks for, once: further submissions with the same `once` wait for the first and
 * go where it went. After an `AppError` nothing was done, and the form can be submitted again. Throws an
 * `AppError` if the first one broke off. Returns the location, with `note=ONCE` in its query if there is a note.
 */
export async function actOnce(
  ctx: AdminContext,
  cookie: string,
  once: string,
  act: () => Promise<Outcome>,
): Promise<string> {
  if (!ONCE.test(once)) throw new AppError("malformed", `The form is not complete. ${OPEN_AGAIN}`);
  const key = { digest: digestOf(cookie), once };
  const ends_at = performance.now() + PATIENCE_MS;
  while (!await store.beginForm(ctx.db.admin, key)) {
    const first = await store.findForm(ctx.db.admin, key);
    if (first !== undefined && first.location !== null) return first.location;
    if (first?.is_done || performance.now() > ends_at) throw brokeOff();
    await pause(new Promise(() => {}), LOOK_MS);
  }
  try {
    const { location, note } = await act();
    const shown = note === undefined ? location : withNote(location, once);
    await store.endForm(ctx.db.admin, key, shown, sealed(cookie, once, note));
    return shown;
  } catch (error) {
    // The database may be away: then the next submission waits, and is refused.
    const ended = error instanceof AppError
      ? store.freeForm(ctx.db.admin, key)
      : store.endForm(ctx.db.admin, key, null, null);
    await ended.catch(() => {});
    throw error;
  }
}

const OPEN_AGAIN = "Open the page again, and send the form from there";

function brokeOff(): AppError {
  return new AppError(
    "conflict",
    "The form was sent before, and that broke off: it may be done, or not. Open the page again and look",
  );
}

/** The note that a form left for the page at `path`; null if there is none, or two minutes have passed. */
export async function findNote(
  ctx: AdminContext,
  cookie: string,
  once: string,
  path: string,
): Promise<Note | null> {
  if (!ONCE.test(once)) return null;
  const found = await store.findNote(ctx.db.admin, { digest: digestOf(cookie), once });
  return found === undefined || pathOf(found.location) !== pathOf(path)
    ? null
    : unseal<Note>(found.note, once, [noteKey(cookie)]);
}

function pathOf(location: string): string | undefined {
  return URL.parse(location, "http://house.invalid")?.pathname;
}

function sealed(cookie: string, once: string, note: Note | undefined): Uint8Array | null {
  return note === undefined
    ? null
    : seal(note, once, noteKey(cookie), new Uint8Array(randomBytes(NONCE_BYTES)));
}

// From the cookie, which the database does not have: it alone opens no note.
function noteKey(cookie: string): SealKey {
  const bytes = new Uint8Array(createHmac("sha256", cookie).update("note").digest());
  return { id: digestOf(cookie).slice(0, 8), bytes };
}

function withNote(location: string, once: string): string {
  const [path = "", ...fragment] = location.split("#");
  const noted = `${path}${path.includes("?") ? "&" : "?"}note=${once}`;
  return [noted, ...fragment].join("#");
}
