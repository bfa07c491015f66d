import assert from "node:assert/strict";
import {
  age,
  endpointVerdict,
  milliseconds,
} from "../../../../routes/dashboard/verdicts/endpoint.ts";
import {
  actions,
  BUSINESS,
  facts,
  headline,
  NOW,
  OPERATOR,
  OPERATORS_WORDS,
  promptness,
  sentences,
} from "./facts.ts";

const SINCE = "2026-11-26T14:02:10.000Z";
const ENDS = "2026-11-27T21:26:00.000Z";
const UNAUTHORIZED = { outcome: "http_4xx", status: 401, cause: null } as const;

Deno.test("failing: what it answers, since when, the hint, what waits, until when", () => {
  const failing = facts("failing", { failing_since: SINCE, pending: 214 }, {
    last_failure: UNAUTHORIZED,
    first_exhausted_at: ENDS,
    hints: [{
      kind: "secret_rotated",
      text: "The secret was rotated 3 minutes before the first 401",
    }],
  });
  const verdict = endpointVerdict(failing, OPERATOR);
  assert.equal(verdict.tone, "failing");
  assert.deepEqual(verdict.state, { kind: "failed", word: "Failing" });
  assert.equal(headline(verdict), "crm has answered 401 to every request since 14:02");
  assert.equal(
    sentences(verdict),
    "The secret was rotated 3 minutes before the first 401. 214 deliveries are waiting and none is lost; " +
      "the first runs out of attempts on 2026-11-27 21:26. Give crm the new secret, then send it a test.",
  );
  assert.deepEqual(actions(verdict), ["Send a test", "Pause…", "See the 214 waiting"]);
  assert.equal(verdict.actions[0]?.href, "/dashboard/test?endpoint=crm");
});

Deno.test("failing in the portal: bookings, systems, and how long we keep trying", () => {
  const failing = facts("failing", { description: "Your till", failing_since: SINCE, pending: 1 }, {
    last_failure: { outcome: "timeout", status: null, cause: null },
    first_exhausted_at: ENDS,
  });
  const verdict = endpointVerdict(failing, BUSINESS);
  assert.deepEqual(verdict.state, { kind: "failed", word: "Not receiving" });
  assert.equal(headline(verdict), "Your till has not answered since 14:02");
  assert.match(
    sentences(verdict),
    /1 update is waiting and none is lost\. We keep trying until 2026-11-27 21:26\./,
  );
  assert.doesNotMatch(sentences(verdict), OPERATORS_WORDS);
});

Deno.test("each reason has its headline for both audiences", () => {
  const of = (outcome: string, status: number | null = null, cause: string | null = null) =>
    facts("failing", { failing_since: SINCE }, {
      last_failure: { outcome: outcome as "timeout", status, cause },
    });
  const operator: Record<string, string> = {};
  const business: Record<string, string> = {};
  for (
    const failing of [
      of("http_4xx", 404),
      of("http_5xx", 503),
      of("redirect", 302),
      of("timeout"),
      of("dns"),
      of("tls"),
      of("connection", null, "ECONNREFUSED 10.0.0.1:443"),
      of("protocol"),
      of("blocked"),
      of("interrupted"),
    ]
  ) {
    const name = failing.last_failure?.outcome ?? "";
    operator[name] = headline(endpointVerdict(failing, OPERATOR));
    business[name] = headline(endpointVerdict(failing, BUSINESS));
    assert.ok(endpointVerdict(failing, OPERATOR).actions.length >= 2);
  }
  assert.deepEqual(operator, {
    http_4xx: "crm has answered 404 to every request since 14:02",
    http_5xx: "crm has answered 503 to every request since 14:02",
    redirect: "crm has redirected every request since 14:02",
    timeout: "crm has answered too slowly since 14:02",
    dns: "crm.example.com has not resolved since 14:02",
    tls: "The TLS handshake with crm has failed since 14:02",
    connection: "crm has refused every connection since 14:02",
    protocol: "crm has not spoken HTTP since 14:02",
    blocked: "The address of crm has not been allowed since 14:02",
    interrupted: "crm has been failing since 14:02",
  });
  assert.deepEqual(business, {
    http_4xx: "crm has refused every update since 14:02 (404)",
    http_5xx: "crm has had an error of its own since 14:02 (503)",
    redirect: "crm has sent every update elsewhere since 14:02",
    timeout: "crm has not answered since 14:02",
    dns: "The address crm.example.com has not been found since 14:02",
    tls: "crm has had no secure connection since 14:02",
    connection: "crm has not answered since 14:02",
    protocol: "Nothing has reached crm since 14:02",
    blocked: "Nothing has reached crm since 14:02",
    interrupted: "Nothing has reached crm since 14:02",
  });
});

Deno.test("a name that does not resolve says at once how much waits, once", () => {
  const verdict = endpointVerdict(
    facts("failing", { failing_since: SINCE, pending: 9 }, {
      last_failure: { outcome: "dns", status: null, cause: "ENOTFOUND" },
      first_exhausted_at: ENDS,
    }),
    OPERATOR,
  );
  assert.equal(
    headline(verdict),
    "crm.example.com has not resolved since 14:02; 9 deliveries are waiting",
  );
  assert.match(sentences(verdict), /None is lost; the first runs out of attempts on/);
  assert.deepEqual(actions(verdict), ["Check the connection", "Send a test", "See the 9 waiting"]);
});

Deno.test("a 410 that paused it comes before other pauses, in words for each audience", () => {
  const gone = facts("paused", {
    description: "loyalty",
    paused: true,
    state: "paused",
    pause_reason: "The endpoint answered 410 Gone",
    pending: 12,
  });
  const verdict = endpointVerdict(gone, OPERATOR);
  assert.equal(
    headline(verdict),
    "loyalty said 410 Gone, so it is paused and 12 deliveries are waiting",
  );
  assert.deepEqual(actions(verdict), ["Edit the URL", "Resume", "See the 12 waiting"]);
  assert.equal(
    headline(endpointVerdict({ ...gone, endpoint: { ...gone.endpoint, pending: 1 } }, BUSINESS)),
    "loyalty said 410 Gone, so it is paused and 1 update is waiting",
  );
});

Deno.test("paused: by whom it was said, what waits, and what will be cancelled", () => {
  const paused = facts("paused", {
    description: "waitlist",
    paused: true,
    state: "paused",
    paused_at: "2026-11-24T09:12:00.000Z",
    pause_reason: "their maintenance, until Monday",
    pending: 388,
    expires: { deliveries: 9, deliveries_exact: true, first_at: "2026-11-26T21:10:00.000Z" },
  });
  const verdict = endpointVerdict(paused, OPERATOR);
  assert.equal(verdict.tone, "paused");
  assert.equal(
    headline(verdict),
    "waitlist has been paused since 2026-11-24 09:12; 388 deliveries are waiting",
  );
  assert.match(sentences(verdict), /Reason: “their maintenance, until Monday”\./);
  assert.match(
    sentences(verdict),
    /9 deliveries will be cancelled within three days, the first at 21:10, because they wait for longer than retention\.events\./,
  );
  assert.equal(actions(verdict)[0], "Resume");
  assert.equal(verdict.actions[0]?.method, "post");
  assert.doesNotMatch(sentences(endpointVerdict(paused, BUSINESS)), OPERATORS_WORDS);
});

Deno.test("paused automatically: when it is tried next, and that the pause ends by itself", () => {
  const automatic = (change: Parameters<typeof facts>[1] = {}) =>
    facts("paused", {
      paused: true,
      state: "paused",
      paused_at: "2026-11-24T09:12:00.000Z",
      pause_reason: "Nothing but failures for 5 days",
      paused_by: "automatic",
      next_probe_at: "2026-11-26T16:12:00.000Z",
      pending: 388,
      ...change,
    });
  const verdict = endpointVerdict(automatic(), OPERATOR);
  assert.equal(
    headline(verdict),
    "crm has been paused automatically since 2026-11-24 09:12; 388 deliveries are waiting",
  );
  assert.equal(
    sentences(verdict),
    "Reason: “Nothing but failures for 5 days”. One waiting delivery is tried at 16:12. Once one " +
      "arrives, the pause ends and the others follow.",
  );
  assert.equal(actions(verdict)[0], "Resume");
  const said = sentences(endpointVerdict(automatic(), BUSINESS));
  assert.match(said, /One waiting update is tried at 16:12\./);
  assert.doesNotMatch(said, OPERATORS_WORDS);
  assert.match(
    sentences(endpointVerdict(automatic({ next_probe_at: NOW }), OPERATOR)),
    /One waiting delivery is tried within a minute\./,
  );
  assert.match(
    sentences(endpointVerdict(automatic({ pending: 0 }), OPERATOR)),
    /No delivery waits, so none is tried\. The next one is tried within an hour; if it arrives, the pause ends\.$/,
  );
});

Deno.test("unsendable: the reason is a sentence, its remedy another; a business learns no detail", () => {
  const unsendable = facts("unsendable", {
    state: "unsendable",
    sendable: false,
    unsendable_reason: "No key opens its secrets; set encryption_key",
    pending: 3,
  });
  const verdict = endpointVerdict(unsendable, OPERATOR);
  assert.equal(headline(verdict), "Nothing can be sent to crm: no key opens its secrets");
  assert.match(
    sentences(verdict),
    /^Set encryption_key\. 3 deliveries are waiting and none is lost\./,
  );
  assert.equal(headline(endpointVerdict(unsendable, BUSINESS)), "BookMe cannot send to crm");
  assert.doesNotMatch(sentences(endpointVerdict(unsendable, BUSINESS)), /key/);
});

Deno.test("certificates: expired, about to expire, and good", () => {
  const expired = facts("failing", { description: "calendar-sync" }, {
    last_failure: { outcome: "tls", status: null, cause: "certificate expired" },
    certificate_ends_at: "2026-11-24T12:00:00.000Z",
  });
  assert.equal(
    headline(endpointVerdict(expired, OPERATOR)),
    "The certificate of calendar-sync expired 2 days ago; nothing can be sent to it",
  );
  const soon = endpointVerdict(
    facts("delivering", {}, { certificate_ends_at: "2026-12-05T16:00:00.000Z" }),
    OPERATOR,
  );
  assert.equal(headline(soon), "crm receives, but its certificate expires in 9 days");
  assert.equal(soon.tone, "waiting");
  const good = facts("delivering", {}, { certificate_ends_at: "2027-01-26T12:00:00.000Z" });
  assert.equal(headline(endpointVerdict(good, OPERATOR)), "crm delivers");
  // It answers: the certificate cannot be the reason.
  const other = facts("failing", { failing_since: SINCE }, {
    last_failure: UNAUTHORIZED,
    certificate_ends_at: "2026-11-24T12:00:00.000Z",
  });
  assert.equal(
    headline(endpointVerdict(other, OPERATOR)),
    "crm has answered 401 to every request since 14:02",
  );
});

Deno.test("overdue: how much, by how long, why, and which limits of its own are in the way", () => {
  const verdict = endpointVerdict(
    facts("delivering", {
      description: "warehouse",
      pending: 500,
      overdue: 340,
      oldest_overdue_ms: 10 * 60_000 + 4_000,
      rate_limit: "5/s",
      concurrency: 1,
    }, { last_failure: { outcome: "timeout", status: null, cause: null } }),
    OPERATOR,
  );
  assert.deepEqual(verdict.state, { kind: "overdue", word: "Overdue" });
  assert.equal(
    headline(verdict),
    "340 deliveries are overdue by up to 10 minutes: warehouse answers too slowly",
  );
  assert.match(sentences(verdict), /a rate limit of 5\/s and 1 attempt at once/);
});

Deno.test("retrying, delivering, not used yet, retired", () => {
  const retrying = facts("retrying", { pending: 5 }, {
    last_failure: { outcome: "http_5xx", status: 503, cause: null },
  });
  assert.equal(
    headline(endpointVerdict(retrying, OPERATOR)),
    "crm takes some deliveries and fails others: it sometimes answers 503",
  );
  const begun = facts("retrying", { failing_since: SINCE }, { last_failure: UNAUTHORIZED });
  assert.equal(
    headline(endpointVerdict(begun, OPERATOR)),
    "crm has answered 401 to every request since 14:02",
  );
  const delivering = facts("delivering", {}, { today: promptness(9_998, 10_000) });
  const verdict = endpointVerdict(delivering, OPERATOR);
  assert.equal(headline(verdict), "crm delivers; 99.98 % within 30 s today");
  assert.equal(verdict.tone, "calm");
  assert.equal(
    headline(endpointVerdict(delivering, BUSINESS)),
    "Everything sent to crm has arrived",
  );
  const unused = endpointVerdict(facts("unused", { last_success_at: null }), OPERATOR);
  assert.equal(headline(unused), "Nothing has been sent to crm yet");
  assert.deepEqual(unused.state, { kind: "unused", word: "Not used yet" });
  const retired = endpointVerdict(
    facts("unused", { state: "retired", retired_at: "2026-11-12T10:00:00.000Z" }),
    OPERATOR,
  );
  assert.equal(headline(retired), "crm was deleted on 2026-11-12 10:00");
  assert.deepEqual(actions(retired), ["See its deliveries"]);
});

Deno.test("a reader who may not write gets no action that would be refused", () => {
  for (const health of ["failing", "retrying", "paused", "delivering", "unused"] as const) {
    const one = facts(health, { pending: 2, ...(health === "paused" ? { paused: true } : {}) });
    const verdict = endpointVerdict(one, { ...OPERATOR, may_write: false });
    assert.deepEqual(verdict.actions.filter(({ method }) => method === "post"), [], health);
    assert.doesNotMatch(actions(verdict).join(), /test|Pause|Resume|Check/, health);
  }
});

Deno.test("lengths of time and counts are rounded down, and agree with their nouns", () => {
  assert.equal(age(48_900), "48 seconds");
  assert.equal(age(1), "1 second");
  assert.equal(age(61_000), "1 minute");
  assert.equal(age(3 * 3_600_000), "3 hours");
  assert.equal(age(49 * 3_600_000), "2 days");
  assert.equal(milliseconds(93.4), "93 ms");
  assert.equal(milliseconds(11_440), "11.4 s");
  const one = facts("failing", { pending: 10_000, pending_exact: false, failing_since: NOW }, {
    last_failure: UNAUTHORIZED,
  });
  assert.match(sentences(endpointVerdict(one, OPERATOR)), /10,000\+ deliveries are waiting/);
});
