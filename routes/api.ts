import { Hono } from "hono";
import * as v from "valibot";
import { AppError } from "../lib/core/errors.ts";
import { deliveryId, parseDeliveryId, parseEventId } from "../lib/core/ids.ts";
import { REASONS } from "../lib/core/outcome.ts";
import {
  attemptsOf,
  deliveriesOf,
  getDelivery,
  getEvent,
  listDeliveries,
} from "../lib/store/reports.ts";
import { requireToken } from "./auth.ts";
import type { Env, RouteContext } from "./context.ts";
import { viewAttempt, viewDelivery, viewEvent } from "./views.ts";

const MAX_LIMIT = 200;

const limit = v.optional(
  v.pipe(
    v.string(),
    v.regex(/^\d{1,4}$/, `limit is a number from 1 to ${MAX_LIMIT}`),
    v.transform(Number),
    v.minValue(1, `limit is a number from 1 to ${MAX_LIMIT}`),
    v.maxValue(MAX_LIMIT, `limit is a number from 1 to ${MAX_LIMIT}`),
  ),
  "50",
);

const time = (name: string) =>
  v.optional(
    v.pipe(
      v.string(),
      v.isoTimestamp(`${name} is a time like 2026-11-24T10:00:00Z`),
      v.check((text) => !Number.isNaN(Date.parse(text)), `${name} is not a time that exists`),
    ),
  );

const DeliveryQuery = v.strictObject({
  status: v.optional(
    v.picklist(
      ["pending", "delivered", "failed", "cancelled"],
      "status is pending, delivered, failed or cancelled",
    ),
  ),
  endpoint: v.optional(v.pipe(v.string(), v.maxLength(255, "endpoint is an endpoint's id"))),
  type: v.optional(v.pipe(v.string(), v.maxLength(255, "type is an event type"))),
  reason: v.optional(v.picklist([...REASONS], `reason is one of ${REASONS.join(", ")}`)),
  since: time("since"),
  until: time("until"),
  cursor: v.optional(
    v.pipe(
      v.string(),
      v.check(
        (text) => parseDeliveryId(text) !== undefined,
        "cursor is the next_cursor of the page before",
      ),
    ),
  ),
  limit,
});

/** The admin API (contract, section 7). */
export function apiRoutes(ctx: RouteContext): Hono<Env> {
  const { db } = ctx;
  return new Hono<Env>()
    .use(requireToken(ctx))
    .get("/deliveries", async (c) => {
      const { cursor, ...query } = validQuery(DeliveryQuery, c.req.queries());
      const before = cursor === undefined ? undefined : parseDeliveryId(cursor);
      const rows = await listDeliveries(db.admin, {
        ...query,
        ...(before === undefined ? {} : { before }),
        limit: query.limit + 1,
      });
      const page = rows.slice(0, query.limit);
      const last = rows.length > query.limit ? page.at(-1) : undefined;
      return c.json({
        data: page.map(viewDelivery),
        next_cursor: last === undefined ? null : deliveryId(last.uuid),
      });
    })
    .get("/deliveries/:id", async (c) => {
      const uuid = parseDeliveryId(c.req.param("id"));
      const delivery = uuid === undefined ? undefined : await getDelivery(db.admin, uuid);
      const event = delivery && await getEvent(db.admin, delivery.event_uuid);
      if (delivery === undefined || event === undefined) throw notFound("delivery");
      const attempts = await attemptsOf(db.admin, delivery.uuid);
      return c.json({
        ...viewDelivery(delivery),
        attempts: attempts.map((attempt) => viewAttempt(attempt, delivery, event)),
      });
    })
    .get("/events/:id", async (c) => {
      const uuid = parseEventId(c.req.param("id"));
      const event = uuid === undefined ? undefined : await getEvent(db.admin, uuid);
      if (event === undefined) throw notFound("event");
      const deliveries = await deliveriesOf(db.admin, event.uuid);
      return c.json({ ...viewEvent(event), deliveries: deliveries.map(viewDelivery) });
    });
}

function notFound(what: string): AppError {
  return new AppError("not_found", `There is no such ${what}; it may have been purged`);
}

// Each parameter once; what is unknown is refused, because a misspelt filter would show everything.
function validQuery<S extends v.GenericSchema>(
  schema: S,
  queries: Record<string, string[]>,
): v.InferOutput<S> {
  const flat: Record<string, string | string[]> = {};
  for (const [name, values] of Object.entries(queries)) {
    flat[name] = values.length === 1 && values[0] !== undefined ? values[0] : values;
  }
  const result = v.safeParse(schema, flat);
  if (result.success) return result.output;
  throw new AppError("invalid", "The query is not valid", {
    errors: result.issues.map((issue) => ({
      pointer: "/" + String(issue.path?.[0]?.key ?? ""),
      message: issue.type === "strict_object"
        ? `There is no parameter ${JSON.stringify(issue.path?.[0]?.key)}`
        : issue.message,
    })),
  });
}
