import { matchesType } from "../core/matching.ts";
import * as read from "../store/reports/endpoints.ts";
import type { AdminContext, Asker } from "./context.ts";

/** Names of the endpoints within the scope, by their ids: their descriptions, else the ids. */
export async function endpointNames(
  ctx: AdminContext,
  { scope }: Asker,
): Promise<ReadonlyMap<string, string>> {
  const rows = await read.endpointNames(ctx.db.admin, scope);
  return new Map(rows.map(({ id, description }) => [id, description ?? id]));
}

/** An endpoint as pages call it. */
export interface NamedEndpoint {
  readonly id: string;
  readonly name: string;
}

/** The endpoints in force that select a type, for each of these types. */
export async function selectingEndpoints(
  ctx: AdminContext,
  { scope }: Asker,
  types: readonly string[],
): Promise<ReadonlyMap<string, readonly NamedEndpoint[]>> {
  const rows = await read.endpointSelections(ctx.db.admin, scope);
  return new Map(
    types.map((type) => [
      type,
      rows.filter(({ events }) => matchesType(events, type))
        .map(({ id, description }) => ({ id, name: description ?? id })),
    ]),
  );
}
