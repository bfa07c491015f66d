import { messageOf } from "./core/errors.ts";
import type { Dispatcher } from "./delivery/dispatcher.ts";
import type { Database } from "./store/database.ts";
import type { Readiness } from "../routes/context.ts";

const PING_TIMEOUT_MS = 4_000;

/** Whether events are accepted and delivered: asks the database, which takes 4 seconds at most. */
export async function readiness(
  db: Pick<Database, "ping">,
  dispatcher: Pick<Dispatcher, "healthy">,
): Promise<Readiness> {
  const database = await db.ping(PING_TIMEOUT_MS).then(() => "ok", messageOf);
  const engine = dispatcher.healthy ? "ok" : "The dispatcher has had no answer for 8 seconds";
  return {
    ready: database === "ok" && engine === "ok",
    checks: { database, dispatcher: engine },
  };
}
