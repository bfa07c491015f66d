import type { Context } from "hono";
import { AppError, messageOf } from "../../lib/core/errors.ts";
import { shownPath } from "../../lib/core/portal.ts";
import { makeProblem, problemOf } from "../../lib/core/problem.ts";
import { isOutage } from "../../lib/store/errors.ts";
import type { Log } from "../../lib/observe/log.ts";
import type { Env } from "../context.ts";

/** The answer to anything thrown. Bugs are logged and answered without detail, outages with the reason. */
export function toProblem(error: unknown, log: Log): Response {
  const known = explained(error, log);
  const { body, ...init } = known === null
    ? makeProblem(500, "internal", INTERNAL_ERROR)
    : problemOf(known);
  return new Response(body, init);
}

/** All that is said of a bug. */
export const INTERNAL_ERROR = "Internal error; see the daemon's log";

/** Anything thrown as what may be said of it; null for a bug. Logs bugs and outages. */
export function explained(error: unknown, log: Log): AppError | null {
  if (error instanceof AppError) return error;
  const cause = messageOf(error);
  if (!isOutage(error)) {
    log.error("A request failed", { cause });
    return null;
  }
  log.error("A request failed because of the database", { cause });
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
