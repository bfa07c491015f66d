import { alertEventType } from "../core/alerting/event.ts";
import type { Change } from "../core/alerting/kinds.ts";
import type { Fleet } from "../delivery/fleet.ts";

/**
 * The numbers of the endpoints that get an operational event: those of `alerts.to`, the one that the business chose
 * (an id, or null), and those that select it. Never the one that the alert is about.
 */
export function eventReceivers(
  { endpoints, match, policy }: Pick<Fleet, "endpoints" | "match" | "policy">,
  { what, business, endpoint_no }: Pick<Change, "what" | "business" | "endpoint_no">,
  chosen: string | null,
): number[] {
  const ids = [...policy.alerts.to, chosen];
  const named = [...endpoints.values()].filter(({ id }) => ids.includes(id));
  const nos = new Set([...named, ...match(alertEventType(what), business)].map(({ no }) => no));
  if (endpoint_no !== null) nos.delete(endpoint_no);
  return [...nos];
}
