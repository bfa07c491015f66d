import { toJsonSchema } from "@valibot/to-json-schema";
import { invalidAt } from "../core/errors.ts";
import type { EventType } from "../core/event_types.ts";
import type { AdminContext } from "./context.ts";
import { CURSOR_RULE, type Paged } from "./lists.ts";
import type * as shown from "./shown.ts";

/** The event types in force, which are the same for everybody. */
export function listEventTypes(
  ctx: AdminContext,
  { cursor, limit }: Paged,
): shown.Page<shown.EventType> {
  const { event_types: types, config } = ctx.in_force();
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
