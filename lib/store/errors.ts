/** Whether an error means that the database is away or overloaded, so that retrying may succeed. */
export function isOutage(error: unknown): boolean {
  const code = codeOf(error);
  if (code === undefined) return false;
  // PostgreSQL's classes: connection, out of resources, operator intervention (shutdown, timeout),
  // transaction rollback (deadlock), lock not available, read-only. Then the codes of postgres.js and
  // the operating system.
  return /^(08|53|57|40|58|25006|55P03|XX)/.test(code) ||
    /^(CONNECT|ECONN|EPIPE|ENOTFOUND|ETIMEDOUT|EHOST|ENET|EAI_|ENOENT|CONNECTION_|TIMEOUT)/.test(
      code,
    );
}

/**
 * Whether an error is about the values to be written, so that retrying cannot succeed: PostgreSQL's
 * classes of data, integrity and limits, or no database error at all. How long any other lasts (a role
 * that may not connect, no file descriptors), nobody knows.
 */
export function isRefusal(error: unknown): boolean {
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
