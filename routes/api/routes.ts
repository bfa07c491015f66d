import { Hono, type MiddlewareHandler } from "hono";
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
  ...portalLinkOperations,
  ...erasureOperations,
  ...signatureOperations,
  ...streamOperations,
  ...overviewOperations,
];

/** The paths that portal tokens reach. */
const PORTAL_PATHS = OPERATIONS.filter(({ portal }) => portal === true)
  .map(({ path }) => pathPattern(path.replace("{id}", ":id")));

/** The admin API under `/api`, and the document of it at `/openapi.json`. */
export function apiRoutes(ctx: RouteContext): Hono<Env> {
  const auth = requireToken(ctx, PORTAL_PATHS);
  const app = new Hono<Env>();
  app.use("/api/*", closed, auth);
  for (const operation of OPERATIONS) {
    const path = operation.path.replace("{id}", ":id");
    app.on(operation.method.toUpperCase(), path, (c) => perform(ctx, operation, c));
  }
  app.use("/openapi.json", closed, async (c, next) => {
    if (ctx.in_force().config.admin.public.includes("openapi")) await next();
    else return await auth(c, next);
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
