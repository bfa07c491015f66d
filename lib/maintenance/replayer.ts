import { replayId } from "../core/ids.ts";
import { type RunningReplay, runningReplays, stepReplay } from "../store/replays.ts";
import type { Context } from "../delivery/context.ts";
import { type Paced, POLL_MS, startPaced } from "./paced.ts";

/**
 * Carries out replays, those of an earlier process included. Each daemon runs one; the database decides which
 * of them does the next batch. `due` gets endpoints to claim for.
 */
export function startReplayer(
  ctx: Context,
  due: (endpoint_nos: readonly number[]) => void,
): Paced {
  // Does one batch of each replay that is due; returns the wait until the next is.
  async function round(isStopping: () => boolean): Promise<number> {
    let wait_ms = POLL_MS;
    for (const replay of await runningReplays(ctx.db.admin)) {
      if (isStopping()) break;
      wait_ms = Math.min(wait_ms, replay.wait_ms);
      if (replay.wait_ms === 0) await step(replay);
    }
    return wait_ms;
  }

  async function step(replay: RunningReplay): Promise<void> {
    const done = await stepReplay(ctx.db.admin, replay);
    if (done === undefined) return;
    due(done.endpoint_nos);
    if (done.state === "done") ctx.log.info("Replay done", { replay: replayId(replay.uuid) });
  }

  return startPaced(
    round,
    (cause) => ctx.log.error("Replaying failed, trying again", { cause }),
  );
}
