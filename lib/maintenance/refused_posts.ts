import { type Refusal, refusalOf } from "../core/refusals.ts";
import type { Context } from "../delivery/context.ts";
import { addRefused, type Refused } from "../store/stats.ts";
import type { Job } from "./schedule.ts";

/** Posts that this daemon refused, counted in memory until they are written down. */
export interface RefusedPosts {
  /** Writes the counts down; returns how many kinds there were. What cannot be written stays. */
  flush(): Promise<number>;
}

/** Counts refused posts from now on. */
export function countRefused(
  { db, clock, signals }: Pick<Context, "db" | "clock" | "signals">,
): RefusedPosts {
  let counts = new Map<Refusal, Refused>();
  const add = (more: Refused) => {
    const known = counts.get(more.refusal);
    const latest = known === undefined || more.last_at >= known.last_at ? more : known;
    counts.set(more.refusal, { ...latest, posts: more.posts + (known?.posts ?? 0) });
  };
  signals.refused.on((refused) => {
    if (refused.by !== "ingest") return;
    const refusal = refusalOf(refused.code, refused.signed);
    if (refusal === undefined) return;
    add({ refusal, posts: 1, last_at: clock.now(), last_address: refused.address });
  });
  return {
    async flush() {
      if (counts.size === 0) return 0;
      const taken = [...counts.values()];
      counts = new Map();
      try {
        await addRefused(db.admin, taken);
      } catch (error) {
        taken.forEach(add);
        throw error;
      }
      return taken.length;
    },
  };
}

/** Writes the refused posts of this daemon down. */
export function refusedPosts(refused: RefusedPosts): Job {
  return { name: "refused posts", pattern: "*/5 * * * * *", run: () => refused.flush() };
}
