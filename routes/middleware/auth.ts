import type { Context, MiddlewareHandler } from "hono";
import { createMiddleware } from "hono/factory";
import { cidrContains } from "../../lib/core/address.ts";
import { AppError } from "../../lib/core/errors.ts";
import { equalInConstantTime } from "../../lib/core/signature.ts";
import type { AdminToken, Config } from "../../lib/config/config.ts";
import { clientAddress } from "./client.ts";
import type { Env, RouteContext } from "../context.ts";
import { makeThrottle } from "./throttle.ts";

/** Wrong tokens that one address may send at once, and the time until it may send one more. */
const WRONG_BURST = 10;
const WRONG_REFILL_MS = 6_000;

/**
 * Demands one of the admin tokens; a viewer's allows reading only. Wrong tokens are throttled by the
 * address they come from, right ones never.
 */
export function requireToken(ctx: RouteContext): MiddlewareHandler<Env> {
  const throttle = makeThrottle(WRONG_BURST, WRONG_REFILL_MS);
  return createMiddleware<Env>(async (c, next) => {
    const sent = /^Bearer +(\S+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
    const { config, tokens } = ctx.in_force();
    const token = sent === undefined ? undefined : findToken(tokens, sent);
    const address = clientAddress(c, config.server.trusted_proxies) ?? null;
    if (token === undefined) {
      if (sent !== undefined) {
        const wait_s = throttle.take(address ?? "unknown");
        if (wait_s > 0) throw tooMany(wait_s);
        ctx.log.warn("Admin token refused", { address });
      }
      throw new AppError(
        "unauthorized",
        "Send an admin token: Authorization: Bearer TOKEN, with a token from admin.tokens",
      );
    }
    if (token.role === "viewer" && c.req.method !== "GET" && c.req.method !== "HEAD") {
      throw new AppError(
        "forbidden",
        `The token ${token.name} has the role viewer, which may only read; this needs a token with ` +
          "the role admin",
      );
    }
    c.set("token", token);
    c.set("address", address);
    await next();
  });
}

function tooMany(wait_s: number): AppError {
  return new AppError(
    "too_many_requests",
    `Too many wrong tokens from this address; wait ${wait_s} s or send a valid one`,
    { retry_after_s: wait_s },
  );
}

/** The configured token that equals the one sent, or undefined. */
export function findToken(tokens: readonly AdminToken[], sent: string): AdminToken | undefined {
  // Compares every token, so that the time does not reveal which came close.
  return tokens.filter(({ token }) => equalInConstantTime(token.reveal(), sent))[0];
}

/**
 * While listening on loopback, refuses requests to a name that is not this machine's: a page in the
 * administrator's browser can make its own name resolve to 127.0.0.1 (DNS rebinding). Requests through
 * a trusted proxy carry the proxy's name and pass.
 */
export function requireOwnHost(ctx: RouteContext): MiddlewareHandler<Env> {
  return createMiddleware<Env>(async (c, next) => {
    if (!isOwnHost(c, ctx.in_force().config)) {
      throw new AppError(
        "forbidden",
        "The Host header is not this machine's. The daemon listens on loopback: use http://localhost " +
          "or http://127.0.0.1, or add your proxy to server.trusted_proxies",
      );
    }
    await next();
  });
}

function isOwnHost(c: Context<Env>, { server }: Config): boolean {
  const { host } = server.listen;
  if (!isLoopback(host)) return true;
  const peer = c.env.incoming.socket.remoteAddress ?? "";
  if (server.trusted_proxies.some((cidr) => cidrContains(cidr, peer))) return true;
  const name = /^(.*?)(:\d*)?$/.exec(c.req.header("host")?.toLowerCase() ?? "")?.[1] ?? "";
  return [host.toLowerCase(), `[${host.toLowerCase()}]`, "localhost", "127.0.0.1", "[::1]"]
    .includes(name);
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\./.test(host);
}
