import { answerToEvent, refusalOf } from "../core/refusals.ts";
import type { Context } from "../delivery/context.ts";
import { addPosts, type Posted } from "../store/stats.ts";
import type { Job } from "./schedule.ts";

/** Posts that this daemon answered, counted in memory until they are written down. */
export interface PostCounts {
  /** Writes the counts down; returns how many kinds there were. What cannot be written stays. */
  flush(): Promise<number>;
}

/** Counts events and refused posts from now on. */
export function countPosts(
  { db, clock, signals }: Pick<Context, "db" | "clock" | "signals">,
): PostCounts {
  let counts = new Map<string, Posted>();
  const add = (more: Posted) => {
    const kind = `${more.answer} ${more.type}`;
    const known = counts.get(kind);
    const latest = known === undefined || more.last_at >= known.last_at ? more : known;
    counts.set(kind, { ...latest, posts: more.posts + (known?.posts ?? 0) });
  };
  signals.ingested.on((event) => {
    const answer = answerToEvent(event);
    if (answer === undefined) return;
    add({ answer, type: event.type, posts: 1, last_at: clock.now(), last_address: null });
  });
  signals.refused.on((refused) => {
    if (refused.by !== "ingest") return;
    const answer = refusalOf(refused.code, refused.signed);
    if (answer === undefined) return;
    add({ answer, type: "", posts: 1, last_at: clock.now(), last_address: refused.address });
  });
  return {
    async flush() {
      if (counts.size === 0) return 0;
      const taken = [...counts.values()];
      counts = new Map();
      try {
        await addPosts(db.admin, taken);
      } catch (error) {
        taken.forEach(add);
        throw error;
      }
      return taken.length;
    },
  };
}

/** Writes the counts of this daemon's posts down. */
export function writePosts(counts: PostCounts): Job {
  return { name: "posts", pattern: "*/5 * * * * *", run: () => counts.flush() };
}
