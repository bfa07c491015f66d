import { optional, strictObject } from "valibot";
import { AppError } from "../../lib/core/errors.ts";
import { deliveryId, firstUuidAt, parseDeliveryId } from "../../lib/core/ids.ts";
import { REASONS } from "../../lib/core/outcome.ts";
import { cancel, retryNow } from "../../lib/store/deliveries.ts";
import {
  attemptsOf,
  type DeliveryRow,
  getDelivery,
  listDeliveries,
} from "../../lib/store/reports/deliveries.ts";
import { getEndpoint } from "../../lib/store/reports/endpoints.ts";
import { getEvent } from "../../lib/store/reports/events.ts";
import type { Period } from "../../lib/store/reports/page.ts";
import type { RouteContext } from "../context.ts";
import { viewAttempt, viewDelivery } from "../views.ts";
import * as example from "./examples.ts";
import { operation } from "./operation.ts";
import * as s from "./schemas.ts";

const tag = "Deliveries";
const path = "/api/deliveries/{id}";

const ListQuery = strictObject({
  status: optional(s.oneOf(s.STATUSES)),
  endpoint: optional(s.text(255)),
  type: optional(s.text(255)),
  reason: optional(s.oneOf(REASONS)),
  since: optional(s.moment),
  until: optional(s.moment),
  cursor: optional(s.parsed(parseDeliveryId, s.CURSOR_RULE)),
  limit: s.limit,
});

export const deliveryOperations = [
  operation({
    id: "listDeliveries",
    method: "get",
    path: "/api/deliveries",
    tag,
    summary: "Lists deliveries, the newest first",
    query: ListQuery,
    status: 200,
    response: s.page(s.Delivery),
    refuses: [],
    example: { response: { data: [example.delivery], next_cursor: example.DELIVERY_ID } },
    async handle(ctx, { query }) {
      const { cursor, since, until, ...filter } = query;
      const { rows, next } = await listDeliveries(ctx.db.admin, "everything", {
        ...filter,
        period: periodOf(since, until),
        before: cursor === undefined ? undefined : parseDeliveryId(cursor),
      });
      return {
        data: rows.map((row) => viewDelivery(row, ctx)),
        next_cursor: next === null ? null : deliveryId(next),
      };
    },
  }),
  operation({
    id: "getDelivery",
    method: "get",
    path,
    tag,
    summary: "Shows a delivery and its attempts, with request and response",
    status: 200,
    response: s.DeliveryDetail,
    refuses: ["not_found"],
    example: {
      id: example.DELIVERY_ID,
      response: { ...example.delivery, attempts: [example.attempt] },
    },
    async handle(ctx, { id }) {
      const delivery = await find(ctx, id);
      const event = await getEvent(ctx.db.admin, "everything", delivery.event_uuid);
      if (event === undefined) throw notFound();
      const attempts = await attemptsOf(ctx.db.admin, "everything", delivery.uuid);
      return {
        ...viewDelivery(delivery, ctx),
        attempts: attempts.map((attempt) => viewAttempt(attempt, delivery, event)),
      };
    },
  }),
  operation({
    id: "retryDelivery",
    method: "post",
    path: `${path}/retry`,
    tag,
    summary: "Sends a delivery again, now",
    description: "One that ended begins a new round of attempts; one that waits is due at once.",
    status: 200,
    response: s.Delivery,
    refuses: ["not_found", "conflict"],
    example: { id: example.DELIVERY_ID, response: example.delivery },
    async handle(ctx, { id, actor }) {
      const before = await find(ctx, id);
      await refuseRetry(ctx, before);
      const change = {
        actor,
        action: "delivery.retried",
        object: deliveryId(before.uuid),
        before: { status: before.status },
      };
      const endpoint_no = await retryNow(ctx.db.admin, before.uuid, change);
      if (endpoint_no !== undefined) ctx.wake([endpoint_no]);
      return viewDelivery(await find(ctx, id), ctx);
    },
  }),
  operation({
    id: "cancelDelivery",
    method: "post",
    path: `${path}/cancel`,
    tag,
    summary: "Cancels a pending delivery",
    description: "One that is being sent ends with that attempt: `cancelling` is true then.",
    status: 200,
    response: s.Delivery,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.DELIVERY_ID,
      response: {
        ...example.delivery,
        status: "cancelled",
        cancel_reason: "Cancelled by ops",
        explanation: "Cancelled after 2 attempts: Cancelled by ops",
        next_attempt_at: null,
        ended_at: "2026-11-24T10:01:00.000Z",
      },
    },
    async handle(ctx, { id, actor }) {
      const before = await find(ctx, id);
      refuseCancel(before);
      const object = deliveryId(before.uuid);
      const change = { actor, action: "delivery.cancelled", object };
      await cancel(ctx.db.admin, before.uuid, `Cancelled by ${actor.name}`, change);
      const after = await find(ctx, id);
      refuseCancel(after);
      return viewDelivery(after, ctx);
    },
  }),
];

function notFound(): AppError {
  return new AppError("not_found", "There is no such delivery; it may have been purged");
}

async function find(ctx: RouteContext, id: string): Promise<DeliveryRow> {
  const uuid = parseDeliveryId(id);
  const row = uuid === undefined ? undefined : await getDelivery(ctx.db.admin, "everything", uuid);
  if (row === undefined) throw notFound();
  return row;
}

async function refuseRetry(ctx: RouteContext, row: DeliveryRow): Promise<void> {
  if (row.status === "pending") {
    if (!row.sending) return;
    throw new AppError(
      "conflict",
      "The delivery is being sent right now; look again when that attempt has ended",
    );
  }
  const endpoint = await getEndpoint(ctx.db.admin, "everything", row.endpoint);
  if (endpoint?.retired_at != null) {
    throw new AppError(
      "conflict",
      `Its endpoint ${row.endpoint} is retired; nothing is sent to it`,
    );
  }
}

function refuseCancel(row: DeliveryRow): void {
  if (row.status !== "delivered" && row.status !== "failed") return;
  throw new AppError("conflict", `The delivery has ended already: it is ${row.status}`);
}

/** How far a UUID's time may be from the database's: the clock of a daemon that has just started. */
const SLACK_MS = 3_600_000;

/** A period with its bounds on UUIDs. */
export function periodOf(since: string | undefined, until: string | undefined): Period {
  return {
    since,
    until,
    first_uuid: since === undefined ? undefined : firstUuidAt(Date.parse(since) - SLACK_MS),
    last_uuid: until === undefined ? undefined : firstUuidAt(Date.parse(until) + SLACK_MS),
  };
}
