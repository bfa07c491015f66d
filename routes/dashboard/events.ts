import { Hono } from "hono";
import { aboutEvents } from "../../lib/admin/about.ts";
import { getEvent } from "../../lib/admin/events.ts";
import { endpointNames } from "../../lib/admin/names.ts";
import type { RouteContext } from "../context.ts";
import { payloadOf } from "./delivery.tsx";
import { page } from "./layout.tsx";
import { EventPage } from "./pages/event.tsx";
import { eventVerdict } from "./verdicts/event.ts";
import type { House, PageEnv } from "./visit.ts";
import { typeWords } from "./words.ts";

/** One event, by its id: the search finds them. */
export function eventPages(ctx: RouteContext, house: House): Hono<PageEnv> {
  return new Hono<PageEnv>().get("/events/:id", async (c) => {
    const visit = c.get("visit");
    const event = await getEvent(ctx, visit.by, c.req.param("id"));
    const names = await endpointNames(ctx, visit.by);
    const about = await aboutEvents(ctx, visit.by, [event.id]);
    const reader = { house, may_write: visit.may_write, now: visit.now };
    const title = `${typeWords(event.type, house.audience)} ${event.confirmation_number ?? ""}`
      .trim();
    const head = { title, nav: "deliveries" as const, live: { id: event.id } };
    return await page(
      c,
      visit,
      head,
      EventPage({
        visit,
        event,
        verdict: eventVerdict({ event, names }, reader),
        payload: payloadOf(event),
        about: about.get(event.id),
        names,
      }),
    );
  });
}
