import { deliveryUuid } from "../../lib/core/ids.ts";
import { MAX_INTERRUPTIONS } from "../../lib/core/retry.ts";
import { checkWatched } from "./watch/checks.ts";
import type {
  AttemptRow,
  Change,
  DeliveryRow,
  EventRow,
  Invariant,
  Ledger,
  RequestSeen,
  View,
  Violation,
} from "./ledger.ts";

/** What a run amounted to. */
export interface Counts {
  readonly acknowledged: number;
  readonly events: number;
  readonly deliveries: number;
  readonly delivered: number;
  readonly failed: number;
  readonly attempts: number;
  readonly interrupted: number;
  readonly requests: number;
  /** 2xx answers beyond the first of a delivery, all of them explained by an attempt that was cut off. */
  readonly repeated: number;
  /** Announcements that the chat got, events that were erased, and partitions that were dropped. */
  readonly announced: number;
  readonly erased: number;
  readonly dropped: number;
  /** Attempts later than `LATE_MS` after they were due, all of them explained where outages are known. */
  readonly late: number;
}

export interface Verdict {
  readonly violations: readonly Violation[];
  /** Invariants that this run could not have broken. */
  readonly untested: readonly Invariant[];
  readonly counts: Counts;
}

/** Due and sent are told by two clocks of one machine, and one of them has whole milliseconds. */
const CLOCK_TOLERANCE_MS = 2;
const LATE_MS = 2_000;
/**
 * How late an attempt may be apart from outages while daemons and servers are struck: those that start take
 * the processors from those that run.
 */
const BUSY_MS = 5_000;
/** An erasure ends deliveries as of the beginning of its statement, which may take so long on a busy machine. */
const ERASING_MS = 2_000;

/** Holds a run against the invariants. Pure. */
export function check(ledger: Ledger): Verdict {
  const index = makeIndex(ledger);
  return {
    violations: [
      ...checkAcknowledged(ledger, index),
      ...checkStored(ledger, index),
      ...checkAttempts(ledger, index),
      ...checkRequests(ledger, index),
      ...checkAnswers(ledger, index),
      ...checkRepeats(ledger, index),
      ...checkLeases(ledger, index),
      ...checkTimes(ledger, index),
      ...(ledger.watched === null ? [] : checkWatched(ledger.watched, ledger)),
      ...checkLimits(ledger, index),
      ...checkViews(ledger),
      ...ledger.findings,
    ],
    untested: untestedIn(ledger),
    counts: count(ledger, index),
  };
}

function untestedIn({ watched, endpoints, views = [] }: Ledger): Invariant[] {
  const none_dropped = watched === null ||
    watched.drops.length === 0 && !watched.weeks.some(({ must_go }) => must_go);
  return [
    ...(watched === null ? ["H", "I", "J"] as const : []),
    ...(none_dropped ? ["K"] as const : []),
    ...(endpoints.every(({ limits }) => limits === undefined) ? ["L"] as const : []),
    ...(views.length === 0 ? ["M"] as const : []),
  ];
}

interface Index {
  readonly events: ReadonlyMap<string, EventRow>;
  readonly deliveries: ReadonlyMap<string, DeliveryRow>;
  /** In the order of their numbers. */
  readonly attempts: ReadonlyMap<string, readonly AttemptRow[]>;
  readonly requests: ReadonlyMap<string, readonly RequestSeen[]>;
  readonly policies: ReadonlyMap<number, readonly number[]>;
}

function makeIndex(ledger: Ledger): Index {
  const in_order = ledger.attempts.toSorted((a, b) => a.number - b.number);
  return {
    events: new Map(ledger.events.map((event) => [event.id, event])),
    deliveries: new Map(ledger.deliveries.map((delivery) => [delivery.id, delivery])),
    attempts: Map.groupBy(in_order, (attempt) => attempt.delivery_id),
    requests: Map.groupBy(ledger.requests, (request) => request.delivery_id),
    policies: new Map(ledger.endpoints.map(({ no, retry_ms }) => [no, retry_ms])),
  };
}

const is2xx = (status: number | null) => status !== null && status >= 200 && status < 300;

function says(invariant: Invariant, text: string): Violation {
  return { invariant, text };
}

function* checkAcknowledged(ledger: Ledger, index: Index): Generator<Violation> {
  for (const { event_id, hash, deliveries, owed_to } of ledger.acknowledged) {
    const event = index.events.get(event_id);
    if (event === undefined) {
      yield says("A", `event ${event_id} was acknowledged and is not stored`);
      continue;
    }
    if ((event.hash ?? hash) !== hash) {
      yield says("A", `event ${event_id} is stored with other bytes`);
    }
    const retirable = owed_to.filter((no) => mayBeRetired(ledger, no, event.received_at));
    if (deliveries > owed_to.length || deliveries < owed_to.length - retirable.length) {
      yield says(
        "A",
        `event ${event_id} was acknowledged with ${deliveries} deliveries, and ${owed_to.length} ` +
          "endpoints match it",
      );
    }
    for (const no of owed_to) {
      yield* checkOwed(no, { ...event, hash: event.hash ?? hash }, ledger, index);
    }
  }
}

function mayBeRetired({ retirable }: Ledger, endpoint_no: number, at: number): boolean {
  return at >= (retirable.get(endpoint_no) ?? Infinity);
}

function* checkOwed(
  endpoint_no: number,
  event: EventRow,
  ledger: Ledger,
  index: Index,
): Generator<Violation> {
  const id = deliveryUuid(event.id, endpoint_no);
  const delivery = index.deliveries.get(id);
  if (delivery === undefined) {
    if (mayBeRetired(ledger, endpoint_no, event.received_at)) return;
    yield says("A", `delivery ${id} of an acknowledged event does not exist`);
  } else if (delivery.status === "delivered") {
    const taken = (index.requests.get(id) ?? [])
      .some((request) => is2xx(request.status) && request.hash === event.hash);
    if (!taken) yield says("A", `delivery ${id} is delivered, and its receiver took nothing`);
  } else if (delivery.status === "failed") {
    const attempts = index.attempts.get(id) ?? [];
    const policy = index.policies.get(delivery.endpoint_no)?.length ?? 0;
    if (attempts.at(-1)?.outcome !== "gone" && counted(attempts) < policy) {
      yield says("A", `delivery ${id} failed after ${counted(attempts)} of ${policy} attempts`);
    }
  } else if (
    delivery.status === "cancelled" && !ledger.by_hand.has(id) && delivery.reason !== "erased" &&
    !mayBeRetired(ledger, endpoint_no, delivery.ended_at ?? 0)
  ) {
    yield says("A", `delivery ${id} is cancelled, and nobody did that`);
  }
}

/** Attempts that count against the policy. */
function counted(attempts: readonly AttemptRow[]): number {
  const interrupted = attempts.filter(({ outcome }) => outcome === "interrupted").length;
  return attempts.length - Math.min(interrupted, MAX_INTERRUPTIONS);
}

// Each offer has bytes of its own, and the client repeats only what has a key.
function* checkStored(ledger: Ledger, index: Index): Generator<Violation> {
  for (const [hash, events] of Map.groupBy(ledger.events, (event) => event.hash)) {
    if (hash !== null && events.length > 1) {
      yield says("A", `the bytes ${hash.slice(0, 12)} are stored as ${events.length} events`);
    }
  }
  const with_key = ledger.acknowledged.filter(({ key }) => key !== null);
  for (const [key, answers] of Map.groupBy(with_key, (answer) => answer.key)) {
    const ids = new Set(answers.map((answer) => answer.event_id));
    if (ids.size > 1) yield says("A", `the key ${key} was answered with ${ids.size} ids`);
  }
  for (const { id, event_id, endpoint_no } of ledger.deliveries) {
    if (!index.events.has(event_id) || deliveryUuid(event_id, endpoint_no) !== id) {
      yield says("A", `delivery ${id} belongs to no event`);
    }
  }
}

function* checkAttempts(ledger: Ledger, index: Index): Generator<Violation> {
  for (const delivery of ledger.deliveries) {
    const { id, status } = delivery;
    const attempts = index.attempts.get(id) ?? [];
    const gap = attempts.findIndex(({ number }, at) => number !== at + 1);
    if (gap >= 0) yield says("B", `delivery ${id} has no attempt number ${gap + 1}`);
    if (attempts.length !== delivery.attempts) {
      yield says(
        "B",
        `delivery ${id} says ${delivery.attempts} attempts and has ${attempts.length}`,
      );
    }
    const policy = index.policies.get(delivery.endpoint_no)?.length ?? 0;
    if (!ledger.by_hand.has(id) && counted(attempts) > policy) {
      yield says("B", `delivery ${id} has had ${counted(attempts)} of ${policy} attempts`);
    }
    const end = delivery.ended_at;
    const after_ms = Math.max(...attempts.map(({ ended_at }) => ended_at - (end ?? Infinity)));
    if (after_ms > (delivery.reason === "erased" ? ERASING_MS : CLOCK_TOLERANCE_MS)) {
      const late = `${after_ms.toFixed(1)} ms after it was ${status}`;
      yield says("B", `delivery ${id} has an attempt after its end, ${late}`);
    }
    const misplaced = attempts.find(({ is_apart }, at) =>
      is_apart !== (status === "pending" || at < attempts.length - 1)
    );
    if (misplaced !== undefined) {
      yield says("B", `attempt ${misplaced.number} of the ${status} delivery ${id} is misplaced`);
    }
    const last = attempts.at(-1)?.outcome;
    if ((status === "delivered") !== (last === "delivered")) {
      yield says("B", `delivery ${id} is ${status} after an attempt that was ${last}`);
    }
    if (!ledger.by_hand.has(id) && attempts.slice(0, -1).some((a) => a.outcome === "delivered")) {
      yield says("B", `delivery ${id} was attempted again after it was delivered`);
    }
  }
  for (const id of index.attempts.keys()) {
    if (!index.deliveries.has(id)) yield says("B", `attempts of ${id}, which does not exist`);
  }
}

/** What a sender may say of a request that was answered: the answer did not reach it. */
const CUT_OFF = new Set(["interrupted", "timeout", "connection"]);

function* checkRequests(ledger: Ledger, index: Index): Generator<Violation> {
  for (const [id, requests] of index.requests) {
    const delivery = index.deliveries.get(id);
    const event = index.events.get(requests[0]?.event_id ?? "");
    if (delivery === undefined || event === undefined) {
      yield says("C", `a receiver saw delivery ${id}, which does not exist`);
      continue;
    }
    for (const [number, same] of Map.groupBy(requests, (request) => request.attempt)) {
      if (same.length > 1) {
        yield says("C", `attempt ${number} of ${id} was sent ${same.length} times`);
      }
    }
    for (const request of requests) {
      if (event.hash !== null && request.hash !== event.hash) {
        yield says("A", `attempt ${request.attempt} of ${id} carried other bytes`);
      }
      const attempt = (index.attempts.get(id) ?? []).find((a) => a.number === request.attempt);
      yield* checkRequest(request, attempt, delivery, ledger.calm);
    }
  }
}

function* checkRequest(
  request: RequestSeen,
  attempt: AttemptRow | undefined,
  delivery: DeliveryRow,
  calm: boolean,
): Generator<Violation> {
  const what = `attempt ${request.attempt} of ${delivery.id}`;
  if (attempt === undefined) {
    // Of a pending one the last may be under way.
    if (delivery.status !== "pending" || request.attempt !== delivery.attempts + 1) {
      yield says("C", `${what} was sent and is not recorded`);
    }
    return;
  }
  if (attempt.signature !== null && attempt.signature !== request.signature) {
    yield says("C", `${what} is recorded with what another request sent`);
  }
  if (request.status === null || attempt.status === request.status) return;
  if (attempt.status === null && CUT_OFF.has(attempt.outcome) && !calm) return;
  yield says(
    "C",
    `${what} was answered with ${request.status} and is recorded as ${attempt.outcome} ` +
      `${attempt.status ?? ""}`,
  );
}

function* checkAnswers(ledger: Ledger, index: Index): Generator<Violation> {
  for (const { delivery_id, number, status } of ledger.attempts) {
    if (status === null) continue;
    const found = (index.requests.get(delivery_id) ?? [])
      .some((request) => request.attempt === number && request.status === status);
    if (!found) {
      yield says("C", `attempt ${number} of ${delivery_id} is recorded with ${status}, unanswered`);
    }
  }
}

function* checkRepeats(ledger: Ledger, index: Index): Generator<Violation> {
  for (const [id, requests] of index.requests) {
    const taken = requests.filter((request) => is2xx(request.status));
    if (taken.length < 2 || ledger.by_hand.has(id)) continue;
    const attempts = index.attempts.get(id) ?? [];
    const unexplained = taken.filter((request) => {
      const attempt = attempts.find(({ number }) => number === request.attempt);
      return attempt === undefined || !CUT_OFF.has(attempt.outcome);
    });
    if (unexplained.length > 1 || ledger.calm) {
      yield says("D", `delivery ${id} was taken ${taken.length} times, without an interruption`);
    }
  }
}

// A lease has one holder from the claim on. Only the holder writes about it, once, and, when it has
// run out, whoever sweeps.
function* checkLeases(ledger: Ledger, index: Index): Generator<Violation> {
  for (const [id, changes] of Map.groupBy(ledger.history, (change) => change.delivery_id)) {
    let lease: { holder: string; token: number; until: number; attempts: number } | undefined;
    let token = 0;
    let ended = false;
    const event_id = index.deliveries.get(id)?.event_id;
    // An erasure takes the answers away.
    const is_erased = typeof index.events.get(event_id ?? "")?.erased_at === "number";
    for (const change of changes) {
      const { what, writer } = change;
      if (what === "ended_changed" && !ledger.by_hand.has(id) && !is_erased) {
        yield says("E", `delivery ${id} had ended, and ${writer} changed that`);
      } else if (what === "insert" && ended && !ledger.by_hand.has(id)) {
        yield says("E", `delivery ${id} had ended, and ${writer} began it anew`);
      } else if (what === "attempt_changed" && !is_erased) {
        yield says("E", `${writer} changed an attempt of ${id}`);
      } else if (what === "ended") ended = true;
      else if (what === "attempt") yield* checkWriter(change, lease);
      const claimed = change.token !== null && change.token > token && change.leased_until !== null;
      if (change.token !== null && change.token < token) {
        yield says("E", `the token of ${id} went back from ${token} to ${change.token}`);
      }
      if (what === "update" && claimed && change.leased_before !== null) {
        yield says("E", `${writer} claimed ${id}, which ${lease?.holder} had leased`);
      }
      token = Math.max(token, change.token ?? 0);
      if (claimed) lease = { holder: writer, token, until: change.leased_until ?? 0, attempts: 0 };
      else if (lease !== undefined && change.leased_until !== null) {
        lease.until = change.leased_until;
      }
      if (what === "attempt" && lease !== undefined && ++lease.attempts > 1) {
        yield says("E", `two attempts of ${id} were written under the token ${token}`);
      }
    }
  }
}

function* checkWriter(
  { delivery_id, writer, outcome, at }: Change,
  lease: { holder: string; until: number } | undefined,
): Generator<Violation> {
  if (lease === undefined) {
    yield says("E", `${writer} wrote an attempt of ${delivery_id} without a lease`);
  } else if (
    writer !== lease.holder &&
    (outcome !== "interrupted" || at + CLOCK_TOLERANCE_MS < lease.until)
  ) {
    yield says(
      "E",
      `${writer} wrote an attempt (${outcome}) of ${delivery_id}, which ${lease.holder} had leased`,
    );
  }
}

function* checkTimes(ledger: Ledger, index: Index): Generator<Violation> {
  const since = beginOf(ledger, index);
  for (const { what, endpoint_no, began, earliest, latest } of beginnings(ledger, index)) {
    if (began < earliest - CLOCK_TOLERANCE_MS) {
      yield says("F", `${what} was ${Math.ceil(earliest - began)} ms early`);
    }
    const late = Math.round(began - latest);
    if (late <= LATE_MS || latest < since || ledger.paused.has(endpoint_no)) continue;
    if (ledger.healthy.some(([from, to]) => from <= earliest && latest + LATE_MS <= to)) {
      yield says("F", `${what} was ${late} ms late`);
    } else if (isUnexplained(ledger, endpoint_no, latest, began)) {
      yield says("F", `${what} was ${late} ms late, which no outage explains`);
    }
  }
}

/** Whether a late attempt waited too long apart from outages; a retired endpoint's until a file brought it back. */
function isUnexplained(ledger: Ledger, endpoint_no: number, due: number, began: number): boolean {
  const { outages } = ledger;
  if (outages === undefined || mayBeRetired(ledger, endpoint_no, began)) return false;
  return began - due - overlap(outages, due, began) > BUSY_MS;
}

/** When the first event came: what was due before belongs to weeks of long ago. */
function beginOf({ acknowledged }: Ledger, { events }: Index): number {
  return acknowledged.reduce(
    (first, { event_id }) => Math.min(first, events.get(event_id)?.received_at ?? Infinity),
    Infinity,
  );
}

/** How long of the time between these two lies within intervals that do not overlap each other. */
function overlap(
  intervals: readonly (readonly [number, number])[],
  begin: number,
  end: number,
): number {
  return intervals.reduce(
    (sum, [from, to]) => sum + Math.max(0, Math.min(to, end) - Math.max(from, begin)),
    0,
  );
}

interface Beginning {
  readonly what: string;
  readonly endpoint_no: number;
  readonly began: number;
  /** Between these two it should have begun. */
  readonly earliest: number;
  readonly latest: number;
}

/** When attempts began that nobody asked for by hand. */
function* beginnings(ledger: Ledger, index: Index): Generator<Beginning> {
  for (const delivery of ledger.deliveries) {
    if (ledger.by_hand.has(delivery.id)) continue;
    const attempts = index.attempts.get(delivery.id) ?? [];
    const seen = new Map((index.requests.get(delivery.id) ?? []).map((r) => [r.attempt, r.at]));
    for (const [at, attempt] of attempts.entries()) {
      const due = dueAt(delivery, attempts.slice(0, at), index);
      // An attempt that the sweep wrote down never said when it began.
      const swept = attempt.outcome === "interrupted" && attempt.signature === null;
      const began = Math.min(
        swept ? Infinity : attempt.started_at,
        seen.get(attempt.number) ?? Infinity,
      );
      if (due === undefined || began === Infinity) continue;
      const { endpoint_no } = delivery;
      yield { what: `attempt ${attempt.number} of ${delivery.id}`, endpoint_no, began, ...due };
    }
  }
}

function* checkLimits(ledger: Ledger, index: Index): Generator<Violation> {
  const began = Map.groupBy(beginnings(ledger, index), ({ endpoint_no }) => endpoint_no);
  const seen = Map.groupBy(
    ledger.requests,
    ({ delivery_id }) => index.deliveries.get(delivery_id)?.endpoint_no,
  );
  for (const { no, id, limits } of ledger.endpoints) {
    const requests = seen.get(no) ?? [];
    if (limits?.rate_per_s !== undefined) {
      const times = (began.get(no) ?? []).map(({ began }) => began);
      yield* checkRate(id, limits.rate_per_s, times);
    }
    if (limits?.concurrency !== undefined) {
      const most = mostAtOnce(requests.filter((request) => !isStale(request, index)));
      if (most > limits.concurrency) {
        yield says("L", `${id} had ${most} requests at once, ${limits.concurrency} are allowed`);
      }
    }
  }
}

/**
 * Slots of a rate are evenly spaced and assigned so far ahead at most. A daemon that is silent meanwhile uses
 * those that it has when it is back.
 */
const AHEAD_MS = 1_000;

function* checkRate(
  endpoint: string,
  rate_per_s: number,
  times: readonly number[],
): Generator<Violation> {
  const ahead_ms = mostAhead(times, 1_000 / rate_per_s);
  if (ahead_ms <= AHEAD_MS + CLOCK_TOLERANCE_MS) return;
  yield says(
    "L",
    `${endpoint} had attempts ${Math.round(ahead_ms)} ms ahead of ${rate_per_s} per second`,
  );
}

/** How far beginnings were ahead of an even pace that never makes up for a pause. */
function mostAhead(times: readonly number[], interval_ms: number): number {
  let next = -Infinity;
  let most = 0;
  for (const time of times.toSorted((a, b) => a - b)) {
    most = Math.max(most, next - time);
    next = Math.max(next, time) + interval_ms;
  }
  return most;
}

/** A request that lay in the network until its attempt had been given up. */
function isStale({ delivery_id, attempt, at }: RequestSeen, index: Index): boolean {
  const own = (index.attempts.get(delivery_id) ?? []).find(({ number }) => number === attempt);
  return own !== undefined && own.ended_at < at - CLOCK_TOLERANCE_MS;
}

function mostAtOnce(requests: readonly RequestSeen[]): number {
  const steps = requests.flatMap(({ at, ended_at }) => [
    { at, step: 1 },
    { at: ended_at ?? Infinity, step: -1 },
  ]);
  let now = 0;
  let most = 0;
  // Of one millisecond, ends come first: the next one begins only after them.
  for (const { step } of steps.toSorted((a, b) => a.at - b.at || a.step - b.step)) {
    most = Math.max(most, now += step);
  }
  return most;
}

function* checkViews({ views = [] }: Ledger): Generator<Violation> {
  for (const [path, shown] of Map.groupBy(views, (view) => view.path)) {
    const [first, ...others] = shown;
    for (const other of others) {
      if (first === undefined || other.text === first.text) continue;
      yield says("M", `${path}: ${difference(first, other)}`);
    }
  }
}

/** Where two views begin to differ, with what each has there. */
function difference(one: View, other: View): string {
  const same = [...one.text].findIndex((char, at) => char !== other.text[at]);
  const at = same < 0 ? one.text.length : same;
  const part = ({ daemon, text }: View) =>
    `${daemon} has ${JSON.stringify(text.slice(Math.max(0, at - 60), at + 60))}`;
  return `${part(one)}, ${part(other)}`;
}

// The wait follows from the attempts before: it is the policy's, with up to a tenth of jitter, or none
// after one that was interrupted and did not count.
function dueAt(delivery: DeliveryRow, before: readonly AttemptRow[], index: Index) {
  const policy = index.policies.get(delivery.endpoint_no) ?? [];
  const last = before.at(-1);
  const from = last?.ended_at ?? index.events.get(delivery.event_id)?.received_at;
  if (from === undefined) return undefined;
  const interrupted = before.filter(({ outcome }) => outcome === "interrupted").length;
  const free = last?.outcome === "interrupted" && interrupted <= MAX_INTERRUPTIONS;
  const wait_ms = free ? 0 : policy[counted(before)] ?? 0;
  return { earliest: from + wait_ms, latest: from + wait_ms * 1.1 };
}

function count(ledger: Ledger, index: Index): Counts {
  const since = beginOf(ledger, index);
  let repeated = 0;
  for (const requests of index.requests.values()) {
    repeated += Math.max(0, requests.filter(({ status }) => is2xx(status)).length - 1);
  }
  const having = (status: string) => ledger.deliveries.filter((d) => d.status === status).length;
  return {
    acknowledged: ledger.acknowledged.length,
    events: ledger.events.length,
    deliveries: ledger.deliveries.length,
    delivered: having("delivered"),
    failed: having("failed"),
    attempts: ledger.attempts.length,
    interrupted: ledger.attempts.filter(({ outcome }) => outcome === "interrupted").length,
    requests: ledger.requests.length,
    repeated,
    announced: ledger.watched?.chats.length ?? 0,
    erased: ledger.events.filter(({ erased_at }) => erased_at !== null).length,
    dropped: ledger.watched?.drops.length ?? 0,
    late: [...beginnings(ledger, index)]
      .filter(({ began, latest }) => began - latest > LATE_MS && latest >= since).length,
  };
}
