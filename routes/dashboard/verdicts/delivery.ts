import type * as shown from "../../../lib/admin/shown.ts";
import { inWords } from "../../../lib/core/explain.ts";
import { capitalised } from "../../../lib/core/words.ts";
import {
  cancelledWords,
  deliveryState,
  didWith,
  inWord,
  metByAll,
  metShort,
  type Named,
  nthAttempt,
  plannedAttempts,
  thisThing,
} from "./attempts.ts";
import { nextProbe, testAction, until } from "./endpoint.ts";
import { hostOf, nameOf, type Reader } from "./health.ts";
import {
  type Action,
  button,
  link,
  moment,
  number,
  type Part,
  told,
  type Verdict,
  type Words,
} from "./verdict.ts";

/** A delivery with what its own page knows besides. */
export interface DeliveryPageFacts {
  readonly delivery: shown.DeliveryDetail;
  readonly endpoint: shown.Endpoint;
  /** What became of the payload: purged is older than retention.payloads. */
  readonly payload: "kept" | "hidden" | "erased" | "purged";
  /** Recent deliveries to the endpoint that failed; null if they were not counted. */
  readonly failed: { readonly value: number; readonly exact: boolean } | null;
  /** Since when those were counted, ISO 8601. */
  readonly failed_since: string;
}

type Stateless = Omit<Verdict, "state">;

/** A delivery in a sentence: facts, its reader, and what the sentences call its parts. */
interface Story extends DeliveryPageFacts {
  readonly reader: Reader;
  readonly is_business: boolean;
  readonly named: Named;
  readonly thing: string;
}

/** The verdict of a delivery's page. */
export function deliveryVerdict(facts: DeliveryPageFacts, reader: Reader): Verdict {
  const { delivery, endpoint } = facts;
  const story: Story = {
    ...facts,
    reader,
    is_business: reader.house.audience === "business",
    named: { name: nameOf(endpoint), host: hostOf(endpoint) },
    thing: thisThing(delivery),
  };
  const state = deliveryState(delivery, reader.house.audience);
  return { ...tell(story), state };
}

function tell(story: Story): Stateless {
  switch (story.delivery.state) {
    case "delivered":
      return delivered(story);
    case "failed":
      return failed(story);
    case "cancelled":
      return cancelled(story);
    case "sending":
    case "cancelling":
    case "interrupted":
      return underWay(story);
    case "ending":
      return ending(story);
    case "paused":
      return paused(story);
    case "unsendable":
      return unsendable(story);
    case "rate_limited":
    case "due":
    case "overdue":
      return due(story);
    case "waiting":
      return waiting(story);
  }
}

// --- ended -------------------------------------------------------------------------------------------

function delivered(story: Story): Stateless {
  const { delivery, named, thing, is_business, reader } = story;
  const last = delivery.attempts.at(-1);
  const ended = Date.parse(last?.ended_at ?? delivery.ended_at ?? delivery.created_at);
  const after = elapsed(ended - Date.parse(delivery.created_at));
  const on = nthAttempt(delivery.attempt_count);
  const headline: Words = is_business
    ? [
      `${capitalised(thing)} arrived at ${named.name} `,
      ...until(new Date(ended).toISOString(), reader.now),
    ]
    : [
      `${named.name} accepted ${thing} on ${on}, ${after} after it was ${
        delivery.test ? "sent" : "posted"
      }`,
    ];
  const failures = delivery.attempts.filter(({ outcome }) => outcome !== "delivered").length;
  return {
    tone: "calm",
    headline,
    sentences: [
      ...(last?.advice == null ? [] : [[...told(last.advice), "."]]),
      ...(is_business && failures > 0
        ? [[`It took ${inWord(delivery.attempt_count)} attempts. You don’t need to do anything.`]]
        : []),
      ...(is_business
        ? [[
          `If you do not see it there, the answer below is what ${named.name} said when it received it.`,
        ]]
        : [[
          `It answered ${
            last?.status ?? delivery.last_status ?? "with a 2xx"
          }. If ${named.name} has no trace of ${thing}, look in its own log of that moment.`,
        ]]),
      ...gone(story),
    ],
    actions: [seeEvent(story), ...retry(story, "Send it again")],
  };
}

function failed(story: Story): Stateless {
  const { delivery, endpoint, named, thing, is_business, reader } = story;
  const met = metByAll(delivery.attempts);
  const what = met === null
    ? `${named.name} did not accept ${thing} in ${inWord(delivery.attempt_count)} attempts`
    : didWith(named, thing, met, reader.house.audience);
  const is_gone = met?.outcome === "gone";
  const end = is_gone
    ? is_business ? "" : ", which ends this delivery"
    : is_business
    ? ", and BookMe has stopped trying"
    : ", and no attempts are left";
  const is_retired = endpoint.state === "retired";
  return {
    tone: "failing",
    headline: [what + end],
    sentences: [
      ...cause(story),
      ...(is_retired
        ? [[`${named.name} is deleted, so nothing is sent to it any more.`]]
        : canSend(story)
        ? outlook(story)
        : []),
      ...nextStep(story),
      ...gone(story),
    ],
    actions: wayBack(story),
  };
}

/** What brings a delivery back that ended: the likeliest to help first. */
function wayBack(story: Story): Action[] {
  const { endpoint } = story;
  if (endpoint.state === "retired" || !canSend(story)) return [seeEvent(story)];
  const again = retry(story, isFailing(story) ? "Retry this one" : "Retry now");
  const actions = isFailing(story)
    ? [...test(story), ...again, ...replay(story)]
    : [...again, ...replay(story), ...test(story)];
  return actions.length > 0 ? actions : [seeEvent(story)];
}

/** Whether the endpoint has accepted nothing since it last failed. */
function isFailing({ endpoint, delivery }: Story): boolean {
  const { last_success_at, failing_since } = endpoint;
  if (failing_since === null) return false;
  const last = delivery.last_attempt_at ?? delivery.created_at;
  return last_success_at === null || last_success_at <= last;
}

/** Whether a retry would help, by what the endpoint has done since. */
function outlook(story: Story): Words[] {
  const { endpoint, named, reader, is_business, delivery } = story;
  const again = is_business ? "sending it again" : "a retry";
  if (endpoint.next_probe_at !== null) {
    return [[
      `${named.name} is paused automatically, so ${again} waits until it accepts something; it is tried `,
      ...nextProbe(endpoint.next_probe_at, reader.now),
      ".",
    ]];
  }
  if (endpoint.paused) {
    return [[`${named.name} is paused, so ${again} waits until you resume it.`]];
  }
  const { last_success_at } = endpoint;
  if (isFailing(story)) {
    const since: Words = last_success_at === null
      ? [`${named.name} has accepted nothing yet`]
      : [`${named.name} has accepted nothing since `, moment(last_success_at, reader.now)];
    return [[...since, ", so ", { strong: `${again} now would probably fail too` }, "."]];
  }
  if (last_success_at !== null && last_success_at > (delivery.last_attempt_at ?? "")) {
    return [[
      `${named.name} has accepted others since, the last one `,
      ...until(last_success_at, reader.now),
      ", so ",
      { strong: `${again} will probably work` },
      ".",
    ]];
  }
  return [[{
    strong: `Only ${is_business ? "you can send" : "a retry or a replay sends"} it again`,
  }, "."]];
}

function cancelled(story: Story): Stateless {
  const { delivery, endpoint, named, thing, is_business, reader } = story;
  const reason = delivery.cancel_reason ?? "";
  const at: Words = delivery.ended_at === null
    ? []
    : [" ", ...until(delivery.ended_at, reader.now)];
  const why = whyCancelled(story);
  const tries = delivery.attempt_count;
  return {
    tone: "calm",
    headline: why === undefined
      ? [reason === "" ? "Cancelled" : cancelledWords(reason, reader.house.audience), ...at]
      : ["Cancelled", ...at, `: ${why}`],
    sentences: [
      [
        tries === 0
          ? `${capitalised(thing)} was never sent to ${named.name}.`
          : `${capitalised(thing)} was tried ${
            tries === 1 ? "once" : `${inWord(tries)} times`
          } before that.`,
      ],
      ...(endpoint.state !== "retired" && canSend(story) && reason !== "erased"
        ? [[`${is_business ? "You can still send it" : "A retry sends it"} all the same.`]]
        : []),
      ...gone(story),
    ],
    actions: endpoint.state === "retired" || !canSend(story)
      ? [seeEvent(story)]
      : [...retry(story, "Send it all the same"), seeEvent(story)],
  };
}

/** Why it is cancelled, unless somebody did it by hand. */
function whyCancelled({ delivery, named, is_business }: Story): string | undefined {
  switch (delivery.cancel_reason) {
    case "deselected":
      return is_business
        ? `${named.name} is no longer sent updates of this kind`
        : `${named.name} no longer selects ${delivery.event_type}`;
    case "endpoint_retired":
      return `${named.name} was deleted`;
    case "erased":
      return "its payload was erased";
    case "expired":
      return is_business
        ? "it waited for longer than bookings are kept"
        : "it waited for longer than retention.events";
    default:
      return undefined;
  }
}

// --- pending -----------------------------------------------------------------------------------------

function waiting(story: Story): Stateless {
  const { delivery, reader, is_business, named, thing } = story;
  const { next_attempt_at, counted_attempts, max_attempts } = delivery;
  const met = metByAll(delivery.attempts);
  const tried = delivery.attempts.length > 0;
  const nth = (counted_attempts ?? 0) + 1;
  const of = max_attempts === null ? `attempt ${nth}` : `attempt ${nth} of ${max_attempts}`;
  const next: Words = next_attempt_at === null ? [] : until(next_attempt_at, reader.now);
  const so_far = !tried
    ? null
    : met === null
    ? `${named.name} has not accepted ${thing} yet`
    : didWith(named, thing, met, reader.house.audience);
  const follows: Words = is_business ? ["BookMe tries again ", ...next] : [`${of} is `, ...next];
  return {
    tone: "waiting",
    headline: so_far === null
      ? is_business
        ? [`${capitalised(thing)} goes to ${named.name} `, ...next]
        : [`${capitalised(of)} is `, ...next]
      : [`${so_far}; `, ...follows],
    sentences: [...cause(story), ...untilWhen(story), ...nextStep(story)],
    actions: [
      ...(tried && isFailing(story) ? test(story) : []),
      ...retry(story, "Retry now"),
      ...cancel(story),
    ],
  };
}

/** That nothing is lost yet, and until when. */
function untilWhen({ delivery, endpoint, reader, named, is_business }: Story): Words[] {
  const last = plannedAttempts(delivery, endpoint.retry_ms, reader.now).at(-1);
  if (last === undefined) return [];
  const end = until(last.at, reader.now);
  if (last.nth === (delivery.counted_attempts ?? 0) + 1) {
    return [["Nothing is lost yet, but ", { strong: "that attempt is the last one" }, "."]];
  }
  return is_business
    ? [[{ strong: "Nothing is lost" }, ". BookMe keeps trying until ", ...end.slice(1), "."]]
    : [[
      "Nothing is lost: ",
      { strong: `${named.name} has until ` },
      ...end.slice(1),
      " to accept it.",
    ]];
}

function underWay(story: Story): Stateless {
  const { delivery, named, thing, is_business, reader } = story;
  const { state, attempt_count, counted_attempts, max_attempts } = delivery;
  const nth = attempt_count + 1;
  const of = max_attempts === null || (counted_attempts ?? 0) !== attempt_count
    ? `Attempt ${nth}`
    : `Attempt ${nth} of ${max_attempts}`;
  const last = delivery.attempts.at(-1);
  const before = last === undefined ? "" : `; ${fate(last)}`;
  if (state === "interrupted") {
    return {
      tone: "waiting",
      headline: [`${of} never reported back; it is sent again within a minute`],
      sentences: [[
        `The process that sent it stopped or lost its database. ${named.name} may have received ${thing}, and gets it again.`,
      ]],
      actions: cancel(story),
    };
  }
  if (state === "cancelling") {
    return {
      tone: "waiting",
      headline: [`${of} is under way and is the last one`],
      sentences: [[
        `Unless it arrives, ${is_business ? thing : "this delivery"} is cancelled: ${
          whyCancelled(story) ?? cancelledWords(delivery.cancel_reason, reader.house.audience)
        }.`,
      ]],
      actions: [],
    };
  }
  return {
    tone: last === undefined ? "calm" : "waiting",
    headline: is_business
      ? [`BookMe is sending ${thing} to ${named.name} now`]
      : [nth === 1 ? "The first attempt is under way" : `${of} is under way${before}`],
    sentences: [
      ...(last === undefined ? [] : cause(story)),
      [
        `An answer takes up to ${inWords(story.endpoint.timeout_ms)}. `,
        { href: at(story), text: "Look again" },
        ".",
      ],
    ],
    actions: cancel(story),
  };
}

/** `the first timed out after 30 seconds`, `attempt 12 met 401`. */
function fate({ number, outcome, status, duration_ms }: shown.Attempt): string {
  const nth = nthAttempt(number).replace(/^(the \w+) attempt$/, "$1");
  return outcome === "timeout"
    ? `${nth} timed out after ${elapsed(duration_ms)}`
    : `${nth} met ${metShort({ outcome, status })}`;
}

function ending(story: Story): Stateless {
  const { delivery, named, endpoint, is_business, thing, reader } = story;
  const why = endpoint.state === "retired"
    ? `${named.name} is deleted`
    : delivery.cancel_reason !== null
    ? whyCancelled(story) ?? cancelledWords(delivery.cancel_reason, reader.house.audience)
    : "its attempts are used up";
  return {
    tone: "waiting",
    headline: is_business
      ? [`BookMe is about to stop sending ${thing}: ${why}`]
      : [`This delivery is about to end: ${why}`],
    sentences: [...cause(story), ...(is_business ? [] : [[...told(delivery.explanation), "."]])],
    actions: [seeEvent(story)],
  };
}

function paused(story: Story): Stateless {
  const { endpoint, named, reader } = story;
  const at = `${reader.house.base}/endpoints/${encodeURIComponent(endpoint.id)}/resume`;
  const reason = endpoint.pause_reason === null || endpoint.pause_reason === ""
    ? []
    : [[`Reason: “${endpoint.pause_reason}”.`]];
  return {
    tone: "paused",
    headline: whyPaused(story),
    sentences: [
      ...(endpoint.paused_at === null ? reason : [[
        `${named.name} has been paused since `,
        moment(endpoint.paused_at, reader.now),
        ".",
      ], ...reason]),
      ...(endpoint.next_probe_at === null ? [] : [[
        "Each hour one that waits is tried. Once one arrives, the pause ends and the others follow.",
      ]]),
      ...expires(story),
      ...(story.delivery.attempts.length === 0 ? [] : cause(story)),
    ],
    actions: [
      ...(reader.may_write ? [button(`Resume ${named.name}`, at)] : []),
      ...cancel(story),
    ],
  };
}

/** That it waits for the end of a pause, which ends by hand or by the next try. */
function whyPaused({ endpoint, named, is_business, thing, reader }: Story): Words {
  const waits = `${is_business ? `${capitalised(thing)} waits` : "Waiting"} because ${named.name}`;
  if (endpoint.next_probe_at === null) {
    return [
      is_business
        ? `${waits} is paused; it goes out when you resume it`
        : `${waits} is paused; its deliveries go out when you resume it`,
    ];
  }
  return [
    `${waits} is paused automatically; it is tried again `,
    ...nextProbe(endpoint.next_probe_at, reader.now),
  ];
}

/** That what waits for too long is cancelled. */
function expires({ endpoint, reader }: Story): Words[] {
  return endpoint.expires === null ? [] : [[
    "What waits here is cancelled from ",
    moment(endpoint.expires.first_at, reader.now),
    " on, because it is kept no longer.",
  ]];
}

function unsendable(story: Story): Stateless {
  const { endpoint, named, is_business } = story;
  return {
    tone: "failing",
    headline: is_business
      ? [`Waiting because BookMe cannot send to ${named.name} now`]
      : [`Waiting because this daemon cannot send to ${named.name}`],
    sentences: is_business
      ? [[
        "The reason lies with BookMe, not with your system. ",
        { strong: "Nothing is lost" },
        ".",
      ]]
      : [
        ...(endpoint.unsendable_reason === null ? [] : [[`${endpoint.unsendable_reason}.`]]),
        ...expires(story),
      ],
    actions: [seeEndpoint(story), ...cancel(story)],
  };
}

function due(story: Story): Stateless {
  const { delivery, named, is_business, thing, endpoint } = story;
  const { state, overdue_ms } = delivery;
  const late = overdue_ms === null ? "" : elapsed(overdue_ms);
  const headline = state === "rate_limited"
    ? `Waiting for the rate limit of ${named.name}${
      endpoint.rate_limit === null ? "" : `, ${endpoint.rate_limit}`
    }`
    : state === "due"
    ? `${capitalised(thing)} is due now and goes to ${named.name} within a second or so`
    : is_business
    ? `${capitalised(thing)} is late by ${late}`
    : `This delivery is overdue by ${late}`;
  return {
    tone: state === "due" ? "calm" : "waiting",
    headline: [headline],
    sentences: [
      ...(delivery.attempts.length === 0 ? [] : cause(story)),
      ...(is_business
        ? [[{ strong: "Nothing is lost" }, "; it goes out by itself."]]
        : [[...told(delivery.explanation), "."]]),
    ],
    actions: [
      ...(state === "due" ? [] : [seeEndpoint(story)]),
      ...cancel(story),
    ],
  };
}

// --- pieces ------------------------------------------------------------------------------------------

/** How the advice on an answer begins that mentions one. */
const SIGNATURE = "The answer mentions a signature";

/** The step that a likely cause asks for, after the consequence. */
function nextStep({ delivery, endpoint, named }: Story): Words[] {
  return delivery.hints[0]?.kind === "secret_rotated" && endpoint.state !== "retired"
    ? [[`Give ${named.name} the new secret, then send it a test.`]]
    : [];
}

/** The likely cause, and where to read about it. */
function cause({ delivery, named, is_business, reader }: Story): Words[] {
  const [hint] = delivery.hints;
  const last = delivery.attempts.findLast(({ outcome }) => outcome !== "delivered");
  if (last === undefined) return [];
  const help: Part = {
    href: `${reader.house.base}/help#${last.outcome}`,
    text: is_business ? "what that means" : `what ${metShort(last)} means`,
  };
  const hinted: Words[] = hint === undefined ? [] : [[`${hint.text}.`]];
  if (!is_business && hint === undefined && last.advice?.startsWith(SIGNATURE) === true) {
    return [
      [`${SIGNATURE}: ${named.name} has another secret, or checks a body that it has parsed and written again.`],
      ["The ", {
        href: `${reader.house.base}/verify?delivery=${delivery.id}`,
        text: "signature checker",
      }, " says which."],
    ];
  }
  if (hint?.kind === "secret_rotated") return hinted;
  if (is_business) {
    const answered = last.status === null ? "" : `It answered ${last.status}. `;
    return [
      ...hinted,
      [`${answered}Send this page to whoever looks after that system, or read `, help, "."],
    ];
  }
  return hinted.length > 0 || last.advice === null
    ? [...hinted, ["Read ", help, "."]]
    : [[...told(last.advice), "."]];
}

/** That nothing can be sent any more, and why. */
function gone({ payload, is_business }: Story): Words[] {
  if (payload === "erased") {
    return [["Its payload was erased, so ", { strong: "it cannot be sent again" }, "."]];
  }
  if (payload === "purged") {
    const why = is_business
      ? "It is too old"
      : "Its payload is older than retention.payloads and gone";
    return [[`${why}, so `, { strong: "it cannot be sent again" }, "."]];
  }
  return [];
}

function canSend({ payload }: Story): boolean {
  return payload === "kept" || payload === "hidden";
}

function at({ delivery, reader }: Story, more = ""): string {
  return `${reader.house.base}/deliveries/${delivery.id}${more}`;
}

function retry(story: Story, label: string): Action[] {
  const { reader, endpoint } = story;
  if (!reader.may_write || !canSend(story) || endpoint.state === "retired") return [];
  return [button(label, at(story, "/retry"))];
}

function cancel(story: Story): Action[] {
  const { reader, delivery } = story;
  if (!reader.may_write || delivery.cancelling) return [];
  return [{ ...button("Cancel delivery", at(story, "/cancel")), danger: true }];
}

function test({ endpoint, reader, named }: Story): Action[] {
  return reader.may_write ? [testAction(endpoint.id, reader, `Send ${named.name} a test`)] : [];
}

function replay({ endpoint, failed, failed_since, reader, named, is_business }: Story): Action[] {
  if (failed === null || failed.value < 2 || !reader.may_write) return [];
  const query = new URLSearchParams({
    endpoint: endpoint.id,
    status: "failed",
    since: failed_since,
  });
  return [
    link(
      is_business
        ? `Send all ${number(failed.value, failed.exact)} again…`
        : `Replay ${named.name}’s ${number(failed.value, failed.exact)} failed…`,
      `${reader.house.base}/replays?${query}`,
    ),
  ];
}

function seeEvent({ delivery, reader }: Story): Action {
  return link("See the event", `${reader.house.base}/events/${delivery.event_id}`);
}

function seeEndpoint({ endpoint, reader, named }: Story): Action {
  return link(
    `See ${named.name}`,
    `${reader.house.base}/endpoints/${encodeURIComponent(endpoint.id)}`,
  );
}

/** A length of time as sentences have it: `64 seconds`, `2 hours`. */
export function elapsed(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  const units: readonly [string, number, number][] = [
    ["second", 1_000, 120],
    ["minute", 60_000, 60],
    ["hour", 3_600_000, 48],
    ["day", 86_400_000, Infinity],
  ];
  for (const [unit, size, most] of units) {
    const value = Math.round(ms / size);
    if (value < most) return value === 1 ? `1 ${unit}` : `${value} ${unit}s`;
  }
  return "";
}
