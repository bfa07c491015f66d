import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type ChangeFacts,
  type FailureFacts,
  findHints,
  type HintFacts,
  HINTS,
  type SuccessFacts,
} from "../../lib/core/hints.ts";
import { REASONS } from "../../lib/core/outcome.ts";

const FAILED = Date.UTC(2026, 10, 26, 14, 2, 11);
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const OLD = "203.0.113.20:443";

const failure = (change: Partial<FailureFacts> = {}): FailureFacts => ({
  started_at: FAILED,
  ended_at: FAILED + 84,
  outcome: "http_4xx",
  status: 401,
  address: OLD,
  certificate_ends_at: null,
  is_own: false,
  ...change,
});

const success = (change: Partial<SuccessFacts> = {}): SuccessFacts => ({
  started_at: FAILED - 4 * MINUTE,
  version_since: FAILED - 72 * HOUR,
  addresses: [OLD],
  certificate_ends_at: FAILED + 60 * 24 * HOUR,
  ...change,
});

/** A change so long before the first failure. */
const change = (
  before_ms: number,
  action: string,
  after: unknown,
  before: unknown = null,
): ChangeFacts => ({ at: FAILED - before_ms, actor: "anna", action, before, after });

const rotated = (before_ms: number, overlap_ms = 24 * HOUR, activates_in_ms = 0) =>
  change(before_ms, "endpoint.rotated", {
    activates_at: new Date(FAILED - before_ms + activates_in_ms).toISOString(),
    overlap_ms,
  });

const SETTINGS = {
  timeout_ms: null,
  concurrency: null,
  rate_limit_per_s: 50,
  unsigned: false,
  headers: [] as string[],
  tls: null,
};
const AS_IT_WAS = { url: "https://a.example/", events: ["*"], businesses: null };
const updated = (before_ms: number, fields: object, settings: object = {}, more: object = {}) =>
  change(
    before_ms,
    "endpoint.updated",
    { ...AS_IT_WAS, settings: { ...SETTINGS, ...settings }, ...fields, ...more },
    { ...AS_IT_WAS, settings: SETTINGS },
  );

function hints(changes: readonly ChangeFacts[], facts: Partial<HintFacts> = {}) {
  return findHints({
    failure: failure(),
    success: success(),
    changes,
    timeout_ms: 30_000,
    ...facts,
  });
}
const said = (changes: readonly ChangeFacts[], facts: Partial<HintFacts> = {}) =>
  hints(changes, facts).map(({ text }) => text);

Deno.test("a rotation after the last success explains a 401: when, by whom, how long before", () => {
  assert.deepEqual(hints([rotated(3 * MINUTE + 11 * SECOND)]), [{
    kind: "secret_rotated",
    at: FAILED - 3 * MINUTE - 11 * SECOND,
    by: "anna",
    text: "The secret was rotated 3 minutes before the first 401",
  }]);
});

Deno.test("how long before is said in one unit, and never as zero", () => {
  const ago = (ms: number) =>
    said([rotated(ms)], { success: success({ version_since: 0 }) })[0]
      ?.replace(/^The secret was rotated (.*) the first 401$/, "$1");
  assert.equal(ago(0), "before");
  assert.equal(ago(400), "just before");
  assert.equal(ago(1_499), "1 second before");
  // As the clock reads: 13:56:00.7 and 13:59:00.3 are three minutes apart.
  assert.equal(ago(3 * MINUTE - 400), "3 minutes before");
  assert.equal(ago(3 * MINUTE + 400), "3 minutes before");
  assert.equal(ago(59 * SECOND), "59 seconds before");
  assert.equal(ago(MINUTE), "1 minute before");
  assert.equal(ago(90 * MINUTE), "90 minutes before");
  assert.equal(ago(30 * HOUR), "30 hours before");
  assert.equal(ago(49 * HOUR), "2 days before");
});

Deno.test("a change before the last success, or after the first failure, is no cause", () => {
  assert.deepEqual(said([rotated(73 * HOUR), rotated(-1)]), []);
  // The last success began with the version that this change had made.
  assert.deepEqual(
    said([rotated(HOUR)], { success: success({ version_since: FAILED - HOUR }) }),
    [],
  );
  // It ended after the change, but was sent before it was known.
  assert.deepEqual(said([rotated(5 * MINUTE)]).length, 1);
});

Deno.test("a secret that signs later, and an old one that ceases to, count from then on", () => {
  const later = hints([rotated(48 * HOUR, 24 * HOUR, 48 * HOUR - 2 * MINUTE)])[0];
  assert.equal(later?.text, "The secret was rotated 2 minutes before the first 401");
  assert.equal(later.at, FAILED - 2 * MINUTE);
  const ended = hints([rotated(24 * HOUR + 2 * MINUTE)], {
    success: success({ version_since: FAILED - 24 * HOUR - 2 * MINUTE }),
  });
  assert.deepEqual(ended.map(({ kind, text }) => [kind, text]), [
    ["overlap_ended", "The old secret stopped signing 2 minutes before the first 401"],
  ]);
  const moved = change(MINUTE, "endpoint.overlap_moved", {
    ends_at: new Date(FAILED - MINUTE).toISOString(),
  });
  assert.deepEqual(said([rotated(HOUR), moved], { success: success({ version_since: 0 }) }), [
    "The secret was rotated 60 minutes before the first 401",
    "The old secret stopped signing 1 minute before the first 401",
  ]);
  // Moved to later than the failure: it goes on signing.
  const longer = change(2 * HOUR, "endpoint.overlap_moved", {
    ends_at: new Date(FAILED + HOUR).toISOString(),
  });
  const known = success({ version_since: FAILED - 2 * HOUR });
  assert.deepEqual(said([rotated(24 * HOUR + MINUTE), longer], { success: known }), []);
});

Deno.test("each change is named, if it can explain such a failure", () => {
  const cases: [ChangeFacts, Partial<FailureFacts>, string][] = [
    [
      updated(MINUTE, { url: "https://b.example/" }),
      { outcome: "dns", status: null },
      "The URL was edited 1 minute before the first DNS failure",
    ],
    [
      updated(MINUTE, {}, { headers: ["x-tenant"] }),
      {},
      "The request headers were changed 1 minute before the first 401",
    ],
    [
      updated(MINUTE, {}, {}, { header_values: "changed" }),
      {},
      "The request headers were changed 1 minute before the first 401",
    ],
    [
      updated(MINUTE, {}, {}, { credentials: "changed" }),
      {},
      "The secret, a header or a certificate was changed in the file 1 minute before the first 401",
    ],
    [
      updated(MINUTE, {}, {}, { tls: "changed" }),
      { outcome: "tls", status: null },
      "The certificates for this receiver were changed 1 minute before the first TLS failure",
    ],
    [
      updated(MINUTE, {}, { unsigned: true }),
      {},
      "Signing was switched off 1 minute before the first 401",
    ],
    [
      updated(MINUTE, { events: ["booking.*"] }),
      { outcome: "http_5xx", status: 500 },
      "The selection of events was changed 1 minute before the first 500",
    ],
    [
      updated(MINUTE, {}, { timeout_ms: 5_000 }),
      { outcome: "timeout", status: null },
      "The timeout was lowered to 5 s 1 minute before the first timeout",
    ],
    [
      updated(MINUTE, {}, { rate_limit_per_s: null }),
      { outcome: "http_4xx", status: 429 },
      "The limit on attempts was raised 1 minute before the first 429",
    ],
    [
      change(MINUTE, "endpoint.resumed", null),
      { outcome: "http_5xx", status: 503 },
      "Sending was resumed 1 minute before the first 503",
    ],
  ];
  for (const [made, met, text] of cases) {
    assert.deepEqual(said([made], { failure: failure(met) }), [text]);
  }
});

Deno.test("what cannot be the cause of such a failure is left out", () => {
  const slower = [updated(MINUTE, {}, { timeout_ms: 5_000, rate_limit_per_s: 10 })];
  assert.deepEqual(said(slower), []);
  const timeout = failure({ outcome: "timeout", status: null });
  assert.deepEqual(said([rotated(MINUTE)], { failure: timeout }), []);
  // Longer than before: nothing times out because of that.
  assert.deepEqual(said([updated(MINUTE, {}, { timeout_ms: 60_000 })], { failure: timeout }), []);
});

Deno.test("a certificate that expired, or was replaced, and another address, as attempts saw them", () => {
  const tls = failure({ outcome: "tls", status: null, address: "198.51.100.7:443" });
  const ended = success({ certificate_ends_at: FAILED - 2 * MINUTE });
  assert.deepEqual(said([], { failure: tls, success: ended }), [
    "The receiver's certificate expired 2 minutes before the first TLS failure",
    `The receiver's address changed from ${OLD} to 198.51.100.7:443 before the first TLS failure`,
  ]);
  const replaced = failure({ certificate_ends_at: FAILED + 90 * 24 * HOUR });
  assert.deepEqual(said([], { failure: replaced }), [
    "The receiver's certificate was replaced before the first 401",
  ]);
  // One of several that it has had all the time.
  const many = success({ addresses: [OLD, "198.51.100.7:443"] });
  assert.deepEqual(
    said([], { failure: failure({ address: "198.51.100.7:443" }), success: many }),
    [],
  );
  // Another URL has other addresses.
  const elsewhere = said([updated(MINUTE, { url: "https://b.example/" })], {
    failure: failure({ address: "198.51.100.7:443" }),
  });
  assert.deepEqual(elsewhere, ["The URL was edited 1 minute before the first 401"]);
});

Deno.test("a failure that others may have met before is called the delivery's own", () => {
  assert.deepEqual(said([rotated(MINUTE)], { failure: failure({ is_own: true }) }), [
    "The secret was rotated 1 minute before the first 401 here",
  ]);
});

Deno.test("findHints() gives at most three, of different kinds, in an order of its own", () => {
  const actions = [
    "endpoint.updated",
    "endpoint.rotated",
    "endpoint.overlap_moved",
    "endpoint.resumed",
    "endpoint.paused",
  ];
  const entry = fc.record({
    at: fc.integer({ min: FAILED - 100 * HOUR, max: FAILED + HOUR }),
    actor: fc.string(),
    action: fc.constantFrom(...actions),
    before: fc.oneof(fc.jsonValue(), fc.constant(updated(0, {}).before)),
    after: fc.oneof(
      fc.jsonValue(),
      fc.constant(
        updated(0, { url: "https://b.example/" }, { headers: ["x"], unsigned: true }).after,
      ),
      fc.constant(rotated(HOUR).after),
    ),
  });
  fc.assert(fc.property(
    fc.array(entry),
    fc.constantFrom(...REASONS),
    fc.constantFrom(null, 401, 404, 429, 500, 503),
    (entries, outcome, status) => {
      const changes = entries.toSorted((a, b) => a.at - b.at);
      const found = hints(changes, { failure: failure({ outcome, status }) });
      assert.ok(found.length <= 3);
      assert.equal(new Set(found.map(({ kind }) => kind)).size, found.length);
      for (const { kind, at, text } of found) {
        assert.ok(HINTS.includes(kind) && at <= FAILED + 84);
        assert.match(text, /before the first .*[^.]$/);
        assert.doesNotMatch(text, /deliver(y|ies)|endpoint|daemon/, "words that no business reads");
      }
    },
  ));
});
