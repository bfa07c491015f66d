import type { MiddlewareHandler } from "hono";
import { createMiddleware } from "hono/factory";
import { AppError } from "../lib/core/errors.ts";
import { equalInConstantTime } from "../lib/core/signature.ts";
import type { AdminToken } from "../lib/config/config.ts";
import type { Env, RouteContext } from "./context.ts";

/** Lets through who shows one of the admin tokens; a viewer's only where nothing is changed. */
export function requireToken(ctx: RouteContext): MiddlewareHandler<Env> {
  return createMiddleware<Env>(async (c, next) => {
    const shown = /^Bearer +(\S+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
    const token = shown === undefined ? undefined : findToken(ctx.tokens(), shown);
    if (token === undefined) {
      throw new AppError(
        "unauthorized",
        "An admin token is needed: Authorization: Bearer TOKEN, with a token of admin.tokens",
      );
    }
    if (token.role === "viewer" && c.req.method !== "GET" && c.req.method !== "HEAD") {
      throw new AppError("forbidden", `The token ${token.name} may only read; use an admin's`);
    }
    c.set("token", token);
    await next();
  });
}

// Every token is compared, so that the time does not tell which came close.
function findToken(tokens: readonly AdminToken[], shown: string): AdminToken | undefined {
  return tokens.filter(({ token }) => equalInConstantTime(token.reveal(), shown))[0];
}
