import { deliveryUuid } from "../../../lib/core/ids.ts";
import type { Invariant, Ledger, RequestSeen, Violation } from "../ledger.ts";
import { type ChatSeen, type ErasureRow, type NoticeRow, type Watched, WAYS } from "./watched.ts";

/** Two clocks of one machine, one of which has whole milliseconds. */
const CLOCK_TOLERANCE_MS = 2;

function says(invariant: Invariant, text: string): Violation {
  return { invariant, text };
}

/** Holds what was watched against the invariants H to K. Pure. */
export function* checkWatched(watched: Watched, ledger: Ledger): Generator<Violation> {
  yield* checkAlerts(watched);
  yield* checkNotices(watched);
  yield* checkClaims(watched);
  yield* checkReaders(watched);
  yield* checkErasures(watched, ledger);
  yield* checkWeeks(watched, ledger);
}

// --- H: alerts ------------------------------------------------------------------------------------------

/** The targets that hear of alerts, with the endpoint by which operational events come. */
const CHAT = "slack";
const EVENTS = "events";
const WATCHER = "watcher";

/** Who hears of an alert. Nobody hears of themselves by the way that does not work. */
function targetsOf({ kind, subject }: Watched["alerts"][number]): string[] {
  return [
    ...(kind === "target_failing" && subject === CHAT ? [] : [CHAT]),
    ...(subject === WATCHER || subject === `${EVENTS}:${WATCHER}` ? [] : [EVENTS]),
  ];
}

function* checkAlerts({ alerts, notices, failing }: Watched): Generator<Violation> {
  for (const same of Map.groupBy(alerts, ({ kind, subject }) => `${kind} ${subject}`).values()) {
    const in_order = same.toSorted((a, b) => a.opened_at - b.opened_at);
    for (const [at, alert] of in_order.entries()) {
      const next = in_order[at + 1];
      if (next !== undefined && (alert.ended_at ?? Infinity) > next.opened_at) {
        yield says(
          "H",
          `${alert.id} and ${next.id} were open at once: ${alert.kind} ${alert.subject}`,
        );
      }
    }
  }
  for (const alert of alerts) {
    for (const target of targetsOf(alert)) {
      const its = notices.filter((n) => n.alert_id === alert.id && n.target === target)
        .toSorted((a, b) => a.occasion - b.occasion);
      const words = its.map(({ occasion, what }) => `${occasion} ${what}`).join(", ");
      const expected = Array.from({ length: alert.occasions }, (_, at) => {
        const is_end = alert.ended_at !== null && at === alert.occasions - 1;
        return `${at + 1} ${at === 0 ? "began" : is_end ? "ended" : "reminded"}`;
      }).join(", ");
      if (words !== expected) {
        yield says("H", `${alert.id} has the notices (${words}) for ${target}, not (${expected})`);
      }
    }
  }
  for (const subject of failing) {
    const is_told = alerts.some((a) =>
      a.kind === "endpoint_failing" && a.subject === subject && a.ended_at === null
    );
    if (!is_told) yield says("H", `${subject} fails, and no alert about that is open`);
  }
}

function* checkNotices({ notices, chats, told }: Watched): Generator<Violation> {
  const keyOf = ({ alert_id, what }: Pick<ChatSeen, "alert_id" | "what">) => `${alert_id} ${what}`;
  const arrived = Map.groupBy(chats, keyOf);
  const events = Map.groupBy(told, keyOf);
  for (const target of [CHAT, EVENTS]) {
    const at_target = notices.filter((notice) => notice.target === target);
    const its = Map.groupBy(at_target.filter((notice) => !isOutdated(notice, at_target)), keyOf);
    const known = new Set(at_target.map(keyOf));
    for (const key of target === CHAT ? arrived.keys() : events.keys()) {
      if (!known.has(key)) yield says("H", `${key} was announced to ${target}, and is in no table`);
    }
    for (const [key, same] of its) {
      if (same.some(({ is_done }) => !is_done)) {
        yield says("H", `${key} was never announced to ${target}`);
      }
      const attempts = same.reduce((sum, notice) => sum + notice.attempts, 0);
      const count = (target === CHAT ? arrived : events).get(key)?.length ?? 0;
      const most = target === CHAT ? attempts : same.length;
      if (count < same.length) {
        yield says("H", `${key} arrived ${count} times at ${target}, noted ${same.length} times`);
      } else if (count > most) {
        yield says("H", `${key} arrived ${count} times at ${target}, sent ${most} times`);
      }
    }
  }
  for (const { deliveries, alert_id, what } of told) {
    if (deliveries !== 1) {
      yield says("H", `the event of ${alert_id} ${what} has ${deliveries} deliveries`);
    }
  }
  yield* checkOrder(notices, arrived);
}

// One that failed and waits is not told after a later one.
function isOutdated({ is_outdated, alert_id, no }: NoticeRow, all: readonly NoticeRow[]): boolean {
  return is_outdated &&
    all.some((later) =>
      later.alert_id === alert_id && later.is_done && Number(later.no) > Number(no)
    );
}

function* checkOrder(
  notices: readonly NoticeRow[],
  arrived: ReadonlyMap<string, readonly ChatSeen[]>,
): Generator<Violation> {
  for (const { alert_id, what, target } of notices) {
    if (what !== "began" || target !== CHAT) continue;
    const begins = arrived.get(`${alert_id} began`) ?? [];
    const ends = arrived.get(`${alert_id} ended`) ?? [];
    const end = Math.min(...ends.map(({ at }) => at));
    if (begins.some(({ at }) => at > end)) {
      yield says("H", `${alert_id} was said to begin after it was said to have ended`);
    }
  }
}

function* checkClaims({ notice_changes }: Watched): Generator<Violation> {
  const claimed = new Set<string>();
  for (const { no, what, writer, at, leased_before } of notice_changes) {
    if (what === "claimed") {
      if (leased_before !== null && leased_before > at + CLOCK_TOLERANCE_MS) {
        yield says("H", `${writer} took notice ${no}, which was being sent`);
      }
      claimed.add(`${no} ${writer}`);
    } else if (what !== "freed" && what !== "outdated" && !claimed.has(`${no} ${writer}`)) {
      yield says("H", `${writer} wrote that notice ${no} is ${what}, and never took it`);
    }
  }
}

// --- I: scopes ------------------------------------------------------------------------------------------

function* checkReaders({ readers, owners }: Watched): Generator<Violation> {
  for (const { business, events, ways, foreign } of readers) {
    for (const what of foreign) yield says("I", `${business} saw ${what}`);
    for (const id of events) {
      const owner = owners.get(id);
      // One that was never in the list of events has been purged, or is an example of a page.
      if (owner !== undefined && owner !== business) {
        yield says("I", `${business} saw ${id}, an event of ${owner ?? "nobody"}`);
      }
    }
    for (const way of WAYS) {
      if (!ways.has(way)) yield says("I", `${business} saw nothing of its own by its ${way}`);
    }
  }
}

/** What the text of an answer must not have if it is for this business: words of the other one, or of operators. */
export function foreignIn(
  text: string,
  business: string,
  operators_words: readonly string[],
): string[] {
  const others = [...text.matchAll(/bus_\d+/g)].map(([id]) => id).filter((id) => id !== business);
  return [...new Set(others), ...operators_words.filter((word) => text.includes(word))];
}

// --- J: erasures ----------------------------------------------------------------------------------------

function* checkErasures(watched: Watched, ledger: Ledger): Generator<Violation> {
  const events = new Map(ledger.events.map((event) => [event.id, event]));
  const requests = Map.groupBy(ledger.requests, ({ event_id }) => event_id);
  const pending = new Set(
    ledger.deliveries.filter(({ status }) => status === "pending").map(({ id }) => id),
  );
  const asked = new Set(watched.erasures.flatMap(({ event_ids }) => event_ids));
  for (const erasure of watched.erasures) {
    if (erasure.state !== "done") yield says("J", `erasure ${erasure.id} is ${erasure.state}`);
    for (const id of erasure.event_ids) {
      const event = events.get(id);
      if (event === undefined) continue;
      if (event.erased_at === null || event.hash !== null) {
        yield says("J", `event ${id} of the erasure ${erasure.id} is not erased`);
      }
      yield* checkSentAfter(erasure, id, requests.get(id) ?? []);
      for (const { no } of ledger.endpoints) {
        const delivery = deliveryUuid(id, no);
        if (pending.has(delivery)) {
          yield says("J", `delivery ${delivery} of an erased event is pending`);
        }
      }
    }
  }
  for (const { id, erased_at } of ledger.events) {
    if (erased_at !== null && !asked.has(id)) yield says("J", `event ${id} was erased unasked`);
  }
  for (const { id, event_id, reason } of ledger.deliveries) {
    if (reason === "erased" && !asked.has(event_id)) {
      yield says("J", `delivery ${id} was cancelled as erased, and nobody asked for that`);
    }
  }
  for (const { event_id, place } of watched.traces) {
    yield says("J", `${place} has something of the erased event ${event_id}`);
  }
}

function* checkSentAfter(
  { id, ended_at }: ErasureRow,
  event_id: string,
  requests: readonly RequestSeen[],
): Generator<Violation> {
  const late = requests.filter(({ at }) => ended_at !== null && at > ended_at + CLOCK_TOLERANCE_MS);
  for (const { delivery_id, attempt } of late) {
    yield says(
      "J",
      `attempt ${attempt} of ${delivery_id} came after the erasure ${id} of ${event_id} had ended`,
    );
  }
}

// --- K: weeks -------------------------------------------------------------------------------------------

function* checkWeeks({ weeks, drops }: Watched, ledger: Ledger): Generator<Violation> {
  const deliveries = new Map(ledger.deliveries.map((delivery) => [delivery.id, delivery]));
  const events = new Map(ledger.events.map((event) => [event.id, event]));
  for (const { partition, pending } of drops) {
    if (pending > 0) yield says("K", `${partition} was dropped with ${pending} pending deliveries`);
  }
  for (const { name, must_go, owed } of weeks) {
    const gone = drops.filter(({ partition }) => partition.endsWith(`_${name}`));
    if (must_go && gone.length === 0) {
      yield says("K", `nothing of the week ${name} was owed, and it was not dropped`);
    }
    for (const { id, hash } of owed) {
      const delivery = deliveries.get(id);
      if (delivery === undefined) {
        yield says("K", `delivery ${id} of the week ${name} was owed, and is gone`);
        continue;
      }
      if (events.get(delivery.event_id)?.hash !== hash) {
        yield says("K", `the event of ${id} of the week ${name} has other bytes, or none`);
      }
      const is_taken = ledger.requests.some((request) =>
        request.delivery_id === id && request.hash === hash && request.status === 200
      );
      const most = ledger.endpoints.find(({ no }) => no === delivery.endpoint_no)?.retry_ms.length;
      const is_failed = delivery.status === "failed" && delivery.attempts >= (most ?? Infinity);
      if (!is_failed && (delivery.status !== "delivered" || !is_taken)) {
        yield says("K", `delivery ${id} of the week ${name} was owed, and is ${delivery.status}`);
      }
    }
  }
}
