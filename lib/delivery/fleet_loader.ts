import { messageOf } from "../core/errors.ts";
import type { SealKey } from "../core/seal.ts";
import type { Log } from "../observe/log.ts";
import { loadFleet } from "../store/endpoints.ts";
import type { Context } from "./context.ts";
import { type Fleet, makeFleet } from "./fleet.ts";

/** Reads the stored endpoints whenever they change. */
export interface FleetLoader {
  /** Reads the endpoints as they are now. */
  load(): Promise<Fleet>;
  /** Puts the endpoints as they are now, or newer ones, to use; resolves when they are. */
  reload(): Promise<void>;
  /** The same without waiting; a failure is logged. */
  tryReload(): void;
}

/**
 * A loader that hands what it reads again to `use`. `settled` resolves while the stored endpoints of
 * the file and the configuration in force belong together; `keys` open the secrets of the API's.
 */
export function makeFleetLoader(
  ctx: Pick<Context, "config" | "shared" | "db" | "log">,
  keys: readonly SealKey[],
  settled: () => Promise<void>,
  use: (fleet: Fleet) => void,
): FleetLoader {
  const unsendable = new Set<string>();
  let last: Fleet | undefined;
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;

  async function load(): Promise<Fleet> {
    // Rows of a new file must not meet the secrets of the old one, or the reverse: read again if a
    // reload came in between.
    for (;;) {
      const before = settled();
      await before;
      // Ingest waits for it, so it must not wait behind a list or a purge.
      const stored = await loadFleet(ctx.db.ingest);
      if (settled() !== before) continue;
      last = makeFleet(stored, ctx.config(), ctx.shared(), keys, last);
      logUnsendable(last, unsendable, ctx.log);
      return last;
    }
  }

  // One at a time, and one more for those who asked meanwhile: they may have seen newer rows.
  function reload(): Promise<void> {
    if (running === undefined) {
      return running = load().then(use).finally(() => running = undefined);
    }
    next ??= running.catch(() => {}).then(() => {
      next = undefined;
      return reload();
    });
    return next;
  }

  return {
    load,
    reload,
    tryReload: () =>
      void reload().catch((error) =>
        ctx.log.error("The endpoints could not be read again", { cause: messageOf(error) })
      ),
  };
}

// Each once, and again after it became sendable in between.
function logUnsendable(fleet: Fleet, known: Set<string>, log: Log): void {
  for (const { id, sendable, unsendable_reason } of fleet.endpoints.values()) {
    if (sendable) known.delete(id);
    else if (!known.has(id)) {
      known.add(id);
      log.error("This daemon cannot send to an endpoint; its deliveries wait for one that can", {
        endpoint: id,
        reason: unsendable_reason,
      });
    }
  }
}
