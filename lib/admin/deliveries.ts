import { cancelledBy, type DeliveryReason } from "../core/cancellation.ts";
import { AppError } from "../core/errors.ts";
import { deliveryId, parseDeliveryId } from "../core/ids.ts";
import { nameFor } from "../core/scope.ts";
import { cancel, retryNow } from "../store/deliveries.ts";
import { isClosed } from "../store/partitions.ts";
import * as read from "../store/reports/deliveries.ts";
import { getEndpoint } from "../store/reports/endpoints.ts";
import { getEvent } from "../store/reports/events.ts";
import type { Bounded } from "../store/reports/page.ts";
import type { DeliveryFilter } from "../store/reports/search.ts";
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
import { filterEndpoint, findDelivery, notFound } from "./lookup.ts";
import type * as shown from "./shown.ts";
import { viewAttempt, viewDelivery } from "./views.ts";

type Status = shown.Delivery["status"];

/** Selects deliveries. */
export interface DeliverySelection extends Within {
  /** Any of these. */
  readonly status?: Status | readonly Status[] | undefined;
  /** Only those that are due, are not being sent, and wait for nothing that anybody asked for. */
  readonly overdue?: boolean | undefined;
  /** Only those of test events. */
  readonly test?: boolean | undefined;
  /** Endpoint id. */
  readonly endpoint?: string | undefined;
  readonly type?: string | undefined;
  /** Why the last attempt failed, `any`, or why it was cancelled. */
  readonly reason?: DeliveryReason | undefined;
  /** A status of the last answer: `401` or `4xx`. */
  readonly code?: string | undefined;
}

/** One page of them. */
export interface DeliveryQuery extends DeliverySelection, Paged, Countable {}

/** Deliveries, newest first. */
export async function listDeliveries(
  ctx: AdminContext,
  by: Asker,
  { count, ...query }: DeliveryQuery,
): Promise<shown.CountedPage<shown.Delivery>> {
  const filter = await filterOf(ctx, by, query);
  const page = await read.listDeliveries(ctx.db.admin, by.scope, filter);
  return await counted(
    viewPage(page, (row) => viewDelivery(row, by, ctx), deliveryId),
    count,
    () => read.countDeliveries(ctx.db.admin, by.scope, filter),
  );
}

/** Counts deliveries that match, at most 1,000, whatever the page. */
export async function countDeliveries(
  ctx: AdminContext,
  by: Asker,
  query: DeliverySelection,
): Promise<Bounded> {
  const filter = await filterOf(ctx, by, { ...query, limit: 1 });
  return await read.countDeliveries(ctx.db.admin, by.scope, filter);
}

/** Deliveries that match, counted by what became of them where. */
export interface Breakdown {
  readonly groups: readonly read.DeliveryGroup[];
  /** False: there may be more than these. */
  readonly exact: boolean;
}

/** Counts deliveries that match, at most the newest 1,000, by status, endpoint and last outcome. */
export async function groupDeliveries(
  ctx: AdminContext,
  by: Asker,
  query: DeliverySelection,
): Promise<Breakdown> {
  const filter = await filterOf(ctx, by, { ...query, limit: 1 });
  return await read.groupDeliveries(ctx.db.admin, by.scope, filter);
}

async function filterOf(
  ctx: AdminContext,
  by: Asker,
  { cursor, since, until, status, ...query }: Omit<DeliveryQuery, "count">,
): Promise<DeliveryFilter> {
  await filterEndpoint(ctx, by, query.endpoint);
  return {
    ...query,
    statuses: typeof status === "string" ? [status] : status,
    period: periodOf({ since, until }),
    before: readCursor(cursor, parseDeliveryId),
  };
}

/** A delivery with its attempts, and why they may have failed. */
export async function getDelivery(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<shown.DeliveryDetail> {
  const delivery = await findDelivery(ctx, by, id);
  const event = await getEvent(ctx.db.admin, by.scope, delivery.event_uuid);
  if (event === undefined) throw notFound("delivery; it may have been purged");
  const [attempts, hints] = await Promise.all([
    read.attemptsOf(ctx.db.admin, by.scope, delivery.uuid),
    deliveryHints(ctx, by, [delivery]),
  ]);
  return {
    ...viewDelivery(delivery, by, ctx),
    hints: hints.get(delivery.uuid) ?? [],
    // Without one that was recorded since the delivery was read: everything in the answer is of one moment.
    attempts: attempts.filter(({ number }) => number <= delivery.attempts)
      .map((attempt) => viewAttempt(attempt, delivery, event, by, ctx)),
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
  const { ended } = await cancel(ctx.db.admin, before.uuid, cancelledBy(name), {
    actor: by.actor,
    action: "delivery.cancelled",
    object: deliveryId(before.uuid),
  });
  ctx.ended(ended);
  const after = await findDelivery(ctx, by, id);
  refuseCancel(after);
  return viewDelivery(after, by, ctx);
}

function refuseCancel(row: read.DeliveryRow): void {
  if (row.status !== "delivered" && row.status !== "failed") return;
  throw new AppError("conflict", `The delivery has ended already: it is ${row.status}`);
}
