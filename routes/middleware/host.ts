import type { Context, MiddlewareHandler } from "hono";
import { createMiddleware } from "hono/factory";
import { cidrContains } from "../../lib/core/address.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { InForce } from "../../lib/in_force.ts";
import type { Env, RouteContext } from "../context.ts";

/**
 * Refuses requests to a host that is not this program's (see `InForce.hosts`). Unless `server.public_url`
 * says what a trusted proxy is called, requests through one pass.
 */
export function requireKnownHost(ctx: RouteContext): MiddlewareHandler<Env> {
  return createMiddleware<Env>(async (c, next) => {
    const in_force = ctx.in_force();
    if (!isKnownHost(c, in_force)) {
      throw new AppError(
        "misdirected",
        in_force.config.server.public_url === null
          ? "The Host header is not this machine's. The daemon listens on loopback: use " +
            `${in_force.scheme}://localhost or 127.0.0.1, set server.public_url, or add your proxy to ` +
            "server.trusted_proxies"
          : "The Host header is neither that of server.public_url nor an address that the daemon " +
            "listens on; a proxy in front has to pass on the Host header that it gets",
      );
    }
    await next();
  });
}

function isKnownHost(c: Context<Env>, { hosts, config: { server } }: InForce): boolean {
  if (hosts === null) return true;
  const name = /^(.*?)(:\d*)?$/.exec(c.req.header("host")?.toLowerCase() ?? "")?.[1] ?? "";
  if (hosts.has(name)) return true;
  const peer = c.env.incoming.socket.remoteAddress ?? "";
  return server.public_url === null &&
    server.trusted_proxies.some((cidr) => cidrContains(cidr, peer));
}
