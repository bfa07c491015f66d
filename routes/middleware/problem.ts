import { AppError, HTTP_STATUS, messageOf } from "../../lib/core/errors.ts";
import { isOutage } from "../../lib/store/database.ts";
import type { Log } from "../../lib/observe/log.ts";

const TITLES: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/** The answer to an error, `application/problem+json` (RFC 9457): the one place that makes them. */
export function toProblem(error: unknown, log: Log): Response {
  if (error instanceof AppError) {
    const { errors, retry_after_s, allow } = error.detail;
    const headers: Record<string, string> = {};
    if (retry_after_s !== undefined) headers["retry-after"] = String(retry_after_s);
    if (allow !== undefined) headers["allow"] = allow.join(", ");
    if (error.code === "unauthorized") headers["www-authenticate"] = "Bearer";
    return problem(
      HTTP_STATUS[error.code],
      error.code,
      error.message,
      errors === undefined ? {} : { errors },
      headers,
    );
  }
  if (isOutage(error)) {
    log.error("A request failed: the database is away", { cause: messageOf(error) });
    return problem(503, "unavailable", "The database is away; try again", {}, {
      "retry-after": "1",
    });
  }
  log.error("A request failed", { cause: messageOf(error) });
  return problem(500, "internal", "Something is wrong on this side; the log says what");
}

function problem(
  status: number,
  code: string,
  detail: string,
  more: Readonly<Record<string, unknown>> = {},
  headers: Readonly<Record<string, string>> = {},
): Response {
  const title = TITLES[status] ?? "Error";
  return new Response(
    JSON.stringify({ type: "about:blank", title, status, code, detail, ...more }),
    { status, headers: { "content-type": "application/problem+json", ...headers } },
  );
}
