import assert from "node:assert/strict";
import fc from "fast-check";
import { judge } from "../../../lib/core/alerting/judge.ts";
import {
  type Attempts,
  type Change,
  countedTimes,
  type EndpointFacts,
  type Facts,
  KINDS,
  nextReminder,
  type OpenAlert,
  type Settings,
  type TargetFacts,
} from "../../../lib/core/alerting/kinds.ts";
import { OUTCOMES } from "../../../lib/core/outcome.ts";
import {
  after,
  calm,
  DAY,
  FAILING,
  HEALTHY,
  HOUR,
  inShort,
  MINUTE,
  NOW,
  opened,
  SETTINGS,
} from "./facts.ts";

interface Case {
  readonly name: string;
  readonly facts: Facts;
  readonly open?: readonly OpenAlert[];
  readonly settings?: Settings;
  readonly expected: readonly string[];
}

function about(more: Partial<EndpointFacts>, base: EndpointFacts = HEALTHY): Facts {
  return calm([{ ...base, ...more }]);
}

const check = (name: string, cases: readonly Omit<Case, "name">[] | readonly Case[]) => {
  for (const [index, one] of cases.entries()) {
    const { facts, open = [], settings = SETTINGS, expected } = one;
    const title = "name" in one ? one.name : String(index);
    Deno.test(`judge() ${name}: ${title}`, () => {
      assert.deepEqual(inShort(judge(facts, open, settings)), expected);
    });
  }
};

// --- endpoint_failing ------------------------------------------------------------------------------------

const mixed = (failed: number, delivered: number): Attempts => ({ http_5xx: failed, delivered });
const recovered = { success_at: NOW - 1_000, failing_since: null, failure_at: NOW, failures: 0 };

check("finds an endpoint failing", [
  { name: "all attempts", facts: calm([FAILING]), expected: ["began endpoint_failing crm"] },
  {
    name: "19 of 20 needed",
    facts: about({ window: { http_4xx: 19 } }, FAILING),
    expected: [],
  },
  {
    name: "20 of 20 needed",
    facts: about({ window: { http_4xx: 20 } }, FAILING),
    expected: ["began endpoint_failing crm"],
  },
  {
    name: "20 %",
    facts: about({ window: mixed(20, 80), last_third: mixed(6, 24), run: recovered }),
    expected: ["began endpoint_failing crm"],
  },
  {
    name: "less than 20 %",
    facts: about({ window: mixed(19, 81), last_third: mixed(6, 24), run: recovered }),
    expected: [],
  },
  {
    name: "much, but less in the last third",
    facts: about({ window: mixed(60, 40), last_third: mixed(5, 25), run: recovered }),
    expected: [],
  },
  {
    name: "no attempt in the last third, and the last one failed",
    facts: about({ last_third: {} }, FAILING),
    expected: ["began endpoint_failing crm"],
  },
  {
    name: "no attempt in the last third, and the last one delivered",
    facts: about({ window: mixed(60, 40), last_third: {}, run: recovered }),
    expected: [],
  },
  {
    name: "interrupted attempts count nowhere",
    facts: about({ window: { interrupted: 500, delivered: 3 }, last_third: { interrupted: 90 } }),
    expected: [],
  },
  { name: "paused by hand", facts: about({ paused_by: "hand" }, FAILING), expected: [] },
  { name: "retired", facts: about({ retired_at: NOW }, FAILING), expected: [] },
  {
    name: "resumed within the window",
    facts: about({ resumed_at: NOW - 3 * MINUTE }, FAILING),
    expected: [],
  },
]);

const rare = {
  window: {},
  last_third: {},
  recent: {},
  run: {
    success_at: NOW - 3 * DAY,
    failing_since: NOW - 2 * DAY,
    failure_at: NOW - 5 * HOUR,
    failures: 20,
  },
};

check("finds an endpoint failing that gets little", [
  { name: "20 failures only", facts: about(rare), expected: ["began endpoint_failing crm"] },
  {
    name: "19 failures only",
    facts: about({ ...rare, run: { ...rare.run, failures: 19 } }),
    expected: [],
  },
  {
    name: "for less than the window",
    facts: about({ ...rare, run: { ...rare.run, failing_since: NOW - 15 * MINUTE } }),
    expected: [],
  },
  {
    name: "not for a day",
    facts: about({ ...rare, run: { ...rare.run, failure_at: NOW - 25 * HOUR } }),
    expected: [],
  },
  {
    name: "no attempt since it was resumed",
    facts: about({ ...rare, resumed_at: NOW - HOUR }),
    expected: [],
  },
]);

const failing = [opened("endpoint_failing")];
const almost = { http_5xx: 2, delivered: 18 };

check("ends endpoint_failing", [
  {
    name: "10 % in the last third",
    facts: about({ window: mixed(50, 50), last_third: almost }),
    open: failing,
    expected: ["ended endpoint_failing crm delivered"],
  },
  {
    name: "more than 10 %",
    facts: about({ window: mixed(50, 50), last_third: { ...almost, http_4xx: 1 } }),
    open: failing,
    expected: [],
  },
  {
    name: "few attempts, and the window is not clean",
    facts: about({ window: mixed(50, 50), last_third: { delivered: 5 } }),
    open: failing,
    expected: [],
  },
  {
    name: "few attempts, and the window is clean",
    facts: about({ window: { delivered: 6 }, last_third: { delivered: 2 } }),
    open: failing,
    expected: ["ended endpoint_failing crm delivered"],
  },
  {
    name: "none tried, the last one delivered",
    facts: about({ window: mixed(50, 50), last_third: {}, run: recovered }),
    open: failing,
    expected: ["ended endpoint_failing crm delivered"],
  },
  { name: "none tried, none delivered", facts: about(rare), open: failing, expected: [] },
  {
    name: "paused by hand",
    facts: about({ paused_by: "hand" }, FAILING),
    open: failing,
    expected: ["ended endpoint_failing crm paused"],
  },
  {
    name: "a 410",
    facts: about({ paused_by: "gone", paused_at: NOW }, FAILING),
    open: failing,
    expected: ["began endpoint_gone crm", "ended endpoint_failing crm gone"],
  },
  {
    name: "paused automatically",
    facts: about({ paused_by: "automatic", paused_at: NOW }, FAILING),
    open: [...failing, opened("endpoint_pausing", { details: { stage: 100 } })],
    expected: [],
  },
  {
    name: "retired",
    facts: about({ retired_at: NOW }, FAILING),
    open: failing,
    expected: ["ended endpoint_failing crm retired"],
  },
  {
    name: "forgotten",
    facts: calm([]),
    open: failing,
    expected: ["ended endpoint_failing crm retired"],
  },
]);

Deno.test("judge() gives the figures of an endpoint that fails", () => {
  const [all] = judge(calm([FAILING]), [], SETTINGS);
  assert.deepEqual([all?.began_at, all?.details], [
    FAILING.run.failing_since,
    { window_ms: 15 * MINUTE, attempts: 24, failed: 24, reason: "http_4xx" },
  ]);
  const window = { delivered: 28, http_5xx: 200, timeout: 112, interrupted: 9 };
  const [some] = judge(about({ window, last_third: window }), [], SETTINGS);
  assert.deepEqual([some?.began_at, some?.details], [
    NOW - 15 * MINUTE,
    { window_ms: 15 * MINUTE, attempts: 340, failed: 312, reason: "http_5xx" },
  ]);
  const [slow] = judge(about(rare), [], SETTINGS);
  assert.deepEqual([slow?.began_at, slow?.details], [
    rare.run.failing_since,
    { attempts: 20, failed: 20 },
  ]);
});

// --- the other kinds about endpoints -----------------------------------------------------------------------

check("knows a 410", [
  {
    name: "it paused the endpoint",
    facts: about({ paused_by: "gone", paused_at: NOW - 1_000 }),
    expected: ["began endpoint_gone crm"],
  },
  {
    name: "it was resumed",
    facts: about({}),
    open: [opened("endpoint_gone")],
    expected: ["ended endpoint_gone crm resumed"],
  },
  {
    name: "it is paused by hand now",
    facts: about({ paused_by: "hand" }),
    open: [opened("endpoint_gone")],
    expected: ["ended endpoint_gone crm paused"],
  },
]);

const failingFor = (ms: number, apart_ms = ms): Partial<EndpointFacts> => ({
  window: {},
  last_third: {},
  run: { success_at: null, failing_since: NOW - ms, failure_at: NOW - ms + apart_ms, failures: 9 },
});
const pausing = (stage: 50 | 90 | 100) => [
  opened("endpoint_pausing", { details: { stage }, remind_at: null }),
];

check("announces an automatic pause", [
  { name: "before half of the time", facts: about(failingFor(59 * HOUR)), expected: [] },
  {
    name: "at half of the time",
    facts: about(failingFor(60 * HOUR)),
    expected: ["began endpoint_pausing crm"],
  },
  {
    name: "not for one incident long ago",
    facts: about(failingFor(60 * HOUR, 5 * HOUR)),
    expected: [],
  },
  {
    name: "not if it is switched off",
    facts: about(failingFor(60 * HOUR)),
    settings: { ...SETTINGS, auto_pause_ms: null },
    expected: [],
  },
  {
    name: "again at 90 %",
    facts: about(failingFor(108 * HOUR)),
    open: pausing(50),
    expected: ["reminded endpoint_pausing crm"],
  },
  { name: "once", facts: about(failingFor(110 * HOUR)), open: pausing(90), expected: [] },
  {
    name: "when it is paused",
    facts: about({ ...failingFor(120 * HOUR), paused_by: "automatic", paused_at: NOW }),
    open: pausing(90),
    expected: ["reminded endpoint_pausing crm"],
  },
  {
    name: "over by a success",
    facts: about({}),
    open: pausing(100),
    expected: ["ended endpoint_pausing crm delivered"],
  },
  {
    name: "over by hand",
    facts: about({ ...failingFor(120 * HOUR), resumed_at: NOW }),
    open: pausing(100),
    expected: ["ended endpoint_pausing crm resumed"],
  },
  {
    name: "over by a reload",
    facts: about(failingFor(61 * HOUR)),
    settings: { ...SETTINGS, auto_pause_ms: null },
    open: pausing(50),
    expected: ["ended endpoint_pausing crm switched_off"],
  },
]);

Deno.test("judge() says when an endpoint will be paused, even if it has been acknowledged", () => {
  const open = pausing(50).map((alert) => ({ ...alert, acknowledged_at: NOW - DAY }));
  const [change] = judge(about(failingFor(108 * HOUR)), open, SETTINGS);
  assert.deepEqual(change?.details, {
    attempts: 9,
    failed: 9,
    stage: 90,
    pauses_at: NOW + 12 * HOUR,
  });
});

const overdueBy = (overdue_ms: number | null) => about({ overdue_ms });
const overdue = [opened("deliveries_overdue")];

check("finds deliveries overdue", [
  { name: "5 minutes", facts: overdueBy(5 * MINUTE), expected: [] },
  { name: "more", facts: overdueBy(5 * MINUTE + 1), expected: ["began deliveries_overdue crm"] },
  { name: "still a minute", facts: overdueBy(MINUTE), open: overdue, expected: [] },
  {
    name: "less than a minute",
    facts: overdueBy(MINUTE - 1),
    open: overdue,
    expected: ["ended deliveries_overdue crm cleared"],
  },
  {
    name: "none",
    facts: overdueBy(null),
    open: overdue,
    expected: ["ended deliveries_overdue crm cleared"],
  },
  {
    name: "paused",
    facts: about({ overdue_ms: DAY, paused_by: "hand" }),
    expected: [],
  },
]);

const checked = (more: Partial<NonNullable<EndpointFacts["check"]>>) =>
  about({
    run: { ...HEALTHY.run, success_at: NOW - DAY },
    check: {
      checked_at: NOW,
      ok: false,
      failing_since: NOW - HOUR,
      certificate_ends_at: null,
      ...more,
    },
  });

check("finds health checks failing", [
  { name: "one", facts: checked({ failing_since: NOW }), expected: [] },
  { name: "two in a row", facts: checked({}), expected: ["began check_failing crm"] },
  {
    name: "something was delivered in between",
    facts: checked({ failing_since: NOW - 2 * DAY }),
    expected: [],
  },
  {
    name: "one is well again",
    facts: checked({ ok: true, failing_since: null }),
    open: [opened("check_failing")],
    expected: ["ended check_failing crm cleared"],
  },
  {
    name: "something was delivered since",
    facts: checked({ failing_since: NOW - 2 * DAY }),
    open: [opened("check_failing", { began_at: NOW - 2 * DAY })],
    expected: ["ended check_failing crm delivered"],
  },
]);

const certificate = (certificate_ends_at: number | null) =>
  checked({ ok: true, failing_since: null, certificate_ends_at });

check("finds certificates ending", [
  { name: "in more than 14 days", facts: certificate(NOW + 14 * DAY + 1), expected: [] },
  {
    name: "in 14 days",
    facts: certificate(NOW + 14 * DAY),
    expected: ["began certificate_ending crm"],
  },
  { name: "long ago", facts: certificate(NOW - DAY), expected: ["began certificate_ending crm"] },
  {
    name: "no more",
    facts: certificate(NOW + 90 * DAY),
    open: [opened("certificate_ending")],
    expected: ["ended certificate_ending crm cleared"],
  },
  {
    name: "unknown for a while",
    facts: certificate(null),
    open: [opened("certificate_ending")],
    expected: [],
  },
]);

// --- egress_broken -----------------------------------------------------------------------------------------

const unreachable = (no: number, more: Partial<EndpointFacts> = {}): EndpointFacts => ({
  ...FAILING,
  no,
  id: `e${no}`,
  window: { connection: 24 },
  last_third: { connection: 20 },
  recent: { connection: 10 },
  ...more,
});
const outage = [1, 2, 3].map((no) => unreachable(no));
const broken = opened("egress_broken", { subject: "", endpoint_no: null });

check("finds everything failing at once", [
  {
    name: "three endpoints",
    facts: calm(outage),
    expected: ["began egress_broken "].map((t) => t.trim()),
  },
  {
    name: "two endpoints",
    facts: calm(outage.slice(0, 2)),
    expected: ["began endpoint_failing e1", "began endpoint_failing e2"],
  },
  {
    name: "one delivers",
    facts: calm([...outage, { ...HEALTHY, no: 4, recent: { delivered: 1 } }]),
    expected: [1, 2, 3].map((no) => `began endpoint_failing e${no}`),
  },
  {
    name: "more than a tenth got an answer",
    facts: calm(outage.map((one) => ({ ...one, recent: { connection: 8, http_5xx: 1 } }))),
    expected: [1, 2, 3].map((no) => `began endpoint_failing e${no}`),
  },
  {
    name: "nothing else begins, and nothing ends",
    facts: calm([...outage, { ...HEALTHY, window: {}, last_third: {}, recent: {} }]),
    open: [broken, ...failing],
    expected: [],
  },
  {
    name: "it is over, and nobody is blamed",
    facts: calm([...outage, { ...HEALTHY, no: 4 }]),
    open: [broken],
    expected: ["ended egress_broken delivered"],
  },
  {
    name: "nobody is blamed afterwards",
    facts: { ...calm([...outage, { ...HEALTHY, no: 4 }]), egress_ended_at: NOW - 10 * MINUTE },
    expected: [],
  },
  {
    name: "a pause by hand ends its alert all the same",
    facts: calm([...outage, { ...FAILING, paused_by: "hand" }]),
    open: [broken, ...failing],
    expected: ["ended endpoint_failing crm paused"],
  },
]);

Deno.test("countedTimes() leaves out what failed before egress recovered", () => {
  const times = (egress_ended_at: number | null) => countedTimes(SETTINGS, egress_ended_at, NOW);
  assert.deepEqual(times(null), {
    window_ms: 15 * MINUTE,
    last_third_ms: 5 * MINUTE,
    recent_ms: 2 * MINUTE,
  });
  assert.deepEqual(times(NOW - 8 * MINUTE).window_ms, 6 * MINUTE);
  assert.deepEqual(times(NOW - 8 * MINUTE).last_third_ms, 2 * MINUTE);
  assert.deepEqual(times(NOW).window_ms, MINUTE);
  assert.deepEqual(times(NOW - DAY).window_ms, 15 * MINUTE);
});

// --- ingest ------------------------------------------------------------------------------------------------

const posts = (window: Facts["posts"]["window"], last_third = window): Facts => ({
  ...calm(),
  posts: { window, last_third },
});
const refused = [opened("ingest_refused", { subject: "", endpoint_no: null })];

check("finds posts refused", [
  {
    name: "19",
    facts: posts({ accepted: 0, refused: { signature_wrong: 19 } }),
    expected: [],
  },
  {
    name: "20",
    facts: posts({ accepted: 0, refused: { signature_wrong: 20 } }),
    expected: ["began ingest_refused"],
  },
  {
    name: "less than 20 %",
    facts: posts({ accepted: 81, refused: { invalid: 20 } }),
    expected: [],
  },
  {
    name: "our own deliveries, and our own outage",
    facts: posts({ accepted: 0, refused: { loop: 500, unavailable: 500 } }),
    expected: [],
  },
  {
    name: "strangers while BookMe posts",
    facts: posts({ accepted: 1, refused: { address: 5_000 } }),
    expected: [],
  },
  {
    name: "a wrong address while nobody else posts",
    facts: posts({ accepted: 0, refused: { address: 20 } }),
    expected: ["began ingest_refused"],
  },
  {
    name: "none in the last third",
    facts: posts({ accepted: 50, refused: { invalid: 50 } }, { accepted: 50, refused: {} }),
    open: refused,
    expected: ["ended ingest_refused cleared"],
  },
  {
    name: "at most half of the share",
    facts: posts({ accepted: 90, refused: { invalid: 10 } }),
    open: refused,
    expected: ["ended ingest_refused cleared"],
  },
  {
    name: "more than half of the share",
    facts: posts({ accepted: 89, refused: { invalid: 10 } }),
    open: refused,
    expected: [],
  },
]);

const WEEK = 7 * DAY;

/** Events in each hour of the past weeks, and none for `silent_ms`. */
function quiet(
  silent_ms: number,
  events: (at: Date) => number,
  more: Partial<Facts["ingest"]> = {},
) {
  const hours = hoursOf(events);
  const ingest = { ...calm().ingest, last_event_at: NOW - silent_ms, hours, ...more };
  return { ...calm(), ingest };
}
function hoursOf(events: (at: Date) => number): [number, number][] {
  const starts = Array.from({ length: 34 * 24 }, (_, hour) => NOW - 5 * WEEK + hour * HOUR);
  return starts.map((at) => [at, events(new Date(at))]);
}
const openingHours = (at: Date) =>
  at.getUTCDay() !== 0 && at.getUTCHours() >= 8 && at.getUTCHours() < 19 ? 12 : 0;
const always = () => 12;
/** Of a Sunday's facts: those of a weekday, whose hours past weeks had. */
const onWeekday = (facts: Facts, from: string): Facts => {
  const shift = Date.parse(from) - NOW;
  const { now, ingest } = facts;
  return {
    ...facts,
    now: now + shift,
    ingest: { ...ingest, last_event_at: (ingest.last_event_at ?? 0) + shift },
  };
};

check("finds ingest silent", [
  { name: "49 minutes of 12 an hour", facts: quiet(49 * MINUTE, always), expected: [] },
  {
    name: "50 minutes of 12 an hour",
    facts: quiet(50 * MINUTE, always),
    expected: ["began ingest_silent"],
  },
  { name: "a Sunday without bookings", facts: quiet(19 * HOUR, openingHours), expected: [] },
  {
    name: "a quiet night",
    facts: onWeekday(quiet(9 * HOUR, openingHours), "2026-11-25T04:00:00Z"),
    expected: [],
  },
  {
    name: "a morning after the clocks were set back",
    facts: onWeekday(quiet(13 * HOUR, openingHours), "2026-11-25T08:55:00Z"),
    expected: [],
  },
  {
    name: "a weekday's morning",
    facts: onWeekday(quiet(15 * HOUR, openingHours), "2026-11-25T10:00:00Z"),
    expected: ["began ingest_silent"],
  },
  {
    name: "one of the past weeks was silent",
    facts: quiet(2 * HOUR, (at) => at.getTime() > NOW - 8 * DAY ? 0 : 12),
    expected: [],
  },
  {
    name: "less than two weeks of history",
    facts: quiet(2 * HOUR, always, { counted_since: NOW - 2 * WEEK }),
    expected: [],
  },
  {
    name: "two weeks of history",
    facts: quiet(2 * HOUR, always, { counted_since: NOW - 2 * WEEK - 2 * HOUR }),
    expected: ["began ingest_silent"],
  },
  {
    name: "no daemon was there",
    facts: quiet(DAY, always, { open_since: NOW - 30 * MINUTE }),
    expected: [],
  },
  { name: "no event ever", facts: quiet(HOUR, always, { last_event_at: null }), expected: [] },
  {
    name: "posts are refused instead",
    facts: {
      ...quiet(2 * HOUR, always),
      posts: posts({ accepted: 0, refused: { invalid: 90 } }).posts,
    },
    expected: ["began ingest_refused"],
  },
  {
    name: "an event came",
    facts: quiet(1_000, always),
    open: [opened("ingest_silent", { subject: "", endpoint_no: null })],
    expected: ["ended ingest_silent cleared"],
  },
  {
    name: "still none",
    facts: quiet(2 * HOUR, always),
    open: [opened("ingest_silent", { subject: "", endpoint_no: null, began_at: NOW - 2 * HOUR })],
    expected: [],
  },
]);

// --- daemons and targets -----------------------------------------------------------------------------------

const daemon = (id: string, more: Partial<Facts["daemons"][number]> = {}) => ({
  id,
  file: "f1",
  version: "1.0.0",
  started_at: NOW - DAY,
  troubles: [],
  ...more,
});
const low = { kind: "disk_low", for_ms: 5_000, free_bytes: 9, min_free_bytes: 8 } as const;

check("finds troubles of daemons", [
  {
    name: "a disk",
    facts: { ...calm(), daemons: [daemon("dmn_1", { troubles: [low] })] },
    expected: ["began disk_low dmn_1"],
  },
  {
    name: "the database",
    facts: {
      ...calm(),
      daemons: [daemon("dmn_1", { troubles: [{ kind: "database_failing", for_ms: 31_000 }] })],
    },
    expected: ["began database_failing dmn_1"],
  },
  {
    name: "over",
    facts: { ...calm(), daemons: [daemon("dmn_1")] },
    open: [opened("disk_low", { subject: "dmn_1" })],
    expected: ["ended disk_low dmn_1 cleared"],
  },
  {
    name: "the daemon is gone",
    facts: calm(),
    open: [opened("disk_low", { subject: "dmn_9" })],
    expected: ["ended disk_low dmn_9 stopped"],
  },
]);

const two = (more: Partial<Facts["daemons"][number]>) => ({
  ...calm(),
  daemons: [daemon("dmn_1"), daemon("dmn_2", more)],
});
const differ = [opened("daemons_differ", { subject: "", endpoint_no: null })];

check("finds daemons that differ", [
  { name: "alike", facts: two({}), expected: [] },
  {
    name: "a file, for 5 minutes",
    facts: two({ file: "f0", started_at: NOW - 5 * MINUTE }),
    expected: [],
  },
  {
    name: "a file, for longer",
    facts: two({ file: "f0", started_at: NOW - 5 * MINUTE - 1 }),
    expected: ["began daemons_differ"],
  },
  {
    name: "the file in force is new",
    facts: { ...two({ file: "f0" }), file: { digest: "f1", seen_at: NOW - MINUTE } },
    expected: [],
  },
  {
    name: "a version, for longer",
    facts: two({ version: "1.1.0", started_at: NOW - 6 * MINUTE }),
    expected: ["began daemons_differ"],
  },
  {
    name: "a version, in an update",
    facts: two({ version: "1.1.0", started_at: NOW - MINUTE }),
    expected: [],
  },
  { name: "alike again", facts: two({}), open: differ, expected: ["ended daemons_differ cleared"] },
]);

const target = (more: Partial<TargetFacts>) => ({
  ...calm(),
  targets: [{
    target: "slack",
    endpoint_no: null,
    failures: 0,
    failing_since: null,
    reached_at: null,
    given_up: false,
    ...more,
  }],
});
const failed = (failures: number) => target({ failures, failing_since: NOW - MINUTE });
const unreached = [opened("target_failing", { subject: "slack" })];

check("finds targets that fail", [
  { name: "once", facts: failed(1), expected: [] },
  { name: "twice", facts: failed(2), expected: ["began target_failing slack"] },
  {
    name: "once, and it was given up",
    facts: target({ failures: 1, failing_since: NOW - MINUTE, given_up: true }),
    expected: ["began target_failing slack"],
  },
  {
    name: "a later one arrived",
    facts: target({ reached_at: NOW - 1 }),
    open: unreached,
    expected: ["ended target_failing slack cleared"],
  },
  {
    name: "a later one arrived, and the next one failed",
    facts: target({ reached_at: NOW - 2, failures: 1, failing_since: NOW - 1 }),
    open: unreached,
    expected: ["ended target_failing slack cleared"],
  },
  {
    name: "one arrived before the failures",
    facts: target({ reached_at: NOW - HOUR }),
    open: unreached,
    expected: [],
  },
  { name: "no failure is known any more", facts: target({}), open: unreached, expected: [] },
  {
    name: "taken out of the file",
    facts: calm(),
    open: unreached,
    expected: ["ended target_failing slack removed"],
  },
]);

// --- reminders ---------------------------------------------------------------------------------------------

const due = (more: Partial<OpenAlert>) => [opened("endpoint_failing", { remind_at: NOW, ...more })];

check("reminds", [
  {
    name: "when it is time",
    facts: calm([FAILING]),
    open: due({}),
    expected: ["reminded endpoint_failing crm"],
  },
  { name: "not before", facts: calm([FAILING]), open: due({ remind_at: NOW + 1 }), expected: [] },
  {
    name: "not once acknowledged",
    facts: calm([FAILING]),
    open: due({ acknowledged_at: NOW - 1 }),
    expected: [],
  },
  {
    name: "not while snoozed",
    facts: calm([FAILING]),
    open: due({ snoozed_until: NOW + 1 }),
    expected: [],
  },
  {
    name: "after the snooze",
    facts: calm([FAILING]),
    open: due({ snoozed_until: NOW }),
    expected: ["reminded endpoint_failing crm"],
  },
  {
    name: "of the end in any case",
    facts: calm(),
    open: due({ acknowledged_at: NOW - 1, snoozed_until: NOW + DAY }),
    expected: ["ended endpoint_failing crm delivered"],
  },
]);

Deno.test("nextReminder() comes after 1 h, 6 h, then daily", () => {
  const hours = [0, 1, 5.9, 6, 23, 24, 47, 48.5].map((hour) =>
    (nextReminder(NOW, NOW + hour * HOUR) - NOW) / HOUR
  );
  assert.deepEqual(hours, [1, 6, 6, 24, 24, 48, 48, 72]);
});

Deno.test("judge() reminds with the figures of the moment, and says when it does so next", () => {
  const open = due({ opened_at: NOW - HOUR, details: { attempts: 20, failed: 20 } });
  const [change] = judge(calm([FAILING]), open, SETTINGS);
  assert.ok(change?.what === "reminded");
  assert.equal(change.details.attempts, 24);
  assert.equal(change.remind_at, NOW + 5 * HOUR);
});

Deno.test("judge() says nothing while all is well", () => {
  assert.deepEqual(judge(calm(), [], SETTINGS), []);
  assert.deepEqual(judge(calm([]), [], SETTINGS), []);
});

// --- for any facts -----------------------------------------------------------------------------------------

const past = fc.integer({ min: 0, max: 6 * DAY }).map((ms) => NOW - ms);
const maybe = fc.option(past);
const counts: fc.Arbitrary<Attempts> = fc.dictionary(
  fc.constantFrom(...OUTCOMES),
  fc.integer({ min: 1, max: 60 }),
  { maxKeys: 4 },
);
const paused = fc.constantFrom(null, null, null, "hand", "gone", "automatic");
const anyCheck = fc.option(fc.record({
  checked_at: past,
  ok: fc.boolean(),
  failing_since: maybe,
  certificate_ends_at: fc.option(fc.integer({ min: -30, max: 90 }).map((day) => NOW + day * DAY)),
}));
const anyEndpoint = fc.record({
  owner: fc.option(fc.constant("bus_1")),
  paused_by: paused as fc.Arbitrary<EndpointFacts["paused_by"]>,
  paused_at: maybe,
  resumed_at: maybe,
  retired_at: fc.option(past, { freq: 8 }),
  window: counts,
  last_third: counts,
  recent: counts,
  run: fc.record({
    success_at: maybe,
    failing_since: maybe,
    failure_at: maybe,
    failures: fc.nat(60),
  }),
  overdue_ms: fc.option(fc.nat(10 * MINUTE)),
  check: anyCheck,
});
const anyPosts = fc.record({
  accepted: fc.nat(100),
  refused: fc.dictionary(fc.constantFrom("invalid", "loop", "address", "unavailable"), fc.nat(60)),
});
const anyDaemon = fc.record({
  file: fc.constantFrom("f1", "f2"),
  version: fc.constantFrom("1.0.0", "1.1.0"),
  started_at: past,
  troubles: fc.subarray([low, { kind: "database_failing", for_ms: 40_000 } as const]),
});
const HOURS = hoursOf(always);
const anyFacts: fc.Arbitrary<Facts> = fc.record({
  endpoints: fc.array(anyEndpoint, { maxLength: 5 }),
  posts: fc.record({ window: anyPosts, last_third: anyPosts }),
  silent_ms: fc.nat(DAY),
  daemons: fc.array(anyDaemon, { maxLength: 3 }),
  seen_at: past,
  targets: fc.array(
    fc.record({
      failures: fc.nat(3),
      failing_since: maybe,
      reached_at: maybe,
      given_up: fc.boolean(),
    }),
    { maxLength: 3 },
  ),
  egress_ended_at: maybe,
}).map(({ endpoints, daemons, silent_ms, seen_at, targets, ...facts }) => ({
  ...calm(),
  ...facts,
  ingest: { ...calm().ingest, last_event_at: NOW - silent_ms, hours: HOURS },
  endpoints: endpoints.map((one, no) => ({ ...one, no, id: `e${no}` })),
  daemons: daemons.map((one, index) => ({ ...one, id: `dmn_${index}` })),
  file: { digest: "f1", seen_at },
  targets: targets.map((one, index) => ({ ...one, target: `t${index}`, endpoint_no: null })),
}));
const anyOpen = fc.uniqueArray(
  fc.record({
    kind: fc.constantFrom(...KINDS),
    subject: fc.constantFrom("", "e0", "e1", "e2", "dmn_0", "dmn_9", "t0", "t9"),
    began_at: past,
    opened_at: past,
    remind_at: fc.option(fc.integer({ min: -DAY, max: DAY }).map((ms) => NOW + ms)),
    acknowledged_at: maybe,
    details: fc.constantFrom({}, { stage: 50 as const }, { stage: 100 as const }),
  }),
  { selector: ({ kind, subject }) => `${kind} ${subject}`, maxLength: 8 },
).map((alerts) =>
  alerts.map(({ kind, ...more }, index) => opened(kind, { id: `${index}`, ...more }))
);

/** What the next reading has that the changes made: that an outage of our own has ended. */
function next(facts: Facts, changes: readonly Change[]): Facts {
  const ended = changes.some(({ what, kind }) => what === "ended" && kind === "egress_broken");
  return ended ? { ...facts, egress_ended_at: facts.now } : facts;
}

const RUNS = { numRuns: 2_000 };

Deno.test("judge() never has two alerts open of one kind and subject, whatever the facts", () => {
  fc.assert(
    fc.property(anyOpen, fc.array(anyFacts, { maxLength: 4 }), (first, readings) => {
      let open: readonly OpenAlert[] = first;
      for (const facts of readings) {
        open = after(open, judge(facts, open, SETTINGS), facts.now);
        const keys = open.map(({ kind, subject }) => `${kind} ${subject}`);
        assert.equal(new Set(keys).size, keys.length);
      }
    }),
    RUNS,
  );
});

Deno.test("judge() never begins an alert and ends it, or the reverse, on the same facts", () => {
  fc.assert(
    fc.property(anyOpen, anyFacts, (first, facts) => {
      let open: readonly OpenAlert[] = first;
      let read = facts;
      const turned: string[] = [];
      let last: readonly Change[] = [];
      // An alert that another one holds back begins, or ends, in the second step.
      for (let step = 0; step < 3; step++) {
        last = judge(read, open, SETTINGS);
        for (const { what, kind, subject } of last) {
          if (what !== "reminded") turned.push(`${kind} ${subject}`);
        }
        open = after(open, last, read.now);
        read = next(read, last);
      }
      assert.deepEqual(inShort(last), []);
      assert.equal(new Set(turned).size, turned.length, turned.join(", "));
    }),
    RUNS,
  );
});

Deno.test("judge() does the same whatever was interrupted", () => {
  const without = ({ interrupted: _, ...attempts }: Attempts): Attempts => attempts;
  fc.assert(
    fc.property(anyOpen, anyFacts, (open, facts) => {
      const endpoints = facts.endpoints.map((one) => ({
        ...one,
        window: without(one.window),
        last_third: without(one.last_third),
        recent: without(one.recent),
      }));
      assert.deepEqual(
        judge(facts, open, SETTINGS),
        judge({ ...facts, endpoints }, open, SETTINGS),
      );
    }),
    RUNS,
  );
});

Deno.test("judge() finds the same endpoints failing if all attempts are multiplied", () => {
  const times = (attempts: Attempts, factor: number): Attempts =>
    Object.fromEntries(Object.entries(attempts).map(([name, count]) => [name, count * factor]));
  const failingOnes = (facts: Facts, settings: Settings) =>
    judge(facts, [], settings).filter(({ kind }) => kind === "endpoint_failing").map((
      { subject },
    ) => subject);
  fc.assert(
    fc.property(anyFacts, fc.integer({ min: 2, max: 50 }), (facts, factor) => {
      const endpoints = facts.endpoints.map((one) => ({
        ...one,
        window: times(one.window, factor),
        last_third: times(one.last_third, factor),
        recent: times(one.recent, factor),
        run: { ...one.run, failures: one.run.failures * factor },
      }));
      const settings = { ...SETTINGS, min_attempts: SETTINGS.min_attempts * factor };
      assert.deepEqual(
        failingOnes({ ...facts, endpoints }, settings),
        failingOnes(facts, SETTINGS),
      );
    }),
    RUNS,
  );
});

Deno.test("judge() blames no receiver while everything fails at once", () => {
  fc.assert(
    fc.property(anyOpen, anyFacts, (open, facts) => {
      const kinds = judge(
        facts,
        [...open.filter(({ kind }) => kind !== "egress_broken"), broken],
        SETTINGS,
      )
        .filter(({ what }) => what === "began").map(({ kind }) => kind);
      for (
        const kind of [
          "endpoint_failing",
          "endpoint_pausing",
          "deliveries_overdue",
          "check_failing",
        ]
      ) {
        assert.ok(!kinds.some((one) => one === kind), kind);
      }
    }),
    RUNS,
  );
});
