import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { createMiddleware } from "hono/factory";
import type { PageEnv } from "./visit.ts";

/** `style=""` and inline scripts are blocked by it; what it lists is all that a page may do. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types bookme",
].join("; ");

const HEADERS: Readonly<Record<string, string>> = {
  "Content-Security-Policy": POLICY,
  "Cache-Control": "no-store",
  // With no-referrer, browsers would send forms with `Origin: null`.
  "Referrer-Policy": "same-origin",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
};

const squeeze = promisify(gzip);

/**
 * Sets the headers of pages, and compresses them. Compression could reveal a secret next to text that somebody
 * else chose (BREACH): tokens of forms are masked differently in each page, and cookies are SameSite=Strict, so that
 * nobody else's request gets a page at all.
 */
export const pageHeaders = createMiddleware<PageEnv>(async (c, next) => {
  const { outgoing } = c.env;
  for (const [name, value] of Object.entries(HEADERS)) outgoing.setHeader(name, value);
  await next();
  const { headers } = c.res;
  if (!(headers.get("content-type") ?? "").startsWith("text/html")) return;
  headers.append("Vary", "Accept-Encoding");
  if (!acceptsGzip(c.req.header("accept-encoding"))) return;
  const page = new Uint8Array(await c.res.arrayBuffer());
  const init = { status: c.res.status, headers: new Headers(headers) };
  init.headers.set("Content-Encoding", "gzip");
  init.headers.delete("Content-Length");
  // So that hono does not merge the headers of both.
  c.res = undefined;
  c.res = new Response(new Uint8Array(await squeeze(page)), init);
});

/** Whether a value of Accept-Encoding allows gzip. */
export function acceptsGzip(value: string | undefined): boolean {
  return (value ?? "").split(",").some((part) => {
    const [coding, ...parameters] = part.split(";").map((text) => text.trim().toLowerCase());
    return coding === "gzip" && !parameters.some((text) => /^q=0(\.0*)?$/.test(text));
  });
}
