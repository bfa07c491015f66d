import { messageOf } from "../../lib/core/errors.ts";
import { sleep } from "../support/wait.ts";
import { allReady, type Arena, type ArenaOptions, drained, openArena } from "./arena.ts";
import { check, type Verdict } from "./checker.ts";
import { type Fault, Skip } from "./fault.ts";
import { readViews } from "./views.ts";

/** What became of one fault. */
export interface Round extends Verdict {
  readonly fault: string;
  readonly seed: number;
  /** How often it struck: kills, outages, cut connections. */
  readonly strikes: number;
  /** How often a daemon was killed. */
  readonly kills: number;
  /** Posts without an answer, and those that were refused with 503 or 408. */
  readonly ambiguous: number;
  readonly refused: number;
  readonly took_s: number;
  /** How long it took until nothing was pending, once all was whole again. */
  readonly drained_s: number;
  /** Why it was not done. */
  readonly skipped?: string;
}

export type RoundOptions = Omit<ArenaOptions, "setting" | "random"> & {
  readonly random: Arena["random"];
  readonly seed: number;
  readonly seconds: number | undefined;
  /** How long what is left to do may take once all is whole again. */
  readonly patience_ms: number;
};

const WARM_UP_MS = 1_500;
const PROBES = 10;
/** Idle connections to receivers and between client and daemon are closed by then. */
const SETTLE_MS = 2_500;
/** What a daemon may hold when it is idle, beyond what it had when it had just started. */
const MORE_FDS = 16;
const MORE_MEMORY_MB = 200;

/** Breaks things, lets them heal, waits until all is drained, and checks. */
export async function runRound(fault: Fault, options: RoundOptions): Promise<Round> {
  const began = performance.now();
  const { seed, patience_ms } = options;
  const nothing = {
    seed,
    fault: fault.name,
    strikes: 0,
    ambiguous: 0,
    refused: 0,
    drained_s: 0,
    kills: 0,
  };
  try {
    const setting = await fault.setting?.(options.random.fork("setting")) ?? {};
    await using _cleanup = {
      [Symbol.asyncDispose]: async () => await setting[Symbol.asyncDispose]?.(),
    };
    const arena = await openArena({ ...options, setting });
    try {
      const verdict = await strike(fault, arena, patience_ms, options.seconds ?? fault.seconds);
      const { strikes, kills, client: { ambiguous, refused } } = arena;
      const took_s = (performance.now() - began) / 1000;
      return { ...nothing, ...verdict, strikes, kills, ambiguous, refused, took_s };
    } finally {
      await arena.close();
    }
  } catch (error) {
    if (!(error instanceof Skip)) throw error;
    return { ...nothing, ...NOTHING, took_s: 0, skipped: messageOf(error) };
  }
}

const NOTHING: Verdict = {
  violations: [],
  untested: [],
  counts: {
    acknowledged: 0,
    events: 0,
    deliveries: 0,
    delivered: 0,
    failed: 0,
    attempts: 0,
    interrupted: 0,
    requests: 0,
    repeated: 0,
    announced: 0,
    erased: 0,
    dropped: 0,
    late: 0,
  },
};

async function strike(
  fault: Fault,
  arena: Arena,
  patience_ms: number,
  seconds: number,
): Promise<Verdict & Pick<Round, "drained_s">> {
  const late = arena.daemons.length === 0;
  const calm = fault.calm ?? false;
  if (late) await fault.inject(arena, seconds);
  await heal(arena, fault);
  const before = new Map(arena.daemons.map((daemon) => [daemon.name, daemon.resources()]));
  const from = Date.now();
  arena.watch?.start();
  arena.client.posting = true;
  await sleep(WARM_UP_MS);
  if (!late) await fault.inject(arena, seconds);
  await heal(arena, fault);
  arena.client.posting = false;
  if (fault.calm === undefined && arena.strikes === 0) {
    arena.find({ invariant: "G", text: `${fault.name} never struck: nothing was tested` });
  }
  if (!await arena.client.settled(patience_ms)) {
    arena.find({ invariant: "G", text: "posts with a key are never acknowledged" });
  }
  arena.draining = true;
  await arena.watch?.settle(patience_ms);
  const drained_s = await drain(arena, patience_ms);
  const probed = Date.now();
  if (!await arena.client.post(PROBES, patience_ms)) {
    arena.find({ invariant: "G", text: "posts are not acknowledged although all is whole again" });
  }
  await drain(arena, patience_ms);
  await arena.watch?.leave(patience_ms);
  await sleep(SETTLE_MS);
  checkResources(arena, before);
  for (const answer of new Set(arena.client.strange)) {
    arena.find({ invariant: "G", text: `a post was answered with ${answer}` });
  }
  if (arena.daemons.length > 1) arena.views = await readViews(arena);
  const ledger = await arena.finish([[calm ? from : probed, Date.now()]], calm);
  return { ...check(ledger), drained_s };
}

async function heal(arena: Arena, fault: Fault): Promise<void> {
  arena.away = false;
  await allReady(arena, fault.name);
}

/** Answers how many seconds it took. */
async function drain(arena: Arena, patience_ms: number): Promise<number> {
  arena.draining = true;
  const before = performance.now();
  const left = await drained(arena, patience_ms);
  if (left !== 0) {
    const which = await arena.pendingInWords().catch(messageOf);
    const text = `${left} deliveries are pending after ${patience_ms / 1000} s: ${which}`;
    arena.find({ invariant: "G", text });
  }
  return (performance.now() - before) / 1000;
}

function checkResources(
  arena: Arena,
  before: ReadonlyMap<string, ReturnType<Arena["daemons"][number]["resources"]>>,
): void {
  for (const { name, holder, resources } of arena.daemons) {
    const first = before.get(name);
    const now = resources();
    if (first === undefined || now === undefined) continue;
    if (now.fds > first.fds + MORE_FDS) {
      const text = `${holder} holds ${now.fds} file descriptors, ${first.fds} when it started`;
      arena.find({ invariant: "G", text });
    }
    if (now.memory_mb > first.memory_mb + MORE_MEMORY_MB) {
      const text = `${holder} holds ${Math.round(now.memory_mb)} MB, ` +
        `${Math.round(first.memory_mb)} when it started`;
      arena.find({ invariant: "G", text });
    }
  }
}
