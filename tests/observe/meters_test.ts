import assert from "node:assert/strict";
import { makeMeters } from "../../lib/observe/meters.ts";
import { BOUNDS_S, RESPONSE_BOUNDS_S } from "../../lib/observe/metrics.ts";
import { readScrape } from "../support/metrics.ts";

Deno.test("makeMeters() shows series with their labels, and no metric without series", () => {
  const meters = makeMeters();
  const one = meters.series("attempts_total", "crm", "delivered");
  meters.series("attempts_total", 'a"b\\c\nd', "timeout");
  one.value += 3;
  const shown = readScrape(meters.render());
  assert.deepEqual([...shown.families.keys()], ["bookme_webhooks_attempts_total"]);
  assert.equal(shown.families.get("bookme_webhooks_attempts_total")?.type, "counter");
  assert.equal(shown.value('attempts_total{endpoint="crm",outcome="delivered"}'), 3);
  assert.equal(shown.value('attempts_total{endpoint="a\\"b\\\\c\\nd",outcome="timeout"}'), 0);
  meters.drop("attempts_total", one);
  assert.equal(readScrape(meters.render()).values.size, 1);
});

Deno.test("makeMeters() refuses another number of labels", () => {
  assert.throws(
    () => makeMeters().series("attempts_total", "crm"),
    /has the labels endpoint, outcome/,
  );
});

Deno.test("histograms count what is at most a bound; 30 s is one of them", () => {
  const meters = makeMeters();
  const times = meters.histogram("first_attempt_seconds");
  for (const seconds of [0.004, 30, 30.0001, 4_000]) times.observe(seconds);
  const of = meters.histogram("response_seconds", "crm");
  of.observe(0.01);
  const shown = readScrape(meters.render());
  const bucket = (bound: number | string) =>
    shown.value(`first_attempt_seconds_bucket{le="${bound}"}`);
  assert.deepEqual([0.005, 10, 30, 60, 300, "+Inf"].map(bucket), [1, 1, 2, 3, 3, 4]);
  assert.equal(shown.value("first_attempt_seconds_count"), 4);
  assert.ok(Math.abs(shown.value("first_attempt_seconds_sum") - 4_060.0041) < 1e-6);
  assert.equal(shown.value('response_seconds_bucket{endpoint="crm",le="0.01"}'), 1);
  for (const bounds of [BOUNDS_S, RESPONSE_BOUNDS_S]) {
    assert.ok(bounds.includes(30));
    assert.deepEqual(bounds, bounds.toSorted((a, b) => a - b));
  }
});

Deno.test("replace() puts other series in the place of all that there were", () => {
  const meters = makeMeters();
  meters.replace("pending", [[["crm"], 3], [["till"], 0.1 + 0.2]]);
  assert.equal(readScrape(meters.render()).value('pending{endpoint="till"}'), 0.3);
  meters.replace("pending", [[["till"], 1]]);
  assert.deepEqual([...readScrape(meters.render()).values], [[
    'bookme_webhooks_pending{endpoint="till"}',
    1,
  ]]);
});
