import type { LastFailure, Overview } from "../../../lib/admin/overview.ts";
import { insteadOf } from "../../../lib/core/failure_words.ts";
import { age, consequence, endOfPause, expiring, testAction, until, waiting } from "./endpoint.ts";
import {
  daysAgo,
  type EndpointFacts,
  fewDaysLeft,
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
  link,
  many,
  moment,
  number,
  together,
  type Verdict,
  type Words,
} from "./verdict.ts";

/** Facts of the overview's verdict. */
export type OverviewFacts =
  & Pick<Overview, "counts" | "today" | "waiting" | "overdue" | "posted">
  & { readonly endpoints: readonly EndpointFacts[] };

/** The verdict of the overview. */
export function overviewVerdict(facts: OverviewFacts, reader: Reader): Verdict {
  const verdict = judge(facts, reader);
  return { ...verdict, sentences: [...verdict.sentences, ...soonCancelled(facts, reader)] };
}

function judge(facts: OverviewFacts, reader: Reader): Verdict {
  const { endpoints, counts, overdue } = facts;
  const total = totalOf(counts);
  if (total === 0) return noEndpoint(facts, reader);
  if (!facts.posted && counts.unused === total) return nothingPosted(total, reader);
  const broken = endpoints.filter(({ health }) => health === "failing" || health === "unsendable");
  const number_broken = counts.failing + counts.unsendable;
  const [first, second] = broken;
  if (first !== undefined && number_broken === 1) return oneFailing(first, facts, reader);
  if (first !== undefined && second !== undefined) return manyFailing(broken, facts, reader);
  const gone = endpoints.find(({ endpoint }) => isGone(endpoint));
  if (gone !== undefined) return goneOne(gone, facts, reader);
  if (isLate(overdue.oldest_ms)) return overdueOnes(facts, reader);
  if (counts.retrying > 0) return retrying(facts, reader);
  if (counts.paused > 0) return pausedOnes(facts, reader);
  return deliver(facts, reader);
}

function totalOf(counts: OverviewFacts["counts"]): number {
  return Object.values(counts).reduce((sum, one) => sum + one, 0);
}

function isBusiness({ house }: Reader): boolean {
  return house.audience === "business";
}

/** `1 endpoint`, `2 endpoints`; a business has systems. */
function endpointsWords(value: number, reader: Reader): string {
  return isBusiness(reader)
    ? many(value, "system", "systems")
    : many(value, "endpoint", "endpoints");
}

/** `1 of 9 endpoints failing`. */
function shareWords(value: number, facts: OverviewFacts, reader: Reader, doing: string): string {
  return `${number(value)} of ${endpointsWords(totalOf(facts.counts), reader)} ${doing}`;
}

/** What the others do: `; the other 7 endpoints deliver`. */
function others(facts: OverviewFacts, reader: Reader, but: number): string {
  const { counts } = facts;
  const rest = totalOf(counts) - but;
  if (rest === 0) return "";
  const fine = counts.delivering + counts.retrying;
  const [noun, verb] = isBusiness(reader)
    ? [rest === 1 ? "system" : "systems", fine === 1 ? "receives" : "receive"]
    : [rest === 1 ? "endpoint" : "endpoints", fine === 1 ? "delivers" : "deliver"];
  if (fine === rest) {
    return rest === 1
      ? `; the other ${noun} ${verb}`
      : `; the other ${number(rest)} ${noun} ${verb}`;
  }
  if (fine === 0) return "";
  return `; ${number(fine)} of the other ${number(rest)} ${verb}`;
}

function open(one: EndpointFacts, { house }: Reader): Action {
  const { endpoint } = one;
  return link(
    `Open ${nameOf(endpoint)}`,
    `${house.base}/endpoints/${encodeURIComponent(endpoint.id)}`,
  );
}

function pause({ endpoint }: EndpointFacts, { house, may_write }: Reader): Action[] {
  const path = `${house.base}/endpoints/${encodeURIComponent(endpoint.id)}/pause`;
  return may_write ? [link(`Pause ${nameOf(endpoint)}…`, path)] : [];
}

function test({ endpoint }: EndpointFacts, reader: Reader): Action[] {
  return reader.may_write
    ? [testAction(endpoint.id, reader, `Send ${nameOf(endpoint)} a test`)]
    : [];
}

function create({ house, may_write }: Reader): Action[] {
  return may_write ? [link("New endpoint", `${house.base}/endpoints?new`)] : [];
}

function noEndpoint({ posted }: OverviewFacts, reader: Reader): Verdict {
  return {
    tone: "calm",
    state: { kind: "unused", word: "No endpoint yet" },
    headline: isBusiness(reader)
      ? ["No system receives your bookings yet"]
      : ["No endpoint exists yet, so nothing is sent"],
    sentences: [
      isBusiness(reader)
        ? [
          "Set up an endpoint with the address of your website, till or newsletter, and BookMe sends it what is new about your bookings.",
        ]
        : [
          posted
            ? "Events are stored all the same, and a replay can send them to an endpoint later."
            : "Events are accepted and stored from now on; a replay can send them to an endpoint later.",
        ],
    ],
    actions: create(reader),
  };
}

function nothingPosted(total: number, reader: Reader): Verdict {
  const is_business = isBusiness(reader);
  return {
    tone: "calm",
    state: { kind: "unused", word: is_business ? "Nothing sent yet" : "Nothing posted yet" },
    headline: is_business
      ? ["Everything is ready for the first booking"]
      : ["Everything is ready for the first event"],
    sentences: [
      is_business
        ? [
          `Your ${
            total === 1 ? "system is" : `${number(total)} systems are`
          } set up. Whatever is new about a booking goes there by itself. Send a test to see whether it arrives.`,
        ]
        : [
          `The database is up, ${
            total === 1 ? "1 endpoint is" : `${number(total)} endpoints are`
          } set up, and no event has been posted. Post one with the command below` +
          (reader.may_write ? ", or send a test." : "."),
        ],
    ],
    actions: reader.may_write
      ? [link("Send a test", `${reader.house.base}/test`), ...create(reader)]
      : [],
  };
}

function oneFailing(one: EndpointFacts, facts: OverviewFacts, reader: Reader): Verdict {
  const { endpoint, health, last_failure } = one;
  const name = nameOf(endpoint);
  const [hint] = one.hints;
  return {
    tone: "failing",
    state: {
      kind: "failed",
      word: isBusiness(reader)
        ? shareWords(1, facts, reader, "not receiving")
        : shareWords(1, facts, reader, health === "failing" ? "failing" : "unsendable"),
    },
    headline: failingHeadline(one, reader),
    sentences: [
      ...(hint === undefined ? [] : [[`${hint.text}.`]]),
      ...consequence(one, reader, saysCount(one, reader)),
      ...(hint?.kind === "secret_rotated"
        ? [[`Give ${name} the new secret, then send it a test.`]]
        : last_failure === null || health === "unsendable"
        ? []
        : [helpFor(last_failure, reader)]),
    ],
    actions: [open(one, reader), ...test(one, reader), ...pause(one, reader)],
  };
}

function helpFor(failure: LastFailure, reader: Reader): Words {
  const help = helpPart(failure, reader);
  return isBusiness(reader)
    ? ["Show its page to whoever looks after that system, or read ", help, "."]
    : ["Read ", help, "."];
}

/** Whether the headline has the number of those waiting. */
function saysCount({ last_failure, endpoint }: EndpointFacts, reader: Reader): boolean {
  return last_failure?.outcome === "dns" && endpoint.pending > 0 && !isBusiness(reader);
}

function failingHeadline(one: EndpointFacts, reader: Reader): Words {
  const { endpoint, health, last_failure } = one;
  const name = nameOf(endpoint);
  if (health === "unsendable") {
    if (isBusiness(reader)) return [`BookMe cannot send to ${name}`];
    return [`Nothing can be sent to ${name}: ${(endpoint.unsendable_reason ?? "").split("; ")[0]}`];
  }
  if (isExpired(one, reader.now)) {
    const ended = daysAgo(one.certificate_ends_at ?? "", reader.now);
    return [`The certificate of ${name} expired ${ended}; nothing can be sent to it`];
  }
  if (isBusiness(reader)) return sinceThen(one, reader);
  const text = waiting(one, reader);
  if (last_failure?.outcome === "dns") {
    return [...sinceThen(one, reader), ...(text === null ? [] : [`; ${text}`])];
  }
  return endpoint.failing_since === null ? [`${name} is failing: ${insteadOf(last_failure)}`] : [
    `${name} has been failing since `,
    moment(endpoint.failing_since, reader.now),
    `: ${insteadOf(last_failure)}`,
  ];
}

/** Names in a headline; of more, only their number. */
const MAX_NAMES = 2;

function manyFailing(
  broken: readonly EndpointFacts[],
  facts: OverviewFacts,
  reader: Reader,
): Verdict {
  const { failing, unsendable } = facts.counts;
  const count = failing + unsendable;
  const is_business = isBusiness(reader);
  const who = count <= MAX_NAMES
    ? together(broken.map(({ endpoint }) => nameOf(endpoint)))
    : endpointsWords(count, reader);
  const what = is_business ? "are not receiving" : "are failing";
  return {
    tone: "failing",
    state: {
      kind: "failed",
      word: shareWords(count, facts, reader, is_business ? "not receiving" : "failing"),
    },
    headline: [`${who} ${what}${others(facts, reader, count)}`],
    sentences: [
      ...broken.slice(0, 3).map((one): Words => [
        ...failingHeadline(one, reader),
        ".",
      ]),
      ...total(facts, reader),
    ],
    actions: broken.slice(0, 3).map((one) => open(one, reader)),
  };
}

/** That nothing is lost of all that waits, and until when. */
function total(facts: OverviewFacts, reader: Reader): Words[] {
  const { value, exact } = facts.waiting;
  if (value === 0) return [];
  const text = isBusiness(reader)
    ? many(value, "update is waiting", "updates are waiting", exact)
    : many(value, "delivery is waiting", "deliveries are waiting", exact);
  const strong = `${text} and none is lost`;
  const ends = facts.endpoints.flatMap((one) => one.first_exhausted_at ?? []).toSorted();
  const [first] = ends;
  if (first === undefined) return [[{ strong }, "."]];
  const end = until(first, reader.now);
  return isBusiness(reader)
    ? [[{ strong }, ". We keep trying until ", ...end.slice(1), "."]]
    : [[{ strong }, "; the first runs out of attempts ", ...end, "."]];
}

function goneOne(one: EndpointFacts, facts: OverviewFacts, reader: Reader): Verdict {
  const text = waiting(one, reader);
  return {
    tone: "failing",
    state: { kind: "paused", word: shareWords(facts.counts.paused, facts, reader, "paused") },
    headline: [
      `${nameOf(one.endpoint)} said 410 Gone, so it is paused` +
      (text === null ? "" : ` and ${text}`),
    ],
    sentences: [[
      isBusiness(reader)
        ? "Its answer means that it wants no more updates at this address. Correct the address, then resume it."
        : "It wants nothing more at its URL. Correct the URL, or fix the receiver, and resume it.",
    ]],
    actions: [open(one, reader)],
  };
}

function overdueOnes(facts: OverviewFacts, reader: Reader): Verdict {
  const { overdue, endpoints } = facts;
  const late = endpoints.filter(({ endpoint }) => endpoint.overdue > 0 && !endpoint.paused)
    .toSorted((a, b) => b.endpoint.overdue - a.endpoint.overdue);
  const [worst] = late;
  const noun = isBusiness(reader)
    ? many(overdue.value, "update is late", "updates are late", overdue.exact)
    : many(overdue.value, "delivery is overdue", "deliveries are overdue", overdue.exact);
  const by = overdue.oldest_ms === null ? "" : ` by up to ${age(overdue.oldest_ms)}`;
  const cause = worst === undefined
    ? ""
    : worst.last_failure === null
    ? `: ${nameOf(worst.endpoint)} takes fewer than it is owed`
    : `: ${insteadOf(worst.last_failure).replace(/^it\b/, nameOf(worst.endpoint))}`;
  return {
    tone: "waiting",
    state: {
      kind: "overdue",
      word: shareWords(
        Math.max(late.length, 1),
        facts,
        reader,
        isBusiness(reader) ? "late" : "overdue",
      ),
    },
    headline: [`${noun}${by}${cause}`],
    sentences: total(facts, reader),
    actions: worst === undefined ? [] : [open(worst, reader), ...test(worst, reader)],
  };
}

function retrying(facts: OverviewFacts, reader: Reader): Verdict {
  const those = facts.endpoints.filter(({ health }) => health === "retrying");
  const count = facts.counts.retrying;
  const [first] = those;
  return {
    tone: "waiting",
    state: { kind: "waiting", word: shareWords(count, facts, reader, "retrying") },
    headline: retryingHeadline(those, count, reader),
    sentences: [
      ...(count === 1 ? [] : those.filter(({ endpoint }) => endpoint.failing_since !== null)
        .slice(0, 2).map((one): Words => [...failingHeadline(one, reader), "."])),
      ...(first?.last_failure == null || count > 1
        ? []
        : first.endpoint.failing_since !== null
        ? [helpFor(first.last_failure, reader)]
        : isBusiness(reader)
        ? [["BookMe sends them again by itself."]]
        : [[
          `It still delivers, but sometimes ${insteadOf(first.last_failure).replace(/^it /, "")}.`,
        ]]),
      ...total(facts, reader),
    ],
    actions: those.slice(0, 2).map((one) => open(one, reader)),
  };
}

function retryingHeadline(
  those: readonly EndpointFacts[],
  count: number,
  reader: Reader,
): Words {
  const [first] = those;
  // It began to fail moments ago: whether that lasts will show.
  if (first !== undefined && count === 1 && first.endpoint.failing_since !== null) {
    return failingHeadline(first, reader);
  }
  const who = count <= MAX_NAMES && those.length === count
    ? together(those.map(({ endpoint }) => nameOf(endpoint)))
    : endpointsWords(count, reader);
  if (those.length === count && those.every(({ endpoint }) => endpoint.failing_since !== null)) {
    return [`${who} ${isBusiness(reader) ? "are not receiving" : "are failing"} at the moment`];
  }
  return isBusiness(reader)
    ? [`${who} ${count === 1 ? "does" : "do"} not take every update at the first try`]
    : [`${who} ${count === 1 ? "fails" : "fail"} some deliveries, which are tried again`];
}

/** Deliveries about to be cancelled because they wait for too long, where that begins first. */
function soonCancelled({ endpoints }: OverviewFacts, reader: Reader): Words[] {
  const [first] = endpoints.filter(({ endpoint }) => endpoint.expires !== null)
    .toSorted((a, b) =>
      (a.endpoint.expires?.first_at ?? "") < (b.endpoint.expires?.first_at ?? "") ? -1 : 1
    );
  return first === undefined
    ? []
    : expiring(first, reader).map((words) => [`Of ${nameOf(first.endpoint)}, `, ...words]);
}

function pausedOnes(facts: OverviewFacts, reader: Reader): Verdict {
  const those = facts.endpoints.filter(({ health }) => health === "paused");
  const count = facts.counts.paused;
  const [first] = those;
  const who = count <= MAX_NAMES && those.length === count
    ? together(those.map(({ endpoint }) => nameOf(endpoint)))
    : endpointsWords(count, reader);
  const reason = first?.endpoint.pause_reason ?? null;
  const waits = those.reduce((sum, { endpoint }) => sum + endpoint.pending, 0);
  const exact = those.length === count && those.every(({ endpoint }) => endpoint.pending_exact);
  return {
    tone: "paused",
    state: { kind: "paused", word: shareWords(count, facts, reader, "paused") },
    headline: [`${who} ${count === 1 ? "is" : "are"} paused${others(facts, reader, count)}`],
    sentences: [
      ...(count === 1 && reason !== null ? [[`Reason: “${reason}”.`]] : []),
      ...(waits === 0 ? [] : [[
        `${
          isBusiness(reader)
            ? many(waits, "update waits", "updates wait", exact)
            : many(waits, "delivery waits", "deliveries wait", exact)
        } until ${count === 1 ? "it is" : "they are"} resumed.`,
      ]]),
      ...(count === 1 && first !== undefined && first.endpoint.next_probe_at !== null
        ? [endOfPause(first, reader)]
        : []),
    ],
    actions: those.slice(0, 2).map((one) => open(one, reader)),
  };
}

/** All is well, but for a certificate perhaps. */
function deliver(facts: OverviewFacts, reader: Reader): Verdict {
  const { counts, today, endpoints } = facts;
  const total = totalOf(counts);
  const share = percent(today.within_30s, today.all);
  const soon = endpoints.map((one) => ({ one, days: fewDaysLeft(one, reader.now) }))
    .filter((entry): entry is { one: EndpointFacts; days: number } => entry.days !== null)
    .toSorted((a, b) => a.days - b.days)[0];
  if (isBusiness(reader)) return arriving(facts, reader, soon);
  const [only] = endpoints;
  const who = total === 1 && only !== undefined
    ? `${nameOf(only.endpoint)} delivers`
    : counts.unused === 0
    ? `All ${number(total)} endpoints deliver`
    : `${many(counts.delivering, "endpoint delivers", "endpoints deliver")}, ${
      many(counts.unused, "has not been used yet", "have not been used yet")
    }`;
  if (soon !== undefined) {
    return {
      tone: "waiting",
      state: { kind: "waiting", word: "Certificate ends soon" },
      headline: [
        `${who}, but the certificate of ${nameOf(soon.one.endpoint)} expires ${inDays(soon.days)}`,
      ],
      sentences: [[
        "Its owner has to renew it ",
        "by ",
        ...until(soon.one.certificate_ends_at ?? "", reader.now).slice(1),
        "; from then on nothing can be sent to it.",
      ]],
      actions: [open(soon.one, reader)],
    };
  }
  return {
    tone: "calm",
    state: { kind: "delivered", word: total === 1 ? "Delivering" : "All delivering" },
    headline: [who + (share === null ? "" : `; ${share} within 30 s today`)],
    sentences: today.sent === 0 ? [["Nothing has been sent today so far."]] : [[
      `${
        many(today.sent, "delivery has", "deliveries have")
      } been sent today. There is nothing to do.`,
    ]],
    actions: [],
  };
}

function arriving(
  { today, counts, waiting }: OverviewFacts,
  reader: Reader,
  soon: { readonly one: EndpointFacts; readonly days: number } | undefined,
): Verdict {
  const total = totalOf(counts);
  const systems = total === 1 ? "your system" : `your ${number(total)} systems`;
  const sent = `BookMe sent ${
    many(today.sent, "update about your bookings", "updates about your bookings")
  } to ${systems} today`;
  return {
    tone: soon === undefined ? "calm" : "waiting",
    state: { kind: "delivered", word: total === 1 ? "Receiving" : `All ${number(total)} receive` },
    headline: soon === undefined ? ["Everything is arriving"] : [
      `Everything is arriving, but the certificate of ${nameOf(soon.one.endpoint)} expires ${
        inDays(soon.days)
      }`,
    ],
    sentences: [
      today.sent === 0
        ? ["Nothing was new about your bookings today so far."]
        : waiting.value === 0
        ? [
          `${sent}, and `,
          { strong: today.sent === 1 ? "it arrived" : "all of them arrived" },
          ". You don’t need to do anything.",
        ]
        : [`${sent}.`],
      ...(soon === undefined ? [] : [["Whoever looks after that system has to renew it."]]),
    ],
    actions: soon === undefined ? [] : [open(soon.one, reader)],
  };
}
