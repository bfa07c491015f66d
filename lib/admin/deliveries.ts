import { cancelledBy, type DeliveryReason } from "../core/cancellation.ts";
import { AppError } from "../core/errors.ts";
import { deliveryId, parseDeliveryId } from "../core/ids.ts";
import { nameFor } from "../core/scope.ts";
import { cancel, retryNow } from "../store/deliveries.ts";
import { isClosed } from "../store/partitions.ts";
import * as read from "../store/reports/deliveries.ts";
import { getEndpoint } from "../store/reports/endpoints.ts";
import { getEvent } from "../store/reports/events.ts";
import type { AdminContext, Asker } from "./context.ts";
import {
  type Countable,
  counted,
  type Paged,
  periodOf,
  readCursor,
  viewPage,
  type Within,
} from "./lists.ts";
import { filterEndpoint, findDelivery, notFound } from "./lookup.ts";
import type * as shown from "./shown.ts";
import { viewAttempt, viewDelivery } from "./views.ts";

/** Narrows a list of deliveries. */
export interface DeliveryQuery extends Paged, Within, Countable {
  readonly status?: shown.Delivery["status"] | undefined;
  /** Endpoint id. */
  readonly endpoint?: string | undefined;
  readonly type?: string | undefined;
  /** Why the last attempt failed, `any`, or why it was cancelled. */
  readonly reason?: DeliveryReason | undefined;
  /** A status of the last answer: `401` or `4xx`. */
  readonly code?: string | undefined;
}

/** Deliveries, newest first. */
export async function listDeliveries(
  ctx: AdminContext,
  by: Asker,
  { cursor, since, until, count, ...query }: DeliveryQuery,
): Promise<shown.CountedPage<shown.Delivery>> {
  await filterEndpoint(ctx, by, query.endpoint);
  const filter = {
    ...query,
    period: periodOf({ since, until }),
    before: readCursor(cursor, parseDeliveryId),
  };
  const page = await read.listDeliveries(ctx.db.admin, by.scope, filter);
  return await counted(
    viewPage(page, (row) => viewDelivery(row, by, ctx), deliveryId),
    count,
    () => read.countDeliveries(ctx.db.admin, by.scope, filter),
  );
}

/** A delivery with its attempts. */
export async function getDelivery(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.DeliveryDetail> {
  const delivery = await findDelivery(ctx, by, id);
  const event = await getEvent(ctx.db.admin, by.scope, delivery.event_uuid);
  if (event === undefined) throw notFound("delivery; it may have been purged");
  const attempts = await read.attemptsOf(ctx.db.admin, by.scope, delivery.uuid);
  return {
    ...viewDelivery(delivery, by, ctx),
    attempts: attempts.map((attempt) => viewAttempt(attempt, delivery, event, by, ctx)),
  };
}

/** Makes a delivery due now; one that ended gets a new round of attempts. */
export async function retryDelivery(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.Delivery> {
  const before = await findDelivery(ctx, by, id);
  await refuseRetry(ctx, by, before);
  ctx.pace(by, "change");
  const endpoint_no = await retryNow(ctx.db.admin, before.uuid, {
    actor: by.actor,
    action: "delivery.retried",
    object: deliveryId(before.uuid),
    before: { status: before.status },
  });
  if (endpoint_no !== undefined) ctx.wake([endpoint_no]);
  return viewDelivery(await findDelivery(ctx, by, id), by, ctx);
}

async function refuseRetry(
  ctx: AdminContext,
  { scope }: Asker,
  row: read.DeliveryRow,
): Promise<void> {
  if (row.status === "pending") {
    if (!row.sending) return;
    throw new AppError(
      "conflict",
      "The delivery is being sent right now; look again when that attempt has ended",
    );
  }
  const endpoint = await getEndpoint(ctx.db.admin, scope, row.endpoint);
  if (endpoint?.retired_at != null) {
    throw new AppError(
      "conflict",
      `Its endpoint ${row.endpoint} is retired; nothing is sent to it`,
    );
  }
  const event = await getEvent(ctx.db.admin, scope, row.event_uuid);
  if (event?.erased_at != null) {
    throw new AppError("erased", "The event's payload was erased, so nothing can be sent");
  }
  if (event?.payload === null) {
    throw new AppError(
      "payload_gone",
      "The event's payload is older than retention.payloads and gone, so nothing can be sent; have " +
        "BookMe post the event again, under another id",
    );
  }
  if (await isClosed(ctx.db.admin, row.uuid)) {
    throw new AppError(
      "payload_gone",
      "The event is older than retention.events and about to be dropped with its whole week; have " +
        "BookMe post it again, under another id",
    );
  }
}

/** Cancels a pending delivery; one that is being sent ends with that attempt. */
export async function cancelDelivery(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.Delivery> {
  const before = await findDelivery(ctx, by, id);
  refuseCancel(before);
  ctx.pace(by, "change");
  const name = nameFor(before.owner, by.actor.name);
  await cancel(ctx.db.admin, before.uuid, cancelledBy(name), {
    actor: by.actor,
    action: "delivery.cancelled",
    object: deliveryId(before.uuid),
  });
  const after = await findDelivery(ctx, by, id);
  refuseCancel(after);
  return viewDelivery(after, by, ctx);
}

function refuseCancel(row: read.DeliveryRow): void {
  if (row.status !== "delivered" && row.status !== "failed") return;
  throw new AppError("conflict", `The delivery has ended already: it is ${row.status}`);
}
