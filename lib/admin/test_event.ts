import { Buffer } from "node:buffer";
import { AppError, invalidAt } from "../core/errors.ts";
import { alertId, deliveryUuid, eventId } from "../core/ids.ts";
import { explainMismatch } from "../core/explain.ts";
import { explainMatch, type Selection } from "../core/matching.ts";
import { changeOf, testAlertEvent } from "../core/alerting/event.ts";
import { type EventType, OPERATIONAL_NAMES, SAMPLE_BUSINESS } from "../core/event_types.ts";
import { nearest } from "../core/nearest.ts";
import { type ParsedEvent, parseIngest } from "../core/payload.ts";
import { inSeconds } from "../core/time.ts";
import { writeAudit } from "../store/audit.ts";
import type { StoredEndpoint } from "../store/endpoints.ts";
import { findBusinesses } from "../store/events.ts";
import { type AttemptRow, attemptsOf, getDelivery } from "../store/reports/deliveries.ts";
import type { AdminContext, Asker } from "./context.ts";
import type { TestInput } from "./inputs.ts";
import { findEndpointInForce, notFound, retired } from "./lookup.ts";
import type * as shown from "./shown.ts";
import { viewAttempt, viewDelivery } from "./views.ts";

/** Sends a test event to one endpoint and waits for its first attempt, unless the asker `isGone`. */
export async function testEndpoint(
  ctx: AdminContext,
  by: Asker,
  id: string,
  input: TestInput,
  isGone: () => boolean,
): Promise<shown.TestResult> {
  const { row, event, event_uuid, uuid } = await send(ctx, by, id, input);
  const wait_ms = (ctx.endpoint(row.no)?.timeout_ms ?? 30_000) + 5_000;
  const attempt = await firstAttempt(ctx, by, uuid, wait_ms, isGone);
  const delivery = await getDelivery(ctx.db.admin, by.scope, uuid);
  if (delivery === undefined) throw notFound("delivery");
  const found = { type: event.type, business: await businessOf(ctx, by, event) };
  return {
    event_id: eventId(event_uuid),
    delivery: viewDelivery(delivery, by, ctx),
    attempt: attempt === undefined ? null : viewAttempt(attempt, delivery, event, by, ctx),
    ...wouldBeOwed(row, found),
  };
}

/** How long `beginTest` waits, in milliseconds: most receivers answer by then. */
const PATIENCE_MS = 2_000;

/**
 * Sends a test event to one endpoint, and waits a moment for its first attempt, unless the asker `isGone`: the page
 * that follows shows the rest. Returns the event's id.
 */
export async function beginTest(
  ctx: AdminContext,
  by: Asker,
  id: string,
  input: TestInput,
  isGone: () => boolean,
): Promise<string> {
  const { event_uuid, uuid } = await send(ctx, by, id, input);
  await firstAttempt(ctx, by, uuid, PATIENCE_MS, isGone);
  return eventId(event_uuid);
}

async function send(ctx: AdminContext, by: Asker, id: string, input: TestInput) {
  const row = await findEndpointInForce(ctx, by, id);
  refuseUnready(ctx, row);
  const event = testEvent(ctx, row.owner, input);
  ctx.pace(by, "test");
  await writeAudit(ctx.db.admin, {
    actor: by.actor,
    action: "endpoint.tested",
    object: id,
    after: { event: input.event },
  });
  // It belongs to the endpoint's owner, whoever tests it and whatever business its data names.
  const [accepted] = await ctx.accept([{
    event: { ...event, business: row.owner },
    key: null,
    test_endpoint_no: row.no,
  }]);
  if (accepted === undefined || accepted.deliveries === 0) throw retired(id);
  return { row, event, event_uuid: accepted.uuid, uuid: deliveryUuid(accepted.uuid, row.no) };
}

/** Whether the endpoint is owed real events of that type and business, as it is now, and if not, why. */
export function wouldBeOwed(
  endpoint: Selection,
  { type, business }: { readonly type: string; readonly business: string | null },
): Pick<shown.TestResult, "would_be_owed" | "reason"> {
  if (explainMatch(endpoint, type, business) === "matched") {
    return { would_be_owed: true, reason: null };
  }
  const event = { type, business, test: false };
  return { would_be_owed: false, reason: explainMismatch(event, endpoint, "is").explanation };
}

/**
 * The business of a real event like this one: that which it names, else the one last stored for its subject. Within a
 * scope, that of another counts as unknown.
 */
export async function businessOf(
  ctx: AdminContext,
  { scope }: Asker,
  { business: named, subject_key }: Pick<ParsedEvent, "business" | "subject_key">,
): Promise<string | null> {
  if (named !== null || subject_key === null) return named;
  const business = (await findBusinesses(ctx.db.admin, [subject_key])).get(subject_key) ?? null;
  return scope === "everything" || business === scope.business ? business : null;
}

function refuseUnready(ctx: AdminContext, row: StoredEndpoint): void {
  if (row.paused_at !== null) {
    throw new AppError(
      "conflict",
      `The endpoint ${row.id} is paused (${row.pause_reason}); resume it first. Real events are ` +
        "owed to it meanwhile, and wait",
    );
  }
  const reason = ctx.endpoint(row.no)?.unsendable_reason ?? null;
  if (reason !== null) {
    throw new AppError(
      "conflict",
      `The endpoint ${row.id} cannot be sent to: ${reason}. Real events are owed to it, and wait`,
    );
  }
}

/** The event of a test: with the caller's data, or the type's sample, made one of the owner's business. */
function testEvent(
  ctx: AdminContext,
  owner: string | null,
  { event, data, business }: TestInput,
): ParsedEvent {
  const operational = OPERATIONAL_NAMES.find((name) => name === event);
  if (operational !== undefined && owner === null) return testAlert(ctx, operational, data);
  const types = ctx.in_force().event_types;
  const type = types.get(event);
  if (type === undefined) {
    const near = nearest(event, types.names);
    throw invalidAt(
      "/event",
      near === undefined
        ? `There is no such event type; there are ${types.names.join(", ")}`
        : `There is no such event type; did you mean ${near}?`,
    );
  }
  if (business !== undefined && data === undefined) throw invalidAt("/business", "Needs data");
  const payload = data === undefined
    ? sampleOf(ctx, type, owner)
    : writeEvent({ event, timestamp: timestampOf(ctx), data, business });
  const [parsed] = parseIngest(Buffer.from(payload, "utf8"), "json", types).events;
  if (parsed === undefined) throw invalidAt("/data", "Makes no event");
  // Some samples name no business; real events like them inherit it.
  return data === undefined && owner !== null ? { ...parsed, business: owner } : parsed;
}

/** A test of an operational event, which BookMe cannot post. */
function testAlert(
  ctx: AdminContext,
  type: typeof OPERATIONAL_NAMES[number],
  data: unknown,
): ParsedEvent {
  const timestamp = timestampOf(ctx);
  return {
    payload: data === undefined
      ? testAlertEvent(changeOf(type), ctx.now(), alertId(ctx.newUuid()))
      : writeEvent({ event: type, timestamp, data }),
    type,
    timestamp,
    ...{ key: null, business: null, subject: null, subject_key: null, confirmation: null },
  };
}

/** The sample of a type at this moment, made one of the owner's business: JSON text. */
export function sampleOf(ctx: AdminContext, { sample }: EventType, owner: string | null): string {
  const now = sample.replace(/"timestamp": "[^"]*"/, `"timestamp": "${timestampOf(ctx)}"`);
  if (owner === null) return now;
  // Split, because `replace` reads `$` in what it puts in.
  return now.split(JSON.stringify(SAMPLE_BUSINESS)).join(JSON.stringify(owner));
}

function timestampOf({ now }: AdminContext): string {
  return inSeconds(new Date(now()).toISOString());
}

function writeEvent(event: unknown): string {
  try {
    return JSON.stringify(event);
  } catch {
    throw invalidAt("/data", "Is nested too deeply");
  }
}

async function firstAttempt(
  ctx: AdminContext,
  { scope }: Asker,
  uuid: string,
  wait_ms: number,
  isGone: () => boolean,
): Promise<AttemptRow | undefined> {
  const end = performance.now() + wait_ms;
  for (let pause_ms = 5;; pause_ms = Math.min(pause_ms * 1.5, 250)) {
    const [attempt] = await attemptsOf(ctx.db.admin, scope, uuid);
    if (attempt !== undefined || isGone() || performance.now() > end) return attempt;
    await new Promise((resolve) => setTimeout(resolve, pause_ms));
  }
}
