import { Buffer } from "node:buffer";
import { AppError, invalidAt } from "../core/errors.ts";
import type { EventType } from "../core/event_types.ts";
import { deliveryId, eventId, parseEventId } from "../core/ids.ts";
import { nearest } from "../core/nearest.ts";
import { parseIngest } from "../core/payload.ts";
import type { StoredEndpoint } from "../store/endpoints.ts";
import { deliveriesOf } from "../store/reports/deliveries.ts";
import { listEndpoints } from "../store/reports/endpoints.ts";
import { type EventRow, getEvent } from "../store/reports/events.ts";
import type { AdminContext, Asker } from "./context.ts";
import { getDelivery, listDeliveries } from "./deliveries.ts";
import { eventTypesFor } from "./event_types.ts";
import { filterEndpoint, findEndpoint, notFound } from "./lookup.ts";
import type * as shown from "./shown.ts";
import { businessOf, sampleOf, wouldBeOwed } from "./test_event.ts";

/** Whether an endpoint is owed real events like a test, as it is now. */
export interface OwedNow {
  readonly endpoint_id: string;
  readonly name: string;
  readonly owed: boolean;
  /** Why not, in words; null if it is. */
  readonly reason: string | null;
  /** What it selects. */
  readonly events: readonly string[];
  /** ISO 8601; null if it is not paused. */
  readonly paused_at: string | null;
  /** Why this daemon cannot send to it, or null. */
  readonly unsendable_reason: string | null;
}

/** A test that was sent. */
export interface TestShown {
  readonly event_id: string;
  /** JSON text; null once it is gone, or hidden. */
  readonly payload: string | null;
  readonly delivery: shown.DeliveryDetail;
}

/** Everything that a page for tests shows, and offers for the next one. */
export interface TestDraft {
  /** Endpoints in force, the last made first, at most `MAX_ENDPOINTS`. */
  readonly endpoints: readonly { readonly id: string; readonly name: string }[];
  /** Whether that is all of them. */
  readonly is_all: boolean;
  readonly types: readonly string[];
  /** The endpoint that is chosen; null if there is none. */
  readonly endpoint: string | null;
  readonly type: string;
  /** The type's sample as it would be sent there, JSON text. */
  readonly sample: string;
  /** The test asked for; null if none was. */
  readonly test: TestShown | null;
  /** Of the test, else of the sample: its type, and whether each endpoint would be owed a real one. */
  readonly real: { readonly type: string; readonly owed: readonly OwedNow[] };
  /** The last tests, the newest first. */
  readonly earlier: readonly shown.Delivery[];
}

/** The choices for a test. */
export interface TestChoice {
  readonly endpoint?: string | undefined;
  readonly type?: string | undefined;
  /** A test's event. */
  readonly sent?: string | undefined;
}

/** Most endpoints that a test offers, and judges. */
export const MAX_ENDPOINTS = 200;
/** Tests that are listed. */
const MAX_EARLIER = 6;

/** Everything that a page for tests shows. Throws an `AppError` for a choice that names nothing. */
export async function draftTest(
  ctx: AdminContext,
  by: Asker,
  choice: TestChoice,
): Promise<TestDraft> {
  const sent = choice.sent === undefined ? undefined : await eventOf(ctx, by, choice.sent);
  if (choice.sent !== undefined && !sent?.test) throw notFound("test; it may have been purged");
  const chosen = await filterEndpoint(ctx, by, choice.endpoint);
  const { rows, next } = await listEndpoints(ctx.db.admin, by.scope, {
    retired: false,
    before: undefined,
    limit: MAX_ENDPOINTS,
  });
  const earlier = await listDeliveries(ctx, by, {
    test: true,
    endpoint: chosen?.id,
    limit: MAX_EARLIER,
  });
  const test = sent === undefined ? null : await showTest(ctx, by, sent);
  const [last] = earlier.data;
  const before = test?.delivery ?? last;
  const endpoint = chosen ?? rows.find(({ id }) => id === before?.endpoint_id) ?? rows[0];
  const type = typeOf(ctx, by, choice.type ?? before?.event_type);
  const sample = sampleOf(ctx, type, endpoint?.owner ?? null);
  // One that is not among the newest is offered nevertheless.
  const is_listed = endpoint === undefined || endpoint.retired_at !== null ||
    rows.some(({ no }) => no === endpoint.no);
  const offered = is_listed ? rows : [endpoint, ...rows];
  const real = await realOf(ctx, by, sent, {
    type: type.name,
    payload: sample,
    business: endpoint?.owner ?? null,
  });
  return {
    endpoints: offered.map((row) => ({ id: row.id, name: nameOf(row) })),
    is_all: next === null,
    types: eventTypesFor(ctx, by).names,
    endpoint: endpoint?.id ?? null,
    type: type.name,
    sample,
    test,
    real: { type: real.type, owed: offered.map((row) => judge(ctx, row, real)) },
    earlier: earlier.data,
  };
}

/** The sample of a type as it would be sent to an endpoint, JSON text; empty if there is none of that name. */
export async function sampleFor(
  ctx: AdminContext,
  by: Asker,
  endpoint_id: string,
  type_name: string,
): Promise<string> {
  const type = eventTypesFor(ctx, by).get(type_name);
  if (type === undefined) return "";
  return sampleOf(ctx, type, (await findEndpoint(ctx, by, endpoint_id)).owner);
}

async function eventOf(
  { db }: AdminContext,
  { scope }: Asker,
  id: string | undefined,
): Promise<EventRow | undefined> {
  const uuid = id === undefined ? undefined : parseEventId(id);
  return uuid === undefined ? undefined : await getEvent(db.admin, scope, uuid);
}

async function showTest(ctx: AdminContext, by: Asker, event: EventRow): Promise<TestShown | null> {
  const [delivery] = await deliveriesOf(ctx.db.admin, by.scope, event.uuid);
  return delivery === undefined ? null : {
    event_id: eventId(event.uuid),
    payload: by.payloads ? event.payload : null,
    delivery: await getDelivery(ctx, by, deliveryId(delivery.uuid)),
  };
}

/** The type of that name; by default the first one. */
function typeOf(ctx: AdminContext, by: Asker, name: string | undefined): EventType {
  const event_types = eventTypesFor(ctx, by);
  const type = event_types.get(name ?? event_types.names[0] ?? "");
  if (type !== undefined) return type;
  const near = nearest(name ?? "", event_types.names);
  throw invalidAt(
    "/type",
    "There is no such event type" + (near === undefined ? "" : `; did you mean ${near}?`),
  );
}

interface Real {
  readonly type: string;
  readonly business: string | null;
}

/** What a real event like the test, else like the sample, would be. */
async function realOf(
  ctx: AdminContext,
  by: Asker,
  test: EventRow | undefined,
  sample: Real & { readonly payload: string },
): Promise<Real> {
  const { type, payload, business } = test ?? sample;
  const known = ctx.in_force().event_types.get(type);
  // Without its payload, or its type, nothing more is known of it.
  if (payload === null || known === undefined) return { type, business };
  // Some samples name no business; real events like them inherit it.
  if (business !== null && isSample(payload, sampleOf(ctx, known, business))) {
    return { type, business };
  }
  const [parsed] = readEvents(ctx, payload);
  return { type, business: parsed === undefined ? business : await businessOf(ctx, by, parsed) };
}

function readEvents(ctx: AdminContext, payload: string) {
  try {
    return parseIngest(Buffer.from(payload, "utf8"), "json", ctx.in_force().event_types).events;
  } catch (error) {
    // The rules of its type may have changed since.
    if (error instanceof AppError) return [];
    throw error;
  }
}

/** Whether a payload is a sample, but for white space and the time. */
export function isSample(payload: string, sample: string): boolean {
  const plain = (text: string) => text.replace(/"timestamp"\s*:\s*"[^"]*"/, "").replace(/\s+/g, "");
  return plain(payload) === plain(sample);
}

function judge(ctx: AdminContext, row: StoredEndpoint, real: Real): OwedNow {
  const { would_be_owed, reason } = wouldBeOwed(row, real);
  return {
    endpoint_id: row.id,
    name: nameOf(row),
    owed: would_be_owed,
    reason,
    events: row.events,
    paused_at: row.paused_at?.toISOString() ?? null,
    unsendable_reason: ctx.endpoint(row.no)?.unsendable_reason ?? null,
  };
}

function nameOf({ id, settings }: StoredEndpoint): string {
  return settings.description ?? id;
}
