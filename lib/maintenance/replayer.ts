import { messageOf } from "../core/errors.ts";
import { replayId } from "../core/ids.ts";
import { type RunningReplay, runningReplays, stepReplay } from "../store/replays.ts";
import type { Context } from "../delivery/context.ts";

/**
 * Carries out replays. Each daemon runs one; the database decides which of them does the next batch.
 * Not a job of the schedule: it is woken, and waits as long as the pace of a replay asks for.
 */
export interface Replayer {
  /** Looks for replays at once. */
  wake(): void;
  stop(): Promise<void>;
}

const POLL_MS = 1_000;

/** Starts carrying out replays, those of an earlier process included. `due` gets endpoints to claim for. */
export function startReplayer(
  ctx: Context,
  due: (endpoint_nos: readonly number[]) => void,
): Replayer {
  let stopping = false;
  let woken = Promise.withResolvers<void>();
  const running = run();

  async function run(): Promise<void> {
    while (!stopping) {
      let wait_ms = POLL_MS;
      try {
        wait_ms = await round();
      } catch (error) {
        if (!stopping) ctx.log.error("Replaying failed, trying again", { cause: messageOf(error) });
      }
      await pause(wait_ms);
    }
  }

  // Does one batch of each replay that is due; returns the wait until the next is.
  async function round(): Promise<number> {
    let wait_ms = POLL_MS;
    for (const replay of await runningReplays(ctx.db.admin)) {
      if (stopping) break;
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

  async function pause(wait_ms: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const slept = new Promise<void>((resolve) => timer = setTimeout(resolve, wait_ms));
    await Promise.race([slept, woken.promise]);
    clearTimeout(timer);
    woken = Promise.withResolvers();
  }

  return {
    wake: () => woken.resolve(),
    async stop() {
      stopping = true;
      woken.resolve();
      await running;
    },
  };
}
