import assert from "node:assert/strict";
import { END_REASONS, KINDS } from "../../../lib/core/alerting/kinds.ts";
import {
  announcement,
  type Audience,
  durationOf,
  headline,
  isoTime,
  nextSteps,
  percentOf,
  type Spoken,
  utcTime,
} from "../../../lib/core/alerting/words.ts";
import { HOUR, MINUTE, NOW } from "./facts.ts";

const ALERT: Spoken = {
  id: "alr_01kb",
  kind: "endpoint_failing",
  subject: "crm",
  endpoint: { id: "crm", description: null },
  began_at: NOW - 20 * MINUTE,
  opened_at: NOW - 10 * MINUTE,
  ended_at: null,
  end_reason: null,
  details: {
    window_ms: 15 * MINUTE,
    attempts: 340,
    failed: 312,
    reason: "http_4xx",
    code: 401,
    example_delivery_id: "dlv_7",
    waiting: 214,
    waiting_exact: true,
    exhausted_at: NOW + 31 * HOUR,
  },
};
const TILL = { ...ALERT, subject: "ep_1", endpoint: { id: "ep_1", description: "Your till" } };
const total = { ...ALERT.details, attempts: 312 };

const since = "since 29 Nov 13:40 UTC";
const SENTENCES: readonly (readonly [Partial<Spoken>, operator: string, business?: string])[] = [
  [
    {},
    `91 % of the attempts to Your till have failed ${since}: it answers 401`,
    `Your till has refused some updates ${since} (401)`,
  ],
  [
    { details: total },
    `Your till has been failing ${since}: it answers 401`,
    `Your till has refused every update ${since} (401)`,
  ],
  [
    { details: { ...total, reason: "timeout" } },
    `Your till has been failing ${since}: it answers too slowly`,
    `Your till has not answered ${since}`,
  ],
  [
    { details: { ...total, reason: "http_5xx", code: 500 } },
    `Your till has been failing ${since}: it answers 500`,
    `Your till has had an error of its own ${since} (500)`,
  ],
  [
    { details: { ...total, reason: "dns" } },
    `Your till has been failing ${since}: its name does not resolve`,
    `The address of Your till has not been found ${since}`,
  ],
  [
    { details: { attempts: 20, failed: 20 } },
    `Your till has been failing ${since}`,
    `Nothing has reached Your till ${since}`,
  ],
  [
    { kind: "endpoint_gone" },
    "Your till answered 410 Gone, so it is paused",
    "Your till wants no more updates at its address (410 Gone), so it is paused",
  ],
  [
    { kind: "endpoint_pausing", details: { stage: 50, pauses_at: NOW + 60 * HOUR } },
    `Your till has done nothing but fail ${since}, and will be paused on 2 Dec 02:00 UTC`,
    `Nothing has reached Your till ${since}, and it will be paused on 2 Dec 02:00 UTC`,
  ],
  [
    { kind: "endpoint_pausing", details: { stage: 100, pauses_at: NOW } },
    `Your till was paused on 29 Nov 14:00 UTC: it has done nothing but fail ${since}`,
    `Your till was paused on 29 Nov 14:00 UTC: nothing has reached it ${since}`,
  ],
  [
    { kind: "deliveries_overdue" },
    `Deliveries to Your till have been overdue ${since}`,
    `Updates for Your till have been late ${since}`,
  ],
  [
    { kind: "check_failing" },
    `Your till has failed its health checks ${since}`,
    `Your till has not been within reach ${since}`,
  ],
  [
    { kind: "certificate_ending", details: { certificate_ends_at: NOW + 100 * HOUR } },
    "The certificate of Your till expires on 3 Dec 18:00 UTC",
    "The certificate of Your till expires on 3 Dec 18:00 UTC",
  ],
  [
    { kind: "certificate_ending", details: { certificate_ends_at: NOW - HOUR } },
    "The certificate of Your till expired on 29 Nov 13:00 UTC",
  ],
  [
    { kind: "ingest_silent", subject: "", endpoint: null, details: { last_event_at: NOW - HOUR } },
    "BookMe has posted no event since 29 Nov 13:00 UTC",
  ],
  [
    { kind: "ingest_refused", subject: "", endpoint: null, details: { reason: "signature_wrong" } },
    `BookMe's posts have been refused ${since}: the signature is wrong`,
  ],
  [
    {
      kind: "egress_broken",
      subject: "",
      endpoint: null,
      details: { endpoints: 12, reason: "dns", attempts: 90, failed: 90 },
    },
    `Nothing has arrived at any of 12 endpoints ${since}: names do not resolve`,
  ],
  [
    { kind: "disk_low", subject: "dmn_1", endpoint: null, details: { free_bytes: 900 * 2 ** 20 } },
    "The disk of the daemon dmn_1 is nearly full: 900 MiB free",
  ],
  [
    { kind: "database_failing", subject: "dmn_1", endpoint: null },
    `The database has failed statements of the daemon dmn_1 ${since}`,
  ],
  [
    {
      kind: "daemons_differ",
      subject: "",
      endpoint: null,
      details: { daemons: 3, differing: 1, differ_in: "file" },
    },
    `1 of 3 daemons has had another configuration file than the others ${since}`,
  ],
  [
    { kind: "target_failing", subject: "slack-2", endpoint: null },
    `Alerts have not reached slack-2 ${since}`,
  ],
  [
    { kind: "target_failing", subject: "events:ops-alerts", endpoint: null },
    `Alerts have not reached the endpoint ops-alerts ${since}`,
  ],
];

for (const [more, operator, business] of SENTENCES) {
  Deno.test(`headline() says: ${operator}`, () => {
    assert.equal(headline({ ...TILL, ...more }, "operator", utcTime), operator);
    if (business !== undefined) {
      assert.equal(headline({ ...TILL, ...more }, "business", utcTime), business);
    }
  });
}

Deno.test("headline() has ISO times for pages, and begins with a name as it is", () => {
  assert.equal(
    headline({ ...ALERT, details: total }, "operator"),
    "crm has been failing since 2026-11-29T13:40:00.000Z: it answers 401",
  );
});

Deno.test("headline() of an alert that ended says why, and how long it lasted", () => {
  const ended = (end_reason: Spoken["end_reason"], kind: Spoken["kind"] = "endpoint_failing") =>
    headline({ ...ALERT, kind, ended_at: NOW + 2 * HOUR, end_reason }, "operator");
  assert.equal(ended("delivered"), "crm delivers again, after 2 hours 20 minutes");
  assert.equal(ended("paused"), "crm was paused, after 2 hours 20 minutes");
  assert.equal(
    ended("cleared", "check_failing"),
    "crm passes its health check again, after 2 hours 20 minutes",
  );
});

for (
  const [ms, words] of [
    [0, "less than a minute"],
    [59_999, "less than a minute"],
    [MINUTE, "1 minute"],
    [12.9 * MINUTE, "12 minutes"],
    [HOUR, "1 hour"],
    [25 * HOUR + MINUTE, "25 hours 1 minute"],
    [72 * HOUR, "3 days"],
  ] as const
) {
  Deno.test(`headline() of an alert that ended says that it lasted ${ms} ms: ${words}`, () => {
    const ended = { ...ALERT, ended_at: ALERT.began_at + ms, end_reason: "delivered" as const };
    assert.equal(headline(ended, "operator"), `crm delivers again, after ${words}`);
  });
}

Deno.test("announcement() has the endpoint, counts, an example, what waits and what follows", () => {
  const named = { ...ALERT, endpoint: { id: "crm", description: "Customer records" } };
  const links = { base_url: "https://hooks.example.com" };
  assert.deepEqual(announcement(named, "began", links, "operator"), {
    title: `91 % of the attempts to Customer records have failed ${since}: it answers 401`,
    lines: [
      "Endpoint: Customer records (crm)",
      "312 of 340 attempts failed (91 %) in the last 15 min",
      "Most often it answers 401, for example https://hooks.example.com/dashboard/deliveries/dlv_7",
      "214 deliveries wait",
      "The first runs out of attempts on 30 Nov 21:00 UTC",
    ],
    link: "https://hooks.example.com/dashboard/alerts#alr_01kb",
  });
});

Deno.test("announcement() to a business names its own system and links to its own pages", () => {
  const alert = { ...TILL, details: { ...total, reason: "timeout" as const } };
  const links = { base_url: "https://hooks.example.com" };
  assert.deepEqual(announcement(alert, "reminded", links, "business"), {
    title: `Reminder: Your till has not answered ${since}`,
    lines: [
      "312 of 312 attempts failed (100 %) in the last 15 min",
      "For example https://hooks.example.com/portal/deliveries/dlv_7",
      "214 updates wait",
      "We keep trying until 30 Nov 21:00 UTC",
    ],
    link: "https://hooks.example.com/portal/endpoints/ep_1",
  });
});

Deno.test("announcement() shows ids if nobody knows where the pages are", () => {
  const { lines, link } = announcement(ALERT, "began", { base_url: null }, "operator");
  assert.equal(link, null);
  assert.ok(lines.includes("Most often it answers 401, for example dlv_7"));
});

Deno.test("announcement() of the end is short", () => {
  const alert = { ...ALERT, ended_at: NOW, end_reason: "delivered" as const };
  assert.deepEqual(announcement(alert, "ended", { base_url: null }, "operator"), {
    title: "Over: crm delivers again, after 20 minutes",
    lines: ["Endpoint: crm"],
    link: null,
  });
});

Deno.test("every kind and every end has a sentence, without a full stop, for each audience", () => {
  for (const kind of KINDS) {
    for (const end_reason of [null, ...END_REASONS]) {
      for (const audience of ["operator", "business"] satisfies Audience[]) {
        const ended_at = end_reason === null ? null : NOW;
        const alert = { ...ALERT, kind, end_reason, ended_at, details: {} };
        const { title, lines } = announcement(alert, "began", { base_url: null }, audience);
        const sentences = [title, ...lines, ...nextSteps(alert, audience)];
        for (const text of sentences) {
          assert.match(text, /^[A-Zc0-9`].*[^.]$/s, text);
          assert.doesNotMatch(text, /undefined|NaN|null|\s\s/, text);
        }
        // A daemon or a target is no business of its.
        const is_own = end_reason !== "stopped" && end_reason !== "removed";
        if (audience === "business" && alert.kind.startsWith("endpoint") && is_own) {
          assert.doesNotMatch(sentences.join("\n"), /daemon|bookme-webhooks|\.yaml/);
        }
      }
    }
  }
});

Deno.test("percentOf() never says 100 % if anything is missing", () => {
  const shares = [[0, 0], [1, 1_000], [2, 3], [99, 100], [9_999, 10_000], [5, 5]] as const;
  assert.deepEqual(
    shares.map(([part, whole]) => percentOf(part, whole)),
    ["0 %", "0.1 %", "66 %", "99 %", "99.9 %", "100 %"],
  );
});

Deno.test("durationOf() and the styles of times", () => {
  assert.deepEqual(
    [40_000, 15 * MINUTE, 125 * MINUTE, 47 * HOUR, 72 * HOUR].map(durationOf),
    ["40 s", "15 min", "2 h 5 min", "47 h", "3 days"],
  );
  assert.deepEqual([isoTime(NOW), utcTime(NOW)], ["2026-11-29T14:00:00.000Z", "29 Nov 14:00 UTC"]);
});
