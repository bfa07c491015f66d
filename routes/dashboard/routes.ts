import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { type Context, Hono } from "hono";
import type { ServerResponse } from "node:http";
import { openStream } from "../../lib/admin/stream.ts";
import { shownPath } from "../../lib/core/portal.ts";
import { EVENT_STREAM } from "../../lib/core/server_sent.ts";
import type { RouteContext } from "../context.ts";
import { readerOf } from "../stream_reader.ts";
import { alertPages } from "./alerts.ts";
import { arrived } from "./arrival.tsx";
import { ASSETS } from "./assets.ts";
import { auditPages } from "./audit.ts";
import { deliveryPages } from "./deliveries.ts";
import { endpointPages } from "./endpoints.ts";
import { eventTypePages } from "./event_types.ts";
import { eventPages } from "./events.ts";
import { acceptsGzip } from "./headers.ts";
import { helpPages } from "./help.ts";
import { loginPage, loginRoutes, logoutRoutes } from "./login.tsx";
import { needsLink, openPages } from "./open.tsx";
import { nextPath } from "./next.ts";
import { overviewPages } from "./overview.ts";
import { replayPages } from "./replays.ts";
import { searchPages } from "./search.ts";
import { isStillGood, type Outside, pathAndQuery, requireVisit } from "./session.ts";
import { testPages } from "./tests.ts";
import { verifyPages } from "./verify.ts";
import { DASHBOARD, type House, type PageEnv, PORTAL, type Topic } from "./visit.ts";

/** Topics of both houses. */
const TOPICS: readonly Topic[] = [
  alertPages,
  auditPages,
  deliveryPages,
  endpointPages,
  eventPages,
  eventTypePages,
  helpPages,
  overviewPages,
  replayPages,
  searchPages,
  testPages,
  verifyPages,
];

/** The pages: `/dashboard` for operators, `/portal` for a business, and what they load. */
export function dashboardRoutes(ctx: RouteContext): Hono<PageEnv> {
  const app = new Hono<PageEnv>();
  for (const asset of ASSETS) {
    app.get(asset.path, (c) => {
      const is_gzip = acceptsGzip(c.req.header("accept-encoding"));
      c.env.outgoing.setHeader("Cache-Control", "public, max-age=31536000, immutable");
      c.header("Content-Type", asset.type);
      c.header("Vary", "Accept-Encoding");
      if (is_gzip) c.header("Content-Encoding", "gzip");
      return c.body(is_gzip ? asset.gzip : asset.bytes);
    });
  }
  app.route(DASHBOARD.base, loginRoutes(ctx));
  app.route(PORTAL.base, openPages(ctx));
  open(app, ctx, DASHBOARD, {
    arrived,
    asked: (c) => {
      const next = pathAndQuery(c);
      // A misplaced token of a portal link is not repeated.
      const is_kept = next !== DASHBOARD.base && shownPath(next) === next;
      const query = is_kept ? `?next=${encodeURIComponent(next)}` : "";
      return c.redirect(`${DASHBOARD.base}/login${query}`, 303);
    },
    sent: (c) => {
      // The page with the form: browsers name it, as it is of this origin.
      const from = URL.parse(c.req.header("referer") ?? "");
      const next = nextPath(DASHBOARD, from === null ? undefined : from.pathname + from.search);
      const ended = "Your session has ended. Nothing was done; sign in again";
      return loginPage(c, ctx, next, 403, ended);
    },
  });
  open(app, ctx, PORTAL, { arrived, asked: needsLink, sent: needsLink });
  return app;
}

/** Opens a house to those who are signed in. */
function open(app: Hono<PageEnv>, ctx: RouteContext, house: House, outside: Outside): void {
  app.use(`${house.base}/*`, async (c, next) => {
    const { pathname, search } = new URL(c.req.url);
    // People add a slash. Not to the path of a portal link, which no answer repeats.
    const is_other = !pathname.endsWith("/") || pathname.startsWith(`${house.base}/open/`);
    if (is_other || !/^(?:GET|HEAD)$/.test(c.req.method)) return await next();
    return c.redirect(pathname.slice(0, -1) + search, 301);
  });
  app.use(`${house.base}/*`, requireVisit(ctx, house, outside));
  app.route(house.base, logoutRoutes(ctx, house));
  app.get(`${house.base}/stream`, (c) => follow(c, ctx, house));
  for (const topic of TOPICS) app.route(house.base, topic(ctx, house));
}

async function follow(c: Context<PageEnv>, ctx: RouteContext, house: House): Promise<Response> {
  // It goes on and on: its head is known without it.
  if (c.req.method === "HEAD") return c.body(null, 200, { "content-type": EVENT_STREAM });
  const { by } = c.get("visit");
  const opening = {
    by,
    last_id: c.req.header("last-event-id"),
    isGood: isStillGood(c, ctx, house),
  };
  await openStream(
    ctx,
    opening,
    c.req.query("endpoint"),
    readerOf(c.env.outgoing as ServerResponse),
  );
  return RESPONSE_ALREADY_SENT;
}
