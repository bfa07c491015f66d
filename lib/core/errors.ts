/**
 * The kinds of mistake a caller can make. Each has one HTTP status and one exit code; everything
 * that is not an `AppError` is a bug or an outage and is answered without detail.
 */
export type ErrorCode =
  | "malformed"
  | "unauthorized"
  | "forbidden"
  | "not_found"
  | "method_not_allowed"
  | "conflict"
  | "too_large"
  | "unsupported_media_type"
  | "invalid"
  | "too_many_requests"
  | "unavailable";

/** HTTP status of each code: the one place where the two meet. */
export const HTTP_STATUS: Readonly<Record<ErrorCode, number>> = {
  malformed: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  too_large: 413,
  unsupported_media_type: 415,
  invalid: 422,
  too_many_requests: 429,
  unavailable: 503,
};

/** One mistake in a JSON document. */
export interface Mistake {
  /** RFC 6901 pointer, `/data/appointment/id`; the empty string is the whole document. */
  readonly pointer: string;
  readonly message: string;
}

/** The RFC 6901 pointer to what lies behind these keys. */
export function jsonPointer(keys: readonly unknown[]): string {
  return keys.map((key) => "/" + String(key).replaceAll("~", "~0").replaceAll("/", "~1")).join("");
}

/** What an `AppError` may carry beside its message. */
export interface ErrorDetail {
  readonly errors?: readonly Mistake[];
  /** When to come again, in seconds: the `Retry-After` of a 429 or 503. */
  readonly retry_after_s?: number;
  /** What a 405 offers instead: its `Allow`. */
  readonly allow?: readonly string[];
}

/** A caller's mistake (or, for `unavailable`, a state the caller can wait out), with its remedy. */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: ErrorCode;
  readonly detail: ErrorDetail;

  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}) {
    super(message);
    this.code = code;
    this.detail = detail;
  }
}

/** The message of anything thrown, for logs. */
export function messageOf(error: unknown): string {
  if (error instanceof Error) return error.message !== "" ? error.message : error.name;
  return String(error);
}
