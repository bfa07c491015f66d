import { isDeepStrictEqual } from "node:util";
import { createHmac, randomBytes } from "node:crypto";
import { Buffer } from "node:buffer";
import type { Context, MiddlewareHandler } from "hono";
import { createMiddleware } from "hono/factory";
import { getCookie, setCookie } from "hono/cookie";
import { findSession, recallSession, type Session, SESSION_MS } from "../../lib/admin/sessions.ts";
import { isLoopback } from "../../lib/core/address.ts";
import { AppError } from "../../lib/core/errors.ts";
import { equalInConstantTime } from "../../lib/core/signature.ts";
import { openAlerts } from "../../lib/admin/alerts.ts";
import type { RouteContext } from "../context.ts";
import { readBody } from "../middleware/body.ts";
import { clientAddress } from "../middleware/client.ts";
import { makeForm } from "./forms.ts";
import type { House, PageEnv, Visit } from "./visit.ts";

/** How visitors of a house come in: by a cookie of this name, with forms from this origin. */
export interface Door {
  readonly cookie: string;
  /** Whether the cookie is for https only. */
  readonly is_secure: boolean;
  readonly origin: string;
}

/**
 * The way in: over https if `server.public_url` says so or the listener speaks TLS, else over plain http on this
 * machine. Without `public_url` the cookie is named by its port, because browsers share cookies among ports. Null for
 * any other way, on which everybody could read along.
 */
export function doorOf(c: Context<PageEnv>, ctx: RouteContext, house: House): Door | null {
  const { config: { server: { public_url } }, scheme } = ctx.in_force();
  const name = house.audience === "operator" ? "bookme" : "bookme_portal";
  if (public_url?.startsWith("https:")) {
    return { cookie: `__Host-${name}`, is_secure: true, origin: new URL(public_url).origin };
  }
  const here = URL.parse(`${scheme}://${c.req.header("host") ?? ""}`);
  if (here === null) return null;
  // The browser has checked that the certificate is for this host.
  if (scheme === "https") {
    const cookie = `__Host-${name}_${here.port || 443}`;
    return { cookie, is_secure: true, origin: here.origin };
  }
  // Behind a proxy the client is elsewhere, whatever the peer's address.
  if (PROXIED.some((name) => c.req.header(name) !== undefined)) return null;
  const peer = (c.env.incoming.socket.remoteAddress ?? "").replace(/^::ffff:/, "");
  if (!isLoopback(peer) || !isLoopback(here.hostname.replace(/^\[|\]$/g, ""))) return null;
  return { cookie: `${name}_${here.port || 80}`, is_secure: false, origin: here.origin };
}

const PROXIED = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/** The door, or an `AppError` with the remedy. */
export function requireDoor(c: Context<PageEnv>, ctx: RouteContext, house: House): Door {
  const door = doorOf(c, ctx, house);
  if (door !== null) return door;
  throw new AppError(
    "forbidden",
    "Signing in needs TLS: set server.tls, or put a TLS proxy in front and set server.public_url to its https " +
      "address, or open this page on the daemon's own machine as http://localhost",
  );
}

/** Gives a visitor the cookie of a new session. */
export function giveCookie(c: Context<PageEnv>, door: Door, value: string): void {
  setCookie(c, door.cookie, value, cookieOptions(door, SESSION_MS / 1000));
}

/** Takes the cookie of a session away. */
export function takeCookie(c: Context<PageEnv>, door: Door): void {
  setCookie(c, door.cookie, "", cookieOptions(door, 0));
}

function cookieOptions({ is_secure }: Door, max_age_s: number) {
  return {
    httpOnly: true,
    sameSite: "Strict",
    secure: is_secure,
    path: "/",
    maxAge: max_age_s,
  } as const;
}

/** A session and its cookie. */
export interface SignedIn {
  readonly cookie: string;
  readonly session: Session;
}

/** The session that a request is part of; undefined for none. */
export async function signedIn(
  c: Context<PageEnv>,
  ctx: RouteContext,
  house: House,
): Promise<SignedIn | undefined> {
  const cookie = cookieOf(c, ctx, house);
  if (cookie === undefined) return undefined;
  const session = await findSession(ctx, house.audience, cookie, addressOf(c, ctx));
  return session === undefined ? undefined : { cookie, session };
}

function cookieOf(c: Context<PageEnv>, ctx: RouteContext, house: House): string | undefined {
  const door = doorOf(c, ctx, house);
  return door === null ? undefined : getCookie(c, door.cookie);
}

/** The visitor's address, or null if it is unknown. */
export function addressOf(c: Context<PageEnv>, ctx: RouteContext): string | null {
  return clientAddress(c.env.incoming, ctx.in_force().config.server.trusted_proxies) ?? null;
}

/** Whether a session still allows the same, for what goes on for long. */
export function isStillGood(c: Context<PageEnv>, ctx: RouteContext, house: House) {
  const { by } = c.get("visit");
  return async () => isDeepStrictEqual((await signedIn(c, ctx, house))?.session.by, by);
}

/** The page that was asked for. */
export function pathAndQuery(c: Context<PageEnv>): string {
  const { pathname, search } = new URL(c.req.url);
  return pathname + search;
}

/** Makes the visit of a request by somebody who is signed in. */
export function visitOf(
  c: Context<PageEnv>,
  ctx: RouteContext,
  house: House,
  { cookie, session }: SignedIn,
): Visit {
  const { by, name, may_write, link_ends_at } = session;
  return {
    house,
    by,
    name,
    may_write,
    link_ends_at,
    csrf: maskedToken(cookie),
    here: pathAndQuery(c),
    now: ctx.now(),
    environment: ctx.in_force().config.environment,
  };
}

// --- forms come from our own pages ---------------------------------------------------------------------

/**
 * Refuses posts that do not come from a page of this origin. Browsers name the origin with each post; whatever
 * does not is none.
 */
export function requireOrigin(c: Context<PageEnv>, { origin }: Door): void {
  const sent = c.req.header("origin");
  if (sent === origin) return;
  throw new AppError(
    "forbidden",
    sent === undefined || sent === "null"
      ? "The request does not say that it comes from a page of this program; nothing was done. Open the page " +
        "again and send the form from there"
      : `The form was sent from another address than ${origin}; nothing was done. Open ${origin} and send the ` +
        "form from there, or set server.public_url to the address that the pages have",
  );
}

/** Reads a post with the fields of a form, of at most `max` bytes. Throws an `AppError` for any other. */
export async function readFields(c: Context<PageEnv>, max?: number): Promise<URLSearchParams> {
  const bytes = await readBody(c.env.incoming, max);
  const type = c.req.header("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/x-www-form-urlencoded") {
    throw new AppError("unsupported_media_type", "Only forms of these pages are accepted");
  }
  return new URLSearchParams(Buffer.from(bytes).toString("utf8"));
}

const MAC_BYTES = 32;

function tokenOf(cookie: string): Buffer {
  return createHmac("sha256", cookie).update("csrf").digest();
}

/** The session's token for forms, under a mask of its own each time: compressed pages do not reveal it. */
function maskedToken(cookie: string): string {
  const mask = randomBytes(MAC_BYTES);
  return Buffer.concat([mask, xor(mask, tokenOf(cookie))]).toString("base64url");
}

/** Whether a form's token is that of the session. */
function isTokenOf(cookie: string, sent: string): boolean {
  const bytes = Buffer.from(sent, "base64url");
  if (bytes.length !== 2 * MAC_BYTES) return false;
  const token = xor(bytes.subarray(0, MAC_BYTES), bytes.subarray(MAC_BYTES));
  return equalInConstantTime(token.toString("hex"), tokenOf(cookie).toString("hex"));
}

function xor(a: Uint8Array, b: Uint8Array): Buffer {
  return Buffer.from(a.map((byte, at) => byte ^ (b[at] ?? 0)));
}

/** For the page that says that the database is away. */
function recallVisit(c: Context<PageEnv>, ctx: RouteContext, house: House): void {
  const cookie = cookieOf(c, ctx, house);
  const session = cookie && recallSession(ctx, house.audience, cookie, addressOf(c, ctx));
  if (cookie && session) c.set("visit", visitOf(c, ctx, house, { cookie, session }));
}

/**
 * Whether a link on another site led here: browsers then leave out cookies that are SameSite=Strict, so nobody
 * knows yet who it is.
 */
function cameFromElsewhere(c: Context<PageEnv>, ctx: RouteContext, house: House): boolean {
  return c.req.header("sec-fetch-site") === "cross-site" &&
    c.req.header("sec-fetch-mode") === "navigate" && cookieOf(c, ctx, house) === undefined;
}

/** Leads somebody who is not signed in to where that is done. */
export interface Outside {
  /** A page was asked for from another site: it is to be asked for again, from here. */
  arrived(c: Context<PageEnv>): Response | Promise<Response>;
  /** A page was asked for. */
  asked(c: Context<PageEnv>): Response | Promise<Response>;
  /** A form was sent: nothing of it was done. */
  sent(c: Context<PageEnv>): Response | Promise<Response>;
}

/** Lets only those in who are signed in, and of what they post only forms of their own session. */
export function requireVisit(
  ctx: RouteContext,
  house: House,
  outside: Outside,
): MiddlewareHandler<PageEnv> {
  return createMiddleware<PageEnv>(async (c, next) => {
    const is_read = c.req.method === "GET" || c.req.method === "HEAD";
    const signed_in = await signedIn(c, ctx, house).catch((error) => {
      recallVisit(c, ctx, house);
      throw error;
    });
    if (signed_in === undefined) {
      if (!is_read) return await outside.sent(c);
      return cameFromElsewhere(c, ctx, house) ? await outside.arrived(c) : await outside.asked(c);
    }
    c.set("visit", visitOf(c, ctx, house, signed_in));
    c.set("cookie", signed_in.cookie);
    if (!is_read) await checkForm(c, ctx, house, signed_in.cookie);
    if (is_read && c.req.path !== `${house.base}/stream`) {
      // While the page reads what it is about. A page without it is better than none.
      c.set(
        "alerts",
        openAlerts(ctx, signed_in.session.by).catch((error) => {
          ctx.log.warn("Open alerts could not be read", { error });
          return null;
        }),
      );
    }
    await next();
  });
}

async function checkForm(
  c: Context<PageEnv>,
  ctx: RouteContext,
  house: House,
  cookie: string,
): Promise<void> {
  requireOrigin(c, requireDoor(c, ctx, house));
  const form = makeForm(await readFields(c));
  if (!isTokenOf(cookie, form.text("csrf"))) {
    throw new AppError(
      "forbidden",
      "The form belongs to a session that has ended; nothing was done. Open the page again and send the form " +
        "from there",
    );
  }
  const { may_write, name } = c.get("visit");
  if (!may_write && c.req.path !== `${house.base}/logout`) {
    throw new AppError(
      "forbidden",
      house.audience === "operator"
        ? `The token ${name} has the role viewer, which may only read; nothing was done`
        : "This link may only read; nothing was done. Ask for one that may write",
    );
  }
  c.set("form", form);
}
