/**
 * The mistakes that a caller can make. Each has one HTTP status and one exit code. Anything thrown
 * that is not an `AppError` is a bug or an outage and is answered without detail.
 */
export type ErrorCode =
  | "malformed"
  | "unauthorized"
  | "forbidden"
  | "loop"
  | "not_found"
  | "method_not_allowed"
  | "conflict"
  | "payload_gone"
  | "erased"
  | "too_large"
  | "misdirected"
  | "unsupported_media_type"
  | "invalid"
  | "too_many_requests"
  | "unavailable";

/** HTTP status of each code. */
export const HTTP_STATUS: Readonly<Record<ErrorCode, number>> = {
  malformed: 400,
  unauthorized: 401,
  forbidden: 403,
  loop: 403,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  payload_gone: 409,
  erased: 409,
  too_large: 413,
  unsupported_media_type: 415,
  misdirected: 421,
  invalid: 422,
  too_many_requests: 429,
  unavailable: 503,
};

/** One mistake in a JSON document. */
export interface Mistake {
  /** RFC 6901 pointer, such as `/data/appointment/id`; empty for the whole document. */
  readonly pointer: string;
  readonly message: string;
}

/** The RFC 6901 pointer that these keys make, from the root. */
export function jsonPointer(keys: readonly unknown[]): string {
  return keys.map((key) => "/" + String(key).replaceAll("~", "~0").replaceAll("/", "~1")).join("");
}

/** Details of an `AppError`. */
export interface ErrorDetail {
  readonly errors?: readonly Mistake[];
  /** When to try again, in seconds: the `Retry-After` of a 429 or 503. */
  readonly retry_after_s?: number;
  /** The methods that a 405 lists in `Allow`. */
  readonly allow?: readonly string[];
}

/** A caller's mistake with its remedy; `unavailable` is a state that the caller can wait out. */
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

/** An `AppError` for a value that breaks a rule. */
export function invalid(message: string): AppError {
  return new AppError("invalid", message);
}

/** Refuses a request for the mistake at one place of it. */
export function invalidAt(pointer: string, message: string): AppError {
  return new AppError("invalid", INVALID, { errors: [{ pointer, message }] });
}

/** Throws an `AppError` that names the mistakes, if there are any. */
export function refuseMistakes(errors: readonly Mistake[], message = INVALID): void {
  if (errors.length > 0) throw new AppError("invalid", message, { errors });
}

const INVALID = "The request is not valid";

/** The message of anything thrown, for logs. */
export function messageOf(error: unknown): string {
  if (error instanceof Error) return error.message !== "" ? error.message : error.name;
  return String(error);
}

/** A value as messages show it: quoted and cut to 60 characters; no `whsec_` secret, no portal token. */
export function show(value: unknown): string {
  if (typeof value !== "string") {
    return value === null || typeof value !== "object"
      ? String(value)
      : Array.isArray(value)
      ? "a list"
      : "a mapping";
  }
  if (/whsec_|portal_[\w-]{43}/.test(value)) return "a secret";
  return JSON.stringify(shorten(value, 60));
}

/** A text cut to `max` characters, with an ellipsis if anything is missing; never within a character. */
export function shorten(text: string, max: number): string {
  const head = [...text.slice(0, 2 * max)].slice(0, max).join("");
  return head.length < text.length ? `${head}…` : text;
}

/** Names as messages list them: the first 20. */
export function listed(names: readonly string[]): string {
  return names.slice(0, 20).join(", ") + (names.length > 20 ? ", …" : "");
}
