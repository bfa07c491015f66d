import { isObject } from "./json.ts";

/** Kinds of changes between the last attempt that was accepted and the first that failed. */
export const HINTS = [
  "secret_rotated",
  "overlap_ended",
  "credentials_changed",
  "signing_changed",
  "url_changed",
  "headers_changed",
  "tls_changed",
  "events_changed",
  "timeout_lowered",
  "limits_raised",
  "resumed",
  "certificate_expired",
  "certificate_replaced",
  "address_changed",
] as const;
/** One of them. */
export type HintKind = typeof HINTS[number];

/** A likely cause of a failure. */
export interface Hint {
  readonly kind: HintKind;
  /** When it changed, or when the change was first met, in milliseconds since 1970. */
  readonly at: number;
  /** Who changed it; null if nobody here did. */
  readonly by: string | null;
  /** The same in words that a business understands, a sentence without a full stop. */
  readonly text: string;
}

/** The first attempt that failed. Times in milliseconds since 1970. */
export interface FailureFacts {
  readonly started_at: number;
  readonly ended_at: number;
  readonly outcome: string;
  readonly status: number | null;
  readonly address: string | null;
  /** End of the receiver's certificate, if the handshake showed one. */
  readonly certificate_ends_at: number | null;
  /** Whether it is one delivery's first: others of the endpoint may have failed like that before. */
  readonly is_own: boolean;
}

/** The last attempts that were accepted before that. Times in milliseconds since 1970. */
export interface SuccessFacts {
  /** Of the last one. */
  readonly started_at: number;
  /** Since when the endpoint had been as it was for the last one. */
  readonly version_since: number;
  /** Where the latest ones were sent. */
  readonly addresses: readonly string[];
  /** End of the certificate that one of them was the last to see, or null. */
  readonly certificate_ends_at: number | null;
}

/** A change of the endpoint, as the audit log has it. */
export interface ChangeFacts {
  /** In milliseconds since 1970. */
  readonly at: number;
  readonly actor: string;
  readonly action: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** Facts that hints are found in. */
export interface HintFacts {
  readonly failure: FailureFacts;
  readonly success: SuccessFacts;
  /** The endpoint's, the oldest first. */
  readonly changes: readonly ChangeFacts[];
  /** Of endpoints without their own. */
  readonly timeout_ms: number;
}

/** A hint before it is set against the failure. */
interface Change {
  readonly kind: HintKind;
  readonly at: number;
  readonly by: string | null;
  /** `The URL was edited` */
  readonly text: string;
  /** Whether a new version of the endpoint has it, which each attempt names; else the time decides. */
  readonly is_versioned: boolean;
}

const MAX_HINTS = 3;

/** The changes that may explain each kind of failure, the likeliest first. No other change explains it. */
const CAUSES: Readonly<Record<string, readonly HintKind[]>> = {
  refused: [
    "secret_rotated",
    "overlap_ended",
    "credentials_changed",
    "signing_changed",
    "url_changed",
    "headers_changed",
    "tls_changed",
    "events_changed",
    "address_changed",
    "certificate_replaced",
  ],
  not_found: [
    "url_changed",
    "headers_changed",
    "credentials_changed",
    "events_changed",
    "address_changed",
    "secret_rotated",
    "overlap_ended",
    "signing_changed",
    "certificate_replaced",
  ],
  busy: ["limits_raised", "resumed", "events_changed", "url_changed", "address_changed"],
  broken: [
    "url_changed",
    "events_changed",
    "headers_changed",
    "credentials_changed",
    "secret_rotated",
    "overlap_ended",
    "signing_changed",
    "limits_raised",
    "resumed",
    "address_changed",
    "certificate_replaced",
  ],
  timeout: [
    "timeout_lowered",
    "url_changed",
    "address_changed",
    "limits_raised",
    "resumed",
    "events_changed",
  ],
  dns: ["url_changed"],
  tls: [
    "certificate_expired",
    "tls_changed",
    "credentials_changed",
    "url_changed",
    "certificate_replaced",
    "address_changed",
  ],
  connection: ["url_changed", "address_changed", "limits_raised", "resumed"],
  protocol: ["url_changed", "address_changed", "certificate_replaced"],
  blocked: ["url_changed", "address_changed"],
};

function causesOf({ outcome, status }: FailureFacts): readonly HintKind[] {
  if (status === 429 || status === 503) return CAUSES["busy"] ?? [];
  if (outcome === "http_5xx") return CAUSES["broken"] ?? [];
  if (outcome === "redirect" || outcome === "gone" || status === 404 || status === 405) {
    return CAUSES["not_found"] ?? [];
  }
  return CAUSES[outcome === "http_4xx" ? "refused" : outcome] ?? [];
}

/**
 * Finds the likely causes of a failure: at most three changes between the last accepted attempt and the first
 * that failed, the likeliest first. A change before the last success is no cause.
 */
export function findHints(facts: HintFacts): Hint[] {
  const { failure, success, timeout_ms } = facts;
  const made = changesOf(facts.changes, timeout_ms).filter((change) =>
    change.at <= failure.started_at &&
    change.at > (change.is_versioned ? success.version_since : success.started_at)
  );
  const is_elsewhere = made.some(({ kind }) => kind === "url_changed");
  const met = is_elsewhere ? [] : metOf(failure, success);
  const kinds = causesOf(failure);
  const latest = new Map([...met, ...made].map((change) => [change.kind, change]));
  return kinds.flatMap((kind) => latest.get(kind) ?? []).slice(0, MAX_HINTS).map((
    { kind, at, by, text },
  ) => ({ kind, at, by, text: `${text} ${beforeWords(failure, at)}` }));
}

/** `3 minutes before the first 401`; `before the first 401` if that itself showed the change. */
function beforeWords(failure: FailureFacts, at: number): string {
  const what = `before the first ${nameOf(failure)}${failure.is_own ? " here" : ""}`;
  if (at === failure.started_at) return what;
  const ms = failure.started_at - at;
  return ms < 1_000 ? `just ${what}` : `${inFullWords(ms)} ${what}`;
}

const NAMES: Readonly<Record<string, string>> = {
  timeout: "timeout",
  dns: "DNS failure",
  tls: "TLS failure",
  connection: "connection failure",
  protocol: "broken answer",
  blocked: "refused address",
};

function nameOf({ outcome, status }: FailureFacts): string {
  return status === null ? NAMES[outcome] ?? "failure" : String(status);
}

/** `12 seconds`, `3 minutes`, `2 hours`, `5 days`: rounded to the nearest, as the clock reads. */
function inFullWords(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  const units = [[86_400, "day"], [3_600, "hour"], [60, "minute"], [1, "second"]] as const;
  // Below two of a unit the next one is more exact: 90 minutes, 36 hours.
  const [size, unit] = units.find(([size]) => seconds >= size * (size > 60 ? 2 : 1)) ??
    [1, "second"];
  const value = Math.round(seconds / size);
  return `${value} ${unit}${value === 1 ? "" : "s"}`;
}

// --- what attempts met -------------------------------------------------------------------------------

/** Changes on the receiver's side, which only attempts see. Null as who made them. */
function metOf(failure: FailureFacts, success: SuccessFacts): Change[] {
  const met = { by: null, at: failure.started_at, is_versioned: false };
  const changes: Change[] = [];
  const { address } = failure;
  if (address !== null && success.addresses.length > 0 && !success.addresses.includes(address)) {
    const text = `The receiver's address changed from ${success.addresses[0]} to ${address}`;
    changes.push({ ...met, kind: "address_changed", text });
  }
  const ended_at = failure.certificate_ends_at ?? success.certificate_ends_at;
  if (ended_at !== null && ended_at <= failure.ended_at) {
    const text = "The receiver's certificate expired";
    changes.push({ ...met, kind: "certificate_expired", at: ended_at, text });
  } else if (
    failure.certificate_ends_at !== null && success.certificate_ends_at !== null &&
    failure.certificate_ends_at !== success.certificate_ends_at
  ) {
    const text = "The receiver's certificate was replaced";
    changes.push({ ...met, kind: "certificate_replaced", text });
  }
  return changes;
}

// --- what was changed here ---------------------------------------------------------------------------

/** What the audit log's entries changed, by the time at which it took effect. */
function changesOf(entries: readonly ChangeFacts[], timeout_ms: number): Change[] {
  const changes = entries.flatMap((entry) => {
    switch (entry.action) {
      case "endpoint.updated":
        return updatesOf(entry, timeout_ms);
      case "endpoint.rotated":
        return rotationOf(entry);
      case "endpoint.resumed":
        return [changed(entry, "resumed", "Sending was resumed", false)];
      default:
        return [];
    }
  });
  return [...changes, ...overlapEnds(entries)].toSorted((a, b) => a.at - b.at);
}

function changed(
  { at, actor }: ChangeFacts,
  kind: HintKind,
  text: string,
  is_versioned = true,
): Change {
  return { kind, at, by: actor, text, is_versioned };
}

/** How far a time that means now may lie from the entry's. */
const NOW_MS = 5_000;

function rotationOf(entry: ChangeFacts): Change[] {
  const activates_at = timeIn(entry.after, "activates_at") ?? entry.at;
  const is_later = activates_at > entry.at + NOW_MS;
  const change = changed(entry, "secret_rotated", "The secret was rotated", !is_later);
  return [is_later ? { ...change, at: activates_at } : change];
}

/** Ends of overlaps, as far as nothing moved them before they were reached. */
function overlapEnds(entries: readonly ChangeFacts[]): Change[] {
  const ends = entries.flatMap((entry) => {
    const at = overlapEnd(entry);
    return at === null ? [] : [{ entry, at }];
  });
  return ends.filter(({ at }, nth) => at <= (ends[nth + 1]?.entry.at ?? Infinity)).map((
    { entry, at },
  ) => ({
    ...changed(entry, "overlap_ended", "The old secret stopped signing", false),
    at: Math.max(at, entry.at),
  }));
}

function overlapEnd({ action, at, after }: ChangeFacts): number | null {
  if (action === "endpoint.overlap_moved") return timeIn(after, "ends_at");
  if (action !== "endpoint.rotated" || !isObject(after)) return null;
  const overlap_ms = after["overlap_ms"];
  // Without an overlap the rotation itself says it.
  return typeof overlap_ms === "number" && overlap_ms > 0
    ? (timeIn(after, "activates_at") ?? at) + overlap_ms
    : null;
}

function timeIn(value: unknown, member: string): number | null {
  const text = isObject(value) ? value[member] : undefined;
  const at = typeof text === "string" ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? null : at;
}

function updatesOf(entry: ChangeFacts, default_timeout_ms: number): Change[] {
  const { before, after } = entry;
  if (!isObject(after)) return [];
  const [was, is] = [isObject(before) ? before : {}, after];
  const differs = (member: string) =>
    was[member] !== undefined && JSON.stringify(was[member]) !== JSON.stringify(is[member]);
  const [old, now] = [settingsOf(was), settingsOf(is)];
  const changes = isObject(before) ? settingChanges(entry, old, now, default_timeout_ms) : [];
  if (differs("url")) changes.push(changed(entry, "url_changed", "The URL was edited"));
  if (differs("events") || differs("businesses")) {
    changes.push(changed(entry, "events_changed", "The selection of events was changed"));
  }
  if (is["header_values"] === "changed" || !isSame(old["headers"], now["headers"])) {
    changes.push(changed(entry, "headers_changed", "The request headers were changed"));
  }
  if (is["tls"] === "changed" || !isSame(old["tls"], now["tls"])) {
    changes.push(changed(entry, "tls_changed", "The certificates for this receiver were changed"));
  }
  if (is["credentials"] === "changed") {
    const text = "The secret, a header or a certificate was changed in the file";
    changes.push(changed(entry, "credentials_changed", text));
  }
  return changes;
}

function settingsOf({ settings }: Record<string, unknown>): Record<string, unknown> {
  return isObject(settings) ? settings : {};
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one ?? null) === JSON.stringify(other ?? null);
}

function settingChanges(
  entry: ChangeFacts,
  old: Record<string, unknown>,
  now: Record<string, unknown>,
  default_timeout_ms: number,
): Change[] {
  const changes: Change[] = [];
  const timeout = (of: Record<string, unknown>) => Number(of["timeout_ms"] ?? default_timeout_ms);
  if (timeout(now) < timeout(old)) {
    const text = `The timeout was lowered to ${timeout(now) / 1_000} s`;
    changes.push(changed(entry, "timeout_lowered", text));
  }
  const limit = (of: Record<string, unknown>, name: string) => Number(of[name] ?? Infinity);
  if (["concurrency", "rate_limit_per_s"].some((name) => limit(now, name) > limit(old, name))) {
    changes.push(changed(entry, "limits_raised", "The limit on attempts was raised"));
  }
  if ((now["unsigned"] ?? false) !== (old["unsigned"] ?? false)) {
    const text = `Signing was switched ${now["unsigned"] === true ? "off" : "on"}`;
    changes.push(changed(entry, "signing_changed", text));
  }
  return changes;
}
