import { isFailure } from "./connection/failure.ts";
import { isSilence } from "./deadline.ts";

// PostgreSQL's classes: connection, roles and rights to connect, no such database, shutdown; read-only, too
// many connections. Then the codes of postgres.js, the connector and the system.
const OF_CONNECTION =
  /^(08|28|3D|57P|25006|53300|CONNECT|ECONN|EPIPE|ENOTFOUND|ETIMEDOUT|EHOST|ENET|EAI_|ENOENT|TLS_|PROTOCOL|POOLED)/;

// Out of resources, operator intervention (timeout), system, internal; transaction rollback (deadlock),
// lock not available; a schema or table that is gone, or rights that are; silence.
const OF_STATEMENT = /^(53|57|58|XX|40|55P03|3F|42501|42P01|TIMEOUT)/;

/**
 * Whether an error means that the database is away, overloaded or in somebody's hands, so that retrying
 * may succeed: no caller's mistake, and none of this program.
 */
export function isOutage(error: unknown): boolean {
  return isOfConnection(error) || OF_STATEMENT.test(codeOf(error) ?? "");
}

/** Whether an error is about the connection and not about a statement: asking for another one shows it. */
export function isOfConnection(error: unknown): boolean {
  // A server may refuse a session for any reason, such as 55000: it does not accept connections now.
  return isFailure(error) || OF_CONNECTION.test(codeOf(error) ?? "");
}

/** Whether an error says that connections lead to the wrong place: cut them, and look again. */
export function isAstray(error: unknown): boolean {
  return isSilence(error) || codeOf(error) === "25006";
}

/**
 * Whether an error is about the values to be written, so that retrying cannot succeed: PostgreSQL's
 * classes of data, integrity and limits, or no database error at all. How long any other lasts (a role
 * that may not connect, no file descriptors), nobody knows.
 */
export function isRefusal(error: unknown): boolean {
  if (isFailure(error)) return false;
  const code = codeOf(error);
  return code === undefined || /^(22|23|54)/.test(code);
}

/** Whether PostgreSQL says that its disk is full. */
export function isDiskFull(error: unknown): boolean {
  return codeOf(error) === "53100";
}

function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === "string" ? code : undefined;
}
