import type { Arena, Setting } from "./arena.ts";
import { type Daemon, endedBy } from "./daemons.ts";

/** Something that breaks, for a while, and is whole again when `inject` resolves. */
export interface Fault {
  readonly name: string;
  /** For how many seconds it strikes unless told otherwise. */
  readonly seconds: number;
  /** Whether nothing is broken at all. */
  readonly calm?: true;
  /** What the arena must be like for it. A reason why it cannot be done here is thrown as `Skip`. */
  readonly setting?: (random: Arena["random"]) => Promise<Setting & Partial<AsyncDisposable>>;
  inject(arena: Arena, seconds: number): Promise<void>;
}

/** Thrown where this machine lacks what a fault needs. */
export class Skip extends Error {}

/** Says for so long that there is time left. */
export function clockFor(seconds: number): () => boolean {
  const end = performance.now() + seconds * 1000;
  return () => performance.now() < end;
}

/** A daemon that listens, if any does. */
export function pickUp(arena: Arena): Daemon | undefined {
  const up = arena.daemons.filter((daemon) => daemon.up);
  return up.length === 0 ? undefined : arena.random.pick(up);
}

/** Ends a daemon by SIGTERM, and finds it where that does not go well. */
export async function terminateOne(arena: Arena, daemon: Daemon, times: number): Promise<void> {
  const { holder } = daemon;
  const code = await daemon.terminate(times);
  if (code === 0) return;
  arena.find({ invariant: "G", text: `${holder} ${endedBy(code)} after SIGTERM` });
}
