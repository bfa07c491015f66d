import type { House } from "./visit.ts";

/**
 * Where somebody goes after signing in: the path and query that `next` names, if it is a page of the house, else
 * the house's first page. Never to another host, and not to another part of this one.
 */
export function nextPath(house: House, next: string | undefined): string {
  const { base } = house;
  // Whatever a browser would read as a host, or drop: it is no page of this program.
  // deno-lint-ignore no-control-regex
  if (next === undefined || !/^\/[^/\\]/.test(next) || /[\\\x00-\x20\x7f]/.test(next)) return base;
  const url = URL.parse(next, "http://house.invalid");
  if (url === null || url.origin !== "http://house.invalid") return base;
  const { pathname, search } = url;
  if (pathname !== base && !pathname.startsWith(`${base}/`)) return base;
  const rest = pathname.slice(base.length);
  // An encoded slash or dot could be decoded on the way.
  if (/%(?:2e|2f|5c|25|0[0-9a-f]|1[0-9a-f])/i.test(rest) || rest.includes("//")) return base;
  return /^\/(?:login|logout|stream|open)(?:\/|$)/.test(rest) ? base : pathname + search;
}
