import { type Context, Hono } from "hono";
import { getCookie } from "hono/cookie";
import { endSession, openSession } from "../../lib/admin/sessions.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { RouteContext } from "../context.ts";
import { findToken, makeWrongTokens } from "../middleware/auth.ts";
import { barePage, type PageStatus } from "./layout.tsx";
import { nextPath } from "./next.ts";
import { LoginPage } from "./pages/login.tsx";
import {
  addressOf,
  giveCookie,
  readFields,
  requireDoor,
  requireOrigin,
  signedIn,
  takeCookie,
} from "./session.ts";
import { DASHBOARD, type House, type PageEnv } from "./visit.ts";

/** The page to sign in at, with the reason why it is shown. */
export async function loginPage(
  c: Context<PageEnv>,
  ctx: RouteContext,
  next: string,
  status: PageStatus = 200,
  error: string | null = null,
): Promise<Response> {
  requireDoor(c, ctx, DASHBOARD);
  const { environment } = ctx.in_force().config;
  return await barePage(
    c,
    { title: "Sign in", status },
    <LoginPage environment={environment} next={next} error={error} />,
  );
}

/** No sign-in needs more. */
const MAX_LOGIN_BYTES = 16 * 1024;

/** Signing in as an operator. Wrong tokens are throttled by the address they come from, right ones never. */
export function loginRoutes(ctx: RouteContext): Hono<PageEnv> {
  const wrong = makeWrongTokens(ctx.log);
  return new Hono<PageEnv>()
    .get("/login", async (c) => {
      const next = nextPath(DASHBOARD, c.req.query("next"));
      return await signedIn(c, ctx, DASHBOARD) === undefined
        ? await loginPage(c, ctx, next)
        : c.redirect(next, 303);
    })
    .post("/login", async (c) => {
      const door = requireDoor(c, ctx, DASHBOARD);
      requireOrigin(c, door);
      const fields = await readFields(c, MAX_LOGIN_BYTES);
      const next = nextPath(DASHBOARD, fields.get("next") ?? undefined);
      const sent = fields.get("token")?.trim() ?? "";
      const token = findToken(ctx.in_force().tokens, sent);
      const address = addressOf(c, ctx);
      if (token === undefined) {
        if (sent === "") return await loginPage(c, ctx, next, 422, "Enter a token");
        return await refuse(c, next, address);
      }
      // A session never goes on under another cookie's name.
      await endSession(ctx, getCookie(c, door.cookie) ?? "");
      giveCookie(c, door, await openSession(ctx, token));
      ctx.log.info("Signed in", { token: token.name, address });
      return c.redirect(next, 303);
    });

  async function refuse(c: Context<PageEnv>, next: string, address: string | null) {
    try {
      wrong.note(address);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      c.header("Retry-After", String(error.detail.retry_after_s));
      return await loginPage(c, ctx, next, 429, error.message);
    }
    return await loginPage(c, ctx, next, 403, "This is none of the configured tokens");
  }
}

/** Signing out. */
export function logoutRoutes(ctx: RouteContext, house: House): Hono<PageEnv> {
  return new Hono<PageEnv>().post("/logout", async (c) => {
    await endSession(ctx, c.get("cookie"));
    takeCookie(c, requireDoor(c, ctx, house));
    return c.redirect(house.audience === "operator" ? `${house.base}/login` : house.base, 303);
  });
}
