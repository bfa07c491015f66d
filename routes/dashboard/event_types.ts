import { Hono } from "hono";
import { listEventTypes } from "../../lib/admin/event_types.ts";
import { selectingEndpoints } from "../../lib/admin/names.ts";
import type { RouteContext } from "../context.ts";
import { page } from "./layout.tsx";
import { EventTypesPage } from "./pages/event_types.tsx";
import type { House, PageEnv } from "./visit.ts";

const LIMIT = 200;

/** The catalogue of event types: `/event-types`. */
export function eventTypePages(ctx: RouteContext, _house: House): Hono<PageEnv> {
  return new Hono<PageEnv>().get("/event-types", async (c) => {
    const visit = c.get("visit");
    const { data: types } = listEventTypes(ctx, visit.by, { limit: LIMIT });
    const selecting = await selectingEndpoints(ctx, visit.by, types.map(({ name }) => name));
    return await page(
      c,
      visit,
      { title: "Event types", nav: "event-types" },
      EventTypesPage({ visit, types, selecting }),
    );
  });
}
