import { Buffer } from "node:buffer";
import diff from "microdiff";
import { shorten } from "./errors.ts";
import { counted } from "./units.ts";
import { capitalised } from "./words.ts";

/** An attempt, as far as another is compared with it. Times are ISO 8601. */
export interface ComparedAttempt {
  readonly number: number;
  readonly started_at: string;
  readonly outcome: string;
  readonly status: number | null;
  readonly cause: string | null;
  readonly address: string | null;
  readonly duration_ms: number;
  readonly phases: {
    readonly dns_ms: number | null;
    readonly connect_ms: number | null;
    readonly tls_ms: number | null;
    readonly waiting_ms: number | null;
    readonly reused: boolean | null;
  };
  readonly certificate_ends_at: string | null;
  readonly request: {
    readonly url: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string | null;
  } | null;
  readonly response: {
    readonly headers: readonly (readonly [string, string])[];
    readonly body: string;
    readonly body_encoding: "utf-8" | "base64";
  } | null;
  readonly payload_hidden: boolean;
  /** Of its delivery. */
  readonly event_type: string;
  readonly test: boolean;
  /** Version of the endpoint that it was sent under. */
  readonly version: number;
  /** What signed it: a secret's name, `secret of version 12`; null if it was not signed. */
  readonly signed_with: string | null;
}

/** A change of the endpoint between two attempts. */
export interface ChangeBetween {
  /** `ops, 2026-11-26T13:59:00.000Z` */
  readonly who: string;
  /** The version of the endpoint that it made; null if it made none. */
  readonly version: number | null;
  /** Whether it gave the endpoint another secret, as of then. */
  readonly is_rotation: boolean;
  readonly before: unknown;
  readonly after: unknown;
}

/** Something that differs between two attempts. */
export interface Difference {
  readonly label: string;
  readonly before: string;
  readonly after: string;
  /** Who changed it and when, or null if that is not known. */
  readonly note: string | null;
  /** Whether the texts are as they were sent, for a typeface of equal widths. */
  readonly raw: boolean;
}

/** The differences between two attempts. */
export interface Comparison {
  readonly rows: readonly Difference[];
  /** The rest in a sentence or two. */
  readonly same: string;
}

/** Either a difference, or the name of a thing that is the same in both; undefined if it cannot be compared. */
type Compared = Difference | string | undefined;

/** Compares two attempts: what differs, the likeliest reason first, and what is the same. */
export function compare(
  before: ComparedAttempt,
  after: ComparedAttempt,
  changes: readonly ChangeBetween[],
): Comparison {
  const found = [
    resultOf(before, after),
    ...requestOf(before, after, changes),
    ...receiverOf(before, after),
    ...answersOf(before, after),
    ...timesOf(before, after),
  ];
  const rows = found.filter((one) => typeof one === "object");
  const names = found.filter((one) => typeof one === "string");
  return { rows, same: [sameWords(names), timeWords(before, after, rows)].join("").trim() };
}

function sameWords(names: readonly string[]): string {
  if (names.length === 0) return "";
  return `The same in both: ${names.join(", ")}. `;
}

/** Compares two values that are shown as they are. */
function values(
  name: string,
  before: string | null,
  after: string | null,
  more: { readonly note?: string | null; readonly raw?: boolean; readonly label?: string } = {},
): Compared {
  if (before === after) return before === null ? undefined : name;
  const { note = null, raw = false, label = capitalised(name) } = more;
  return { label, before: before ?? "none", after: after ?? "none", note, raw };
}

function resultOf(before: ComparedAttempt, after: ComparedAttempt): Compared {
  if (before.status !== null && after.status !== null) {
    return values("status", String(before.status), String(after.status));
  }
  const words = ({ status, outcome, cause }: ComparedAttempt) =>
    status === null ? `${outcome}${cause === null ? "" : `: ${cause}`}` : String(status);
  return values("result", words(before), words(after));
}

// --- the request -------------------------------------------------------------------------------------

/** Headers that differ from one request to the next, or have a row of their own. */
const OF_EACH_REQUEST = new Set([
  "x-bookme-signature",
  "x-bookme-event",
  "x-bookme-event-id",
  "x-bookme-delivery-id",
  "x-bookme-attempt",
  "x-bookme-test",
  "webhook-id",
  "webhook-timestamp",
  "webhook-signature",
]);

function requestOf(
  before: ComparedAttempt,
  after: ComparedAttempt,
  changes: readonly ChangeBetween[],
): Compared[] {
  if (before.request === null || after.request === null) return [];
  const [one, other] = [before.request, after.request];
  const rotation = changes.findLast(({ is_rotation }) => is_rotation);
  const note = rotation === undefined ? null : `rotated by ${rotation.who}`;
  return [
    values("signed with", before.signed_with ?? "nothing", after.signed_with ?? "nothing", {
      note,
    }),
    signaturesOf(one.headers, other.headers),
    values("URL", one.url, other.url, { raw: true, note: noteOn(changes, "url") }),
    ...headersOf(one.headers, other.headers, noteOn(changes, "settings.headers")),
    settingsOf(before, after, changes),
    values("event type", before.event_type, after.event_type),
    before.test === after.test
      ? undefined
      : values("test event", yesNo(before.test), yesNo(after.test)),
    bodiesOf(one.body, other.body),
  ];
}

function yesNo(is: boolean): string {
  return is ? "yes" : "no";
}

/** During an overlap webhook-signature has one for each secret. */
function signaturesOf(
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
): Compared {
  const count = (headers: Readonly<Record<string, string>>) => {
    const found = headers["webhook-signature"]?.split(" ").length ?? 0;
    return found === 1 ? "1 signature" : `${found} signatures`;
  };
  const [one, other] = [count(before), count(after)];
  return one === other
    ? undefined
    : values("webhook-signature", one, other, { label: "webhook-signature" });
}

/** Who made the last change of a member, and when; null if nobody did. */
function noteOn(changes: readonly ChangeBetween[], member: string): string | null {
  const last = changes.findLast((change) =>
    changedMembers(change).some((one) => one.startsWith(member))
  );
  return last === undefined ? null : `changed by ${last.who}`;
}

/** Members of an endpoint that a change touched: `url`, `settings.timeout_ms`. */
function changedMembers({ before, after }: ChangeBetween): string[] {
  if (!isRecord(before) || !isRecord(after)) return [];
  return diff(before, after).map(({ path }) => path.join("."))
    .filter((path) => !path.startsWith("cancels"));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** Settings that have no row of their own: they change what is sent, or for how long an answer is awaited. */
function settingsOf(
  before: ComparedAttempt,
  after: ComparedAttempt,
  changes: readonly ChangeBetween[],
): Compared {
  const [first, last] = [
    Math.min(before.version, after.version),
    Math.max(before.version, after.version),
  ];
  if (first === last) return "the endpoint's settings";
  const made = changes.filter(({ version }) =>
    version !== null && version > first && version <= last
  );
  const members = [...new Set(made.flatMap(changedMembers))]
    .filter((member) => member !== "url" && !member.startsWith("settings.headers"))
    .map((member) => member.replace("settings.", ""));
  if (members.length === 0) return undefined;
  const who = made.findLast((change) => changedMembers(change).length > 0)?.who ?? "";
  return values("settings", `version ${before.version}`, `version ${after.version}`, {
    note: `${members.slice(0, 5).join(", ")} changed by ${who}`,
  });
}

function headersOf(
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
  note: string | null,
): Compared[] {
  const [one, other] = [lowerNames(before), lowerNames(after)];
  const names = [...new Set([...one.keys(), ...other.keys()])];
  const differing = names.filter((name) => one.get(name) !== other.get(name));
  const same = names.length - differing.length;
  return [
    ...differing.map((name) =>
      values(name, one.get(name) ?? "not sent", other.get(name) ?? "not sent", {
        note,
        raw: true,
        label: `Header ${name}`,
      })
    ),
    same === 0
      ? undefined
      : counted(same, differing.length > 0 ? "other request header" : "request header"),
  ];
}

function lowerNames(headers: Readonly<Record<string, string>>): Map<string, string> {
  return new Map(
    Object.entries(headers).map(([name, value]): [string, string] => [name.toLowerCase(), value])
      .filter(([name]) => !OF_EACH_REQUEST.has(name)),
  );
}

const MAX_MEMBERS = 5;
/** Longest name of a member that is shown, in characters. */
const MAX_NAME = 80;

/** Two events never have the same values: only which members they have is compared. */
function bodiesOf(before: string | null, after: string | null): Compared {
  if (before === null || after === null) return undefined;
  if (before === after) return "request body";
  const [one, other] = [parsed(before), parsed(after)];
  if (!isRecord(one) || !isRecord(other)) return undefined;
  const changed = diff(one, other);
  const paths = (type: "CREATE" | "REMOVE") =>
    changed.filter((change) => change.type === type)
      .map(({ path }) => shorten(path.join("."), MAX_NAME));
  const [added, removed] = [paths("CREATE"), paths("REMOVE")];
  if (added.length + removed.length === 0) return "members of the request body";
  return {
    label: "Request body",
    before: withMembers(removed),
    after: withMembers(added),
    note: null,
    raw: false,
  };
}

function withMembers(paths: readonly string[]): string {
  if (paths.length === 0) return "nothing more";
  const more = paths.length > MAX_MEMBERS ? ` and ${paths.length - MAX_MEMBERS} more` : "";
  return `also ${paths.slice(0, MAX_MEMBERS).join(", ")}${more}`;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

// --- the receiver ------------------------------------------------------------------------------------

function receiverOf(before: ComparedAttempt, after: ComparedAttempt): Compared[] {
  const [one, other] = [before.phases.reused, after.phases.reused];
  return [
    before.address === null || after.address === null
      ? undefined
      : values("address", before.address, after.address, { raw: true }),
    certificatesOf(before.certificate_ends_at, after.certificate_ends_at),
    one === null || other === null
      ? undefined
      : values("connection", one ? "reused" : "new", other ? "reused" : "new"),
  ];
}

/** Seen by handshakes only: a reused connection has none. */
function certificatesOf(before: string | null, after: string | null): Compared {
  if (before === null || after === null) return undefined;
  const day = (time: string) => time.slice(0, 10);
  const words = (time: string) =>
    `ends ${day(before) === day(after) ? time.replace(/\.\d+Z$/, "Z") : day(time)}`;
  return values("certificate", words(before), words(after));
}

// --- the answer --------------------------------------------------------------------------------------

/** Headers that differ from one answer to the next, whatever it says. */
const OF_EACH_ANSWER =
  /^(date|age|etag|expires|last-modified|set-cookie|content-length|server-timing|traceparent|nel|report-to|.*(request|trace|correlation)-?id|cf-ray|x-runtime|x-ratelimit-.*|ratelimit.*)$/;
const MAX_HEADERS = 6;
const MAX_BODY = 400;

function answersOf(before: ComparedAttempt, after: ComparedAttempt): Compared[] {
  const [one, other] = [before.response, after.response];
  if (one === null || other === null) return [];
  return [...answerHeadersOf(one.headers, other.headers), answerBodiesOf(one, other)];
}

function answerHeadersOf(
  before: readonly (readonly [string, string])[],
  after: readonly (readonly [string, string])[],
): Compared[] {
  const joined = (headers: readonly (readonly [string, string])[]) => {
    const groups = Map.groupBy(headers, ([name]) => name.toLowerCase());
    return new Map(
      [...groups].filter(([name]) => !OF_EACH_ANSWER.test(name)).map((
        [name, lines],
      ) => [name, lines.map(([, value]) => value).join(", ")]),
    );
  };
  const [one, other] = [joined(before), joined(after)];
  const names = [...new Set([...one.keys(), ...other.keys()])];
  const differing = names.filter((name) => one.get(name) !== other.get(name));
  const same = names.length - differing.length;
  const text = (value: string | undefined) =>
    value === undefined ? "none" : shorten(value, MAX_BODY);
  return [
    ...differing.slice(0, MAX_HEADERS).map((name) =>
      values(name, text(one.get(name)), text(other.get(name)), {
        raw: true,
        label: `Answered ${name}`,
      })
    ),
    same === 0 ? undefined : counted(same, "response header"),
  ];
}

function answerBodiesOf(
  before: NonNullable<ComparedAttempt["response"]>,
  after: NonNullable<ComparedAttempt["response"]>,
): Compared {
  if (before.body === after.body) return before.body === "" ? undefined : "response body";
  const [one, other] = [bodyWords(before), bodyWords(after)];
  if (one !== other) return values("response body", one, other, { raw: true });
  return values("response body", `${one.length} characters alike`, "another end");
}

function bodyWords(
  { body, body_encoding }: NonNullable<ComparedAttempt["response"]>,
): string {
  if (body === "") return "empty";
  if (body_encoding === "base64") {
    return `${Buffer.byteLength(body, "base64")} bytes that are not text`;
  }
  return shorten(body, MAX_BODY);
}

// --- times -------------------------------------------------------------------------------------------

const PHASES = {
  dns_ms: "DNS",
  connect_ms: "Connect",
  tls_ms: "TLS",
  waiting_ms: "Waiting for an answer",
} as const;
/** Times that differ by less, or not by half of the longer one, are the same but for chance. */
const NOTABLE_MS = 100;

function timesOf(before: ComparedAttempt, after: ComparedAttempt): Compared[] {
  return Object.entries(PHASES).map(([phase, label]) => {
    const name = phase as keyof typeof PHASES;
    const [one, other] = [before.phases[name], after.phases[name]];
    if (one === null || other === null) return undefined;
    const by_ms = Math.abs(one - other);
    return by_ms < NOTABLE_MS || by_ms < Math.max(one, other) / 2
      ? undefined
      : { label, before: inMs(one), after: inMs(other), note: null, raw: false };
  });
}

function inMs(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

const BOUNDS_MS = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

/** How far the whole times differ, if no row says it. */
function timeWords(
  before: ComparedAttempt,
  after: ComparedAttempt,
  rows: readonly Difference[],
): string {
  const labels: readonly string[] = Object.values(PHASES);
  if (rows.some(({ label }) => labels.includes(label))) return "";
  const by_ms = Math.abs(before.duration_ms - after.duration_ms);
  const bound = BOUNDS_MS.find((bound) => by_ms < bound);
  return bound === undefined
    ? `They took ${inMs(before.duration_ms)} and ${inMs(after.duration_ms)}.`
    : `Times differ by less than ${inMs(bound)}.`;
}
