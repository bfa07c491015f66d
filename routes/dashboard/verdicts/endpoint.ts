import type { Promptness } from "../../../lib/admin/overview.ts";
import { insteadOf } from "../../../lib/core/failure_words.ts";
import { capitalised } from "../../../lib/core/words.ts";
import {
  daysAgo,
  type EndpointFacts,
  fewDaysLeft,
  healthState,
  helpPart,
  inDays,
  isExpired,
  isGone,
  isLate,
  nameOf,
  percent,
  type Reader,
  sinceThen,
} from "./health.ts";
import {
  type Action,
  button,
  link,
  many,
  moment,
  number,
  type Part,
  type Verdict,
  type Words,
} from "./verdict.ts";

/** An endpoint with what its own page shows besides. */
export type EndpointPageFacts = EndpointFacts & { readonly today: Promptness };

/** The verdict of an endpoint's page. */
export function endpointVerdict(facts: EndpointPageFacts, reader: Reader): Verdict {
  const { endpoint, health } = facts;
  const state = healthState(facts, reader.house.audience);
  if (endpoint.state === "retired") return { ...retired(facts, reader), state };
  if (endpoint.paused) return { ...paused(facts, reader), state };
  if (endpoint.state === "unsendable") return { ...unsendable(facts, reader), state };
  if (isExpired(facts, reader.now)) return { ...expired(facts, reader), state };
  if (health === "failing") return { ...failing(facts, reader), state };
  if (isLate(endpoint.oldest_overdue_ms)) {
    return { ...overdue(facts, reader), state: { kind: "overdue", word: "Overdue" } };
  }
  if (health === "retrying") return { ...retrying(facts, reader), state };
  const days = fewDaysLeft(facts, reader.now);
  if (days !== null) return { ...certificateSoon(facts, reader, days), state };
  return { ...(health === "unused" ? unused(facts, reader) : delivering(facts, reader)), state };
}

type Stateless = Omit<Verdict, "state">;

/** The noun for what waits: operators count deliveries, a business what is new about its bookings. */
function waitingWords({ house }: Pick<Reader, "house">, value: number, exact: boolean): string {
  return house.audience === "operator"
    ? many(value, "delivery is waiting", "deliveries are waiting", exact)
    : many(value, "update is waiting", "updates are waiting", exact);
}

/** `214 deliveries are waiting`, or null. */
export function waiting({ endpoint }: EndpointFacts, reader: Reader): string | null {
  return endpoint.pending === 0
    ? null
    : waitingWords(reader, endpoint.pending, endpoint.pending_exact);
}

/** That nothing is lost yet, and until when; without the number if the headline has `said` it. */
export function consequence(facts: EndpointFacts, reader: Reader, said = false): Words[] {
  const text = waiting(facts, reader);
  if (text === null) return [];
  const strong = said ? "None is lost" : `${text} and none is lost`;
  const { first_exhausted_at } = facts;
  if (first_exhausted_at === null) return [[{ strong }, "."]];
  const end = until(first_exhausted_at, reader.now);
  return reader.house.audience === "business"
    ? [[{ strong }, ".", " We keep trying until ", ...end.slice(1), "."]]
    : [[{ strong }, "; the first runs out of attempts ", ...end, "."]];
}

/** `at` a time of day, or `on` a day. */
export function until(at: string, now: number): Words {
  const part = moment(at, now);
  return typeof part === "object" && "style" in part && part.style === "time"
    ? ["at ", part]
    : ["on ", part];
}

/** Deliveries to be cancelled, because they wait for longer than events are kept. */
export function expiring({ endpoint }: EndpointFacts, { house, now }: Reader): Words[] {
  const { expires } = endpoint;
  if (expires === null) return [];
  const { deliveries, deliveries_exact: exact, first_at } = expires;
  const business = house.audience === "business";
  const text = business
    ? many(deliveries, "update will be dropped", "updates will be dropped", exact)
    : many(deliveries, "delivery will be cancelled", "deliveries will be cancelled", exact);
  return [[
    { strong: text },
    deliveries === 1 && exact ? " " : " within three days, the first ",
    ...until(first_at, now),
    business
      ? ": nothing is kept for longer than that."
      : ", because they wait for longer than retention.events.",
  ]];
}

/** When an automatic pause is tried next: `at 14:00`. */
export function nextProbe(next_probe_at: string, now: number): Words {
  return Date.parse(next_probe_at) > now ? until(next_probe_at, now) : ["within a minute"];
}

/** How the pause ends: by itself if it is automatic, else when somebody resumes it. */
export function endOfPause({ endpoint }: EndpointFacts, { house, now }: Reader): Words {
  const { next_probe_at, pending } = endpoint;
  const [one, more] = house.audience === "business"
    ? ["update", "updates"]
    : ["delivery", "deliveries"];
  if (next_probe_at === null) {
    return [`New ${more} wait as well, and go out when you resume it.`];
  }
  return pending === 0
    ? [
      `No ${one} waits, so none is tried. The next one is tried within an hour; if it arrives, the pause ends.`,
    ]
    : [
      `One waiting ${one} is tried `,
      ...nextProbe(next_probe_at, now),
      ". Once one arrives, the pause ends and the others follow.",
    ];
}

function at({ endpoint }: EndpointFacts, { house }: Reader, more = ""): string {
  return `${house.base}/endpoints/${encodeURIComponent(endpoint.id)}${more}`;
}

/** Link to the test tool, with the endpoint chosen. */
export function testAction(endpoint_id: string, { house }: Pick<Reader, "house">, label: string) {
  return link(label, `${house.base}/test?endpoint=${encodeURIComponent(endpoint_id)}`);
}

function test({ endpoint }: EndpointFacts, reader: Reader): Action[] {
  return reader.may_write ? [testAction(endpoint.id, reader, "Send a test")] : [];
}

function seeWaiting({ endpoint }: EndpointFacts, { house }: Reader): Action[] {
  if (endpoint.pending === 0) return [];
  const id = encodeURIComponent(endpoint.id);
  return [
    link(
      endpoint.pending === 1 && endpoint.pending_exact
        ? "See the one waiting"
        : `See the ${number(endpoint.pending, endpoint.pending_exact)} waiting`,
      `${house.base}/deliveries?status=waiting&since=all&endpoint=${id}`,
    ),
  ];
}

function pause(facts: EndpointFacts, reader: Reader): Action[] {
  return reader.may_write ? [link("Pause…", at(facts, reader, "/pause"))] : [];
}

function check(facts: EndpointFacts, reader: Reader): Action[] {
  return reader.may_write ? [button("Check the connection", at(facts, reader, "/check"))] : [];
}

function retired(facts: EndpointFacts, reader: Reader): Stateless {
  const { endpoint } = facts;
  const id = encodeURIComponent(endpoint.id);
  return {
    tone: "calm",
    headline: endpoint.retired_at === null ? [`${nameOf(endpoint)} is deleted`] : [
      `${nameOf(endpoint)} was ${
        endpoint.source === "file" ? "taken out of the file" : "deleted"
      } `,
      ...until(endpoint.retired_at, reader.now),
    ],
    sentences: [["Nothing is sent to it any more. Its deliveries and changes can still be read."]],
    actions: [link("See its deliveries", `${reader.house.base}/deliveries?endpoint=${id}`)],
  };
}

function paused(facts: EndpointFacts, reader: Reader): Stateless {
  const { endpoint } = facts;
  const name = nameOf(endpoint);
  const text = waiting(facts, reader);
  const is_business = reader.house.audience === "business";
  const resume = reader.may_write ? [button("Resume", at(facts, reader, "/resume"))] : [];
  if (isGone(endpoint)) {
    return {
      tone: "failing",
      headline: [
        `${name} said 410 Gone, so it is paused` + (text === null ? "" : ` and ${text}`),
      ],
      sentences: [
        [
          is_business
            ? "Its answer means that it wants no more updates at this address. Correct the URL below, or have " +
              "its technician repair it; then resume it."
            : "It wants nothing more at this URL. Correct the URL, or fix the receiver, and resume it.",
        ],
        ...expiring(facts, reader),
      ],
      actions: [
        ...(reader.may_write && endpoint.source === "api"
          ? [link("Edit the URL", "#settings")]
          : []),
        ...resume,
        ...seeWaiting(facts, reader),
      ],
    };
  }
  const how = endpoint.next_probe_at === null ? "paused" : "paused automatically";
  const since: Words = endpoint.paused_at === null
    ? [`${name} is ${how}`]
    : [`${name} has been ${how} since `, moment(endpoint.paused_at, reader.now)];
  return {
    tone: "paused",
    headline: text === null ? since : [...since, `; ${text}`],
    sentences: [
      ...(endpoint.pause_reason === null ? [] : [[`Reason: “${endpoint.pause_reason}”.`]]),
      endOfPause(facts, reader),
      ...expiring(facts, reader),
    ],
    actions: [...resume, ...seeWaiting(facts, reader)],
  };
}

function unsendable(facts: EndpointFacts, reader: Reader): Stateless {
  const { endpoint } = facts;
  const [reason = "", remedy] = (endpoint.unsendable_reason ?? "").split("; ");
  if (reader.house.audience === "business") {
    return {
      tone: "failing",
      headline: [`BookMe cannot send to ${nameOf(endpoint)}`],
      sentences: [
        ["The reason lies with BookMe, not with your system."],
        ...consequence({ ...facts, first_exhausted_at: null }, reader),
        ...expiring(facts, reader),
      ],
      actions: seeWaiting(facts, reader),
    };
  }
  return {
    tone: "failing",
    headline: [`Nothing can be sent to ${nameOf(endpoint)}: ${uncapital(reason)}`],
    sentences: [
      ...(remedy === undefined ? [] : [[`${capitalised(remedy)}.`]]),
      ...consequence({ ...facts, first_exhausted_at: null }, reader),
      ...expiring(facts, reader),
    ],
    actions: [
      ...(reader.may_write && endpoint.source === "api" && !endpoint.unsigned
        ? [link("Rotate the secret…", at(facts, reader, "/rotate"))]
        : []),
      ...check(facts, reader),
      ...seeWaiting(facts, reader),
    ],
  };
}

/** A text that goes on in a sentence: `TLS failure` stays as it is. */
export function uncapital(text: string): string {
  return /^[A-Z][a-z]/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text;
}

function expired(facts: EndpointFacts, reader: Reader): Stateless {
  const name = nameOf(facts.endpoint);
  const ended = facts.certificate_ends_at ?? "";
  return {
    tone: "failing",
    headline: [
      `The certificate of ${name} expired ${daysAgo(ended, reader.now)}; nothing can be sent to it`,
    ],
    sentences: [
      [
        reader.house.audience === "business"
          ? "Whoever looks after that system has to renew it."
          : "Its owner has to renew it; then check the connection.",
      ],
      ...consequence(facts, reader),
    ],
    actions: [...check(facts, reader), ...seeWaiting(facts, reader), ...pause(facts, reader)],
  };
}

function failing(facts: EndpointPageFacts, reader: Reader): Stateless {
  const [hint] = facts.hints;
  const text = waiting(facts, reader);
  const is_dns = facts.last_failure?.outcome === "dns";
  return {
    tone: "failing",
    headline: [...sinceThen(facts, reader), ...(is_dns && text !== null ? [`; ${text}`] : [])],
    sentences: [
      ...(hint === undefined ? [] : [[`${hint.text}.`]]),
      ...consequence(facts, reader, is_dns),
      nextStep(facts, reader),
    ].filter((words) => words.length > 0),
    actions: [
      ...(isUnreachable(facts) ? check(facts, reader) : []),
      ...test(facts, reader),
      ...(isUnreachable(facts) ? [] : pause(facts, reader)),
      ...seeWaiting(facts, reader),
    ],
  };
}

/** Whether nothing answers that a test could learn from: an examination tells more. */
function isUnreachable({ last_failure }: EndpointFacts): boolean {
  return ["dns", "tls", "connection", "protocol", "blocked"].includes(last_failure?.outcome ?? "");
}

function nextStep(facts: EndpointPageFacts, { house }: Reader): Words {
  const { last_failure, hints } = facts;
  const name = nameOf(facts.endpoint);
  if (hints[0]?.kind === "secret_rotated") {
    return [`Give ${name} the new secret, then send it a test.`];
  }
  if (last_failure === null) return [];
  const help = helpPart(last_failure, { house });
  return house.audience === "business"
    ? ["Show this page to whoever looks after that system, or read ", help, "."]
    : ["Read ", help, "."];
}

function overdue(facts: EndpointFacts, reader: Reader): Stateless {
  const { endpoint, last_failure } = facts;
  const name = nameOf(endpoint);
  const by = age(endpoint.oldest_overdue_ms ?? 0);
  const is_business = reader.house.audience === "business";
  const noun = is_business
    ? many(endpoint.overdue, "update is late", "updates are late", endpoint.pending_exact)
    : many(
      endpoint.overdue,
      "delivery is overdue",
      "deliveries are overdue",
      endpoint.pending_exact,
    );
  const cause = last_failure === null ? `${name} takes fewer than it is owed` : insteadOf(
    last_failure,
  ).replace(/^it\b/, name);
  const limits: string[] = [];
  if (endpoint.rate_limit !== null) limits.push(`a rate limit of ${endpoint.rate_limit}`);
  if (endpoint.concurrency !== null) {
    limits.push(many(endpoint.concurrency, "attempt at once", "attempts at once"));
  }
  return {
    tone: "waiting",
    headline: [`${noun} by up to ${by}: ${cause}`],
    sentences: [
      ...(limits.length === 0
        ? []
        : [[`It allows ${limits.join(" and ")}; raise that below if it can take more.`]]),
      ...consequence(facts, reader),
    ],
    actions: [...seeWaiting(facts, reader), ...test(facts, reader)],
  };
}

function retrying(facts: EndpointPageFacts, reader: Reader): Stateless {
  const { endpoint, last_failure } = facts;
  const name = nameOf(endpoint);
  const clause = last_failure === null
    ? "some attempts fail"
    : insteadOf(last_failure).replace(/^it /, "it sometimes ");
  const headline: Words = endpoint.failing_since !== null
    ? sinceThen(facts, reader)
    : reader.house.audience === "business"
    ? [`${name} does not take every update at the first try`]
    : [`${name} takes some deliveries and fails others: ${clause}`];
  const [hint] = facts.hints;
  return {
    tone: "waiting",
    headline,
    sentences: [
      ...(hint === undefined ? [] : [[`${hint.text}.`]]),
      ...consequence(facts, reader),
      nextStep(facts, reader),
    ].filter((words) => words.length > 0),
    actions: [...test(facts, reader), ...seeWaiting(facts, reader), ...pause(facts, reader)],
  };
}

function certificateSoon(facts: EndpointFacts, reader: Reader, days: number): Stateless {
  const { certificate_ends_at, endpoint } = facts;
  const when: Part = { at: certificate_ends_at ?? "", style: "date" };
  return {
    tone: "waiting",
    headline: [`${nameOf(endpoint)} receives, but its certificate expires ${inDays(days)}`],
    sentences: [
      [
        reader.house.audience === "business"
          ? "Whoever looks after that system has to renew it by "
          : "Its owner has to renew it by ",
        when,
        "; from then on nothing can be sent to it.",
      ],
    ],
    actions: [...check(facts, reader), ...test(facts, reader)],
  };
}

function unused(facts: EndpointFacts, reader: Reader): Stateless {
  const { endpoint } = facts;
  const selects = endpoint.events.includes("*")
    ? "every event type"
    : endpoint.events.slice(0, 4).join(", ") +
      (endpoint.events.length > 4 ? ` and ${endpoint.events.length - 4} more` : "");
  return {
    tone: "calm",
    headline: [`Nothing has been sent to ${nameOf(endpoint)} yet`],
    sentences: [
      reader.house.audience === "business"
        ? [
          "The next update about a booking goes there by itself. Send a test to see whether it arrives.",
        ]
        : [
          `It selects ${selects}, and no such event has been posted since it was made. Send a test to see whether it answers.`,
        ],
    ],
    actions: [...test(facts, reader), ...check(facts, reader)],
  };
}

function delivering(facts: EndpointPageFacts, reader: Reader): Stateless {
  const { endpoint, today } = facts;
  const name = nameOf(endpoint);
  const share = percent(today.within_30s, today.all);
  const p95 = endpoint.duration_ms.p95;
  if (reader.house.audience === "business") {
    return {
      tone: "calm",
      headline: [
        endpoint.pending === 0 ? `Everything sent to ${name} has arrived` : `${name} receives`,
      ],
      sentences: lastDelivered(facts, reader),
      actions: test(facts, reader),
    };
  }
  return {
    tone: "calm",
    headline: [`${name} delivers` + (share === null ? "" : `; ${share} within 30 s today`)],
    sentences: [
      ...lastDelivered(facts, reader),
      ...(p95 === null ? [] : [[`It answers within ${milliseconds(p95)} (p95 of the last hour).`]]),
    ],
    actions: [...test(facts, reader), ...seeWaiting(facts, reader), ...pause(facts, reader)],
  };
}

function lastDelivered({ endpoint }: EndpointFacts, { now, house }: Reader): Words[] {
  if (endpoint.last_success_at === null) return [];
  const what = house.audience === "operator" ? "The last delivery" : "The last update";
  return [[`${what} arrived `, ...until(endpoint.last_success_at, now), "."]];
}

/** `93 ms`, `11.4 s`. */
export function milliseconds(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${Number((ms / 1_000).toFixed(1))} s`;
}

/** `48 seconds`, `10 minutes`, `3 hours`, `2 days`: rounded down. */
export function age(ms: number): string {
  const seconds = Math.max(1, Math.floor(ms / 1_000));
  if (seconds < 60) return many(seconds, "second", "seconds");
  if (seconds < 3_600) return many(Math.floor(seconds / 60), "minute", "minutes");
  if (seconds < 172_800) return many(Math.floor(seconds / 3_600), "hour", "hours");
  return many(Math.floor(seconds / 86_400), "day", "days");
}
