import { AppError, messageOf } from "../../lib/core/errors.ts";
import { makeProblem, problemOf } from "../../lib/core/problem.ts";
import { isOutage } from "../../lib/store/errors.ts";
import type { Log } from "../../lib/observe/log.ts";

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
