import { shorten } from "../core/errors.ts";
import { eventId, parseEventId } from "../core/ids.ts";
import { isObject } from "../core/json.ts";
import { payloadsOf } from "../store/reports/events.ts";
import type { AdminContext, Asker } from "./context.ts";

/** What a booking or a service is about, in its payload's own words; null for what it does not say. */
export interface About {
  /** `Haircut & Style`. */
  readonly service: string | null;
  /** Of the appointment, as posted: `2025-11-01`, in the business's zone. */
  readonly date: string | null;
  /** `10:00`. */
  readonly time: string | null;
  /** Name of the business. */
  readonly business: string | null;
}

/** Most characters of a name. */
const MAX_NAME = 80;

/**
 * The service and date of events, by their ids. Only `booking.created` carries service and date: for other events of a
 * booking, that one is asked. Nothing of events whose payload is gone, or hidden.
 */
export async function aboutEvents(
  ctx: AdminContext,
  by: Asker,
  event_ids: readonly string[],
): Promise<ReadonlyMap<string, About>> {
  const uuids = [...new Set(event_ids)].flatMap((id) => parseEventId(id) ?? []);
  if (!by.payloads || uuids.length === 0) return new Map();
  const rows = await payloadsOf(ctx.db.admin, by.scope, uuids);
  return new Map(rows.map(({ uuid, payload, created }) => [
    eventId(uuid),
    merge(readAbout(payload), readAbout(created)),
  ]));
}

function merge(own: About, created: About): About {
  return {
    service: own.service ?? created.service,
    date: own.date ?? created.date,
    time: own.time ?? (own.date === null ? created.time : null),
    business: own.business ?? created.business,
  };
}

/** Reads a payload; whatever is missing in it, or of another type, is null. */
export function readAbout(payload: string | null): About {
  const data = member(parsed(payload), "data");
  const appointment = member(data, "appointment");
  const date = text(member(appointment, "appointmentDate"));
  const time = text(member(appointment, "startTime"));
  return {
    service: text(member(member(appointment, "service"), "name")) ??
      text(member(member(data, "service"), "name")),
    date: date !== null && /^\d{4}-\d\d-\d\d$/.test(date) ? date : null,
    time: time !== null && /^\d\d:\d\d(:\d\d)?$/.test(time) ? time.slice(0, 5) : null,
    business: text(member(member(appointment, "business"), "name")) ??
      text(member(member(data, "business"), "name")),
  };
}

function parsed(payload: string | null): unknown {
  try {
    return payload === null ? null : JSON.parse(payload);
  } catch {
    return null;
  }
}

function member(value: unknown, name: string): unknown {
  return isObject(value) ? value[name] : undefined;
}

function text(value: unknown): string | null {
  return typeof value === "string" && value.trim() !== "" ? shorten(value.trim(), MAX_NAME) : null;
}
