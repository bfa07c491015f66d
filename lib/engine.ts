import type { Examination } from "./core/examination.ts";
import { makeEventIds } from "./core/ids.ts";
import type { SealKey } from "./core/seal.ts";
import type { Offer } from "./delivery/batch.ts";
import { type Context, random32 } from "./delivery/context.ts";
import { type Dispatcher, makeDispatcher } from "./delivery/dispatcher.ts";
import type { Endpoint, Fleet } from "./delivery/fleet.ts";
import { type FleetLoader, makeFleetLoader } from "./delivery/fleet_loader.ts";
import { type Intake, makeIntake } from "./delivery/intake.ts";
import type { Disk } from "./disk.ts";
import type { HttpClient } from "./http/client.ts";
import {
  startAnnouncer,
  type TargetTest,
  testTargets,
  type Ways,
} from "./maintenance/announcer.ts";
import { startEraser } from "./maintenance/eraser.ts";
import { maintenanceJobs, unowedJobs } from "./maintenance/jobs.ts";
import { countPosts, type PostCounts, writePosts } from "./maintenance/posts.ts";
import type { Paced } from "./maintenance/paced.ts";
import { startReplayer } from "./maintenance/replayer.ts";
import { type Heartbeat, startHeartbeat } from "./heartbeat.ts";
import { type Failing, illnessOf, readiness, standstillOf } from "./readiness.ts";
import type { Watched } from "./service_manager.ts";
import { overview } from "./store/claims.ts";
import { within } from "./store/deadline.ts";
import type { Ended } from "./store/fragments.ts";
import { type Schedule, startSchedule } from "./maintenance/schedule.ts";

/** Everything that works on deliveries. */
export interface Engine {
  readonly dispatcher: Dispatcher;
  readonly fleet: FleetLoader;
  readonly intake: Intake;
  readonly maintenance: Schedule;
  readonly replayer: Paced;
  readonly eraser: Paced;
  readonly examine: Outside["examine"];
  readonly announcer: Paced;
  readonly heartbeat: Heartbeat;
  /** Sends a test to those who get alerts, or to one of them; `id` is new. */
  readonly test_targets: (only: string | undefined, id: string) => Promise<TargetTest[]>;
  readonly posts: PostCounts;
  /** Cancels what endpoints are not owed any more; resolves after the first sweep. */
  readonly cancelUnowed: () => Promise<void>;
}

/** How the engine reaches others than receivers. */
interface Outside extends Pick<Ways, "mailer" | "base_url"> {
  readonly disk: Disk;
  readonly failing: Failing;
  readonly examine: (target: Endpoint["target"]) => Promise<Examination>;
}

/** Starts claiming, sending and maintenance. `settled` is that of `makeFleetLoader`. */
export async function startEngine(
  ctx: Context,
  client: HttpClient,
  keys: readonly SealKey[],
  settled: () => Promise<void>,
  { examine, disk, failing, ...ways }: Outside,
): Promise<Engine> {
  const fleet = makeFleetLoader(ctx, keys, settled, (next) => dispatcher.setFleet(next));
  const asked_at = performance.now();
  const [first, { now_ms }] = await Promise.all([fleet.load(), overview(ctx.db.engine, [])]);
  // Before the first id: ids never go back, so this machine's clock must not make one.
  ctx.clock.sync(now_ms, asked_at);
  const dispatcher = makeDispatcher(ctx, client, first, fleet.tryReload);
  const { interrupted, probe } = dispatcher;
  const posts = countPosts(ctx);
  const intake = makeIntake(ctx, dispatcher, fleet.reload);
  const announcer = startAnnouncer(ctx, {
    ...ways,
    client,
    accept: intake.accept,
    fleet: () => dispatcher.fleet,
  });
  const unowed = unowedJobs();
  const maintenance = startSchedule(ctx, [
    ...maintenanceJobs(ctx.db, {
      interrupted,
      probe,
      policy: () => dispatcher.fleet.policy,
      unsendable: () => unsendableOf(dispatcher.fleet),
      fleet: () => dispatcher.fleet,
      examine,
      announced: () => announcer.wake(),
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
    intake,
    maintenance,
    cancelUnowed,
    replayer: startReplayer(ctx, dispatcher.wake),
    eraser: startEraser(ctx, keys),
    examine,
    announcer,
    heartbeat: startHeartbeat(
      ctx.config,
      client,
      () => illnessOf(ctx.db, dispatcher, disk, failing),
      ctx.log,
    ),
    test_targets: (only, id) => testTargets(ctx.config().alerts, { ...ways, client }, only, id),
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
  { db, clock, random, signals }: Context,
  { dispatcher, fleet, intake, replayer, eraser, posts, cancelUnowed, ...rest }: Engine,
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
    ended: (all: readonly Ended[]) => all.forEach(signals.ended.emit),
    replays_changed: replayer.wake,
    erasures_changed: eraser.wake,
    count_posts: posts.flush,
    examine: rest.examine,
    test_targets: rest.test_targets,
    readiness: () => readiness(db, dispatcher, disk, failing),
  };
}

/** The engine, as a service manager watches it. */
export function watchedOf(
  db: Context["db"],
  { dispatcher }: Engine,
  { readiness }: Pick<Watched, "readiness">,
  { backlog }: Pick<Watched, "backlog">,
): Watched {
  return {
    readiness,
    backlog,
    standstill: () => standstillOf(db, dispatcher),
    in_flight: () => dispatcher.in_flight,
  };
}

/** Acts on an announcement of another process: numbers of endpoints with something due, `all`, or `fleet`. */
export function hear({ dispatcher, fleet }: Engine, payload: string): void {
  // Posts that are stored while stopping have the endpoints read again themselves.
  if (dispatcher.stopping) return;
  if (payload === "fleet") fleet.tryReload();
  else dispatcher.wake(payload === "all" ? "all" : payload.split(",").map(Number));
}
