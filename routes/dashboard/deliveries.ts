import { type Context, Hono } from "hono";
import { aboutEvents } from "../../lib/admin/about.ts";
import {
  type Breakdown,
  cancelDelivery,
  countDeliveries,
  type DeliverySelection,
  groupDeliveries,
  listDeliveries,
  retryDelivery,
} from "../../lib/admin/deliveries.ts";
import { listEvents } from "../../lib/admin/events.ts";
import { endpointNames } from "../../lib/admin/names.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { RouteContext } from "../context.ts";
import {
  type Filter,
  type Filters,
  forTab,
  inForce,
  listPath,
  type Read,
  readFilters,
  replayQuery,
  withinWords,
  without,
} from "./delivery_filters.ts";
import { act, deliveryPage } from "./delivery.tsx";
import { page } from "./layout.tsx";
import {
  type Bounded,
  DeliveriesPage,
  type DeliveriesProps,
  type EmptyCause,
} from "./pages/deliveries.tsx";
import { deliveriesVerdict, type Shown } from "./verdicts/deliveries.ts";
import type { House, PageEnv, Visit } from "./visit.ts";

const PER_PAGE = 50;
const DAY_MS = 86_400_000;

/** Lists of deliveries, and each of them. */
export function deliveryPages(ctx: RouteContext, house: House): Hono<PageEnv> {
  return new Hono<PageEnv>()
    .get("/deliveries", (c) => listPage(c, ctx, house))
    .get("/deliveries/:id", (c) => deliveryPage(c, ctx))
    .post(
      "/deliveries/:id/retry",
      (c) =>
        act(c, ctx, retryDelivery, "It is due now: the next attempt begins within a second or so"),
    )
    .post("/deliveries/:id/cancel", (c) => act(c, ctx, cancelDelivery, "Cancelled"));
}

async function listPage(c: Context<PageEnv>, ctx: RouteContext, house: House): Promise<Response> {
  const visit = c.get("visit");
  const read = readFilters((name) => c.req.query(name), house.audience, visit.now);
  const title = "Deliveries";
  const basics = await basicsOf(ctx, visit, read);
  try {
    if (read.selection === null) {
      return await page(
        c,
        visit,
        { title, nav: "deliveries", status: 422 },
        DeliveriesPage(basics),
      );
    }
    const props = await find(ctx, basics, read.selection, c.req.query("cursor"));
    const live = { deliveries: true };
    return await page(c, visit, { title, nav: "deliveries", live }, DeliveriesPage(props));
  } catch (error) {
    if (!(error instanceof AppError) || error.detail.errors === undefined) throw error;
    const errors = new Map(
      error.detail.errors.map(({ pointer, message }) => [pointer.slice(1), message]),
    );
    const props = { ...basics, errors };
    return await page(c, visit, { title, nav: "deliveries", status: 422 }, DeliveriesPage(props));
  }
}

/** The page without what it finds. */
async function basicsOf(
  ctx: RouteContext,
  visit: Visit,
  { filters, errors }: Pick<Read, "filters" | "errors">,
): Promise<DeliveriesProps> {
  return {
    visit,
    filters,
    errors,
    verdict: null,
    counts: new Map(),
    rows: [],
    names: await endpointNames(ctx, visit.by),
    about: new Map(),
    types: ctx.in_force().event_types.names,
    older: null,
    is_first: true,
    empty: null,
    kept_days: Math.floor(ctx.policy().retention.attempts_ms / DAY_MS),
  };
}

async function find(
  ctx: RouteContext,
  basics: DeliveriesProps,
  selection: DeliverySelection,
  cursor: string | undefined,
): Promise<DeliveriesProps> {
  const { visit, filters, names } = basics;
  const { by, house, now } = visit;
  const [{ data, next_cursor }, found, others] = await Promise.all([
    listDeliveries(ctx, by, { ...selection, cursor, limit: PER_PAGE }),
    groupDeliveries(ctx, by, selection),
    countTabs(ctx, visit, filters),
  ]);
  const is_business = house.audience === "business";
  const is_narrowed = inForce(filters).some(([name]) => name !== "since" && name !== "until");
  const older = next_cursor === null
    ? null
    : `${listPath(house.base, filters)}&${new URLSearchParams({ cursor: next_cursor })}`;
  return {
    ...basics,
    verdict: deliveriesVerdict({
      shown: filters.shown,
      found,
      within: withinWords(filters),
      is_narrowed,
      names,
      replay: replayQuery(selection),
    }, { house, may_write: visit.may_write, now }),
    counts: new Map([...others, [filters.shown, sumOf(found)]]),
    rows: data,
    about: is_business
      ? await aboutEvents(ctx, by, data.map(({ event_id }) => event_id))
      : new Map(),
    older,
    is_first: cursor === undefined,
    empty: data.length > 0 ? null : await emptyCause(ctx, basics, selection, older !== null),
  };
}

function sumOf({ groups, exact }: Breakdown): Bounded {
  return { value: groups.reduce((sum, { deliveries }) => sum + deliveries, 0), exact };
}

/** Tabs whose counts say something besides their names: nobody needs to know that more than 1,000 arrived. */
const COUNTED: readonly Shown[] = ["attention", "failed", "waiting", "overdue"];

async function countTabs(
  ctx: RouteContext,
  { by, house, now }: Visit,
  filters: Filters,
): Promise<(readonly [Shown, Bounded])[]> {
  const tabs = COUNTED.filter((shown) => shown !== filters.shown);
  const counted = await Promise.all(tabs.map(async (shown) => {
    const selection = selectionOf(forTab(filters, shown), house, now);
    return selection === null ? [] : [[shown, await countDeliveries(ctx, by, selection)] as const];
  }));
  return counted.flat();
}

/** What filters select; null if they say nothing. */
function selectionOf(filters: Filters, house: House, now: number): DeliverySelection | null {
  const { shown, ...typed } = filters;
  const values: Readonly<Record<string, string>> = { status: shown, ...typed };
  return readFilters((name) => values[name], house.audience, now).selection;
}

async function emptyCause(
  ctx: RouteContext,
  { visit, filters }: DeliveriesProps,
  selection: DeliverySelection,
  goes_on: boolean,
): Promise<EmptyCause> {
  const { by, house, now } = visit;
  if (goes_on) return { kind: "deeper" };
  const kept_since = new Date(now - ctx.policy().retention.attempts_ms).toISOString();
  if (selection.until !== undefined && selection.until < kept_since) {
    return { kind: "removed", kept_since };
  }
  if ((await listEvents(ctx, by, { limit: 1 })).data.length === 0) return { kind: "none" };
  const counted = await Promise.all(
    inForce(filters).map(async ([name]) => {
      const wider = selectionOf(without(filters, name), house, now);
      return wider === null ? [] : [{ name, count: await countDeliveries(ctx, by, wider) }];
    }),
  );
  return {
    kind: "filtered",
    without: counted.flat().filter(({ count }: { name: Filter; count: Bounded }) =>
      count.value > 0
    ),
  };
}
