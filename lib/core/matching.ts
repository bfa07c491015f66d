/** What of an endpoint says which events it is owed. */
export interface Selection {
  /** Exact names, `booking.*`, or `*`. */
  readonly events: readonly string[];
  /** Only events of these businesses, or null for all. */
  readonly businesses: readonly string[] | null;
}

/** Why an endpoint is owed an event or not, in the words that the event's page shows. */
export type Match = "matched" | "type not selected" | "other business";

/**
 * Whether one of the patterns selects an event type: `booking.created` that one, `booking.*` every
 * type that begins with `booking.`, `*` all.
 */
export function matchesType(patterns: readonly string[], type: string): boolean {
  return patterns.some((pattern) =>
    pattern === "*" || pattern === type ||
    (pattern.endsWith(".*") && type.length >= pattern.length &&
      type.startsWith(pattern.slice(0, -1)))
  );
}

/** Whether an endpoint is owed an event of that type and business (null: of none), and why not. */
export function explainMatch(endpoint: Selection, type: string, business: string | null): Match {
  if (!matchesType(endpoint.events, type)) return "type not selected";
  return isOfBusiness(endpoint, business) ? "matched" : "other business";
}

/** Finds the endpoints that are owed an event. */
export type Matcher<E extends Selection> = (
  type: string,
  business: string | null,
) => readonly E[];

/**
 * A matcher over these very endpoints, answering them in their order. Remembers which endpoints
 * select a type: make a new one when they change. Only known types may be asked for, so that what
 * it remembers stays bounded.
 */
export function makeMatcher<E extends Selection>(endpoints: readonly E[]): Matcher<E> {
  const byType = new Map<string, { readonly all: readonly E[]; readonly picky: boolean }>();
  return (type, business) => {
    let selected = byType.get(type);
    if (selected === undefined) {
      const all = endpoints.filter((endpoint) => matchesType(endpoint.events, type));
      selected = { all, picky: all.some((endpoint) => endpoint.businesses !== null) };
      byType.set(type, selected);
    }
    return selected.picky
      ? selected.all.filter((endpoint) => isOfBusiness(endpoint, business))
      : selected.all;
  };
}

function isOfBusiness(endpoint: Selection, business: string | null): boolean {
  if (endpoint.businesses === null) return true;
  return business !== null && endpoint.businesses.includes(business);
}
