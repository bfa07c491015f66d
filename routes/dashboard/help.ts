import { Hono } from "hono";
import type { RouteContext } from "../context.ts";
import { page } from "./layout.tsx";
import { HelpPage } from "./pages/help.tsx";
import type { House, PageEnv } from "./visit.ts";

/** Help for the developers of receivers: `/help`. */
export function helpPages(ctx: RouteContext, _house: House): Hono<PageEnv> {
  return new Hono<PageEnv>().get("/help", async (c) => {
    const visit = c.get("visit");
    const { environment, ip_ranges } = ctx.in_force().config;
    const { timeout_ms, retry_ms, retention } = ctx.policy();
    return await page(
      c,
      visit,
      { title: "Help", nav: "help" },
      HelpPage({
        visit,
        ip_ranges: ip_ranges[environment].map((cidr) => cidr.text),
        timeout_ms,
        retry_ms,
        kept_ms: retention.events_ms,
      }),
    );
  });
}
