import { Buffer } from "node:buffer";
import { AppError, invalidAt } from "../core/errors.ts";
import { deliveryUuid, eventId } from "../core/ids.ts";
import { parseIngest } from "../core/payload.ts";
import { writeAudit } from "../store/audit.ts";
import type { StoredEndpoint } from "../store/endpoints.ts";
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
  const row = await findEndpointInForce(ctx, by, id);
  refuseUnready(ctx, row);
  const event = testEvent(ctx, by, input);
  await writeAudit(ctx.db.admin, {
    actor: by.actor,
    action: "endpoint.tested",
    object: id,
    after: { event: input.event },
  });
  const [accepted] = await ctx.accept([{ event, key: null, test_endpoint_no: row.no }]);
  if (accepted === undefined || accepted.deliveries === 0) throw retired(id);
  const uuid = deliveryUuid(accepted.uuid, row.no);
  const wait_ms = (ctx.endpoint(row.no)?.timeout_ms ?? 30_000) + 5_000;
  const attempt = await firstAttempt(ctx, by, uuid, wait_ms, isGone);
  const delivery = await getDelivery(ctx.db.admin, by.scope, uuid);
  if (delivery === undefined) throw notFound("delivery");
  return {
    event_id: eventId(accepted.uuid),
    delivery: viewDelivery(delivery, ctx),
    attempt: attempt === undefined ? null : viewAttempt(attempt, delivery, event, ctx),
  };
}

function refuseUnready(ctx: AdminContext, row: StoredEndpoint): void {
  if (row.paused_at !== null) {
    throw new AppError("conflict", `The endpoint ${row.id} is paused; resume it first`);
  }
  const reason = ctx.endpoint(row.no)?.unsendable_reason ?? null;
  if (reason !== null) {
    throw new AppError("conflict", `The endpoint ${row.id} cannot be sent to: ${reason}`);
  }
}

function testEvent(ctx: AdminContext, { scope }: Asker, { event, data }: TestInput) {
  const types = ctx.in_force().event_types;
  const type = types.get(event);
  if (type === undefined) {
    throw invalidAt("/event", `There is no such event type; there are ${types.names.join(", ")}`);
  }
  const timestamp = new Date(ctx.now()).toISOString().replace(/\.\d+Z$/, "Z");
  const payload = data === undefined
    ? type.sample.replace(/"timestamp": "[^"]*"/, `"timestamp": "${timestamp}"`)
    : writeEvent({ event, timestamp, data });
  const [parsed] = parseIngest(Buffer.from(payload, "utf8"), "json", types).events;
  if (parsed === undefined) throw invalidAt("/data", "Makes no event");
  // A business's test is its own event, whatever business its data names.
  return scope === "everything" ? parsed : { ...parsed, business: scope.business };
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
