import type { Context } from "hono";
import { AppError, messageOf } from "../../lib/core/errors.ts";
import { shownPath } from "../../lib/core/portal.ts";
import { type Answer, makeProblem, problemOf } from "../../lib/core/problem.ts";
import { isOfConnection, isOutage } from "../../lib/store/errors.ts";
import type { Env, RouteContext } from "../context.ts";

/** The answer to anything thrown. Bugs are logged and answered without detail, outages with the reason. */
export function answerTo(error: unknown, ctx: Reporting): Answer {
  const known = explained(error, ctx);
  return known === null ? makeProblem(500, "internal", INTERNAL_ERROR) : problemOf(known);
}

/** The same for hono. */
export function toProblem(error: unknown, ctx: Reporting): Response {
  const { body, ...init } = answerTo(error, ctx);
  return new Response(body, init);
}

/** Where bugs and outages are reported. */
type Reporting = Pick<RouteContext, "log" | "signals">;

/** All that is said of a bug. */
export const INTERNAL_ERROR = "Internal error; see the daemon's log";

/** Anything thrown as what may be said of it; null for a bug. Reports bugs and outages. */
export function explained(error: unknown, { log, signals }: Reporting): AppError | null {
  if (error instanceof AppError) return error;
  const cause = messageOf(error);
  if (!isOutage(error)) {
    log.error("A request failed", { cause });
    return null;
  }
  log.error("A request failed because of the database", { cause });
  if (!isOfConnection(error)) signals.statement_failed.emit({ part: "api", cause });
  return new AppError("unavailable", `The database cannot be used now: ${cause}; try again`, {
    retry_after_s: 1,
  });
}

/** The refusal of a path that nothing is at, or nothing that the asker may know of. */
export function noSuchRoute(c: Context<Env>, is_page = false): AppError {
  const path = shownPath(c.req.path);
  return new AppError(
    "not_found",
    is_page ? `No page is at ${path}` : `No such route: ${c.req.method} ${path}`,
  );
}

/** A pattern such as `/api/endpoints/:id` as a regular expression. */
export function pathPattern(route: string): RegExp {
  const parts = route.split("/").map((part) =>
    part.startsWith(":") ? "[^/]+" : part.replace(/[^\w-]/g, "\\$&")
  );
  return new RegExp(`^${parts.join("/")}$`);
}
