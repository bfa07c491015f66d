import { Hono } from "hono";
import { AppError } from "../lib/core/errors.ts";
import { apiRoutes } from "./api.ts";
import type { Env, RouteContext } from "./context.ts";
import { healthRoutes } from "./health.ts";
import { ingestRoutes } from "./ingest.ts";
import { toProblem } from "./problem.ts";

/** Everything that the daemon answers over HTTP. */
export function makeApp(ctx: RouteContext): Hono<Env> {
  const app = new Hono<Env>();
  app.onError((error) => toProblem(error, ctx.log));
  app.notFound((c) =>
    toProblem(
      new AppError("not_found", `There is nothing at ${c.req.method} ${c.req.path}`),
      ctx.log,
    )
  );
  app.use(async (c, next) => {
    // On node's own response, because hono's would have to be made anew.
    c.env.outgoing.setHeader("X-Content-Type-Options", "nosniff");
    c.env.outgoing.setHeader("Referrer-Policy", "no-referrer");
    await next();
  });
  app.route("/ingest", ingestRoutes(ctx));
  app.route("/", apiRoutes(ctx));
  app.route("/", healthRoutes(ctx));
  return app;
}
