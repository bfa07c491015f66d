import type { Context } from "hono";
import { HTTP_STATUS } from "../../lib/core/errors.ts";
import { titleOf } from "../../lib/core/problem.ts";
import type { RouteContext } from "../context.ts";
import { explained, INTERNAL_ERROR } from "../middleware/problem.ts";
import { barePage, page, type PageStatus } from "./layout.tsx";
import { pathAndQuery } from "./session.ts";
import { lastKnown } from "./last_known.ts";
import { AwayPage } from "./pages/away.tsx";
import { ErrorPage } from "./pages/error.tsx";
import { DASHBOARD, type House, type PageEnv, PORTAL, type Visit } from "./visit.ts";

/** The house that a path belongs to; undefined outside of both. */
export function houseOf(path: string): House | undefined {
  return [DASHBOARD, PORTAL].find(({ base }) => path === base || path.startsWith(`${base}/`));
}

/** The page for anything thrown. Bugs are logged and shown without detail, outages with the reason. */
export async function errorPage(
  c: Context<PageEnv>,
  ctx: RouteContext,
  house: House,
  error: unknown,
): Promise<Response> {
  const known = explained(error, ctx);
  const { retry_after_s, allow } = known?.detail ?? {};
  if (retry_after_s !== undefined) c.header("Retry-After", String(retry_after_s));
  if (allow !== undefined) c.header("Allow", allow.join(", "));
  const status = known === null ? 500 : HTTP_STATUS[known.code] as PageStatus;
  const title = titleOf(status);
  const visit = c.get("visit") as Visit | undefined;
  const is_away = known !== null && known !== error;
  const body = is_away
    ? (
      <AwayPage
        house={house}
        here={c.req.method === "GET" ? pathAndQuery(c) : house.base}
        silent_ms={ctx.db.silent_ms()}
        now={ctx.now()}
        known={visit && lastKnown(ctx, visit)}
      />
    )
    : (
      <ErrorPage
        house={house}
        status={status}
        detail={known?.message ?? INTERNAL_ERROR}
        is_inside={visit !== undefined}
      />
    );
  return visit === undefined
    ? await barePage(c, { title, status }, body)
    : await page(c, visit, { title, nav: null, status }, body);
}
