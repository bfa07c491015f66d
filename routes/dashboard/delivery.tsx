import type { Context } from "hono";
import { aboutEvents } from "../../lib/admin/about.ts";
import { countDeliveries, getDelivery } from "../../lib/admin/deliveries.ts";
import { getEndpoint } from "../../lib/admin/endpoints.ts";
import { getEvent } from "../../lib/admin/events.ts";
import { endpointNames } from "../../lib/admin/names.ts";
import type * as shown from "../../lib/admin/shown.ts";
import type { RouteContext } from "../context.ts";
import { type FormState, readForm, readNote, submit } from "./forms.ts";
import { page, type PageStatus } from "./layout.tsx";
import { DeliveryPage } from "./pages/delivery.tsx";
import { type DeliveryPageFacts, deliveryVerdict } from "./verdicts/delivery.ts";
import { nameOf } from "./verdicts/health.ts";
import type { PageEnv, Visit } from "./visit.ts";

/** How far back an endpoint's failures are offered for a replay, in milliseconds. */
const FAILED_WITHIN_MS = 3 * 86_400_000;

/** A form that was refused, and the status that says so. */
interface Refusal {
  readonly state: FormState;
  readonly status: PageStatus;
}

/** One delivery; after a form that was refused, with the reason. */
export async function deliveryPage(
  c: Context<PageEnv>,
  ctx: RouteContext,
  refusal: Refusal | null = null,
): Promise<Response> {
  const visit = c.get("visit");
  const { by, house } = visit;
  const delivery = await getDelivery(ctx, by, c.req.param("id") ?? "");
  const [endpoint, event, names, about, note] = await Promise.all([
    getEndpoint(ctx, by, delivery.endpoint_id),
    getEvent(ctx, by, delivery.event_id),
    endpointNames(ctx, by),
    aboutEvents(ctx, by, [delivery.event_id]),
    readNote(c, ctx, visit),
  ]);
  const facts: DeliveryPageFacts = {
    delivery,
    endpoint,
    hints: [],
    payload: payloadOf(event),
    ...await failuresOf(ctx, visit, delivery),
  };
  const what = delivery.confirmation_number ?? delivery.subject ?? delivery.event_type;
  return await page(
    c,
    visit,
    {
      title: `${what} to ${nameOf(endpoint)}`,
      nav: "deliveries",
      status: refusal?.status ?? 200,
      live: { id: delivery.id },
    },
    <DeliveryPage
      visit={visit}
      facts={facts}
      verdict={deliveryVerdict(facts, { house, may_write: visit.may_write, now: visit.now })}
      event={event}
      about={about.get(event.id)}
      names={names}
      shows_all={c.req.query("all") !== undefined}
      note={note?.text ?? null}
      refused={refusal?.state ?? null}
      comparison={null}
    />,
  );
}

/** What became of an event's payload. */
export function payloadOf(event: shown.EventDetail): DeliveryPageFacts["payload"] {
  if (event.erased_at !== null) return "erased";
  if (event.payload_hidden) return "hidden";
  return event.payload === null ? "purged" : "kept";
}

/** Failures of the delivery's endpoint, counted only where a replay of them may be offered. */
async function failuresOf(
  ctx: RouteContext,
  { by, now }: Visit,
  { status, endpoint_id, test }: shown.Delivery,
): Promise<Pick<DeliveryPageFacts, "failed" | "failed_since">> {
  const failed_since = new Date(now - FAILED_WITHIN_MS).toISOString();
  if (status !== "failed" || test) return { failed: null, failed_since };
  const query = { endpoint: endpoint_id, status, since: failed_since };
  return { failed: await countDeliveries(ctx, by, query), failed_since };
}

/** Changes a delivery by a form of one button, and shows it. */
export async function act(
  c: Context<PageEnv>,
  ctx: RouteContext,
  change: (ctx: RouteContext, by: Visit["by"], id: string) => Promise<shown.Delivery>,
  text: string,
): Promise<Response> {
  const visit = c.get("visit");
  const id = c.req.param("id") ?? "";
  return await submit(c, ctx, visit, await readForm(c), {
    act: async () => {
      const { id: changed } = await change(ctx, visit.by, id);
      return { location: `${visit.house.base}/deliveries/${changed}`, note: { text } };
    },
    refused: (state, status) => deliveryPage(c, ctx, { state, status }),
  });
}
