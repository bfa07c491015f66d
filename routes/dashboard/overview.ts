import { Hono } from "hono";
import type { RouteContext } from "../context.ts";
import { page } from "./layout.tsx";
import { OverviewPage } from "./pages/overview.tsx";
import type { House, PageEnv } from "./visit.ts";

/** The first page of a house. */
export function overviewPages(_ctx: RouteContext, _house: House): Hono<PageEnv> {
  return new Hono<PageEnv>()
    .get(
      "/",
      (c) => page(c, c.get("visit"), { title: "Overview", nav: "overview" }, OverviewPage()),
    );
}
