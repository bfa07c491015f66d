import { type AppError, HTTP_STATUS, type Mistake } from "./errors.ts";

/** An answer, ready to be sent. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const TITLES: Readonly<Record<number, string>> = {
  200: "OK",
  201: "Created",
  202: "Accepted",
  204: "No Content",
  301: "Moved Permanently",
  302: "Found",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  421: "Misdirected Request",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

/** The usual name of a status; undefined for one without. */
export function knownTitle(status: number): string | undefined {
  return TITLES[status];
}

/** The usual name of a status, `Error` for one without. */
export function titleOf(status: number): string {
  return knownTitle(status) ?? "Error";
}

/** The problem (RFC 9457) of a status: `code` is stable, `detail` a sentence, `errors` one entry per mistake. */
export function makeProblem(
  status: number,
  code: string,
  detail: string,
  errors?: readonly Mistake[],
): Answer {
  const title = titleOf(status);
  return {
    status,
    headers: { "content-type": "application/problem+json" },
    // Without `errors` the member is left out.
    body: JSON.stringify({ type: "about:blank", title, status, code, detail, errors }),
  };
}

/** The problem of a caller's mistake, with the headers that its status calls for. */
export function problemOf({ code, message, detail }: AppError): Answer {
  const { errors, retry_after_s, allow } = detail;
  const problem = makeProblem(HTTP_STATUS[code], code, message, errors);
  return {
    ...problem,
    headers: {
      ...problem.headers,
      ...(retry_after_s === undefined ? {} : { "retry-after": String(retry_after_s) }),
      ...(allow === undefined ? {} : { allow: allow.join(", ") }),
      ...(code === "unauthorized" ? { "www-authenticate": "Bearer" } : {}),
    },
  };
}
