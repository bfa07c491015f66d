import { Buffer } from "node:buffer";
import { erasureId } from "../core/ids.ts";
import { makeMention, type Mention } from "../core/mention.ts";
import { type SealKey, unseal } from "../core/seal.ts";
import type { Context } from "../delivery/context.ts";
import {
  type Advance,
  advance,
  type Content,
  type Erased,
  failUnopened,
  findEvents,
  finishErasure,
  forgetDigests,
  forgetSubjects,
  readContents,
  readSubjects,
  settle,
  takeTurn,
  type Turn,
} from "../store/erasures.ts";
import { keyBlocks } from "../store/retention.ts";
import { type Paced, POLL_MS, startPaced } from "./paced.ts";

/** Events of one batch. */
const BATCH = 500;
/** Above this number of unfinished events, the search pauses. */
const MAX_SETTLING = 1_000;
/** Subjects, and blocks of keys, of one batch. */
const SUBJECTS = 1_000;
const KEY_BLOCKS = 100;
/** Interval of looking whether attempts under way have ended. */
const SETTLING_MS = 100;

/** The state after a batch, or the end. */
type Next = Omit<Advance, "pause_ms"> | "done";

/**
 * Carries out erasures, those of an earlier process included, whose texts these keys open. Each daemon runs
 * one; a daemon has the turn for one batch. After each it rests as long as that took, so that ingest and
 * deliveries keep at least half of the session and the processor.
 */
export function startEraser(ctx: Context, keys: readonly SealKey[]): Paced {
  const ids = keys.map(({ id }) => id);

  async function round(): Promise<number> {
    const turn = await takeTurn(ctx.db.admin, ids);
    if (turn === undefined) {
      if (await failUnopened(ctx.db.admin) > 0) ctx.log.error(UNOPENED);
      return POLL_MS;
    }
    const began = performance.now();
    const next = await step(ctx, turn, keys);
    if (next === "done") {
      await finish(ctx, turn);
      return 0;
    }
    const took_ms = performance.now() - began;
    const pause_ms = next.phase === "settling" ? Math.max(took_ms, SETTLING_MS) : took_ms;
    await advance(ctx.db.admin, turn, { ...next, pause_ms });
    // Not a moment before the database thinks so: it would be too early by a poll.
    return pause_ms + 2;
  }

  return startPaced(round, (cause) => ctx.log.error("Erasing failed, trying again", { cause }));
}

const UNOPENED = "An erasure failed: no daemon has the key under which it was sealed";

async function step(ctx: Context, turn: Turn, keys: readonly SealKey[]): Promise<Next> {
  const { sought } = unseal<{ sought: string }>(
    Buffer.from(turn.sealed, "hex"),
    erasureId(turn.uuid),
    keys,
  );
  if (turn.settling > 0) (await settle(ctx.db.admin, turn)).forEach(ctx.signals.ended.emit);
  switch (turn.phase) {
    case "events":
      return turn.settling > MAX_SETTLING
        ? { phase: "events" }
        : await alongEvents(ctx, turn, sought);
    case "settling":
      return turn.settling > 0
        ? { phase: "settling" }
        : { phase: turn.kind === "containing" ? "subjects" : "keys", position: "" };
    case "subjects":
      return await alongSubjects(ctx, turn, sought);
    case "keys":
      return await alongKeys(ctx, turn);
  }
}

async function alongEvents({ db }: Context, turn: Turn, sought: string): Promise<Next> {
  if (turn.kind !== "containing") {
    const { found, ...piece } = await findEvents(db.admin, turn, idOf(sought), BATCH);
    const erased = found.map((id) => ({ id, subject: false, business: false }));
    return afterEvents(turn, piece, erased);
  }
  const { contents, ...piece } = await readContents(db.admin, turn, BATCH);
  return afterEvents(turn, piece, matching(contents, makeMention(sought.trim())));
}

function afterEvents(
  { dry_run, position }: Turn,
  piece: { readonly looked: number; readonly position: string | null; readonly is_last: boolean },
  erased: readonly Erased[],
): Next {
  return {
    phase: piece.is_last ? "settling" : "events",
    position: piece.position ?? position,
    scanned: piece.looked,
    matched: erased.length,
    erased: dry_run ? [] : erased,
  };
}

/** `apt_789` of the key `appointment:apt_789`, which is also how people may name it. */
function idOf(subject: string): string {
  return subject.replace(/^(appointment|service):/, "");
}

/** The events with a text of their own, or of an attempt, that mentions what is looked for. */
function matching(contents: readonly Content[], mention: Mention): Erased[] {
  const names = (text: string | null) => text !== null && mention.inText(text);
  const found = new Map<string, Erased>();
  for (const content of contents) {
    const { event_uuid: id, payload, confirmation, head, body, cause } = content;
    const own = { id, subject: names(content.subject), business: names(content.business) };
    const before = found.get(id);
    if (own.subject || own.business) found.set(id, own);
    else if (
      before === undefined && (
        (payload !== null && mention.inJson(payload)) || names(confirmation) || names(head) ||
        names(cause) || (body !== null && mention.inBytes(body, content.truncated ?? false))
      )
    ) found.set(id, own);
  }
  return [...found.values()];
}

async function alongSubjects(
  { db }: Context,
  { dry_run, position }: Turn,
  sought: string,
): Promise<Next> {
  if (dry_run) return "done";
  const mention = makeMention(sought.trim());
  const subjects = await readSubjects(db.admin, position, SUBJECTS);
  const found = subjects.filter(({ key, business }) =>
    mention.inText(key) || mention.inText(business)
  );
  if (found.length > 0) await forgetSubjects(db.admin, found.map(({ key }) => key));
  return subjects.length < SUBJECTS
    ? { phase: "keys", position: "0" }
    : { phase: "subjects", position: subjects.at(-1)?.key ?? position };
}

async function alongKeys({ db }: Context, turn: Turn): Promise<Next> {
  const first = Number(turn.position);
  if (turn.dry_run || turn.matched === 0 || first >= await keyBlocks(db.admin)) return "done";
  await forgetDigests(db.admin, turn, first, KEY_BLOCKS);
  return { phase: "keys", position: String(first + KEY_BLOCKS) };
}

async function finish(ctx: Context, turn: Turn): Promise<void> {
  const erasure = erasureId(turn.uuid);
  await finishErasure(ctx.db.admin, turn, {
    actor: { name: "the eraser", address: null },
    action: "erasure.done",
    object: erasure,
  });
  ctx.log.info("Erasure done", { erasure });
}
