import { optional, strictObject } from "valibot";
import { toJsonSchema } from "@valibot/to-json-schema";
import { AppError } from "../../lib/core/errors.ts";
import type { EventType } from "../../lib/core/event_types.ts";
import { explainUnowed } from "../../lib/core/explain.ts";
import { eventId, parseEventId } from "../../lib/core/ids.ts";
import { explainMatch } from "../../lib/core/matching.ts";
import type { StoredEndpoint } from "../../lib/store/endpoints.ts";
import { deliveriesOf, type DeliveryRow } from "../../lib/store/reports/deliveries.ts";
import { endpointsSince } from "../../lib/store/reports/endpoints.ts";
import { type EventRow, getEvent, listEvents } from "../../lib/store/reports/events.ts";
import type { RouteContext } from "../context.ts";
import { explain, viewDelivery, viewEvent } from "../views.ts";
import { periodOf } from "./deliveries.ts";
import * as example from "./examples.ts";
import { operation } from "./operation.ts";
import * as s from "./schemas.ts";

const tag = "Events";

const ListQuery = strictObject({
  type: optional(s.text(255)),
  business: optional(s.text(255)),
  since: optional(s.moment),
  until: optional(s.moment),
  q: optional(s.text(255)),
  cursor: optional(s.parsed(parseEventId, s.CURSOR_RULE)),
  limit: s.limit,
});

const TypesQuery = strictObject({ cursor: optional(s.text(255)), limit: s.limit });

export const eventOperations = [
  operation({
    id: "listEvents",
    method: "get",
    path: "/api/events",
    tag,
    summary: "Lists events, the newest first",
    description: "`q` is an event's id, a confirmation number, or the id of an appointment, " +
      "business or service.",
    query: ListQuery,
    status: 200,
    response: s.page(s.EventSummary),
    refuses: [],
    example: { response: { data: [example.event], next_cursor: null } },
    async handle(ctx, { query }) {
      const { cursor, since, until, q, ...filter } = query;
      const uuid = q === undefined ? undefined : parseEventId(q);
      const { rows, next } = await listEvents(ctx.db.admin, "everything", {
        ...filter,
        uuid,
        text: uuid === undefined ? q : undefined,
        period: periodOf(since, until),
        before: cursor === undefined ? undefined : parseEventId(cursor),
      });
      return { data: rows.map(viewEvent), next_cursor: next === null ? null : eventId(next) };
    },
  }),
  operation({
    id: "getEvent",
    method: "get",
    path: "/api/events/{id}",
    tag,
    summary: "Shows an event, and for each endpoint why it was or was not owed it",
    status: 200,
    response: s.EventDetail,
    refuses: ["not_found"],
    example: {
      id: example.EVENT_ID,
      response: {
        ...example.event,
        payload: '{"event":"booking.created","timestamp":"2026-11-24T09:59:00Z","data":{}}',
        deliveries: [example.delivery],
        endpoints: [
          {
            endpoint_id: example.ENDPOINT_ID,
            owed: true,
            state: "waiting",
            explanation: example.delivery.explanation,
            delivery_id: example.DELIVERY_ID,
          },
          {
            endpoint_id: "billing",
            owed: false,
            state: "type_not_selected",
            explanation:
              "The endpoint does not select booking.created; it selects booking.completed",
            delivery_id: null,
          },
        ],
      },
    },
    async handle(ctx, { id }) {
      const uuid = parseEventId(id);
      const event = uuid === undefined
        ? undefined
        : await getEvent(ctx.db.admin, "everything", uuid);
      if (event === undefined) {
        throw new AppError("not_found", "There is no such event; it may have been purged");
      }
      const deliveries = await deliveriesOf(ctx.db.admin, "everything", event.uuid);
      const endpoints = await endpointsSince(ctx.db.admin, "everything", event.received_at);
      return {
        ...viewEvent(event),
        payload: event.payload,
        deliveries: deliveries.map((delivery) => viewDelivery(delivery, ctx)),
        endpoints: verdicts(ctx, event, deliveries, endpoints),
      };
    },
  }),
  operation({
    id: "listEventTypes",
    method: "get",
    path: "/api/event-types",
    tag,
    summary: "Lists the event types, each with the JSON Schema of its data and a sample",
    query: TypesQuery,
    status: 200,
    response: s.page(s.EventTypeInfo),
    refuses: [],
    example: {
      response: {
        data: [{
          name: "booking.created",
          description: "Triggered when a new booking is created.",
          schema: { type: "object", required: ["appointment"] },
          sample: { event: "booking.created", timestamp: "2025-10-31T15:30:00Z", data: {} },
        }],
        next_cursor: null,
      },
    },
    handle(ctx, { query: { cursor, limit } }) {
      const types = ctx.event_types();
      const own = new Map(ctx.config().event_types.map((type) => [type.name, type.schema]));
      const from = cursor === undefined ? 0 : types.names.indexOf(cursor) + 1;
      if (cursor !== undefined && from === 0) throw s.invalidAt("/cursor", s.CURSOR_RULE);
      const page = types.names.slice(from, from + limit);
      const data = page.map((name) => types.get(name)).filter((type) => type !== undefined)
        .map((type) => viewType(type, own.get(type.name)));
      const more = from + limit < types.names.length;
      return Promise.resolve({ data, next_cursor: more ? page.at(-1) ?? null : null });
    },
  }),
];

function verdicts(
  ctx: RouteContext,
  event: EventRow,
  deliveries: readonly DeliveryRow[],
  endpoints: readonly StoredEndpoint[],
) {
  const owed = deliveries.map((delivery) => ({
    no: delivery.endpoint_no,
    endpoint_id: delivery.endpoint,
    owed: true,
    ...explain(delivery, ctx),
    delivery_id: viewDelivery(delivery, ctx).id,
  }));
  const known = new Set(owed.map(({ no }) => no));
  const others = endpoints.filter(({ no }) => !known.has(no)).map((endpoint) => ({
    no: endpoint.no,
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
  }));
  return [...owed, ...others].toSorted((a, b) => a.no - b.no).map(({ no: _, ...verdict }) =>
    verdict
  );
}

function viewType(type: EventType, own: Readonly<Record<string, unknown>> | undefined) {
  const { name, description, schema, sample } = type;
  return {
    name,
    description,
    schema: own ?? {
      ...toJsonSchema(schema, {
        target: "draft-2020-12",
        typeMode: "output",
        errorMode: "ignore",
      }),
    },
    sample: JSON.parse(sample) as Record<string, unknown>,
  };
}
