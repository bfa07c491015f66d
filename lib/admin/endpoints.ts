import { randomBytes } from "node:crypto";
import { AppError, invalidAt, refuseMistakes } from "../core/errors.ts";
import { endpointId } from "../core/ids.ts";
import { moveOverlap, overlapAt, rotate } from "../core/rotation.ts";
import { nameFor } from "../core/scope.ts";
import { makeSecret } from "../core/secret.ts";
import * as store from "../store/endpoints.ts";
import * as read from "../store/reports/endpoints.ts";
import type { AdminContext, Asker } from "./context.ts";
import {
  endpointMistakes,
  newEndpoint,
  patchedEndpoint,
  rotatedEndpoint,
  secretMistakes,
  type Written,
} from "./endpoint_fields.ts";
import type {
  EndpointInput,
  EndpointPatch,
  OverlapInput,
  PauseInput,
  RotateInput,
} from "./inputs.ts";
import { endpointHints } from "./hints.ts";
import { CURSOR_RULE, type Paged, viewPage } from "./lists.ts";
import { findEndpoint, findEndpointInForce, readEndpoint } from "./lookup.ts";
import type * as shown from "./shown.ts";
import { readActivity } from "./statistics.ts";
import { viewEndpoint } from "./views.ts";

/** Narrows a list of endpoints. */
export interface EndpointQuery extends Paged {
  readonly source?: shown.Endpoint["source"] | undefined;
  readonly retired: boolean;
}

/** Endpoints, the last made first: those in force, or the retired ones. */
export async function listEndpoints(
  ctx: AdminContext,
  by: Asker,
  { cursor, ...filter }: EndpointQuery,
): Promise<shown.Page<shown.Endpoint>> {
  // Endpoints are never removed, so a cursor from a page names one.
  if (cursor !== undefined && await readEndpoint(ctx, by, cursor) === undefined) {
    throw invalidAt("/cursor", CURSOR_RULE);
  }
  const page = await read.listEndpoints(ctx.db.admin, by.scope, { ...filter, before: cursor });
  const activityOf = await readActivity(ctx, page.rows.map(({ no }) => no));
  return viewPage(page, (row) => viewEndpoint(row, activityOf(row.no), ctx));
}

async function showOne(ctx: AdminContext, row: store.StoredEndpoint): Promise<shown.Endpoint> {
  const activityOf = await readActivity(ctx, [row.no]);
  return viewEndpoint(row, activityOf(row.no), ctx);
}

/** An endpoint, retired ones included, and why it may be failing. */
export async function getEndpoint(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.EndpointDetail> {
  const row = await findEndpoint(ctx, by, id);
  const [endpoint, hints] = await Promise.all([
    showOne(ctx, row),
    endpointHints(ctx, by, [row]),
  ]);
  return { ...endpoint, hints: hints.get(row.no) ?? [] };
}

/** Makes an endpoint. Its secret is shown this once. */
export async function createEndpoint(
  ctx: AdminContext,
  by: Asker,
  input: EndpointInput,
): Promise<shown.EndpointMade> {
  refuseMistakes(endpointMistakes(ctx, by.scope, input));
  ctx.pace(by, "change");
  const id = endpointId(randomBytes(20));
  const secret = input.unsigned === true ? null : input.secret ?? makeSecret(randomBytes(32));
  const { fields, sealed } = newEndpoint(ctx, by.scope, id, input, secret);
  const owner = by.scope === "everything" ? null : by.scope.business;
  const most = ctx.in_force().config.portal.max_endpoints;
  const row = await store.createEndpoint(ctx.db.admin, { ...fields, owner }, sealed, most, {
    actor: by.actor,
    action: "endpoint.created",
    object: id,
    after: audited(fields),
  });
  if (row === undefined) {
    throw new AppError(
      "conflict",
      most === 0
        ? "Businesses make no endpoints of their own here"
        : `A business may have ${most} endpoints; delete one first`,
    );
  }
  await ctx.endpoints_changed();
  return { ...await showOne(ctx, row), secret };
}

/** Changes an endpoint made through the API. */
export async function changeEndpoint(
  ctx: AdminContext,
  by: Asker,
  id: string,
  patch: EndpointPatch,
): Promise<shown.EndpointChanged> {
  refuseMistakes(endpointMistakes(ctx, by.scope, patch));
  const row = await rewrite(ctx, by, id, (row) => {
    if (patch.version !== undefined && patch.version !== row.version) {
      throw new AppError(
        "conflict",
        `The endpoint ${id} has version ${row.version} by now, not ${patch.version}; read it again`,
      );
    }
    const written = patchedEndpoint(ctx, row, patch);
    const logged = { before: audited(row), after: auditedPatch(written.fields, patch) };
    return { ...written, action: "endpoint.updated", logged };
  });
  return await changed(ctx, row);
}

/** A changed endpoint, once what it is not owed any more is being cancelled. */
async function changed(
  ctx: AdminContext,
  row: store.ChangedEndpoint,
): Promise<shown.EndpointChanged> {
  const { cancels, cancels_exact } = row;
  if (cancels > 0 || !cancels_exact) await ctx.cancel_unowed();
  return { ...await showOne(ctx, row), cancels, cancels_exact };
}

/** Gives an endpoint a new secret, which is shown this once. */
export async function rotateSecret(
  ctx: AdminContext,
  by: Asker,
  id: string,
  input: RotateInput,
): Promise<shown.EndpointMade> {
  refuseMistakes(secretMistakes(ctx, input));
  const now = Math.floor(ctx.now());
  const activates_at = momentAhead("/activate", input.activate, now, now + MAX_AHEAD_MS);
  const secret = input.secret ?? makeSecret(randomBytes(32));
  const overlap_ms = input.overlap;
  const after = { activates_at: new Date(activates_at).toISOString(), overlap_ms };
  const row = await rewrite(ctx, by, id, (row) => ({
    ...rotatedEndpoint(
      ctx,
      row,
      (secrets) => rotate(secrets, secret, activates_at, overlap_ms, now),
    ),
    action: "endpoint.rotated",
    logged: { after },
  }), "write secret: [new, old] there");
  return { ...await showOne(ctx, row), secret };
}

/** Moves the end of a rotation's overlap: to a time, or to now. */
export async function endOverlap(
  ctx: AdminContext,
  by: Asker,
  id: string,
  input: OverlapInput,
): Promise<shown.Endpoint> {
  const now = Math.floor(ctx.now());
  const row = await rewrite(ctx, by, id, (row) => {
    const before = overlapAt(store.openSealed(row, ctx.seal_keys).secrets, now);
    const first = Math.max(now, before?.activates_at ?? now);
    const ends_at = momentAhead("/ends_at", input.ends_at, now, first + MAX_AHEAD_MS);
    return {
      ...rotatedEndpoint(ctx, row, (secrets) => moveOverlap(secrets, ends_at, now)),
      action: "endpoint.overlap_moved",
      logged: { before: endOf(before?.ends_at), after: endOf(ends_at) },
    };
  }, "write the new secret alone there");
  return await showOne(ctx, row);
}

function endOf(ends_at: number | undefined) {
  return ends_at === undefined ? null : { ends_at: new Date(ends_at).toISOString() };
}

const MAX_AHEAD_MS = 30 * 86_400_000;
/** How far a caller's clock may lag behind the database's. */
const CLOCK_SLACK_MS = 60_000;

/** The moment that a member of a request names, from `now` on. Throws an `AppError` beyond the `last`. */
function momentAhead(pointer: string, text: string, now: number, last: number): number {
  if (text === "now") return now;
  const at = Date.parse(text);
  if (at < now - CLOCK_SLACK_MS || at > last) {
    const latest = new Date(last).toISOString();
    throw invalidAt(pointer, `Must not lie in the past, nor after ${latest}`);
  }
  return Math.max(at, now);
}

/** Pauses an endpoint: its deliveries wait. */
export async function pauseEndpoint(
  ctx: AdminContext,
  by: Asker,
  id: string,
  input: PauseInput,
): Promise<shown.Endpoint> {
  const row = await findEndpointInForce(ctx, by, id);
  ctx.pace(by, "change");
  const reason = input.reason ?? `Paused by ${nameFor(row.owner, by.actor.name)}`;
  const again = input.reason !== undefined;
  const paused = await store.pauseEndpoint(ctx.db.admin, id, reason, again, {
    actor: by.actor,
    action: "endpoint.paused",
    object: id,
    before: row.pause_reason === null ? undefined : { reason: row.pause_reason },
    after: { reason },
  });
  await ctx.endpoints_changed();
  return await showOne(ctx, paused ?? await findEndpoint(ctx, by, id));
}

/** Ends an endpoint's pause: its waiting deliveries are due. */
export async function resumeEndpoint(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.Endpoint> {
  const row = await findEndpointInForce(ctx, by, id);
  ctx.pace(by, "change");
  const resumed = await store.resumeEndpoint(ctx.db.admin, id, {
    actor: by.actor,
    action: "endpoint.resumed",
    object: id,
    before: { reason: row.pause_reason },
  });
  await ctx.endpoints_changed();
  return await showOne(ctx, resumed ?? await findEndpoint(ctx, by, id));
}

/** Retires an endpoint made through the API: cancels its deliveries, forgets its secrets. */
export async function retireEndpoint(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.EndpointChanged> {
  const before = await findEndpointInForce(ctx, by, id);
  refuseFile(before, "take it out of the file");
  ctx.pace(by, "change");
  const retired = await store.retireEndpoint(ctx.db.admin, id, {
    actor: by.actor,
    action: "endpoint.retired",
    object: id,
    before: audited(before),
  });
  const row = retired ??
    { ...await findEndpoint(ctx, by, id), cancels: 0, cancels_exact: true };
  await ctx.endpoints_changed();
  return await changed(ctx, row);
}

function refuseFile(row: store.StoredEndpoint, remedy: string): void {
  if (row.source !== "file") return;
  throw new AppError(
    "conflict",
    `The endpoint ${row.id} belongs to the configuration file; ${remedy}, and ` +
      "reload it (`bookme-webhooks reload`)",
  );
}

const MAX_TRIES = 5;

/** A rewritten endpoint, and what the audit log says of it. */
interface Rewritten extends Written {
  readonly action: string;
  readonly logged: { readonly before?: unknown; readonly after: unknown };
}

/**
 * Reads an endpoint and writes what `next` makes of it, again if it has changed in between. `remedy` is
 * what to do instead with one that belongs to the file.
 */
async function rewrite(
  ctx: AdminContext,
  by: Asker,
  id: string,
  next: (row: store.StoredEndpoint) => Rewritten,
  remedy = "change it there",
): Promise<store.ChangedEndpoint> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const row = await findEndpointInForce(ctx, by, id);
    refuseFile(row, remedy);
    const { fields, sealed, action, logged } = next(row);
    if (tries === 0) ctx.pace(by, "change");
    const change = { actor: by.actor, action, object: id, ...logged };
    const changed = await store.updateEndpoint(ctx.db.admin, row, fields, sealed, change);
    if (changed === undefined) continue;
    await ctx.endpoints_changed();
    return changed;
  }
  throw new AppError("conflict", `The endpoint ${id} keeps changing; try again`);
}

/** The part of an endpoint that the audit log keeps. */
function audited({ url, events, businesses, settings }: store.EndpointFields) {
  return { url, events, businesses, settings };
}

/** The same after a change. New values of headers, or a new certificate like the old, have no other trace. */
function auditedPatch(fields: store.EndpointFields, patch: EndpointPatch) {
  return {
    ...audited(fields),
    ...(patch.headers === undefined ? {} : { header_values: "changed" }),
    ...(patch.tls === undefined ? {} : { tls: "changed" }),
  };
}
