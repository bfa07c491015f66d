import { AppError, messageOf } from "../core/errors.ts";
import { makeEventIds } from "../core/ids.ts";
import { STATEMENT_TIMEOUT_MS } from "../store/connect.ts";
import { isSilence, within } from "../store/deadline.ts";
import { isDiskFull, isOfConnection } from "../store/errors.ts";
import {
  type Businesses,
  findBusinesses,
  findKeys,
  type Stored,
  type StoredKey,
  storeEvents,
} from "../store/events.ts";
import {
  type Accepted,
  conflictOf,
  heirs,
  makeRequest,
  MAX_BATCH_DELIVERIES,
  type Offer,
  type Plan,
  planBatch,
  type Request,
  takeBatch,
} from "./batch.ts";
import { makeBusinessCache } from "./businesses.ts";
import { type Context, random32 } from "./context.ts";
import type { Dispatcher } from "./dispatcher.ts";

/**
 * Stores events with their deliveries, durable when it answers. Offers that come while a batch is being
 * committed are the next batch: nobody waits for a batch to fill.
 */
export interface Intake {
  /**
   * Accepts all of the offers or none. Throws an `AppError`: `conflict` if a key was seen with other
   * bytes, `unavailable` while the database is away.
   */
  accept(offers: readonly Offer[]): Promise<Accepted[]>;
  /** Requests that wait for the next batch. */
  readonly waiting: number;
  /** Resolves when no batch is under way. */
  settle(): Promise<void>;
}

const ANSWER_TIMEOUT_MS = 10_000;
const RETRY_AFTER_S = 1;
// The answer to a commit can be lost on the way, so this must not say that nothing was stored.
const LOST = "so it is not known to be stored; send it again, with an id or an Idempotency-Key, " +
  "which stores it once";
/** How often a batch is planned again because endpoints or businesses changed, or a key was found. */
const MAX_ROUNDS = 20;
/** Some 200 bytes each. */
const MAX_BUSINESSES = 20_000;

const NONE: Businesses = new Map();

/** A request that waits for its answer. */
interface Waiting extends Request {
  resolve(accepted: Accepted[]): void;
  reject(error: unknown): void;
}

/** An intake that hands what can be sent at once to the dispatcher. `reload` reads the endpoints again. */
export function makeIntake(
  ctx: Context,
  dispatcher: Pick<Dispatcher, "fleet" | "hold">,
  reload: () => Promise<void>,
): Intake {
  const ids = makeEventIds(() => random32(ctx.random));
  const newUuid = () => ids.next(ctx.clock.now());
  const businesses = makeBusinessCache(MAX_BUSINESSES);
  const waiting: Waiting[] = [];
  const writers = new Set<Promise<void>>();
  // Two on a server, so that one batch is made while the other commits; embedded, there is one session.
  const max_writers = ctx.db.kind === "server" ? 2 : 1;

  async function write(): Promise<void> {
    await Promise.resolve(); // requests of one turn of the event loop go together
    while (waiting.length > 0) {
      const batch = takeBatch(waiting, fanOut());
      try {
        await commit(batch);
      } catch (error) {
        const cause = messageOf(error);
        ctx.log.error("Events could not be stored", { requests: batch.length, cause });
        if (!isOfConnection(error)) ctx.signals.statement_failed.emit({ part: "ingest", cause });
        const unavailable = () =>
          new AppError("unavailable", `${causeOf(error)}, ${LOST}`, {
            retry_after_s: RETRY_AFTER_S,
          });
        for (const request of batch) request.reject(unavailable());
      }
    }
  }

  function fanOut(): number {
    return Math.max(1, dispatcher.fleet.endpoints.size);
  }

  async function commit(batch: readonly Waiting[]): Promise<void> {
    let requests = batch;
    let known: ReadonlyMap<string, StoredKey> = new Map();
    const events = batch.reduce((sum, { offers }) => sum + offers.length, 0);
    // A batch that takes so long may be here again because nobody waited for its answer.
    let stored: Stored | undefined = events * fanOut() > MAX_BATCH_DELIVERIES
      ? "repeated"
      : undefined;
    for (let round = 0; requests.length > 0; round++) {
      if (round === MAX_ROUNDS) {
        throw new Error("Endpoints or businesses keep changing under a batch");
      }
      if (stored === "stale") await within(reload(), ANSWER_TIMEOUT_MS);
      if (stored === "repeated") {
        known = await lookUp(requests);
        requests = requests.filter((request) => !refuse(request, known));
      }
      const subjects = heirs(requests);
      const inherited = subjects.size === 0
        ? NONE
        : await businesses.find(subjects, lookUpBusinesses);
      const plan = planBatch(requests, known, dispatcher.fleet, inherited, newUuid);
      stored = plan.events.length === 0 ? "stored" : await store(plan);
      if (stored === "moved") businesses.forget(plan.subjects.inherited.keys());
      if (stored === "stored") {
        businesses.remember(plan.subjects.named);
        return answer(requests, plan);
      }
    }
  }

  function lookUpBusinesses(subjects: readonly string[]): Promise<Businesses> {
    return within(findBusinesses(ctx.db.ingest, subjects), ANSWER_TIMEOUT_MS);
  }

  function refuse(request: Waiting, known: ReadonlyMap<string, StoredKey>): boolean {
    const conflict = conflictOf(request, known);
    if (conflict !== undefined) request.reject(conflict);
    return conflict !== undefined;
  }

  async function lookUp(requests: readonly Request[]): Promise<Map<string, StoredKey>> {
    const keys = requests.flatMap(({ offers }) => offers.map(({ key }) => key))
      .filter((key) => key !== null);
    const found = await within(findKeys(ctx.db.ingest, keys), ANSWER_TIMEOUT_MS);
    return new Map(found.map((known) => [known.key, known]));
  }

  async function store({ events, owed, keys, subjects, revision }: Plan): Promise<Stored> {
    using hold = dispatcher.hold(owed);
    const { deliveries, term } = hold;
    const storing = storeEvents(ctx.db, events, deliveries, revision, term, { keys, subjects });
    try {
      const stored = await within(storing, answerTimeout(owed.length));
      if (stored === "stored") hold.start();
      return stored;
    } catch (error) {
      // It may have been committed, or may yet be.
      hold.lost(isSilence(error) ? storing : undefined);
      throw error;
    }
  }

  function answer(requests: readonly Waiting[], plan: Plan): void {
    for (const { offers, resolve } of requests) {
      const accepted = offers.map((offer) => plan.accepted.get(offer))
        .filter((accepted) => accepted !== undefined);
      resolve(accepted);
      if (ctx.signals.ingested.heard) accepted.forEach((one, i) => report(offers[i], one));
    }
  }

  function report(offer: Offer | undefined, { deliveries, duplicate }: Accepted): void {
    if (offer === undefined) return;
    const test = offer.test_endpoint_no !== undefined;
    ctx.signals.ingested.emit({ type: offer.event.type, test, duplicate, deliveries });
  }

  return {
    accept: (offers) =>
      new Promise((resolve, reject) => {
        waiting.push({ ...makeRequest(offers), resolve, reject });
        if (writers.size >= max_writers) return;
        const writer: Promise<void> = write().finally(() => writers.delete(writer));
        writers.add(writer);
      }),
    get waiting() {
      return waiting.length;
    },
    async settle() {
      while (writers.size > 0) await Promise.all(writers);
    },
  };
}

// Of an embedded database, what its owner has to know; of a server, nothing that is not theirs.
function causeOf(error: unknown): string {
  if (error instanceof AppError) return error.message;
  return isDiskFull(error) ? "The database's disk is full" : "The database gave no answer";
}

/** How long storing may take: some 100,000 deliveries are stored per second. */
function answerTimeout(deliveries: number): number {
  return Math.min(ANSWER_TIMEOUT_MS + deliveries / 50, STATEMENT_TIMEOUT_MS);
}
