import type { Refusal } from "../refusals.ts";
import {
  commonest,
  countOf,
  type Details,
  type Facts,
  type IngestFacts,
  type PostFacts,
} from "./kinds.ts";
import { type Found, never, type Rule } from "./rules.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const WEEK_MS = 168 * HOUR_MS;

/** A condition of everything. */
function house(began_at: number, details: Details): Found[] {
  return [{ subject: "", endpoint_no: null, business: null, began_at, details }];
}

// --- egress_broken -------------------------------------------------------------------------------------

/** Fewer endpoints may fail at once by chance. */
const MIN_ENDPOINTS = 3;
/** The share of failures that never reached a receiver's program. */
const UNREACHED = 0.9;

/** The figures of a moment at which nothing leaves this machine; undefined if something does, or may. */
export function egressFigures({ endpoints }: Pick<Facts, "endpoints">): Details | undefined {
  const tried = endpoints.map(({ recent }) => ({ recent, ...countOf(recent) }))
    .filter(({ delivered, failed }) => delivered + failed > 0);
  if (tried.length < MIN_ENDPOINTS || tried.some(({ delivered }) => delivered > 0)) {
    return undefined;
  }
  const failed = tried.reduce((sum, one) => sum + one.failed, 0);
  const sums = { dns: 0, connection: 0, timeout: 0, tls: 0 };
  for (const { recent } of tried) {
    for (const reason of ["dns", "connection", "timeout", "tls"] as const) {
      sums[reason] += recent[reason] ?? 0;
    }
  }
  const unreached = Object.values(sums).reduce((sum, count) => sum + count, 0);
  const reason = commonest(sums);
  if (reason === undefined || unreached < UNREACHED * failed) return undefined;
  return { attempts: failed, failed, reason, endpoints: tried.length };
}

/** Nothing arrives anywhere: one alert, and none about each endpoint. */
export const egressBroken: Rule = {
  kind: "egress_broken",
  is_reminded: true,
  isExplained: never,
  finds({ facts }) {
    const figures = egressFigures(facts);
    const { now, since } = facts;
    return figures === undefined
      ? []
      : house(since.recent, { window_ms: now - since.recent, ...figures });
  },
  endOf({ opened_at }, { facts }) {
    const delivers = facts.endpoints.some(({ recent, run: { success_at } }) =>
      countOf(recent).delivered > 0 ||
      (success_at !== null && success_at > opened_at && success_at <= facts.now)
    );
    return delivers ? "delivered" : null;
  },
  figures(_alert, { facts }) {
    const figures = egressFigures(facts);
    const { now, since } = facts;
    return figures === undefined ? {} : { window_ms: now - since.recent, ...figures };
  },
};

// --- ingest_refused --------------------------------------------------------------------------------------

/** Refusals that BookMe should hear of; those of strangers only if nobody else posts. */
function refusedOf({ accepted, refused }: PostFacts): Partial<Record<Refusal, number>> {
  const { loop: _, unavailable: __, address = 0, ...others } = refused;
  return accepted === 0 && address > 0 ? { ...others, address } : others;
}

function sharesOf(posts: PostFacts) {
  const refusals = refusedOf(posts);
  const refused = Object.values(refusals).reduce((sum, count) => sum + count, 0);
  const all = refused + posts.accepted;
  return { refusals, refused, all, share: all === 0 ? 0 : refused / all };
}

function refusedFigures({ now, since, posts }: Facts): Details {
  const { refusals, refused, all } = sharesOf(posts.window);
  const reason = commonest(refusals);
  return {
    window_ms: now - since.window,
    attempts: all,
    failed: refused,
    ...(reason === undefined ? {} : { reason }),
  };
}

function isRefused({ facts, settings }: Parameters<Rule["finds"]>[0]): boolean {
  const { refused, share } = sharesOf(facts.posts.window);
  return refused >= settings.min_attempts && share >= settings.failure_rate;
}

const ingestRefused: Rule = {
  kind: "ingest_refused",
  is_reminded: true,
  isExplained: never,
  finds: (judged) =>
    isRefused(judged) ? house(judged.facts.since.window, refusedFigures(judged.facts)) : [],
  endOf(_alert, { facts: { posts }, settings: { failure_rate } }) {
    const is_over = sharesOf(posts.last_third).refused === 0 ||
      sharesOf(posts.window).share <= failure_rate / 2;
    return is_over ? "cleared" : null;
  },
  figures: (_alert, { facts }) => refusedFigures(facts),
};

// --- ingest_silent ---------------------------------------------------------------------------------------

/** Weeks that are compared with, how many of them there must be, and the events each must have had. */
const WEEKS = 4;
const MIN_WEEKS = 2;
const MIN_EVENTS = 10;
/** Whoever posts is restarted now and then. */
const MIN_SILENCE_MS = 5 * MINUTE_MS;
/** Clocks are changed twice a year: an hour earlier or later must have had events as well. */
const SHIFTS_MS = [-HOUR_MS, 0, HOUR_MS] as const;

/** Since when no event has come although one could; undefined if none ever did, or none could. */
export function silentFrom({ now, ingest }: Pick<Facts, "now" | "ingest">): number | undefined {
  const { last_event_at, open_since } = ingest;
  if (last_event_at === null || open_since === null) return undefined;
  // Our own absence is not BookMe's.
  return Math.max(last_event_at, open_since, now - WEEK_MS);
}

/** The same time of the past weeks, with the hours before and after it, in milliseconds since 1970. */
export function pastWeeks(
  from: number,
  to: number,
): { readonly from: number; readonly to: number }[] {
  return Array.from({ length: WEEKS }, (_, week) => ({
    from: from - (week + 1) * WEEK_MS - HOUR_MS,
    to: to - (week + 1) * WEEK_MS + HOUR_MS,
  }));
}

/**
 * How many events came in this time of the week, in the emptiest of the past weeks: hours that are cut count in
 * part. Undefined with less than two full weeks of history.
 */
export function expectedEvents(
  { hours, counted_since }: Pick<IngestFacts, "hours" | "counted_since">,
  from: number,
  to: number,
): number | undefined {
  const counts: number[] = [];
  for (let week = 1; week <= WEEKS; week++) {
    const back_ms = week * WEEK_MS;
    if (counted_since === null || counted_since > from - back_ms) break;
    const within = SHIFTS_MS.map((shift_ms) =>
      eventsWithin(hours, from - back_ms + shift_ms, to - back_ms + shift_ms)
    );
    counts.push(Math.min(...within));
  }
  return counts.length < MIN_WEEKS ? undefined : Math.min(...counts);
}

function eventsWithin(hours: IngestFacts["hours"], from: number, to: number): number {
  return hours.reduce((sum, [starts_at, events]) => {
    const part_ms = Math.min(to, starts_at + HOUR_MS) - Math.max(from, starts_at);
    return sum + events * Math.max(0, part_ms) / HOUR_MS;
  }, 0);
}

function silence(facts: Facts): { from: number; details: Details } | undefined {
  const from = silentFrom(facts);
  if (from === undefined || facts.now - from < MIN_SILENCE_MS) return undefined;
  const expected = expectedEvents(facts.ingest, from, facts.now);
  const { last_event_at } = facts.ingest;
  if (expected === undefined || expected < MIN_EVENTS || last_event_at === null) return undefined;
  return { from, details: { last_event_at, expected: Math.floor(expected) } };
}

const ingestSilent: Rule = {
  kind: "ingest_silent",
  is_reminded: true,
  // Then nothing is stored for a reason that has its own alert.
  isExplained: (judged) =>
    isRefused(judged) ||
    (["ingest_refused", "disk_low", "database_failing"] as const).some((kind) =>
      judged.isOpen(kind)
    ),
  finds(judged) {
    const found = silence(judged.facts);
    return found === undefined ? [] : house(found.from, found.details);
  },
  endOf: ({ began_at }, { facts: { ingest } }) =>
    ingest.last_event_at !== null && ingest.last_event_at > began_at ? "cleared" : null,
  figures: (_alert, { facts }) => silence(facts)?.details ?? {},
};

/** Kinds of alerts about everything, but for `egress_broken`. */
export const HOUSE_RULES: readonly Rule[] = [ingestRefused, ingestSilent];
