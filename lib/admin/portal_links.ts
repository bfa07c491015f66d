import { createHash, randomBytes } from "node:crypto";
import { AppError } from "../core/errors.ts";
import { parsePortalLinkId, portalLinkId } from "../core/ids.ts";
import { isPortalToken, portalPath, portalToken } from "../core/portal.ts";
import { PORTAL_ACTOR } from "../core/scope.ts";
import * as store from "../store/portal_links.ts";
import type { AdminContext, Asker } from "./context.ts";
import type { PortalLinkInput } from "./inputs.ts";
import { type Paged, readCursor, viewPage } from "./lists.ts";
import { notFound, requireEverything } from "./lookup.ts";
import type * as shown from "./shown.ts";
import { viewPortalLink } from "./views.ts";

/** Narrows a list of portal links. */
export interface PortalLinkQuery extends Paged {
  readonly business?: string | undefined;
}

/** Makes a portal link. Its token and URL are shown this once. */
export async function createPortalLink(
  ctx: AdminContext,
  by: Asker,
  { business, expires_in, read_only }: PortalLinkInput,
): Promise<shown.PortalLinkMade> {
  requireEverything(by);
  const base_url = portalBase(ctx);
  const id = portalLinkId(ctx.newUuid());
  const token = portalToken(randomBytes(32));
  const row = await store.createPortalLink(ctx.db.admin, {
    id,
    business,
    digest: digestOf(token),
    read_only,
    expires_in_ms: expires_in,
  }, {
    actor: by.actor,
    action: "portal_link.created",
    object: id,
    after: { business, read_only, expires_in_ms: expires_in },
  });
  return { ...viewPortalLink(row), url: base_url + portalPath(token), token };
}

/** Where a business reaches the portal. Throws an `AppError` if the configuration has none. */
function portalBase(ctx: AdminContext): string {
  const { base_url, config: { environment, ingest } } = ctx.in_force();
  if (environment === "production" && ingest.secrets.length === 0) {
    throw new AppError(
      "conflict",
      "In production a portal needs signed posts: otherwise whoever reaches /ingest can post events of " +
        "any business. Set ingest.secret and reload the configuration",
    );
  }
  if (base_url !== null) return base_url;
  throw new AppError(
    "conflict",
    "The address for portal links is unknown, because the daemon does not listen on loopback; set " +
      "server.public_url to the address that businesses reach, and reload the configuration",
  );
}

/**
 * The business that a portal token speaks for, if its link is in force at this moment: looked up each
 * time, so that a revocation counts from the next request on. Undefined for any other text.
 */
export async function findPortalAsker(
  ctx: AdminContext,
  token: string,
  address: string | null,
): Promise<{ readonly by: Asker; readonly read_only: boolean } | undefined> {
  if (!isPortalToken(token)) return undefined;
  const link = await store.findActivePortalLink(ctx.db.admin, digestOf(token));
  if (link === undefined) return undefined;
  const actor = { name: PORTAL_ACTOR + link.id, address };
  const scope = { business: link.business };
  return { by: { actor, scope, payloads: true }, read_only: link.read_only };
}

/** The link in force with this token, as whoever has it may see it; undefined if there is none. */
export async function findOpenLink(
  ctx: AdminContext,
  token: string,
): Promise<Pick<shown.PortalLink, "business" | "expires_at"> | undefined> {
  if (!isPortalToken(token)) return undefined;
  const link = await store.findActivePortalLink(ctx.db.admin, digestOf(token));
  return link === undefined
    ? undefined
    : { business: link.business, expires_at: link.expires_at.toISOString() };
}

/** Portal links, the last made first; those that are over too. */
export async function listPortalLinks(
  ctx: AdminContext,
  by: Asker,
  { cursor, ...filter }: PortalLinkQuery,
): Promise<shown.Page<shown.PortalLink>> {
  requireEverything(by);
  const before = readCursor(cursor, parsePortalLinkId);
  return viewPage(
    await store.listPortalLinks(ctx.db.admin, { ...filter, before }),
    viewPortalLink,
  );
}

/** A portal link, also one that is over. */
export async function getPortalLink(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.PortalLink> {
  requireEverything(by);
  const key = parsePortalLinkId(id);
  const row = key === undefined ? undefined : await store.getPortalLink(ctx.db.admin, key);
  if (row === undefined) throw notFound("portal link");
  return viewPortalLink(row);
}

/** Ends a portal link: its token is refused from the next request on. */
export async function revokePortalLink(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.PortalLink> {
  const link = await getPortalLink(ctx, by, id);
  const revoked = await store.revokePortalLink(ctx.db.admin, link.id, {
    actor: by.actor,
    action: "portal_link.revoked",
    object: link.id,
    before: { business: link.business },
  });
  return revoked === undefined ? await getPortalLink(ctx, by, id) : viewPortalLink(revoked);
}

function digestOf(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}
