import * as v from "valibot";
import { MAX_URL_LENGTH } from "../../lib/core/address.ts";
import { LIMITS } from "../../lib/core/endpoint_rules.ts";
import { AppError } from "../../lib/core/errors.ts";
import { PRINTABLE } from "../../lib/core/identifier.ts";
import { isObject, typeMistake } from "../../lib/core/json.ts";
import { REASONS } from "../../lib/core/outcome.ts";
import { dayExists } from "../../lib/core/time.ts";
import { DURATION, formatDuration, parseDuration } from "../../lib/core/units.ts";

/**
 * What the admin API takes and answers. These very schemas validate requests, type the handlers and
 * make the OpenAPI document (routes/openapi.ts), where those in `COMPONENTS` have their names.
 */

const DAY_MS = 86_400_000;

// --- pieces ------------------------------------------------------------------------------------------

/** The message for a value of another JSON type. */
function must(expected: string): (issue: v.BaseIssue<unknown>) => string {
  return ({ input }) => typeMistake(expected, input);
}

/** Text that PostgreSQL can store: no NUL, no lone surrogate. One line unless it says otherwise. */
export function text(max: number) {
  return v.pipe(
    v.string(must("a string")),
    v.minLength(1, "Must not be empty"),
    v.maxLength(max, `Must have at most ${max} characters`),
    v.regex(PRINTABLE, "Must have no control characters"),
  );
}

/** A whole number in a range. */
export function integer(min: number, max: number) {
  const rule = `Must be an integer from ${min} to ${max}`;
  return v.pipe(
    v.number(must("a number")),
    v.integer(rule),
    v.minValue(min, rule),
    v.maxValue(max, rule),
  );
}

export const bool = v.boolean(must("true or false"));

export function list<const S extends v.GenericSchema>(item: S, min: number, max: number) {
  return v.pipe(
    v.array(item, must("an array")),
    v.minLength(min, `Must have at least ${min} entry`),
    v.maxLength(max, `Must have at most ${max} entries`),
  );
}

export function oneOf<const T extends readonly string[]>(names: T) {
  return v.picklist(names, `Must be ${names.join(", ")}`);
}

/** A time in a request: ISO 8601 with its zone. Comes out in UTC, with milliseconds. */
export const moment = v.pipe(
  v.string(must("a string")),
  v.isoTimestamp("Must be a time like 2026-11-24T10:00:00Z"),
  v.check(
    // Date.parse reads 30 February as 2 March.
    (value) => Date.parse(value) >= 0 && dayExists(value),
    "Must be a time that exists, from 1970 on",
  ),
  v.transform((value) => new Date(value).toISOString()),
  v.string(),
  v.isoTimestamp(),
);

/** `500ms`, `30s`, `15m`, `6h`, `30d`. Comes out in milliseconds. */
export function duration(min_ms: number, max_ms: number) {
  return v.pipe(
    v.string(must("a string")),
    v.regex(DURATION, "Must be a duration with its unit, such as 30s, 15m or 24h"),
    v.check((value) => {
      // A pipe goes on after what the line above refuses.
      if (!DURATION.test(value)) return true;
      const read = parseDuration(value);
      return read >= min_ms && read <= max_ms;
    }, `Must be from ${formatDuration(min_ms)} to ${formatDuration(max_ms)}`),
    v.transform((value): number => parseDuration(value)),
  );
}

/** Text that `parse` makes something of, in a query. An undefined answer refuses it. */
export function parsed<T>(parse: (text: string) => T | undefined, message: string) {
  return v.pipe(
    v.string(must("a string")),
    v.maxLength(255, message),
    v.check((value) => parse(value) !== undefined, message),
  );
}

/** The message for a cursor that no page gave. */
export const CURSOR_RULE = "Must be the next_cursor of the page before";

export const MAX_LIMIT = 200;
const LIMIT_RULE = `Must be a number from 1 to ${MAX_LIMIT}`;

/** `limit` of a list. */
export const limit = v.optional(
  v.pipe(
    v.string(),
    v.regex(/^\d{1,4}$/, LIMIT_RULE),
    v.transform(Number),
    v.number(),
    v.integer(),
    v.minValue(1, LIMIT_RULE),
    v.maxValue(MAX_LIMIT, LIMIT_RULE),
  ),
  "50",
);

/** `true` or `false` of a query. */
export const flag = v.pipe(
  v.picklist(["true", "false"], "Must be true or false"),
  v.transform((value) => value === "true"),
  v.boolean(),
);

/** A list's answer. */
export function page<const S extends v.GenericSchema>(item: S) {
  return v.object({
    data: v.array(item),
    next_cursor: v.pipe(
      v.nullable(v.string()),
      v.description(
        "`cursor` of the next page, null after the last. A page may be shorter than `limit`, even " +
          "empty: the last one is the one whose next_cursor is null",
      ),
    ),
  });
}

const time = v.pipe(v.string(), v.isoTimestamp());
const maybe = v.nullable;
const string = v.string();
const number = v.number();
const count = v.pipe(v.number(), v.integer(), v.minValue(0));

function described<const S extends v.GenericSchema>(schema: S, description: string) {
  return v.pipe(schema, v.description(description));
}

// --- endpoints ---------------------------------------------------------------------------------------

const TIMEOUT_MS = integer(LIMITS.timeout_ms.min, LIMITS.timeout_ms.max);
const RETRY_MS = list(
  integer(LIMITS.retry_ms.min, LIMITS.retry_ms.max),
  1,
  LIMITS.retry_ms.entries,
);
const CONCURRENCY = integer(LIMITS.concurrency.min, LIMITS.concurrency.max);
const RATE = v.pipe(
  v.string(must("a string")),
  v.regex(/^[1-9]\d{0,5}\/[smh]$/, "Must be a rate, such as 50/s, 300/m or 1000/h"),
);
const URL_TEXT = v.pipe(
  v.string(must("a string")),
  v.maxLength(MAX_URL_LENGTH, `Must have at most ${MAX_URL_LENGTH} characters`),
);
const EVENTS = list(text(255), 1, LIMITS.patterns);
const BUSINESSES = list(text(255), 1, LIMITS.businesses);
// Not a record: to valibot an array would be an empty one. The values are looked at with the names.
const HEADERS = v.custom<Record<string, string>>(isObject, must("an object"));

/** JSON Schemas of what valibot can only check in code. */
export const WRITTEN_OUT: ReadonlyMap<unknown, Record<string, unknown>> = new Map([
  [HEADERS, { type: "object", additionalProperties: { type: "string" } }],
]);

/** What can be set of an endpoint; null is what leaving it out means. */
const SETTABLE = {
  description: v.optional(maybe(text(LIMITS.description))),
  businesses: v.optional(
    described(maybe(BUSINESSES), "Only events of these businesses; null for all"),
  ),
  headers: v.optional(
    described(HEADERS, "Further request headers. Kept sealed; never shown again"),
  ),
  timeout_ms: v.optional(described(maybe(TIMEOUT_MS), "Null: what delivery.timeout says")),
  retry_ms: v.optional(
    described(maybe(RETRY_MS), "The wait before each attempt. Null: what delivery.retry says"),
  ),
  concurrency: v.optional(
    described(maybe(CONCURRENCY), "Attempts under way at once, in all daemons"),
  ),
  rate_limit: v.optional(
    described(maybe(RATE), "Attempts begun, in all daemons: 50/s, 300/m, 1000/h"),
  ),
};

export const EndpointInput = v.strictObject({
  url: URL_TEXT,
  events: described(EVENTS, "Exact names, `booking.*`, or `*`"),
  secret: v.optional(described(v.string(must("a string")), "Left out, a strong one is made")),
  unsigned: v.optional(described(bool, "Deliveries that nobody can verify")),
  ...SETTABLE,
}, must("an object"));

export const EndpointPatch = v.strictObject({
  version: v.optional(
    described(integer(1, 2_147_483_647), "The version that was read: another one is a conflict"),
  ),
  url: v.optional(URL_TEXT),
  events: v.optional(EVENTS),
  unsigned: v.optional(
    described(bool, "True forgets the secrets; for a secret again, rotate"),
  ),
  ...SETTABLE,
}, must("an object"));

export const PauseInput = v.strictObject({ reason: v.optional(text(500)) }, must("an object"));

export const RotateInput = v.strictObject({
  secret: v.optional(described(v.string(must("a string")), "Left out, a strong one is made")),
  activate: v.optional(
    v.pipe(
      v.union([v.literal("now"), moment], 'Must be "now" or a time like 2026-11-24T10:00:00Z'),
      v.description("From when on the new secret signs X-BookMe-Signature"),
    ),
    "now",
  ),
  overlap: v.optional(
    v.pipe(
      duration(0, 30 * DAY_MS),
      v.description("How long after that the old one stays in webhook-signature"),
    ),
    "24h",
  ),
}, must("an object"));

export const TestInput = v.strictObject({
  event: described(text(255), "An event type"),
  data: v.optional(described(v.unknown(), "The event's data; left out, the type's sample")),
}, must("an object"));

export const Endpoint = v.object({
  id: string,
  source: v.pipe(
    v.picklist(["file", "api"]),
    v.description("Those of the configuration file belong to it: here they can only be paused"),
  ),
  url: string,
  description: maybe(string),
  events: v.array(string),
  businesses: maybe(v.array(string)),
  unsigned: v.boolean(),
  headers: described(
    v.record(v.string(), v.string()),
    "Names of its own request headers; values are credentials and shown as [redacted]",
  ),
  timeout_ms: number,
  retry_ms: v.array(number),
  inherited: described(
    v.array(v.picklist(["timeout_ms", "retry_ms"])),
    "Which of the above follow the configuration's delivery",
  ),
  concurrency: maybe(count),
  rate_limit: maybe(string),
  version: count,
  paused: v.boolean(),
  paused_at: maybe(time),
  pause_reason: maybe(string),
  sendable: described(v.boolean(), "Whether this daemon has the endpoint's secrets"),
  unsendable_reason: maybe(string),
  rotation: described(
    maybe(v.object({ activates_at: time, overlap_ends_at: time })),
    "Of a rotation under way: when the new secret signs, and when the old ones stop",
  ),
  created_at: time,
  updated_at: time,
  retired_at: maybe(time),
});

export const EndpointMade = v.object({
  ...Endpoint.entries,
  secret: described(maybe(string), "Shown this once; null for an unsigned endpoint"),
});

// --- deliveries --------------------------------------------------------------------------------------

export const STATUSES = ["pending", "delivered", "failed", "cancelled"] as const;
const OUTCOMES = ["delivered", ...REASONS] as const;

export const Delivery = v.object({
  id: string,
  event_id: string,
  event_type: string,
  endpoint_id: string,
  status: v.picklist(STATUSES),
  reason: described(maybe(v.picklist(REASONS)), "What the last attempt met, where it failed"),
  cancel_reason: maybe(string),
  cancelling: described(
    v.boolean(),
    "Being sent, and cancelled unless that attempt delivers",
  ),
  explanation: described(string, "Why it is where it is, in words"),
  test: v.boolean(),
  sending: v.boolean(),
  attempt_count: count,
  created_at: time,
  next_attempt_at: maybe(time),
  last_attempt_at: maybe(time),
  last_status: maybe(count),
  ended_at: maybe(time),
});

export const Attempt = v.object({
  id: string,
  number: count,
  outcome: v.picklist(OUTCOMES),
  status: maybe(count),
  cause: described(maybe(string), "The raw cause, where no status says it all"),
  address: described(maybe(string), "Address and port that were spoken to"),
  started_at: time,
  ended_at: time,
  duration_ms: number,
  request: described(
    maybe(v.object({
      method: v.literal("POST"),
      url: string,
      headers: v.record(v.string(), v.string()),
      body: described(string, "The event's exact bytes, as text"),
    })),
    "Null where nothing was sent that was heard of again",
  ),
  response: maybe(v.object({
    status: maybe(count),
    headers: described(
      v.array(v.strictTuple([v.string(), v.string()])),
      "Pairs of name and value, as they came",
    ),
    body: string,
    body_encoding: v.picklist(["utf-8", "base64"]),
    truncated: v.boolean(),
  })),
});

export const DeliveryDetail = v.object({
  ...Delivery.entries,
  attempts: v.array(Attempt),
});

export const TestResult = v.object({
  event_id: string,
  delivery: Delivery,
  attempt: described(maybe(Attempt), "Null where none was made in time; the delivery says why"),
});

// --- events ------------------------------------------------------------------------------------------

export const EventSummary = v.object({
  id: string,
  type: string,
  business: maybe(string),
  subject: described(maybe(string), "Id of the appointment, business or service"),
  confirmation_number: maybe(string),
  test: v.boolean(),
  received_at: time,
});

export const EndpointVerdict = v.object({
  endpoint_id: string,
  owed: v.boolean(),
  state: v.picklist([
    "delivered",
    "failed",
    "cancelled",
    "sending",
    "cancelling",
    "paused",
    "unsendable",
    "due",
    "waiting",
    "test_of_another",
    "made_later",
    "type_not_selected",
    "other_business",
    "changed_later",
  ]),
  explanation: string,
  delivery_id: maybe(string),
});

export const EventDetail = v.object({
  ...EventSummary.entries,
  payload: described(string, "The exact bytes that were posted, as text"),
  deliveries: v.array(Delivery),
  endpoints: described(
    v.array(EndpointVerdict),
    "For each endpoint why it was or was not owed the event",
  ),
});

export const EventTypeInfo = v.object({
  name: string,
  description: string,
  schema: described(v.record(v.string(), v.unknown()), "JSON Schema (2020-12) of `data`"),
  sample: described(v.record(v.string(), v.unknown()), "A whole event"),
});

// --- replays -----------------------------------------------------------------------------------------

export const ENDED = ["delivered", "failed", "cancelled"] as const;

export const ReplayInput = v.strictObject({
  endpoint: v.optional(described(text(255), "Only deliveries to this endpoint")),
  status: v.optional(
    v.pipe(
      list(oneOf(ENDED), 1, 3),
      v.check((all) => new Set(all).size === all.length, "Has an entry twice"),
    ),
    ["failed"],
  ),
  type: v.optional(described(text(255), "Only events of this type")),
  since: described(moment, "Deliveries created at or after"),
  until: v.optional(described(moment, "Deliveries created before; left out, before now")),
  rate: v.optional(described(RATE, "Deliveries in a time: 50/s. Left out, as fast as can be")),
  dry_run: v.optional(described(bool, "Only count"), false),
}, must("an object"));

const MATCHED = described(count, "How many deliveries there were when it was asked for");
const MATCHED_EXACT = described(v.boolean(), "False: at least so many");

export const ReplayCount = v.object({ matched: MATCHED, matched_exact: MATCHED_EXACT });

export const Replay = v.object({
  id: string,
  state: v.picklist(["running", "done", "cancelled"]),
  matched: MATCHED,
  matched_exact: MATCHED_EXACT,
  replayed: described(count, "Deliveries that are pending again, or were"),
  endpoint: maybe(string),
  status: v.array(v.picklist(ENDED)),
  type: maybe(string),
  since: time,
  until: time,
  rate_per_s: maybe(number),
  created_at: time,
  created_by: described(string, "Name of an admin token"),
  ended_at: maybe(time),
});

// --- statistics and the rest -------------------------------------------------------------------------

const STATS = {
  attempts: count,
  delivered: count,
  failed: described(
    v.record(v.string(), count),
    "Attempts by what they met, without those that delivered",
  ),
  success_rate: described(maybe(number), "Share of attempts that delivered; null without any"),
  duration_ms: described(
    v.object({ p50: maybe(number), p95: maybe(number), p99: maybe(number) }),
    "Within 9 %",
  ),
  pending: described(count, "Deliveries, at most 10,000 of each endpoint being counted"),
  pending_exact: described(v.boolean(), "False: at least so many"),
  sending: count,
  overdue: described(count, "Of those pending, what is due and not being sent"),
  oldest_pending_ms: described(maybe(number), "Age of the oldest of those"),
};

export const Stats = v.object({
  since: time,
  until: time,
  totals: v.object(STATS),
  endpoints: v.array(v.object({ endpoint_id: string, ...STATS })),
});

export const Reloaded = v.object({
  changed: described(v.array(string), "What changed, in words, without values"),
  at_next_start: described(v.array(string), "Of these, what takes effect at the next start only"),
});

export const ConfigShown = v.record(v.string(), v.unknown());

export const AuditEntry = v.object({
  id: string,
  at: time,
  actor: described(string, "Name of an admin token, or what in the program did it by itself"),
  address: described(maybe(string), "Where from"),
  action: string,
  object: string,
  before: v.unknown(),
  after: v.unknown(),
});

export const Problem = v.object({
  type: string,
  title: string,
  status: count,
  code: described(string, "Stable: decide by this one"),
  detail: string,
  errors: v.optional(
    described(
      v.array(v.object({ pointer: string, message: string })),
      "Each mistake, with a JSON pointer (or the name of a parameter) to its place",
    ),
  ),
});

/** The schemas that have a name in the OpenAPI document. */
export const COMPONENTS = {
  Endpoint,
  EndpointInput,
  EndpointPatch,
  EndpointMade,
  Delivery,
  DeliveryDetail,
  Attempt,
  TestResult,
  EventSummary,
  EventDetail,
  EndpointVerdict,
  EventType: EventTypeInfo,
  ReplayInput,
  Replay,
  ReplayCount,
  Stats,
  Reloaded,
  AuditEntry,
  Problem,
} as const;

/** Refuses a request with a mistake at a place of its own. */
export function invalidAt(pointer: string, message: string): AppError {
  return new AppError("invalid", "The request is not valid", { errors: [{ pointer, message }] });
}
