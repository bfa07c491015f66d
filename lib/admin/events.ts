import { deliveryId, eventId, parseEventId, parseEventOf } from "../core/ids.ts";
import { nearestFirst } from "../core/nearest.ts";
import type { Scope } from "../core/scope.ts";
import { explainUnowed } from "../core/explain.ts";
import { explainMatch, type Selection } from "../core/matching.ts";
import {
  deliveriesOf,
  type DeliveryRow,
  type LastAttemptRow,
  lastAttemptsOf,
} from "../store/reports/deliveries.ts";
import { endpointsAtEvent, type EndpointThen } from "../store/reports/endpoints.ts";
import * as read from "../store/reports/events.ts";
import type { AdminContext, Asker } from "./context.ts";
import { deliveryHints } from "./hints.ts";
import {
  type Countable,
  counted,
  type Paged,
  periodOf,
  readCursor,
  viewPage,
  type Within,
} from "./lists.ts";
import { notFound } from "./lookup.ts";
import type * as shown from "./shown.ts";
import { explain, viewAttempt, viewDelivery, viewEvent } from "./views.ts";

/** Narrows a list of events. */
export interface EventQuery extends Paged, Within, Countable {
  readonly type?: string | undefined;
  readonly business?: string | undefined;
  /** The id of an event or of its delivery, a confirmation number, or the id of a subject. */
  readonly q?: string | undefined;
}

/** Events, newest first. */
export async function listEvents(
  ctx: AdminContext,
  by: Asker,
  { type, business, q, cursor, limit, count, ...within }: EventQuery,
): Promise<shown.EventPage> {
  const { scope } = by;
  const filter = {
    type,
    business,
    // A confirmation number may look like an id.
    uuid: q === undefined ? undefined : parseEventOf(q),
    text: q,
    period: periodOf(within),
    before: readCursor(cursor, parseEventId),
    limit,
  };
  const page = await read.listEvents(ctx.db.admin, scope, filter);
  const found = await counted(
    viewPage(page, (row) => viewEvent(row, by), eventId),
    count,
    () => read.countEvents(ctx.db.admin, scope, filter),
  );
  if (q === undefined || cursor !== undefined || found.data.length > 0) return found;
  // They are confirmation numbers, which are parts of payloads.
  if (!by.payloads) return found;
  return { ...found, near: await nearNames(ctx, scope, q) };
}

const MAX_NEAR = 5;

/** Names of recent events that somebody may mean by a text that names none: other case, a slip, a part. */
async function nearNames(
  ctx: AdminContext,
  scope: Scope,
  text: string,
): Promise<shown.EventPage["near"]> {
  const similar = await read.similarNames(ctx.db.admin, scope, text);
  const names = similar.map((name) => name.text);
  const parts = names.filter((name) => name.toLowerCase().includes(text.toLowerCase()));
  const near = new Set([...nearestFirst(text, names), ...parts]);
  return [...near].slice(0, MAX_NEAR).flatMap((name) => {
    const found = similar.find((one) => one.text === name);
    return found === undefined ? [] : [{ name, event_id: eventId(found.uuid) }];
  });
}

/** Deliveries of an event whose failures are set against what changed. */
const MAX_EXPLAINED = 5;

/** An event with its payload, its deliveries, and a verdict on each endpoint. */
export async function getEvent(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.EventDetail> {
  const { scope } = by;
  const sql = ctx.db.admin;
  const uuid = parseEventId(id);
  const event = uuid === undefined ? undefined : await read.getEvent(sql, scope, uuid);
  if (event === undefined) throw notFound("event; it may have been purged");
  const [deliveries, endpoints] = await Promise.all([
    deliveriesOf(sql, scope, event.uuid),
    endpointsAtEvent(sql, scope, event.uuid),
  ]);
  const unhappy = deliveries.filter(({ last_outcome }) =>
    last_outcome !== null && last_outcome !== "delivered"
  );
  const [lasts, hints] = await Promise.all([
    lastAttemptsOf(sql, scope, deliveries.map((delivery) => delivery.uuid)),
    deliveryHints(ctx, by, unhappy.slice(0, MAX_EXPLAINED)),
  ]);
  return {
    ...viewEvent(event, by),
    payload: by.payloads ? event.payload : null,
    erased_at: event.erased_at?.toISOString() ?? null,
    deliveries: deliveries.map((delivery) => viewDelivery(delivery, by, ctx)),
    endpoints: verdicts(ctx, by, event, { deliveries, lasts, hints, endpoints }),
  };
}

/** Why each endpoint was or was not owed the event, in the order in which they were made. */
function verdicts(
  ctx: AdminContext,
  by: Asker,
  event: read.EventRow,
  { deliveries, lasts, hints, endpoints }: {
    readonly deliveries: readonly DeliveryRow[];
    readonly lasts: readonly LastAttemptRow[];
    readonly hints: ReadonlyMap<string, shown.Hint[]>;
    readonly endpoints: readonly EndpointThen[];
  },
): shown.EndpointVerdict[] {
  const lastOf = new Map(lasts.map((attempt) => [attempt.delivery_uuid, attempt]));
  const adviceOf = (delivery: DeliveryRow) => {
    const last = lastOf.get(delivery.uuid);
    return last === undefined ? null : viewAttempt(last, delivery, event, by, ctx).advice;
  };
  const owed = deliveries.map((delivery) => ({
    no: delivery.endpoint_no,
    verdict: {
      endpoint_id: delivery.endpoint,
      owed: true,
      ...explain(delivery, by, ctx),
      advice: adviceOf(delivery),
      hints: hints.get(delivery.uuid) ?? [],
      delivery_id: deliveryId(delivery.uuid),
    },
  }));
  const known = new Set(owed.map(({ no }) => no));
  const others = endpoints.filter((endpoint) => !known.has(endpoint.no) && matters(endpoint, event))
    .map((endpoint) => ({
      no: endpoint.no,
      verdict: {
        endpoint_id: endpoint.id,
        owed: false,
        ...explainUnowed(event, {
          then: selectionThen(endpoint),
          now: endpoint,
          created_at: endpoint.created_at.getTime(),
          retired_then_at: endpoint.retired_then_at?.getTime() ?? null,
          selection_changed_at: endpoint.selection_changed_at?.getTime() ?? null,
          can_be_owed: endpoint.retired_at === null && event.payload !== null &&
            !event.type.startsWith("webhooks."),
        }),
        advice: null,
        hints: [],
        delivery_id: null,
      },
    }));
  const made = new Map(endpoints.map(({ no }, place) => [no, place]));
  return [...owed, ...others].toSorted((a, b) => (made.get(a.no) ?? 0) - (made.get(b.no) ?? 0))
    .map(({ verdict }) => verdict);
}

/** Retired endpoints add up: of those retired before or made after the event, few explain anything. */
function matters(endpoint: EndpointThen, event: read.EventRow): boolean {
  const { retired_at, retired_then_at } = endpoint;
  const then = selectionThen(endpoint);
  if (then === null) return retired_at === null;
  if (retired_then_at === null || retired_at === null) return true;
  return explainMatch(then, event.type, event.business) === "matched";
}

function selectionThen({ events_then, businesses_then }: EndpointThen): Selection | null {
  return events_then === null ? null : { events: events_then, businesses: businesses_then };
}
