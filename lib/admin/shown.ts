import * as v from "valibot";
import { END_REASONS, KINDS } from "../core/alerting/kinds.ts";
import { DELIVERY_STATES } from "../core/explain.ts";
import { HINTS } from "../core/hints.ts";
import { REASONS } from "../core/outcome.ts";
import { REFUSALS } from "../core/refusals.ts";
import { described } from "./fields.ts";

/**
 * The shapes that the API answers with, pages render and the command line prints. The OpenAPI document
 * is made of these schemas.
 */

const time = v.pipe(v.string(), v.isoTimestamp());
const hidden = described(
  v.boolean(),
  "Whether the token hides payloads: payload, confirmation number, cause, advice and response are " +
    "null then",
);
const maybe = v.nullable;
const string = v.string();
const number = v.number();
const count = v.pipe(v.number(), v.integer(), v.minValue(0));

/** A page of a list. */
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
/** A page of a list that is counted on request. */
export function countedPage<const S extends v.GenericSchema>(item: S) {
  return v.object({
    ...page(item).entries,
    count: v.optional(described(
      v.object({ value: count, exact: described(v.boolean(), "False: at least this many") }),
      "With `count`: how many the whole list has, whatever the page. At most 1,000 are counted, and a " +
        "search of bounded depth finds them: a rare match may be missing from a count that is not exact",
    )),
  });
}
/** A page of a list, by the type of its entries. */
export interface Page<Row> {
  data: Row[];
  next_cursor: string | null;
}
/** The same, counted on request. */
export interface CountedPage<Row> extends Page<Row> {
  count?: { value: number; exact: boolean } | undefined;
}

const PERCENTILES = v.object({ p50: maybe(number), p95: maybe(number), p99: maybe(number) });

const PENDING = {
  pending: described(count, "Deliveries, at most 10,000 of each endpoint being counted"),
  pending_exact: described(v.boolean(), "False: at least this many"),
  overdue: described(count, "Of those pending, the ones that are due and not being sent"),
  oldest_overdue_ms: described(maybe(number), "For how long the first of those has been due"),
};

// --- outside /api ------------------------------------------------------------------------------------

/** The answer to a posted event. */
export const Accepted = v.object({
  id: string,
  deliveries: described(count, "How many endpoints are owed it"),
  duplicate: described(v.boolean(), "Whether it was stored before: then this is the first answer"),
});
export type Accepted = v.InferOutput<typeof Accepted>;

/** The process runs. */
export const Liveness = v.object({ status: v.literal("ok"), version: string });
export type Liveness = v.InferOutput<typeof Liveness>;

/** Whether events are accepted and delivered. */
export const Readiness = v.object({
  status: v.picklist(["ok", "unavailable"]),
  checks: described(
    v.record(v.string(), v.string()),
    "By part: `ok`, or why it does not work. `disk` of an embedded database only",
  ),
});
export type Readiness = v.InferOutput<typeof Readiness>;

/** Where deliveries come from. */
export const IpRanges = v.object({ environment: string, ip_ranges: v.array(string) });
export type IpRanges = v.InferOutput<typeof IpRanges>;

// --- endpoints ---------------------------------------------------------------------------------------

const CERTIFICATE = { subject: string, issuer: string, valid_from: time, valid_to: time };

/** A verdict on a thing, with its remedy. */
export const Finding = v.object({
  mark: described(
    v.picklist(["✓", "!", "✗"]),
    "Good, worth a look, or a fault that keeps deliveries from arriving",
  ),
  text: string,
  remedy: maybe(string),
});

/** An endpoint, without its secrets. */
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
  owner: described(maybe(string), "The business that made it; null: an operator's"),
  unsigned: v.boolean(),
  headers: described(
    v.record(v.string(), v.string()),
    "Names of its own request headers; values are credentials and shown as [redacted]",
  ),
  tls: described(
    maybe(v.object({
      ca: described(v.array(v.object(CERTIFICATE)), "Trusted instead of the usual authorities"),
      cert: described(maybe(v.object(CERTIFICATE)), "Shown to a receiver that demands one"),
    })),
    "Its own certificates; null without any. The key is never shown",
  ),
  timeout_ms: number,
  retry_ms: v.array(number),
  inherited: described(
    v.array(v.picklist(["timeout_ms", "retry_ms"])),
    "Which of the above follow the configuration's delivery",
  ),
  concurrency: maybe(count),
  rate_limit: maybe(string),
  traceparent: described(v.boolean(), "Whether requests carry a W3C traceparent header"),
  version: count,
  state: described(
    v.picklist(["active", "paused", "unsendable", "retired"]),
    "Unsendable: this daemon lacks the endpoint's secrets",
  ),
  paused: v.boolean(),
  paused_at: maybe(time),
  pause_reason: maybe(string),
  paused_by: described(
    maybe(v.picklist(["hand", "gone", "automatic"])),
    "Somebody, a 410, or alerts.auto_pause: the last ends by itself once an hourly try arrives",
  ),
  next_probe_at: described(
    maybe(time),
    "When an automatic pause is tried next: with one waiting delivery, or not at all if none waits",
  ),
  sendable: described(v.boolean(), "Whether this daemon has the endpoint's secrets"),
  unsendable_reason: maybe(string),
  rotation: described(
    maybe(v.object({ activates_at: maybe(time), overlap_ends_at: maybe(time) })),
    "Of a rotation under way: when the new secret signs, and when the old ones stop. Both times are " +
      "null for an endpoint of the file: the new one signs, and the old one until the file drops it",
  ),
  check: described(
    maybe(v.object({
      checked_at: time,
      ok: described(v.boolean(), "Whether no finding has the mark ✗"),
      findings: v.array(Finding),
      certificate_ends_at: described(
        maybe(time),
        "Of the receiver's certificate; null if none was seen",
      ),
      failing_since: described(maybe(time), "Since when each one has found a fault"),
    })),
    "The last look at its receiver, about once an hour: DNS, addresses, TLS; null before the first",
  ),
  last_success_at: described(maybe(time), "End of the last attempt that delivered"),
  failing_since: described(
    maybe(time),
    "End of the first attempt that failed after the last success; null if none has",
  ),
  expires: described(
    maybe(v.object({ deliveries: count, deliveries_exact: v.boolean(), first_at: time })),
    "Deliveries that will be cancelled within three days, because they wait here longer than " +
      "retention.events and nobody sends them; at most 1,000 are counted",
  ),
  duration_ms: described(PERCENTILES, "Of the attempts of the last hour, within 9 %"),
  ...PENDING,
  created_at: time,
  updated_at: time,
  retired_at: maybe(time),
});
export type Endpoint = v.InferOutput<typeof Endpoint>;

/** A change that may be why attempts fail. */
export const Hint = v.object({
  kind: v.picklist(HINTS),
  at: described(time, "When it changed, or when an attempt first met the change"),
  by: described(maybe(string), "Who changed it; null if nobody here did"),
  text: described(string, "The same in words, without a full stop"),
});
export type Hint = v.InferOutput<typeof Hint>;

const hints = described(
  v.array(Hint),
  "What changed between the last attempt that was accepted and the first that failed, and may be why; the " +
    "likeliest first, at most three. Empty if nothing fails",
);

/** An endpoint, and why it may be failing. */
export const EndpointDetail = v.object({ ...Endpoint.entries, hints });
export type EndpointDetail = v.InferOutput<typeof EndpointDetail>;

/** An endpoint with its new secret. */
export const EndpointMade = v.object({
  ...Endpoint.entries,
  secret: described(maybe(string), "Shown this once; null for an unsigned endpoint"),
});
export type EndpointMade = v.InferOutput<typeof EndpointMade>;

/** A certificate with the time that it has left. */
const DATED = {
  ...CERTIFICATE,
  days_left: v.pipe(v.number(), v.integer()),
};

/** An endpoint's state, DNS, addresses and TLS, as the daemon sees them. */
export const EndpointCheck = v.object({
  endpoint_id: string,
  ok: described(v.boolean(), "Whether no finding has the mark ✗"),
  findings: v.array(Finding),
  addresses: described(v.array(string), "The answer of DNS, forbidden addresses included"),
  certificate: described(
    maybe(v.object({
      ...DATED,
      names: described(v.array(string), "Host names and addresses that it is for"),
    })),
    "The receiver's, from the TLS handshake; null without one",
  ),
  client_certificate: described(maybe(v.object(DATED)), "The endpoint's tls.cert"),
});
export type EndpointCheck = v.InferOutput<typeof EndpointCheck>;

/** What a change cancels. */
const CANCELS = {
  cancels: described(count, "Pending deliveries that the change cancels, at most 10,000 counted"),
  cancels_exact: described(v.boolean(), "False: at least this many"),
};

/** An endpoint after a change, or retired. */
export const EndpointChanged = v.object({ ...Endpoint.entries, ...CANCELS });
export type EndpointChanged = v.InferOutput<typeof EndpointChanged>;

// --- deliveries --------------------------------------------------------------------------------------

/** The statuses of a delivery. */
export const STATUSES = ["pending", "delivered", "failed", "cancelled"] as const;
const OUTCOMES = ["delivered", ...REASONS] as const;

/** A delivery of an event to an endpoint. */
export const Delivery = v.object({
  id: string,
  event_id: string,
  event_type: string,
  subject: described(maybe(string), "Id of the event's appointment, business or service"),
  confirmation_number: described(
    maybe(string),
    "The event's; null too if the token hides payloads",
  ),
  endpoint_id: string,
  status: v.picklist(STATUSES),
  reason: described(maybe(v.picklist(REASONS)), "What the last attempt met, where it failed"),
  cancel_reason: maybe(string),
  cancelling: described(
    v.boolean(),
    "Being sent, and cancelled unless that attempt delivers",
  ),
  state: described(v.picklist(DELIVERY_STATES), "Where it is; of a pending one, what it waits for"),
  explanation: described(string, "The same in words, and what follows"),
  overdue_ms: described(
    maybe(number),
    "For how long it has been due without being sent; null if it is not due, or ended",
  ),
  test: v.boolean(),
  sending: v.boolean(),
  attempt_count: count,
  counted_attempts: described(
    maybe(count),
    "Those of the present round that count against max_attempts; null once it has ended",
  ),
  max_attempts: described(
    maybe(count),
    "Attempts that its endpoint's policy allows now; null if the endpoint is retired",
  ),
  created_at: described(time, "When its event was received"),
  owed_by: described(
    maybe(string),
    "The replay that owed it later; null: it was owed when its event was stored",
  ),
  next_attempt_at: maybe(time),
  last_attempt_at: maybe(time),
  last_status: maybe(count),
  last_cause: described(
    maybe(string),
    "The raw cause of the last attempt's failure, where no status says it all; null if hidden",
  ),
  ended_at: maybe(time),
});
export type Delivery = v.InferOutput<typeof Delivery>;

const Phases = v.object({
  dns_ms: described(maybe(number), "Until the name was resolved; null for an address"),
  connect_ms: described(
    maybe(number),
    "Until a connection was open, over all addresses tried; null on a reused connection",
  ),
  tls_ms: described(maybe(number), "The TLS handshake"),
  waiting_ms: described(
    maybe(number),
    "From sending the request to the end of the response's head, or until it failed",
  ),
  reused: described(
    maybe(v.boolean()),
    "Whether the connection had carried an earlier request; null if none was tried",
  ),
});

/** An attempt, its request and its response. */
export const Attempt = v.object({
  id: string,
  number: count,
  outcome: v.picklist(OUTCOMES),
  status: maybe(count),
  cause: described(maybe(string), "The raw cause, where no status says it all"),
  address: described(maybe(string), "Address and port that were spoken to"),
  started_at: time,
  ended_at: time,
  duration_ms: described(
    number,
    "From its start to the end of the response's body, or until it failed",
  ),
  phases: described(
    Phases,
    "Where the time went, in milliseconds with three decimals; null for a phase that it did not reach or " +
      "need",
  ),
  certificate_ends_at: described(
    maybe(time),
    "When the receiver's certificate ends, as seen at the handshake; null on a reused connection",
  ),
  request: described(
    maybe(v.object({
      method: v.literal("POST"),
      url: string,
      headers: v.record(v.string(), v.string()),
      body: described(
        maybe(string),
        "The event's exact bytes, as text; null if they are gone or hidden",
      ),
    })),
    "Null where nothing was sent that was heard of again",
  ),
  // Of a protocol failure: the first 4 KiB received, as a body without status and headers.
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
  payload_hidden: hidden,
  advice: described(maybe(string), "The likely cause of its outcome, and the remedy, in words"),
});
export type Attempt = v.InferOutput<typeof Attempt>;

/** A delivery with its attempts. */
export const DeliveryDetail = v.object({
  ...Delivery.entries,
  hints,
  attempts: v.array(Attempt),
});
export type DeliveryDetail = v.InferOutput<typeof DeliveryDetail>;

/** One side of a comparison. */
const ComparedAttempt = v.object({
  delivery_id: string,
  attempt: described(count, "Its number"),
  started_at: time,
  outcome: v.picklist(OUTCOMES),
  status: maybe(count),
  test: v.boolean(),
});

/** Two attempts to an endpoint, compared. */
export const Comparison = v.object({
  before: described(
    maybe(ComparedAttempt),
    "The attempt compared with; null if none was accepted before, as far as is looked",
  ),
  after: ComparedAttempt,
  rows: described(
    v.array(v.object({
      label: string,
      before: string,
      after: string,
      note: described(maybe(string), "Who changed it and when"),
      raw: described(v.boolean(), "Whether these are texts as they were sent"),
    })),
    "What differs; without payloads and answers if the token hides payloads",
  ),
  same: described(string, "The rest, which is the same, in words"),
});
export type Comparison = v.InferOutput<typeof Comparison>;

/** The outcome of a test event. */
export const TestResult = v.object({
  event_id: string,
  delivery: Delivery,
  attempt: described(maybe(Attempt), "Null where none was made in time; the delivery says why"),
  would_be_owed: described(
    v.boolean(),
    "Whether the endpoint is owed real events of this type and business",
  ),
  reason: described(maybe(string), "Why not, in words"),
});
export type TestResult = v.InferOutput<typeof TestResult>;

/** The diagnosis of a request's signatures. */
export const SignatureCheck = v.object({
  valid: described(v.boolean(), "Whether all of its signatures are valid"),
  findings: v.array(v.object({
    header: v.picklist(["X-BookMe-Signature", "webhook-signature"]),
    valid: v.boolean(),
    mistakes: described(
      v.array(string),
      "Empty if valid. Several if only together they explain the signature",
    ),
    text: described(string, "The same in words, with the remedy"),
    secret: described(
      maybe(v.picklist(["current", "previous"])),
      "The secret that it fits, whatever else is wrong; null if it fits none",
    ),
  })),
  previous_ends_at: described(
    maybe(time),
    "When the previous secret stops signing; null if no rotation is under way, for an endpoint of the file, " +
      "and for a secret that was given",
  ),
  remark: described(maybe(string), "The mistake in the secret that was given, in words"),
});
export type SignatureCheck = v.InferOutput<typeof SignatureCheck>;

// --- events ------------------------------------------------------------------------------------------

/** An event without its payload. */
export const EventSummary = v.object({
  id: string,
  type: string,
  business: maybe(string),
  subject: described(maybe(string), "Id of the appointment, business or service"),
  confirmation_number: maybe(string),
  payload_hidden: hidden,
  test: v.boolean(),
  received_at: time,
});
export type EventSummary = v.InferOutput<typeof EventSummary>;

/** A page of events. */
export const EventPage = v.object({
  ...countedPage(EventSummary).entries,
  near: v.optional(described(
    v.array(v.object({ name: string, event_id: string })),
    "On a first page that finds nothing for `q`: similar confirmation numbers and subjects of recent " +
      "events, the nearest first",
  )),
});
export type EventPage = v.InferOutput<typeof EventPage>;

/** Why an endpoint was or was not owed an event. */
export const EndpointVerdict = v.object({
  endpoint_id: string,
  owed: v.boolean(),
  state: v.picklist([
    ...DELIVERY_STATES,
    "test_of_another",
    "made_later",
    "retired",
    "type_not_selected",
    "other_business",
    "no_business_known",
    "changed_later",
  ]),
  explanation: string,
  advice: described(
    maybe(string),
    "The likely cause of the last attempt's outcome, and the remedy, in words",
  ),
  hints: described(
    hints,
    "The same as in a delivery; for at most five that failed or will be retried",
  ),
  delivery_id: maybe(string),
});
export type EndpointVerdict = v.InferOutput<typeof EndpointVerdict>;

/** An event with its payload and deliveries. */
export const EventDetail = v.object({
  ...EventSummary.entries,
  payload: described(
    maybe(string),
    "The exact bytes that were posted, as text; null once erased, or older than retention.payloads, or " +
      "hidden",
  ),
  erased_at: described(maybe(time), "When its payload was erased"),
  deliveries: v.array(Delivery),
  endpoints: described(
    v.array(EndpointVerdict),
    "For each endpoint why it was or was not owed the event",
  ),
});
export type EventDetail = v.InferOutput<typeof EventDetail>;

/** A type of event. */
export const EventType = v.object({
  name: string,
  description: string,
  operational: described(
    v.boolean(),
    "Whether it is about this program itself: `*` does not select it, nobody posts it, and a business does not have it",
  ),
  schema: described(v.record(v.string(), v.unknown()), "JSON Schema (2020-12) of `data`"),
  sample: described(v.record(v.string(), v.unknown()), "A whole event"),
});
export type EventType = v.InferOutput<typeof EventType>;

// --- replays -----------------------------------------------------------------------------------------

const MATCHED = described(count, "How many deliveries there were when it was asked for");
const MATCHED_EXACT = described(v.boolean(), "False: at least this many");

const BOUNDED = v.object({
  value: count,
  exact: described(v.boolean(), "False: at least this many"),
});

/** The number of deliveries that a replay would send, and what it would not. */
export const ReplayCount = v.object({
  matched: MATCHED,
  matched_exact: MATCHED_EXACT,
  left_out: v.object({
    delivered: described(
      BOUNDED,
      "Deliveries of this selection that failed at first and have been delivered since: not among the matched",
    ),
    without_payload: described(BOUNDED, "Of the matched, those whose payload is gone"),
  }),
  notes: described(
    v.array(string),
    "What somebody may expect of this replay and it does not do, in sentences",
  ),
});
export type ReplayCount = v.InferOutput<typeof ReplayCount>;

/** A replay and how far it is. */
export const Replay = v.object({
  id: string,
  state: v.picklist(["running", "done", "cancelled"]),
  matched: MATCHED,
  matched_exact: MATCHED_EXACT,
  replayed: described(count, "Deliveries that it made pending again, or due now"),
  without_payload: described(count, "Deliveries left out because their payload is gone"),
  meanwhile: described(
    maybe(count),
    "Deliveries left out because they were delivered, retried or changed otherwise between its creation and " +
      "their batch; null while it runs, if it was cancelled, or if matched is not exact",
  ),
  endpoint: maybe(string),
  missing: described(v.boolean(), "Whether it owes what was never owed"),
  status: described(v.array(v.picklist(STATUSES)), "Empty if missing"),
  type: maybe(string),
  reason: maybe(string),
  code: maybe(string),
  since: time,
  until: time,
  rate_per_s: maybe(number),
  created_at: time,
  created_by: described(string, "Name of an admin token"),
  ended_at: maybe(time),
});
export type Replay = v.InferOutput<typeof Replay>;

// --- alerts ------------------------------------------------------------------------------------------

/** A condition that is announced when it begins and when it ends, with its figures as last announced. */
export const Alert = v.object({
  id: string,
  kind: v.picklist(KINDS),
  status: v.picklist(["open", "ended"]),
  endpoint_id: described(maybe(string), "The endpoint that it is about; null: no single one"),
  business: described(maybe(string), "The endpoint's owner, who sees the alert too"),
  summary: described(string, "It in one sentence"),
  began_at: described(time, "Since when it is so"),
  opened_at: described(time, "When that was noticed"),
  ended_at: maybe(time),
  end_reason: maybe(v.picklist(END_REASONS)),
  acknowledged_at: described(maybe(time), "Since then it is not announced again before it ends"),
  acknowledged_by: described(maybe(string), "Name of an admin token"),
  snoozed_until: described(maybe(time), "Until then it is not announced again, unless it ends"),
  attempts: described(maybe(count), "Attempts, or posts, that were counted"),
  failed: described(maybe(count), "Of these, the ones that failed, or were refused"),
  share: described(maybe(number), "Failed ones among all, from 0 to 1"),
  reason: described(maybe(string), "The commonest reason of those that failed"),
  code: described(maybe(count), "The status that goes with it"),
  example_delivery_id: described(maybe(string), "A delivery that failed for that reason"),
  waiting: described(maybe(count), "Deliveries that wait for the endpoint"),
  waiting_exact: described(v.boolean(), "False: at least this many"),
  next: described(maybe(string), "What happens next, and what to do; null once it has ended"),
  notices: described(
    v.array(v.object({
      what: v.picklist(["began", "reminded", "ended"]),
      target: described(string, "`events`, `slack`, `slack-2`, `teams`, `mail` or `business-mail`"),
      at: described(time, "When it arrived, was given up, or is to be sent"),
      ok: described(maybe(v.boolean()), "Whether it arrived; null while that is tried"),
      cause: described(maybe(string), "Why the last attempt failed"),
    })),
    "Announcements of it, the latest first, at most 50",
  ),
});
export type Alert = v.InferOutput<typeof Alert>;

/** What became of a test. */
export const AlertTest = v.object({
  targets: v.array(v.object({
    target: described(string, "A chat, `mail`, or the id of an endpoint of alerts.to"),
    ok: described(v.boolean(), "Whether the test arrived"),
    explanation: string,
  })),
});
export type AlertTest = v.InferOutput<typeof AlertTest>;

// --- erasures ----------------------------------------------------------------------------------------

/** An erasure and how far it is. It never shows what is looked for. */
export const Erasure = v.object({
  id: string,
  state: v.picklist(["running", "done", "failed"]),
  kind: v.picklist(["event", "subject", "containing"]),
  dry_run: v.boolean(),
  progress: described(number, "Of the events, by their time: from 0 to 1"),
  scanned: described(count, "Events looked at"),
  matched: described(count, "Events found"),
  waiting: described(
    count,
    "Of these, events not erased yet: most for moments, others until an attempt under way ends",
  ),
  attempts: described(count, "Attempts whose answer was removed"),
  cancelled: described(count, "Deliveries cancelled because they were pending"),
  failure: described(maybe(string), "Why it failed"),
  created_at: time,
  created_by: described(string, "Name of an admin token"),
  ended_at: maybe(time),
});
export type Erasure = v.InferOutput<typeof Erasure>;

// --- statistics and the rest -------------------------------------------------------------------------

const STATS = {
  attempts: count,
  delivered: count,
  failed: described(
    v.record(v.string(), count),
    "Attempts by what they met, without those that delivered",
  ),
  success_rate: described(maybe(number), "Share of attempts that delivered; null without any"),
  duration_ms: described(PERCENTILES, "Within 9 %"),
  first_attempts: described(count, "First attempts among these"),
  first_attempts_within_30s: described(
    count,
    "First attempts that began within 30 s of the event's acceptance, or of the replay that owes it",
  ),
  first_attempt_ms: described(
    PERCENTILES,
    "From there to the beginning of the first attempt, within 9 %",
  ),
  delivered_within_30s: described(
    count,
    "Attempts that delivered within 30 s of the event's acceptance, or of the retry or replay that brought " +
      "the delivery back",
  ),
  delivered_ms: described(PERCENTILES, "From there to delivery, within 9 %"),
  promise: described(
    v.strictObject({
      deliveries: described(count, "Deliveries that it covers, at their first attempt"),
      begun_in_time: described(count, "Those of which the first attempt began within 30 s"),
      delivered_in_time: described(count, "Those that were delivered within 30 s"),
    }),
    "The promise to deliver within 30 s of the 202. It covers no tests, retries and replays, no endpoint that " +
      "limits its rate or concurrency or waits before the first attempt, and nothing that a pause held back",
  ),
  ...PENDING,
  sending: count,
  oldest_pending_ms: described(
    maybe(number),
    "How long the oldest pending delivery has been owed, or back",
  ),
};

/** Attempts of a window and pending deliveries, counted. */
export const Stats = v.object({
  since: time,
  until: time,
  totals: v.object(STATS),
  events_without_business: described(
    count,
    "Events of the window that named no business and had none to inherit, test events excepted: " +
      "endpoints with `businesses` are not owed them. At most 10,000 are counted",
  ),
  events_without_business_exact: described(v.boolean(), "False: at least this many"),
  posts: described(
    v.array(v.object({
      type: string,
      answer: described(
        v.picklist(["stored", "duplicate"]),
        "Stored, or recognised as a repetition of one that is",
      ),
      posts: count,
    })),
    "Events posted to /ingest, by type, test events excepted. An administrator's only",
  ),
  refused: described(
    v.array(v.object({
      refusal: v.picklist(REFUSALS),
      status: described(count, "The status that these posts were answered with"),
      posts: count,
      last_at: time,
      last_address: described(maybe(string), "Where the last of them came from"),
    })),
    "Posts to /ingest that were refused, by reason. An administrator's only",
  ),
  endpoints: v.array(v.object({ endpoint_id: string, ...STATS })),
});
export type Stats = v.InferOutput<typeof Stats>;
export type EndpointStats = Stats["endpoints"][number];

/** A daemon on the database. */
export const Daemon = v.object({
  id: string,
  version: string,
  listeners: described(v.array(string), "Addresses and ports that it listens on"),
  started_at: time,
  last_seen_at: described(time, "Its last heartbeat; a daemon not seen for a minute is gone"),
  file: described(string, "Digest of its configuration file: equal for files that mean the same"),
  in_force: described(v.boolean(), "Whether that is the file in force for all daemons"),
  differences: described(
    v.array(string),
    "How its file differs from the one in force, without values",
  ),
});
export type Daemon = v.InferOutput<typeof Daemon>;

/** A changed field of an endpoint. */
export const FieldChange = v.object({
  field: string,
  from: described(v.unknown(), "[redacted] for secrets, header values and TLS keys"),
  to: v.unknown(),
});
export type FieldChange = v.InferOutput<typeof FieldChange>;

/** The changes that a reload made, or would make. */
export const Reloaded = v.object({
  file: described(
    v.object({ path: string, sha256: string }),
    "The file that this daemon reads, and the digest of its bytes",
  ),
  changed: described(v.array(string), "What changed, in words, without values"),
  at_next_start: described(v.array(string), "Of these, what takes effect at the next start only"),
  endpoints: v.object({
    added: v.array(
      v.object({
        id: string,
        url: string,
        events: v.array(string),
        businesses: maybe(v.array(string)),
      }),
    ),
    changed: v.array(v.object({ id: string, fields: v.array(FieldChange), ...CANCELS })),
    retired: v.array(v.object({ id: string, ...CANCELS })),
  }),
});
export type Reloaded = v.InferOutput<typeof Reloaded>;

/** The configuration without its secrets. */
export const ConfigShown = v.record(v.string(), v.unknown());
export type ConfigShown = v.InferOutput<typeof ConfigShown>;

/** A portal link, without its token. */
export const PortalLink = v.object({
  id: string,
  business: string,
  read_only: described(v.boolean(), "Whether its token may only read"),
  state: described(
    v.picklist(["active", "expired", "revoked"]),
    "The token of an active one is accepted",
  ),
  created_at: time,
  created_by: described(string, "Name of an admin token"),
  expires_at: time,
  revoked_at: maybe(time),
});
export type PortalLink = v.InferOutput<typeof PortalLink>;

/** A portal link with its token. */
export const PortalLinkMade = v.object({
  ...PortalLink.entries,
  url: described(string, "The link for a browser, with the token in it; shown this once"),
  token: described(string, "A bearer token within the business; shown this once"),
});
export type PortalLinkMade = v.InferOutput<typeof PortalLinkMade>;

/** An entry of the audit log. */
export const AuditEntry = v.object({
  id: string,
  at: time,
  actor: described(
    string,
    "Name of an admin token, `portal:` and the id of a portal link, or what in the program did it by " +
      "itself",
  ),
  address: described(maybe(string), "Where from"),
  action: string,
  object: string,
  before: v.unknown(),
  after: v.unknown(),
});
export type AuditEntry = v.InferOutput<typeof AuditEntry>;

/** What messages of a stream say, by their names: `event`, `delivery`, `endpoint`, `replay`, `alert`, `many`. */
export interface StreamEvent {
  readonly id: string;
  readonly type: string;
  readonly business: string | null;
  readonly test: boolean;
}

/** A delivery that was made or changed, as it is now. */
export interface StreamDelivery {
  readonly id: string;
  readonly event_id: string;
  readonly type: string;
  readonly endpoint_id: string;
  readonly status: Delivery["status"];
  /** How many have ended. */
  readonly attempts: number;
  readonly last_outcome: string | null;
  readonly last_status: number | null;
}

/** An endpoint that was made or changed. */
export interface StreamEndpoint {
  readonly id: string;
  readonly version: number;
  readonly paused: boolean;
  readonly retired: boolean;
}

/** A replay that was made, moved on or ended. */
export interface StreamReplay {
  readonly id: string;
  /** Null for one of all endpoints. */
  readonly endpoint_id: string | null;
  readonly state: Replay["state"];
  readonly matched: number;
  readonly replayed: number;
}

/** An alert that was opened, announced again, acknowledged, snoozed or ended. */
export interface StreamAlert {
  readonly id: string;
  readonly kind: Alert["kind"];
  readonly status: Alert["status"];
  readonly endpoint_id: string | null;
  readonly acknowledged: boolean;
}

/** How many of each changed at once, instead of a message for each. */
export interface StreamMany {
  readonly events: number;
  readonly deliveries: number;
  readonly endpoints: number;
  readonly replays: number;
  readonly alerts: number;
}
