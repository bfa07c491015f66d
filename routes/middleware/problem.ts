import type { Context } from "hono";
import { AppError, messageOf } from "../../lib/core/errors.ts";
import { shownPath } from "../../lib/core/portal.ts";
import { makeProblem, problemOf } from "../../lib/core/problem.ts";
import { isOutage } from "../../lib/store/errors.ts";
import type { Log } from "../../lib/observe/log.ts";
import type { Env } from "../context.ts";

/** The answer to anything thrown. Bugs are logged and answered without detail, outages with the reason. */
export function toProblem(error: unknown, log: Log): Response {
  const { body, ...init } = error instanceof AppError ? problemOf(error) : fault(error, log);
  return new Response(body, init);
}

function fault(error: unknown, log: Log) {
  const cause = messageOf(error);
  if (isOutage(error)) {
    log.error("A request failed because of the database", { cause });
    return problemOf(
      new AppError("unavailable", `The database cannot be used now: ${cause}; try again`, {
        retry_after_s: 1,
      }),
    );
  }
  log.error("A request failed", { cause });
  return makeProblem(500, "internal", "Internal error; see the daemon's log");
}

/** The refusal of a path that nothing is at, or nothing that the asker may know of. */
export function noSuchRoute(c: Context<Env>): AppError {
  return new AppError("not_found", `No such route: ${c.req.method} ${shownPath(c.req.path)}`);
}

/** A pattern such as `/api/endpoints/:id` as a regular expression. */
export function pathPattern(route: string): RegExp {
  const parts = route.split("/").map((part) =>
    part.startsWith(":") ? "[^/]+" : part.replace(/[^\w-]/g, "\\$&")
  );
  return new RegExp(`^${parts.join("/")}$`);
}
