import { is } from "valibot";
import { AppError, invalidAt, show } from "../core/errors.ts";
import { parseAlertId, parseDeliveryId, parseErasureId, parseReplayId } from "../core/ids.ts";
import { nearest } from "../core/nearest.ts";
import type { SealKey } from "../core/seal.ts";
import type { StoredEndpoint } from "../store/endpoints.ts";
import { getAlert, type ToldAlert } from "../store/reports/alerts.ts";
import { type DeliveryRow, getDelivery } from "../store/reports/deliveries.ts";
import { endpointIds, getEndpoint } from "../store/reports/endpoints.ts";
import { type ErasureRow, getErasure } from "../store/reports/erasures.ts";
import { getReplay, type ReplayRow } from "../store/reports/replays.ts";
import type { AdminContext, Asker } from "./context.ts";
import { identifier } from "./fields.ts";

/** Refuses an id that names nothing, or nothing within the scope. */
export function notFound(what: string): AppError {
  return new AppError("not_found", `There is no such ${what}`);
}

/** Refuses to change an endpoint that is retired. */
export function retired(id: string): AppError {
  return new AppError("conflict", `The endpoint ${id} is retired; make a new one`);
}

/** Refuses a business what concerns the whole installation. */
export function requireEverything({ scope }: Asker): void {
  if (scope === "everything") return;
  throw new AppError("forbidden", "Only for an administrator of the whole installation");
}

/** The key that seals. Throws an `AppError` that says which `need` it is without, and the remedy. */
export function sealingKey({ seal_keys: [key] }: AdminContext, need: string): SealKey {
  if (key !== undefined) return key;
  throw new AppError(
    "conflict",
    `${need}; make one with \`openssl rand -base64 32\`, name it as encryption_key: env:NAME or ` +
      "file:PATH in the configuration, and restart the daemon",
  );
}

/** The endpoint of that id within the scope, retired ones included; undefined if there is none. */
export async function readEndpoint(
  ctx: AdminContext,
  { scope }: Pick<Asker, "scope">,
  id: string,
): Promise<StoredEndpoint | undefined> {
  // PostgreSQL refuses other text even as a parameter.
  return is(identifier, id) ? await getEndpoint(ctx.db.admin, scope, id) : undefined;
}

/** The endpoint of that id, retired ones included. */
export async function findEndpoint(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<StoredEndpoint> {
  const row = await readEndpoint(ctx, by, id);
  if (row === undefined) throw new AppError("not_found", await unknownEndpoint(ctx, by, id));
  return row;
}

/** Endpoints up to this number are listed when an id names none of them. */
const MAX_NAMED = 8;

/** Says that no endpoint has this id, and which one within the scope may be meant. */
export async function unknownEndpoint(
  ctx: AdminContext,
  { scope }: Pick<Asker, "scope">,
  id: string,
): Promise<string> {
  const ids = await endpointIds(ctx.db.admin, scope);
  const near = nearest(id, ids);
  const hint = near !== undefined
    ? `; did you mean ${near}?`
    : ids.length === 0
    ? "; there is none yet"
    : ids.length <= MAX_NAMED
    ? `; there is ${ids.join(", ")}`
    : "";
  return `There is no endpoint ${show(id)}${hint}`;
}

/**
 * The endpoint that narrows a list, retired ones included; undefined for all. Throws an `AppError` for an
 * id that names none: an empty list would look as if nothing had happened.
 */
export async function filterEndpoint(
  ctx: AdminContext,
  by: Asker,
  id: string | undefined,
): Promise<StoredEndpoint | undefined> {
  if (id === undefined) return undefined;
  const row = await readEndpoint(ctx, by, id);
  if (row === undefined) throw invalidAt("/endpoint", await unknownEndpoint(ctx, by, id));
  return row;
}

/** The endpoint of that id. Throws an `AppError` if it is retired. */
export async function findEndpointInForce(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<StoredEndpoint> {
  const row = await findEndpoint(ctx, by, id);
  if (row.retired_at !== null) throw retired(id);
  return row;
}

/** The delivery of that `dlv_…`. */
export async function findDelivery(
  ctx: AdminContext,
  { scope }: Asker,
  id: string,
): Promise<DeliveryRow> {
  const uuid = parseDeliveryId(id);
  const row = uuid === undefined ? undefined : await getDelivery(ctx.db.admin, scope, uuid);
  if (row === undefined) throw notFound("delivery; it may have been purged");
  return row;
}

/** The erasure of that `era_…`. */
export async function findErasure(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<ErasureRow> {
  requireEverything(by);
  const uuid = parseErasureId(id);
  const row = uuid === undefined ? undefined : await getErasure(ctx.db.admin, uuid);
  if (row === undefined) throw notFound("erasure");
  return row;
}

/** The replay of that `rpl_…`. */
export async function findReplay(
  ctx: AdminContext,
  { scope }: Asker,
  id: string,
): Promise<ReplayRow> {
  const uuid = parseReplayId(id);
  const row = uuid === undefined ? undefined : await getReplay(ctx.db.admin, scope, uuid);
  if (row === undefined) throw notFound("replay");
  return row;
}

/** The alert of that `alr_…`. */
export async function findAlert(
  ctx: AdminContext,
  { scope }: Asker,
  id: string,
): Promise<ToldAlert> {
  const uuid = parseAlertId(id);
  const row = uuid === undefined ? undefined : await getAlert(ctx.db.admin, scope, uuid);
  if (row === undefined) throw notFound("alert; it may have been purged");
  return row;
}
