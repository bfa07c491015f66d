import type { Disk } from "./disk.ts";
import { messageOf } from "./core/errors.ts";
import type { Dispatcher } from "./delivery/dispatcher.ts";
import type { Database } from "./store/database.ts";
import type { Readiness } from "../routes/context.ts";

const PING_TIMEOUT_MS = 4_000;

/**
 * Whether events are accepted and delivered: asks the database, which takes 4 seconds at most, and looks
 * at its disk if it is embedded.
 */
export async function readiness(
  db: Pick<Database, "kind" | "ping">,
  dispatcher: Pick<Dispatcher, "healthy" | "stopping">,
  disk: Pick<Disk, "problem">,
): Promise<Readiness> {
  const database = await db.ping(PING_TIMEOUT_MS).then(() => "ok", messageOf);
  const checks = {
    database,
    dispatcher: engineCheck(dispatcher),
    ...(db.kind === "embedded" ? { disk: disk.problem() ?? "ok" } : {}),
  };
  return { ready: Object.values(checks).every((check) => check === "ok"), checks };
}

function engineCheck({ stopping, healthy }: Pick<Dispatcher, "healthy" | "stopping">): string {
  if (stopping) return "The daemon is stopping; it only stores events";
  return healthy ? "ok" : "The dispatcher has had no answer for 8 seconds";
}
