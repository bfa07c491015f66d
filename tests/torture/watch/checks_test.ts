import assert from "node:assert/strict";
import { deliveryUuid } from "../../../lib/core/ids.ts";
import { readScrape } from "../../support/metrics.ts";
import type { DeliveryRow, Ledger, RequestSeen } from "../ledger.ts";
import { checkWatched, foreignIn } from "./checks.ts";
import { fallen } from "./onlookers.ts";
import type { NoticeChange, NoticeRow, Watched } from "./watched.ts";

const EVENT = "01a20fa8-2635-7b1d-9b44-7c5a00000000";
const OLD_EVENT = "019b0fa8-2635-7b1d-9b44-7c5a00000000";
const OLD = deliveryUuid(OLD_EVENT, 1);
const HASH = "a".repeat(64);
const ALERT = "alr_1";

const DELIVERY: DeliveryRow = {
  id: deliveryUuid(EVENT, 1),
  event_id: EVENT,
  endpoint_no: 1,
  status: "cancelled",
  attempts: 0,
  ended_at: 1_020,
  reason: "erased",
};
const DELIVERED: DeliveryRow = {
  id: OLD,
  event_id: OLD_EVENT,
  endpoint_no: 1,
  status: "delivered",
  attempts: 1,
  ended_at: 1_020,
  reason: null,
};

function request(delivery: DeliveryRow, at: number, hash = HASH): RequestSeen {
  const { id: delivery_id, event_id } = delivery;
  return { delivery_id, event_id, attempt: 1, hash, at, ended_at: at, signature: "s", status: 200 };
}

/** An event that was erased, and one of a week of long ago. */
function ledger(more: Partial<Ledger> = {}): Ledger {
  return {
    endpoints: [{ no: 1, id: "crm", retry_ms: [0, 100] }],
    acknowledged: [],
    events: [
      { id: EVENT, hash: null, received_at: 1_000, erased_at: 1_020 },
      { id: OLD_EVENT, hash: HASH, received_at: 10, erased_at: null },
    ],
    deliveries: [DELIVERY, DELIVERED],
    attempts: [],
    requests: [request(DELIVERED, 1_010)],
    history: [],
    by_hand: new Set(),
    retirable: new Map(),
    paused: new Set(),
    watched: null,
    healthy: [],
    calm: false,
    findings: [],
    ...more,
  };
}

function notice(no: string, more: Partial<NoticeRow> = {}): NoticeRow {
  return {
    no,
    alert_id: ALERT,
    occasion: 1,
    what: "began",
    target: "slack",
    attempts: 1,
    is_done: true,
    is_outdated: false,
    ...more,
  };
}

function change(
  no: string,
  what: NoticeChange["what"],
  writer: string,
  more: Partial<NoticeChange> = {},
): NoticeChange {
  return { no, what, writer, at: 1_000, leased_before: null, ...more };
}

const NOTICES = [
  notice("1"),
  notice("2", { target: "events" }),
  notice("3", { what: "ended", occasion: 2 }),
  notice("4", { what: "ended", occasion: 2, target: "events" }),
];

/** A run in which an alert began and ended, everybody saw what is their own, and all is in order. */
function watched(more: Partial<Watched> = {}): Watched {
  return {
    alerts: [{
      id: ALERT,
      kind: "endpoint_gone",
      subject: "crm",
      opened_at: 1_000,
      ended_at: 2_000,
      occasions: 2,
    }],
    notices: NOTICES,
    notice_changes: NOTICES.flatMap(({ no }) => [
      change(no, "claimed", "d1.1"),
      change(no, "done", "d1.1", { leased_before: 9_000 }),
    ]),
    chats: [
      { alert_id: ALERT, what: "began", at: 1_010 },
      { alert_id: ALERT, what: "ended", at: 2_010 },
    ],
    told: [
      { alert_id: ALERT, what: "began", deliveries: 1 },
      { alert_id: ALERT, what: "ended", deliveries: 1 },
    ],
    failing: [],
    readers: [{
      business: "bus_1",
      events: new Set(["evt_1"]),
      ways: new Set(["api", "pages", "stream"]),
      foreign: [],
    }],
    owners: new Map([["evt_1", "bus_1"], ["evt_2", "bus_2"]]),
    erasures: [{
      id: "e1",
      is_acknowledged: true,
      state: "done",
      ended_at: 1_030,
      event_ids: [EVENT],
    }],
    traces: [],
    weeks: [
      { name: "20260105", must_go: true, owed: [] },
      { name: "20260112", must_go: false, owed: [{ id: OLD, hash: HASH }] },
    ],
    drops: [{ partition: "events_20260105", pending: 0, at: 1_000 }],
    ...more,
  };
}

/** Asserts that exactly this invariant is broken, in words that match. */
function finds(
  more: Partial<Watched>,
  invariant: string,
  words: RegExp,
  run: Partial<Ledger> = {},
): void {
  const violations = [...checkWatched(watched(more), ledger(run))];
  assert(violations.length > 0, "nothing was found");
  for (const violation of violations) {
    assert.equal(violation.invariant, invariant, violation.text);
    assert.match(violation.text, words);
  }
}

function findsNothing(more: Partial<Watched> = {}, run: Partial<Ledger> = {}): void {
  assert.deepEqual([...checkWatched(watched(more), ledger(run))], []);
}

Deno.test("checkWatched() finds no violation in correct runs", () => {
  findsNothing();
  // Interrupted, and so announced twice.
  const [first, ...others] = NOTICES;
  assert(first);
  const chats = [{ alert_id: ALERT, what: "began" as const, at: 1_005 }, ...watched().chats];
  findsNothing({
    notices: [{ ...first, attempts: 2 }, ...others],
    chats,
    notice_changes: [
      change("1", "claimed", "d1.1", { at: 900 }),
      change("1", "freed", "torture", { at: 950, leased_before: 9_000 }),
      change("1", "claimed", "d2.1", { at: 960, leased_before: 950 }),
      change("1", "done", "d2.1", { leased_before: 9_000 }),
      ...watched().notice_changes.slice(2),
    ],
  });
  // Nobody hears of themselves by the way that does not work.
  findsNothing({
    alerts: [{
      id: ALERT,
      kind: "target_failing",
      subject: "slack",
      opened_at: 1_000,
      ended_at: 2_000,
      occasions: 2,
    }],
    notices: NOTICES.filter(({ target }) => target === "events"),
    chats: [],
  });
});

Deno.test("checkWatched() H finds alerts that are lost, doubled or made up", () => {
  const [alert] = watched().alerts;
  assert(alert);
  const other = { ...alert, id: "alr_2", opened_at: 1_500 };
  const of_other = NOTICES.map((one) => ({ ...one, no: `1${one.no}`, alert_id: "alr_2" }));
  const twice = (list: readonly { readonly alert_id: string }[]) =>
    list.flatMap((one) => [one, { ...one, alert_id: "alr_2" }]) as never;
  finds(
    {
      alerts: [alert, other],
      notices: [...NOTICES, ...of_other],
      chats: twice(watched().chats),
      told: twice(watched().told),
    },
    "H",
    /were open at once/,
  );
  finds({ failing: ["doomed"] }, "H", /doomed fails, and no alert/);
  finds({ notices: NOTICES.slice(0, 3), told: watched().told.slice(0, 1) }, "H", /has the notices/);
  finds(
    { notices: NOTICES.map((one) => one.no === "3" ? { ...one, is_done: false } : one) },
    "H",
    /never announced to slack/,
  );
  finds({ chats: watched().chats.slice(0, 1) }, "H", /arrived 0 times at slack/);
  finds({ chats: [...watched().chats, ...watched().chats] }, "H", /arrived 2 times at slack/);
  finds({ told: [...watched().told, ...watched().told] }, "H", /arrived 2 times at events/);
  const made_up = { alert_id: "alr_9", what: "began" as const, at: 1 };
  finds({ chats: [...watched().chats, made_up] }, "H", /is in no table/);
  finds({ told: watched().told.map((one) => ({ ...one, deliveries: 2 })) }, "H", /2 deliveries/);
});

Deno.test("checkWatched() H finds an end before its beginning", () => {
  const chats = watched().chats.map((one) => one.what === "began" ? { ...one, at: 3_000 } : one);
  finds({ chats }, "H", /said to begin after it was said to have ended/);
});

Deno.test("checkWatched() H lets a beginning go untold only if a later word arrived", () => {
  const began = { is_done: false, is_outdated: true };
  const notices = NOTICES.map((one) => one.no === "1" ? { ...one, ...began } : one);
  const chats = watched().chats.filter(({ what }) => what !== "began");
  findsNothing({ notices, chats });
  const end = NOTICES.map((one) => one.no === "3" ? { ...one, ...began } : one);
  finds(
    { notices: end, chats: watched().chats.filter(({ what }) => what !== "ended") },
    "H",
    /alr_1 ended (was never announced to|arrived 0 times at) slack/,
  );
});

Deno.test("checkWatched() H finds notices that are sent by two daemons at once", () => {
  const taken = change("1", "claimed", "d2.1", { leased_before: 9_000 });
  finds(
    { notice_changes: [...watched().notice_changes, taken] },
    "H",
    /d2.1 took notice 1, which was being sent/,
  );
  const done = change("1", "done", "d3.1");
  finds({ notice_changes: [...watched().notice_changes, done] }, "H", /never took it/);
});

Deno.test("checkWatched() I finds what a business must not see, and one who sees nothing", () => {
  const [reader] = watched().readers;
  assert(reader);
  finds({ readers: [{ ...reader, foreign: ["bus_2 in /api/events"] }] }, "I", /saw bus_2/);
  finds(
    { readers: [{ ...reader, events: new Set(["evt_1", "evt_2"]) }] },
    "I",
    /saw evt_2, an event of bus_2/,
  );
  finds({ readers: [{ ...reader, ways: new Set(["api", "pages"]) }] }, "I", /by its stream/);
});

Deno.test("foreignIn() finds the other business and what belongs to operators", () => {
  assert.deepEqual(foreignIn('{"id":"apt_bus_1_x","business":"bus_1"}', "bus_1", ["doomed"]), []);
  assert.deepEqual(foreignIn("~bus_2.x_1~ doomed", "bus_1", ["doomed"]), ["bus_2", "doomed"]);
});

Deno.test("checkWatched() J finds erasures that are lost or undone", () => {
  const [erasure] = watched().erasures;
  assert(erasure);
  finds({ erasures: [{ ...erasure, state: "running" }] }, "J", /is running/);
  const [event, ...events] = ledger().events;
  assert(event);
  finds({}, "J", /is not erased/, { events: [{ ...event, hash: HASH }, ...events] });
  finds({ erasures: [] }, "J", /unasked|nobody asked/);
  finds({ traces: [{ event_id: EVENT, place: "events.payload" }] }, "J", /has something of/);
  const pending = { ...DELIVERY, status: "pending" as const, reason: null, ended_at: null };
  finds({}, "J", /is pending/, { deliveries: [pending, DELIVERED] });
  const { requests } = ledger();
  findsNothing({}, { requests: [...requests, request(DELIVERY, 1_025)] });
  finds({}, "J", /came after the erasure/, {
    requests: [...requests, request(DELIVERY, 1_040)],
  });
});

Deno.test("checkWatched() K finds partitions that were dropped too early, or never", () => {
  const drop = { partition: "events_20260112", pending: 1, at: 1_000 };
  finds({ drops: [...watched().drops, drop] }, "K", /dropped with 1 pending/);
  finds({ drops: [] }, "K", /was not dropped/);
  finds({}, "K", /was owed, and is gone/, { deliveries: [DELIVERY] });
  finds({}, "K", /is pending/, {
    deliveries: [DELIVERY, { ...DELIVERED, status: "pending" as const, ended_at: null }],
  });
  finds({}, "K", /and is delivered/, { requests: [] });
  const [event] = ledger().events;
  assert(event);
  finds({}, "K", /other bytes, or none/, { events: [event] });
});

Deno.test("fallen() finds counters that go down, and no gauge", () => {
  const scrape = (counter: number, gauge: number) =>
    readScrape(
      `# HELP a_total A\n# TYPE a_total counter\na_total{x="1"} ${counter}\n` +
        `# HELP b B\n# TYPE b gauge\nb ${gauge}\n` +
        `# HELP c C\n# TYPE c histogram\nc_count ${counter}\n`,
    );
  assert.deepEqual(fallen(undefined, scrape(1, 1)), []);
  assert.deepEqual(fallen(scrape(1, 2), scrape(2, 1)), []);
  assert.deepEqual(fallen(scrape(2, 1), scrape(1, 1)), ['a_total{x="1"}', "c_count"]);
  const gone = readScrape("# HELP b B\n# TYPE b gauge\nb 1\n");
  assert.deepEqual(fallen(scrape(2, 1), gone), []);
});
