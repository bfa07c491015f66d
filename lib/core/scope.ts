/** Whose data may be seen and changed: everything, or only what belongs to one business. */
export type Scope = "everything" | { readonly business: string };
