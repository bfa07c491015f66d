import { type ChangeBetween, compare, type ComparedAttempt } from "../core/comparison.ts";
import { AppError } from "../core/errors.ts";
import { isObject } from "../core/json.ts";
import { deliveryId } from "../core/ids.ts";
import { changesOf, type EndpointChange, lastAccepted } from "../store/reports/causes.ts";
import { type AttemptRow, attemptsOf, type DeliveryRow } from "../store/reports/deliveries.ts";
import { getEvent } from "../store/reports/events.ts";
import type { AdminContext, Asker } from "./context.ts";
import { findDelivery, notFound } from "./lookup.ts";
import type * as shown from "./shown.ts";
import { viewAttempt } from "./views.ts";

/** Which attempts to compare. */
export interface ComparisonQuery {
  /** Number of the attempt; left out, the last one. */
  readonly attempt?: number | undefined;
  /** Number of another one of the delivery; left out, the last one of its endpoint that was accepted before. */
  readonly with?: number | undefined;
}

/** An attempt with what belongs to it. */
interface Side {
  readonly row: AttemptRow;
  readonly delivery: DeliveryRow;
  readonly attempt: shown.Attempt;
}

/** Compares two attempts of a delivery, or one with the last of its endpoint that was accepted before it. */
export async function compareAttempts(
  ctx: AdminContext,
  by: Asker,
  id: string,
  query: ComparisonQuery,
): Promise<shown.Comparison> {
  const sides = await sidesOf(ctx, by, id);
  const after = sideAt(sides, query.attempt);
  const before = query.with === undefined
    ? await acceptedBefore(ctx, by, after)
    : sideAt(sides, query.with);
  if (before === undefined) {
    return { before: null, after: viewSide(after), rows: [], same: "" };
  }
  const changes = await changesOf(ctx.db.admin, by.scope, [after.delivery.endpoint]);
  const rotations = changes.filter(({ action }) => action === "endpoint.rotated");
  const facts = (side: Side) => factsOf(side, rotations);
  const found = compare(facts(before), facts(after), between(changes, before, after));
  return {
    before: viewSide(before),
    after: viewSide(after),
    rows: [...found.rows],
    same: found.same,
  };
}

async function sidesOf(ctx: AdminContext, by: Asker, id: string): Promise<Side[]> {
  const delivery = await findDelivery(ctx, by, id);
  const event = await getEvent(ctx.db.admin, by.scope, delivery.event_uuid);
  if (event === undefined) throw notFound("delivery; it may have been purged");
  const rows = await attemptsOf(ctx.db.admin, by.scope, delivery.uuid);
  return rows.map((row) => ({
    row,
    delivery,
    attempt: viewAttempt(row, delivery, event, by, ctx),
  }));
}

function sideAt(sides: readonly Side[], number: number | undefined): Side {
  const side = number === undefined ? sides.at(-1) : sides.find(({ row }) => row.number === number);
  if (side !== undefined) return side;
  const numbers = sides.map(({ row }) => row.number).join(", ");
  throw new AppError(
    "not_found",
    numbers === ""
      ? "The delivery has no attempt yet"
      : `The delivery has no attempt ${number}; there is ${numbers}`,
  );
}

/** The last attempt that the endpoint accepted before that; undefined if none is known. */
async function acceptedBefore(
  ctx: AdminContext,
  by: Asker,
  { row, delivery }: Side,
): Promise<Side | undefined> {
  const { endpoint_no } = delivery;
  const [last] = await lastAccepted(ctx.db.admin, by.scope, { endpoint_no, at: row.started_at });
  if (last === undefined) return undefined;
  const sides = await sidesOf(ctx, by, deliveryId(last.delivery_uuid)).catch((error) => {
    // Gone since, or of an event that is out of the scope.
    if (error instanceof AppError && error.code === "not_found") return [];
    throw error;
  });
  return sides.find(({ row }) => row.number === last.number);
}

function viewSide({ delivery, attempt }: Side): NonNullable<shown.Comparison["before"]> {
  const { number, started_at, outcome, status } = attempt;
  const delivery_id = deliveryId(delivery.uuid);
  return { delivery_id, attempt: number, started_at, outcome, status, test: delivery.test };
}

function factsOf(
  { row, delivery, attempt }: Side,
  rotations: readonly EndpointChange[],
): ComparedAttempt {
  const at = row.started_at.getTime();
  const rotation = rotations.findLast((one) => tookEffectAt(one) <= at);
  const secret = rotations.length === 0
    ? "the endpoint's secret"
    : rotation === undefined
    ? "an earlier secret"
    : `secret of version ${rotation.version}`;
  return {
    ...attempt,
    event_type: delivery.type,
    test: delivery.test,
    version: row.endpoint_version,
    signed_with: row.request_signature === null ? null : secret,
  };
}

/** When a change took effect: a new secret may sign from a later time on. In milliseconds since 1970. */
function tookEffectAt({ at, after }: EndpointChange): number {
  const activates_at = isObject(after) ? after["activates_at"] : undefined;
  return Math.max(at.getTime(), typeof activates_at === "string" ? Date.parse(activates_at) : 0);
}

/** The changes that took effect between two attempts, whichever was first. */
function between(changes: readonly EndpointChange[], one: Side, other: Side): ChangeBetween[] {
  const times = [one, other].map(({ row }) => row.started_at.getTime());
  const versions = [one, other].map(({ row }) => row.endpoint_version);
  const within = (value: number, bounds: readonly number[]) =>
    value > Math.min(...bounds) && value <= Math.max(...bounds);
  return changes.filter((change) =>
    within(tookEffectAt(change), times) ||
    (change.version !== null && within(change.version, versions))
  ).map((change) => ({
    who: `${change.actor}, ${new Date(tookEffectAt(change)).toISOString()}`,
    version: change.version,
    is_rotation: change.action === "endpoint.rotated",
    before: change.before,
    after: change.after,
  }));
}
