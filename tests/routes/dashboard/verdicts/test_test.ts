import assert from "node:assert/strict";
import type * as shown from "../../../../lib/admin/shown.ts";
import type { OwedNow, TestDraft } from "../../../../lib/admin/tests.ts";
import { owedWords, testVerdict } from "../../../../routes/dashboard/verdicts/test.ts";
import { plain } from "../../../../routes/dashboard/verdicts/verdict.ts";
import {
  actions,
  BUSINESS,
  facts,
  headline,
  NOW,
  OPERATOR,
  OPERATORS_WORDS,
  sentences,
} from "./facts.ts";

const OWED: OwedNow = {
  endpoint_id: "crm",
  name: "crm",
  owed: true,
  reason: null,
  events: ["booking.*"],
  paused_at: null,
  unsendable_reason: null,
};

const ATTEMPT = {
  number: 1,
  outcome: "delivered",
  status: 200,
  cause: null,
  duration_ms: 61.2,
  advice: null,
} as shown.Attempt;

const DELIVERY = {
  id: "dlv_1",
  endpoint_id: "crm",
  event_type: "booking.created",
  status: "delivered",
  state: "delivered",
  explanation: "Explained",
  test: true,
  sending: false,
  attempt_count: 1,
  counted_attempts: 1,
  max_attempts: 7,
  next_attempt_at: null,
  created_at: NOW,
  attempts: [ATTEMPT],
} as unknown as shown.DeliveryDetail;

function draft(
  delivery: Partial<shown.DeliveryDetail> | null,
  owed: readonly OwedNow[] = [OWED],
): TestDraft {
  return {
    endpoints: [{ id: "crm", name: "crm" }],
    is_all: true,
    types: ["booking.created"],
    endpoint: "crm",
    type: "booking.created",
    sample: "{}",
    test: delivery === null
      ? null
      : { event_id: "evt_1", payload: null, delivery: { ...DELIVERY, ...delivery } },
    real: { type: "booking.created", owed },
    earlier: [],
  };
}

const crm = (more: Partial<shown.Endpoint> = {}) => facts("delivering", more).endpoint;
const said = (
  delivery: Partial<shown.DeliveryDetail> | null,
  reader = OPERATOR,
  owed?: readonly OwedNow[],
  endpoint = crm(),
) => testVerdict({ draft: draft(delivery, owed), endpoint }, reader);

Deno.test("a test that was accepted says by how many a real one would be owed", () => {
  const others = ["a", "b"].map((id) => ({ ...OWED, endpoint_id: id }));
  const verdict = said({}, OPERATOR, [OWED, ...others]);
  assert.equal(headline(verdict), "crm accepted the test: 200 in 61 ms");
  assert.equal(
    sentences(verdict),
    "A real booking.created would be owed to crm and 2 others; the table says why.",
  );
  assert.deepEqual(actions(verdict), []);
  assert.equal(
    headline(said({ attempt_count: 2 })),
    "crm accepted the test on the second attempt: 200 in 61 ms",
  );
  const waiting = said({}, OPERATOR, undefined, crm({ pending: 214 }));
  assert.deepEqual(actions(waiting), ["Retry crm’s 214 now…"]);
  assert.equal(waiting.actions[0]?.href, "/dashboard/replays?status=pending&endpoint=crm");
});

Deno.test("a test that was accepted says that a real one would not be owed", () => {
  const owed = { ...OWED, owed: false, reason: "The endpoint does not select it" };
  const verdict = said({}, OPERATOR, [owed]);
  assert.equal(
    headline(verdict),
    "crm accepted the test, but a real booking.created would not be owed to it",
  );
  assert.equal(verdict.tone, "waiting");
  assert.deepEqual(actions(verdict), ["Change what crm selects"]);
  assert.equal(
    headline(said({}, BUSINESS, [owed])),
    "crm received the test, but is not set to receive “New booking”",
  );
});

Deno.test("a test that was refused says what follows", () => {
  const attempts = [{ ...ATTEMPT, outcome: "http_4xx", status: 401, advice: "Check the secret" }];
  const rejected = { attempts, status: "pending", state: "waiting" } as Partial<
    shown.DeliveryDetail
  >;
  const next_attempt_at = "2026-11-26T15:32:00.000Z";
  const waiting = said({ ...rejected, next_attempt_at });
  assert.equal(headline(waiting), "crm rejected the test with 401; attempt 2 of 7 is at 15:32");
  assert.equal(sentences(waiting), "Check the secret.");
  assert.deepEqual(actions(waiting), ["How to fix a 401", "Stop its retries"]);
  assert.equal(waiting.actions[0]?.href, "/dashboard/help#http_4xx");
  const failed = said({ ...rejected, status: "failed", state: "failed" });
  assert.equal(headline(failed), "crm rejected the test with 401, and no attempts are left");
  const cancelled = said({ ...rejected, status: "cancelled", state: "cancelled" });
  assert.equal(
    headline(cancelled),
    "crm rejected the test with 401, and its retries were cancelled",
  );
  assert.equal(
    headline(said({ ...rejected, next_attempt_at }, BUSINESS)),
    "crm refused the test; attempt 2 of 7 is at 15:32",
  );
  const looking = { ...OPERATOR, may_write: false };
  assert.deepEqual(actions(said({ ...rejected, next_attempt_at }, looking)), [
    "How to fix a 401",
  ]);
});

Deno.test("a test without an attempt is on its way, or says what it waits for", () => {
  const none = { attempts: [], attempt_count: 0, status: "pending" as const };
  assert.equal(headline(said({ ...none, state: "sending" })), "The test is on its way to crm");
  const paused = said({ ...none, state: "paused", explanation: "Waits until resumed" });
  assert.equal(headline(paused), "The test waits for crm");
  assert.equal(sentences(paused), "Waits until resumed.");
  assert.equal(paused.tone, "paused");
});

Deno.test("before a test the page says what would be sent; without an endpoint, that it needs one", () => {
  for (const reader of [OPERATOR, BUSINESS]) {
    const none = testVerdict({ draft: draft(null), endpoint: null }, reader);
    assert.equal(
      headline(none),
      reader === OPERATOR ? "Send crm a test booking.created" : "Send crm a test: “New booking”",
    );
    assert.equal(none.state.word, "Not sent yet");
    assert.match(sentences(none), /^It goes to that (endpoint|system) only/);
    const empty = { ...draft(null), endpoints: [] };
    const nowhere = testVerdict({ draft: empty, endpoint: null }, reader);
    assert.deepEqual(actions(nowhere), ["New endpoint"]);
    if (reader === BUSINESS) assert.doesNotMatch(sentences(none), OPERATORS_WORDS);
  }
});

Deno.test("each endpoint has a state and a reason", () => {
  const row = (more: Partial<OwedNow>, reader = OPERATOR) => {
    const { state, why } = owedWords({ ...OWED, ...more }, { type: "booking.created" }, reader);
    return `${state.kind} ${state.word}: ${plain(why)}`;
  };
  assert.equal(row({}), "owed Owed: Selects booking.*.");
  assert.equal(row({ events: ["*"] }), "owed Owed: Selects everything (*).");
  assert.equal(
    row({ events: ["booking.created", "booking.*"] }),
    "owed Owed: Selects booking.created.",
  );
  assert.equal(
    row({ paused_at: "2026-11-26T09:12:00.000Z" }),
    "paused Owed, waits: Selects booking.*, but is paused since 09:12.",
  );
  assert.equal(
    row({ unsendable_reason: "it has no secret" }),
    "waiting Owed, waits: Selects booking.*, but cannot be sent to: it has no secret.",
  );
  assert.equal(row({ owed: false, reason: "No" }), "cancelled Not owed: No.");
  assert.equal(
    row(
      { owed: false, events: ["service.*"], reason: "The endpoint does not select it" },
      BUSINESS,
    ),
    "cancelled Not sent: Not set to receive “New booking”.",
  );
  assert.equal(row({}, BUSINESS), "owed Sent: Set to receive “New booking”.");
});
