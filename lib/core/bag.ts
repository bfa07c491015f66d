/** A thing that can be in one bag at a time, with its place in it. */
export interface Bagged {
  place: number;
}

/**
 * An unordered set of things under way. In a `Set` that changes all the time, each table that it has
 * outgrown stays linked to the next; once one of them is old, the garbage collector treats everything
 * that was ever in a later one as alive until the next full collection.
 */
export interface Bag<T extends Bagged> extends Iterable<T> {
  add(thing: T): void;
  delete(thing: T): void;
  readonly size: number;
}

/** An empty bag. A loop over it may delete the thing that it got last. */
export function makeBag<T extends Bagged>(): Bag<T> {
  const things: T[] = [];
  return {
    add(thing) {
      thing.place = things.push(thing) - 1;
    },
    delete(thing) {
      if (things[thing.place] !== thing) return;
      const last = things.pop();
      if (last === undefined || last === thing) return;
      last.place = thing.place;
      things[thing.place] = last;
    },
    get size() {
      return things.length;
    },
    *[Symbol.iterator]() {
      for (let i = things.length - 1; i >= 0; i--) {
        const thing = things[i];
        if (thing !== undefined) yield thing;
      }
    },
  };
}
