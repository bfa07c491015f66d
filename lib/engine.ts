import { makeEventIds } from "./core/ids.ts";
import type { SealKey } from "./core/seal.ts";
import type { Offer } from "./delivery/batch.ts";
import { type Context, random32 } from "./delivery/context.ts";
import { type Dispatcher, makeDispatcher } from "./delivery/dispatcher.ts";
import type { Fleet } from "./delivery/fleet.ts";
import { type FleetLoader, makeFleetLoader } from "./delivery/fleet_loader.ts";
import { type Intake, makeIntake } from "./delivery/intake.ts";
import type { Disk } from "./disk.ts";
import type { HttpClient } from "./http/client.ts";
import { startEraser } from "./maintenance/eraser.ts";
import { maintenanceJobs, unowedJobs } from "./maintenance/jobs.ts";
import { countPosts, type PostCounts, writePosts } from "./maintenance/posts.ts";
import type { Paced } from "./maintenance/paced.ts";
import { startReplayer } from "./maintenance/replayer.ts";
import { type Failing, readiness } from "./readiness.ts";
import { overview } from "./store/claims.ts";
import { within } from "./store/deadline.ts";
import { type Schedule, startSchedule } from "./maintenance/schedule.ts";

/** Everything that works on deliveries. */
export interface Engine {
  readonly dispatcher: Dispatcher;
  readonly fleet: FleetLoader;
  readonly intake: Intake;
  readonly maintenance: Schedule;
  readonly replayer: Paced;
  readonly eraser: Paced;
  readonly posts: PostCounts;
  /** Cancels what endpoints are not owed any more; resolves after the first sweep. */
  readonly cancelUnowed: () => Promise<void>;
}

/** Starts claiming, sending and maintenance. `settled` is that of `makeFleetLoader`. */
export async function startEngine(
  ctx: Context,
  client: HttpClient,
  keys: readonly SealKey[],
  settled: () => Promise<void>,
): Promise<Engine> {
  const fleet = makeFleetLoader(ctx, keys, settled, (next) => dispatcher.setFleet(next));
  const asked_at = performance.now();
  const [first, { now_ms }] = await Promise.all([fleet.load(), overview(ctx.db.engine, [])]);
  // Before the first id: ids never go back, so this machine's clock must not make one.
  ctx.clock.sync(now_ms, asked_at);
  const dispatcher = makeDispatcher(ctx, client, first, fleet.tryReload);
  const { interrupted } = dispatcher;
  const posts = countPosts(ctx);
  const unowed = unowedJobs();
  const maintenance = startSchedule(ctx, [
    ...maintenanceJobs(ctx.db, {
      interrupted,
      policy: () => dispatcher.fleet.policy,
      unsendable: () => unsendableOf(dispatcher.fleet),
    }, keys),
    ...unowed,
    writePosts(posts),
  ]);
  const cancelUnowed = async () => void await Promise.all(unowed.map(maintenance.run));
  // Another start may have changed the file.
  void cancelUnowed();
  return {
    dispatcher,
    fleet,
    intake: makeIntake(ctx, dispatcher, fleet.reload),
    maintenance,
    cancelUnowed,
    replayer: startReplayer(ctx, dispatcher.wake),
    eraser: startEraser(ctx, keys),
    posts,
  };
}

function unsendableOf({ endpoints }: Fleet): number[] {
  return [...endpoints.values()].filter(({ sendable }) => !sendable).map(({ no }) => no);
}

/** How long a request waits for what it cancels. */
const CANCEL_PATIENCE_MS = 5_000;

/** The engine, as far as routes reach it. */
export function engineForRoutes(
  { db, clock, random }: Context,
  { dispatcher, fleet, intake, replayer, eraser, posts, cancelUnowed }: Engine,
  disk: Disk,
  failing: Failing,
) {
  const ids = makeEventIds(() => random32(random));
  return {
    async accept(offers: readonly Offer[]) {
      disk.requireRoom();
      return await intake.accept(offers);
    },
    newUuid: () => ids.next(clock.now()),
    policy: () => dispatcher.fleet.policy,
    endpoint: (no: number) => dispatcher.fleet.endpoints.get(no),
    holdup: dispatcher.holdup,
    wake: dispatcher.wake,
    endpoints_changed: fleet.reload,
    cancel_unowed: () => within(cancelUnowed(), CANCEL_PATIENCE_MS).catch(() => {}),
    replays_changed: replayer.wake,
    erasures_changed: eraser.wake,
    count_posts: posts.flush,
    readiness: () => readiness(db, dispatcher, disk, failing),
  };
}

/** Acts on an announcement of another process: numbers of endpoints with something due, `all`, or `fleet`. */
export function hear({ dispatcher, fleet }: Engine, payload: string): void {
  // Posts that are stored while stopping have the endpoints read again themselves.
  if (dispatcher.stopping) return;
  if (payload === "fleet") fleet.tryReload();
  else dispatcher.wake(payload === "all" ? "all" : payload.split(",").map(Number));
}
