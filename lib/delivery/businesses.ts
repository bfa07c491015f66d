import type { Businesses } from "../store/events.ts";

/** Businesses of subjects, as this process last saw them. */
export interface BusinessCache {
  /** The businesses of `subjects`. Calls `lookUp` once with those not remembered, if any. */
  find(
    subjects: ReadonlySet<string>,
    lookUp: (missing: readonly string[]) => Promise<Businesses>,
  ): Promise<Businesses>;
  /** Remembers businesses that were just stored. */
  remember(businesses: Businesses): void;
  /** Forgets the businesses of `subjects`, because another process stored newer ones. */
  forget(subjects: Iterable<string>): void;
}

/**
 * Remembers the businesses of the `max` subjects seen last. Only a hint, because other processes store
 * newer ones: `storeEvents` checks each inherited business against the database.
 */
export function makeBusinessCache(max: number): BusinessCache {
  const cache = new Map<string, string>();

  function remember(businesses: Businesses): void {
    for (const [subject, business] of businesses) {
      cache.delete(subject);
      if (business !== null) cache.set(subject, business);
    }
    for (const subject of cache.keys()) {
      if (cache.size <= max) break;
      cache.delete(subject);
    }
  }

  return {
    async find(subjects, lookUp) {
      const found = new Map<string, string | null>();
      const missing: string[] = [];
      for (const subject of subjects) {
        const business = cache.get(subject);
        if (business === undefined) missing.push(subject);
        else found.set(subject, business);
      }
      if (missing.length === 0) return found;
      const looked_up = await lookUp(missing);
      remember(looked_up);
      return new Map([...found, ...looked_up]);
    },
    remember,
    forget: (subjects) => {
      for (const subject of subjects) cache.delete(subject);
    },
  };
}
