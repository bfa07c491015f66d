import { Hono } from "hono";
import type * as shown from "../lib/admin/shown.ts";
import { VERSION } from "../lib/core/version.ts";
import type { Env, RouteContext } from "./context.ts";

/** The public routes `/livez`, `/readyz` and `/ip-ranges`. */
export function healthRoutes(ctx: RouteContext): Hono<Env> {
  return new Hono<Env>()
    .get("/livez", (c) => c.json<shown.Liveness>({ status: "ok", version: VERSION }))
    .get("/readyz", async (c) => {
      const { ready, checks } = await ctx.readiness();
      const status = ready ? "ok" : "unavailable";
      return c.json<shown.Readiness>({ status, checks: { ...checks } }, ready ? 200 : 503);
    })
    .get("/ip-ranges", (c) => {
      const { environment, ip_ranges } = ctx.in_force().config;
      const texts = ip_ranges[environment].map((cidr) => cidr.text);
      return c.json<shown.IpRanges>({ environment, ip_ranges: texts });
    });
}
