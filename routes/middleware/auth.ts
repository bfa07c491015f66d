import { isDeepStrictEqual } from "node:util";
import type { MiddlewareHandler } from "hono";
import { createMiddleware } from "hono/factory";
import type { Asker } from "../../lib/admin/context.ts";
import { findPortalAsker } from "../../lib/admin/portal_links.ts";
import { AppError } from "../../lib/core/errors.ts";
import { isPortalToken } from "../../lib/core/portal.ts";
import { equalInConstantTime } from "../../lib/core/signature.ts";
import { makeThrottle } from "../../lib/core/throttle.ts";
import type { AdminToken } from "../../lib/config/config.ts";
import type { Log } from "../../lib/observe/log.ts";
import { clientAddress, networkOf } from "./client.ts";
import type { Env, RouteContext } from "../context.ts";
import { noSuchRoute } from "./problem.ts";

/** Wrong tokens that one address may send at once, and the time until it may send one more. */
const WRONG_BURST = 10;
const WRONG_REFILL_MS = 6_000;

/**
 * Demands a token: one of the admin API, or that of a portal link, which reaches only the paths of
 * `portal_paths`. Wrong tokens are throttled by the address they come from, right ones never.
 */
export function requireToken(
  ctx: RouteContext,
  portal_paths: readonly RegExp[],
): MiddlewareHandler<Env> {
  const wrong = makeWrongTokens(ctx.log);
  return createMiddleware<Env>(async (c, next) => {
    const sent = /^Bearer +(\S+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
    const address = clientAddress(c.env.incoming, ctx.in_force().config.server.trusted_proxies) ??
      null;
    const found = sent === undefined ? undefined : await findRights(ctx, sent, address);
    if (sent === undefined || found === undefined) {
      if (sent !== undefined) wrong.note(address);
      throw unauthorized(sent);
    }
    const { by, reads_only } = found;
    if (by.scope !== "everything" && !portal_paths.some((path) => path.test(c.req.path))) {
      throw noSuchRoute(c);
    }
    if (reads_only !== null && c.req.method !== "GET" && c.req.method !== "HEAD") {
      throw new AppError("forbidden", reads_only);
    }
    const isGood = async () => isDeepStrictEqual(await findRights(ctx, sent, address), found);
    c.set("bearer", { by, reads_only, isGood });
    await next();
  });
}

/** Watches for guesses. */
export interface WrongTokens {
  /** Logs a wrong token. Throws an `AppError` if too many came from this address; null if it is unknown. */
  note(address: string | null): void;
}

/** Throttles wrong tokens by the address they come from. */
export function makeWrongTokens(log: Log): WrongTokens {
  const throttle = makeThrottle(WRONG_BURST, WRONG_REFILL_MS, () => performance.now());
  return {
    note(address) {
      const wait_s = throttle.take(address === null ? "unknown" : networkOf(address));
      if (wait_s > 0) throw tooMany(wait_s);
      log.warn("Token refused", { address });
    },
  };
}

/** What a token allows. */
interface Rights {
  readonly by: Asker;
  /** Why it may only read, in words; null if it may write. */
  readonly reads_only: string | null;
}

async function findRights(
  ctx: RouteContext,
  sent: string,
  address: string | null,
): Promise<Rights | undefined> {
  const token = findToken(ctx.in_force().tokens, sent);
  if (token !== undefined) {
    const { name, role, payloads } = token;
    return {
      by: { actor: { name, address }, scope: "everything", payloads },
      reads_only: role === "admin"
        ? null
        : `The token ${name} has the role viewer, which may only ` +
          "read; this needs a token with the role admin",
    };
  }
  const found = await findPortalAsker(ctx, sent, address);
  return found === undefined ? undefined : {
    by: found.by,
    reads_only: found.read_only
      ? "The portal link may only read; ask for one that may write"
      : null,
  };
}

function unauthorized(sent: string | undefined): AppError {
  return new AppError(
    "unauthorized",
    sent !== undefined && isPortalToken(sent)
      ? "The portal link has expired, was revoked, or never was; ask for a new one"
      : "Send a token: Authorization: Bearer TOKEN, with a token of admin.tokens or of a portal link",
  );
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
