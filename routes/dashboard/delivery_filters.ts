import type { DeliverySelection } from "../../lib/admin/deliveries.ts";
import { DELIVERY_REASONS, type DeliveryReason } from "../../lib/core/cancellation.ts";
import { isIdentifier } from "../../lib/core/identifier.ts";
import { nearest } from "../../lib/core/nearest.ts";
import { REASONS, STATUS_CODE } from "../../lib/core/outcome.ts";
import { isDateTime, millisecondsOf } from "../../lib/core/time.ts";
import { counted, DURATION, parseDuration } from "../../lib/core/units.ts";
import { SHOWN, type Shown } from "./verdicts/deliveries.ts";
import type { Audience } from "./visit.ts";

/** What narrows a list of deliveries besides its tab, as typed; empty for nothing. */
export const FILTERS = ["endpoint", "type", "reason", "code", "since", "until"] as const;
/** One of them. */
export type Filter = typeof FILTERS[number];

/** The filters of a list of deliveries, as the address has them. */
export interface Filters extends Readonly<Record<Filter, string>> {
  readonly shown: Shown;
}

/** Filters that were read. */
export interface Read {
  readonly filters: Filters;
  /** What they select; null if one of them says nothing. */
  readonly selection: DeliverySelection | null;
  /** By name of the filter. */
  readonly errors: ReadonlyMap<string, string>;
}

/** Stands for no bound on times where there is one by default. */
const ANY_TIME = "all";

/**
 * How far back a list goes by default. By the default policy, a delivery fails 31 hours after it was posted: within
 * 24 hours, none would be found. What waits is few, however old.
 */
const WINDOWS: Readonly<Record<Shown, string>> = {
  attention: "3d",
  failed: "3d",
  waiting: ANY_TIME,
  overdue: ANY_TIME,
  delivered: "24h",
  cancelled: "3d",
  tests: "24h",
  all: "24h",
};

/** Reads the query of the page at `now` (milliseconds since 1970). */
export function readFilters(
  query: (name: string) => string | undefined,
  audience: Audience,
  now: number,
): Read {
  const errors = new Map<string, string>();
  const given = (name: string) => query(name)?.trim() ?? "";
  const shown = readShown(
    given("status"),
    audience,
    FILTERS.some((name) => given(name) !== ""),
    errors,
  );
  const typed = (name: Filter) => given(name);
  const until = typed("until");
  const since = typed("since") === "" ? until === "" ? WINDOWS[shown] : ANY_TIME : typed("since");
  const filters: Filters = {
    shown,
    endpoint: typed("endpoint"),
    type: typed("type"),
    reason: typed("reason"),
    code: typed("code"),
    since,
    until,
  };
  const first = since === ANY_TIME ? undefined : readTime("since", since, now, errors);
  const last = until === "" ? undefined : readTime("until", until, now, errors);
  if (first !== undefined && last !== undefined && first >= last) {
    errors.set("since", "Nothing lies between these times: since must be before until");
  }
  for (const name of ["endpoint", "type"] as const) {
    if (filters[name] !== "" && !isIdentifier(filters[name])) {
      errors.set(name, "Must be a name of up to 255 characters");
    }
  }
  if (filters.code !== "" && !STATUS_CODE.test(filters.code)) {
    errors.set("code", "Must be a status such as 401, or 4xx");
  }
  const reason = readReason(filters.reason, errors);
  if (errors.size > 0) return { filters, selection: null, errors };
  return {
    filters,
    errors,
    selection: {
      ...ofShown(shown),
      ...(filters.endpoint === "" ? {} : { endpoint: filters.endpoint }),
      ...(filters.type === "" ? {} : { type: filters.type }),
      ...(reason === undefined ? {} : { reason }),
      ...(filters.code === "" ? {} : { code: filters.code }),
      since: first,
      until: last,
    },
  };
}

/** Other names for what a list shows: those of the API. */
const SYNONYMS: ReadonlyMap<string, Shown> = new Map([["pending", "waiting"], ["test", "tests"]]);

function readShown(
  typed: string,
  audience: Audience,
  is_narrowed: boolean,
  errors: Map<string, string>,
): Shown {
  // A filter asks for all that it finds, and a business looks for what has arrived.
  if (typed === "") return audience === "operator" && !is_narrowed ? "attention" : "all";
  const shown = SHOWN.find((one) => one === typed) ?? SYNONYMS.get(typed);
  if (shown !== undefined) return shown;
  errors.set("status", `No status is called ${typed.slice(0, 40)}; there are ${SHOWN.join(", ")}`);
  return "all";
}

/** What a tab selects by itself. */
function ofShown(shown: Shown): DeliverySelection {
  switch (shown) {
    case "attention":
      return { status: ["pending", "failed"], reason: "any" };
    case "waiting":
      return { status: "pending" };
    case "overdue":
      return { status: "pending", overdue: true };
    case "failed":
    case "delivered":
    case "cancelled":
      return { status: shown };
    case "tests":
      return { test: true };
    case "all":
      return {};
  }
}

function readReason(typed: string, errors: Map<string, string>): DeliveryReason | undefined {
  if (typed === "") return undefined;
  const reason = DELIVERY_REASONS.find((one) => one === typed);
  if (reason !== undefined) return reason;
  const near = nearest(typed, DELIVERY_REASONS);
  errors.set(
    "reason",
    `There is no such reason${near === undefined ? "" : `; did you mean ${near}?`} There is ${
      DELIVERY_REASONS.join(", ")
    }`,
  );
  return undefined;
}

/** A time as people type it (`2h` ago, a day, or a time; without a zone in UTC), as ISO 8601. */
export function readTime(
  name: "since" | "until",
  typed: string,
  now: number,
  errors: Map<string, string>,
): string | undefined {
  const at = DURATION.test(typed) ? now - parseDuration(typed) : timeOf(typed);
  if (at !== undefined && at >= 0) return new Date(at).toISOString();
  errors.set(name, "Must be a time ago such as 2h or 3d, or a time such as 2026-11-26 14:00");
  return undefined;
}

function timeOf(typed: string): number | undefined {
  const [, day, time, zone] =
    /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|[+-]\d\d:\d\d)?)?$/i.exec(typed) ??
      [];
  if (day === undefined) return undefined;
  const seconds = time === undefined ? "00:00:00" : time.length === 5 ? `${time}:00` : time;
  const whole = `${day}T${seconds}${zone ?? "Z"}`;
  return isDateTime(whole) ? millisecondsOf(whole) : undefined;
}

/** The address of the list with these filters. */
export function listPath(base: string, filters: Filters, changes: Partial<Filters> = {}): string {
  const next = { ...filters, ...changes };
  const query = new URLSearchParams({ status: next.shown });
  for (const name of FILTERS) {
    const value = next[name];
    if (value === "" || (name === "since" && isDefaultSince(next))) continue;
    query.set(name, value);
  }
  return `${base}/deliveries?${query}`;
}

function isDefaultSince({ shown, since, until }: Filters): boolean {
  return since === (until === "" ? WINDOWS[shown] : ANY_TIME);
}

/** The same filters for another tab: times that were not chosen follow the tab. */
export function forTab(filters: Filters, shown: Shown): Filters {
  return { ...filters, shown, since: isDefaultSince(filters) ? WINDOWS[shown] : filters.since };
}

/** Removes a filter. */
export function without(filters: Filters, name: Filter): Filters {
  return { ...filters, [name]: name === "since" ? ANY_TIME : "" };
}

/** Filters in force, for the reader: name and value, in the order of `FILTERS`. */
export function inForce(filters: Filters): readonly (readonly [name: Filter, value: string])[] {
  return FILTERS.filter((name) =>
    filters[name] !== "" && !(name === "since" && filters.since === ANY_TIME)
  ).map((name) => [name, isAgo(name, filters[name]) ? `${filters[name]} ago` : filters[name]]);
}

function isAgo(name: Filter, value: string): boolean {
  return (name === "since" || name === "until") && DURATION.test(value);
}

/** The times as a sentence goes on: ` in the last 24 hours`; empty for any. */
export function withinWords({ since, until }: Filters): string {
  if (since === ANY_TIME && until === "") return "";
  if (until === "" && DURATION.test(since)) {
    return ` in the last ${lengthWords(since).replace(/^1 /, "")}`;
  }
  const words = (typed: string) => DURATION.test(typed) ? `${lengthWords(typed)} ago` : typed;
  if (since === ANY_TIME) return ` before ${words(until)}`;
  return until === "" ? ` since ${words(since)}` : ` from ${words(since)} to ${words(until)}`;
}

const UNITS: Readonly<Record<string, string>> = {
  ms: "millisecond",
  s: "second",
  m: "minute",
  h: "hour",
  d: "day",
};

function lengthWords(duration: string): string {
  const [, amount = "", unit = ""] = /^(\d+)(\D+)$/.exec(duration) ?? [];
  return counted(Number(amount), UNITS[unit] ?? unit);
}

/**
 * The query of the page for replays that selects what failed among what the list selects; null if no replay
 * selects by the same filters.
 */
export function replayQuery(selection: DeliverySelection): string | null {
  const { endpoint, type, reason, code, since, until } = selection;
  if (reason !== undefined && reason !== "any" && !REASONS.some((one) => one === reason)) {
    return null;
  }
  const query = new URLSearchParams({ status: "failed" });
  const all = { endpoint, type, reason: reason === "any" ? undefined : reason, code, until };
  for (const [name, value] of Object.entries(all)) {
    if (value !== undefined) query.set(name, value);
  }
  // A replay has a beginning.
  query.set("since", since ?? "1970-01-01T00:00:00.000Z");
  return query.toString();
}
