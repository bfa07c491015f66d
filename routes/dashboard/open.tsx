import { type Context, Hono } from "hono";
import { getCookie } from "hono/cookie";
import { findOpenLink } from "../../lib/admin/portal_links.ts";
import { endSession, openPortalSession } from "../../lib/admin/sessions.ts";
import type { RouteContext } from "../context.ts";
import { barePage } from "./layout.tsx";
import { LinkEndedPage, NeedsLinkPage, OpenLinkPage } from "./pages/open.tsx";
import { addressOf, giveCookie, requireDoor, requireOrigin } from "./session.ts";
import { type PageEnv, PORTAL } from "./visit.ts";

/** For a business that is not signed in. */
export function needsLink(c: Context<PageEnv>): Promise<Response> {
  return barePage(c, { title: "Open your link", status: 403 }, NeedsLinkPage());
}

/**
 * The way into the portal: the page of a link does nothing but show a button, because mail scanners open links;
 * the button signs in.
 */
export function openPages(ctx: RouteContext): Hono<PageEnv> {
  return new Hono<PageEnv>()
    .use("/open/:token", async (c, next) => {
      // The path is a secret. With no-referrer, browsers would send the form with `Origin: null`.
      c.env.outgoing.setHeader("Referrer-Policy", "strict-origin");
      await next();
    })
    .get("/open/:token", async (c) => {
      requireDoor(c, ctx, PORTAL);
      const link = await findOpenLink(ctx, c.req.param("token"));
      return link === undefined
        ? await linkEnded(c)
        : await barePage(c, { title: "Open your webhooks" }, OpenLinkPage(link));
    })
    .post("/open/:token", async (c) => {
      const door = requireDoor(c, ctx, PORTAL);
      requireOrigin(c, door);
      const opened = await openPortalSession(ctx, c.req.param("token"));
      if (opened === undefined) return await linkEnded(c);
      // A session never goes on under another cookie's name.
      await endSession(ctx, getCookie(c, door.cookie) ?? "");
      giveCookie(c, door, opened.cookie);
      ctx.log.info("Portal opened", { link: opened.link, address: addressOf(c, ctx) });
      return c.redirect(PORTAL.base, 303);
    });
}

function linkEnded(c: Context<PageEnv>): Promise<Response> {
  return barePage(c, { title: "This link has ended", status: 404 }, LinkEndedPage());
}
