import { CANCEL_REASONS, type DeliveryReason } from "../core/cancellation.ts";
import { AppError, type Mistake, refuseMistakes } from "../core/errors.ts";
import { EVENT_NAME } from "../core/event_types.ts";
import { parseReplayId, replayId } from "../core/ids.ts";
import { parseRate } from "../core/units.ts";
import type { StoredEndpoint } from "../store/endpoints.ts";
import type { ReplayedStatus } from "../store/replay_search.ts";
import * as store from "../store/replays.ts";
import { getEndpoint } from "../store/reports/endpoints.ts";
import * as read from "../store/reports/replays.ts";
import type { AdminContext, Asker } from "./context.ts";
import type { ReplayInput } from "./inputs.ts";
import { emptyPeriod, type Paged, periodOf, readCursor, viewPage } from "./lists.ts";
import { findReplay, unknownEndpoint } from "./lookup.ts";
import type * as shown from "./shown.ts";
import { viewReplay } from "./views.ts";

/** Counts the deliveries that a replay would send, and what it would leave out, as far as `depth` says. */
export async function countReplay(
  ctx: AdminContext,
  by: Asker,
  input: ReplayInput,
  depth: read.CountDepth = "whole",
): Promise<shown.ReplayCount> {
  const { selection, endpoint, counted } = await select(ctx, by, input, depth);
  const sql = ctx.db.admin;
  return {
    matched: counted.matched.count,
    matched_exact: counted.matched.exact,
    left_out: {
      delivered: await read.countDeliveredSince(sql, selection, depth),
      without_payload: counted.without_payload,
    },
    notes: endpoint === undefined
      ? retiredNotes(await read.retiredAmong(sql, selection))
      : await endpointNotes(ctx, by, endpoint, input, counted.matched),
  };
}

/** Endpoints whose deliveries a replay of all endpoints leaves out. */
function retiredNotes(ids: readonly string[]): string[] {
  return ids.length === 0 ? [] : [
    `Deliveries to retired endpoints are left out: ${ids.slice(0, read.MAX_RETIRED).join(", ")}` +
    (ids.length > read.MAX_RETIRED ? " and others" : ""),
  ];
}

/** What a replay to this endpoint does not do. */
async function endpointNotes(
  { db: { admin } }: AdminContext,
  { scope }: Asker,
  endpoint: StoredEndpoint,
  input: ReplayInput,
  matched: store.Matched,
): Promise<string[]> {
  const { id, created_at, paused_at } = endpoint;
  const predecessors = await read.predecessorsOf(admin, scope, endpoint);
  const notes = predecessors.filter(({ retired_at }) => retired_at.toISOString() > input.since)
    .map((one) =>
      `${one.id} had the same URL until it was retired at ${one.retired_at.toISOString()}; ` +
      `${id} is another endpoint, and deliveries to ${one.id} stay with that`
    );
  const made_at = created_at.toISOString();
  if (
    made_at > input.since && !input.missing && !statusesOf(input).includes("pending") &&
    await read.anyReceived(admin, scope, periodOf({ since: input.since, until: made_at }))
  ) {
    notes.unshift(
      `${id} was made at ${made_at}; it was never owed what came before: a replay with missing owes it that`,
    );
  }
  if (paused_at !== null && matched.count > 0) {
    notes.push(`${id} is paused: what is replayed waits until it is resumed`);
  }
  return notes;
}

/** Starts a replay: any daemon carries it out. */
export async function createReplay(
  ctx: AdminContext,
  by: Asker,
  input: ReplayInput,
): Promise<shown.Replay> {
  const { selection, counted: { matched } } = await select(ctx, by, input, "whole");
  const uuid = ctx.newUuid();
  const id = replayId(uuid);
  const { endpoint, type, reason, code, since, until, rate } = input;
  await store.createReplay(ctx.db.admin, {
    ...selection,
    uuid,
    rate_per_s: rate === undefined ? null : parseRate(rate),
    matched,
  }, {
    actor: by.actor,
    action: "replay.created",
    object: id,
    after: {
      endpoint,
      ...(input.missing ? { missing: true } : { status: selection.statuses }),
      type,
      reason,
      code,
      since,
      until,
      rate,
      matched: matched.count,
    },
  });
  ctx.replays_changed();
  return viewReplay(await findReplay(ctx, by, id));
}

/** Replays, newest first. */
export async function listReplays(
  ctx: AdminContext,
  { scope }: Asker,
  { cursor, limit }: Paged,
): Promise<shown.Page<shown.Replay>> {
  const before = readCursor(cursor, parseReplayId);
  return viewPage(
    await read.listReplays(ctx.db.admin, scope, { before, limit }),
    viewReplay,
    replayId,
  );
}

/** A replay and how far it is. */
export async function getReplay(ctx: AdminContext, by: Asker, id: string): Promise<shown.Replay> {
  return viewReplay(await findReplay(ctx, by, id));
}

/** Ends a replay where it is; deliveries it renewed stay pending. */
export async function cancelReplay(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.Replay> {
  const { uuid } = await findReplay(ctx, by, id);
  ctx.pace(by, "change");
  const change = { actor: by.actor, action: "replay.cancelled", object: replayId(uuid) };
  await store.cancelReplay(ctx.db.admin, uuid, change);
  const row = await findReplay(ctx, by, id);
  if (row.state === "cancelled") return viewReplay(row);
  throw new AppError("conflict", "The replay is done; cancel its deliveries one by one");
}

/** Mistakes in a replay that its schema cannot know. */
export async function replayMistakes(
  ctx: AdminContext,
  { scope }: Asker,
  { endpoint, status, missing, type, reason, code, since, until }: Partial<ReplayInput>,
): Promise<Mistake[]> {
  const mistakes: Mistake[] = [];
  if (missing) {
    for (const [name, value] of Object.entries({ status, reason, code })) {
      if (value === undefined) continue;
      const message = "Must be left out with missing: what was never owed has none";
      mistakes.push({ pointer: `/${name}`, message });
    }
    if (endpoint === undefined) {
      mistakes.push({ pointer: "/endpoint", message: "Is missing: missing is for one endpoint" });
    }
  }
  if (since !== undefined && since >= endOf(ctx, until)) {
    mistakes.push({ pointer: "/since", message: emptyPeriod(since, endOf(ctx, until)) });
  }
  // A type that no longer exists has its history.
  if (type !== undefined && !EVENT_NAME.test(type)) {
    mistakes.push({ pointer: "/type", message: "Must be the name of one event type" });
  }
  if (
    !missing && reason !== undefined &&
    statusesOf({ status, reason }).some((one) => !goTogether(one, reason))
  ) {
    const message = isCancelReason(reason)
      ? `Only cancelled deliveries have the reason ${reason}`
      : "No delivered delivery has a reason: its last attempt did not fail";
    mistakes.push({ pointer: "/reason", message });
  }
  if (endpoint !== undefined) {
    const row = await getEndpoint(ctx.db.admin, scope, endpoint);
    const message = row === undefined
      ? await unknownEndpoint(ctx, { scope }, endpoint)
      : row.retired_at === null
      ? undefined
      : "The endpoint is retired";
    if (message !== undefined) mistakes.push({ pointer: "/endpoint", message });
  }
  return mistakes;
}

function statusesOf(
  { missing, status, reason }: Pick<Partial<ReplayInput>, "missing" | "status" | "reason">,
): readonly ReplayedStatus[] {
  if (missing) return [];
  if (status === undefined) return [isCancelReason(reason) ? "cancelled" : "failed"];
  return typeof status === "string" ? [status] : status;
}

function goTogether(status: ReplayedStatus, reason: DeliveryReason): boolean {
  return isCancelReason(reason) ? status === "cancelled" : status !== "delivered";
}

function isCancelReason(reason: DeliveryReason | undefined): boolean {
  return CANCEL_REASONS.some((one) => one === reason);
}

function endOf(ctx: AdminContext, until: string | undefined): string {
  return until ?? new Date(ctx.now()).toISOString();
}

/** How far the database's clock may have been set back without a replay that misses a delivery. */
const SLACK_MS = 3_600_000;

async function select(
  ctx: AdminContext,
  by: Asker,
  input: ReplayInput,
  depth: read.CountDepth,
) {
  refuseMistakes(await replayMistakes(ctx, by, input));
  // Its count reads more than any page of a list.
  ctx.pace(by, "change");
  const { type, missing, reason, code, since } = input;
  const until = endOf(ctx, input.until);
  const endpoint = input.endpoint === undefined
    ? undefined
    : await getEndpoint(ctx.db.admin, by.scope, input.endpoint);
  const { first_uuid = "", last_uuid = "" } = periodOf({ since, until }, SLACK_MS);
  const selection: store.ReplaySelection = {
    statuses: statusesOf(input),
    missing,
    endpoint_no: endpoint?.no ?? null,
    owner: by.scope === "everything" ? null : by.scope.business,
    type: type ?? null,
    reason: reason ?? null,
    code: code ?? null,
    since,
    until,
    first_uuid,
    last_uuid,
  };
  const counted = await read.countReplay(ctx.db.admin, by.scope, selection, depth);
  return { selection, endpoint, counted };
}
