import assert from "node:assert/strict";
import type { Breakdown } from "../../../../lib/admin/deliveries.ts";
import {
  deliveriesVerdict,
  type ListFacts,
  SHOWN,
} from "../../../../routes/dashboard/verdicts/deliveries.ts";
import { actions, BUSINESS, headline, OPERATOR, OPERATORS_WORDS, sentences } from "./facts.ts";

type Group = Breakdown["groups"][number];

function group(deliveries: number, more: Partial<Group> = {}): Group {
  return {
    status: "pending",
    endpoint: "crm",
    last_outcome: "http_4xx",
    last_status: 401,
    deliveries,
    ...more,
  };
}

function found(groups: readonly Group[], more: Partial<ListFacts> = {}): ListFacts {
  return {
    shown: "attention",
    found: { groups, exact: true },
    within: " in the last 3 days",
    is_narrowed: false,
    names: new Map([["bella", "Bella website"]]),
    replay: "status=failed",
    ...more,
  };
}

const FAILED: Group[] = [
  group(18, { status: "failed", endpoint: "ledger", last_status: 422 }),
  group(9, { status: "failed", endpoint: "bella", last_outcome: "dns", last_status: null }),
  group(3, { status: "failed", endpoint: "sms", last_outcome: "redirect", last_status: 301 }),
  group(1, {
    status: "failed",
    endpoint: "warehouse",
    last_outcome: "connection",
    last_status: null,
  }),
];

Deno.test("what waits and what failed, where most of it goes, and one replay", () => {
  const verdict = deliveriesVerdict(
    found([
      group(214),
      ...FAILED,
      group(5, { endpoint: "loyalty", last_outcome: "timeout", last_status: null }),
    ]),
    OPERATOR,
  );
  assert.equal(
    headline(verdict),
    "219 deliveries are waiting to retry, and 31 failed in the last 3 days",
  );
  assert.equal(
    sentences(verdict),
    "214 of the 219 are for crm (401) and will arrive on their own once crm accepts them. The 31 that failed " +
      "need a replay: 18 for ledger (422), 9 for Bella website (dns), 3 for sms (301) and 1 for others.",
  );
  assert.deepEqual(actions(verdict), ["Replay the 31 that failed…"]);
  assert.equal(verdict.actions[0]?.href, "/dashboard/replays?status=failed");
});

Deno.test("one, none, and more than are counted", () => {
  const said = (groups: Group[], more: Partial<ListFacts> = {}) =>
    headline(deliveriesVerdict(found(groups, more), OPERATOR));
  assert.equal(said([]), "Nothing needs attention in the last 3 days");
  assert.equal(said([group(1)]), "1 delivery is waiting to retry");
  assert.equal(said([group(1, { status: "failed" })]), "1 delivery failed in the last 3 days");
  assert.equal(
    said([group(1_000, { status: "failed" })], {
      shown: "failed",
      found: { groups: [group(1_000, { status: "failed" })], exact: false },
    }),
    "1,000+ deliveries failed in the last 3 days",
  );
  assert.equal(said([], { shown: "failed", within: "" }), "No delivery failed");
  assert.equal(
    said([], { shown: "all", is_narrowed: true }),
    "No such delivery in the last 3 days",
  );
  assert.equal(
    said([group(40, { status: "delivered" }), group(2), group(3, { status: "failed" })], {
      shown: "all",
    }),
    "45 deliveries in the last 3 days; 3 failed and 2 waiting",
  );
  assert.equal(said([group(2)], { shown: "overdue", within: "" }), "2 deliveries are overdue");
  assert.equal(
    said([group(3, { status: "delivered", last_outcome: "delivered" })], { shown: "tests" }),
    "3 tests were sent in the last 3 days",
  );
});

Deno.test("nothing to act on is good news, nothing found is none", () => {
  const word = (more: Partial<ListFacts>) =>
    deliveriesVerdict(found([], more), OPERATOR).state.word;
  assert.equal(word({}), "Good");
  assert.equal(word({ is_narrowed: true }), "None");
  assert.equal(word({ shown: "tests" }), "None");
  const cut = found([], { shown: "all", found: { groups: [], exact: false } });
  assert.equal(headline(deliveriesVerdict(cut, OPERATOR)), "No match among the newest deliveries");
});

Deno.test("one status of an endpoint stands for it, the most frequent", () => {
  const verdict = deliveriesVerdict(
    found([group(5), group(2, { last_status: 403 }), group(1, { endpoint: "bella" })]),
    OPERATOR,
  );
  assert.match(sentences(verdict), /^7 of the 8 are for crm \(401\) and will arrive/);
  const all = deliveriesVerdict(found([group(4)]), OPERATOR);
  assert.match(
    sentences(all),
    /^All 4 are for crm \(401\) and will arrive on their own once crm accepts/,
  );
});

Deno.test("whoever may only read gets no replay", () => {
  assert.deepEqual(deliveriesVerdict(found(FAILED), { ...OPERATOR, may_write: false }).actions, []);
});

Deno.test("a business reads of updates about its bookings", () => {
  for (const shown of SHOWN) {
    for (const groups of [[], [group(2)], [group(214), ...FAILED]]) {
      const verdict = deliveriesVerdict(found(groups, { shown }), BUSINESS);
      assert.doesNotMatch(`${headline(verdict)} ${sentences(verdict)}`, OPERATORS_WORDS);
    }
  }
  const verdict = deliveriesVerdict(found([group(1), group(2, { status: "failed" })]), BUSINESS);
  assert.equal(
    headline(verdict),
    "1 update has not arrived yet, and 2 did not arrive in the last 3 days",
  );
  assert.deepEqual(actions(verdict), ["Send the 2 that did not arrive again…"]);
});
