import { Hono } from "hono";
import { VERSION } from "../lib/core/version.ts";
import type { Env, RouteContext } from "./context.ts";

/** The public routes `/livez`, `/readyz` and `/ip-ranges`. */
export function healthRoutes(ctx: RouteContext): Hono<Env> {
  return new Hono<Env>()
    .get("/livez", (c) => c.json({ status: "ok", version: VERSION }))
    .get("/readyz", async (c) => {
      const { ready, checks } = await ctx.readiness();
      return c.json({ status: ready ? "ok" : "unavailable", checks }, ready ? 200 : 503);
    })
    .get("/ip-ranges", (c) => {
      const { environment, ip_ranges } = ctx.in_force().config;
      const texts = ip_ranges[environment].map((cidr) => cidr.text);
      return c.json({ environment, ip_ranges: texts });
    });
}
