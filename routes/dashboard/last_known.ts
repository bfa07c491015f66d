import type { RouteContext } from "../context.ts";
import type { Visit } from "./visit.ts";

/** One number of the overview, in words. */
export interface Figure {
  readonly label: string;
  readonly value: string;
  readonly note?: string;
}

/** The overview's numbers when it was last shown. */
export interface LastKnown {
  /** In milliseconds since 1970. */
  readonly at: number;
  readonly figures: readonly Figure[];
}

/** Most scopes that a process remembers numbers of. */
const MAX_SCOPES = 1_000;
const known = new WeakMap<RouteContext, Map<string, LastKnown>>();

/** Keeps the overview's numbers, for while the database is away. Nothing else keeps them fresh. */
export function rememberFigures(
  ctx: RouteContext,
  visit: Visit,
  figures: readonly Figure[],
): void {
  const scopes = known.get(ctx) ?? new Map<string, LastKnown>();
  known.set(ctx, scopes);
  const key = scopeOf(visit);
  scopes.delete(key);
  scopes.set(key, { at: visit.now, figures });
  if (scopes.size > MAX_SCOPES) scopes.delete(scopes.keys().next().value ?? "");
}

/** The overview's numbers when anybody of the same scope last saw them here; undefined if nobody did. */
export function lastKnown(ctx: RouteContext, visit: Visit): LastKnown | undefined {
  return known.get(ctx)?.get(scopeOf(visit));
}

function scopeOf({ by: { scope } }: Visit): string {
  return scope === "everything" ? scope : `business ${scope.business}`;
}
