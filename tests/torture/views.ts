import { sleep } from "../support/wait.ts";
import { type Arena, TOKEN } from "./arena.ts";
import { originOf } from "./client.ts";
import type { Daemon } from "./daemons.ts";
import type { View } from "./ledger.ts";
import { ask, makeBrowser } from "./watch/browser.ts";

const LISTS = [
  "/api/endpoints",
  "/api/events?limit=200",
  "/api/deliveries?limit=200",
  "/api/deliveries?status=failed&limit=200",
  "/api/stats?window=1h",
  "/api/alerts",
  "/api/audit",
  "/api/daemons",
];
const PAGES = [
  "/dashboard",
  "/dashboard/endpoints",
  "/dashboard/deliveries",
  "/dashboard/deliveries?status=failed",
  "/dashboard/alerts",
];
/** Deliveries whose own pages are looked at. */
const DELIVERIES = 3;
/** What daemons remember for a while, they have read again by then. */
const PATIENCE_MS = 20_000;

/** What each daemon shows when nothing changes any more; asked again until it is the same. */
export async function readViews(arena: Arena): Promise<View[]> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const origins = arena.daemons.map(originOf);
    const views = await Promise.all(arena.daemons.map((daemon) => readOne(daemon, origins)));
    const all = views.flat();
    const differing = new Set(all.map(({ path, text }) => `${path} ${text}`)).size;
    if (differing === views[0]?.length || performance.now() > end) return all;
    await sleep(500);
  }
}

async function readOne(daemon: Daemon, origins: readonly string[]): Promise<View[]> {
  const origin = originOf(daemon);
  const browser = makeBrowser();
  await browser.post(`${origin}/dashboard/login`, { token: TOKEN });
  const views: View[] = [];
  const add = (path: string, text: string) =>
    views.push({ daemon: daemon.name, path, text: common(text, origins) });
  const headers = { authorization: `Bearer ${TOKEN}` };
  const list = async (path: string) => (await ask(origin + path, { headers })).text;
  for (const path of LISTS) add(path, await list(path));
  const latest = JSON.parse(await list(`/api/deliveries?limit=${DELIVERIES}`));
  // Of an answer that is no list, the text alone is compared.
  const data: { id: string }[] = latest.data ?? [];
  const pages = [...PAGES, ...data.map(({ id }) => `/dashboard/deliveries/${id}`)];
  for (const path of pages) add(path, (await browser.get(origin + path)).text);
  return views;
}

/** What is of one request only, each with the part that stays. */
const PASSING = [
  /( name="(?:csrf|once)" value=")[^"]*/g,
  // A link to the last so many days.
  /(&amp;since=)[^&"]*/g,
  // Times at which a list was made, and daemons were heard of.
  /("(?:until|last_seen_at)":")[^"]*/g,
];

/**
 * A text without the addresses of daemons, the one that gave it and those in alerts of others, and without the time
 * and the session of the request.
 */
export function common(text: string, origins: readonly string[]): string {
  const placed = origins.reduce((rest, origin) => rest.replaceAll(origin, "DAEMON"), text);
  return PASSING.reduce((rest, part) => rest.replace(part, "$1"), placed);
}
