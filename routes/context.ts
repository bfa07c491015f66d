import type { HttpBindings } from "@hono/node-server";
import type { AdminToken, Config } from "../lib/config/config.ts";
import type { AddressRules } from "../lib/core/address.ts";
import type { EventTypes } from "../lib/core/event_types.ts";
import type { Counters } from "../lib/observe/counters.ts";
import type { Log } from "../lib/observe/log.ts";
import type { SealKey } from "../lib/core/seal.ts";
import type { InForce } from "../lib/in_force.ts";
import type { Accepted, Offer } from "../lib/delivery/intake.ts";
import type { Actor } from "../lib/store/changes.ts";
import type { Database } from "../lib/store/database.ts";
import type { ViewContext } from "./views.ts";

/** What the routes need of the daemon. They reach the engine through the store and `accept` only. */
export interface RouteContext extends ViewContext {
  readonly in_force: () => InForce;
  readonly config: () => Config;
  readonly event_types: () => EventTypes;
  readonly db: Database;
  readonly log: Log;
  /** The database's time, in milliseconds since 1970. */
  readonly now: () => number;
  readonly counters: Counters;
  readonly tokens: () => readonly AdminToken[];
  readonly accept: (offers: readonly Offer[]) => Promise<Accepted[]>;
  /** Where endpoints may live. */
  readonly rules: () => AddressRules;
  /** Keys that seal the secrets of endpoints: the first one seals, all of them open. */
  readonly seal_keys: readonly SealKey[];
  /** A new UUID by the database's time. */
  readonly newUuid: () => string;
  /** Something is due for these endpoints. */
  readonly wake: (endpoint_nos: readonly number[]) => void;
  /** The stored endpoints have changed: resolves when this process uses them. */
  readonly endpoints_changed: () => Promise<void>;
  /** There is a new replay. */
  readonly replays_changed: () => void;
  /** Reads the configuration file again. Throws an `AppError` with its mistakes. */
  readonly reload: (actor: Actor) => Promise<Reloaded>;
  /** Whether database and dispatcher do their work, and what each says. */
  readonly readiness: () => Promise<Readiness>;
}

/** What reading the file again changed, in words. */
export interface Reloaded {
  readonly changed: string[];
  /** Of these, what takes effect at the next start only. */
  readonly at_next_start: string[];
}

export interface Readiness {
  readonly ready: boolean;
  readonly checks: Readonly<Record<string, string>>;
}

/** hono's environment: the sockets of node:http, and who asks. */
export interface Env {
  Bindings: HttpBindings;
  Variables: { token: AdminToken; address: string | null };
}
