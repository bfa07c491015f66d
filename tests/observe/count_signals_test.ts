import assert from "node:assert/strict";
import { PROMISE } from "../../lib/core/promise.ts";
import { OUTCOMES } from "../../lib/core/outcome.ts";
import { REFUSALS } from "../../lib/core/refusals.ts";
import { countSignals, MAX_ENDPOINTS, OTHER } from "../../lib/observe/count_signals.ts";
import { makeMeters } from "../../lib/observe/meters.ts";
import { makeSignals, type SignalValues } from "../../lib/observe/signals.ts";
import { readScrape } from "../support/metrics.ts";

function counting() {
  const signals = makeSignals();
  const meters = makeMeters();
  const counted = countSignals(signals, meters, () => ["booking.created"]);
  const use = (...ids: string[]) =>
    signals.endpoints_changed.emit({
      revision: "1",
      endpoints: ids.map((id) => ({ no: Number(id.slice(1)), id })),
    });
  return { signals, counted, use, shown: () => readScrape(meters.render()) };
}

const RESULT: SignalValues["recorded"] = {
  endpoint_no: 1,
  outcome: "delivered",
  verdict: "delivered",
  status: "delivered",
  attempt: 1,
  duration_ms: 20,
  age_ms: 30_010,
  promise: PROMISE.covered + PROMISE.begun,
  operational: false,
};

Deno.test("every series exists from the start, so that a rate sees the first failure", () => {
  const { counted, use, shown } = counting();
  use("e1");
  counted.expectJobs(["leases"]);
  const found = shown();
  for (const endpoint of ["e1", OTHER]) {
    for (const outcome of OUTCOMES) {
      assert.equal(found.value(`attempts_total{endpoint="${endpoint}",outcome="${outcome}"}`), 0);
    }
    for (const status of ["delivered", "failed", "cancelled"]) {
      assert.equal(
        found.value(`deliveries_ended_total{endpoint="${endpoint}",status="${status}"}`),
        0,
      );
    }
  }
  for (const answer of ["stored", "duplicate"]) {
    assert.equal(found.value(`events_total{type="booking.created",answer="${answer}"}`), 0);
  }
  for (const refusal of REFUSALS) {
    assert.equal(found.value(`events_total{type="",answer="${refusal}"}`), 0);
  }
  assert.equal(found.value('maintenance_runs_total{sweep="leases",result="failed"}'), 0);
  assert.equal(found.value('statement_failures_total{part="ingest"}'), 0);
});

Deno.test("a result is counted by endpoint, outcome and end, and by the promise", () => {
  const { signals, use, shown } = counting();
  use("e1", "e2");
  signals.recorded.emit(RESULT);
  signals.recorded.emit({
    ...RESULT,
    endpoint_no: 2,
    outcome: "timeout",
    verdict: "retry",
    status: null,
    promise: PROMISE.covered,
  });
  signals.recorded.emit({ ...RESULT, attempt: 2, promise: PROMISE.delivered });
  // Statistics leave operational events out, and so do metrics; that the delivery ended is true.
  signals.recorded.emit({ ...RESULT, operational: true });
  signals.ended.emit({ endpoint_no: 2, status: "cancelled", count: 7 });
  const found = shown();
  const expected = {
    'attempts_total{endpoint="e1",outcome="delivered"}': 2,
    'attempts_total{endpoint="e2",outcome="timeout"}': 1,
    'deliveries_ended_total{endpoint="e1",status="delivered"}': 3,
    'deliveries_ended_total{endpoint="e2",status="cancelled"}': 7,
    'promise_deliveries_total{endpoint="e1"}': 1,
    'promise_begun_total{endpoint="e1"}': 1,
    'promise_delivered_total{endpoint="e1"}': 1,
    'promise_deliveries_total{endpoint="e2"}': 1,
    'promise_begun_total{endpoint="e2"}': 0,
    first_attempt_seconds_count: 2,
    'first_attempt_seconds_bucket{le="30"}': 2,
    delivered_seconds_count: 2,
    'delivered_seconds_bucket{le="30"}': 0,
    'response_seconds_count{endpoint="e1"}': 2,
  };
  for (const [series, value] of Object.entries(expected)) {
    assert.equal(found.value(series), value, series);
  }
});

Deno.test("tests and operational events are no posts, refusals have their reasons", () => {
  const { signals, shown } = counting();
  const post = { type: "booking.created", test: false, duplicate: false, deliveries: 1 };
  signals.ingested.emit(post);
  signals.ingested.emit({ ...post, duplicate: true });
  signals.ingested.emit({ ...post, test: true });
  signals.ingested.emit({ ...post, type: "webhooks.alert.began" });
  const refused = { by: "ingest", address: null } as const;
  signals.refused.emit({ ...refused, code: "unauthorized", signed: true });
  signals.refused.emit({ by: "http", code: "malformed" });
  signals.posted.emit({ duration_ms: 30_000, ages_ms: [500, -3] });
  const found = shown();
  assert.equal(found.value('events_total{type="booking.created",answer="stored"}'), 1);
  assert.equal(found.value('events_total{type="booking.created",answer="duplicate"}'), 1);
  assert.equal(found.value('events_total{type="",answer="signature_wrong"}'), 1);
  assert.equal(found.sum(/^bookme_webhooks_events_total/), 3);
  assert.equal(found.value('ingest_seconds_bucket{le="30"}'), 1);
  assert.equal(found.value('event_age_seconds_bucket{le="0.5"}'), 2);
});

Deno.test("a series ends with its endpoint; what still comes of it is counted with the others", () => {
  const { signals, counted, use, shown } = counting();
  use("e1", "e2");
  signals.recorded.emit(RESULT);
  use("e2", "e3");
  assert.equal(counted.label(1), OTHER);
  signals.recorded.emit(RESULT);
  const found = shown();
  assert.equal(found.sum(/endpoint="e1"/), 0);
  assert.ok(!found.text.includes('endpoint="e1"'));
  assert.equal(found.value(`attempts_total{endpoint="${OTHER}",outcome="delivered"}`), 1);
  assert.equal(found.value('attempts_total{endpoint="e3",outcome="delivered"}'), 0);
});

Deno.test("at most 500 endpoints have series of their own", () => {
  const { signals, counted, use, shown } = counting();
  const ids = Array.from({ length: MAX_ENDPOINTS + 5 }, (_, nth) => `e${nth + 1}`);
  use(...ids);
  assert.equal(counted.label(MAX_ENDPOINTS), `e${MAX_ENDPOINTS}`);
  assert.equal(counted.label(MAX_ENDPOINTS + 1), OTHER);
  signals.recorded.emit({ ...RESULT, endpoint_no: MAX_ENDPOINTS + 2 });
  assert.equal(shown().value(`attempts_total{endpoint="${OTHER}",outcome="delivered"}`), 1);
  // A place becomes free.
  use(...ids.slice(1));
  assert.equal(counted.label(MAX_ENDPOINTS + 1), `e${MAX_ENDPOINTS + 1}`);
});

Deno.test("runs of maintenance jobs are counted, with the leases that ran out", () => {
  const { signals, counted, shown } = counting();
  counted.expectJobs(["leases", "keys"]);
  const run = { job: "leases", count: 2, duration_ms: 500, failure: null };
  signals.maintained.emit(run);
  signals.maintained.emit({ ...run, job: "keys", count: 0, failure: "no" });
  signals.lease_lost.emit({ endpoint_no: 1, delivery: "dlv_1" });
  signals.statement_failed.emit({ part: "api", cause: "no" });
  const found = shown();
  assert.equal(found.value("leases_expired_total"), 2);
  assert.equal(found.value("leases_lost_total"), 1);
  assert.equal(found.value('maintenance_runs_total{sweep="leases",result="ok"}'), 1);
  assert.equal(found.value('maintenance_runs_total{sweep="keys",result="failed"}'), 1);
  assert.equal(found.value('maintenance_seconds_total{sweep="leases"}'), 0.5);
  assert.ok(found.value('maintenance_last_success_timestamp_seconds{sweep="leases"}') > 1.7e9);
  assert.equal(found.value('maintenance_last_success_timestamp_seconds{sweep="keys"}'), 0);
  assert.equal(found.value('statement_failures_total{part="api"}'), 1);
});
