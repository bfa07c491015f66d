import { Hono } from "hono";
import type { RouteContext } from "../context.ts";
import { page } from "./layout.tsx";
import { AlertsPage } from "./pages/alerts.tsx";
import type { House, PageEnv } from "./visit.ts";

/** The place of alerts, which operators get; nothing announces any yet. */
export function alertPages(_ctx: RouteContext, { audience }: House): Hono<PageEnv> {
  const app = new Hono<PageEnv>();
  if (audience === "business") return app;
  return app.get("/alerts", (c) => {
    const visit = c.get("visit");
    return page(c, visit, { title: "Alerts", nav: "alerts" }, AlertsPage());
  });
}
