import { createHash, createHmac, randomBytes } from "node:crypto";
import type { AdminToken } from "../config/config.ts";
import { isPortalToken } from "../core/portal.ts";
import { PORTAL_ACTOR } from "../core/scope.ts";
import { equalInConstantTime } from "../core/signature.ts";
import * as store from "../store/sessions.ts";
import type { AdminContext, Asker } from "./context.ts";

/** Longest life of a session, whatever happens in it. That of a portal session ends with its link. */
export const SESSION_MS = 12 * 3_600_000;

/** Somebody who is signed in. */
export interface Session {
  readonly by: Asker;
  /** Name of the admin token, or id of the business. */
  readonly name: string;
  readonly may_write: boolean;
  /** When the portal link ends, in ISO 8601; null for an operator. */
  readonly link_ends_at: string | null;
}

/** Signs an operator in. Returns the value of a new cookie. */
export async function openSession(ctx: AdminContext, { token }: AdminToken): Promise<string> {
  const cookie = newCookie();
  await store.createTokenSession(ctx.db.admin, {
    digest: digestOf(cookie),
    token_proof: proofOf(cookie, token.reveal()),
    life_ms: SESSION_MS,
  });
  return cookie;
}

/** Signs a business in by the token of its link. Returns the value of a new cookie; undefined if it ended. */
export async function openPortalSession(
  ctx: AdminContext,
  token: string,
): Promise<{ readonly cookie: string; readonly link: string } | undefined> {
  if (!isPortalToken(token)) return undefined;
  const cookie = newCookie();
  const link = await store.createLinkSession(ctx.db.admin, {
    digest: digestOf(cookie),
    link_digest: digestOf(token),
    life_ms: SESSION_MS,
  });
  return link === undefined ? undefined : { cookie, link };
}

/**
 * The session of this cookie, looked up each time: it ends with its admin token or its portal
 * link, from the next request on, and follows a changed role at once.
 */
export async function findSession(
  ctx: AdminContext,
  audience: "operator" | "business",
  cookie: string,
  address: string | null,
): Promise<Session | undefined> {
  if (!COOKIE.test(cookie)) return undefined;
  const digest = digestOf(cookie);
  const row = await store.findSession(ctx.db.admin, digest);
  remember(ctx, digest, row);
  return row === undefined ? undefined : sessionOf(ctx, audience, cookie, row, address);
}

/**
 * The same by what this process remembers, for while the database is away: it lets in to the page that says so
 * and the last known numbers, not to more. It does not know of sessions and links that another daemon ended.
 */
export function recallSession(
  ctx: AdminContext,
  audience: "operator" | "business",
  cookie: string,
  address: string | null,
): Session | undefined {
  const row = remembered.get(ctx.db)?.get(digestOf(cookie));
  if (row === undefined) return undefined;
  const is_over = (at: string | undefined) => at !== undefined && Date.parse(at) <= ctx.now();
  if (is_over(row.expires_at) || is_over(row.link?.expires_at)) return undefined;
  return sessionOf(ctx, audience, cookie, row, address);
}

/** Most sessions that a process remembers. */
const MAX_REMEMBERED = 1_000;
const remembered = new WeakMap<object, Map<string, store.SessionRow>>();

function remember(ctx: AdminContext, digest: string, row: store.SessionRow | undefined): void {
  const rows = remembered.get(ctx.db) ?? new Map<string, store.SessionRow>();
  remembered.set(ctx.db, rows);
  rows.delete(digest);
  if (row !== undefined) rows.set(digest, row);
  if (rows.size > MAX_REMEMBERED) rows.delete(rows.keys().next().value ?? "");
}

function sessionOf(
  ctx: AdminContext,
  audience: "operator" | "business",
  cookie: string,
  { token_proof, link }: store.SessionRow,
  address: string | null,
): Session | undefined {
  return audience === "operator"
    ? operatorSession(ctx, cookie, token_proof, address)
    : linkSession(link, address);
}

function operatorSession(
  ctx: AdminContext,
  cookie: string,
  proof: string | null,
  address: string | null,
): Session | undefined {
  if (proof === null) return undefined;
  const found = ctx.in_force().tokens
    .filter(({ token }) => equalInConstantTime(proofOf(cookie, token.reveal()), proof))[0];
  if (found === undefined) return undefined;
  const { name, role, payloads } = found;
  return {
    by: { actor: { name, address }, scope: "everything", payloads },
    name,
    may_write: role === "admin",
    link_ends_at: null,
  };
}

function linkSession(link: store.SessionRow["link"], address: string | null): Session | undefined {
  if (link === null) return undefined;
  const { id, business, read_only, expires_at } = link;
  return {
    by: {
      actor: { name: PORTAL_ACTOR + id, address },
      scope: { business },
      payloads: true,
    },
    name: business,
    may_write: !read_only,
    link_ends_at: new Date(expires_at).toISOString(),
  };
}

/** Ends the session of a cookie. */
export async function endSession(ctx: AdminContext, cookie: string): Promise<void> {
  if (!COOKIE.test(cookie)) return;
  const digest = digestOf(cookie);
  remember(ctx, digest, undefined);
  await store.deleteSession(ctx.db.admin, digest);
}

const COOKIE = /^[\w-]{43}$/;

function newCookie(): string {
  return randomBytes(32).toString("base64url");
}

/** SHA-256 in hexadecimal digits, as the database knows cookies and tokens. */
export function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

// Under the cookie, which the database does not have: nobody who reads the table can try tokens on it.
function proofOf(cookie: string, token: string): string {
  return createHmac("sha256", cookie).update(`token:${token}`).digest("hex");
}
