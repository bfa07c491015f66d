import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { invalidAt, type Mistake, refuseMistakes } from "../core/errors.ts";
import { erasureId, parseErasureId, parseEventId } from "../core/ids.ts";
import { NONCE_BYTES, seal } from "../core/seal.ts";
import * as store from "../store/erasures.ts";
import { listErasures as readErasures } from "../store/reports/erasures.ts";
import { getEvent } from "../store/reports/events.ts";
import type { AdminContext, Asker } from "./context.ts";
import type { ErasureInput } from "./inputs.ts";
import { type Paged, readCursor, viewPage } from "./lists.ts";
import { findErasure, requireEverything, sealingKey } from "./lookup.ts";
import type * as shown from "./shown.ts";
import { viewErasure } from "./views.ts";

const KINDS = ["event", "subject", "containing"] as const;

/** Starts an erasure: any daemon carries it out. What it looks for is sealed, and never shown or logged. */
export async function createErasure(
  ctx: AdminContext,
  by: Asker,
  input: ErasureInput,
): Promise<shown.Erasure> {
  requireEverything(by);
  refuseMistakes(await erasureMistakes(ctx, by, input));
  const kind = KINDS.find((kind) => input[kind] !== undefined);
  if (kind === undefined) throw invalidAt("", `Needs one of the members ${KINDS.join(", ")}`);
  const key = sealingKey(ctx, "An erasure needs a key that seals what it looks for");
  const uuid = ctx.newUuid();
  const id = erasureId(uuid);
  const sealed = seal({ sought: input[kind] ?? "" }, id, key, randomBytes(NONCE_BYTES));
  await store.createErasure(ctx.db.admin, {
    uuid,
    kind,
    dry_run: input.dry_run,
    sealed: Buffer.from(sealed).toString("hex"),
    event_uuid: input.event === undefined ? null : parseEventId(input.event) ?? null,
  }, {
    actor: by.actor,
    action: "erasure.created",
    object: id,
    after: { kind, dry_run: input.dry_run },
  });
  ctx.erasures_changed();
  return viewErasure(await findErasure(ctx, by, id));
}

/** Erasures, newest first. */
export async function listErasures(
  ctx: AdminContext,
  by: Asker,
  { cursor, limit }: Paged,
): Promise<shown.Page<shown.Erasure>> {
  requireEverything(by);
  const before = readCursor(cursor, parseErasureId);
  return viewPage(await readErasures(ctx.db.admin, { before, limit }), viewErasure, erasureId);
}

/** An erasure and how far it is. */
export async function getErasure(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.Erasure> {
  return viewErasure(await findErasure(ctx, by, id));
}

/** Mistakes in an erasure that its schema cannot know. */
export async function erasureMistakes(
  ctx: AdminContext,
  { scope }: Asker,
  input: Partial<ErasureInput>,
): Promise<Mistake[]> {
  const [first, ...others] = KINDS.filter((kind) => input[kind] !== undefined);
  const mistakes = others.map((kind) => ({
    pointer: `/${kind}`,
    message: `Does not go together with ${first}`,
  }));
  if (input.event !== undefined) {
    const uuid = parseEventId(input.event);
    const event = uuid === undefined ? undefined : await getEvent(ctx.db.admin, scope, uuid);
    if (event === undefined) {
      const message = "There is no such event; it may have been purged";
      mistakes.push({ pointer: "/event", message });
    }
  }
  return mistakes;
}
