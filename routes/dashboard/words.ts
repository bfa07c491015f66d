import type { Audience } from "./visit.ts";

const TYPES: ReadonlyMap<string, string> = new Map(Object.entries({
  "booking.created": "New booking",
  "booking.confirmed": "Booking confirmed",
  "booking.cancelled": "Booking cancelled",
  "booking.completed": "Visit completed",
  "business.created": "Business created",
  "business.updated": "Business details changed",
  "service.created": "New service",
  "service.updated": "Service changed",
}));

/** An event type as the audience calls it: operators by its name, a business by its meaning. */
export function typeWords(type: string, audience: Audience): string {
  return audience === "operator" ? type : TYPES.get(type) ?? type;
}
