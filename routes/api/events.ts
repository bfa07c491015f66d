import { optional, strictObject } from "valibot";
import { listEventTypes } from "../../lib/admin/event_types.ts";
import * as admin from "../../lib/admin/events.ts";
import * as field from "../../lib/admin/fields.ts";
import { CURSOR_RULE } from "../../lib/admin/lists.ts";
import * as shown from "../../lib/admin/shown.ts";
import { parseEventId } from "../../lib/core/ids.ts";
import * as example from "./examples.ts";
import { operation } from "./operation.ts";
import * as query from "./queries.ts";

const tag = "Events";

const ListQuery = strictObject({
  type: optional(field.identifier),
  business: optional(field.identifier),
  since: optional(field.moment),
  until: optional(field.moment),
  q: optional(field.identifier),
  cursor: optional(query.parsed(parseEventId, CURSOR_RULE)),
  limit: query.limit,
  count: optional(query.flag),
});

const TypesQuery = strictObject({ cursor: optional(field.identifier), limit: query.limit });

export const eventOperations = [
  operation({
    id: "listEvents",
    method: "get",
    path: "/api/events",
    tag,
    portal: true,
    summary: "Lists events, the newest first",
    description:
      "`q` is the id of an event or of one of its deliveries, a confirmation number, or " +
      "the id of an appointment, business or service.",
    query: ListQuery,
    status: 200,
    response: shown.EventPage,
    refuses: [],
    example: { response: { data: [example.event], next_cursor: null } },
    handle: (ctx, { by, query }) => admin.listEvents(ctx, by, query),
  }),
  operation({
    id: "getEvent",
    method: "get",
    path: "/api/events/{id}",
    tag,
    portal: true,
    summary: "Shows an event, and for each endpoint why it was or was not owed it",
    status: 200,
    response: shown.EventDetail,
    refuses: ["not_found"],
    example: {
      id: example.EVENT_ID,
      response: {
        ...example.event,
        payload: '{"event":"booking.created","timestamp":"2026-11-24T09:59:00Z","data":{}}',
        erased_at: null,
        deliveries: [example.delivery],
        endpoints: [
          {
            endpoint_id: example.ENDPOINT_ID,
            owed: true,
            state: "waiting",
            explanation: example.delivery.explanation,
            advice: "The receiver's certificate has expired; renew it there",
            hints: [example.hint],
            delivery_id: example.DELIVERY_ID,
          },
          {
            endpoint_id: "billing",
            owed: false,
            state: "type_not_selected",
            explanation:
              "The endpoint does not select booking.created; it selects booking.completed",
            advice: null,
            hints: [],
            delivery_id: null,
          },
        ],
      },
    },
    handle: (ctx, { by, id }) => admin.getEvent(ctx, by, id),
  }),
  operation({
    id: "listEventTypes",
    method: "get",
    path: "/api/event-types",
    tag,
    portal: true,
    summary: "Lists the event types, each with the JSON Schema of its data and a sample",
    description:
      "Operators get the operational ones too, which are about this program itself: endpoints select them by name " +
      "or as `webhooks.*`.",
    query: TypesQuery,
    status: 200,
    response: shown.page(shown.EventType),
    refuses: [],
    example: {
      response: {
        data: [{
          name: "booking.created",
          description: "Triggered when a new booking is created.",
          operational: false,
          schema: { type: "object", required: ["appointment"] },
          sample: { event: "booking.created", timestamp: "2025-10-31T15:30:00Z", data: {} },
        }],
        next_cursor: null,
      },
    },
    handle: (ctx, { by, query }) => listEventTypes(ctx, by, query),
  }),
];
