import { createHash } from "node:crypto";
import { AppError } from "../core/errors.ts";
import { KEY_PLACE } from "../core/identifier.ts";
import { deliveryUuid, eventId } from "../core/ids.ts";
import type { ParsedEvent } from "../core/payload.ts";
import type { Businesses, NewEvent, StoredKey, SubjectBusinesses } from "../store/events.ts";
import type { Endpoint, Fleet } from "./fleet.ts";

/** An event to be accepted. */
export interface Offer {
  readonly event: Pick<
    ParsedEvent,
    "payload" | "type" | "business" | "subject" | "subject_key" | "confirmation"
  >;
  /** Identifies repetitions, or null. */
  readonly key: string | null;
  /** SHA-256 (hex) of what came under the key, if that is more than the payload. */
  readonly digest?: string;
  /** The `traceparent` of its post. */
  readonly trace?: string | null;
  /** A test event: for this endpoint only, whatever it selects; it inherits no business. */
  readonly test_endpoint_no?: number;
  /** An operational event: for these endpoints only, whatever they select. */
  readonly only_endpoint_nos?: readonly number[];
}

/** The answer to one accepted event. */
export interface Accepted {
  readonly id: string;
  readonly uuid: string;
  readonly deliveries: number;
  readonly duplicate: boolean;
}

/** Offers that are accepted together or not at all. */
export interface Request {
  readonly offers: readonly Offer[];
  /** Of each offer with a key: the SHA-256 (hex) that its repetitions must have. */
  readonly digests: readonly (string | null)[];
  /** Length of the payloads. */
  readonly chars: number;
}

/** A delivery of a new event. */
export interface Owed {
  readonly uuid: string;
  readonly event: NewEvent;
  readonly endpoint_no: number;
  /** The wait before the first attempt, in milliseconds. */
  readonly wait_ms: number;
}

/** A batch as rows to store, with the answer to each offer. */
export interface Plan {
  readonly events: NewEvent[];
  readonly owed: Owed[];
  readonly keys: StoredKey[];
  readonly accepted: Map<Offer, Accepted>;
  readonly subjects: SubjectBusinesses & {
    readonly inherited: Map<string, string | null>;
    readonly named: Map<string, string>;
  };
  /** Of the endpoints that it was matched with. */
  readonly revision: string;
}

const MAX_BATCH_EVENTS = 1_000;
const MAX_BATCH_CHARS = 4_000_000;
/** Most deliveries of one statement, unless a single request has more. */
export const MAX_BATCH_DELIVERIES = 50_000;

/** The request of these offers. Throws an `AppError` if one key comes twice with different bytes. */
export function makeRequest(offers: readonly Offer[]): Request {
  const digests = offers.map(({ key, digest, event }) =>
    key === null ? null : digest ?? createHash("sha256").update(event.payload, "utf8").digest("hex")
  );
  const seen = new Map<string, string | null>();
  offers.forEach(({ key }, index) => {
    if (key === null) return;
    const digest = digests[index] ?? null;
    if (seen.has(key) && seen.get(key) !== digest) throw conflict(key, index);
    seen.set(key, digest);
  });
  const chars = offers.reduce((sum, { event }) => sum + event.payload.length, 0);
  return { offers, digests, chars };
}

/**
 * Takes the first of the waiting requests out, as many as go into one batch; `fan_out` is the most
 * deliveries of an event. A key is in one batch once: its second request waits for the next batch,
 * which finds it stored.
 */
export function takeBatch<T extends Request>(waiting: T[], fan_out: number): T[] {
  const keys = new Set<string>();
  let count = 0;
  let events = 0;
  let chars = 0;
  for (const { offers, chars: more } of waiting) {
    if (events >= MAX_BATCH_EVENTS || chars >= MAX_BATCH_CHARS) break;
    if (offers.some(({ key }) => key !== null && keys.has(key))) break;
    if (events > 0 && (events + offers.length) * fan_out > MAX_BATCH_DELIVERIES) break;
    count++;
    events += offers.length;
    chars += more;
    for (const { key } of offers) if (key !== null) keys.add(key);
  }
  return waiting.splice(0, count);
}

/** Why a request is refused, given what was stored earlier under its keys; undefined if it is not. */
export function conflictOf(
  { offers, digests }: Request,
  known: ReadonlyMap<string, StoredKey>,
): AppError | undefined {
  for (const [index, { key }] of offers.entries()) {
    const before = key === null ? undefined : known.get(key);
    // Once erased, any bytes are a repetition.
    if (before !== undefined && before.digest !== null && before.digest !== digests[index]) {
      return conflict(before.key, index);
    }
  }
  return undefined;
}

/** Subjects of the events that name no business, test events excepted. */
export function heirs(requests: readonly Request[]): Set<string> {
  const subjects = new Set<string>();
  for (const { offers } of requests) {
    for (const { event: { business, subject_key }, test_endpoint_no } of offers) {
      if (test_endpoint_no !== undefined) continue;
      if (business === null && subject_key !== null) subjects.add(subject_key);
    }
  }
  return subjects;
}

/**
 * Plans a batch: new events with what is owed of them, and the first answer for repetitions. Events that
 * name no business inherit that of the last one before them in the batch, else the one in `businesses`;
 * test events neither inherit nor leave any.
 */
export function planBatch(
  requests: readonly Request[],
  known: ReadonlyMap<string, StoredKey>,
  fleet: Pick<Fleet, "endpoints" | "match" | "revision">,
  businesses: Businesses,
  newUuid: () => string,
): Plan {
  const plan: Plan = {
    events: [],
    owed: [],
    keys: [],
    accepted: new Map(),
    subjects: { inherited: new Map(), named: new Map() },
    revision: fleet.revision,
  };
  for (const { offers, digests } of requests) {
    const firsts = new Map<string, Accepted>();
    offers.forEach((offer, index) => {
      const { key } = offer;
      const first = key === null ? undefined : firstAnswer(key, known, firsts);
      const accepted = first ??
        addEvent(plan, offer, digests[index] ?? null, fleet, businesses, newUuid());
      plan.accepted.set(offer, accepted);
      if (key !== null && first === undefined) firsts.set(key, { ...accepted, duplicate: true });
    });
  }
  return plan;
}

function firstAnswer(
  key: string,
  known: ReadonlyMap<string, StoredKey>,
  firsts: ReadonlyMap<string, Accepted>,
): Accepted | undefined {
  const before = known.get(key);
  if (before === undefined) return firsts.get(key);
  const { event_uuid: uuid, deliveries } = before;
  return { id: eventId(uuid), uuid, deliveries, duplicate: true };
}

function addEvent(
  plan: Plan,
  { event, key, trace = null, test_endpoint_no, only_endpoint_nos }: Offer,
  digest: string | null,
  fleet: Pick<Fleet, "endpoints" | "match">,
  businesses: Businesses,
  uuid: string,
): Accepted {
  const { type, subject, confirmation, payload } = event;
  const test = test_endpoint_no !== undefined;
  // Test data is made up: it inherits nothing, and nothing inherits from it.
  const business = test
    ? event.business
    : event.business ?? inherit(plan.subjects, event.subject_key, businesses);
  if (!test && business !== null && event.subject_key !== null) {
    plan.subjects.named.set(event.subject_key, business);
  }
  const stored = { uuid, type, business, subject, confirmation, test, payload, trace };
  plan.events.push(stored);
  const chosen = test ? [test_endpoint_no] : only_endpoint_nos;
  const endpoints: readonly (Endpoint | undefined)[] = chosen === undefined
    ? fleet.match(type, business)
    : chosen.map((no) => fleet.endpoints.get(no));
  let deliveries = 0;
  for (const endpoint of endpoints) {
    if (endpoint === undefined) continue;
    deliveries++;
    plan.owed.push({
      uuid: deliveryUuid(uuid, endpoint.no),
      event: stored,
      endpoint_no: endpoint.no,
      wait_ms: endpoint.retry_ms[0] ?? 0,
    });
  }
  if (key !== null && digest !== null) {
    plan.keys.push({ key, digest, event_uuid: uuid, deliveries });
  }
  return { id: eventId(uuid), uuid, deliveries, duplicate: false };
}

function inherit(
  { named, inherited }: Plan["subjects"],
  subject: string | null,
  businesses: Businesses,
): string | null {
  if (subject === null) return null;
  const before = named.get(subject);
  if (before !== undefined) return before;
  const stored = businesses.get(subject) ?? null;
  inherited.set(subject, stored);
  return stored;
}

function conflict(key: string, index: number): AppError {
  const name = key.slice(key.indexOf(":") + 1).split(KEY_PLACE)[0];
  const what = key.startsWith("id:") ? "id" : "Idempotency-Key";
  return new AppError(
    "conflict",
    `The ${what} ${
      JSON.stringify(name)
    } was used before with other bytes (event ${index} of this ` +
      "request); send the same bytes again, or a new event under a new one",
  );
}
