import type * as shown from "../../../lib/admin/shown.ts";
import { capitalised } from "../../../lib/core/words.ts";
import { thisThing } from "./attempts.ts";
import type { Reader } from "./health.ts";
import {
  type Action,
  advised,
  button,
  link,
  together,
  type Verdict,
  type Words,
} from "./verdict.ts";

/** An event with what its page knows besides. */
export interface EventPageFacts {
  readonly event: shown.EventDetail;
  /** How pages call endpoints, by id. */
  readonly names: ReadonlyMap<string, string>;
}

/** The verdict of an event's page: where it went and where not, and why. */
export function eventVerdict({ event, names }: EventPageFacts, reader: Reader): Verdict {
  const { house } = reader;
  const owed = event.endpoints.filter((verdict) => verdict.owed);
  const of = (...states: string[]) => owed.filter(({ state }) => states.includes(state));
  const failed = of("failed");
  const delivered = of("delivered");
  const cancelled = of("cancelled");
  const pending = owed.filter(({ state }) => !["failed", "delivered", "cancelled"].includes(state));
  const nameOf = ({ endpoint_id }: shown.EndpointVerdict) => names.get(endpoint_id) ?? endpoint_id;
  const name = (verdicts: readonly shown.EndpointVerdict[]) => nameAll(verdicts.map(nameOf));
  const is_business = house.audience === "business";
  const thing = thisThing({ event_type: event.type, test: event.test });
  const rest = `${delivered.length} of ${owed.length} ${
    is_business ? "systems have" : "endpoints have"
  } it`;
  const others = owed.length > 1 ? `; ${delivered.length === 0 ? "nobody has it yet" : rest}` : "";
  if (failed.length > 0) {
    return {
      tone: "failing",
      state: { kind: "failed", word: is_business ? "Did not arrive" : "Failed" },
      headline: [
        (is_business
          ? `${capitalised(thing)} did not arrive at ${name(failed)}`
          : `${name(failed)} did not accept ${thing}`) + others,
      ],
      sentences: [
        ...explained(failed, nameOf, is_business, reader),
        ...(pending.length === 0 ? [] : [[
          is_business
            ? `It is on its way to ${name(pending)}.`
            : `It still waits for ${name(pending)}.`,
        ]]),
      ],
      actions: look(failed, nameOf, reader),
    };
  }
  if (pending.length > 0) {
    return {
      tone: "waiting",
      state: { kind: "waiting", word: "Waiting" },
      headline: [
        (is_business
          ? `${capitalised(thing)} is on its way to ${name(pending)}`
          : `${capitalised(thing)} waits for ${name(pending)}`) + others,
      ],
      sentences: explained(pending, nameOf, is_business, reader),
      actions: look(pending, nameOf, reader),
    };
  }
  if (owed.length === 0) return unowed(event, is_business, reader);
  return {
    tone: "calm",
    state: delivered.length > 0
      ? { kind: "delivered", word: is_business ? "Arrived" : "Delivered" }
      : { kind: "cancelled", word: "Cancelled" },
    headline: [
      delivered.length > 0 && cancelled.length === 0
        ? wentTo(event, owed, is_business)
        : cancelledWords(thing, name(delivered), name(cancelled), cancelled.length, is_business),
    ],
    sentences: [
      ...(delivered.length === 0 || is_business || cancelled.length > 0
        ? []
        : [[`${name(delivered)} accepted it.`] as Words]),
      ...explained(cancelled, nameOf, is_business, reader),
      ...missing(event, is_business),
    ],
    actions: owes(event, nameOf, reader),
  };
}

/** `This booking went to ledger and 7 others; it was cancelled for loyalty`; without any delivery only that. */
function cancelledWords(
  thing: string,
  delivered: string,
  cancelled: string,
  count: number,
  is_business: boolean,
): string {
  const [noun, were] = count === 1 ? ["delivery", "was"] : ["deliveries", "were"];
  return delivered === ""
    ? `The ${noun} of ${thing} to ${cancelled} ${were} cancelled`
    : `${capitalised(thing)} ${
      is_business ? "arrived at" : "went to"
    } ${delivered}; it was cancelled for ${cancelled}`;
}

const MAX_NAMED = 3;

/** `crm, ledger and 4 others`. */
function nameAll(names: readonly string[]): string {
  return names.length <= MAX_NAMED
    ? together(names)
    : `${names.slice(0, MAX_NAMED - 1).join(", ")} and ${names.length - MAX_NAMED + 1} others`;
}

/** `This event went to 5 of 9 endpoints; the other 4 do not select it`. */
function wentTo(event: shown.EventDetail, owed: readonly unknown[], is_business: boolean): string {
  const all = event.endpoints.length;
  const noun = (count: number) =>
    is_business ? count === 1 ? "system" : "systems" : count === 1 ? "endpoint" : "endpoints";
  const thing = is_business
    ? capitalised(thisThing({ event_type: event.type, test: event.test }))
    : event.test
    ? "This test"
    : "This event";
  const went = is_business ? "arrived at" : "went to";
  if (event.test) {
    return `${thing} ${went} the endpoint that it was for`.replace(
      "the endpoint that",
      is_business ? "the system that" : "the endpoint that",
    );
  }
  if (owed.length === all) {
    return all === 1
      ? `${thing} ${went} the only ${noun(1)} there was`
      : `${thing} ${went} all ${all} ${noun(all)}`;
  }
  return `${thing} ${went} ${owed.length} of ${all} ${noun(all)}; ${
    whyOthers(event, all - owed.length, is_business)
  }`;
}

const WHY: Readonly<Record<string, readonly [one: string, more: string]>> = {
  type_not_selected: ["does not select it", "do not select it"],
  other_business: ["is for another business", "are for other businesses"],
  no_business_known: ["wants to know the business", "want to know the business"],
  made_later: ["was made later", "were made later"],
  retired: ["had been deleted", "had been deleted"],
  changed_later: ["selected it later only", "selected it later only"],
};

function whyOthers({ endpoints }: shown.EventDetail, count: number, is_business: boolean): string {
  const states = new Set(endpoints.filter(({ owed }) => !owed).map(({ state }) => state));
  const [only] = states;
  const words = states.size === 1 && only !== undefined ? WHY[only] : undefined;
  const [one, more] = words ?? ["was not owed it", "were not owed it"];
  const told = is_business && words === undefined
    ? ["was not sent it", "were not sent it"]
    : [one, more];
  return count === 1 ? `the other one ${told[0]}` : `the other ${count} ${told[1]}`;
}

function unowed(event: shown.EventDetail, is_business: boolean, { house }: Reader): Verdict {
  const count = event.endpoints.length;
  const thing = capitalised(thisThing({ event_type: event.type, test: event.test }));
  return {
    tone: "calm",
    state: { kind: "unused", word: is_business ? "Not sent" : "Not owed" },
    headline: [
      count === 0
        ? is_business
          ? `${thing} went nowhere: you had no endpoint then`
          : `${thing} went nowhere: no endpoint existed when it was stored`
        : is_business
        ? `${thing} went nowhere: ${count === 1 ? "your endpoint" : "none of your endpoints"} ${
          count === 1 ? "was not set to receive it" : "was set to receive it"
        }`
        : count === 1
        ? `${thing} was owed to no endpoint: the only one ${whyOne(event)}`
        : `${thing} was owed to none of the ${count} endpoints`,
    ],
    sentences: [
      [
        is_business
          ? "It is kept; the reasons are below."
          : "It was accepted and is kept; each row below says why.",
      ],
      ...missing(event, is_business),
    ],
    actions: count === 0
      ? [link("New endpoint", `${house.base}/endpoints/new`)]
      : [link(is_business ? "See your endpoints" : "See the endpoints", `${house.base}/endpoints`)],
  };
}

function whyOne({ endpoints: [first] }: shown.EventDetail): string {
  return first === undefined ? "" : WHY[first.state]?.[0] ?? "was not owed it";
}

const MAX_EXPLAINED = 2;

function explained(
  verdicts: readonly shown.EndpointVerdict[],
  nameOf: (verdict: shown.EndpointVerdict) => string,
  is_business: boolean,
  { house }: Reader,
): Words[] {
  return verdicts.slice(0, MAX_EXPLAINED).map((verdict): Words => {
    const see = verdict.delivery_id === null ? [] : [
      " ",
      { href: `${house.base}/deliveries/${verdict.delivery_id}`, text: "See why" },
      ".",
    ];
    if (is_business) return [`${nameOf(verdict)} has not received it.`, ...see];
    // An attempt before the cancellation explains nothing any more.
    const text = verdict.state === "cancelled"
      ? verdict.explanation
      : verdict.hints[0]?.text ?? verdict.advice ?? verdict.explanation;
    const words = advised(text, house.base, verdict.delivery_id);
    return [{ strong: nameOf(verdict) }, ": ", ...words, ".", ...see];
  });
}

/** That a replay would bring it to endpoints that select it now. */
function missing({ endpoints }: shown.EventDetail, is_business: boolean): Words[] {
  const count = endpoints.filter(canBeOwed).length;
  if (count === 0) return [];
  const noun = is_business ? "system" : "endpoint";
  return [[
    `${
      count === 1 ? `One ${noun} is` : `${count} ${noun}s are`
    } set to receive it now: a replay of what is missing sends it.`,
  ]];
}

/** Whether a replay of what is missing would owe it the event, as its explanation says. */
export function canBeOwed({ owed, explanation }: shown.EndpointVerdict): boolean {
  return !owed && explanation.endsWith("a replay of what is missing owes it the event");
}

function look(
  verdicts: readonly shown.EndpointVerdict[],
  nameOf: (verdict: shown.EndpointVerdict) => string,
  { house, may_write }: Reader,
): Action[] {
  const [first] = verdicts;
  if (first?.delivery_id == null) return [];
  const at = `${house.base}/deliveries/${first.delivery_id}`;
  return [
    link(`See why at ${nameOf(first)}`, at),
    ...(may_write && first.state === "failed" && verdicts.length === 1
      ? [button("Retry now", `${at}/retry`)]
      : []),
  ];
}

/** Replays of what is missing, one for each endpoint that selects it now. */
function owes(
  event: shown.EventDetail,
  nameOf: (verdict: shown.EndpointVerdict) => string,
  { house, may_write }: Reader,
): Action[] {
  if (!may_write) return [];
  return event.endpoints.filter(canBeOwed).slice(0, 2).map((verdict) =>
    link(`Send ${nameOf(verdict)} what it is missing…`, replayMissing(house.base, verdict, event))
  );
}

/** The page that makes a replay of what is missing since an event. */
export function replayMissing(
  base: string,
  { endpoint_id }: Pick<shown.EndpointVerdict, "endpoint_id">,
  { received_at }: Pick<shown.EventDetail, "received_at">,
): string {
  const query = new URLSearchParams({ missing: "true", endpoint: endpoint_id, since: received_at });
  return `${base}/replays?${query}`;
}
