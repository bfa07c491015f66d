import { endpointNames as read } from "../store/reports/endpoints.ts";
import type { AdminContext, Asker } from "./context.ts";

/** What endpoints within the scope are called, by their ids: their descriptions, else the ids. */
export async function endpointNames(
  ctx: AdminContext,
  { scope }: Asker,
): Promise<ReadonlyMap<string, string>> {
  const rows = await read(ctx.db.admin, scope);
  return new Map(rows.map(({ id, description }) => [id, description ?? id]));
}
