import type { Watched } from "./watch/watched.ts";

/**
 * What a run leaves behind: what the client was told, what receivers saw, and what the database says.
 * Times are milliseconds since 1970, with fractions. Ids are UUIDs.
 */
export interface Ledger {
  readonly endpoints: readonly LedgerEndpoint[];
  readonly acknowledged: readonly Acknowledged[];
  readonly events: readonly EventRow[];
  readonly deliveries: readonly DeliveryRow[];
  readonly attempts: readonly AttemptRow[];
  readonly requests: readonly RequestSeen[];
  /** Every change to a delivery, in order; empty where it was not written down. */
  readonly history: readonly Change[];
  /** Deliveries that somebody retried or cancelled by hand. */
  readonly by_hand: ReadonlySet<string>;
  /** Endpoints that a file may have retired, by number, and from which time on. */
  readonly retirable: ReadonlyMap<number, number>;
  /** Times in which nothing was broken: attempts that were due in them must be on time. */
  readonly healthy: readonly (readonly [from: number, to: number])[];
  /** Endpoints that are paused now and then, by number: what is due there may be late. */
  readonly paused: ReadonlySet<number>;
  /** What was watched besides; null if nobody watched. */
  readonly watched: Watched | null;
  /** Times in which something was broken; where they are known, nothing else explains a late attempt. */
  readonly outages?: readonly (readonly [from: number, to: number])[];
  /** What each daemon showed when all was over. */
  readonly views?: readonly View[];
  /** Whether nothing at all was broken in this run. */
  readonly calm: boolean;
  /** Mistakes that were seen while it ran: a daemon that died by itself, a queue that never drained. */
  readonly findings: readonly Violation[];
}

export interface LedgerEndpoint {
  readonly no: number;
  readonly id: string;
  readonly retry_ms: readonly number[];
  readonly limits?: Limits | undefined;
}

/** What a receiver is promised, by all daemons together. */
export interface Limits {
  /** Attempts begun. */
  readonly rate_per_s?: number;
  /** Attempts under way at once. */
  readonly concurrency?: number;
}

/** A page or a list as one daemon showed it, without what may differ. */
export interface View {
  readonly daemon: string;
  readonly path: string;
  readonly text: string;
}

/** A post that was answered with 200 or 202. */
export interface Acknowledged {
  readonly event_id: string;
  /** SHA-256 of the posted bytes, hexadecimal. */
  readonly hash: string;
  readonly key: string | null;
  readonly deliveries: number;
  /** Numbers of the endpoints that match it. */
  readonly owed_to: readonly number[];
}

export interface EventRow {
  readonly id: string;
  /** SHA-256 of its payload, hexadecimal; null without one. */
  readonly hash: string | null;
  readonly received_at: number;
  /** When its payload was erased by an operator's wish. */
  readonly erased_at: number | null;
}

export interface DeliveryRow {
  readonly id: string;
  readonly event_id: string;
  readonly endpoint_no: number;
  readonly status: "pending" | "delivered" | "failed" | "cancelled";
  readonly attempts: number;
  /** Null while it is pending. */
  readonly ended_at: number | null;
  /** Why it was cancelled; null otherwise. */
  readonly reason: string | null;
}

export interface AttemptRow {
  readonly delivery_id: string;
  readonly number: number;
  readonly outcome: string;
  readonly status: number | null;
  readonly started_at: number;
  readonly ended_at: number;
  /** Whether it is in a row of its own, not in its delivery's. */
  readonly is_apart: boolean;
  /** `webhook-signature` as it was sent: with its timestamp it tells one request from another. */
  readonly signature: string | null;
}

/** A request that a receiver read to its end. */
export interface RequestSeen {
  readonly event_id: string;
  readonly delivery_id: string;
  readonly attempt: number;
  readonly hash: string;
  readonly at: number;
  /** When it was answered or its connection closed; null if neither has happened. */
  readonly ended_at: number | null;
  readonly signature: string;
  /** What was answered, or null where it was no answer. */
  readonly status: number | null;
}

/** One change to a row, as a trigger saw it. */
export interface Change {
  readonly what:
    | "insert"
    | "update"
    | "delete"
    | "attempt"
    | "attempt_changed"
    | "ended"
    | "ended_changed";
  readonly delivery_id: string;
  /** Which process wrote it, `d1.4`: the fourth life of the daemon d1. */
  readonly writer: string;
  readonly at: number;
  readonly token_before: number | null;
  readonly token: number | null;
  readonly leased_before: number | null;
  readonly leased_until: number | null;
  /** Of an attempt. */
  readonly outcome: string | null;
}

export const INVARIANTS = {
  A: "every acknowledged event is delivered byte-identical, scheduled, or failed after its attempts",
  B: "attempts within the policy, numbered without gaps, in their place, none after the end",
  C: "each request seen has its attempt with the same status, and the other way round",
  D: "more than one 2xx only where an attempt was interrupted",
  E: "no write under a lost lease; ended states change only by hand, attempts never",
  F: "nothing sent before its time; late by at most 2 s when healthy",
  G: "afterwards drained, well, and back at its resources; no answer 500, no half page",
  H: "no alert lost, and none announced twice unless its announcement was interrupted",
  I: "no answer has what its reader may not see: another business's, an operator's, a secret",
  J: "no erasure lost or undone, and nothing sent after one",
  K: "no partition dropped with something owed, and those with nothing owed dropped",
  L: "rate_limit and concurrency hold over all daemons together",
  M: "afterwards each daemon shows the same",
} as const;

export type Invariant = keyof typeof INVARIANTS;

export interface Violation {
  readonly invariant: Invariant;
  readonly text: string;
}
