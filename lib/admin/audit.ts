import { invalidAt } from "../core/errors.ts";
import { IDENTIFIER_RULE, isIdentifier } from "../core/identifier.ts";
import { auditId, parseAuditId } from "../core/ids.ts";
import * as read from "../store/reports/audit.ts";
import type { AdminContext, Asker } from "./context.ts";
import { type Paged, readCursor, refuseEmpty, viewPage, type Within } from "./lists.ts";
import type * as shown from "./shown.ts";
import { viewAudit } from "./views.ts";

/** Narrows a list of changes. */
export interface AuditQuery extends Paged, Within {
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
  /** Id of what was changed. */
  readonly object?: string | undefined;
}

/** Changes, the last one first. */
export async function listAudit(
  ctx: AdminContext,
  { scope }: Asker,
  { cursor, ...filter }: AuditQuery,
): Promise<shown.Page<shown.AuditEntry>> {
  refuseEmpty(filter);
  for (const name of ["actor", "action", "object"] as const) {
    // PostgreSQL refuses other text even as a parameter.
    if (!isIdentifier(filter[name] ?? "none")) throw invalidAt(`/${name}`, IDENTIFIER_RULE);
  }
  const before = readCursor(cursor, parseAuditId);
  return viewPage(
    await read.listAudit(ctx.db.admin, scope, { ...filter, before }),
    viewAudit,
    auditId,
  );
}
