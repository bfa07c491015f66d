import { type Context, Hono } from "hono";
import { search, type SearchFound } from "../../lib/admin/search.ts";
import { parsePortalLinkId } from "../../lib/core/ids.ts";
import { parseSearch, type Qualifier } from "../../lib/core/search_query.ts";
import type { RouteContext } from "../context.ts";
import { page } from "./layout.tsx";
import { SearchPage, type SearchProps } from "./pages/search.tsx";
import type { House, PageEnv } from "./visit.ts";

/** One box for everything. Nothing of what is typed is logged: it may be personal. */
export function searchPages(ctx: RouteContext, house: House): Hono<PageEnv> {
  return new Hono<PageEnv>().get("/search", (c) => searchPage(c, ctx, house));
}

async function searchPage(c: Context<PageEnv>, ctx: RouteContext, house: House): Promise<Response> {
  const visit = c.get("visit");
  const typed = c.req.query("q") ?? "";
  const basics: SearchProps = {
    visit,
    query: typed.trim().slice(0, 500),
    found: null,
    mistake: null,
    meant: null,
  };
  const show = (props: Partial<SearchProps>, status: 200 | 422 = 200) =>
    page(c, visit, { title: "Search", nav: null, status }, SearchPage({ ...basics, ...props }));
  const query = parseSearch(typed);
  switch (query.kind) {
    case "nothing":
      return await show({});
    case "mistake":
      return await show({ mistake: query.message, meant: query.meant }, 422);
    case "filters":
      return c.redirect(listOf(house, query.filters), 303);
    case "text": {
      // Links have no page: the audit log says what became of one.
      if (house.audience === "operator" && parsePortalLinkId(query.text) !== undefined) {
        return c.redirect(
          `${house.base}/audit?${new URLSearchParams({ object: query.text })}`,
          303,
        );
      }
      const found = await search(ctx, visit.by, query.text);
      const only = onlyOne(found, house);
      return only === null ? await show({ found }) : c.redirect(only, 303);
    }
  }
}

/** The list of deliveries that these qualifiers narrow. */
function listOf({ base }: House, filters: ReadonlyMap<Qualifier, string>): string {
  return `${base}/deliveries?${new URLSearchParams([...filters])}`;
}

/** The page of what was found, if that is exactly one thing. */
function onlyOne(found: SearchFound, { base }: House): string | null {
  const { events, deliveries, attempt, endpoints, replays } = found;
  const paths = [
    ...events.map(({ id }) => `/events/${id}`),
    ...deliveries.map((id) => `/deliveries/${id}`),
    ...(attempt === null
      ? []
      : [`/deliveries/${attempt.delivery_id}?all#attempt-${attempt.number}`]),
    ...endpoints.map(({ id }) => `/endpoints/${encodeURIComponent(id)}`),
    ...replays.map((id) => `/replays/${id}`),
  ];
  const [path] = paths;
  return paths.length === 1 && path !== undefined && !found.has_more_events ? base + path : null;
}
