/** Whose data may be seen and changed: everything, or only what belongs to one business. */
export type Scope = "everything" | { readonly business: string };

/** How an actor's name begins that is a portal link. */
export const PORTAL_ACTOR = "portal:";

/** What a business reads in place of any other actor's name. */
export const OPERATOR = "operator";

/** The name of an actor in a text that the owner of an endpoint reads; null: an operator's endpoint. */
export function nameFor(owner: string | null, actor: string): string {
  return owner === null || actor.startsWith(PORTAL_ACTOR) ? actor : OPERATOR;
}
