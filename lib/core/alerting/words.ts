/** All sentences about alerts, in one place: pages, API, log, commands, chat, mail and events have the same. */

import { listed } from "../errors.ts";
import { inWords } from "../explain.ts";
import { insteadOf } from "../failure_words.ts";
import { type Refusal, refusalInWords, refusalRemedy, REFUSALS } from "../refusals.ts";
import { counted, formatSize } from "../units.ts";
import { capitalised } from "../words.ts";
import type { Change, Details, EndReason, Kind } from "./kinds.ts";

/** For whom sentences speak: a business sees its own endpoints, and knows no more than them. */
export type Audience = "operator" | "business";

/** An alert as it is put into words. Times in milliseconds since 1970. */
export interface Spoken {
  /** `alr_…`. */
  readonly id: string;
  readonly kind: Kind;
  readonly subject: string;
  /** The endpoint that it is about, or null. */
  readonly endpoint: { readonly id: string; readonly description: string | null } | null;
  readonly began_at: number;
  readonly opened_at: number;
  /** Null while it is open. */
  readonly ended_at: number | null;
  readonly end_reason: EndReason | null;
  readonly details: Details;
}

/** How a time in a sentence is written. In milliseconds since 1970. */
export type TimeStyle = (at: number) => string;

/** `2026-11-29T14:02:00.000Z`: pages find these in a sentence, and show them in the reader's zone. */
export const isoTime: TimeStyle = (at) => new Date(at).toISOString();

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

/** `29 Nov 14:02 UTC`, for texts that are read later and elsewhere. */
export const utcTime: TimeStyle = (at) => {
  const time = new Date(at).toISOString();
  const month = MONTHS[new Date(at).getUTCMonth()];
  return `${Number(time.slice(8, 10))} ${month} ${time.slice(11, 16)} UTC`;
};

/**
 * The one sentence about an alert, without a full stop: what is so, since when, or, once it has ended, that it is
 * over.
 */
export function headline(alert: Spoken, audience: Audience, time: TimeStyle = isoTime): string {
  const words: Told = { ...alert, audience, time, name: nameOf(alert) };
  if (alert.ended_at === null) return OPEN[alert.kind](words);
  return `${over(words)}, after ${lastedFor(alert.ended_at - alert.began_at)}`;
}

/** What happens next and what to do, one sentence each without a full stop. Empty once it has ended. */
export function nextSteps(alert: Spoken, audience: Audience, time: TimeStyle = isoTime): string[] {
  if (alert.ended_at !== null) return [];
  return steps({ ...alert, audience, time, name: nameOf(alert) });
}

/** Where links lead. */
export interface Links {
  /** `https://hooks.example.com`, where the pages are; null: nobody knows, and ids are shown instead. */
  readonly base_url: string | null;
}

/** An announcement in plain text: nothing in it is markup, and nothing is escaped. */
export interface Announcement {
  readonly title: string;
  /** A sentence each, without a full stop. */
  readonly lines: readonly string[];
  /** The page about it, or null. */
  readonly link: string | null;
}

/** Announces an alert as of now: that it has begun, that it goes on, or that it has ended. */
export function announcement(
  alert: Spoken,
  what: Change["what"],
  links: Links,
  audience: Audience,
): Announcement {
  const told = { ...alert, audience, time: utcTime, name: nameOf(alert) };
  const text = headline(alert, audience, utcTime);
  return {
    title: what === "reminded" ? `Reminder: ${text}` : what === "ended" ? `Over: ${text}` : text,
    lines: [
      ...endpointLine(told),
      ...figures(told),
      ...reasonLine(told, links),
      ...waitingLine(told),
      ...nextSteps(alert, audience, utcTime),
    ],
    link: linkOf(told, links),
  };
}

/** The announcement of a test. */
export function testWords(link: string | null): Announcement {
  return {
    title: "Test alert from bookme-webhooks",
    lines: ["Nothing is wrong: this checks that alerts arrive here"],
    link,
  };
}

/** Figures, what waits and the next steps, as pages show them under the headline: a sentence each, without a full stop. */
export function particulars(
  alert: Spoken,
  audience: Audience,
  time: TimeStyle = isoTime,
): string[] {
  const words: Told = { ...alert, audience, time, name: nameOf(alert) };
  return [...figures(words), ...waitingLine(words), ...nextSteps(alert, audience, time)];
}

type Told = Spoken & {
  readonly audience: Audience;
  readonly time: TimeStyle;
  /** Of the endpoint, or the subject. */
  readonly name: string;
};

function nameOf({ endpoint, subject }: Spoken): string {
  return endpoint?.description ?? endpoint?.id ?? subject;
}

// --- what is so ----------------------------------------------------------------------------------------

const OPEN: Readonly<Record<Kind, (alert: Told) => string>> = {
  endpoint_failing: (alert) =>
    alert.audience === "business" ? businessFailing(alert) : operatorFailing(alert),
  endpoint_gone: ({ audience, name }) =>
    audience === "business"
      ? `${name} wants no more updates at its address (410 Gone), so it is paused`
      : `${name} answered 410 Gone, so it is paused`,
  endpoint_pausing: pausing,
  deliveries_overdue: ({ audience, name, began_at, time }) =>
    audience === "business"
      ? `Updates for ${name} have been late since ${time(began_at)}`
      : `Deliveries to ${name} have been overdue since ${time(began_at)}`,
  check_failing: ({ audience, name, began_at, time }) =>
    audience === "business"
      ? `${name} has not been within reach since ${time(began_at)}`
      : `${name} has failed its health checks since ${time(began_at)}`,
  certificate_ending: ({ name, details: { certificate_ends_at }, opened_at, time }) => {
    if (certificate_ends_at === undefined) return `The certificate of ${name} expires soon`;
    const verb = certificate_ends_at <= opened_at ? "expired" : "expires";
    return `The certificate of ${name} ${verb} on ${time(certificate_ends_at)}`;
  },
  ingest_silent: ({ began_at, details: { last_event_at = began_at }, time }) =>
    `BookMe has posted no event since ${time(last_event_at)}`,
  ingest_refused: ({ began_at, details: { reason }, time }) =>
    `BookMe's posts have been refused since ${time(began_at)}` +
    (isRefusal(reason) ? `: ${refusalInWords(reason)}` : ""),
  egress_broken: ({ began_at, details: { endpoints, reason }, time }) =>
    `Nothing has arrived at any of ${endpoints ?? "the"} endpoints since ${time(began_at)}: ` +
    (EGRESS[reason ?? ""] ?? "every attempt fails"),
  disk_low: ({ subject, details: { free_bytes } }) =>
    `The disk of the daemon ${subject} is nearly full` +
    (free_bytes === undefined ? "" : `: ${formatSize(free_bytes)} free`),
  database_failing: ({ subject, began_at, time }) =>
    `The database has failed statements of the daemon ${subject} since ${time(began_at)}`,
  daemons_differ: (
    { details: { daemons = 0, differing = 0, differ_in = "file" }, began_at, time },
  ) =>
    `${differing} of ${counted(daemons, "daemon")} ${
      differing === 1 ? "has" : "have"
    } had another ` +
    `${differ_in === "file" ? "configuration file" : "version"} than the others since ` +
    time(began_at),
  target_failing: ({ subject, began_at, time }) =>
    `Alerts have not reached ${targetName(subject)} since ${time(began_at)}`,
};

const EGRESS: Readonly<Record<string, string>> = {
  dns: "names do not resolve",
  connection: "connections fail",
  timeout: "no answers come back",
  tls: "TLS handshakes fail",
};

function isRefusal(reason: Details["reason"]): reason is Refusal {
  return REFUSALS.some((refusal) => refusal === reason);
}

function isTotal({ details: { attempts, failed } }: Told): boolean {
  return failed !== undefined && failed === attempts;
}

function insteadWords({ details: { reason, code } }: Told): string | null {
  return reason === undefined
    ? null
    : insteadOf({ outcome: reason, status: code ?? null, cause: null });
}

function operatorFailing(alert: Told): string {
  const { name, details: { attempts = 0, failed = 0 }, began_at, time } = alert;
  const instead = insteadWords(alert);
  const because = instead === null ? "" : `: ${instead}`;
  return isTotal(alert)
    ? `${name} has been failing since ${time(began_at)}${because}`
    : `${percentOf(failed, attempts)} of the attempts to ${name} have failed since ` +
      time(began_at) + because;
}

function businessFailing(alert: Told): string {
  const { name, details: { reason, code }, began_at, time } = alert;
  const since = `since ${time(began_at)}`;
  const all = isTotal(alert);
  switch (reason) {
    case "http_4xx":
    case "gone":
      return `${name} has refused ${all ? "every update" : "some updates"} ${since} (${
        code ?? "4xx"
      })`;
    case "http_5xx":
      return `${name} has had ${all ? "an error of its own" : "errors of its own"} ${since} ` +
        `(${code ?? "5xx"})`;
    case "redirect":
      return `${name} has sent ${all ? "every update" : "some updates"} elsewhere ${since}`;
    case "dns":
      return `The address of ${name} ${all ? "has" : "has often"} not been found ${since}`;
    case "tls":
      return `${name} has ${all ? "had no" : "often had no"} secure connection ${since}`;
    case "timeout":
    case "connection":
      return `${name} has ${all ? "" : "often "}not answered ${since}`;
    default:
      return all
        ? `Nothing has reached ${name} ${since}`
        : `Some updates have not reached ${name} ${since}`;
  }
}

function pausing({ audience, name, began_at, details: { stage, pauses_at }, time }: Told): string {
  const since = `since ${time(began_at)}`;
  const when = pauses_at === undefined ? "soon" : `on ${time(pauses_at)}`;
  if (stage === 100) {
    const was = `${name} was paused${pauses_at === undefined ? "" : ` ${when}`}`;
    return audience === "business"
      ? `${was}: nothing has reached it ${since}`
      : `${was}: it has done nothing but fail ${since}`;
  }
  return audience === "business"
    ? `Nothing has reached ${name} ${since}, and it will be paused ${when}`
    : `${name} has done nothing but fail ${since}, and will be paused ${when}`;
}

/** The name of somebody who gets alerts. */
function targetName(subject: string): string {
  const [, kind, name] = /^(events|business-mail):(.*)$/s.exec(subject) ?? [];
  if (kind === "events") return `the endpoint ${name}`;
  return kind === "business-mail" ? `the mail address of the business ${name}` : subject;
}

// --- that it is over -----------------------------------------------------------------------------------

function over(alert: Told): string {
  const { kind, subject, end_reason, name, audience, endpoint } = alert;
  switch (end_reason) {
    case "paused":
      return `${name} was paused`;
    case "gone":
      return `${name} answered 410 Gone and is paused`;
    case "resumed":
      return `${name} was resumed`;
    case "retired":
      return `${name} was deleted`;
    case "switched_off":
      return `${name} will not be paused automatically`;
    case "stopped":
      return `The daemon ${subject} is gone`;
    case "removed":
      return `Alerts do not go to ${targetName(subject)} any more`;
    case "delivered":
      return endpoint === null
        ? "Deliveries arrive again"
        : audience === "business"
        ? `${name} receives again`
        : `${name} delivers again`;
    default:
      return CLEARED[kind](alert);
  }
}

const CLEARED: Readonly<Record<Kind, (alert: Told) => string>> = {
  endpoint_failing: ({ name }) => `${name} delivers again`,
  endpoint_gone: ({ name }) => `${name} was resumed`,
  endpoint_pausing: ({ name }) => `${name} delivers again`,
  deliveries_overdue: ({ audience, name }) =>
    audience === "business"
      ? `Updates for ${name} are sent in time again`
      : `Deliveries to ${name} are sent in time again`,
  check_failing: ({ audience, name }) =>
    audience === "business"
      ? `${name} is within reach again`
      : `${name} passes its health check again`,
  certificate_ending: ({ name }) => `${name} has a new certificate`,
  ingest_silent: () => "BookMe posts events again",
  ingest_refused: () => "BookMe's posts are accepted again",
  egress_broken: () => "Deliveries arrive again",
  disk_low: ({ subject }) => `The disk of the daemon ${subject} has room again`,
  database_failing: ({ subject }) => `The database serves the daemon ${subject} again`,
  daemons_differ: () => "All daemons have the same configuration file and version again",
  target_failing: ({ subject }) => `Alerts reach ${targetName(subject)} again`,
};

// --- figures, reason, what waits -------------------------------------------------------------------------

function endpointLine({ endpoint, audience }: Told): string[] {
  if (endpoint === null || audience === "business") return [];
  const { id, description } = endpoint;
  return [`Endpoint: ${description === null ? id : `${description} (${id})`}`];
}

/** How many failed: `312 of 340 attempts failed (92 %) in the last 15 minutes`. */
function figures(alert: Told): string[] {
  const { kind, began_at, ended_at, time, audience } = alert;
  const { attempts, failed, window_ms, overdue_ms, expected, min_free_bytes } = alert.details;
  if (ended_at !== null || (audience === "business" && kind !== "endpoint_failing")) return [];
  switch (kind) {
    case "ingest_silent":
      return expected === undefined
        ? []
        : [`At least ${counted(expected, "event")} came in that time in each of the past weeks`];
    case "deliveries_overdue":
      return overdue_ms === undefined
        ? []
        : [`The first has been due for ${durationOf(overdue_ms)}`];
    case "disk_low":
      return min_free_bytes === undefined ? [] : [
        `Events are refused below ${formatSize(min_free_bytes)} (database.min_free)`,
      ];
    case "target_failing":
      if (failed === undefined) return [];
      return [failed === 1 ? "The last attempt failed" : `${failed} attempts failed in a row`];
    default: {
      if (attempts === undefined || failed === undefined) return [];
      const noun = kind === "ingest_refused" ? "post" : "attempt";
      const verb = kind === "ingest_refused" ? "were refused" : "failed";
      const share = failed === attempts && window_ms === undefined
        ? `All ${counted(attempts, noun)} ${verb}`
        : `${failed} of ${counted(attempts, noun)} ${verb} (${percentOf(failed, attempts)})`;
      const when = window_ms === undefined
        ? `since ${time(began_at)}`
        : `in the last ${durationOf(window_ms)}`;
      return [`${share} ${when}`];
    }
  }
}

function reasonLine(alert: Told, { base_url }: Links): string[] {
  const { details: { example_delivery_id: id }, ended_at, audience } = alert;
  const instead = insteadWords(alert);
  if (ended_at !== null || alert.endpoint === null || instead === null) return [];
  const why = isTotal(alert) ? capitalised(instead) : `Most often ${instead}`;
  if (id === undefined) return audience === "business" ? [] : [why];
  const pages = audience === "business" ? "portal" : "dashboard";
  const place = base_url === null ? id : `${base_url}/${pages}/deliveries/${id}`;
  return [audience === "business" ? `For example ${place}` : `${why}, for example ${place}`];
}

function waitingLine({ ended_at, endpoint, audience, details }: Told): string[] {
  const { waiting, waiting_exact = true } = details;
  if (ended_at !== null || endpoint === null || waiting === undefined || waiting === 0) return [];
  const noun = audience === "business" ? ["update", "updates"] : ["delivery", "deliveries"];
  return waiting === 1 && waiting_exact
    ? [`1 ${noun[0]} waits`]
    : [`${waiting}${waiting_exact ? "" : "+"} ${noun[1]} wait`];
}

// --- what happens next -----------------------------------------------------------------------------------

function steps(alert: Told): string[] {
  const { kind, name, audience, details: { exhausted_at, stage }, time } = alert;
  const business = audience === "business";
  const trying = exhausted_at === undefined
    ? []
    : business
    ? [`We keep trying until ${time(exhausted_at)}`]
    : [`The first runs out of attempts on ${time(exhausted_at)}`];
  switch (kind) {
    case "endpoint_failing":
      return trying;
    case "endpoint_gone":
      return business
        ? ["Correct its address, or have its technician repair it; then resume it"]
        : ["Correct its URL, or fix the receiver, and resume it"];
    case "endpoint_pausing":
      if (stage !== 100) return trying;
      return [
        business
          ? `Updates are kept; one is tried every hour, and if ${name} takes it, the others follow`
          : "Its deliveries are kept; one is tried every hour, and the first that arrives resumes it",
      ];
    case "deliveries_overdue":
      return business ? [] : ["`bookme-webhooks doctor` looks for the reason"];
    case "check_failing":
      return business
        ? ["Show this to whoever looks after that system"]
        : [`\`bookme-webhooks doctor\` says what it finds; no request was sent to ${name}`];
    case "certificate_ending":
      return business
        ? ["Whoever looks after that system has to renew it; then nothing is missed"]
        : ["Its owner has to renew it; nothing can be sent to it without"];
    default:
      return houseSteps(alert);
  }
}

function houseSteps({ kind, details: { reason, differ_in }, subject }: Told): string[] {
  switch (kind) {
    case "ingest_silent":
      return ["Check that BookMe is up, and that its posts reach /ingest"];
    case "ingest_refused":
      return isRefusal(reason) ? [capitalised(refusalRemedy(reason))] : [];
    case "egress_broken":
      return [
        "Check this machine's network, DNS and firewall",
        "Deliveries wait and are sent again; no endpoint is blamed",
      ];
    case "disk_low":
      return ["Make room on that disk, or move the database"];
    case "database_failing":
      return ["`bookme-webhooks doctor` and the daemon's log have the reason"];
    case "daemons_differ":
      return differ_in === "version"
        ? ["Update all daemons to the same version"]
        : ["Give all daemons the same file, and reload them; `bookme-webhooks daemons` lists them"];
    case "target_failing":
      return [
        `Check ${listed([subject.startsWith("events:") ? "that endpoint" : "alerts"])} in the ` +
        "configuration; `bookme-webhooks alerts --test` sends a test",
      ];
    default:
      return [];
  }
}

function linkOf({ id, endpoint, audience }: Told, { base_url }: Links): string | null {
  if (base_url === null) return null;
  if (audience === "operator") return `${base_url}/dashboard/alerts#${id}`;
  return endpoint === null
    ? `${base_url}/portal`
    : `${base_url}/portal/endpoints/${encodeURIComponent(endpoint.id)}`;
}

// --- numbers ---------------------------------------------------------------------------------------------

/** `92 %`: never 100 % if anything is missing. */
export function percentOf(part: number, whole: number): string {
  if (whole === 0 || part >= whole) return whole === 0 ? "0 %" : "100 %";
  const value = part / whole * 100;
  return value >= 99 || value < 1 ? `${Math.floor(value * 10) / 10} %` : `${Math.floor(value)} %`;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** `less than a minute`, `12 minutes`, `2 hours 5 minutes`, `3 days`: seconds say nothing about an incident. */
function lastedFor(ms: number): string {
  if (ms < MINUTE_MS) return "less than a minute";
  if (ms >= 2 * DAY_MS) return durationOf(ms);
  const hours = Math.floor(ms / HOUR_MS);
  const minutes = Math.floor((ms % HOUR_MS) / MINUTE_MS);
  return [[hours, "hour"] as const, [minutes, "minute"] as const]
    .filter(([count]) => count > 0).map(([count, noun]) => counted(count, noun)).join(" ");
}

/** `40 s`, `15 min`, `2 h 5 min`, `3 days`. */
export function durationOf(ms: number): string {
  return ms >= 2 * DAY_MS ? `${Math.floor(ms / DAY_MS)} days` : inWords(ms);
}
