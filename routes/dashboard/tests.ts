import { Hono } from "hono";
import type { RouteContext } from "../context.ts";
import type { House, PageEnv } from "./visit.ts";

/** None yet. */
export function testPages(_ctx: RouteContext, _house: House): Hono<PageEnv> {
  return new Hono<PageEnv>();
}
