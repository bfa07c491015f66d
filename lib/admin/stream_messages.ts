import { alertId, deliveryId, endpointNoOf, eventId, replayId } from "../core/ids.ts";
import type { Scope } from "../core/scope.ts";
import { messageText } from "../core/server_sent.ts";
import type { Database } from "../store/database.ts";
import type { StoredEndpoint } from "../store/endpoints.ts";
import { type AlertRow, alertsById } from "../store/reports/alerts.ts";
import { deliveriesById } from "../store/reports/deliveries.ts";
import { endpointNumbers, endpointsById } from "../store/reports/endpoints.ts";
import { eventsById } from "../store/reports/events.ts";
import { replaysById } from "../store/reports/replays.ts";
import type { Changes } from "../store/stream.ts";
import type * as shown from "./shown.ts";

/** What a stream shows. */
export interface Sight {
  readonly scope: Scope;
  /** Only what concerns this endpoint, which is in the scope. */
  readonly endpoint: Pick<StoredEndpoint, "no" | "id"> | undefined;
}

/** More changes at once are counted, not listed. */
export const MAX_LISTED = 200;

/**
 * The messages about these changes: the present state of everything that changed in sight, or, of more than
 * 200 things, how many they are. Empty if there is none.
 */
export async function messagesOf(
  { admin: sql }: Pick<Database, "admin">,
  changes: readonly Changes[],
  sight: Sight,
): Promise<string> {
  const { scope } = sight;
  const seen = await seenIn(sql, changes, sight);
  const counts: shown.StreamMany = {
    events: seen.events.length,
    deliveries: seen.deliveries.length,
    endpoints: seen.endpoints.length,
    replays: seen.replays.length,
    alerts: seen.alerts.length,
  };
  const count = Object.values(counts).reduce((sum, one) => sum + one, 0);
  if (count > MAX_LISTED) return messageText("many", counts);
  const [events, deliveries, endpoints] = await Promise.all([
    seen.events.length === 0 ? [] : eventsById(sql, scope, seen.events),
    seen.deliveries.length === 0 ? [] : deliveriesById(sql, scope, seen.deliveries),
    seen.endpoints.length === 0 ? [] : endpointsById(sql, scope, seen.endpoints),
  ]);
  return [
    ...endpoints.toReversed().map(endpointMessage),
    ...events.toReversed().map(eventMessage),
    ...deliveries.toReversed().map(deliveryMessage),
    ...seen.replays.toReversed().map(replayMessage),
    ...seen.alerts.toReversed().map(alertMessage),
  ].join("");
}

/** What changed in sight, each once. Nothing out of the scope may even be counted. */
async function seenIn(
  sql: Database["admin"],
  changes: readonly Changes[],
  { scope, endpoint }: Sight,
) {
  const replays = new Set(changes.flatMap((one) => one.replays));
  const found = replays.size === 0 ? [] : await replaysById(sql, scope, [...replays]);
  const alert_uuids = unique(changes.flatMap((one) => one.alerts));
  const alerts = alert_uuids.length === 0 ? [] : await alertsById(sql, scope, alert_uuids);
  const all = {
    events: changes.flatMap((one) =>
      one.events.filter((_, at) => scope === "everything" || one.businesses[at] === scope.business)
    ),
    deliveries: changes.flatMap((one) => one.deliveries),
    endpoints: changes.flatMap((one) => one.endpoints),
  };
  if (endpoint !== undefined) {
    return {
      // An event is of no endpoint: its delivery is.
      events: [],
      deliveries: unique(all.deliveries.filter((uuid) => endpointNoOf(uuid) === endpoint.no)),
      endpoints: unique(all.endpoints.filter((id) => id === endpoint.id)),
      replays: found.filter((replay) => replay.endpoint === endpoint.id),
      alerts: alerts.filter((alert) => alert.endpoint === endpoint.id),
    };
  }
  const own = scope === "everything" ? undefined : await endpointNumbers(sql, scope);
  const [nos, ids] = [new Set(own?.map(({ no }) => no)), new Set(own?.map(({ id }) => id))];
  return {
    events: unique(all.events),
    deliveries: unique(
      all.deliveries.filter((uuid) => own === undefined || nos.has(endpointNoOf(uuid))),
    ),
    endpoints: unique(all.endpoints.filter((id) => own === undefined || ids.has(id))),
    replays: found,
    alerts,
  };
}

function unique(ids: readonly string[]): string[] {
  return [...new Set(ids)];
}

function eventMessage(row: Awaited<ReturnType<typeof eventsById>>[number]): string {
  const { type, business, test } = row;
  const message: shown.StreamEvent = { id: eventId(row.uuid), type, business, test };
  return messageText("event", message);
}

function deliveryMessage(row: Awaited<ReturnType<typeof deliveriesById>>[number]): string {
  const message: shown.StreamDelivery = {
    id: deliveryId(row.uuid),
    event_id: eventId(row.event_uuid),
    type: row.type,
    endpoint_id: row.endpoint,
    status: row.status,
    attempts: row.attempts,
    last_outcome: row.last_outcome,
    last_status: row.last_status,
  };
  return messageText("delivery", message);
}

function endpointMessage(row: StoredEndpoint): string {
  const message: shown.StreamEndpoint = {
    id: row.id,
    version: row.version,
    paused: row.paused_at !== null,
    retired: row.retired_at !== null,
  };
  return messageText("endpoint", message);
}

function replayMessage(row: Awaited<ReturnType<typeof replaysById>>[number]): string {
  const message: shown.StreamReplay = {
    id: replayId(row.uuid),
    endpoint_id: row.endpoint,
    state: row.state,
    matched: row.matched,
    replayed: Number(row.replayed),
  };
  return messageText("replay", message);
}

function alertMessage(row: AlertRow): string {
  const message: shown.StreamAlert = {
    id: alertId(row.uuid),
    kind: row.kind,
    status: row.ended_at === null ? "open" : "ended",
    endpoint_id: row.endpoint,
    acknowledged: row.acknowledged_at !== null,
  };
  return messageText("alert", message);
}
