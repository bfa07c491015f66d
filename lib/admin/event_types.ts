import { toJsonSchema } from "@valibot/to-json-schema";
import { OPERATIONAL_TYPES } from "../core/alerting/event.ts";
import { invalidAt } from "../core/errors.ts";
import { type EventType, type EventTypes, OPERATIONAL_NAMES } from "../core/event_types.ts";
import { isOperational } from "../core/matching.ts";
import type { AdminContext, Asker } from "./context.ts";
import { CURSOR_RULE, type Paged } from "./lists.ts";
import type * as shown from "./shown.ts";

/** The event types that endpoints within the scope may select: operational ones are for operators. */
export function eventTypesFor(ctx: AdminContext, { scope }: Pick<Asker, "scope">): EventTypes {
  const posted = ctx.in_force().event_types;
  if (scope !== "everything") return posted;
  return {
    names: [...posted.names, ...OPERATIONAL_NAMES],
    get: (name) => posted.get(name) ?? OPERATIONAL_TYPES.find((type) => type.name === name),
  };
}

/** The same, each with the schema of its data and a sample. */
export function listEventTypes(
  ctx: AdminContext,
  by: Asker,
  { cursor, limit }: Paged,
): shown.Page<shown.EventType> {
  const types = eventTypesFor(ctx, by);
  const { config } = ctx.in_force();
  const custom = new Map(config.event_types.map((type) => [type.name, type.schema]));
  const from = cursor === undefined ? 0 : types.names.indexOf(cursor) + 1;
  if (cursor !== undefined && from === 0) throw invalidAt("/cursor", CURSOR_RULE);
  const page = types.names.slice(from, from + limit);
  const data = page.map((name) => types.get(name)).filter((type) => type !== undefined)
    .map((type) => viewType(type, custom.get(type.name)));
  const more = from + limit < types.names.length;
  return { data, next_cursor: more ? page.at(-1) ?? null : null };
}

function viewType(
  { name, description, schema, sample }: EventType,
  custom: Readonly<Record<string, unknown>> | undefined,
): shown.EventType {
  return {
    name,
    description,
    operational: isOperational(name),
    schema: custom ?? {
      ...toJsonSchema(schema, {
        target: "draft-2020-12",
        typeMode: "output",
        errorMode: "ignore",
      }),
    },
    sample: JSON.parse(sample) as Record<string, unknown>,
  };
}
