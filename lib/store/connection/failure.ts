/** Why a connection could not be opened. Has a `code`, as errors of postgres.js and the system do. */
export interface Failure extends Error {
  /** An SQLSTATE, a code of the operating system, or one of this program's. */
  readonly code: string;
  /** Whether waiting does not help: somebody has to correct the configuration or the server. */
  readonly permanent: boolean;
}

/** A failure; `text` begins with a verb, because the host comes before it. */
export function failure(code: string, text: string, permanent = false): Failure {
  return Object.assign(new Error(text), { code, permanent });
}

/** Whether an error is the failure of a connection, whatever its code. */
export function isFailure(error: unknown): error is Failure {
  return error instanceof Error && "permanent" in error && typeof error.permanent === "boolean";
}

/** Whether an error is a failure that waiting does not help. */
export function isPermanent(error: unknown): boolean {
  return isFailure(error) && error.permanent;
}
