import type { RequestListener } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { type Context, Hono } from "hono";
import type * as shown from "../lib/admin/shown.ts";
import { AppError } from "../lib/core/errors.ts";
import { within } from "../lib/store/deadline.ts";
import { apiRoutes } from "./api/routes.ts";
import type { Env, RouteContext } from "./context.ts";
import { errorPage, houseOf } from "./dashboard/errors.tsx";
import { pageHeaders } from "./dashboard/headers.ts";
import { dashboardRoutes } from "./dashboard/routes.ts";
import type { PageEnv } from "./dashboard/visit.ts";
import type { Handler } from "./handler.ts";
import type { Health } from "./health.ts";
import { COMMON_HEADERS } from "./middleware/headers.ts";
import { requireKnownHost } from "./middleware/host.ts";
import { noSuchRoute, pathPattern, toProblem } from "./middleware/problem.ts";

/**
 * As long as a statement of the API may run. Where all connections are taken, it waits for one of them,
 * longer than anybody waits for the answer.
 */
const READ_TIMEOUT_MS = 10_000;

/** Answers by every route of the application; `ingest` and `health` do that for theirs. */
export function makeAppListener(
  ctx: RouteContext,
  ingest: Handler,
  health: Health,
): RequestListener {
  return getRequestListener(makeApp(ctx, ingest, health).fetch, {
    errorHandler: () => toProblem(new AppError("malformed", "Target and Host make no URL"), ctx),
    // The server reads on after any early answer.
    autoCleanupIncoming: false,
  });
}

/** The application: hono over every route. */
function makeApp(ctx: RouteContext, ingest: Handler, health: Health): Hono<Env> {
  const app = new Hono<Env>();
  app.onError((error, c) => answer(c, error));
  const answer = (c: Context<Env>, error: unknown) => {
    const house = houseOf(c.req.path);
    return house === undefined
      ? toProblem(error, ctx)
      : errorPage(c as unknown as Context<PageEnv>, ctx, house, error);
  };
  app.notFound((c) => {
    const { method, path } = c.req;
    const allow = methodsAt(app, path);
    const error = allow.length === 0
      ? noSuchRoute(c, houseOf(path) !== undefined)
      : new AppError("method_not_allowed", `${path} allows ${allow.join(", ")}, not ${method}`, {
        allow,
      });
    return answer(c, error);
  });
  app.use(async (c, next) => {
    // On node's own response, because hono would have to rebuild its own.
    for (const [name, value] of Object.entries(COMMON_HEADERS)) {
      c.env.outgoing.setHeader(name, value);
    }
    await next();
  });
  for (const path of ["/dashboard/*", "/portal/*"]) app.use(path, pageHeaders as never);
  const known_host = requireKnownHost(ctx);
  for (const path of ["/api/*", "/openapi.json", "/dashboard/*", "/portal/*"]) {
    app.get(path, async (_c, next) => await within(next(), READ_TIMEOUT_MS));
    app.use(path, known_host);
  }
  const by = (handler: Handler) => async ({ env: { incoming, outgoing } }: Context<Env>) => {
    await handler(incoming, outgoing);
    return RESPONSE_ALREADY_SENT;
  };
  app.post("/ingest", by(ingest));
  app.get("/livez", by(health.livez));
  app.get("/readyz", by(health.readyz));
  app.route("/", apiRoutes(ctx));
  app.route("/", dashboardRoutes(ctx));
  app.get("/ip-ranges", (c) => {
    const { environment, ip_ranges } = ctx.in_force().config;
    const texts = ip_ranges[environment].map((cidr) => cidr.text);
    return c.json<shown.IpRanges>({ environment, ip_ranges: texts });
  });
  return app;
}

function methodsAt(app: Hono<Env>, path: string): string[] {
  const methods = app.routes
    // Middleware counts as ALL.
    .filter(({ method, path: pattern }) => method !== "ALL" && pathPattern(pattern).test(path))
    .flatMap(({ method }) => method === "GET" ? ["GET", "HEAD"] : [method]);
  return [...new Set(methods)];
}
