import assert from "node:assert/strict";
import {
  type DeliveryFacts,
  type EndpointFacts,
  type EventFacts,
  explainDelivery,
  explainUnowed,
  inWords,
} from "../../lib/core/explain.ts";

const NOW = Date.UTC(2026, 10, 24, 10);
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** A delivery that is due for the first time, but for `change`. */
const delivery = (change: Partial<DeliveryFacts>): DeliveryFacts => ({
  status: "pending",
  sending: false,
  cancel_reason: null,
  attempts: 0,
  next_attempt_at: NOW,
  last_outcome: null,
  last_status: null,
  last_cause: null,
  pause_reason: null,
  unsendable_reason: null,
  concurrency: null,
  rate_limit: null,
  next_send_at: null,
  ...change,
});

const explain = (change: Partial<DeliveryFacts>) => {
  const { state, explanation } = explainDelivery(delivery(change), NOW);
  return `${state}: ${explanation}`;
};

Deno.test("explainDelivery() says how an ended delivery ended", () => {
  assert.equal(
    explain({ status: "delivered", attempts: 1, last_outcome: "delivered", last_status: 204 }),
    "delivered: Delivered after 1 attempt, with status 204",
  );
  assert.equal(
    explain({ status: "failed", attempts: 7, last_outcome: "http_5xx", last_status: 503 }),
    "failed: Failed after 7 attempts; the last met http_5xx (status 503)",
  );
  assert.equal(
    explain({ status: "failed", attempts: 7, last_outcome: "dns", last_cause: "ENOTFOUND a.b" }),
    "failed: Failed after 7 attempts; the last met dns (ENOTFOUND a.b)",
  );
  assert.equal(
    explain({ status: "cancelled", attempts: 2, cancel_reason: "Cancelled by ops" }),
    "cancelled: Cancelled after 2 attempts: Cancelled by ops",
  );
  assert.equal(
    explain({ status: "cancelled" }),
    "cancelled: Cancelled after 0 attempts: no reason was given",
  );
});

Deno.test("explainDelivery() names what a pending delivery waits for", () => {
  const later = { next_attempt_at: NOW + 65 * MINUTE, attempts: 1 };
  assert.equal(explain({}), "due: Attempt 1 is due now and waits for its turn");
  assert.equal(explain({ next_attempt_at: null }), explain({}));
  assert.equal(
    explain({ concurrency: 4 }),
    "due: Attempt 1 is due now and waits for its turn (the endpoint takes 4 at a time)",
  );
  assert.equal(
    explain({ rate_limit: "30/m", next_send_at: NOW + 2_000, concurrency: 4 }),
    "due: Attempt 1 is due now and waits for the endpoint's rate limit of 30/m, which lets the " +
      "next one begin at 2026-11-24T10:00:02.000Z (in 2 s)",
  );
  assert.equal(
    explain({ rate_limit: "30/m", next_send_at: NOW }),
    explain({}),
    "a rate limit that lets it begin",
  );
  assert.equal(
    explain({ ...later, last_outcome: "timeout" }),
    "waiting: Next attempt at 2026-11-24T11:05:00.000Z (in 1 h 5 min) because the last met timeout",
  );
  assert.equal(
    explain({ ...later, last_outcome: "delivered", last_status: 200 }),
    "waiting: Next attempt at 2026-11-24T11:05:00.000Z (in 1 h 5 min)",
    "one that was delivered and is sent again",
  );
});

Deno.test("explainDelivery() prefers what holds a delivery up over when it is due", () => {
  const all = {
    attempts: 2,
    cancel_reason: "Cancelled by ops",
    sending: true,
    pause_reason: "Maintenance",
    unsendable_reason: "No key opens its secrets",
  };
  assert.equal(
    explain(all),
    "cancelling: Attempt 3 is under way; it is the last unless it delivers: " +
      "Cancelled by ops",
  );
  assert.equal(explain({ ...all, cancel_reason: null }), "sending: Attempt 3 is under way");
  assert.equal(
    explain({ ...all, cancel_reason: null, sending: false }),
    "paused: Waits while the endpoint is paused: Maintenance",
  );
  assert.equal(
    explain({ unsendable_reason: all.unsendable_reason }),
    "unsendable: Waits because it cannot be sent: No key opens its secrets",
  );
});

Deno.test("inWords() has two units at most, and is never below none", () => {
  assert.deepEqual(
    [-5, 0, 1, 1_000, 59_000, MINUTE, 90_000, HOUR, 65 * MINUTE, 50 * HOUR].map(inWords),
    ["0 s", "0 s", "1 s", "1 s", "59 s", "1 min", "2 min", "1 h", "1 h 5 min", "50 h"],
  );
});

const EVENT: EventFacts = {
  type: "booking.created",
  business: "bus_1",
  test: false,
  received_at: NOW,
};
const ENDPOINT: EndpointFacts = {
  match: "matched",
  events: ["booking.*", "service.created"],
  businesses: ["bus_2", "bus_3"],
  created_at: NOW - HOUR,
  updated_at: NOW + HOUR,
};

Deno.test("explainUnowed() says why an endpoint was not owed an event", () => {
  const unowed = (event: Partial<EventFacts>, endpoint: Partial<EndpointFacts>) => {
    const found = explainUnowed({ ...EVENT, ...event }, { ...ENDPOINT, ...endpoint });
    return `${found.state}: ${found.explanation}`;
  };
  assert.equal(
    unowed({ test: true }, {}),
    "test_of_another: Test event for another endpoint",
  );
  assert.equal(
    unowed({}, { created_at: NOW + 1, match: "type not selected" }),
    "made_later: The endpoint was made later, at 2026-11-24T10:00:00.001Z",
  );
  assert.equal(
    unowed({ type: "business.created" }, { match: "type not selected" }),
    "type_not_selected: The endpoint does not select business.created; it selects booking.*, " +
      "service.created",
  );
  assert.equal(
    unowed({}, { match: "other business" }),
    "other_business: The event is of the business bus_1; the endpoint wants bus_2, bus_3 only",
  );
  assert.equal(
    unowed({ business: null }, { match: "other business" }),
    "no_business_known: No business known: the event named none, and none was stored for its subject " +
      "before; the endpoint wants bus_2, bus_3 only",
  );
  assert.equal(
    unowed({}, {}),
    "changed_later: The endpoint selects it as it is now (changed at 2026-11-24T11:00:00.000Z), " +
      "but did not when the event arrived",
  );
});
