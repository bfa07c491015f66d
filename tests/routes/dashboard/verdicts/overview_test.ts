import assert from "node:assert/strict";
import type { EndpointPageFacts } from "../../../../routes/dashboard/verdicts/endpoint.ts";
import { type Health, HEALTHS } from "../../../../lib/core/health.ts";
import { percent } from "../../../../routes/dashboard/verdicts/health.ts";
import {
  type OverviewFacts,
  overviewVerdict,
} from "../../../../routes/dashboard/verdicts/overview.ts";
import {
  actions,
  BUSINESS,
  facts,
  headline,
  OPERATOR,
  OPERATORS_WORDS,
  promptness,
  sentences,
} from "./facts.ts";

const SINCE = "2026-11-26T14:02:10.000Z";
const FAILED = {
  last_failure: { outcome: "http_4xx", status: 401, cause: null },
} as const;

/** An overview of these endpoints, and as many others that deliver. */
function overview(
  endpoints: readonly EndpointPageFacts[],
  delivering = 0,
  more: Partial<OverviewFacts> = {},
): OverviewFacts {
  const counts = Object.fromEntries(HEALTHS.map((health) => [health, 0])) as Record<Health, number>;
  for (const { health } of endpoints) counts[health]++;
  counts.delivering += delivering;
  const others = Array.from(
    { length: delivering },
    (_, index) => facts("delivering", { id: `fine-${index}` }),
  );
  return {
    endpoints: [...endpoints, ...others],
    counts,
    today: promptness(0, 0),
    waiting: {
      value: endpoints.reduce((sum, { endpoint }) => sum + endpoint.pending, 0),
      exact: true,
    },
    overdue: { value: 0, exact: true, oldest_ms: null },
    posted: true,
    ...more,
  };
}

Deno.test("all deliver: how many, and what share in time", () => {
  const fine = overview([], 12, { today: promptness(9_998, 10_000) });
  const verdict = overviewVerdict(fine, OPERATOR);
  assert.equal(headline(verdict), "All 12 endpoints deliver; 99.98 % within 30 s today");
  assert.equal(verdict.tone, "calm");
  assert.deepEqual(verdict.state, { kind: "delivered", word: "All delivering" });
  assert.equal(headline(overviewVerdict(overview([], 1), OPERATOR)), "fine-0 delivers");
  const some = overview([facts("unused")], 10);
  assert.equal(
    headline(overviewVerdict(some, OPERATOR)),
    "10 endpoints deliver, 1 has not been used yet",
  );
});

Deno.test("one fails: since when, what it answers, what waits; open it first", () => {
  const crm = facts("failing", { failing_since: SINCE, pending: 214 }, {
    ...FAILED,
    first_exhausted_at: "2026-11-27T21:26:00.000Z",
    hints: [{
      kind: "secret_rotated",
      text: "The secret was rotated 3 minutes before the first 401",
    }],
  });
  const verdict = overviewVerdict(overview([crm], 8), OPERATOR);
  assert.equal(verdict.state.word, "1 of 9 endpoints failing");
  assert.equal(headline(verdict), "crm has been failing since 14:02: it answers 401");
  assert.equal(
    sentences(verdict),
    "The secret was rotated 3 minutes before the first 401. 214 deliveries are waiting and none is lost; " +
      "the first runs out of attempts on 2026-11-27 21:26. Give crm the new secret, then send it a test.",
  );
  assert.deepEqual(actions(verdict), ["Open crm", "Send crm a test", "Pause crm…"]);
  assert.equal(verdict.actions[0]?.href, "/dashboard/endpoints/crm");
});

Deno.test("two fail, or many: who, and what the others do", () => {
  const crm = facts("failing", { failing_since: SINCE, pending: 3 }, FAILED);
  const ledger = facts("failing", { id: "ledger", failing_since: SINCE }, FAILED);
  const verdict = overviewVerdict(overview([crm, ledger], 7), OPERATOR);
  assert.equal(headline(verdict), "crm and ledger are failing; the other 7 endpoints deliver");
  assert.deepEqual(actions(verdict), ["Open crm", "Open ledger"]);
  assert.equal(
    headline(overviewVerdict(overview([crm, ledger], 1), OPERATOR)),
    "crm and ledger are failing; the other endpoint delivers",
  );
  assert.equal(
    headline(overviewVerdict(overview([crm, ledger]), OPERATOR)),
    "crm and ledger are failing",
  );
  const ends = overview([
    { ...crm, first_exhausted_at: "2026-11-27T21:26:00.000Z" },
    { ...ledger, first_exhausted_at: "2026-11-26T21:26:00.000Z" },
  ]);
  assert.match(
    sentences(overviewVerdict(ends, OPERATOR)),
    /3 deliveries are waiting and none is lost; the first runs out of attempts at 21:26\.$/,
  );
  assert.match(
    sentences(overviewVerdict(ends, BUSINESS)),
    /3 updates are waiting and none is lost\. We keep trying until 21:26\.$/,
  );
  const third = facts("failing", { id: "till" }, FAILED);
  assert.equal(
    headline(
      overviewVerdict(overview([crm, ledger, third, facts("paused", { id: "p" })], 5), OPERATOR),
    ),
    "3 endpoints are failing; 5 of the other 6 deliver",
  );
});

Deno.test("an unsendable one counts among the failing", () => {
  const unsendable = facts("unsendable", {
    state: "unsendable",
    unsendable_reason: "no key opens its secrets; set encryption_key",
  });
  const verdict = overviewVerdict(overview([unsendable], 2), OPERATOR);
  assert.equal(headline(verdict), "Nothing can be sent to crm: no key opens its secrets");
  assert.equal(verdict.state.word, "1 of 3 endpoints unsendable");
});

Deno.test("overdue: how much, by how long, and because of whom", () => {
  const slow = facts("delivering", {
    id: "warehouse",
    overdue: 340,
    oldest_overdue_ms: 600_000,
    pending: 400,
  }, { last_failure: { outcome: "timeout", status: null, cause: null } });
  const verdict = overviewVerdict(
    overview([slow], 4, { overdue: { value: 340, exact: true, oldest_ms: 600_000 } }),
    OPERATOR,
  );
  assert.equal(
    headline(verdict),
    "340 deliveries are overdue by up to 10 minutes: warehouse answers too slowly",
  );
});

Deno.test("gone, unresolved and expired ones have their own first lines", () => {
  const gone = facts("paused", {
    id: "loyalty",
    paused: true,
    pause_reason: "The endpoint answered 410 Gone",
    pending: 12,
  });
  assert.equal(
    headline(overviewVerdict(overview([gone], 3), OPERATOR)),
    "loyalty said 410 Gone, so it is paused and 12 deliveries are waiting",
  );
  const lost = facts("failing", {
    url: "https://bellahair.example/in",
    failing_since: "2026-11-26T05:11:00.000Z",
    pending: 9,
  }, { last_failure: { outcome: "dns", status: null, cause: null } });
  assert.equal(
    headline(overviewVerdict(overview([lost], 3), OPERATOR)),
    "bellahair.example has not resolved since 05:11; 9 deliveries are waiting",
  );
  const expired = facts("failing", { id: "calendar-sync" }, {
    last_failure: { outcome: "tls", status: null, cause: null },
    certificate_ends_at: "2026-11-24T12:00:00.000Z",
  });
  assert.equal(
    headline(overviewVerdict(overview([expired], 3), OPERATOR)),
    "The certificate of calendar-sync expired 2 days ago; nothing can be sent to it",
  );
});

Deno.test("retrying, paused, and a certificate that ends soon", () => {
  const loyalty = facts("retrying", { id: "loyalty", pending: 5 }, {
    last_failure: { outcome: "http_5xx", status: 503, cause: null },
  });
  const retrying = overviewVerdict(overview([loyalty], 8), OPERATOR);
  assert.equal(headline(retrying), "loyalty fails some deliveries, which are tried again");
  assert.match(sentences(retrying), /It still delivers, but sometimes answers 503\./);
  const waitlist = facts("paused", {
    id: "waitlist",
    paused: true,
    pause_reason: "their maintenance",
    pending: 388,
  });
  const paused = overviewVerdict(overview([waitlist], 8), OPERATOR);
  assert.equal(headline(paused), "waitlist is paused; the other 8 endpoints deliver");
  assert.equal(
    sentences(paused),
    "Reason: “their maintenance”. 388 deliveries wait until it is resumed.",
  );
  const next_probe_at = "2026-11-26T16:12:00.000Z";
  const automatic = facts("paused", { ...waitlist.endpoint, next_probe_at });
  assert.match(
    sentences(overviewVerdict(overview([automatic], 8), OPERATOR)),
    /388 deliveries wait until it is resumed\. One waiting delivery is tried at 16:12\./,
  );
  const expires = { deliveries: 9, deliveries_exact: true, first_at: "2026-11-26T21:10:00.000Z" };
  const older = facts("paused", { ...waitlist.endpoint, expires });
  assert.match(
    sentences(overviewVerdict(overview([older], 8), OPERATOR)),
    /Of waitlist, 9 deliveries will be cancelled within three days, the first at 21:10, because/,
  );
  const soon = facts("delivering", { id: "loyalty" }, {
    certificate_ends_at: "2026-12-05T16:00:00.000Z",
  });
  assert.equal(
    headline(overviewVerdict(overview([soon], 8), OPERATOR)),
    "All 9 endpoints deliver, but the certificate of loyalty expires in 9 days",
  );
});

Deno.test("what has just begun to fail says so, and is not failing yet", () => {
  const crm = facts("retrying", { failing_since: SINCE, pending: 5 }, FAILED);
  const one = overviewVerdict(overview([crm], 2), OPERATOR);
  assert.equal(headline(one), "crm has been failing since 14:02: it answers 401");
  assert.equal(one.tone, "waiting");
  assert.match(sentences(one), /^Read how to fix a 401\./);
  const till = facts("retrying", { id: "till", failing_since: SINCE }, FAILED);
  const both = overview([crm, till]);
  assert.equal(headline(overviewVerdict(both, OPERATOR)), "crm and till are failing at the moment");
  assert.match(
    sentences(overviewVerdict(both, OPERATOR)),
    /^crm has been failing since 14:02: it answers 401\. till has been failing since 14:02/,
  );
  assert.equal(
    headline(overviewVerdict(both, BUSINESS)),
    "crm and till are not receiving at the moment",
  );
});

Deno.test("a few seconds are not late", () => {
  const moments = overview([], 3, { overdue: { value: 63, exact: true, oldest_ms: 5_000 } });
  assert.equal(headline(overviewVerdict(moments, OPERATOR)), "All 3 endpoints deliver");
});

Deno.test("empty by cause: no endpoint yet, nothing posted yet", () => {
  const none = overviewVerdict(overview([], 0, { posted: false }), OPERATOR);
  assert.equal(headline(none), "No endpoint exists yet, so nothing is sent");
  assert.deepEqual(actions(none), ["New endpoint"]);
  const unused = overview([facts("unused"), facts("unused", { id: "ledger" })], 0, {
    posted: false,
  });
  const ready = overviewVerdict(unused, OPERATOR);
  assert.equal(headline(ready), "Everything is ready for the first event");
  assert.equal(
    sentences(ready),
    "The database is up, 2 endpoints are set up, and no event has been posted. Post one with the command " +
      "below, or send a test.",
  );
  assert.deepEqual(actions(ready), ["Send a test", "New endpoint"]);
  assert.equal(
    headline(overviewVerdict(unused, BUSINESS)),
    "Everything is ready for the first booking",
  );
  assert.equal(
    headline(overviewVerdict(overview([], 0, { posted: false }), BUSINESS)),
    "No system receives your bookings yet",
  );
});

Deno.test("the portal: everything is arriving, or who has not answered and until when we try", () => {
  const fine = overview([], 3, { today: promptness(89, 89) });
  const verdict = overviewVerdict(fine, BUSINESS);
  assert.equal(headline(verdict), "Everything is arriving");
  assert.equal(verdict.state.word, "All 3 receive");
  assert.equal(
    sentences(verdict),
    "BookMe sent 89 updates about your bookings to your 3 systems today, and all of them arrived. " +
      "You don’t need to do anything.",
  );
  const till = facts("failing", { description: "Your till", failing_since: SINCE, pending: 4 }, {
    last_failure: { outcome: "timeout", status: null, cause: null },
    first_exhausted_at: "2026-11-27T21:26:00.000Z",
  });
  const down = overviewVerdict(overview([till], 2), BUSINESS);
  assert.equal(headline(down), "Your till has not answered since 14:02");
  assert.match(
    sentences(down),
    /4 updates are waiting and none is lost\. We keep trying until 2026-11-27 21:26\./,
  );
  for (const health of HEALTHS) {
    const one = facts(
      health,
      { pending: 2, ...(health === "paused" ? { paused: true } : {}) },
      FAILED,
    );
    for (const all of [overview([one]), overview([one], 2), overview([one, one], 2)]) {
      const { headline: words, sentences: more } = {
        headline: headline(overviewVerdict(all, BUSINESS)),
        sentences: sentences(overviewVerdict(all, BUSINESS)),
      };
      assert.doesNotMatch(`${words} ${more}`, OPERATORS_WORDS, health);
    }
  }
});

Deno.test("percent() never rounds up to 100 %", () => {
  assert.equal(percent(100_000, 100_000), "100 %");
  assert.equal(percent(99_999, 100_000), "99.99 %");
  assert.equal(percent(825, 1_000), "82.5 %");
  assert.equal(percent(0, 5), "0 %");
  assert.equal(percent(0, 0), null);
});
