/** What can be in one bag at a time: where it is there. */
export interface Bagged {
  place: number;
}

/**
 * Things under way, in no order. In a Set that is added to and deleted from all the time, each table that
 * it has outgrown stays linked to the next; once one of them is old, the garbage collector takes all that
 * was ever in the later ones to be alive, until its next full collection.
 */
export interface Bag<T extends Bagged> extends Iterable<T> {
  add(thing: T): void;
  delete(thing: T): void;
  readonly size: number;
}

/** An empty bag. While it is iterated over, what was given last may be deleted. */
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
