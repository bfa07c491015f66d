import type { HttpBindings } from "@hono/node-server";
import type { AdminToken, Config } from "../lib/config/config.ts";
import type { EventTypes } from "../lib/core/event_types.ts";
import type { Counters } from "../lib/observe/counters.ts";
import type { Log } from "../lib/observe/log.ts";
import type { Accepted, Offer } from "../lib/delivery/intake.ts";
import type { Database } from "../lib/store/database.ts";

/** What the routes need of the daemon. They reach the engine through the store and `accept` only. */
export interface RouteContext {
  readonly config: () => Config;
  readonly event_types: () => EventTypes;
  readonly db: Database;
  readonly log: Log;
  /** The database's time, in milliseconds since 1970. */
  readonly now: () => number;
  readonly counters: Counters;
  readonly tokens: () => readonly AdminToken[];
  readonly accept: (offers: readonly Offer[]) => Promise<Accepted[]>;
  /** Whether database and dispatcher do their work, and what each says. */
  readonly readiness: () => Promise<Readiness>;
}

export interface Readiness {
  readonly ready: boolean;
  readonly checks: Readonly<Record<string, string>>;
}

/** hono's environment: the sockets of node:http, and who asks. */
export interface Env {
  Bindings: HttpBindings;
  Variables: { token: AdminToken };
}
