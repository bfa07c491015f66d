import assert from "node:assert/strict";
import { SABOTAGES } from "./sabotage.ts";
import { deliveryUuid } from "../../lib/core/ids.ts";
import { check } from "./checker.ts";
import type { AttemptRow, Change, Ledger, Limits, RequestSeen } from "./ledger.ts";
import { common } from "./views.ts";

const EVENT = "01a20fa8-2635-7b1d-9b44-7c5a00000000";
const DELIVERY = deliveryUuid(EVENT, 1);
const HASH = "a".repeat(64);
const RETRY_MS = [0, 100, 200];

function attempt(number: number, more: Partial<AttemptRow> = {}): AttemptRow {
  return {
    delivery_id: DELIVERY,
    number,
    outcome: "delivered",
    status: 200,
    started_at: 1_010,
    ended_at: 1_020,
    is_apart: false,
    signature: `s${number}`,
    ...more,
  };
}

function request(number: number, more: Partial<RequestSeen> = {}): RequestSeen {
  return {
    event_id: EVENT,
    delivery_id: DELIVERY,
    attempt: number,
    hash: HASH,
    at: 1_010,
    ended_at: 1_015,
    signature: `s${number}`,
    status: 200,
    ...more,
  };
}

function change(what: Change["what"], writer: string, more: Partial<Change> = {}): Change {
  return {
    what,
    delivery_id: DELIVERY,
    writer,
    at: 1_000,
    token_before: null,
    token: null,
    leased_before: null,
    leased_until: null,
    outcome: null,
    ...more,
  };
}

const CLAIM = change("insert", "d1.1", { token: 1, leased_until: 9_000 });
const RECORD = [
  change("delete", "d1.1", { at: 1_020, token_before: 1, leased_before: 9_000 }),
  change("ended", "d1.1", { at: 1_020 }),
  change("attempt", "d1.1", { at: 1_020, outcome: "delivered" }),
];

/** A run of one event that was delivered at once, changed as a test needs it. */
function ledger(more: Partial<Ledger> = {}): Ledger {
  return {
    endpoints: [{ no: 1, id: "crm", retry_ms: RETRY_MS }],
    acknowledged: [{ event_id: EVENT, hash: HASH, key: null, deliveries: 1, owed_to: [1] }],
    events: [{ id: EVENT, hash: HASH, received_at: 1_000, erased_at: null }],
    deliveries: [{
      id: DELIVERY,
      event_id: EVENT,
      endpoint_no: 1,
      status: "delivered",
      attempts: 1,
      ended_at: 1_020,
      reason: null,
    }],
    attempts: [attempt(1)],
    requests: [request(1)],
    history: [CLAIM, ...RECORD],
    by_hand: new Set(),
    retirable: new Map(),
    paused: new Set(),
    watched: null,
    healthy: [[0, 10_000]],
    calm: false,
    findings: [],
    ...more,
  };
}

/** The same run with another end of its delivery. */
function ending(
  status: "pending" | "delivered" | "failed" | "cancelled",
  attempts: readonly AttemptRow[],
  more: Partial<Ledger> = {},
): Ledger {
  const ended_at = status === "pending" ? null : attempts.at(-1)?.ended_at ?? 1_020;
  const [row] = ledger().deliveries;
  assert(row);
  const requests = attempts.filter((a) => a.status !== null)
    .map((a) => request(a.number, { status: a.status, at: a.started_at }));
  return ledger({
    deliveries: [{ ...row, status, attempts: attempts.length, ended_at }],
    attempts: attempts.map((a, at) => ({
      ...a,
      is_apart: status === "pending" || at < attempts.length - 1,
    })),
    requests,
    history: [],
    ...more,
  });
}

function failing(number: number, started_at: number): AttemptRow {
  return attempt(number, {
    outcome: "http_5xx",
    status: 500,
    started_at,
    ended_at: started_at + 10,
  });
}

/** Asserts that exactly these invariants are broken, in words that match. */
function finds(run: Ledger, invariant: string, words: RegExp): void {
  const { violations } = check(run);
  assert(violations.length > 0, "nothing was found");
  for (const violation of violations) {
    assert.equal(violation.invariant, invariant, violation.text);
    assert.match(violation.text, words);
  }
}

function findsNothing(run: Ledger): void {
  assert.deepEqual(check(run).violations, []);
}

Deno.test("check() finds no violation in correct runs", () => {
  findsNothing(ledger());
  findsNothing(ledger({ calm: true }));
  findsNothing(ending("failed", [failing(1, 1_000), failing(2, 1_110), failing(3, 1_320)]));
  // Still scheduled.
  findsNothing(ending("pending", [failing(1, 1_000)]));
  // Under way: sent, and not recorded yet.
  findsNothing(ending("pending", [], { requests: [request(1)] }));
});

Deno.test("check() accepts a repetition after an interruption", () => {
  const cut = attempt(1, { outcome: "interrupted", status: null, signature: null });
  const run = ending("delivered", [cut, attempt(2, { started_at: 1_030, ended_at: 1_040 })], {
    requests: [request(1), request(2, { at: 1_030 })],
  });
  findsNothing(run);
  assert.equal(check(run).counts.repeated, 1);
  assert.equal(check(run).counts.interrupted, 1);
});

Deno.test("check() A finds lost acknowledged events", () => {
  finds(ledger({ events: [], deliveries: [], attempts: [], requests: [] }), "A", /is not stored/);
  finds(ledger({ deliveries: [], attempts: [], requests: [] }), "A", /does not exist/);
  finds(
    ending("delivered", [attempt(1)], { requests: [request(1, { hash: "b".repeat(64) })] }),
    "A",
    /took nothing|other bytes/,
  );
  const [acknowledged] = ledger().acknowledged;
  assert(acknowledged);
  finds(
    ledger({ acknowledged: [{ ...acknowledged, hash: "c".repeat(64) }] }),
    "A",
    /stored with other bytes/,
  );
  finds(
    ledger({ acknowledged: [{ ...acknowledged, deliveries: 2 }] }),
    "A",
    /acknowledged with 2 deliveries/,
  );
  finds(ending("failed", [failing(1, 1_000)]), "A", /failed after 1 of 3/);
  finds(ending("cancelled", [failing(1, 1_000)]), "A", /nobody did that/);
  const retired = (since: number) => ({ retirable: new Map([[1, since]]) });
  finds(ending("cancelled", [failing(1, 1_000)], retired(2_000)), "A", /nobody did that/);
  findsNothing(ending("cancelled", [failing(1, 1_000)], retired(1_005)));
});

Deno.test("check() lets an erasure cancel deliveries, and take payloads and answers away", () => {
  const [event] = ledger().events;
  const [delivery] = ledger().deliveries;
  assert(event && delivery);
  const erased = { events: [{ ...event, hash: null, erased_at: 1_030 }] };
  findsNothing(ledger({
    ...erased,
    history: [CLAIM, ...RECORD, change("ended_changed", "d2.1"), change("attempt_changed", "d2.1")],
  }));
  const run = ending("cancelled", [failing(1, 1_000)], erased);
  finds(run, "A", /nobody did that/);
  findsNothing({ ...run, deliveries: run.deliveries.map((d) => ({ ...d, reason: "erased" })) });
  // A delivery that ended before the erasure still needs a receiver that accepted it.
  const refused = { attempts: [attempt(1, { status: null })], requests: [] };
  finds(ledger({ ...erased, ...refused }), "A", /took nothing/);
});

Deno.test("check() A finds events stored twice", () => {
  const other = "01a20fa8-2635-7b1d-9b44-7c5b00000000";
  const events = [...ledger().events, {
    id: other,
    hash: HASH,
    received_at: 1_000,
    erased_at: null,
  }];
  finds(ledger({ events }), "A", /stored as 2 events/);
  const [acknowledged] = ledger().acknowledged;
  assert(acknowledged);
  const twice = [{ ...acknowledged, key: "k" }, { ...acknowledged, key: "k", event_id: other }];
  const run = ledger({
    acknowledged: twice.map((answer) => ({ ...answer, deliveries: 0, owed_to: [] })),
    events,
  });
  finds(run, "A", /2 ids|2 events/);
});

Deno.test("check() B finds attempts that are too many, missing or late", () => {
  const four = [1, 2, 3, 4].map((number) => failing(number, 1_000 + number * 300));
  finds(ending("failed", four), "B", /4 of 3 attempts/);
  const gap = [failing(1, 1_000), failing(3, 1_110), failing(4, 1_330)];
  finds(ending("failed", gap), "B", /no attempt number 2/);
  const [row] = ledger().deliveries;
  assert(row);
  finds(ledger({ deliveries: [{ ...row, attempts: 2 }] }), "B", /says 2 attempts and has 1/);
  finds(ledger({ deliveries: [{ ...row, ended_at: 1_000 }] }), "B", /after its end/);
  const { violations } = check(ending("delivered", [failing(1, 1_000)]));
  assert(
    violations.some(({ text }) => /is delivered after an attempt that was http_5xx/.test(text)),
  );
});

Deno.test("check() B finds an attempt that is not where it belongs", () => {
  finds(ledger({ attempts: [attempt(1, { is_apart: true })] }), "B", /attempt 1 .* misplaced/);
  const failed = ending("failed", [failing(1, 1_000), failing(2, 1_110), failing(3, 1_320)]);
  const pending = ending("pending", [failing(1, 1_000)]);
  for (const run of [failed, pending]) {
    const attempts = run.attempts.map((a) => ({ ...a, is_apart: false }));
    finds({ ...run, attempts }, "B", /attempt 1 .* misplaced/);
  }
  // In its row and in one of its own.
  const twice = [attempt(1), attempt(1, { is_apart: true })];
  const { violations } = check(ledger({ attempts: twice }));
  assert(violations.some(({ text }) => /says 1 attempts and has 2/.test(text)));
});

Deno.test("check() B finds a status that its last attempt does not bear out", () => {
  const attempts = [attempt(1), failing(2, 1_130), failing(3, 1_350)];
  finds(ending("failed", attempts), "B", /again after it was delivered/);
});

Deno.test("check() C finds requests and attempts that do not fit each other", () => {
  finds(ledger({ requests: [request(1), request(2, { status: null })] }), "C", /is not recorded/);
  finds(
    ledger({ requests: [request(1), request(1, { status: null })] }),
    "C",
    /was sent 2 times/,
  );
  finds(ledger({ requests: [request(1, { signature: "other" })] }), "C", /another request sent/);
  finds(ledger({ requests: [request(1), request(1, { status: 500 })] }), "C", /2 times|500/);
  const claimed = attempt(1, { outcome: "http_5xx", status: 500 });
  const run = ending("failed", [claimed, failing(2, 1_120), failing(3, 1_340)]);
  finds({ ...run, requests: run.requests.slice(1) }, "C", /recorded with 500, unanswered/);
  const stranger = { delivery_id: deliveryUuid(EVENT, 9) };
  finds(ledger({ requests: [request(1), request(1, stranger)] }), "C", /does not exist/);
});

Deno.test("check() D finds unexplained repetitions", () => {
  const twice = [attempt(1, { outcome: "http_5xx", status: 500 }), attempt(2)];
  const run = ending("delivered", [
    attempt(1, { outcome: "timeout", status: null }),
    attempt(2, { started_at: 1_130, ended_at: 1_140 }),
  ], { requests: [request(1), request(2, { at: 1_130 })] });
  findsNothing(run);
  assert(check({ ...run, calm: true }).violations.some(({ invariant }) => invariant === "D"));
  const lied = ending("delivered", twice, { requests: [request(1), request(2)] });
  assert(check(lied).violations.some(({ invariant }) => invariant === "D"));
});

Deno.test("check() E finds writes under a lost lease", () => {
  const stolen = change("attempt", "d2.1", { at: 1_020, outcome: "delivered" });
  finds(ledger({ history: [CLAIM, stolen] }), "E", /d1\.1 had leased/);
  const early = change("attempt", "d2.1", { at: 8_000, outcome: "interrupted" });
  finds(ledger({ history: [CLAIM, early] }), "E", /\(interrupted\)/);
  findsNothing(ledger({ history: [CLAIM, { ...early, at: 9_500 }] }));
  const rewritten = change("attempt_changed", "d1.1", { at: 1_030 });
  finds(ledger({ history: [CLAIM, ...RECORD, rewritten] }), "E", /d1\.1 changed an attempt/);
  const renewed = change("update", "torture", {
    token_before: 1,
    token: 1,
    leased_before: 9_000,
    leased_until: 7_000,
  });
  findsNothing(ledger({ history: [CLAIM, renewed, early] }));
  finds(ledger({ history: [CLAIM, ...RECORD, RECORD[2] ?? CLAIM] }), "E", /two attempts/);
  const [, , recorded = CLAIM] = RECORD;
  finds(ledger({ history: [recorded] }), "E", /without a lease/);
});

Deno.test("check() E finds claims of what is leased, and tokens that go back", () => {
  const claim = change("update", "d2.1", {
    token_before: 1,
    token: 2,
    leased_before: 9_000,
    leased_until: 9_500,
  });
  finds(ledger({ history: [CLAIM, claim] }), "E", /d2\.1 claimed .*, which d1\.1 had leased/);
  const back = change("update", "d1.1", { token_before: 1, token: 0 });
  finds(ledger({ history: [CLAIM, back] }), "E", /went back from 1 to 0/);
});

Deno.test("check() E lets ended states change only by hand", () => {
  const changed = [CLAIM, ...RECORD, change("ended_changed", "d2.1")];
  finds(ledger({ history: changed }), "E", /had ended, and d2\.1 changed that/);
  const anew = [CLAIM, ...RECORD, change("insert", "d2.1", { token: 1 })];
  finds(ledger({ history: anew }), "E", /began it anew/);
  const by_hand = new Set([DELIVERY]);
  findsNothing(ledger({ history: changed, by_hand }));
  findsNothing(ledger({ history: anew, by_hand }));
});

Deno.test("check() F finds attempts sent too early or too late", () => {
  const attempts = [failing(1, 1_000), failing(2, 1_060), failing(3, 1_280)];
  finds(ending("failed", attempts), "F", /attempt 2 .* 50 ms early/);
  const late = [failing(1, 1_000), failing(2, 3_200), failing(3, 3_420)];
  finds(ending("failed", late), "F", /attempt 2 .* late/);
  // While something was broken nobody is late.
  findsNothing(ending("failed", late, { healthy: [] }));
  finds(ledger({ requests: [request(1, { at: 990 })] }), "F", /10 ms early/);
});

Deno.test("check() F accepts late attempts as far as outages explain them", () => {
  const attempts = [failing(1, 1_000), failing(2, 9_000), failing(3, 9_220)];
  const run = ending("failed", attempts, { healthy: [] });
  assert.equal(check(run).counts.late, 1);
  findsNothing(run);
  findsNothing({ ...run, outages: [[900, 3_000], [3_500, 9_500]] });
  finds(
    { ...run, outages: [[900, 2_000], [8_000, 9_500]] },
    "F",
    /attempt 2 .* no outage explains/,
  );
  finds({ ...run, outages: [] }, "F", /attempt 2 .* 7880 ms late, which no outage/);
});

/** Deliveries of one endpoint with these limits; each has its attempt, and its receiver's request, at these times. */
function limited(limits: Limits, times: readonly (readonly [from: number, to: number])[]): Ledger {
  const ids = times.map((_, at) => `01a20fa8-2635-7b1d-9b44-70${10 + at}00000000`);
  const owed = ids.map((event_id) => ({ event_id, delivery_id: deliveryUuid(event_id, 1) }));
  const [delivery] = ledger().deliveries;
  assert(delivery);
  return ledger({
    endpoints: [{ no: 1, id: "crm", retry_ms: RETRY_MS, limits }],
    healthy: [],
    acknowledged: [],
    history: [],
    events: ids.map((id) => ({ id, hash: id, received_at: 1_000, erased_at: null })),
    deliveries: owed.map(({ event_id, delivery_id }, at) => {
      return { ...delivery, id: delivery_id, event_id, ended_at: times[at]?.[1] ?? 0 };
    }),
    attempts: owed.map(({ delivery_id }, at) => {
      const [started_at = 0, ended_at = 0] = times[at] ?? [];
      return attempt(1, { delivery_id, started_at, ended_at });
    }),
    requests: owed.map((of, at) => {
      const [from = 0, to = 0] = times[at] ?? [];
      return request(1, { ...of, hash: of.event_id, at: from, ended_at: to });
    }),
  });
}

Deno.test("check() L finds more requests at once than an endpoint's concurrency", () => {
  const three = [[1_000, 1_050], [1_010, 1_060], [1_050, 1_090]] as const;
  findsNothing(limited({ concurrency: 2 }, three));
  finds(limited({ concurrency: 1 }, three), "L", /crm had 2 requests at once, 1 are allowed/);
  // One that was never answered, on a connection that was never closed.
  const open = limited({ concurrency: 2 }, [[1_000, 1_050], [1_100, 1_150], [1_120, 1_130]]);
  const requests = open.requests.map((seen, at) => at === 0 ? { ...seen, ended_at: null } : seen);
  finds({ ...open, requests }, "L", /3 requests at once/);
  // One that arrived when its attempt had been given up.
  const [first] = open.requests;
  assert(first);
  findsNothing({ ...open, requests: requests.with(0, { ...first, at: 1_110, ended_at: 1_140 }) });
});

Deno.test("check() L finds more attempts than an endpoint's rate", () => {
  const every = (step_ms: number, count: number) =>
    Array.from({ length: count }, (_, at) => [1_000 + at * step_ms, 1_005 + at * step_ms] as const);
  findsNothing(limited({ rate_per_s: 10 }, every(100, 30)));
  // The slots of a second, which a daemon uses late.
  findsNothing(limited({ rate_per_s: 10 }, every(1, 11)));
  finds(limited({ rate_per_s: 10 }, every(1, 12)), "L", /crm had attempts 1\d+ ms ahead of 10 per/);
  finds(limited({ rate_per_s: 10 }, every(50, 30)), "L", /ahead/);
});

Deno.test("check() M finds what one daemon shows otherwise", () => {
  const view = (daemon: string, text: string) => ({ daemon, path: "/api/alerts", text });
  findsNothing(ledger({ views: [view("d1", "same"), view("d2", "same")] }));
  finds(
    ledger({ views: [view("d1", "two open"), view("d2", "two open"), view("d3", "one open")] }),
    "M",
    /^\/api\/alerts: d1 has "two open", d3 has "one open"$/,
  );
});

Deno.test("common() leaves out the daemon, and what is of one request", () => {
  const page = (origin: string, token: string) =>
    `<a href="${origin}/x?a=1&amp;since=${token}"><input name="csrf" value="${token}">4`;
  assert.equal(
    common(page("http://a:1", "t"), ["http://a:1", "http://b:1"]),
    common(page("http://b:1", "u"), ["http://a:1", "http://b:1"]),
  );
  assert.notEqual(common("4 failed", []), common("5 failed", []));
});

Deno.test("check() reports violations seen during the run", () => {
  const finding = { invariant: "G", text: "d1.1 ended by itself with code 1" } as const;
  assert.deepEqual(check(ledger({ findings: [finding] })).violations, [finding]);
});

Deno.test("each sabotage patches a place that exists, once", async () => {
  for (const [name, { file, from }] of Object.entries(SABOTAGES)) {
    const text = await Deno.readTextFile(new URL(`../../${file}`, import.meta.url));
    assert.equal(text.split(from).length - 1, 1, `${name} in ${file}`);
  }
});
