import { optional, strictObject } from "valibot";
import { compareAttempts } from "../../lib/admin/comparison.ts";
import * as admin from "../../lib/admin/deliveries.ts";
import * as field from "../../lib/admin/fields.ts";
import { code } from "../../lib/admin/inputs.ts";
import { DELIVERY_REASONS } from "../../lib/core/cancellation.ts";
import { CURSOR_RULE } from "../../lib/admin/lists.ts";
import * as shown from "../../lib/admin/shown.ts";
import { parseDeliveryId } from "../../lib/core/ids.ts";
import * as example from "./examples.ts";
import { operation } from "./operation.ts";
import * as query from "./queries.ts";

const tag = "Deliveries";
const path = "/api/deliveries/{id}";

const ListQuery = strictObject({
  status: optional(field.oneOf(shown.STATUSES)),
  endpoint: optional(field.identifier),
  type: optional(field.identifier),
  reason: optional(field.oneOf(DELIVERY_REASONS)),
  code: optional(code),
  since: optional(field.moment),
  until: optional(field.moment),
  cursor: optional(query.parsed(parseDeliveryId, CURSOR_RULE)),
  limit: query.limit,
  count: optional(query.flag),
});

const ComparisonQuery = strictObject({
  attempt: optional(query.attempt),
  with: optional(query.attempt),
});

export const deliveryOperations = [
  operation({
    id: "listDeliveries",
    method: "get",
    path: "/api/deliveries",
    tag,
    portal: true,
    summary: "Lists deliveries, the newest first",
    query: ListQuery,
    status: 200,
    response: shown.countedPage(shown.Delivery),
    refuses: [],
    example: { response: { data: [example.delivery], next_cursor: example.DELIVERY_ID } },
    handle: (ctx, { by, query }) => admin.listDeliveries(ctx, by, query),
  }),
  operation({
    id: "getDelivery",
    method: "get",
    path,
    tag,
    portal: true,
    summary: "Shows a delivery and its attempts, with request and response",
    status: 200,
    response: shown.DeliveryDetail,
    refuses: ["not_found"],
    example: {
      id: example.DELIVERY_ID,
      response: { ...example.delivery, hints: [example.hint], attempts: [example.attempt] },
    },
    handle: (ctx, { by, id }) => admin.getDelivery(ctx, by, id),
  }),
  operation({
    id: "compareAttempts",
    method: "get",
    path: `${path}/comparison`,
    tag,
    portal: true,
    summary: "Compares two attempts, and names only what differs",
    description:
      "The attempt (default: the last one) against another of the delivery, or else against the last " +
      "attempt that its endpoint accepted before.",
    query: ComparisonQuery,
    status: 200,
    response: shown.Comparison,
    refuses: ["not_found"],
    example: { id: example.DELIVERY_ID, response: example.comparison },
    handle: (ctx, { by, id, query }) => compareAttempts(ctx, by, id, query),
  }),
  operation({
    id: "retryDelivery",
    method: "post",
    path: `${path}/retry`,
    tag,
    portal: true,
    summary: "Sends a delivery again, now",
    description: "One that ended begins a new round of attempts; one that waits is due at once.",
    status: 200,
    response: shown.Delivery,
    refuses: ["not_found", "conflict", "payload_gone", "erased"],
    example: { id: example.DELIVERY_ID, response: example.delivery },
    handle: (ctx, { by, id }) => admin.retryDelivery(ctx, by, id),
  }),
  operation({
    id: "cancelDelivery",
    method: "post",
    path: `${path}/cancel`,
    tag,
    portal: true,
    summary: "Cancels a pending delivery",
    description: "One that is being sent ends with that attempt: `cancelling` is true then.",
    status: 200,
    response: shown.Delivery,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.DELIVERY_ID,
      response: {
        ...example.delivery,
        status: "cancelled",
        cancel_reason: "Cancelled by ops",
        state: "cancelled",
        explanation: "Cancelled after 2 attempts: Cancelled by ops",
        next_attempt_at: null,
        ended_at: "2026-11-24T10:01:00.000Z",
      },
    },
    handle: (ctx, { by, id }) => admin.cancelDelivery(ctx, by, id),
  }),
];
