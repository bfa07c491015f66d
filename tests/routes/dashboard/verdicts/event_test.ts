import assert from "node:assert/strict";
import type * as shown from "../../../../lib/admin/shown.ts";
import { eventVerdict } from "../../../../routes/dashboard/verdicts/event.ts";
import { actions, BUSINESS, headline, OPERATOR, OPERATORS_WORDS, sentences } from "./facts.ts";

type Row = shown.EndpointVerdict;

function row(endpoint_id: string, state: Row["state"], more: Partial<Row> = {}): Row {
  const owed = !["type_not_selected", "other_business", "made_later", "retired"].includes(state);
  return {
    endpoint_id,
    owed,
    state,
    explanation: "Explained",
    advice: null,
    hints: [],
    delivery_id: owed ? `dlv_${endpoint_id}` : null,
    ...more,
  };
}

function event(endpoints: Row[], more: Partial<shown.EventDetail> = {}): shown.EventDetail {
  return {
    id: "evt_1",
    type: "booking.created",
    business: "bus_1",
    subject: "apt_1",
    confirmation_number: "BK4T8Q1Z",
    payload_hidden: false,
    test: false,
    received_at: "2026-11-26T14:02:11.000Z",
    payload: "{}",
    erased_at: null,
    deliveries: [],
    endpoints,
    ...more,
  };
}

const said = (endpoints: Row[], reader = OPERATOR, more: Partial<shown.EventDetail> = {}) =>
  headline(eventVerdict({ event: event(endpoints, more), names: new Map() }, reader));
const rows = (count: number, state: Row["state"]) =>
  Array.from({ length: count }, (_, n) => row(`${state}${n}`, state));

Deno.test("it went to some, and the others do not select it", () => {
  assert.equal(
    said([...rows(5, "delivered"), ...rows(4, "type_not_selected")]),
    "This event went to 5 of 9 endpoints; the other 4 do not select it",
  );
  assert.equal(
    said([...rows(2, "delivered"), row("late", "made_later")]),
    "This event went to 2 of 3 endpoints; the other one was made later",
  );
  assert.equal(
    said([...rows(2, "delivered"), row("late", "made_later"), row("x", "other_business")]),
    "This event went to 2 of 4 endpoints; the other 2 were not owed it",
  );
  assert.equal(said(rows(3, "delivered")), "This event went to all 3 endpoints");
  assert.equal(said(rows(1, "delivered")), "This event went to the only endpoint there was");
});

Deno.test("what failed or waits comes first, with the way to its cause", () => {
  const failed = [row("crm", "failed", { advice: "Renew it" }), ...rows(4, "delivered")];
  const verdict = eventVerdict({ event: event(failed), names: new Map() }, OPERATOR);
  assert.equal(verdict.tone, "failing");
  assert.equal(headline(verdict), "crm did not accept this booking; 4 of 5 endpoints have it");
  assert.equal(sentences(verdict), "crm: Renew it. See why.");
  assert.deepEqual(actions(verdict), ["See why at crm", "Retry now"]);
  const at = "2026-11-26T13:59:20.000Z";
  const hints = [{ kind: "url_changed" as const, at, by: "anna", text: "The URL was edited" }];
  const hinted = eventVerdict(
    { event: event([row("crm", "failed", { hints })]), names: new Map() },
    OPERATOR,
  );
  assert.equal(sentences(hinted), "crm: The URL was edited. See why.");
  const both = eventVerdict(
    { event: event([...failed, row("erp", "due")]), names: new Map() },
    OPERATOR,
  );
  assert.match(sentences(both), /It still waits for erp\.$/);
  assert.equal(
    said([row("crm", "waiting"), row("erp", "paused")]),
    "This booking waits for crm and erp; nobody has it yet",
  );
  assert.equal(
    said(rows(5, "overdue")),
    "This booking waits for overdue0, overdue1 and 3 others; nobody has it yet",
  );
});

Deno.test("owed to nobody: why not", () => {
  assert.equal(said([]), "This booking went nowhere: no endpoint existed when it was stored");
  assert.equal(
    said(rows(1, "type_not_selected")),
    "This booking was owed to no endpoint: the only one does not select it",
  );
  assert.equal(
    said(rows(4, "type_not_selected")),
    "This booking was owed to none of the 4 endpoints",
  );
});

Deno.test("what a replay would still send is offered", () => {
  const missing = row("late", "made_later", {
    explanation: "The endpoint was made later; a replay of what is missing owes it the event",
  });
  const verdict = eventVerdict({
    event: event([row("crm", "delivered"), missing]),
    names: new Map([["late", "Loyalty"]]),
  }, OPERATOR);
  assert.match(sentences(verdict), /One endpoint is set to receive it now: a replay/);
  assert.deepEqual(actions(verdict), ["Send Loyalty what it is missing…"]);
  assert.equal(
    verdict.actions[0]?.href,
    "/dashboard/replays?missing=true&endpoint=late&since=2026-11-26T14%3A02%3A11.000Z",
  );
});

Deno.test("tests, and cancelled deliveries", () => {
  assert.equal(
    said([row("crm", "delivered")], OPERATOR, { test: true }),
    "This test went to the endpoint that it was for",
  );
  assert.equal(
    said([row("crm", "cancelled")]),
    "The delivery of this booking to crm was cancelled",
  );
  // It has not gone to those, and an attempt before it says nothing any more.
  const some = [
    row("ledger", "delivered"),
    row("crm", "cancelled", { advice: "Attempts go on", explanation: "It was erased" }),
  ];
  assert.equal(said(some), "This booking went to ledger; it was cancelled for crm");
  const verdict = eventVerdict({ event: event(some), names: new Map() }, OPERATOR);
  assert.equal(sentences(verdict), "crm: It was erased. See why.");
});

Deno.test("a business reads of bookings and systems", () => {
  const all = [
    rows(2, "delivered"),
    [row("crm", "failed"), ...rows(1, "delivered")],
    [row("crm", "waiting")],
    [],
    rows(2, "type_not_selected"),
    [...rows(1, "delivered"), row("x", "made_later")],
  ];
  for (const endpoints of all) {
    const verdict = eventVerdict({ event: event(endpoints), names: new Map() }, BUSINESS);
    assert.doesNotMatch(`${headline(verdict)} ${sentences(verdict)}`, /deliver(y|ies)|daemon|owed/);
    assert.doesNotMatch(sentences(verdict), OPERATORS_WORDS);
  }
  assert.equal(said(rows(3, "delivered"), BUSINESS), "This booking arrived at all 3 systems");
});
