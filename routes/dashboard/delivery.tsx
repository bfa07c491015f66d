import type { Context } from "hono";
import { aboutEvents } from "../../lib/admin/about.ts";
import { compareAttempts, type ComparisonQuery } from "../../lib/admin/comparison.ts";
import { countDeliveries, getDelivery } from "../../lib/admin/deliveries.ts";
import { getEndpoint } from "../../lib/admin/endpoints.ts";
import { getEvent } from "../../lib/admin/events.ts";
import { endpointNames } from "../../lib/admin/names.ts";
import type * as shown from "../../lib/admin/shown.ts";
import type { RouteContext } from "../context.ts";
import { type FormState, readForm, readNote, submit } from "./forms.ts";
import { page, type PageStatus } from "./layout.tsx";
import { ACCEPTED, ComparisonSection } from "./pages/comparison.tsx";
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
  const chosen = chosenComparison(c, delivery);
  const [endpoint, event, names, about, note, failures, comparison] = await Promise.all([
    getEndpoint(ctx, by, delivery.endpoint_id),
    getEvent(ctx, by, delivery.event_id),
    endpointNames(ctx, by),
    aboutEvents(ctx, by, [delivery.event_id]),
    readNote(c, ctx, visit),
    failuresOf(ctx, visit, delivery),
    chosen === null ? null : compareAttempts(ctx, by, delivery.id, chosen),
  ]);
  const facts: DeliveryPageFacts = {
    delivery,
    endpoint,
    payload: payloadOf(event),
    ...failures,
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
      comparison={comparison === null ? null : (
        <ComparisonSection
          house={house}
          delivery={delivery}
          name={nameOf(endpoint)}
          comparison={comparison}
          chosen={chosen?.with === undefined ? ACCEPTED : String(chosen.with)}
        />
      )}
    />,
  );
}

/** Which attempts the page compares; null for none. `?compare=1-7`, or as its form says. */
function chosenComparison(
  c: Context<PageEnv>,
  { attempts }: shown.DeliveryDetail,
): ComparisonQuery | null {
  const last = attempts.at(-1);
  if (last === undefined) return null;
  const [, first, second] = /^(\d+)-(\d+)$/.exec(c.req.query("compare") ?? "") ?? [];
  const number = (text: string | undefined) =>
    attempts.find((attempt) => String(attempt.number) === text)?.number;
  const attempt = number(second ?? c.req.query("attempt"));
  const typed = first ?? c.req.query("with");
  if (attempt !== undefined || typed !== undefined) return { attempt, with: number(typed) };
  if (last.outcome !== "delivered") return {};
  // Against the attempt before the one that arrived: that difference helped.
  const before = attempts.at(-2)?.number;
  return before === undefined ? null : { with: before };
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
