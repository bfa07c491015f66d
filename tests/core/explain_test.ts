import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type DeliveryFacts,
  type EndpointFacts,
  type EventFacts,
  explainDelivery,
  explainUnowed,
  inWords,
} from "../../lib/core/explain.ts";
import type { Selection } from "../../lib/core/matching.ts";
import { REASONS } from "../../lib/core/outcome.ts";

const NOW = Date.UTC(2026, 10, 24, 10);
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** A delivery that is due for the first time, but for `change`. */
const delivery = (change: Partial<DeliveryFacts>): DeliveryFacts => ({
  status: "pending",
  sending: false,
  leased_until: null,
  cancel_reason: null,
  attempts: 0,
  counted: 0,
  max_attempts: 7,
  next_attempt_at: NOW,
  last_outcome: null,
  last_status: null,
  last_cause: null,
  mentions_signature: false,
  pause_reason: null,
  probe_at: null,
  unsendable_reason: null,
  retired: false,
  is_spent: false,
  concurrency: null,
  rate_limit: null,
  next_send_at: null,
  owed_by: null,
  holdup: null,
  ...change,
});

const explain = (change: Partial<DeliveryFacts>) => {
  const { state, explanation } = explainDelivery(delivery(change), NOW);
  return `${state}: ${explanation}`;
};

const AGAIN = "only a retry or a replay sends it again";

Deno.test("explainDelivery() says how an ended delivery ended", () => {
  assert.equal(
    explain({ status: "delivered", attempts: 1, last_outcome: "delivered", last_status: 204 }),
    "delivered: Delivered after 1 attempt, with status 204",
  );
  assert.equal(
    explain({ status: "delivered", attempts: 1, last_outcome: "delivered", owed_by: "rpl_1" }),
    "delivered: Delivered after 1 attempt; owed by the replay rpl_1",
  );
  const failed = { status: "failed", attempts: 7, last_outcome: "http_5xx" } as const;
  assert.equal(
    explain({ ...failed, last_status: 503 }),
    `failed: Failed after 7 attempts; the last ended with http_5xx (status 503); ${AGAIN}`,
  );
  assert.equal(
    explain({ ...failed, last_outcome: "dns", last_cause: "ENOTFOUND a.b" }),
    `failed: Failed after 7 attempts; the last ended with dns (ENOTFOUND a.b); ${AGAIN}`,
  );
  assert.equal(
    explain({ ...failed, is_spent: true, last_status: 503 }),
    "failed: Failed after 7 attempts; the last ended with http_5xx (status 503); its payload is not kept " +
      "any longer, so nothing sends it again",
  );
  assert.equal(
    explain({ ...failed, last_outcome: "interrupted", retired: true }),
    "failed: Failed after 7 attempts; the last was interrupted; its endpoint is retired",
  );
  assert.equal(
    explain({
      ...failed,
      attempts: 1,
      last_outcome: "http_4xx",
      last_status: 401,
      mentions_signature: true,
    }),
    "failed: Failed after 1 attempt; the last ended with http_4xx (status 401); the answer " +
      "mentions a signature, which `verify` examines (`delivery` prints the command line); " +
      AGAIN,
  );
  assert.equal(
    explain({ status: "cancelled", attempts: 2, cancel_reason: "Cancelled by ops" }),
    `cancelled: Cancelled after 2 attempts: Cancelled by ops; ${AGAIN}`,
  );
  assert.equal(
    explain({ status: "cancelled", cancel_reason: "endpoint_retired", retired: true }),
    "cancelled: Cancelled after 0 attempts: the endpoint was retired",
  );
  assert.equal(
    explain({ status: "cancelled", attempts: 1, cancel_reason: "deselected" }),
    "cancelled: Cancelled after 1 attempt: the endpoint no longer selects it; only a retry or a " +
      "replay sends it again",
  );
});

Deno.test("explainDelivery() names what a pending delivery waits for", () => {
  const failed = { attempts: 1, counted: 1, last_outcome: "http_5xx", last_status: 503 };
  const later = { ...failed, next_attempt_at: NOW + 65 * MINUTE };
  const soon = "due: Attempt 1 is due now and begins within a second or so";
  assert.equal(explain({}), soon);
  assert.equal(explain({ next_attempt_at: null }), soon);
  assert.equal(
    explain(failed),
    "due: Attempt 2 is due now and begins within a second or so; attempt 1 ended with http_5xx " +
      "(status 503)",
  );
  assert.equal(
    explain({ ...failed, next_attempt_at: NOW - 5 * MINUTE }),
    "overdue: Attempt 2 has been due for 5 min; those due before it go first, and if nothing moves, " +
      "`bookme-webhooks doctor` looks for the reason; attempt 1 ended with http_5xx (status 503)",
  );
  assert.equal(
    explain({ concurrency: 4 }),
    "due: Attempt 1 is due now and waits for its turn (the endpoint takes 4 at a time)",
  );
  assert.equal(
    explain({ concurrency: 4, next_attempt_at: NOW - 5 * MINUTE }),
    "overdue: Attempt 1 has been due for 5 min and waits for its turn (the endpoint takes 4 at a time)",
  );
  assert.equal(
    explain({ holdup: "the endpoint has 8 under way here, as many as it may have now" }),
    "due: Attempt 1 is due now and waits: the endpoint has 8 under way here, as many as it may " +
      "have now",
  );
  assert.equal(
    explain({ rate_limit: "30/m", next_send_at: NOW + 2_000, concurrency: 4 }),
    "rate_limited: Attempt 1 is due now and waits for the endpoint's rate limit of 30/m, which lets the " +
      "next one begin at 2026-11-24T10:00:02.000Z (in 2 s)",
  );
  assert.equal(explain({ rate_limit: "30/m", next_send_at: NOW }), soon);
  assert.equal(
    explain(later),
    "waiting: Attempt 2 follows at 2026-11-24T11:05:00.000Z (in 1 h 5 min); attempt 1 ended with " +
      "http_5xx (status 503)",
  );
  assert.equal(
    explain({ ...later, last_outcome: "delivered", last_status: 200 }),
    "waiting: Attempt 2 follows at 2026-11-24T11:05:00.000Z (in 1 h 5 min)",
    "one that was delivered and is sent again",
  );
});

Deno.test("explainDelivery() prefers what holds a delivery up over when it is due", () => {
  const all = {
    attempts: 2,
    counted: 2,
    cancel_reason: "Cancelled by ops",
    sending: true,
    pause_reason: "Maintenance",
    unsendable_reason: "No key opens its secrets",
  };
  assert.equal(
    explain(all),
    "cancelling: Attempt 3 is under way and is the last: unless it delivers, the delivery is " +
      "cancelled: Cancelled by ops",
  );
  assert.equal(explain({ ...all, cancel_reason: null }), "sending: Attempt 3 is under way");
  assert.equal(
    explain({ ...all, cancel_reason: null, rate_limit: "1/h" }),
    "sending: Attempt 3 is under way, or begins within the rate of 1/h",
  );
  assert.equal(
    explain({ ...all, cancel_reason: null, leased_until: NOW - 1 }),
    "interrupted: Attempt 3 never reported back; the next sweep records it as interrupted, and the " +
      "delivery is due again",
  );
  const waiting = { ...all, cancel_reason: null, sending: false };
  assert.equal(
    explain(waiting),
    "paused: Waits until the endpoint is resumed; it is paused: Maintenance",
  );
  assert.equal(
    explain({ ...waiting, pause_reason: "" }),
    "paused: Waits until the endpoint is resumed; it is paused",
  );
  const automatic = { ...waiting, pause_reason: "Nothing but failures for 5 days" };
  assert.equal(
    explain({ ...automatic, probe_at: NOW + 12 * MINUTE, last_outcome: "timeout" }),
    "paused: Waits because the endpoint is paused automatically: Nothing but failures for 5 days; " +
      "one waiting delivery is tried at 2026-11-24T10:12:00.000Z (in 12 min), and all follow once " +
      "one arrives; attempt 2 ended with timeout",
  );
  assert.match(
    explain({ ...automatic, probe_at: NOW - 1 }),
    /; one waiting delivery is tried within a minute, and all follow once one arrives$/,
  );
  assert.equal(
    explain({ unsendable_reason: all.unsendable_reason }),
    "unsendable: Waits because this daemon cannot send it: No key opens its secrets",
  );
  assert.equal(
    explain({ ...waiting, max_attempts: 2, last_outcome: "timeout" }),
    "ending: All 2 attempts of the endpoint's policy are used up; the next sweep fails the " +
      "delivery; attempt 2 ended with timeout",
  );
  assert.equal(
    explain({ ...waiting, retired: true }),
    "ending: The endpoint is retired; a sweep cancels the delivery, after a day if its daemon is gone",
  );
});

/** Mostly the first value: with all of them equally often, few deliveries would just wait. */
function mostly<T>(usual: T, ...others: T[]): fc.Arbitrary<T> {
  return fc.oneof(
    { weight: 4, arbitrary: fc.constant(usual) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  );
}

/** A delivery as the database can hold it. */
const ANY_DELIVERY: fc.Arbitrary<DeliveryFacts> = fc.record({
  status: fc.constantFrom("pending", "delivered", "failed", "cancelled"),
  sending: fc.boolean(),
  leased_until: fc.constantFrom(null, NOW - 1, NOW + MINUTE),
  cancel_reason: mostly<string | null>(null, "Cancelled by ops", "deselected", "erased"),
  attempts: fc.constantFrom(0, 1, 7),
  counted: fc.constantFrom(0, 1, 7),
  max_attempts: fc.constantFrom(null, 1, 7),
  next_attempt_at: fc.constantFrom(null, NOW - HOUR, NOW, NOW + HOUR),
  last_outcome: fc.constantFrom(null, "delivered", ...REASONS),
  last_status: fc.constantFrom(null, 200, 401, 503),
  last_cause: fc.constantFrom(null, "ECONNREFUSED 127.0.0.1:9"),
  mentions_signature: fc.boolean(),
  pause_reason: mostly<string | null>(null, "", "Maintenance"),
  probe_at: fc.constantFrom(null, NOW - 1, NOW + HOUR),
  unsendable_reason: mostly<string | null>(null, "No key opens its secrets"),
  retired: mostly<boolean>(false, true),
  is_spent: mostly<boolean>(false, true),
  concurrency: fc.constantFrom(null, 1),
  rate_limit: fc.constantFrom(null, "1/h"),
  next_send_at: fc.constantFrom(null, NOW - 1, NOW + HOUR),
  owed_by: fc.constant(null),
  holdup: fc.constantFrom(
    null,
    "this daemon is stopping; another one, or its next start, sends it",
  ),
}).filter((facts) =>
  (facts.attempts > 0 || facts.last_outcome === null) && facts.counted <= facts.attempts
);

Deno.test("explainDelivery() says for every state what is true of it and what follows", () => {
  const follows: Record<string, RegExp> = {
    delivered: /^Delivered after \d+ attempts?(, with status \d+)?$/,
    failed:
      /^Failed after .*; (only a retry or a replay sends it again|its endpoint is retired|its payload is not kept .* nothing sends it again)$/,
    cancelled: /^Cancelled after \d+ attempts?: /,
    sending: /^Attempt \d is under way/,
    cancelling:
      /^Attempt \d (is under way and is the last: unless|never .* cancels the delivery: )/,
    interrupted: /^Attempt \d never reported back; .* due again$/,
    ending: /(a|the next) sweep (cancels|fails) the delivery|^The next sweep cancels/,
    paused:
      /^Waits (until the endpoint is resumed; it is paused|because the endpoint is paused automatically.* is tried (at|within) )/,
    unsendable: /^Waits because this daemon cannot send it: /,
    rate_limited:
      /^Attempt \d (is due now|has been due for .*) and waits for the endpoint's rate limit of /,
    due: /^Attempt \d is due now and (waits|begins)/,
    overdue:
      /^Attempt \d has been due for .*( and waits(:| for its turn)|; those due before it go first)/,
    waiting: /^Attempt \d follows at \S+Z \(in /,
  };
  const seen = new Set<string>();
  fc.assert(
    fc.property(ANY_DELIVERY, (facts) => {
      const { state, explanation } = explainDelivery(facts, NOW);
      seen.add(state);
      assert.match(explanation, follows[state] ?? /never/, state);
      assert.doesNotMatch(
        explanation,
        /because the last|null|undefined|NaN|: *(;|$)|\(\)|\.$|; ?;/,
      );
      assert.doesNotMatch(explanation, /attempt 0/, "no attempt before the first");
      if (facts.status !== "pending") assert.equal(state, facts.status);
      // Nothing that is held up is said to begin.
      if (/begins within a second/.test(explanation)) {
        assert.deepEqual([facts.pause_reason, facts.holdup, facts.sending], [null, null, false]);
      }
      if (state === "waiting") assert.ok((facts.next_attempt_at ?? 0) > NOW);
    }),
    { numRuns: 5_000 },
  );
  assert.deepEqual([...seen].toSorted(), Object.keys(follows).toSorted());
});

Deno.test("inWords() has two units at most, and is never below none", () => {
  assert.deepEqual(
    [-5, 0, 1, 1_000, 59_000, MINUTE, 90_000, HOUR, 65 * MINUTE, 50 * HOUR].map(inWords),
    ["0 s", "0 s", "1 s", "1 s", "59 s", "1 min", "2 min", "1 h", "1 h 5 min", "50 h"],
  );
});

const EVENT: EventFacts = { type: "booking.created", business: "bus_1", test: false };
const PICKY = { events: ["booking.*", "service.created"], businesses: ["bus_2", "bus_3"] };
const SERVICES = { events: ["service.*"], businesses: null };
const ALL = { events: ["*"], businesses: null };

/** An endpoint that selects the same all the time. */
const always = (selection: Selection): EndpointFacts => ({
  then: selection,
  now: selection,
  created_at: NOW - HOUR,
  retired_then_at: null,
  selection_changed_at: null,
  can_be_owed: false,
});

Deno.test("explainUnowed() says why an endpoint was not owed an event, as of when it was stored", () => {
  const unowed = (event: Partial<EventFacts>, endpoint: EndpointFacts) => {
    const found = explainUnowed({ ...EVENT, ...event }, endpoint);
    return `${found.state}: ${found.explanation}`;
  };
  assert.equal(
    unowed({ test: true }, always(ALL)),
    "test_of_another: Test event for another endpoint",
  );
  assert.equal(
    unowed({}, { ...always(SERVICES), then: null, created_at: NOW + 1 }),
    "made_later: The endpoint was made later, at 2026-11-24T10:00:00.001Z",
  );
  assert.equal(
    unowed({}, { ...always(ALL), retired_then_at: NOW - 1_000 }),
    "retired: The endpoint was retired before, at 2026-11-24T09:59:59.000Z",
  );
  assert.equal(
    unowed({ type: "business.created" }, always(PICKY)),
    "type_not_selected: The endpoint does not select business.created; it selects booking.*, " +
      "service.created",
  );
  assert.equal(
    unowed({}, always(PICKY)),
    "other_business: The event is of the business bus_1; the endpoint wants bus_2, bus_3 only",
  );
  assert.equal(
    unowed({ business: null }, always(PICKY)),
    "no_business_known: No business known: the event named none, and none was stored for its subject " +
      "before; the endpoint wants bus_2, bus_3 only",
  );
  const changed = { selection_changed_at: NOW + HOUR };
  assert.equal(
    unowed({}, { ...always(SERVICES), now: ALL, ...changed }),
    "changed_later: The endpoint did not select booking.created; it selected service.*. It selects " +
      "it now (changed at 2026-11-24T11:00:00.000Z), but did not when the event was stored, so it " +
      "was never owed it",
  );
  assert.equal(
    unowed({}, { ...always(SERVICES), now: PICKY, ...changed }),
    "type_not_selected: The endpoint did not select booking.created; it selected service.*",
    "now for another reason",
  );
  assert.equal(
    unowed({}, { ...always(PICKY), now: SERVICES, ...changed }),
    "other_business: The event is of the business bus_1; the endpoint wanted bus_2, bus_3 only",
  );
  assert.equal(
    unowed({}, always(ALL)),
    "changed_later: The endpoint was just being changed when the event was stored",
  );
  const later = { ...always(ALL), then: null, created_at: NOW + 1, can_be_owed: true };
  const made = "made_later: The endpoint was made later, at 2026-11-24T10:00:00.001Z";
  assert.equal(unowed({}, later), `${made}; a replay of what is missing owes it the event`);
  assert.equal(unowed({}, { ...later, now: SERVICES }), made, "it does not select it");
});
