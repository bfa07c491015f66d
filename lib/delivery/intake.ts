import { createHash } from "node:crypto";
import { AppError, messageOf } from "../core/errors.ts";
import { KEY_PLACE } from "../core/identifier.ts";
import { deliveryUuid, eventId, makeEventIds } from "../core/ids.ts";
import type { ParsedEvent } from "../core/payload.ts";
import { isSilence, within } from "../store/deadline.ts";
import { STATEMENT_TIMEOUT_MS } from "../store/connect.ts";
import type { Claimed } from "../store/claims.ts";
import {
  findByKeys,
  type KnownEvent,
  type NewDelivery,
  type NewEvent,
  type Stored,
  storeEvents,
} from "../store/events.ts";
import { type Context, leaseOf, random32 } from "./context.ts";
import type { Dispatcher } from "./dispatcher.ts";

/** An event that is to be accepted. */
export interface Offer {
  readonly event: Pick<
    ParsedEvent,
    "payload" | "type" | "business" | "subject" | "confirmation"
  >;
  /** What makes a repetition known, or null. */
  readonly key: string | null;
  /** SHA-256 (hex) of what came under the key, where that is more than the payload. */
  readonly digest?: string;
  /** A test event: for this endpoint only, whatever it selects. */
  readonly test_endpoint_no?: number;
}

/** The answer to one accepted event. */
export interface Accepted {
  readonly id: string;
  readonly uuid: string;
  readonly deliveries: number;
  readonly duplicate: boolean;
}

/**
 * Stores events with their deliveries, durable when it answers. Whatever was offered while the last
 * group was being committed is committed as the next: nobody waits for a group to fill.
 */
export interface Intake {
  /**
   * Accepts all of the offers or none. Throws an `AppError`: `conflict` where a key was seen with
   * other bytes, `unavailable` while the database is away.
   */
  accept(offers: readonly Offer[]): Promise<Accepted[]>;
  /** Resolves when nothing is under way. */
  settle(): Promise<void>;
}

const MAX_BATCH_EVENTS = 1_000;
const MAX_BATCH_CHARS = 4_000_000;
const MAX_BATCH_DELIVERIES = 50_000;
const ANSWER_TIMEOUT_MS = 10_000;
const RETRY_AFTER_S = 1;
// The answer to a commit can be lost on the way, so this must not say that nothing was stored.
const LOST =
  "The database gave no answer, so it is not known to be stored; send it again, with an id " +
  "or an Idempotency-Key, which stores it once";
/** How often a batch is made anew because the endpoints changed or a key was found. */
const MAX_ROUNDS = 20;

interface Request {
  readonly offers: readonly Offer[];
  readonly digests: readonly (string | null)[];
  readonly chars: number;
  resolve(accepted: Accepted[]): void;
  reject(error: unknown): void;
}

/** An intake that hands what can be sent at once to the dispatcher. */
export function makeIntake(
  ctx: Context,
  dispatcher: Dispatcher,
  reload: () => Promise<void>,
): Intake {
  const ids = makeEventIds(() => random32(ctx.random));
  const waiting: Request[] = [];
  const writers = new Set<Promise<void>>();
  // Two on a server, so that one batch is made while the other commits; embedded, there is one session.
  const max_writers = ctx.db.kind === "server" ? 2 : 1;

  function accept(offers: readonly Offer[]): Promise<Accepted[]> {
    const chars = offers.reduce((sum, { event }) => sum + event.payload.length, 0);
    const digests = offers.map(({ key, digest, event }) =>
      key === null
        ? null
        : digest ?? createHash("sha256").update(event.payload, "utf8").digest("hex")
    );
    return new Promise((resolve, reject) => {
      const request = { offers, digests, chars, resolve, reject };
      refuseContradiction(request);
      waiting.push(request);
      if (writers.size < max_writers) {
        const writer: Promise<void> = write().finally(() => writers.delete(writer));
        writers.add(writer);
      }
    });
  }

  async function write(): Promise<void> {
    await Promise.resolve(); // requests of one turn of the event loop go together
    while (waiting.length > 0) {
      const batch = takeBatch();
      try {
        await commit(batch);
      } catch (error) {
        ctx.log.error("Events could not be stored", {
          requests: batch.length,
          cause: messageOf(error),
        });
        for (const request of batch) request.reject(unavailable(LOST));
      }
    }
  }

  // A key may be in one batch once: its second request waits for the next and finds it stored.
  function takeBatch(): Request[] {
    const batch: Request[] = [];
    const keys = new Set<string>();
    let events = 0;
    let chars = 0;
    while (batch.length === 0 || (events < MAX_BATCH_EVENTS && chars < MAX_BATCH_CHARS)) {
      const request = waiting[0];
      if (
        request === undefined || request.offers.some(({ key }) => key !== null && keys.has(key))
      ) {
        break;
      }
      if (events > 0 && (events + request.offers.length) * fanOut() > MAX_BATCH_DELIVERIES) break;
      waiting.shift();
      batch.push(request);
      events += request.offers.length;
      chars += request.chars;
      for (const { key } of request.offers) if (key !== null) keys.add(key);
    }
    return batch;
  }

  function fanOut(): number {
    return Math.max(1, dispatcher.fleet.endpoints.size);
  }

  async function commit(batch: readonly Request[]): Promise<void> {
    let requests = batch;
    let known: ReadonlyMap<string, KnownEvent> = new Map();
    const events = batch.reduce((sum, { offers }) => sum + offers.length, 0);
    // What takes so long to store may be here again because nobody waited for its answer.
    let stored: Stored | undefined = events * fanOut() > MAX_BATCH_DELIVERIES
      ? "repeated"
      : undefined;
    for (let round = 0; requests.length > 0; round++) {
      if (round === MAX_ROUNDS) throw new Error("The endpoints keep changing under a batch");
      if (stored === "stale") await within(reload(), ANSWER_TIMEOUT_MS);
      if (stored === "repeated") {
        known = await lookUp(requests);
        requests = requests.filter((request) => !refuseConflict(request, known));
      }
      const plan = makePlan(requests, known);
      stored = plan.events.length === 0 ? "stored" : await store(plan);
      if (stored === "stored") return answer(requests, plan);
    }
  }

  /** What a batch becomes: rows to store, and the answer to each offer. */
  interface Plan {
    readonly events: NewEvent[];
    readonly deliveries: NewDelivery[];
    readonly accepted: Map<Offer, Accepted>;
    readonly revision: string;
  }

  function makePlan(requests: readonly Request[], known: ReadonlyMap<string, KnownEvent>): Plan {
    const { fleet } = dispatcher;
    const plan: Plan = {
      events: [],
      deliveries: [],
      accepted: new Map(),
      revision: fleet.revision,
    };
    const now_ms = ctx.clock.now();
    for (const request of requests) {
      const mine = new Map<string, Accepted>();
      request.offers.forEach((offer, index) => {
        const first = repeated(offer, mine, known);
        if (first !== undefined) {
          plan.accepted.set(offer, first);
          return;
        }
        const accepted = addEvent(plan, offer, request.digests[index] ?? null, now_ms);
        if (offer.key !== null) mine.set(offer.key, { ...accepted, duplicate: true });
      });
    }
    return plan;
  }

  function addEvent(plan: Plan, offer: Offer, digest: string | null, now_ms: number): Accepted {
    const { event, key, test_endpoint_no } = offer;
    const { fleet } = dispatcher;
    const uuid = ids.next(now_ms);
    const test = test_endpoint_no !== undefined;
    const only = test ? fleet.endpoints.get(test_endpoint_no) : undefined;
    const owed = test
      ? (only === undefined ? [] : [only])
      : fleet.match(event.type, event.business);
    const { type, business, subject, confirmation, payload } = event;
    plan.events.push({ uuid, type, business, subject, confirmation, test, key, digest, payload });
    for (const endpoint of owed) {
      const wait_ms = endpoint.retry_ms[0] ?? 0;
      plan.deliveries.push({
        uuid: deliveryUuid(uuid, endpoint.no),
        event_uuid: uuid,
        endpoint_no: endpoint.no,
        wait_ms,
        leased: wait_ms === 0 && dispatcher.reserve(endpoint.no),
      });
    }
    const accepted = { id: eventId(uuid), uuid, deliveries: owed.length, duplicate: false };
    plan.accepted.set(offer, accepted);
    return accepted;
  }

  async function store(plan: Plan) {
    const leased_at = performance.now();
    const lease_ms = leaseOf(dispatcher.fleet.max_timeout_ms);
    const leased = plan.deliveries.filter((delivery) => delivery.leased);
    const giveBack = () => leased.forEach((delivery) => dispatcher.unreserve(delivery.endpoint_no));
    const storing = storeEvents(ctx.db, plan.events, plan.deliveries, plan.revision, lease_ms);
    try {
      const stored = await within(storing, answerTimeout(plan.deliveries.length));
      if (stored !== "stored") giveBack();
      else dispatch(plan, leased_at, lease_ms);
      return stored;
    } catch (error) {
      giveBack();
      // It may have been committed, or may yet be: then they are leased, and nobody sends them.
      const release = () => dispatcher.release(leased.map(({ uuid }) => ({ uuid, token: 1 })));
      release();
      if (isSilence(error)) void storing.then(release, release);
      throw error;
    }
  }

  function dispatch(plan: Plan, leased_at: number, lease_ms: number): void {
    const events = new Map(plan.events.map((event) => [event.uuid, event]));
    const mine: Claimed[] = [];
    const others = new Set<number>();
    for (const { uuid, event_uuid, endpoint_no, leased } of plan.deliveries) {
      const event = events.get(event_uuid);
      if (!leased || event === undefined) {
        others.add(endpoint_no);
        continue;
      }
      const { type, test, payload } = event;
      const progress = {
        attempts: 0,
        counted: 0,
        interruptions: 0,
        token: 1,
        due: "0",
        wait_ms: 0,
      };
      mine.push({ uuid, event_uuid, endpoint_no, type, test, payload, ...progress });
    }
    dispatcher.start(mine, leased_at, lease_ms);
    if (others.size > 0) dispatcher.wake(others);
  }

  async function lookUp(requests: readonly Request[]): Promise<Map<string, KnownEvent>> {
    const keys = requests.flatMap(({ offers }) => offers.map(({ key }) => key))
      .filter((key) => key !== null);
    const found = await within(findByKeys(ctx.db.ingest, keys), ANSWER_TIMEOUT_MS);
    return new Map(found.map((event) => [event.key, event]));
  }

  function answer(requests: readonly Request[], plan: Plan): void {
    for (const { offers, resolve } of requests) {
      resolve(offers.map((offer) => plan.accepted.get(offer)).filter((a) => a !== undefined));
    }
  }

  return {
    accept,
    async settle() {
      while (writers.size > 0) await Promise.all(writers);
    },
  };
}

/** How long storing may take: many deliveries are stored at some 100,000 a second. */
function answerTimeout(deliveries: number): number {
  return Math.min(ANSWER_TIMEOUT_MS + deliveries / 50, STATEMENT_TIMEOUT_MS);
}

function repeated(
  { key }: Offer,
  mine: ReadonlyMap<string, Accepted>,
  known: ReadonlyMap<string, KnownEvent>,
): Accepted | undefined {
  if (key === null) return undefined;
  const before = known.get(key);
  if (before === undefined) return mine.get(key);
  const { uuid, deliveries } = before;
  return { id: eventId(uuid), uuid, deliveries, duplicate: true };
}

// The same key twice in one request, with different bytes.
function refuseContradiction({ offers, digests }: Pick<Request, "offers" | "digests">): void {
  const seen = new Map<string, string | null>();
  offers.forEach(({ key }, index) => {
    if (key === null) return;
    const digest = digests[index] ?? null;
    if (seen.has(key) && seen.get(key) !== digest) throw conflict(key, index);
    seen.set(key, digest);
  });
}

function refuseConflict(request: Request, known: ReadonlyMap<string, KnownEvent>): boolean {
  const index = request.offers.findIndex(({ key }, i) => {
    const before = key === null ? undefined : known.get(key);
    return before !== undefined && before.digest !== request.digests[i];
  });
  const key = request.offers[index]?.key;
  if (key == null) return false;
  request.reject(conflict(key, index));
  return true;
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

function unavailable(why: string): AppError {
  return new AppError("unavailable", why, {
    retry_after_s: RETRY_AFTER_S,
  });
}
