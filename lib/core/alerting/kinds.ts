/** Alerts: conditions that are announced when they begin and when they end. */

import type { Outcome, Reason } from "../outcome.ts";
import type { Refusal } from "../refusals.ts";
import type { Run } from "../tally.ts";

/** Kinds of alerts, the worst first. The database has these names. */
export const KINDS = [
  "database_failing",
  "egress_broken",
  "ingest_refused",
  "ingest_silent",
  "disk_low",
  "endpoint_gone",
  "endpoint_failing",
  "deliveries_overdue",
  "endpoint_pausing",
  "check_failing",
  "target_failing",
  "certificate_ending",
  "daemons_differ",
] as const;
/** One of them. */
export type Kind = typeof KINDS[number];

/** Why an alert ended. */
export const END_REASONS = [
  "delivered",
  "cleared",
  "paused",
  "gone",
  "resumed",
  "retired",
  "switched_off",
  "stopped",
  "removed",
] as const;
/** One of them. */
export type EndReason = typeof END_REASONS[number];

/**
 * The figures of an alert as of its last announcement: everybody shows the same ones. Never anything that a
 * receiver answered. Times in milliseconds since 1970; absent members are unknown or do not apply.
 */
export interface Details {
  /** Length of the time in which attempts, or posts, were counted; absent: they are counted since `began_at`. */
  readonly window_ms?: number;
  readonly attempts?: number;
  readonly failed?: number;
  /** The commonest reason of those that failed, and its status. */
  readonly reason?: Reason | Refusal;
  readonly code?: number;
  /** The last delivery that failed for it, `dlv_…`. */
  readonly example_delivery_id?: string;
  /** Deliveries that wait for the endpoint; `waiting_exact` is false if there are more. */
  readonly waiting?: number;
  readonly waiting_exact?: boolean;
  /** The earliest moment at which one of them runs out of attempts. */
  readonly exhausted_at?: number;
  /** For how long the first due delivery has been due. */
  readonly overdue_ms?: number;
  /** How far an automatic pause has come, and when it is, or was, due. */
  readonly stage?: PausingStage;
  readonly pauses_at?: number;
  readonly certificate_ends_at?: number;
  /** When the last event was stored, and how many came in that time in the emptiest of the past weeks. */
  readonly last_event_at?: number;
  readonly expected?: number;
  /** Endpoints that were tried. */
  readonly endpoints?: number;
  readonly free_bytes?: number;
  readonly min_free_bytes?: number;
  /** Daemons that live, those of them that differ from the others, and in what. */
  readonly daemons?: number;
  readonly differing?: number;
  readonly differ_in?: "file" | "version";
}

/** How far an automatic pause has come, in percent. */
export type PausingStage = 50 | 90 | 100;

/** An alert that has not ended. Times in milliseconds since 1970. */
export interface OpenAlert {
  /** A UUID. */
  readonly id: string;
  readonly kind: Kind;
  /** An endpoint's id, a daemon's, a target's name; empty: everything. */
  readonly subject: string;
  readonly endpoint_no: number | null;
  /** The owner of the endpoint. */
  readonly business: string | null;
  /** Since when it is so, and when that was noticed. */
  readonly began_at: number;
  readonly opened_at: number;
  readonly details: Details;
  /** Announcements so far. */
  readonly occasions: number;
  /** When it is announced again; null: not by the clock. */
  readonly remind_at: number | null;
  readonly acknowledged_at: number | null;
  readonly snoozed_until: number | null;
}

/** What becomes of an alert. Each change is announced: it has the alert's next number of occasions. */
export type Change =
  & Pick<OpenAlert, "kind" | "subject" | "endpoint_no" | "business" | "began_at" | "details">
  & (
    | { readonly what: "began"; readonly remind_at: number | null }
    | {
      readonly what: "reminded";
      readonly alert: OpenAlert;
      readonly remind_at: number | null;
    }
    | { readonly what: "ended"; readonly alert: OpenAlert; readonly end_reason: EndReason }
  );

/** Attempts by outcome. Interrupted ones are nobody's fault, and count nowhere. */
export type Attempts = Readonly<Partial<Record<Outcome["outcome"], number>>>;

/** An endpoint, as far as it is judged. Times in milliseconds since 1970, or null. */
export interface EndpointFacts {
  readonly no: number;
  readonly id: string;
  readonly owner: string | null;
  readonly paused_by: "hand" | "gone" | "automatic" | null;
  readonly paused_at: number | null;
  /** When it was last resumed: it is judged by what came after. */
  readonly resumed_at: number | null;
  readonly retired_at: number | null;
  /** Attempts recorded since the beginnings that `Facts.since` has. */
  readonly window: Attempts;
  readonly last_third: Attempts;
  readonly recent: Attempts;
  /** How its attempts have been ending, and how many have failed since the last success. */
  readonly run: Run;
  /** For how long its first due delivery that nobody sends has been due, in milliseconds; null without any. */
  readonly overdue_ms: number | null;
  /** The last look at it from outside. */
  readonly check: CheckFacts | null;
}

/** A health check. Times in milliseconds since 1970. */
export interface CheckFacts {
  readonly checked_at: number;
  readonly ok: boolean;
  /** The first of the checks that have failed since one did not; null if the last one did not. */
  readonly failing_since: number | null;
  readonly certificate_ends_at: number | null;
}

/** Events stored, or known already, and posts refused. */
export interface PostFacts {
  readonly accepted: number;
  readonly refused: Readonly<Partial<Record<Refusal, number>>>;
}

/** When events were stored. Times in milliseconds since 1970. */
export interface IngestFacts {
  /** Null: never, as far as it is known. */
  readonly last_event_at: number | null;
  /** Since when events have been counted. */
  readonly counted_since: number | null;
  /** Since when a daemon has been there to accept them. */
  readonly open_since: number | null;
  /** Events stored in each hour (UTC) of the past weeks that is asked about; hours without any are left out. */
  readonly hours: readonly (readonly [starts_at: number, events: number])[];
}

/** A trouble of a daemon, by its own account. */
export interface Trouble {
  readonly kind: "disk_low" | "database_failing";
  /** For how long it has been so, in milliseconds. */
  readonly for_ms: number;
  readonly free_bytes?: number;
  readonly min_free_bytes?: number;
}

/** A living daemon. */
export interface DaemonFacts {
  readonly id: string;
  /** Digest of its configuration file. */
  readonly file: string;
  readonly version: string;
  /** In milliseconds since 1970. */
  readonly started_at: number;
  readonly troubles: readonly Trouble[];
}

/** Somebody who gets alerts. Times in milliseconds since 1970. */
export interface TargetFacts {
  /** `slack`, `mail`, `events:ID` of an endpoint, `business-mail:BUSINESS`. */
  readonly target: string;
  /** Of an endpoint. */
  readonly endpoint_no: number | null;
  /** Attempts that failed in a row, after the last one that reached it. */
  readonly failures: number;
  /** The first of them. */
  readonly failing_since: number | null;
  /** The last attempt that reached it; null without one, or if none is known any more. */
  readonly reached_at: number | null;
  /** Whether something for it was given up after that. */
  readonly given_up: boolean;
}

/** Everything that alerts are judged by, as of `now` by the database's clock (milliseconds since 1970). */
export interface Facts {
  readonly now: number;
  /** Where the times begin in which attempts and posts are counted. */
  readonly since: {
    readonly window: number;
    readonly last_third: number;
    readonly recent: number;
  };
  /** Endpoints in force, and others that an alert is open about. */
  readonly endpoints: readonly EndpointFacts[];
  readonly posts: { readonly window: PostFacts; readonly last_third: PostFacts };
  readonly ingest: IngestFacts;
  /** Those that live. */
  readonly daemons: readonly DaemonFacts[];
  /** The file in force, and when it was seen first, or read again; null before the first. */
  readonly file: { readonly digest: string; readonly seen_at: number } | null;
  /** All who get alerts at present. */
  readonly targets: readonly TargetFacts[];
  /** When the last `egress_broken` ended, or null. */
  readonly egress_ended_at: number | null;
}

/** What alerts are judged by: `alerts` of the file in force. */
export interface Settings {
  /** A share from 0 to 1. */
  readonly failure_rate: number;
  readonly window_ms: number;
  readonly min_attempts: number;
  readonly auto_pause_ms: number | null;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** The time in which everything must fail for `egress_broken`. */
export const RECENT_MS = 2 * MINUTE_MS;
/** How long attempts may still fail after that has ended: the longest timeout, and their recording. */
export const GRACE_MS = 2 * MINUTE_MS;

/** How long attempts are counted for the last third of a window. */
export function thirdOf(window_ms: number): number {
  return Math.max(window_ms / 3, MINUTE_MS);
}

/**
 * The lengths of the times to count in, in milliseconds: after `egress_broken` only what came later, so that no
 * endpoint is blamed for it.
 */
export function countedTimes(
  { window_ms }: Pick<Settings, "window_ms">,
  egress_ended_at: number | null,
  now: number,
): { readonly window_ms: number; readonly last_third_ms: number; readonly recent_ms: number } {
  const after_ms = egress_ended_at === null
    ? Infinity
    : Math.max(MINUTE_MS, now - egress_ended_at - GRACE_MS);
  const counted_ms = Math.min(window_ms, after_ms);
  return { window_ms: counted_ms, last_third_ms: thirdOf(counted_ms), recent_ms: RECENT_MS };
}

/** Reminders come so long after an alert was opened, then once a day. */
const REMINDERS_MS = [HOUR_MS, 6 * HOUR_MS] as const;

/** When an alert is announced again: the first reminder after `now` (all in milliseconds since 1970). */
export function nextReminder(opened_at: number, now: number): number {
  const early = REMINDERS_MS.map((wait_ms) => opened_at + wait_ms).find((at) => at > now);
  if (early !== undefined) return early;
  return opened_at + DAY_MS * Math.max(1, Math.floor((now - opened_at) / DAY_MS) + 1);
}

/** Attempts that delivered, and those that failed: not the interrupted ones. */
export function countOf(
  attempts: Attempts,
): { readonly delivered: number; readonly failed: number } {
  const { delivered = 0, interrupted: _, ...failures } = attempts;
  return { delivered, failed: Object.values(failures).reduce((sum, count) => sum + count, 0) };
}

/** The commonest reason of a count; undefined without any. */
export function commonest<Name extends string>(
  counts: Readonly<Partial<Record<Name, number>>>,
): Name | undefined {
  const entries = Object.entries(counts) as [Name, number][];
  return entries.filter(([, count]) => count > 0).toSorted((a, b) => b[1] - a[1])[0]?.[0];
}
