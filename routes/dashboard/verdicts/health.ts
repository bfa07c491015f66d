import type { EndpointHealth, LastFailure } from "../../../lib/admin/overview.ts";
import type * as shown from "../../../lib/admin/shown.ts";
import type { Health } from "../../../lib/core/health.ts";
import type { Audience, Visit } from "../visit.ts";
import { moment, type Part, type StateKind, type StateWords, type Words } from "./verdict.ts";

/** An endpoint, as far as verdicts judge it. */
export type EndpointFacts = Omit<EndpointHealth, "hints"> & {
  readonly hints: readonly Pick<shown.Hint, "kind" | "text">[];
};

/** For whom a verdict speaks, and when. */
export type Reader = Pick<Visit, "house" | "may_write" | "now">;

/** The name of an endpoint on pages: its description, else its id. */
export function nameOf({ id, description }: Pick<shown.Endpoint, "id" | "description">): string {
  return description ?? id;
}

/** The host that an endpoint's URL names. */
export function hostOf({ url }: Pick<shown.Endpoint, "url">): string {
  return URL.parse(url)?.hostname ?? url;
}

const STATES: Readonly<Record<Health, readonly [StateKind, string, string]>> = {
  failing: ["failed", "Failing", "Not receiving"],
  unsendable: ["failed", "Unsendable", "Not sent to"],
  retrying: ["waiting", "Retrying", "Retrying"],
  paused: ["paused", "Paused", "Paused"],
  delivering: ["delivered", "Delivering", "Receiving"],
  unused: ["unused", "Not used yet", "Not used yet"],
};

/** The state of an endpoint: shape and word. */
export function healthState(
  { endpoint, health }: Pick<EndpointFacts, "endpoint" | "health">,
  audience: Audience,
): StateWords {
  if (endpoint.state === "retired") return { kind: "cancelled", word: "Deleted" };
  const [kind, operator, business] = STATES[health];
  return { kind, word: audience === "operator" ? operator : business };
}

/** Reason that the database notes when it pauses an endpoint for a 410. */
const GONE = "The endpoint answered 410 Gone";

/** Whether a 410 paused the endpoint. */
export function isGone({ paused, pause_reason }: shown.Endpoint): boolean {
  return paused && pause_reason === GONE;
}

/** Whether the receiver's certificate has ended and nothing gets past that. */
export function isExpired(
  { health, certificate_ends_at, last_failure }: EndpointFacts,
  now: number,
): boolean {
  return certificate_ends_at !== null && Date.parse(certificate_ends_at) <= now &&
    health === "failing" && last_failure?.outcome === "tls";
}

/** From here on a due delivery that is not being sent is late: claims take moments. */
const OVERDUE_MS = 10_000;

/** Whether something is overdue by more than moments. */
export function isLate(oldest_ms: number | null): boolean {
  return oldest_ms !== null && oldest_ms >= OVERDUE_MS;
}

/** The page that says how to fix a reason: `how to fix a 401`. */
export function helpPart(
  { outcome, status }: LastFailure,
  { house }: Pick<Reader, "house">,
): Part {
  const text = house.audience === "business"
    ? "what it means"
    : status === null
    ? `how to fix ${outcome}`
    : `how to fix a ${status}`;
  return { href: `${house.base}/help#${outcome}`, text };
}

const DAY_MS = 86_400_000;
/** From here on a certificate is worth a look: they are renewed a month before they end, as a rule. */
const FEW_DAYS = 21;

/** Whole days that the certificate is still good for, if these are few; null otherwise. */
export function fewDaysLeft({ certificate_ends_at }: EndpointFacts, now: number): number | null {
  if (certificate_ends_at === null) return null;
  const days = Math.floor((Date.parse(certificate_ends_at) - now) / DAY_MS);
  return days >= 0 && days <= FEW_DAYS ? days : null;
}

/** `in 9 days`, or `within a day`. */
export function inDays(days: number): string {
  return days === 0 ? "within a day" : days === 1 ? "in 1 day" : `in ${days} days`;
}

/** `2 days ago`, or `less than a day ago`. */
export function daysAgo(at: string, now: number): string {
  const days = Math.floor((now - Date.parse(at)) / DAY_MS);
  return days < 1 ? "less than a day ago" : days === 1 ? "1 day ago" : `${days} days ago`;
}

/** A whole sentence on what an endpoint has done since a time, for its own page. */
export function sinceThen(
  facts: EndpointFacts,
  { house, now }: Pick<Reader, "house" | "now">,
): Words {
  const { endpoint, last_failure } = facts;
  const name = nameOf(endpoint);
  const since: Words = endpoint.failing_since === null
    ? []
    : [" since ", moment(endpoint.failing_since, now)];
  return house.audience === "operator"
    ? operatorSince(name, hostOf(endpoint), last_failure, since)
    : businessSince(name, hostOf(endpoint), last_failure, since);
}

function operatorSince(
  name: string,
  host: string,
  failure: LastFailure | null,
  since: Words,
): Words {
  switch (failure?.outcome) {
    case "http_4xx":
    case "http_5xx":
    case "gone":
      return [
        `${name} has answered ${failure.status ?? failure.outcome} to every request`,
        ...since,
      ];
    case "redirect":
      return [`${name} has redirected every request`, ...since];
    case "timeout":
      return [`${name} has answered too slowly`, ...since];
    case "dns":
      return [`${host} has not resolved`, ...since];
    case "tls":
      return [`The TLS handshake with ${name} has failed`, ...since];
    case "connection":
      return /ECONNREFUSED/.test(failure.cause ?? "")
        ? [`${name} has refused every connection`, ...since]
        : [`${name} has closed every connection`, ...since];
    case "protocol":
      return [`${name} has not spoken HTTP`, ...since];
    case "blocked":
      return [`The address of ${name} has not been allowed`, ...since];
    default:
      return [`${name} has been failing`, ...since];
  }
}

function businessSince(
  name: string,
  host: string,
  failure: LastFailure | null,
  since: Words,
): Words {
  switch (failure?.outcome) {
    case "http_4xx":
    case "gone":
      return [`${name} has refused every update`, ...since, ` (${failure.status ?? "4xx"})`];
    case "http_5xx":
      return [`${name} has had an error of its own`, ...since, ` (${failure.status ?? "5xx"})`];
    case "redirect":
      return [`${name} has sent every update elsewhere`, ...since];
    case "dns":
      return [`The address ${host} has not been found`, ...since];
    case "tls":
      return [`${name} has had no secure connection`, ...since];
    case "timeout":
    case "connection":
      return [`${name} has not answered`, ...since];
    default:
      return [`Nothing has reached ${name}`, ...since];
  }
}

/** `99.98 %`: never 100 % where anything is missing; `null` of nothing. */
export function percent(part: number, whole: number): string | null {
  if (whole === 0) return null;
  if (part >= whole) return "100 %";
  const value = part / whole * 100;
  const digits = value >= 99 ? 100 : 10;
  return `${Math.floor(value * digits) / digits} %`;
}
