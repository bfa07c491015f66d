import { Hono } from "hono";
import { aboutEvents } from "../../lib/admin/about.ts";
import type { Asker } from "../../lib/admin/context.ts";
import { listDeliveries } from "../../lib/admin/deliveries.ts";
import { listEndpoints } from "../../lib/admin/endpoints.ts";
import { endpointNames } from "../../lib/admin/names.ts";
import { getOverview } from "../../lib/admin/overview.ts";
import type * as shown from "../../lib/admin/shown.ts";
import { inSeconds } from "../../lib/core/time.ts";
import type { RouteContext } from "../context.ts";
import { rememberFigures } from "./last_known.ts";
import { page } from "./layout.tsx";
import {
  figuresOf,
  OverviewPage,
  portalFigures,
  PortalOverviewPage,
  type Sent,
} from "./pages/overview.tsx";
import type { StateWords } from "./verdicts/verdict.ts";
import type { House, PageEnv, Visit } from "./visit.ts";

/** The first page of a house. */
export function overviewPages(ctx: RouteContext, { audience }: House): Hono<PageEnv> {
  const show = audience === "operator" ? operatorPage : businessPage;
  const head = {
    title: "Overview",
    nav: "overview",
    live: { deliveries: true, endpoints: true, alerts: true },
  } as const;
  return new Hono<PageEnv>()
    .get("/", async (c) => {
      const body = await show(ctx, c.get("visit"), c.get("alerts"));
      return await page(c, c.get("visit"), head, body);
    });
}

async function operatorPage(
  ctx: RouteContext,
  visit: Visit,
  open: PageEnv["Variables"]["alerts"],
) {
  const [alerts = null, overview, names] = await Promise.all([
    open,
    getOverview(ctx, visit.by),
    endpointNames(ctx, visit.by),
  ]);
  // Later on, what is delivered shows it.
  const checks = overview.posted ? {} : (await ctx.readiness()).checks;
  rememberFigures(ctx, visit, figuresOf(overview));
  const first_post = firstPost(ctx, visit.now);
  return OverviewPage({ visit, overview, names, alerts, first_post, checks });
}

/** A command that posts an event, as this daemon's configuration demands it. */
function firstPost(ctx: RouteContext, now: number) {
  const { base_url, config, ingest_signers, scheme } = ctx.in_force();
  const { listen } = config.server;
  const url = `${base_url ?? `${scheme}://${listen.host}:${listen.port}`}/ingest`;
  const body = JSON.stringify({
    event: "booking.confirmed",
    timestamp: inSeconds(new Date(now).toISOString()),
    data: { appointment: { id: "apt_789", status: "confirmed" } },
  });
  const lines = ingest_signers.length === 0
    ? [`curl ${url}`, `-H "Content-Type: application/json"`, `-d '${body}'`]
    : [
      `curl ${url}`,
      `-H "Content-Type: application/json"`,
      `-H "X-BookMe-Signature: sha256=$(printf %s "$BODY" | openssl dgst -sha256 -hmac "$BOOKME_SECRET" -r | cut -d' ' -f1)"`,
      `-d "$BODY"`,
    ];
  const command = lines.join(" \\\n  ");
  return {
    command: ingest_signers.length === 0 ? command : `BODY='${body}'\n${command}`,
    ranges: config.ip_ranges[config.environment].map(({ text }) => text),
  };
}

/** Deliveries that the first page of the portal looks at, and events that it shows of them. */
const LOOKED_AT = 60;
const MAX_SENT = 6;

async function businessPage(ctx: RouteContext, visit: Visit) {
  const { by } = visit;
  const most = ctx.in_force().config.portal.max_endpoints;
  const [overview, names, { data: endpoints }, { data: deliveries }] = await Promise.all([
    getOverview(ctx, by),
    endpointNames(ctx, by),
    listEndpoints(ctx, by, { retired: false, limit: most + 1 }),
    listDeliveries(ctx, by, { limit: LOOKED_AT }),
  ]);
  rememberFigures(ctx, visit, portalFigures(overview));
  const { retry_ms, retention } = ctx.policy();
  return PortalOverviewPage({
    visit,
    overview,
    room: { has: endpoints.length, most },
    sent: await sentOf(ctx, by, deliveries, names),
    retry_ms,
    kept_days: Math.floor(retention.events_ms / 86_400_000),
  });
}

/** The latest events of these deliveries, each with where it went and what became of it. */
async function sentOf(
  ctx: RouteContext,
  by: Asker,
  deliveries: readonly shown.Delivery[],
  names: ReadonlyMap<string, string>,
): Promise<Sent[]> {
  const latest = [...Map.groupBy(deliveries, ({ event_id }) => event_id)].slice(0, MAX_SENT);
  const about = await aboutEvents(ctx, by, latest.map(([event_id]) => event_id));
  return latest.flatMap(([id, all]) => {
    const [first] = all;
    if (first === undefined) return [];
    const { event_type: type, subject, confirmation_number, test, created_at } = first;
    return [{
      event: { id, type, subject, confirmation_number, test, received_at: created_at },
      about: about.get(id),
      state: arrived(all),
      to: [...new Set(all.map(({ endpoint_id }) => names.get(endpoint_id) ?? endpoint_id))],
    }];
  });
}

/** What became of an event at all of its systems. */
function arrived(deliveries: readonly shown.Delivery[]): StateWords {
  const has = (status: shown.Delivery["status"]) => deliveries.some((one) => one.status === status);
  if (has("failed")) return { kind: "failed", word: "Did not arrive" };
  if (has("pending")) return { kind: "waiting", word: "Waiting" };
  return has("delivered")
    ? { kind: "delivered", word: "Arrived" }
    : { kind: "cancelled", word: "Cancelled" };
}
