import type { Sql } from "postgres";
import { OPERATOR, PORTAL_ACTOR, type Scope } from "../core/scope.ts";
import type { Fragment } from "./changes.ts";

/*
 * Conditions that keep a read within a scope, each `and …` for the end of a `where`. They add nothing
 * to a statement that may read everything: its plan stays as it was tuned.
 */

/** Keeps the endpoints `n` that belong to the scope: those the business made. */
export function endpointInScope(sql: Sql, scope: Scope): Fragment {
  return scope === "everything" ? sql`` : sql`and n.owner = ${scope.business}`;
}

/** Keeps the rows whose `column`, an endpoint's number, is that of an endpoint within the scope. */
export function numberInScope(sql: Sql, scope: Scope, column: string): Fragment {
  return scope === "everything" ? sql`` : sql`and ${sql.unsafe(column)} in (
    select n.no from endpoints n where true ${endpointInScope(sql, scope)})`;
}

/** Keeps the events `e` of the scope's business. */
export function eventInScope(sql: Sql, scope: Scope): Fragment {
  return scope === "everything" ? sql`` : sql`and e.business = ${scope.business}`;
}

/**
 * An expression: the actor in this column as the scope may know it. All portal links that change anything of
 * a business are its own. Null stays null.
 */
export function actorInScope(sql: Sql, scope: Scope, column: string): Fragment {
  const actor = sql`${sql.unsafe(column)}`;
  return scope === "everything"
    ? actor
    : sql`case when ${actor} not like ${`${PORTAL_ACTOR}%`} then ${OPERATOR} else ${actor} end`;
}
