import type { OwedNow, TestDraft } from "../../../lib/admin/tests.ts";
import type * as shown from "../../../lib/admin/shown.ts";
import { matchesType } from "../../../lib/core/matching.ts";
import { durationWords } from "../components/time.tsx";
import { typeWords } from "../words.ts";
import { deliveryState, didWith, metByAll, metShort, nthAttempt } from "./attempts.ts";
import { hostOf, type Reader } from "./health.ts";
import {
  type Action,
  button,
  link,
  many,
  moment,
  number,
  together,
  type Verdict,
  type Words,
} from "./verdict.ts";

/** A test with what its page knows besides. */
export interface TestFacts {
  readonly draft: TestDraft;
  /** The endpoint that the test went to, as it is now; null if none was sent. */
  readonly endpoint: shown.Endpoint | null;
}

/** The first line of the page for tests: the result of the one that was sent, or what would be sent. */
export function testVerdict({ draft, endpoint }: TestFacts, reader: Reader): Verdict {
  const { test } = draft;
  if (test === null || endpoint === null) return untested(draft, reader);
  const { delivery } = test;
  const owed = draft.real.owed.find(({ endpoint_id }) => endpoint_id === endpoint.id) ?? null;
  const facts = { delivery, endpoint, owed, draft };
  if (delivery.status === "delivered") return accepted(facts, reader);
  return delivery.attempt_count === 0 ? unanswered(facts, reader) : refused(facts, reader);
}

interface Sent {
  readonly delivery: shown.DeliveryDetail;
  readonly endpoint: shown.Endpoint;
  /** Null if the endpoint is retired, or not among those that are judged. */
  readonly owed: OwedNow | null;
  readonly draft: TestDraft;
}

function untested(draft: TestDraft, { house, may_write }: Reader): Verdict {
  const { endpoints, earlier } = draft;
  const is_business = house.audience === "business";
  const none = {
    tone: "calm",
    state: { kind: "unused", word: "Not used yet" },
  } as const;
  if (endpoints.length === 0) {
    return {
      ...none,
      headline: [is_business ? "You have no endpoint to test" : "There is no endpoint to test"],
      sentences: [["A test goes to one endpoint. Make one first."]],
      actions: [link("New endpoint", `${house.base}/endpoints/new`)],
    };
  }
  const name = endpoints.find(({ id }) => id === draft.endpoint)?.name ?? "one endpoint";
  const type = typeWords(draft.type, house.audience);
  return {
    ...none,
    state: { kind: "unused", word: "Not sent yet" },
    headline: [
      !may_write
        ? "Tests show whether a receiver answers"
        : is_business
        ? `Send ${name} a test: “${type}”`
        : `Send ${name} a test ${type}`,
    ],
    sentences: [
      [
        is_business
          ? "It goes to that system only. It looks like a real booking, and is marked as a test."
          : "It goes to that endpoint only, signed like a real event and marked X-BookMe-Test: true.",
      ],
      ...(earlier.length === 0 ? [] : [["Earlier tests are listed below."]]),
    ],
    actions: [],
  };
}

function accepted({ delivery, endpoint, owed, draft }: Sent, reader: Reader): Verdict {
  const { house, may_write } = reader;
  const is_business = house.audience === "business";
  const name = called(endpoint);
  const last = delivery.attempts.at(-1);
  const took = last === undefined ? "" : `: ${last.status} in ${durationWords(last.duration_ms)}`;
  const nth = delivery.attempt_count > 1 ? ` on ${nthAttempt(delivery.attempt_count)}` : "";
  const verb = is_business ? "received" : "accepted";
  const state = deliveryState(delivery, house.audience);
  const { pending } = endpoint;
  const count = number(pending, endpoint.pending_exact);
  const those = pending === 1 ? "the one that waits" : `the ${count} that wait`;
  const waiting: Action[] = pending > 0 && may_write
    ? [
      link(
        is_business ? `Send ${those} now…` : `Retry ${possessive(name)} ${count} now…`,
        `${house.base}/replays?${new URLSearchParams({
          status: "pending",
          endpoint: endpoint.id,
        })}`,
      ),
    ]
    : [];
  if (owed?.owed === false) {
    return {
      tone: "waiting",
      state,
      headline: [
        is_business
          ? `${name} received the test, but is not set to receive “${
            typeWords(draft.real.type, house.audience)
          }”`
          : `${name} accepted the test, but a real ${draft.real.type} would not be owed to it`,
      ],
      sentences: [whyNot(owed, draft.real.type, is_business)],
      actions: [
        link(
          is_business ? `Choose what ${name} receives` : `Change what ${name} selects`,
          `${house.base}/endpoints/${encodeURIComponent(endpoint.id)}#settings`,
        ),
      ],
    };
  }
  return {
    tone: "calm",
    state,
    headline: [`${name} ${verb} the test${nth}${took}`],
    sentences: [
      ...(owed === null ? [] : [realOne(draft, name, is_business)]),
      ...(owed?.paused_at == null ? [] : [pausedNow(name, is_business)]),
    ],
    actions: waiting,
  };
}

function pausedNow(name: string, is_business: boolean): Words {
  return [
    is_business
      ? `${name} is paused: real ones wait until it is resumed.`
      : `${name} is paused: real events wait until it is resumed.`,
  ];
}

/** That a real event would be owed, and to how many others. */
function realOne({ real }: TestDraft, name: string, is_business: boolean): Words {
  const others = real.owed.filter(({ owed }) => owed).length - 1;
  const more = others > 0
    ? ` and ${
      many(others, is_business ? "other system" : "other", is_business ? "other systems" : "others")
    }`
    : "";
  return is_business
    ? [
      { strong: `A real “${typeWords(real.type, "business")}” would go to ${name}${more}` },
      ", too.",
    ]
    : [
      { strong: `A real ${real.type} would be owed to ${name}${more}` },
      "; the table says why.",
    ];
}

/** No attempt has ended so far. */
function unanswered({ delivery, endpoint, draft }: Sent, { house }: Reader): Verdict {
  const name = called(endpoint);
  const is_business = house.audience === "business";
  const is_under_way = delivery.state === "sending" || delivery.state === "due";
  return {
    tone: delivery.state === "paused" ? "paused" : "calm",
    state: deliveryState(delivery, house.audience),
    headline: [
      delivery.status === "cancelled"
        ? `The test of ${name} was cancelled`
        : is_under_way
        ? `The test is on its way to ${name}`
        : `The test waits for ${name}`,
    ],
    sentences: [
      ...(is_business && is_under_way ? [["It has not answered yet."] as Words] : []),
      ...(is_business ? [] : [[`${delivery.explanation}.`] as Words]),
      ...notOwed({ draft, endpoint }, is_business),
    ],
    actions: [],
  };
}

/** The last attempt failed. */
function refused({ delivery, endpoint, draft }: Sent, { house, may_write }: Reader): Verdict {
  const is_business = house.audience === "business";
  const last = delivery.attempts.at(-1);
  const met = metByAll(delivery.attempts) ?? (last === undefined ? null : { ...last, count: 1 });
  const named = { name: called(endpoint), host: hostOf(endpoint) };
  const did = met === null
    ? `${named.name} did not accept the test`
    : didWith(named, "the test", met, house.audience);
  const at = `${house.base}/deliveries/${delivery.id}`;
  const how = last === undefined || last.outcome === "delivered" ? [] : [
    link(
      last.status === null ? `What ${last.outcome} means` : `How to fix a ${metShort(last)}`,
      `${house.base}/help#${last.outcome}`,
    ),
  ];
  return {
    tone: "failing",
    state: deliveryState(delivery, house.audience),
    headline: [did, ...nextWords(delivery)],
    sentences: [
      ...(last?.advice == null ? [] : [[`${last.advice}.`] as Words]),
      ...notOwed({ draft, endpoint }, is_business),
    ],
    actions: [
      ...how,
      ...(delivery.status === "pending" && may_write
        ? [button(is_business ? "Stop trying" : "Stop its retries", `${at}/cancel`)]
        : []),
    ],
  };
}

/** `; attempt 2 of 7 is at 21:26`. */
function nextWords(delivery: shown.DeliveryDetail): Words {
  const { status, counted_attempts, max_attempts, next_attempt_at, sending } = delivery;
  if (status === "failed") return [", and no attempts are left"];
  if (status === "cancelled") return [", and its retries were cancelled"];
  const next = `attempt ${(counted_attempts ?? 0) + 1}` +
    (max_attempts === null ? "" : ` of ${max_attempts}`);
  if (sending) return [`; ${next} is under way`];
  if (next_attempt_at === null) return [`; ${next} follows`];
  return [`; ${next} is at `, moment(next_attempt_at, Date.parse(delivery.created_at))];
}

/** That a real one would not even be owed. */
function notOwed(
  { draft: { real }, endpoint }: Pick<Sent, "draft" | "endpoint">,
  is_business: boolean,
): Words[] {
  const owed = real.owed.find(({ endpoint_id }) => endpoint_id === endpoint.id);
  if (owed === undefined || owed.owed) return [];
  return [[
    is_business
      ? `It is not set to receive “${typeWords(real.type, "business")}” either.`
      : `A real ${real.type} would not be owed to it either.`,
  ]];
}

function called({ id, description }: shown.Endpoint): string {
  return description ?? id;
}

function possessive(name: string): string {
  return name.endsWith("s") ? `${name}’` : `${name}’s`;
}

/** Whether an endpoint is owed real events, as a row of the table says it: a state and why. */
export function owedWords(
  { owed, reason, events, paused_at, unsendable_reason }: OwedNow,
  real: { readonly type: string },
  { house, now }: Pick<Reader, "house" | "now">,
): { readonly state: Verdict["state"]; readonly why: Words } {
  const is_business = house.audience === "business";
  if (!owed) {
    return {
      state: { kind: "cancelled", word: is_business ? "Not sent" : "Not owed" },
      why: whyNot({ events, reason }, real.type, is_business),
    };
  }
  const selects = is_business
    ? `Set to receive “${typeWords(real.type, "business")}”`
    : selection(events, real.type);
  if (paused_at !== null) {
    return {
      state: { kind: "paused", word: is_business ? "Sent later" : "Owed, waits" },
      why: [`${selects}, but is paused since `, moment(paused_at, now), "."],
    };
  }
  if (unsendable_reason !== null) {
    return {
      state: { kind: "waiting", word: is_business ? "Sent later" : "Owed, waits" },
      why: [
        is_business
          ? `${selects}, but BookMe cannot send to it now.`
          : `${selects}, but cannot be sent to: ${unsendable_reason}.`,
      ],
    };
  }
  return { state: { kind: "owed", word: is_business ? "Sent" : "Owed" }, why: [`${selects}.`] };
}

/** Why an endpoint is not owed it. A business chooses types by their meaning. */
function whyNot(
  { events, reason }: Pick<OwedNow, "events" | "reason">,
  type: string,
  is_business: boolean,
): Words {
  if (is_business && !matchesType(events, type)) {
    return [`Not set to receive “${typeWords(type, "business")}”.`];
  }
  return [`${reason ?? "It does not select it"}.`];
}

/** `Selects booking.*`: by which pattern. */
function selection(events: readonly string[], type: string): string {
  const exact = events.filter((pattern) => pattern === type);
  const wide = events.filter((pattern) =>
    pattern.endsWith(".*") && type.startsWith(pattern.slice(0, -1))
  );
  const by = exact.length > 0 ? exact : wide;
  return by.length > 0 ? `Selects ${together(by)}` : "Selects everything (*)";
}
