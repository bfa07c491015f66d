import { Hono, type MiddlewareHandler } from "hono";
import { alertOperations } from "./alerts.ts";
import { backupOperations } from "./backup.ts";
import { deliveryOperations } from "./deliveries.ts";
import { endpointOperations } from "./endpoints.ts";
import { erasureOperations } from "./erasures.ts";
import { eventOperations } from "./events.ts";
import { type AnyOperation, perform } from "./operation.ts";
import { overviewOperations } from "./overview.ts";
import { portalLinkOperations } from "./portal_links.ts";
import { replayOperations } from "./replays.ts";
import { signatureOperations } from "./signatures.ts";
import { streamOperations } from "./stream.ts";
import { requireToken } from "../middleware/auth.ts";
import { pathPattern } from "../middleware/problem.ts";
import type { Env, RouteContext } from "../context.ts";
import { openApiDocument } from "./openapi.ts";

/** Every operation of the admin API (contract, section 7). */
export const OPERATIONS: readonly AnyOperation[] = [
  ...endpointOperations,
  ...eventOperations,
  ...deliveryOperations,
  ...replayOperations,
  ...alertOperations,
  ...portalLinkOperations,
  ...erasureOperations,
  ...signatureOperations,
  ...streamOperations,
  ...overviewOperations,
  ...backupOperations,
];

/** The paths that portal tokens reach. */
const PORTAL_PATHS = OPERATIONS.filter(({ portal }) => portal === true)
  .map(({ path }) => pathPattern(path.replace("{id}", ":id")));

/** Paths of what `admin.public` may open. */
const PUBLIC_PAGES = { metrics: "/metrics", openapi: "/openapi.json" } as const;
const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** The admin API under `/api`, the document of it at `/openapi.json`, and `/metrics`. */
export function apiRoutes(ctx: RouteContext): Hono<Env> {
  const auth = requireToken(ctx, PORTAL_PATHS);
  const app = new Hono<Env>();
  app.use("/api/*", closed, auth);
  for (const operation of OPERATIONS) {
    const path = operation.path.replace("{id}", ":id");
    app.on(operation.method.toUpperCase(), path, (c) => perform(ctx, operation, c));
  }
  for (const page of ["metrics", "openapi"] as const) {
    app.use(PUBLIC_PAGES[page], closed, async (c, next) => {
      if (ctx.in_force().config.admin.public.includes(page)) await next();
      else return await auth(c, next);
    });
  }
  app.get("/metrics", async (c) => {
    return c.body(await ctx.metrics(), 200, { "content-type": METRICS_TYPE });
  });
  let document: string | undefined;
  app.get("/openapi.json", (c) => {
    document ??= JSON.stringify(openApiDocument(OPERATIONS));
    return c.body(document, 200, { "content-type": "application/json" });
  });
  return app;
}

/** Keeps answers out of caches, and out of pages and frames. */
const closed: MiddlewareHandler<Env> = async (c, next) => {
  c.env.outgoing.setHeader("Cache-Control", "no-store");
  c.env.outgoing.setHeader("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
  await next();
};
