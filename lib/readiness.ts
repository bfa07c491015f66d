import type { Disk } from "./disk.ts";
import { messageOf } from "./core/errors.ts";
import type { Dispatcher } from "./delivery/dispatcher.ts";
import type { Signals, SignalValues } from "./observe/signals.ts";
import { overdueEndpoint } from "./store/alerts.ts";
import type { Database } from "./store/database.ts";
import { within } from "./store/deadline.ts";
import type { Readiness } from "../routes/context.ts";

const CHECK_TIMEOUT_MS = 4_000;
/** How long a failed statement counts if none of its part succeeds: then others are let in to try. */
const FAILING_MS = 10_000;

/** Why statements fail at present; undefined while none does. */
export type Failing = () => string | undefined;

/** Follows the signals of each part: a success makes up for the failures before it. */
export function watchStatements(
  { statement_failed, ingested, claimed, recorded }: Signals,
): Failing {
  const failed = new Map<SignalValues["statement_failed"]["part"], { cause: string; at: number }>();
  statement_failed.on(({ part, cause }) => failed.set(part, { cause, at: performance.now() }));
  ingested.on(() => failed.delete("ingest"));
  claimed.on(() => failed.delete("engine"));
  recorded.on(() => failed.delete("engine"));
  return () => {
    const now = performance.now();
    for (const { cause, at } of failed.values()) if (now - at < FAILING_MS) return cause;
    return undefined;
  };
}

/**
 * Whether events are accepted and delivered: asks the database, which takes 4 seconds at most, what became
 * of the last statements, and its disk if it is embedded.
 */
export async function readiness(
  db: Pick<Database, "kind" | "check">,
  dispatcher: Pick<Dispatcher, "healthy" | "stopping">,
  disk: Pick<Disk, "problem">,
  failing: Failing,
): Promise<Readiness> {
  const refused = await db.check(CHECK_TIMEOUT_MS).then(() => undefined, messageOf);
  const checks = {
    database: refused ?? failing() ?? "ok",
    dispatcher: engineCheck(dispatcher),
    ...(db.kind === "embedded" ? { disk: disk.problem() ?? "ok" } : {}),
  };
  return { ready: Object.values(checks).every((check) => check === "ok"), checks };
}

function engineCheck({ stopping, healthy }: Pick<Dispatcher, "healthy" | "stopping">): string {
  if (stopping) return "The daemon is stopping; it only stores events";
  return healthy ? "ok" : "The dispatcher has had no answer for 8 seconds";
}

/** Deliveries that are due for so long and not sent are a sign that something stands still. */
const OVERDUE_MS = 600_000;

/**
 * Why this daemon should not pass for alive: it is not ready, or deliveries have been due for ten minutes at an
 * endpoint that limits neither rate nor concurrency. Undefined while all is well.
 */
export async function illnessOf(
  db: Pick<Database, "kind" | "check" | "admin">,
  dispatcher: Pick<Dispatcher, "healthy" | "stopping">,
  disk: Pick<Disk, "problem">,
  failing: Failing,
): Promise<string | undefined> {
  const { checks } = await readiness(db, dispatcher, disk, failing);
  return Object.values(checks).find((check) => check !== "ok") ?? await overdueIn(db);
}

/**
 * Why a restart might help: the database or the dispatcher does not answer, or deliveries are overdue. A full disk or
 * a refused statement would be no better after it. Undefined while everything moves.
 */
export async function standstillOf(
  db: Pick<Database, "check" | "admin">,
  dispatcher: Pick<Dispatcher, "healthy" | "stopping">,
): Promise<string | undefined> {
  try {
    await db.check(CHECK_TIMEOUT_MS);
    const check = engineCheck(dispatcher);
    return check === "ok" ? await overdueIn(db) : check;
  } catch (error) {
    return messageOf(error);
  }
}

async function overdueIn({ admin }: Pick<Database, "admin">): Promise<string | undefined> {
  const late = await within(overdueEndpoint(admin, OVERDUE_MS), CHECK_TIMEOUT_MS);
  return late === undefined
    ? undefined
    : `Deliveries to ${late} have been due for more than ten minutes`;
}
