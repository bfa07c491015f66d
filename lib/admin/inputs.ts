import * as v from "valibot";
import { MAX_URL_LENGTH } from "../core/address.ts";
import { DELIVERY_REASONS } from "../core/cancellation.ts";
import { LIMITS } from "../core/endpoint_rules.ts";
import { isObject } from "../core/json.ts";
import { MIN_SOUGHT } from "../core/mention.ts";
import { STATUS_CODE } from "../core/outcome.ts";
import {
  bool,
  described,
  duration,
  identifier,
  integer,
  list,
  moment,
  must,
  oneOf,
  rate,
  text,
} from "./fields.ts";

/** Requests of an administrator: the bodies of the API's, and the fields of forms. */

const DAY_MS = 86_400_000;
const maybe = v.nullable;

// --- endpoints ---------------------------------------------------------------------------------------

const TIMEOUT_MS = integer(LIMITS.timeout_ms.min, LIMITS.timeout_ms.max);
const RETRY_MS = list(
  integer(LIMITS.retry_ms.min, LIMITS.retry_ms.max),
  1,
  LIMITS.retry_ms.entries,
);
const CONCURRENCY = integer(LIMITS.concurrency.min, LIMITS.concurrency.max);
const URL_TEXT = v.pipe(
  v.string(must("a string")),
  v.maxLength(MAX_URL_LENGTH, `Must have at most ${MAX_URL_LENGTH} characters`),
);
const EVENTS = list(identifier, 1, LIMITS.patterns);
const BUSINESSES = list(identifier, 1, LIMITS.businesses);
// Not a record: valibot would accept an array as an empty one. Values are checked with their names.
const HEADERS = v.custom<Record<string, string>>(isObject, must("an object"));

/** JSON Schemas of the schemas that valibot can only check in code. */
export const WRITTEN_OUT: ReadonlyMap<unknown, Record<string, unknown>> = new Map([
  [HEADERS, { type: "object", additionalProperties: { type: "string" } }],
]);

const PEM = v.pipe(
  v.string(must("a string")),
  v.maxLength(LIMITS.pem, `Must have at most ${LIMITS.pem} characters`),
);
const TLS = v.strictObject({
  ca: v.optional(
    described(maybe(PEM), "Certificates to trust instead of the usual authorities, in PEM"),
  ),
  cert: v.optional(
    described(maybe(PEM), "The client's certificate in PEM, then those that lead to its authority"),
  ),
  key: v.optional(described(maybe(PEM), "The private key of `cert` in PEM, not encrypted")),
}, must("an object"));

/** Settings of an endpoint; null means the same as leaving one out. */
const SETTABLE = {
  description: v.optional(maybe(text(LIMITS.description))),
  businesses: v.optional(
    described(maybe(BUSINESSES), "Only events of these businesses; null for all"),
  ),
  headers: v.optional(
    described(HEADERS, "Further request headers. Kept sealed; never shown again"),
  ),
  tls: v.optional(
    described(
      maybe(TLS),
      "Certificates of its own. Kept sealed; `key` is never shown again. Members left out stay as they " +
        "are, null removes one; null for all of it removes all",
    ),
  ),
  timeout_ms: v.optional(described(maybe(TIMEOUT_MS), "Null: what delivery.timeout says")),
  retry_ms: v.optional(
    described(maybe(RETRY_MS), "The wait before each attempt. Null: what delivery.retry says"),
  ),
  concurrency: v.optional(
    described(maybe(CONCURRENCY), "Attempts under way at once, in all daemons"),
  ),
  rate_limit: v.optional(
    described(maybe(rate), "Attempts begun, in all daemons: 50/s, 300/m, 1000/h"),
  ),
  traceparent: v.optional(
    described(bool, "Sends a W3C traceparent header along, for the receiver's traces"),
  ),
};

/** A new endpoint. */
export const EndpointInput = v.strictObject({
  url: URL_TEXT,
  events: described(EVENTS, "Exact names, `booking.*`, or `*`"),
  secret: v.optional(described(v.string(must("a string")), "Left out, a strong one is made")),
  unsigned: v.optional(described(bool, "Deliveries that nobody can verify")),
  ...SETTABLE,
}, must("an object"));
export type EndpointInput = v.InferOutput<typeof EndpointInput>;

/** Changes to an endpoint; absent members stay as they are. */
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
export type EndpointPatch = v.InferOutput<typeof EndpointPatch>;

/** The pause of an endpoint. */
export const PauseInput = v.strictObject({ reason: v.optional(text(500)) }, must("an object"));
export type PauseInput = v.InferOutput<typeof PauseInput>;

const nowOrMoment = v.union(
  [v.literal("now"), moment],
  'Must be "now" or a time like 2026-11-24T10:00:00Z',
);

/** A new secret for an endpoint. */
export const RotateInput = v.strictObject({
  secret: v.optional(described(v.string(must("a string")), "Left out, a strong one is made")),
  activate: v.optional(
    described(nowOrMoment, "From when on the new secret signs X-BookMe-Signature"),
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
export type RotateInput = v.InferOutput<typeof RotateInput>;

/** Another end for the overlap of a rotation. */
export const OverlapInput = v.strictObject({
  ends_at: described(
    nowOrMoment,
    "When the old secret stops signing: at most 30 days after now, or after the new one is active",
  ),
}, must("an object"));
export type OverlapInput = v.InferOutput<typeof OverlapInput>;

/** A test event. */
export const TestInput = v.strictObject({
  event: described(identifier, "An event type"),
  data: v.optional(described(v.unknown(), "The event's data; left out, the type's sample")),
  business: v.optional(described(identifier, "The event's member `business`; not without `data`")),
}, must("an object"));
export type TestInput = v.InferOutput<typeof TestInput>;

// --- signatures ---------------------------------------------------------------------------------------

/** A request whose signature is checked, and against which secret. */
export const VerifyInput = v.strictObject({
  endpoint: v.optional(
    described(
      identifier,
      "Checks against this endpoint's own secrets, those of an overlap included",
    ),
  ),
  secret: v.optional(
    described(
      v.pipe(v.string(must("a string")), v.minLength(1, "Must not be empty")),
      "Checks against this secret instead. It is neither stored nor logged, and no answer has it",
    ),
  ),
  body: described(v.string(must("a string")), "The body, exactly as it was received"),
  body_encoding: v.optional(
    described(oneOf(["utf-8", "base64"]), "How `body` is written"),
    "utf-8",
  ),
  headers: described(
    HEADERS,
    "X-BookMe-Signature, or webhook-id, webhook-timestamp and webhook-signature, or all of them. Others are " +
      "ignored",
  ),
}, must("an object"));
export type VerifyInput = v.InferOutput<typeof VerifyInput>;

// --- the configuration -------------------------------------------------------------------------------

/** A reload of the configuration file. */
export const ReloadInput = v.strictObject({
  dry_run: v.optional(described(bool, "Only say what would change"), false),
}, must("an object"));
export type ReloadInput = v.InferOutput<typeof ReloadInput>;

// --- portal links -------------------------------------------------------------------------------------

/** A new portal link. */
export const PortalLinkInput = v.strictObject({
  business: described(identifier, "The business whose endpoints it manages"),
  expires_in: v.optional(
    v.pipe(duration(60_000, 30 * DAY_MS), v.description("How long it may be used")),
    "24h",
  ),
  read_only: v.optional(described(bool, "Whether its token may only read"), false),
}, must("an object"));
export type PortalLinkInput = v.InferOutput<typeof PortalLinkInput>;

// --- replays -----------------------------------------------------------------------------------------

const REPLAYED = ["delivered", "failed", "cancelled", "pending"] as const;
const REPLAYED_STATUS = oneOf(REPLAYED);

/** A status of the last answer, or a hundred of them. */
export const code = v.pipe(
  v.string(must("a string")),
  v.regex(STATUS_CODE, "Must be a status such as 401, or 4xx"),
);

/** Selects deliveries to be sent again, or those that wait to be sent now. */
export const ReplayInput = v.strictObject({
  endpoint: v.optional(described(identifier, "Only deliveries to this endpoint")),
  status: v.optional(
    described(
      v.union([
        REPLAYED_STATUS,
        v.pipe(
          list(REPLAYED_STATUS, 1, 3),
          v.check((all) => new Set(all).size === all.length, "Has an entry twice"),
          v.check(
            (all) => all.length === 1 || !all.includes("pending"),
            "pending must stand alone: it makes waiting deliveries due, and begins no new round",
          ),
        ),
      ], `Must be ${REPLAYED.join(", ")}, or a list of these`),
      "Left out, failed, or cancelled with a reason of cancellations. pending stands alone: what waits " +
        "for its next attempt gets it now",
    ),
  ),
  missing: v.optional(
    described(
      bool,
      "Owes the endpoint the events that it selects now and was never owed, test and operational ones " +
        "excepted. Needs endpoint; stands without status, reason and code",
    ),
    false,
  ),
  type: v.optional(described(identifier, "Only events of this type")),
  reason: v.optional(
    described(oneOf(DELIVERY_REASONS), "Why the last attempt failed, or why it was cancelled"),
  ),
  code: v.optional(described(code, "Status of the last answer: 401, or 4xx")),
  since: described(moment, "Deliveries created, or events received, at or after"),
  until: v.optional(described(moment, "The same before; left out, before now")),
  rate: v.optional(described(rate, "Deliveries in a time: 50/s. Left out, as fast as can be")),
  dry_run: v.optional(described(bool, "Only count"), false),
}, must("an object"));
export type ReplayInput = v.InferOutput<typeof ReplayInput>;

// --- alerts ------------------------------------------------------------------------------------------

/** How long an alert stays quiet. */
export const SnoozeInput = v.strictObject({
  for: v.pipe(duration(60_000, 7 * DAY_MS), v.description("From now on, at most 7d")),
}, must("an object"));
export type SnoozeInput = v.InferOutput<typeof SnoozeInput>;

/** Who gets a test. */
export const TestAlertsInput = v.strictObject({
  target: v.optional(
    described(identifier, "A chat (`slack`, `teams-2`), `mail` or an endpoint's id; left out, all"),
  ),
}, must("an object"));
export type TestAlertsInput = v.InferOutput<typeof TestAlertsInput>;

// --- erasures ----------------------------------------------------------------------------------------

/** Longest text to be looked for. */
const MAX_SOUGHT = 1_000;

/** Selects events to be erased, by exactly one of the first three members. */
export const ErasureInput = v.strictObject({
  event: v.optional(described(identifier, "An event, `evt_…`")),
  subject: v.optional(
    described(identifier, "All events of this appointment, business or service"),
  ),
  containing: v.optional(
    described(
      v.pipe(
        v.string(must("a string")),
        v.check(
          (value) => [...value.trim()].length >= MIN_SOUGHT && [...value].length <= MAX_SOUGHT,
          `Must have ${MIN_SOUGHT} to ${MAX_SOUGHT} characters, besides white space at its ends`,
        ),
      ),
      "All events with this text in the payload or in an answer to a delivery, in any case and any escapes",
    ),
  ),
  dry_run: v.optional(described(bool, "Only count"), false),
}, must("an object"));
export type ErasureInput = v.InferOutput<typeof ErasureInput>;
