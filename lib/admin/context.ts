import type { Scope } from "../core/scope.ts";
import type { SealKey } from "../core/seal.ts";
import type { Examination } from "../core/examination.ts";
import type { Endpoint } from "../delivery/fleet.ts";
import type { Accepted, Offer } from "../delivery/batch.ts";
import type { InForce } from "../in_force.ts";
import type { Actor } from "../store/changes.ts";
import type { Database } from "../store/database.ts";
import type { FilePolicy } from "../store/endpoints.ts";
import type { Ended } from "../store/fragments.ts";
import type { Pace } from "./pace.ts";
import type { Reloaded } from "./shown.ts";
import type { Streams } from "./stream.ts";

/** Who asks, and whose data they may see and change. */
export interface Asker {
  readonly actor: Actor;
  readonly scope: Scope;
  /** Whether they may read what events and answers contain, not only what became of them. */
  readonly payloads: boolean;
}

/** The daemon, as far as administration reaches it. */
export interface AdminContext {
  readonly db: Database;
  /** The state in force: read it once per request, because a reload replaces it. */
  readonly in_force: () => InForce;
  /** What the file in force decides for all daemons: it may be another daemon's. */
  readonly policy: () => FilePolicy;
  /** Keys that seal the secrets of endpoints: the first one seals, all of them open. */
  readonly seal_keys: readonly SealKey[];
  /** The database's time, in milliseconds since 1970. */
  readonly now: () => number;
  /** A new UUID by the database's time. */
  readonly newUuid: () => string;
  /** Stores events with their deliveries. */
  readonly accept: (offers: readonly Offer[]) => Promise<Accepted[]>;
  /** The endpoint as this process sends to it; undefined for a retired one. */
  readonly endpoint: (no: number) => Endpoint | undefined;
  /** Why this process begins no attempt to an endpoint now, in words; null if it would. */
  readonly holdup: (no: number) => string | null;
  /** Examines where this process's deliveries to a target go; sends no request. */
  readonly examine: (target: Endpoint["target"]) => Promise<Examination>;
  /** Limits what a business does. */
  readonly pace: Pace;
  /** Announces that these endpoints have deliveries due. */
  readonly wake: (endpoint_nos: readonly number[]) => void;
  /** Announces changed endpoints; resolves when this process uses them. */
  readonly endpoints_changed: () => Promise<void>;
  /** Cancels what endpoints are not owed any more: all of it, or as much as fits in a request. */
  readonly cancel_unowed: () => Promise<void>;
  /** Reports deliveries that a statement ended. */
  readonly ended: (ended: readonly Ended[]) => void;
  /** Announces a new replay. */
  readonly replays_changed: () => void;
  /** Announces a new erasure. */
  readonly erasures_changed: () => void;
  /** Sends a test to those who get alerts, or to one of them; `id` is new. */
  readonly test_targets: (
    only: string | undefined,
    id: string,
  ) => Promise<
    readonly { readonly target: string; readonly ok: boolean; readonly explanation: string }[]
  >;
  /** The streams of what changes. */
  readonly streams: Streams;
  /** Writes down how this process has answered posts. */
  readonly count_posts: () => Promise<unknown>;
  /** Reads the configuration file again. Throws an `AppError` with its mistakes. */
  readonly reload: (actor: Actor) => Promise<Reloaded>;
  /** What that would change. Throws the same. */
  readonly plan_reload: () => Promise<Reloaded>;
}
