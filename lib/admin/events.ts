import { eventId, parseEventId } from "../core/ids.ts";
import { explainUnowed } from "../core/explain.ts";
import { explainMatch } from "../core/matching.ts";
import type { StoredEndpoint } from "../store/endpoints.ts";
import { deliveriesOf, type DeliveryRow } from "../store/reports/deliveries.ts";
import { endpointsSince } from "../store/reports/endpoints.ts";
import * as read from "../store/reports/events.ts";
import type { AdminContext, Asker } from "./context.ts";
import { type Paged, periodOf, readCursor, viewPage, type Within } from "./lists.ts";
import { notFound } from "./lookup.ts";
import type * as shown from "./shown.ts";
import { explain, viewDelivery, viewEvent } from "./views.ts";

/** Narrows a list of events. */
export interface EventQuery extends Paged, Within {
  readonly type?: string | undefined;
  readonly business?: string | undefined;
  /** An event's id, a confirmation number, or the id of an appointment, business or service. */
  readonly q?: string | undefined;
}

/** Events, newest first. */
export async function listEvents(
  ctx: AdminContext,
  { scope }: Asker,
  { type, business, q, cursor, limit, ...within }: EventQuery,
): Promise<shown.Page<shown.EventSummary>> {
  const page = await read.listEvents(ctx.db.admin, scope, {
    type,
    business,
    // A confirmation number may look like an id.
    uuid: q === undefined ? undefined : parseEventId(q),
    text: q,
    period: periodOf(within),
    before: readCursor(cursor, parseEventId),
    limit,
  });
  return viewPage(page, viewEvent, eventId);
}

/** An event with its payload, its deliveries, and a verdict on each endpoint. */
export async function getEvent(
  ctx: AdminContext,
  { scope }: Asker,
  id: string,
): Promise<shown.EventDetail> {
  const sql = ctx.db.admin;
  const uuid = parseEventId(id);
  const event = uuid === undefined ? undefined : await read.getEvent(sql, scope, uuid);
  if (event === undefined) throw notFound("event; it may have been purged");
  const deliveries = await deliveriesOf(sql, scope, event.uuid);
  const endpoints = await endpointsSince(sql, scope, event.received_at);
  return {
    ...viewEvent(event),
    payload: event.payload,
    deliveries: deliveries.map((delivery) => viewDelivery(delivery, ctx)),
    endpoints: verdicts(ctx, event, deliveries, endpoints),
  };
}

/** Why each endpoint was or was not owed the event, in the order in which they were made. */
function verdicts(
  ctx: AdminContext,
  event: read.EventRow,
  deliveries: readonly DeliveryRow[],
  endpoints: readonly StoredEndpoint[],
): shown.EndpointVerdict[] {
  const owed = deliveries.map((delivery) => ({
    no: delivery.endpoint_no,
    verdict: {
      endpoint_id: delivery.endpoint,
      owed: true,
      ...explain(delivery, ctx),
      delivery_id: viewDelivery(delivery, ctx).id,
    },
  }));
  const known = new Set(owed.map(({ no }) => no));
  const others = endpoints.filter(({ no }) => !known.has(no)).map((endpoint) => ({
    no: endpoint.no,
    verdict: {
      endpoint_id: endpoint.id,
      owed: false,
      ...explainUnowed({ ...event, received_at: event.received_at.getTime() }, {
        match: explainMatch(endpoint, event.type, event.business),
        events: endpoint.events,
        businesses: endpoint.businesses,
        created_at: endpoint.created_at.getTime(),
        updated_at: endpoint.updated_at.getTime(),
      }),
      delivery_id: null,
    },
  }));
  return [...owed, ...others].toSorted((a, b) => a.no - b.no).map(({ verdict }) => verdict);
}
