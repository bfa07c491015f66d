import assert from "node:assert/strict";
import type * as shown from "../../../../lib/admin/shown.ts";
import { DELIVERY_STATES } from "../../../../lib/core/explain.ts";
import { OUTCOMES } from "../../../../lib/core/outcome.ts";
import { plannedAttempts, whyWords } from "../../../../routes/dashboard/verdicts/attempts.ts";
import { deliveryVerdict, elapsed } from "../../../../routes/dashboard/verdicts/delivery.ts";
import { plain } from "../../../../routes/dashboard/verdicts/verdict.ts";
import { attempt, deliveryFacts, RETRY_MS } from "./delivery_facts.ts";
import { actions, BUSINESS, headline, NOW, OPERATOR, OPERATORS_WORDS, sentences } from "./facts.ts";

const failing = { failing_since: "2026-11-26T14:02:11.000Z" };
const ROTATED = {
  kind: "secret_rotated" as const,
  at: "2026-11-26T13:59:20.000Z",
  by: "anna",
  text: "The secret was rotated 3 minutes before the first 401",
};
const seven = Array.from({ length: 7 }, (_, n) => attempt(n + 1));

Deno.test("failed: how often, with what, why, whether a retry would help", () => {
  const story = deliveryFacts(
    { status: "failed", state: "failed", attempts: seven, ended_at: NOW, hints: [ROTATED] },
    failing,
    { failed: { value: 214, exact: true } },
  );
  const verdict = deliveryVerdict(story, OPERATOR);
  assert.equal(verdict.tone, "failing");
  assert.deepEqual(verdict.state, { kind: "failed", word: "Failed" });
  assert.equal(
    headline(verdict),
    "crm rejected this booking seven times with 401, and no attempts are left",
  );
  assert.equal(
    sentences(verdict),
    "The secret was rotated 3 minutes before the first 401. crm has accepted nothing since 14:01, so a " +
      "retry now would probably fail too. Give crm the new secret, then send it a test.",
  );
  assert.deepEqual(actions(verdict), [
    "Send crm a test",
    "Retry this one",
    "Replay crm’s 214 failed…",
  ]);
  assert.deepEqual(verdict.actions.map(({ method, href }) => [method, href]), [
    ["get", "/dashboard/test?endpoint=crm"],
    ["post", "/dashboard/deliveries/dlv_1/retry"],
    ["get", "/dashboard/replays?endpoint=crm&status=failed&since=2026-11-23T15%3A31%3A00.000Z"],
  ]);
});

Deno.test("failed: once the endpoint accepts again, a retry comes first", () => {
  const story = deliveryFacts(
    { status: "failed", state: "failed", attempts: seven, ended_at: NOW },
    { last_success_at: "2026-11-26T15:29:00.000Z" },
  );
  const verdict = deliveryVerdict(story, OPERATOR);
  assert.match(
    sentences(verdict),
    /crm has accepted others since, the last one at 15:29, so a retry will probably work\./,
  );
  assert.deepEqual(actions(verdict), ["Retry now", "Send crm a test"]);
});

Deno.test("failed: what cannot be sent again says so, and offers no retry", () => {
  for (
    const [payload, words] of [
      ["erased", /Its payload was erased, so it cannot be sent again\./],
      ["purged", /older than retention\.payloads and gone, so it cannot be sent again\./],
    ] as const
  ) {
    const story = deliveryFacts({ status: "failed", state: "failed", attempts: seven }, {}, {
      payload,
    });
    const verdict = deliveryVerdict(story, OPERATOR);
    assert.match(sentences(verdict), words);
    assert.deepEqual(actions(verdict), ["See the event"]);
  }
  const retired = deliveryFacts({ status: "failed", state: "failed", attempts: seven }, {
    state: "retired",
  });
  assert.match(sentences(deliveryVerdict(retired, OPERATOR)), /crm is deleted, so nothing is sent/);
  assert.deepEqual(actions(deliveryVerdict(retired, OPERATOR)), ["See the event"]);
});

Deno.test("whoever may only read is offered nothing that would be refused", () => {
  for (const state of DELIVERY_STATES) {
    const story = deliveryFacts({ state, attempts: [attempt(1)] }, failing, {
      failed: { value: 3, exact: true },
    });
    const verdict = deliveryVerdict(story, { ...OPERATOR, may_write: false });
    assert.ok(
      verdict.actions.every(({ method, href }) => method === "get" && !/test|replays/.test(href)),
    );
  }
});

Deno.test("waiting: the next attempt, and until when there are more", () => {
  const verdict = deliveryVerdict(
    deliveryFacts(
      {
        attempts: seven.slice(0, 5),
        next_attempt_at: "2026-11-26T21:26:00.000Z",
        hints: [ROTATED],
      },
      failing,
    ),
    OPERATOR,
  );
  assert.equal(
    headline(verdict),
    "crm rejected this booking five times with 401; attempt 6 of 7 is at 21:26",
  );
  assert.match(
    sentences(verdict),
    /Nothing is lost: crm has until 2026-11-27 21:26 to accept it\. Give crm the new secret, then send it a test\.$/,
  );
  assert.deepEqual(actions(verdict), ["Send crm a test", "Retry now", "Cancel delivery"]);
  assert.equal(verdict.actions[2]?.danger, true);
  const last = deliveryVerdict(
    deliveryFacts({ attempts: seven.slice(0, 6), next_attempt_at: "2026-11-26T21:26:00.000Z" }),
    OPERATOR,
  );
  assert.match(sentences(last), /Nothing is lost yet, but that attempt is the last one\./);
});

Deno.test("delivered: on which attempt, how long after", () => {
  const story = deliveryFacts({
    status: "delivered",
    state: "delivered",
    attempts: [
      attempt(1, "timeout"),
      attempt(2, "delivered", 200, { ended_at: "2026-11-26T14:03:15.000Z" }),
    ],
    counted_attempts: null,
  });
  const verdict = deliveryVerdict(story, OPERATOR);
  assert.equal(verdict.tone, "calm");
  assert.equal(
    headline(verdict),
    "crm accepted this booking on the second attempt, 64 seconds after it was posted",
  );
  assert.deepEqual(actions(verdict), ["See the event", "Send it again"]);
  const business = deliveryVerdict(story, BUSINESS);
  assert.deepEqual(business.state, { kind: "delivered", word: "Arrived" });
  assert.equal(headline(business), "This booking arrived at crm at 14:03");
});

Deno.test("sending, cancelling, interrupted: which attempt, and what the one before met", () => {
  const timeout = attempt(1, "timeout", null, { duration_ms: 30_004 });
  const said = (state: shown.Delivery["state"], attempts: shown.Attempt[]) =>
    headline(deliveryVerdict(deliveryFacts({ state, sending: true, attempts }), OPERATOR));
  assert.equal(said("sending", []), "The first attempt is under way");
  assert.equal(
    said("sending", [timeout]),
    "Attempt 2 of 7 is under way; the first timed out after 30 seconds",
  );
  assert.equal(
    said("interrupted", [timeout]),
    "Attempt 2 of 7 never reported back; it is sent again within a minute",
  );
  assert.equal(said("cancelling", [timeout]), "Attempt 2 of 7 is under way and is the last one");
});

Deno.test("paused: whose pause, and that resuming sends it", () => {
  const verdict = deliveryVerdict(
    deliveryFacts({ state: "paused" }, {
      id: "waitlist",
      state: "paused",
      paused: true,
      paused_at: "2026-11-26T09:00:00.000Z",
      pause_reason: "Moving to a new host",
    }),
    OPERATOR,
  );
  assert.equal(verdict.tone, "paused");
  assert.equal(
    headline(verdict),
    "Waiting because waitlist is paused; its deliveries go out when you resume it",
  );
  assert.equal(
    sentences(verdict),
    "waitlist has been paused since 09:00. Reason: “Moving to a new host”.",
  );
  assert.equal(verdict.actions[0]?.href, "/dashboard/endpoints/waitlist/resume");
});

Deno.test("paused automatically: when it is tried again, and that the others follow by themselves", () => {
  const automatic = {
    id: "waitlist",
    state: "paused",
    paused: true,
    paused_at: "2026-11-26T09:00:00.000Z",
    pause_reason: "Nothing but failures for 5 days",
    paused_by: "automatic",
    next_probe_at: "2026-11-26T16:00:00.000Z",
  } as const;
  const verdict = deliveryVerdict(deliveryFacts({ state: "paused" }, automatic), OPERATOR);
  assert.equal(
    headline(verdict),
    "Waiting because waitlist is paused automatically; it is tried again at 16:00",
  );
  assert.equal(
    sentences(verdict),
    "waitlist has been paused since 09:00. Reason: “Nothing but failures for 5 days”. Each hour " +
      "one that waits is tried. Once one arrives, the pause ends and the others follow.",
  );
  assert.equal(verdict.actions[0]?.href, "/dashboard/endpoints/waitlist/resume");
  const business = deliveryVerdict(deliveryFacts({ state: "paused" }, automatic), BUSINESS);
  assert.match(
    headline(business),
    /waits because waitlist is paused automatically; it is tried again at 16:00$/,
  );
  assert.doesNotMatch(sentences(business), OPERATORS_WORDS);
  const failed = { status: "failed", state: "failed", attempts: [attempt(1)] } as const;
  assert.match(
    sentences(
      deliveryVerdict(
        deliveryFacts({ ...failed, attempts: [...failed.attempts] }, automatic),
        OPERATOR,
      ),
    ),
    /waitlist is paused automatically, so a retry waits until it accepts something; it is tried at 16:00\./,
  );
});

Deno.test("cancelled: by whom or what, when, and whether it can still be sent", () => {
  const said = (cancel_reason: string) => {
    const verdict = deliveryVerdict(
      deliveryFacts({
        status: "cancelled",
        state: "cancelled",
        cancel_reason,
        ended_at: "2026-11-26T11:20:00.000Z",
      }),
      OPERATOR,
    );
    return [headline(verdict), ...actions(verdict)];
  };
  assert.deepEqual(said("deselected"), [
    "Cancelled at 11:20: crm no longer selects booking.created",
    "Send it all the same",
    "See the event",
  ]);
  assert.equal(said("endpoint_retired")[0], "Cancelled at 11:20: crm was deleted");
  assert.equal(said("erased")[0], "Cancelled at 11:20: its payload was erased");
  assert.equal(
    said("expired")[0],
    "Cancelled at 11:20: it waited for longer than retention.events",
  );
  assert.equal(said("Cancelled by portal:lnk_1")[0], "Cancelled by the business at 11:20");
  assert.equal(said("Cancelled by ops")[0], "Cancelled by ops at 11:20");
});

Deno.test("due, overdue, rate limited, unsendable, ending", () => {
  const said = (delivery: Partial<shown.DeliveryDetail>, endpoint: Partial<shown.Endpoint> = {}) =>
    headline(deliveryVerdict(deliveryFacts(delivery, endpoint), OPERATOR));
  assert.equal(
    said({ state: "due" }),
    "This booking is due now and goes to crm within a second or so",
  );
  assert.equal(
    said({ state: "overdue", overdue_ms: 600_000 }),
    "This delivery is overdue by 10 minutes",
  );
  assert.equal(
    said({ state: "rate_limited" }, { rate_limit: "50/s" }),
    "Waiting for the rate limit of crm, 50/s",
  );
  assert.equal(said({ state: "unsendable" }), "Waiting because this daemon cannot send to crm");
  assert.equal(
    said({ state: "ending" }),
    "This delivery is about to end: its attempts are used up",
  );
});

Deno.test("each outcome has its sentence for both audiences", () => {
  const statuses: Partial<Record<string, number>> = {
    http_4xx: 404,
    http_5xx: 503,
    redirect: 301,
    gone: 410,
  };
  const said = (reader: typeof OPERATOR) =>
    OUTCOMES.filter((outcome) => outcome !== "delivered").map((outcome) => {
      const met = (n: number) => attempt(n, outcome, statuses[outcome] ?? null);
      const attempts = outcome === "gone" ? [met(1)] : [met(1), met(2), met(3)];
      const story = deliveryFacts({ status: "failed", state: "failed", attempts }, {
        description: "Till",
      });
      return headline(deliveryVerdict(story, reader));
    });
  const left = ", and no attempts are left";
  assert.deepEqual(said(OPERATOR), [
    `Till rejected this booking three times with 404${left}`,
    `Till answered this booking three times with 503${left}`,
    `Till redirected this booking three times with 301${left}`,
    `Till timed out three times on this booking${left}`,
    `crm.example.com did not resolve in three attempts${left}`,
    `The TLS handshake with Till failed three times${left}`,
    `Till closed the connection three times without an answer${left}`,
    `Till did not answer this booking in HTTP in three attempts${left}`,
    `The address of Till is not allowed${left}`,
    "Till said 410 Gone to this booking, which ends this delivery",
    `3 attempts to send this booking were cut off${left}`,
  ]);
  const stopped = ", and BookMe has stopped trying";
  assert.deepEqual(said(BUSINESS), [
    `Till refused this booking three times${stopped}`,
    `Till had an error of its own three times${stopped}`,
    `Till sent this booking elsewhere three times${stopped}`,
    `Till did not answer three times${stopped}`,
    `The address crm.example.com was not found${stopped}`,
    `There was no secure connection to Till${stopped}`,
    `Till did not answer three times${stopped}`,
    `BookMe could not hand this booking to Till${stopped}`,
    `BookMe could not hand this booking to Till${stopped}`,
    "Till refused this booking",
    `BookMe could not hand this booking to Till${stopped}`,
  ]);
});

Deno.test("attempts that met different things are counted together", () => {
  const story = deliveryFacts({
    status: "failed",
    state: "failed",
    attempts: [attempt(1, "timeout"), attempt(2, "http_5xx", 503), attempt(3)],
  });
  assert.equal(
    headline(deliveryVerdict(story, OPERATOR)),
    "crm did not accept this booking in three attempts, and no attempts are left",
  );
});

Deno.test("tests and other types are called what they are", () => {
  const said = (delivery: Partial<shown.DeliveryDetail>) =>
    headline(
      deliveryVerdict(
        deliveryFacts({ status: "failed", state: "failed", attempts: [attempt(1)], ...delivery }),
        OPERATOR,
      ),
    );
  assert.match(said({ test: true }), /rejected this test with 401/);
  assert.match(said({ event_type: "service.updated" }), /rejected this change of a service with/);
  assert.match(said({ event_type: "loyalty.points" }), /rejected this event with/);
});

Deno.test("every state has a verdict that a business understands", () => {
  for (const state of DELIVERY_STATES) {
    for (const attempts of [[], [attempt(1)], seven]) {
      const story = deliveryFacts({ state, attempts, cancel_reason: "deselected" }, failing);
      const verdict = deliveryVerdict(story, BUSINESS);
      assert.ok(headline(verdict).length > 10, state);
      assert.doesNotMatch(`${headline(verdict)} ${sentences(verdict)}`, OPERATORS_WORDS, state);
      assert.doesNotMatch(headline(verdict), /[.!]$/);
    }
  }
});

Deno.test("plannedAttempts() adds the policy's waits to the next attempt", () => {
  const { delivery } = deliveryFacts({
    attempts: seven.slice(0, 5),
    next_attempt_at: "2026-11-26T21:26:00.000Z",
  });
  assert.deepEqual(plannedAttempts(delivery, RETRY_MS, Date.parse(NOW)), [
    { nth: 6, at: "2026-11-26T21:26:00.000Z", wait_ms: null, is_last: false },
    { nth: 7, at: "2026-11-27T21:26:00.000Z", wait_ms: 86_400_000, is_last: true },
  ]);
  assert.deepEqual(
    plannedAttempts({ ...delivery, status: "failed" }, RETRY_MS, Date.parse(NOW)),
    [],
  );
  assert.deepEqual(plannedAttempts({ ...delivery, counted_attempts: 7 }, RETRY_MS, 0), []);
});

Deno.test("whyWords() says in a line what the last attempt met and what follows", () => {
  const why = (
    delivery: Partial<shown.DeliveryDetail>,
    audience: "operator" | "business" = "operator",
  ) => plain(whyWords(deliveryFacts(delivery).delivery, { audience, now: Date.parse(NOW) }));
  const next = { attempts: [attempt(1)], next_attempt_at: "2026-11-26T15:34:00.000Z" };
  assert.equal(why(next), "401; next 2026-11-26 15:34");
  assert.equal(why(next, "business"), "Refused (401); next 2026-11-26 15:34");
  assert.equal(why({ state: "failed", attempts: seven }), "401");
  assert.equal(
    why({ state: "failed", attempts: [attempt(1, "dns", null, { cause: "ENOTFOUND a.example" })] }),
    "a.example does not resolve",
  );
  assert.equal(
    why({ state: "delivered", attempts: [attempt(1, "delivered", 200)] }),
    "First attempt",
  );
  const timeout = attempt(1, "timeout", null, {
    cause: "no response from 10.0.0.1:443 within 30000 ms",
  });
  assert.equal(why({ state: "failed", attempts: [timeout] }), "Timed out after 30 s");
  const odd = attempt(1, "connection", null, { cause: "ECONNRESET" });
  assert.equal(why({ state: "failed", attempts: [odd] }), "connection: ECONNRESET");
  const closed = attempt(1, "connection", null, { cause: "closed before an answer" });
  assert.equal(
    why({ state: "failed", attempts: [closed] }),
    "Closed the connection without an answer",
  );
  assert.equal(why({ state: "paused" }), "The endpoint is paused");
  assert.equal(
    why({ state: "cancelled", cancel_reason: "deselected" }),
    "The endpoint no longer selects it",
  );
  assert.equal(why({ state: "sending" }), "The first attempt under way");
  for (const state of DELIVERY_STATES) assert.match(why({ state }), /^[A-Z0-9]/);
});

Deno.test("elapsed() rounds to what people say", () => {
  assert.deepEqual(
    [84, 999, 1_000, 64_400, 150_000, 3_599_000, 7_300_000, 200_000_000].map(elapsed),
    ["84 ms", "999 ms", "1 second", "64 seconds", "3 minutes", "1 hour", "2 hours", "2 days"],
  );
});
