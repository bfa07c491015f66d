import type { Page } from "playwright-core";
import type { DashboardHouse } from "./dashboard_house.ts";
import { openLink, signIn } from "./visitor.ts";

/** Somebody at a page. */
export type Guest = "operator" | "bella" | "empty" | "nobody";

/** A page of the dashboard or of the portal, to be looked at. */
export interface Place {
  /** `delivery-failed`; those of the portal begin with `portal`. */
  readonly name: string;
  readonly path: string;
  readonly guest: Guest;
}

const since = "2026-11-25T12:00:00Z";

/** Every page of both houses, as the house has something to show on it. */
export function placesOf(house: DashboardHouse): readonly Place[] {
  const { endpoints, deliveries, events, replays, portal } = house;
  const never = "dlv_00000000000000000000000000";
  const operator = {
    "overview": "",
    "endpoints": "/endpoints",
    "endpoint-new": "/endpoints/new",
    "endpoint-failing": `/endpoints/${endpoints.crm}`,
    "endpoint-rotate": `/endpoints/${endpoints.crm}/rotate`,
    "endpoint-overlap": `/endpoints/${endpoints.crm}/overlap`,
    "endpoint-pause": `/endpoints/${endpoints.crm}/pause`,
    "endpoint-paused": `/endpoints/${endpoints.waitlist}`,
    "endpoint-file": "/endpoints/ledger",
    "endpoint-well": `/endpoints/${endpoints["calendar-sync"]}`,
    "endpoint-retired": `/endpoints/${endpoints["old-newsletter"]}`,
    "deliveries": "/deliveries",
    "deliveries-failed": "/deliveries?status=failed",
    "deliveries-filtered": `/deliveries?endpoint=${endpoints.crm}&code=401`,
    "deliveries-none": "/deliveries?type=booking.moved",
    "deliveries-wrong": "/deliveries?status=lost",
    "delivery-failed": `/deliveries/${deliveries.failed}`,
    "delivery-waiting": `/deliveries/${deliveries.waiting}`,
    "delivery-delivered": `/deliveries/${deliveries.delivered}`,
    "delivery-retried": `/deliveries/${deliveries.retried}`,
    "delivery-paused": `/deliveries/${deliveries.paused}`,
    "delivery-cancelled": `/deliveries/${deliveries.cancelled}`,
    "delivery-test": `/deliveries/${deliveries.tested}`,
    "delivery-erased": `/deliveries/${deliveries.erased}`,
    "event": `/events/${events.posted}`,
    "event-erased": `/events/${events.erased}`,
    "event-test": `/events/${events.tested}`,
    "search": "/search",
    "search-found": "/search?q=bus_123",
    "search-nothing": "/search?q=BK7X9M2Q",
    "search-wrong": "/search?q=colour:red",
    "test": "/test",
    "test-endpoint": `/test?endpoint=${endpoints.crm}&event=booking.cancelled`,
    "test-sent": `/test?sent=${events.tested}`,
    "verify": "/verify",
    "replays": "/replays",
    "replay-new": `/replays/new?endpoint=${endpoints.crm}&status=failed&since=${since}`,
    "replay-running": `/replays/${replays.running}`,
    "replay-done": `/replays/${replays.done}`,
    "alerts": "/alerts",
    "audit": "/audit",
    "event-types": "/event-types",
    "help": "/help",
    "not-found": `/deliveries/${never}`,
  };
  const business = {
    "overview": "",
    "endpoints": "/endpoints",
    "endpoint-new": "/endpoints/new",
    "endpoint": `/endpoints/${endpoints.Till}`,
    "endpoint-rotate": `/endpoints/${endpoints.Till}/rotate`,
    "deliveries": "/deliveries",
    "deliveries-failed": "/deliveries?status=failed",
    "delivery-arrived": `/deliveries/${deliveries.arrived}`,
    "delivery-missing": `/deliveries/${deliveries.missing}`,
    "event": `/events/${events.posted}`,
    "search-nothing": "/search?q=BK7X9M2Q",
    "test": "/test",
    "verify": "/verify",
    "replays": "/replays",
    "alerts": "/alerts",
    "audit": "/audit",
    "event-types": "/event-types",
    "help": "/help",
    "not-found": `/deliveries/${never}`,
  };
  const of = (base: string, guest: Guest, prefix: string, paths: Record<string, string>) =>
    Object.entries(paths).map(([name, path]) => ({
      name: `${prefix}${name}`,
      path: base + path,
      guest,
    }));
  return [
    ...of("/dashboard", "operator", "", operator),
    ...of("/portal", "bella", "portal-", business),
    ...of("/portal", "empty", "portal-empty-", EMPTY),
    { name: "login", path: "/dashboard/login", guest: "nobody" },
    { name: "portal-needs-link", path: "/portal", guest: "nobody" },
    { name: "portal-open", path: `/portal/open/${portal.bella}`, guest: "nobody" },
    { name: "portal-open-wrong", path: `/portal/open/portal_${"A".repeat(43)}`, guest: "nobody" },
  ];
}

const EMPTY = {
  "overview": "",
  "endpoints": "/endpoints",
  "deliveries": "/deliveries",
  "test": "/test",
  "replays": "/replays",
  "alerts": "/alerts",
};

/** The pages of a new installation. */
export const EMPTY_PLACES: readonly Place[] = Object.entries({ ...EMPTY, "audit": "/audit" })
  .map(([name, path]) => ({ name: `empty-${name}`, path: `/dashboard${path}`, guest: "operator" }));

/** Lets the page in as somebody, without the way through the door. */
export async function enter(page: Page, url: string, as: Guest, token?: string): Promise<void> {
  await page.context().clearCookies();
  if (as === "nobody") return;
  const visitor = as === "operator" ? await signIn(url, token) : await openLink(url, token ?? "");
  await page.context().addCookies(
    visitor.cookies().split("; ").map((pair) => {
      const at = pair.indexOf("=");
      return { url, name: pair.slice(0, at), value: pair.slice(at + 1) };
    }),
  );
}

/** The token with which somebody enters the house; undefined for the usual one. */
export function tokenOf(house: DashboardHouse, guest: Guest): string | undefined {
  return guest === "bella" || guest === "empty" ? house.portal[guest] : undefined;
}
