import { type Context, Hono } from "hono";
import { AppError, messageOf } from "../lib/core/errors.ts";
import { within } from "../lib/store/deadline.ts";
import { isOfConnection, isOutage } from "../lib/store/errors.ts";
import { apiRoutes } from "./api/routes.ts";
import type { Env, RouteContext } from "./context.ts";
import { errorPage, houseOf } from "./dashboard/errors.tsx";
import { pageHeaders } from "./dashboard/headers.ts";
import { dashboardRoutes } from "./dashboard/routes.ts";
import type { PageEnv } from "./dashboard/visit.ts";
import { healthRoutes } from "./health.ts";
import { ingestRoutes } from "./ingest.ts";
import { requireKnownHost } from "./middleware/host.ts";
import { noSuchRoute, pathPattern, toProblem } from "./middleware/problem.ts";

/**
 * As long as a statement of the API may run. Where all connections are taken, it waits for one of them,
 * longer than anybody waits for the answer.
 */
const READ_TIMEOUT_MS = 10_000;

/** The application: everything that the daemon answers over HTTP. */
export function makeApp(ctx: RouteContext): Hono<Env> {
  const app = new Hono<Env>();
  app.onError((error, c) => {
    if (isOutage(error) && !isOfConnection(error)) {
      ctx.signals.statement_failed.emit({ part: "api", cause: messageOf(error) });
    }
    return answer(c, error);
  });
  const answer = (c: Context<Env>, error: unknown) => {
    const house = houseOf(c.req.path);
    return house === undefined
      ? toProblem(error, ctx.log)
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
    c.env.outgoing.setHeader("X-Content-Type-Options", "nosniff");
    c.env.outgoing.setHeader("Referrer-Policy", "no-referrer");
    await next();
  });
  for (const path of ["/dashboard/*", "/portal/*"]) app.use(path, pageHeaders as never);
  const known_host = requireKnownHost(ctx);
  for (const path of ["/api/*", "/openapi.json", "/dashboard/*", "/portal/*"]) {
    app.get(path, async (_c, next) => await within(next(), READ_TIMEOUT_MS));
    app.use(path, known_host);
  }
  app.route("/ingest", ingestRoutes(ctx));
  app.route("/", apiRoutes(ctx));
  app.route("/", dashboardRoutes(ctx));
  app.route("/", healthRoutes(ctx));
  return app;
}

function methodsAt(app: Hono<Env>, path: string): string[] {
  const methods = app.routes
    // Middleware counts as ALL.
    .filter(({ method, path: pattern }) => method !== "ALL" && pathPattern(pattern).test(path))
    .flatMap(({ method }) => method === "GET" ? ["GET", "HEAD"] : [method]);
  return [...new Set(methods)];
}
