import type * as shown from "../../../lib/admin/shown.ts";
import { CANCELLED_BY, cancelWords } from "../../../lib/core/cancellation.ts";
import { PORTAL_ACTOR } from "../../../lib/core/scope.ts";
import { capitalised } from "../../../lib/core/words.ts";
import type { Audience } from "../visit.ts";
import type { LastFailure } from "../../../lib/admin/overview.ts";
import { moment, type StateKind, type StateWords, type Words } from "./verdict.ts";

/** Words for attempts and for what became of deliveries, which several pages use. */

/** An endpoint, as far as sentences name it. */
export interface Named {
  readonly name: string;
  /** The host of its URL. */
  readonly host: string;
}

const FEW = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/** `seven`, from ten on `12`. */
export function inWord(count: number): string {
  return FEW[count] ?? String(count);
}

/** ` twice`, ` seven times`, with the space before it; nothing for once. */
export function times(count: number): string {
  if (count < 2) return "";
  return count === 2 ? " twice" : ` ${inWord(count)} times`;
}

const ORDINALS = ["", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"];

/** `the second attempt`, from nine on `attempt 9`. */
export function nthAttempt(number: number): string {
  const ordinal = ORDINALS[number];
  return ordinal === undefined || ordinal === "" ? `attempt ${number}` : `the ${ordinal} attempt`;
}

/** How a sentence calls what an event is about: `this booking`. */
export function thisThing({ event_type, test }: { event_type: string; test: boolean }): string {
  if (test) return "this test";
  const [family] = event_type.split(".");
  switch (family) {
    case "booking":
      return "this booking";
    case "service":
      return "this change of a service";
    case "business":
      return "this change of the business";
    default:
      return "this event";
  }
}

/** Attempts that ended alike. */
export interface Met extends LastFailure {
  /** How many. */
  readonly count: number;
}

/** What an endpoint did with a thing, so often: `crm rejected this booking seven times with 401`. */
export function didWith(endpoint: Named, thing: string, met: Met, audience: Audience): string {
  return audience === "operator"
    ? operatorDid(endpoint, thing, met)
    : businessDid(endpoint, thing, met);
}

function operatorDid({ name, host }: Named, thing: string, met: Met): string {
  const { outcome, status, cause, count } = met;
  const often = times(count);
  switch (outcome) {
    case "http_4xx":
      return `${name} rejected ${thing}${often} with ${status ?? "4xx"}`;
    case "http_5xx":
      return `${name} answered ${thing}${often} with ${status ?? "5xx"}`;
    case "gone":
      return `${name} said 410 Gone to ${thing}`;
    case "redirect":
      return `${name} redirected ${thing}${often} with ${status ?? "3xx"}`;
    case "timeout":
      return `${name} timed out${often} on ${thing}`;
    case "dns":
      return `${host} did not resolve${inAttempts(count)}`;
    case "tls":
      return `The TLS handshake with ${name} failed${often}`;
    case "connection":
      if (/ECONNREFUSED/.test(cause ?? "")) return `${name} refused the connection${often}`;
      if (/E(HOST|NET)UNREACH/.test(cause ?? "")) {
        return `${name} could not be reached${inAttempts(count)}`;
      }
      return `${name} closed the connection${often} without an answer`;
    case "protocol":
      return `${name} did not answer ${thing} in HTTP${inAttempts(count)}`;
    case "blocked":
      return `The address of ${name} is not allowed`;
    case "interrupted":
      return count === 1
        ? `The attempt to send ${thing} was cut off`
        : `${count} attempts to send ${thing} were cut off`;
    case "delivered":
      return `${name} accepted ${thing}`;
  }
}

function businessDid({ name, host }: Named, thing: string, { outcome, count }: Met): string {
  const often = times(count);
  switch (outcome) {
    case "http_4xx":
    case "gone":
      return `${name} refused ${thing}${often}`;
    case "http_5xx":
      return `${name} had an error of its own${often}`;
    case "redirect":
      return `${name} sent ${thing} elsewhere${often}`;
    case "timeout":
    case "connection":
      return `${name} did not answer${often}`;
    case "dns":
      return `The address ${host} was not found`;
    case "tls":
      return `There was no secure connection to ${name}`;
    case "protocol":
    case "blocked":
    case "interrupted":
      return `BookMe could not hand ${thing} to ${name}`;
    case "delivered":
      return `${name} received ${thing}`;
  }
}

function inAttempts(count: number): string {
  return count < 2 ? "" : ` in ${inWord(count)} attempts`;
}

/** What the failed attempts met if all of them met the same, else null. Attempts cut off say little. */
export function metByAll(
  attempts: readonly Pick<shown.Attempt, "outcome" | "status" | "cause">[],
): Met | null {
  const told = attempts.filter(({ outcome }) => outcome !== "interrupted");
  const all = told.length === 0 ? attempts : told;
  const last = all.at(-1);
  if (last === undefined || last.outcome === "delivered") return null;
  const failed = all.slice(all.findLastIndex(({ outcome }) => outcome === "delivered") + 1);
  return failed.every(({ outcome, status }) => outcome === last.outcome && status === last.status)
    ? { outcome: last.outcome, status: last.status, cause: last.cause, count: failed.length }
    : null;
}

/** What an attempt met, at its shortest: `401`, `timeout`. */
export function metShort(
  { outcome, status }: { readonly outcome: string; readonly status: number | null },
): string {
  return outcome === "timeout" || status === null ? outcome : String(status);
}

/** The same as a title: `401`, or in a business's words `No answer`. */
export function metTitle(
  { outcome, status }: Pick<shown.Attempt, "outcome" | "status">,
  audience: Audience,
): string {
  if (audience === "operator" || outcome === "delivered") {
    return outcome === "interrupted" ? "Cut off" : metShort({ outcome, status });
  }
  return BUSINESS_MET[outcome](status);
}

type State = shown.Delivery["state"];

const STATES: Readonly<Record<State, readonly [StateKind, operator: string, business: string]>> = {
  delivered: ["delivered", "Delivered", "Arrived"],
  failed: ["failed", "Failed", "Given up"],
  cancelled: ["cancelled", "Cancelled", "Cancelled"],
  sending: ["sending", "Sending", "Sending"],
  cancelling: ["sending", "Cancelling", "Cancelling"],
  interrupted: ["waiting", "Interrupted", "Waiting"],
  ending: ["waiting", "Ending", "Ending"],
  paused: ["paused", "Paused", "Paused"],
  unsendable: ["failed", "Unsendable", "Waiting"],
  rate_limited: ["waiting", "Waiting", "Waiting"],
  due: ["waiting", "Due", "Waiting"],
  overdue: ["overdue", "Overdue", "Late"],
  waiting: ["waiting", "Waiting", "Waiting"],
};

/** The state of a delivery: shape and word. */
export function deliveryState(
  { state }: { readonly state: State },
  audience: Audience,
): StateWords {
  const [kind, operator, business] = STATES[state];
  return { kind, word: audience === "operator" ? operator : business };
}

/** Why a delivery was cancelled; somebody in the portal is no name that anybody knows. */
export function cancelledWords(reason: string | null, audience: Audience): string {
  if (reason === null || reason === "") return "no reason was given";
  // As pages call what the API calls retired.
  if (reason === "endpoint_retired") return "the endpoint was deleted";
  if (!reason.startsWith(CANCELLED_BY + PORTAL_ACTOR)) return cancelWords(reason);
  return audience === "business" ? "Cancelled here" : "Cancelled by the business";
}

/** Why a delivery is where it is, in one line of a list. */
export function whyWords(
  delivery: shown.Delivery,
  { audience, now }: { readonly audience: Audience; readonly now: number },
): Words {
  const { state, attempt_count, next_attempt_at } = delivery;
  const met = metWords(delivery, audience);
  const after = (words: Words): Words => met === "" ? capital(words) : [`${met}; `, ...words];
  switch (state) {
    case "delivered":
      if (audience === "business") {
        return attempt_count === 1 ? [] : [`On ${nthAttempt(attempt_count)}`];
      }
      return [attempt_count === 1 ? "First attempt" : `On ${nthAttempt(attempt_count)}`];
    case "failed":
      return [met === "" ? "Attempts used up" : met];
    case "cancelled":
      return [capitalised(cancelledWords(delivery.cancel_reason, audience))];
    case "sending":
      return after([`${nthAttempt(attempt_count + 1)} under way`]);
    case "cancelling":
      return after(["ends with the attempt under way"]);
    case "interrupted":
      return after([`${nthAttempt(attempt_count + 1)} never reported back`]);
    case "ending":
      return after(["the next sweep ends it"]);
    case "paused":
      return after(["the endpoint is paused"]);
    case "unsendable":
      return after([
        audience === "operator" ? "this daemon cannot send it" : "BookMe cannot send it",
      ]);
    case "rate_limited":
      return after(["waits for the rate limit"]);
    case "due":
      return after(["due now"]);
    case "overdue":
      return after(["due since ", moment(next_attempt_at ?? delivery.created_at, now)]);
    case "waiting":
      return next_attempt_at === null
        ? after(["waits"])
        : after(["next ", { at: next_attempt_at, style: "relative" }]);
  }
}

/** What the last attempt met: `401`, `crm.example.com did not resolve`. */
function metWords({ reason, last_status, last_cause }: shown.Delivery, audience: Audience): string {
  if (reason === null) return "";
  if (audience === "business") return BUSINESS_MET[reason](last_status);
  if (reason === "interrupted") return "Cut off";
  if (last_status !== null) {
    return reason === "redirect" ? `${last_status}, not followed` : String(last_status);
  }
  return last_cause === null ? reason : causeWords(reason, last_cause);
}

/** The raw cause of a failure without a status, as people say it. */
function causeWords(reason: string, cause: string): string {
  const [, limit] = /^no response from .* within (\d+) ms$/.exec(cause) ?? [];
  if (limit !== undefined) return `Timed out after ${Number(limit) / 1_000} s`;
  const [, host] = /^ENOTFOUND (\S+)$/.exec(cause) ?? [];
  if (host !== undefined) return `${host} does not resolve`;
  const [, address] = /^ECONNREFUSED (\S+)$/.exec(cause) ?? [];
  if (address !== undefined) return `${address} refused the connection`;
  if (/^closed before an answer/.test(cause)) return "Closed the connection without an answer";
  return `${reason}: ${cause}`;
}

const coded = (text: string) => (status: number | null) =>
  status === null ? text : `${text} (${status})`;

const BUSINESS_MET: Readonly<
  Record<NonNullable<shown.Delivery["reason"]>, (status: number | null) => string>
> = {
  http_4xx: coded("Refused"),
  http_5xx: coded("Your system had an error"),
  redirect: coded("Sent elsewhere"),
  timeout: () => "No answer in time",
  dns: () => "Address not found",
  tls: () => "No secure connection",
  connection: () => "No answer",
  protocol: () => "Not a webhook address",
  blocked: () => "Address not allowed",
  gone: coded("Not wanted any more"),
  interrupted: () => "Interrupted",
};

function capital([first = "", ...rest]: Words): Words {
  return [typeof first === "string" ? capitalised(first) : first, ...rest];
}

/** An attempt that follows if all before it fail. */
export interface Planned {
  /** Its number in the present round, from 1. */
  readonly nth: number;
  /** Its earliest time, ISO 8601. */
  readonly at: string;
  /** The wait before it, in milliseconds: after the attempt before it. Null for the next one. */
  readonly wait_ms: number | null;
  readonly is_last: boolean;
}

/** The attempts that a waiting delivery has left, at their earliest times. */
export function plannedAttempts(
  { status, sending, next_attempt_at, counted_attempts }: Pick<
    shown.Delivery,
    "status" | "sending" | "next_attempt_at" | "counted_attempts"
  >,
  retry_ms: readonly number[],
  now: number,
): Planned[] {
  if (status !== "pending") return [];
  const counted = counted_attempts ?? 0;
  const planned: Planned[] = [];
  // One that is late begins now at the earliest.
  let at = Math.max(next_attempt_at === null ? now : Date.parse(next_attempt_at), now);
  for (let nth = counted + 1; nth <= retry_ms.length; nth++) {
    const wait_ms = nth === counted + 1 ? null : retry_ms[nth - 1] ?? 0;
    at += wait_ms ?? 0;
    // The one under way is not planned any more.
    if (sending && nth === counted + 1) continue;
    planned.push({
      nth,
      at: new Date(at).toISOString(),
      wait_ms,
      is_last: nth === retry_ms.length,
    });
  }
  return planned;
}
