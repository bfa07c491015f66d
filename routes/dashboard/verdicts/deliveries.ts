import type { Breakdown } from "../../../lib/admin/deliveries.ts";
import { metShort } from "./attempts.ts";
import type { Reader } from "./health.ts";
import { type Action, link, many, number, together, type Verdict, type Words } from "./verdict.ts";

/** Which deliveries a list shows, by its tab. */
export const SHOWN = [
  "attention",
  "failed",
  "waiting",
  "overdue",
  "delivered",
  "cancelled",
  "tests",
  "all",
] as const;
/** One of them. */
export type Shown = typeof SHOWN[number];

/** A list of deliveries, as far as its verdict needs it. */
export interface ListFacts {
  readonly shown: Shown;
  readonly found: Breakdown;
  /** The times that the list is narrowed to: `in the last 24 hours`; empty for any. */
  readonly within: string;
  /** Whether anything besides tab and times narrows the list. */
  readonly is_narrowed: boolean;
  /** How pages call endpoints, by id. */
  readonly names: ReadonlyMap<string, string>;
  /** Query of the page for replays that selects what failed here; null without that. */
  readonly replay: string | null;
}

type Group = Breakdown["groups"][number];

/** The verdict of a list of deliveries. */
export function deliveriesVerdict(facts: ListFacts, reader: Reader): Verdict {
  const { shown, found } = facts;
  const failed = among(found, (group) => group.status === "failed");
  const waiting = among(found, (group) => group.status === "pending");
  const is_business = reader.house.audience === "business";
  const calm = { kind: "delivered", word: is_business ? "Nothing to do" : "Good" } as const;
  const is_bad = shown === "attention" || shown === "failed";
  const shows_failed = is_bad || shown === "all";
  return {
    tone: "calm",
    state: failed.value > 0 && shows_failed
      ? { kind: "failed", word: is_business ? "Did not arrive" : "Failed" }
      : shown === "overdue" && waiting.value > 0
      ? { kind: "overdue", word: is_business ? "Late" : "Overdue" }
      : waiting.value > 0
      ? { kind: "waiting", word: "Waiting" }
      : shown === "cancelled"
      ? { kind: "cancelled", word: "Cancelled" }
      : found.groups.length === 0 && (facts.is_narrowed || !is_bad)
      ? { kind: "unused", word: "None" }
      : calm,
    headline: [
      found.groups.length === 0 && !found.exact
        ? `No match among the newest ${is_business ? "updates" : "deliveries"}`
        : headlineOf(facts, failed, waiting, reader.house.audience),
    ],
    sentences: [
      ...where(facts, "pending", is_business),
      ...where(facts, "failed", is_business),
    ],
    actions: replay(facts, failed, reader),
  };
}

/** Some of the deliveries. */
interface Some {
  readonly value: number;
  readonly exact: boolean;
}

function among({ groups, exact }: Breakdown, which: (group: Group) => boolean): Some {
  return {
    value: groups.filter(which).reduce((sum, { deliveries }) => sum + deliveries, 0),
    exact,
  };
}

type Audience = Reader["house"]["audience"];

/** What each audience calls a delivery, and says of one and of several that are shown. */
const TOLD = {
  operator: {
    noun: ["delivery", "deliveries"],
    attention: ["is waiting to retry", "are waiting to retry"],
    failed: ["failed", "failed"],
    waiting: ["is waiting", "are waiting"],
    overdue: ["is overdue", "are overdue"],
    delivered: ["arrived", "arrived"],
    cancelled: ["was cancelled", "were cancelled"],
    none_to_do: "Nothing needs attention",
  },
  business: {
    noun: ["update", "updates"],
    attention: ["has not arrived yet", "have not arrived yet"],
    failed: ["did not arrive", "did not arrive"],
    waiting: ["is on its way", "are on their way"],
    overdue: ["is late", "are late"],
    delivered: ["arrived", "arrived"],
    cancelled: ["was cancelled", "were cancelled"],
    none_to_do: "Everything arrived",
  },
} as const;

function headlineOf(facts: ListFacts, failed: Some, waiting: Some, audience: Audience): string {
  const { shown, found, within, is_narrowed } = facts;
  const all = among(found, () => true);
  const such = is_narrowed ? "such " : "";
  const told = TOLD[audience];
  const [noun, nouns] = told.noun;
  const count = (some: Some, [one, more]: readonly [string, string]) =>
    some.value === 0 && some.exact
      ? `No ${such}${noun} ${one}`
      : many(some.value, `${such}${noun} ${one}`, `${such}${nouns} ${more}`, some.exact);
  switch (shown) {
    case "attention": {
      if (failed.value + waiting.value === 0) return told.none_to_do + within;
      if (failed.value === 0) return count(waiting, told.attention);
      if (waiting.value === 0) return count(failed, told.failed) + within;
      const too = `${number(failed.value, failed.exact)} ${told.failed[1]}`;
      return `${count(waiting, told.attention)}, and ${too}${within}`;
    }
    case "tests":
      return all.value === 0 && all.exact
        ? `No ${such}test was sent${within}`
        : many(all.value, `${such}test was sent`, `${such}tests were sent`, all.exact) + within;
    case "all": {
      if (all.value === 0 && all.exact) return `No ${such}${noun}${within}`;
      const some = many(all.value, such + noun, such + nouns, all.exact);
      return audience === "operator"
        ? allOfOperator(some + within, failed, waiting)
        : allOfBusiness(some, within, failed, waiting);
    }
    case "delivered":
    case "cancelled":
      return count(all, told[shown]) + within;
    case "failed":
      return count(failed, told.failed) + within;
    case "waiting":
    case "overdue":
      return count(waiting, told[shown]) + within;
  }
}

/** `37 deliveries in the last 24 hours; 1 failed and 36 waiting`. */
function allOfOperator(some: string, failed: Some, waiting: Some): string {
  const parts = [
    ...(failed.value > 0 ? [`${number(failed.value)} failed`] : []),
    ...(waiting.value > 0 ? [`${number(waiting.value)} waiting`] : []),
  ];
  const newest = failed.exact ? "" : " of the newest";
  return parts.length === 0 ? some : `${some}; ${parts.join(" and ")}${newest}`;
}

/** `9 of 285 updates did not arrive in the last 24 hours, and 5 are on the way`. */
function allOfBusiness(some: string, within: string, failed: Some, waiting: Some): string {
  const verb = waiting.value === 1 ? "is" : "are";
  if (failed.value > 0) {
    const rest = waiting.value === 0 ? "" : `, and ${number(waiting.value)} ${verb} on the way`;
    return `${number(failed.value)} of ${some} did not arrive${within}${rest}`;
  }
  return waiting.value > 0
    ? `${number(waiting.value)} of ${some} on the way${within}`
    : `${some} about your bookings${within}, all of them sent`;
}

const MAX_NAMED = 3;

/** Where the deliveries of a status go, the most first: `214 of the 219 are for crm (401)`. */
function where(
  { found, names, shown }: ListFacts,
  status: Group["status"],
  is_business: boolean,
): Words[] {
  if (shown === "tests" || shown === "all") return [];
  const groups = mergeAlike(
    found.groups.filter((group) => group.status === status),
    names,
    is_business,
  );
  const total = groups.reduce((sum, { deliveries }) => sum + deliveries, 0);
  const [first] = groups;
  if (first === undefined || total < 2) return [];
  const all = number(total, found.exact);
  const most = `${number(first.deliveries)} of the ${all} are for ${first.where}`;
  const are_all = first.deliveries === total && found.exact;
  const subject = are_all ? `All ${all} are for ${first.where}` : most;
  if (status === "pending") {
    return [[
      { strong: subject },
      is_business
        ? " and arrive by themselves once it accepts them."
        : ` and will arrive on their own once ${
          names.get(first.endpoint) ?? first.endpoint
        } accepts them.`,
    ]];
  }
  const named = groups.slice(0, MAX_NAMED).map(({ deliveries, where }) =>
    `${number(deliveries)} for ${where}`
  );
  const rest = groups.slice(MAX_NAMED).reduce((sum, { deliveries }) => sum + deliveries, 0);
  const list = together([...named, ...(rest > 0 ? [`${number(rest)} for others`] : [])]);
  const need = is_business ? "are only sent again by hand" : "need a replay";
  return [[
    are_all
      ? `${subject}; they ${need}.`
      : `The ${all} that ${is_business ? "did not arrive" : "failed"} ${need}: ${list}.`,
  ]];
}

interface Place {
  readonly endpoint: string;
  /** `crm (401)`. */
  readonly where: string;
  readonly deliveries: number;
}

/** Groups of one endpoint as one, with what most of them met. They come with the largest first. */
function mergeAlike(
  groups: readonly Group[],
  names: ReadonlyMap<string, string>,
  is_business: boolean,
): Place[] {
  const places = new Map<string, Place>();
  for (const { endpoint, last_outcome, last_status, deliveries } of groups) {
    const met = is_business || last_outcome === null || last_outcome === "delivered"
      ? ""
      : ` (${metShort({ outcome: last_outcome, status: last_status })})`;
    const before = places.get(endpoint);
    places.set(endpoint, {
      endpoint,
      where: before?.where ?? `${names.get(endpoint) ?? endpoint}${met}`,
      deliveries: (before?.deliveries ?? 0) + deliveries,
    });
  }
  return [...places.values()].toSorted((a, b) => b.deliveries - a.deliveries);
}

function replay(
  { replay, shown }: ListFacts,
  failed: Some,
  { house, may_write }: Reader,
): Action[] {
  if (replay === null || failed.value === 0 || !may_write || shown === "tests") return [];
  const which = failed.value === 1 && failed.exact
    ? house.audience === "business" ? "the one that did not arrive" : "the one that failed"
    : `the ${number(failed.value, failed.exact)} that ${
      house.audience === "business" ? "did not arrive" : "failed"
    }`;
  const verb = house.audience === "business" ? "Send" : "Replay";
  return [
    link(
      `${verb} ${which}${house.audience === "business" ? " again" : ""}…`,
      `${house.base}/replays?${replay}`,
    ),
  ];
}
