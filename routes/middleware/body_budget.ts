/**
 * Memory for the bodies of posts under way, from reading to answering, so that many clients at once, or
 * a slow database, cannot exhaust it.
 */
export interface Room {
  readonly patience_ms: number;
  /**
   * Reserves room as soon as it is free, first come first served. False if none became free in time or
   * too many wait already. The body stays unread meanwhile, which holds the client back.
   */
  enter(bytes: number): boolean | Promise<boolean>;
  /** Changes a reservation from `from` to `to` bytes, at once; false if there is no room. */
  grow(from: number, to: number): boolean;
  leave(bytes: number): void;
}

/** Bounds on the bodies held at once. */
export interface RoomLimits {
  readonly bytes: number;
  readonly patience_ms: number;
  /** How many may wait. Of each, the bytes that arrived with its head are in memory. */
  readonly waiting: number;
}

interface Waiting {
  readonly bytes: number;
  readonly enter: (entered: boolean) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** An empty room. A post of any length fits into it if it is alone. */
export function makeRoom(limits: RoomLimits): Room {
  const queue: Waiting[] = [];
  let taken = 0;

  // Next to the reservations of others.
  function fits(bytes: number, others = taken): boolean {
    return others === 0 || others + bytes <= limits.bytes;
  }

  function wait(bytes: number): Promise<boolean> {
    return new Promise((enter) => {
      const timer = setTimeout(() => {
        queue.splice(queue.indexOf(waiting), 1);
        enter(false);
        admit(); // it may have been the only one that did not fit
      }, limits.patience_ms);
      const waiting = { bytes, enter, timer };
      queue.push(waiting);
    });
  }

  function admit(): void {
    for (let first = queue[0]; first !== undefined && fits(first.bytes); first = queue[0]) {
      queue.shift();
      clearTimeout(first.timer);
      taken += first.bytes;
      first.enter(true);
    }
  }

  return {
    patience_ms: limits.patience_ms,
    enter(bytes) {
      if (queue.length > 0 || !fits(bytes)) return queue.length < limits.waiting && wait(bytes);
      taken += bytes;
      return true;
    },
    grow(from, to) {
      if (!fits(to, taken - from)) return false;
      taken += to - from;
      return true;
    },
    leave(bytes) {
      taken -= bytes;
      admit();
    },
  };
}
