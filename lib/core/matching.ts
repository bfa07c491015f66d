/** The part of an endpoint that selects its events. */
export interface Selection {
  /** Exact names, `booking.*`, or `*`. */
  readonly events: readonly string[];
  /** Only events of these businesses, or null for all. */
  readonly businesses: readonly string[] | null;
}

/** Why an endpoint is owed an event or not, as the event's page shows it. */
export type Match = "matched" | "type not selected" | "other business";

/** Whether a type is one of operational events, which are about this program itself. */
export function isOperational(type: string): boolean {
  return type.startsWith("webhooks.");
}

/**
 * Whether one of the patterns selects an event type: `booking.created` selects that type, `booking.*`
 * all that begin with `booking.`, `*` all but this program's own `webhooks.*`. The function
 * `selected_types` in the migrations says the same to the database.
 */
export function matchesType(patterns: readonly string[], type: string): boolean {
  return patterns.some((pattern) =>
    pattern === type || (pattern === "*" && !isOperational(type)) ||
    (pattern.endsWith(".*") && type.length >= pattern.length &&
      type.startsWith(pattern.slice(0, -1)))
  );
}

/** Whether an endpoint is owed an event of this type and business (null: of none), and why not. */
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
 * A matcher for these endpoints, which keeps their order. It remembers the endpoints of each type: make
 * a new one when they change. Call it with known types only, or its memory grows without bound.
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
