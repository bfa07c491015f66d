import { differencesAmong } from "../config/shared.ts";
import { hostPort } from "../core/address.ts";
import { invalidAt } from "../core/errors.ts";
import { type Company, readCompany, type StoredDaemon } from "../store/daemons.ts";
import type { AdminContext, Asker } from "./context.ts";
import { CURSOR_RULE, type Paged } from "./lists.ts";
import { requireEverything } from "./lookup.ts";
import type * as shown from "./shown.ts";

/** The daemons that share the database, the last one started first. */
export async function listDaemons(
  ctx: AdminContext,
  by: Asker,
  { cursor, limit }: Paged,
): Promise<shown.Page<shown.Daemon>> {
  requireEverything(by);
  const company = await readCompany(ctx.db.admin);
  const living = company.daemons.filter(({ lives }) => lives);
  const from = cursor === undefined ? 0 : living.findIndex(({ id }) => id === cursor) + 1;
  if (cursor !== undefined && from === 0) throw invalidAt("/cursor", CURSOR_RULE);
  const page = living.slice(from, from + limit);
  return {
    data: page.map((daemon) => viewDaemon(daemon, company)),
    next_cursor: from + limit < living.length ? page.at(-1)?.id ?? null : null,
  };
}

function viewDaemon(daemon: StoredDaemon, { files, in_force }: Company): shown.Daemon {
  return {
    id: daemon.id,
    version: daemon.version,
    listeners: daemon.listeners.map(({ address, port }) => hostPort(address, port)),
    started_at: daemon.started_at.toISOString(),
    last_seen_at: daemon.seen_at.toISOString(),
    file: daemon.file,
    in_force: daemon.file === in_force,
    differences: differencesAmong(files, daemon.file, in_force),
  };
}
