import type { RequestListener } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { type Context, Hono } from "hono";
import { AppError } from "../lib/core/errors.ts";
import { within } from "../lib/store/deadline.ts";
import { apiRoutes } from "./api/routes.ts";
import type { Env, RouteContext } from "./context.ts";
import { errorPage, houseOf } from "./dashboard/errors.tsx";
import { pageHeaders } from "./dashboard/headers.ts";
import { dashboardRoutes } from "./dashboard/routes.ts";
import type { PageEnv } from "./dashboard/visit.ts";
import { healthRoutes } from "./health.ts";
import { type Handler, makeIngest } from "./ingest.ts";
import { COMMON_HEADERS } from "./middleware/headers.ts";
import { requireKnownHost } from "./middleware/host.ts";
import { noSuchRoute, pathPattern, toProblem } from "./middleware/problem.ts";

/**
 * As long as a statement of the API may run. Where all connections are taken, it waits for one of them,
 * longer than anybody waits for the answer.
 */
const READ_TIMEOUT_MS = 10_000;

/** A `Host` that makes a URL with any target, as far as that can be told without parsing one. */
const PLAIN_HOST = /^[a-z0-9._-]+(?::(?:[1-5]\d{3,4}|[6-9]\d{3}))?$/;

/** Everything that the daemon answers over HTTP. */
export function makeListener(ctx: RouteContext): RequestListener {
  const ingest = makeIngest(ctx);
  const others = getRequestListener(makeApp(ctx, ingest).fetch, {
    errorHandler: () => toProblem(new AppError("malformed", "Target and Host make no URL"), ctx),
    // The server reads on after any early answer.
    autoCleanupIncoming: false,
  });
  return (incoming, outgoing) => {
    const { method, url, headers } = incoming;
    const is_plain = method === "POST" && url === "/ingest" && PLAIN_HOST.test(headers.host ?? "");
    // Past hono, which would take a fifth of the CPU time of a post.
    void (is_plain ? ingest(incoming, outgoing) : others(incoming, outgoing));
  };
}

/** The application: hono over every route. */
function makeApp(ctx: RouteContext, ingest: Handler): Hono<Env> {
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
  app.post("/ingest", async ({ env: { incoming, outgoing } }) => {
    await ingest(incoming, outgoing);
    return RESPONSE_ALREADY_SENT;
  });
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
