import assert from "node:assert/strict";
import type * as shown from "../../../../lib/admin/shown.ts";
import { readTyped } from "../../../../routes/dashboard/replay_form.ts";
import {
  newReplayVerdict,
  type ReplayCounted,
  replaysVerdict,
  replayVerdict,
  selectionWords,
} from "../../../../routes/dashboard/verdicts/replay.ts";
import { plain } from "../../../../routes/dashboard/verdicts/verdict.ts";
import { actions, BUSINESS, headline, OPERATOR, OPERATORS_WORDS, sentences } from "./facts.ts";

const NAMES = new Map([["ep_1", "Till"]]);

const REPLAY: shown.Replay = {
  id: "rpl_1",
  state: "running",
  matched: 1_216,
  matched_exact: true,
  replayed: 732,
  without_payload: 0,
  meanwhile: null,
  endpoint: "ep_1",
  missing: false,
  status: ["failed"],
  type: null,
  reason: null,
  code: null,
  since: "2026-11-26T08:00:00.000Z",
  until: "2026-11-26T15:00:00.000Z",
  rate_per_s: 50,
  created_at: "2026-11-26T15:30:45.000Z",
  created_by: "ops",
  ended_at: null,
};

const of = (change: Partial<shown.Replay>, reader = OPERATOR) =>
  replayVerdict({ ...REPLAY, ...change }, NAMES, reader);

Deno.test("a running replay says how far it is and how long it still takes", () => {
  assert.equal(headline(of({})), "Replaying: 732 of 1,216 sent, about 10 seconds left");
  assert.deepEqual(actions(of({})), ["Cancel the remaining 484"]);
  assert.deepEqual(actions(of({}, { ...OPERATOR, may_write: false })), []);
  // Without a rate, it goes on as it did: 732 in 15 seconds.
  assert.equal(
    headline(of({ rate_per_s: null })),
    "Replaying: 732 of 1,216 sent, about 10 seconds left",
  );
  assert.equal(headline(of({ rate_per_s: null, replayed: 0 })), "Replaying: 0 of 1,216 sent");
  const many = of({ matched: 100_000, matched_exact: false });
  assert.equal(headline(many), "Replaying: 732 of 100,000+ sent");
  assert.deepEqual(actions(many), ["Cancel the rest"]);
});

Deno.test("a replay that ended says what it sent and what it left out", () => {
  const done = of({ state: "done", replayed: 1_200, without_payload: 2, meanwhile: 14 });
  assert.equal(headline(done), "1,200 deliveries were sent again");
  assert.match(
    sentences(done),
    /14 were left out: delivered, retried or cancelled in the meantime/,
  );
  assert.match(sentences(done), /2 were left out: the payload is gone/);
  assert.deepEqual(actions(done), ["See what failed again"]);
  assert.equal(headline(of({ state: "done", replayed: 1 })), "1 delivery was sent again");
  assert.equal(
    headline(of({ state: "done", replayed: 1, missing: true, status: [] })),
    "1 delivery was sent",
  );
  assert.equal(headline(of({ state: "done", replayed: 0 })), "The replay found nothing to send");
  assert.equal(
    headline(of({ state: "cancelled" })),
    "The replay was cancelled after 732 of 1,216",
  );
  const business = of({ state: "done", replayed: 12, without_payload: 1 }, BUSINESS);
  assert.equal(headline(business), "12 messages were sent again");
  assert.doesNotMatch(sentences(business), OPERATORS_WORDS);
});

Deno.test("a selection is a sentence", () => {
  const words = (change: Partial<shown.Replay>) =>
    plain(selectionWords({ ...REPLAY, ...change }, NAMES, OPERATOR));
  assert.equal(words({}), "Failed deliveries of Till, posted from 08:00 until 15:00.");
  assert.equal(
    words({ endpoint: null, code: "401", type: "booking.created" }),
    "Failed deliveries of all endpoints with 401 about booking.created, posted from 08:00 until 15:00.",
  );
  assert.equal(
    words({ missing: true, status: [], since: "1970-01-01T00:00:00.000Z" }),
    "Events that were never owed to Till, posted until 15:00.",
  );
  assert.equal(
    words({ status: ["failed", "cancelled"], reason: "timeout" }),
    "Failed or cancelled deliveries of Till with timeout, posted from 08:00 until 15:00.",
  );
});

Deno.test("the list begins with what is under way, else with the last one", () => {
  const list = (replays: shown.Replay[], reader = OPERATOR) =>
    replaysVerdict(replays, NAMES, reader);
  assert.equal(headline(list([])), "No replay has been made yet");
  assert.deepEqual(actions(list([])), ["New replay"]);
  const done = { ...REPLAY, state: "done" as const };
  assert.match(headline(list([done, REPLAY])), /^Replaying: 732 of 1,216 sent/);
  assert.equal(headline(list([REPLAY, REPLAY])), "2 replays are under way");
  assert.equal(headline(list([done])), "732 deliveries were sent again");
  assert.deepEqual(actions(list([done], { ...OPERATOR, may_write: false })), [
    "See what failed again",
  ]);
});

function counted(
  typed: Record<string, string>,
  count: Partial<shown.ReplayCount> = {},
  depth: ReplayCounted["depth"] = "glance",
): ReplayCounted {
  return {
    count: {
      matched: 1_216,
      matched_exact: true,
      left_out: {
        delivered: { value: 0, exact: true },
        without_payload: { value: 0, exact: true },
      },
      notes: [],
      ...count,
    },
    groups: null,
    typed: readTyped((name) => name in typed ? [typed[name] ?? ""] : []),
    missing: typed.status === "missing",
    depth,
  };
}

Deno.test("a count that ended early says so, and has a way to the whole number", () => {
  const of = (matched: number, depth: ReplayCounted["depth"]) =>
    newReplayVerdict(
      counted({ status: "failed", endpoint: "ep_1" }, { matched, matched_exact: false }, depth),
      NAMES,
      OPERATOR,
    );
  const many = of(5_000, "glance");
  assert.equal(headline(many), "5,000+ failed deliveries of Till would be sent again");
  assert.match(sentences(many), /^It sends all of them, however many there are:/);
  assert.deepEqual(actions(many), ["Count all of them"]);
  assert.equal(
    many.actions[0]?.href,
    "/dashboard/replays/new?endpoint=ep_1&status=failed&count=all",
  );
  assert.deepEqual(actions(of(100_000, "whole")), []);
  const none = of(0, "glance");
  assert.equal(headline(none), "No failed delivery was found among the oldest ones");
  assert.equal(sentences(none), "There are more than were looked through.");
  assert.deepEqual(actions(none), ["Count all of them", "Change the selection"]);
});

Deno.test("before it happens, it says how much is sent, how fast, and what is left out", () => {
  const first = (typed: Record<string, string>, count: Partial<shown.ReplayCount> = {}) =>
    newReplayVerdict(counted(typed, count), NAMES, OPERATOR);
  const verdict = first({ status: "failed", endpoint: "ep_1", rate: "50/s" }, {
    left_out: {
      delivered: { value: 214, exact: true },
      without_payload: { value: 2, exact: true },
    },
    notes: ["Till is paused"],
  });
  assert.equal(headline(verdict), "1,216 failed deliveries of Till would be sent again");
  assert.equal(
    sentences(verdict),
    "At 50 a second, in about 24 seconds. Leaves out the 214 that were delivered in the meantime. " +
      "2 of them have no payload any more and are left out as well. Till is paused.",
  );
  assert.equal(
    headline(first({ status: "pending" })),
    "1,216 waiting deliveries would be sent now",
  );
  assert.equal(
    headline(first({ status: "missing", endpoint: "ep_1" }, { matched: 1 })),
    "1 missing event to Till would be sent",
  );
  assert.equal(
    headline(first({ status: "failed" }, { matched: 100_000, matched_exact: false })),
    "100,000+ failed deliveries would be sent again",
  );
  assert.equal(
    headline(first({ status: "failed" }, { matched: 0 })),
    "Nothing to send: no failed delivery was found",
  );
  const business = newReplayVerdict(counted({ status: "failed" }), NAMES, BUSINESS);
  assert.equal(headline(business), "1,216 messages that did not arrive would be sent again");
  assert.equal(
    headline(newReplayVerdict(null, NAMES, OPERATOR)),
    "Choose what the replay sends",
  );
});
