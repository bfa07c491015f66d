import { messageOf } from "../core/errors.ts";
import { type Lease, release } from "../store/claims.ts";
import { within } from "../store/deadline.ts";
import type { Context } from "./context.ts";
import { ANSWER_TIMEOUT_MS } from "./pulse.ts";

/** Gives leased deliveries back that this process will not send. */
export interface Returns {
  /** Does not wait. A lease that cannot be given back runs out. */
  giveBack(leases: readonly Pick<Lease, "uuid" | "token">[]): void;
  /** Resolves when nothing is being given back. */
  settle(): Promise<void>;
}

/** Gives leases back through the engine's connections. */
export function makeReturns({ db, log }: Pick<Context, "db" | "log">): Returns {
  const under_way = new Set<Promise<void>>();

  async function tryRelease(leases: readonly Pick<Lease, "uuid" | "token">[]): Promise<void> {
    try {
      await within(release(db.engine, leases), ANSWER_TIMEOUT_MS);
    } catch (error) {
      log.warn("A claim could not be given back; its lease will run out", {
        cause: messageOf(error),
      });
    }
  }

  return {
    giveBack(leases) {
      if (leases.length === 0) return;
      const one = tryRelease(leases).finally(() => under_way.delete(one));
      under_way.add(one);
    },
    settle: async () => void await Promise.all(under_way),
  };
}
