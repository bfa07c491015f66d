import type * as shown from "../lib/admin/shown.ts";
import type { Answer } from "../lib/core/problem.ts";
import { VERSION } from "../lib/core/version.ts";
import type { RouteContext } from "./context.ts";
import { type Handler, makeHandler } from "./handler.ts";

/** The public routes `GET /livez` and `GET /readyz`. */
export interface Health {
  readonly livez: Handler;
  readonly readyz: Handler;
}

/** The handlers of a daemon's health. */
export function makeHealth(ctx: RouteContext): Health {
  return {
    livez: makeHandler(ctx, () => {
      return Promise.resolve(json<shown.Liveness>(200, { status: "ok", version: VERSION }));
    }),
    readyz: makeHandler(ctx, async () => {
      const { ready, checks } = await ctx.readiness();
      const status = ready ? "ok" : "unavailable";
      return json<shown.Readiness>(ready ? 200 : 503, { status, checks: { ...checks } });
    }),
  };
}

function json<T>(status: number, value: T): Answer {
  return {
    status,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(value),
  };
}
