import { AppError } from "../core/errors.ts";
import { deliveryId, eventId, parseAttemptId, parseEventId, replayId } from "../core/ids.ts";
import { nearestFirst } from "../core/nearest.ts";
import { kindOfId } from "../core/search_query.ts";
import { openOf } from "../store/reports/deliveries.ts";
import { type FoundEndpoint, searchEndpoints } from "../store/reports/endpoints.ts";
import type { AdminContext, Asker } from "./context.ts";
import { listEvents } from "./events.ts";
import { findDelivery, findReplay } from "./lookup.ts";
import { endpointNames } from "./names.ts";
import type * as shown from "./shown.ts";

export type { FoundEndpoint };

/** An event, and whether any of its deliveries is pending or failed. */
export interface FoundEvent extends shown.EventSummary {
  readonly pending: boolean;
  readonly failed: boolean;
}

/** Everything within the scope that a text names. */
export interface SearchFound {
  /** By id, confirmation number, subject or business; the newest first, at most `MAX_FOUND`. */
  readonly events: readonly FoundEvent[];
  readonly has_more_events: boolean;
  /** Ids of deliveries. */
  readonly deliveries: readonly string[];
  /** An attempt, if the text is its id. */
  readonly attempt: { readonly delivery_id: string; readonly number: number } | null;
  /** By id, description, URL or host, or a part of one. */
  readonly endpoints: readonly FoundEndpoint[];
  /** Ids of replays. */
  readonly replays: readonly string[];
  /** Names that may be meant where nothing was found. */
  readonly near: readonly Near[];
}

/** A name that may be meant, with the id of what it names. */
export interface Near {
  readonly name: string;
  readonly event_id: string | null;
  readonly endpoint_id: string | null;
}

const NOTHING: SearchFound = {
  events: [],
  has_more_events: false,
  deliveries: [],
  attempt: null,
  endpoints: [],
  replays: [],
  near: [],
};

/** Most entries of a kind. */
const MAX_FOUND = 20;

/** Everything that a text names: an id, a confirmation number, a subject, a business, an endpoint, a URL. */
export async function search(ctx: AdminContext, by: Asker, text: string): Promise<SearchFound> {
  const by_id = await findById(ctx, by, text);
  if (by_id !== null) return by_id;
  const [named, of_business, endpoints] = await Promise.all([
    listEvents(ctx, by, { q: text, limit: MAX_FOUND }),
    // In its own scope, a business would find all of its events.
    by.scope === "everything"
      ? listEvents(ctx, by, { business: text, limit: MAX_FOUND })
      : { data: [], next_cursor: null },
    searchEndpoints(ctx.db.admin, by.scope, text, MAX_FOUND),
  ]);
  const ids = new Set(named.data.map(({ id }) => id));
  const events = [...named.data, ...of_business.data.filter(({ id }) => !ids.has(id))];
  if (events.length > 0 || endpoints.length > 0) {
    return {
      ...NOTHING,
      events: await withOpen(ctx, by, events.slice(0, MAX_FOUND)),
      has_more_events: events.length > MAX_FOUND || named.next_cursor !== null ||
        of_business.next_cursor !== null,
      endpoints,
    };
  }
  // Confirmation numbers are capitals, and people type them as they come.
  const capitals = text.toUpperCase();
  if (capitals !== text) {
    const found = await listEvents(ctx, by, { q: capitals, limit: MAX_FOUND });
    if (found.data.length > 0) {
      const events = await withOpen(ctx, by, found.data);
      return { ...NOTHING, events, has_more_events: found.next_cursor !== null };
    }
  }
  const near = (named.near ?? []).map((one) => ({ ...one, endpoint_id: null }));
  return { ...NOTHING, near: [...near, ...await nearEndpoints(ctx, by, text)] };
}

async function withOpen(
  ctx: AdminContext,
  { scope }: Asker,
  events: readonly shown.EventSummary[],
): Promise<FoundEvent[]> {
  const uuids = events.flatMap(({ id }) => parseEventId(id) ?? []);
  const rows = await openOf(ctx.db.admin, scope, uuids);
  const open = new Map(
    rows.map(({ uuid, pending, failed }) => [eventId(uuid), { pending, failed }]),
  );
  return events.map((event) => ({
    ...event,
    ...open.get(event.id) ?? { pending: false, failed: false },
  }));
}

const MAX_NEAR_ENDPOINTS = 3;

async function nearEndpoints(ctx: AdminContext, by: Asker, text: string): Promise<Near[]> {
  const names = await endpointNames(ctx, by);
  const all = new Map([...names].flatMap(([id, name]) => [[id, id], [name, id]] as const));
  return nearestFirst(text, [...all.keys()]).slice(0, MAX_NEAR_ENDPOINTS)
    .map((name) => ({ name, event_id: null, endpoint_id: all.get(name) ?? null }));
}

/** What an id names, by its form; null if it has the form of no id, or of an event's, or names nothing. */
async function findById(ctx: AdminContext, by: Asker, text: string): Promise<SearchFound | null> {
  // Prefixes in capitals come from people as well.
  const id = text.slice(0, 4).toLowerCase() + text.slice(4);
  switch (kindOfId(text)) {
    case "delivery": {
      const row = await orNull(findDelivery(ctx, by, id));
      return row === null ? null : { ...NOTHING, deliveries: [deliveryId(row.uuid)] };
    }
    case "attempt": {
      const attempt = parseAttemptId(id) ?? null;
      const row = attempt === null
        ? null
        : await orNull(findDelivery(ctx, by, attempt.delivery_id));
      return row === null ? null : { ...NOTHING, attempt };
    }
    case "replay": {
      const row = await orNull(findReplay(ctx, by, id));
      return row === null ? null : { ...NOTHING, replays: [replayId(row.uuid)] };
    }
    case "event":
    case "portal link":
    case null:
      return null;
  }
}

/** Null where nothing of that id is there, or in scope. */
async function orNull<T>(found: Promise<T>): Promise<T | null> {
  try {
    return await found;
  } catch (error) {
    if (error instanceof AppError && error.code === "not_found") return null;
    throw error;
  }
}
