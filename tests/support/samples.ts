import { EVENT_TYPES } from "../../lib/core/event_types.ts";

/** The sample of one of the documentation's event types. */
export function sampleOf(name: string): string {
  const type = EVENT_TYPES.find((type) => type.name === name);
  if (type === undefined) throw new Error(`The documentation has no event type ${name}`);
  return type.sample;
}
