import type { Breakdown } from "../../../lib/admin/deliveries.ts";
import type * as shown from "../../../lib/admin/shown.ts";
import { parseRate } from "../../../lib/core/units.ts";
import { capitalised } from "../../../lib/core/words.ts";
import { queryOf, type Typed } from "../replay_form.ts";
import { typeWords } from "../words.ts";
import type { Reader } from "./health.ts";
import {
  type Action,
  button,
  link,
  many,
  moment,
  number,
  type Part,
  type StateWords,
  type Verdict,
  type Words,
} from "./verdict.ts";

/** A replay of more deliveries needs its number typed. */
export const MUCH = 1_000;

/** The deliveries that a replay would send, counted. */
export interface ReplayCounted {
  readonly count: shown.ReplayCount;
  /** By endpoint and reason, as far as the newest ones tell; null for what is missing. */
  readonly groups: Breakdown | null;
  readonly typed: Typed;
  readonly missing: boolean;
  /** How far it was counted. */
  readonly depth: "glance" | "whole";
}

type Names = ReadonlyMap<string, string>;

// --- before it happens ------------------------------------------------------------------------------------

/** The first line of the page that makes a replay. */
export function newReplayVerdict(
  counted: ReplayCounted | null,
  names: Names,
  reader: Reader,
): Verdict {
  const { house } = reader;
  const is_business = house.audience === "business";
  if (counted === null) {
    return {
      tone: "calm",
      state: { kind: "unused", word: "Nothing sent" },
      headline: [is_business ? "Choose what to send again" : "Choose what the replay sends"],
      sentences: [["It is counted first; nothing is sent before you confirm."]],
      actions: [],
    };
  }
  const { count, typed } = counted;
  const { matched, matched_exact } = count;
  const target = typed.endpoint === ""
    ? ""
    : ` ${is_business || counted.missing ? "to" : "of"} ${
      names.get(typed.endpoint) ?? typed.endpoint
    }`;
  const more = moreToCount(counted, reader);
  if (matched === 0) {
    const kind = kindWords(typed, is_business);
    return {
      tone: "calm",
      state: { kind: "unused", word: matched_exact ? "Nothing to send" : "Nothing found so far" },
      headline: [
        matched_exact
          ? `Nothing to send: no ${kind} was found`
          : `No ${kind} was found among the oldest ones`,
      ],
      sentences: [
        ...matched_exact ? [] : [["There are more than were looked through."] as Words],
        ...leftOutWords(count, is_business),
        ...count.notes.map((note): Words => [`${note}.`]),
      ],
      actions: [...more, link("Change the selection", "#selection")],
    };
  }
  return {
    tone: "waiting",
    state: { kind: "waiting", word: "Not sent yet" },
    headline: [
      `${number(matched, matched_exact)} ${thingsOf(typed, is_business, matched)}${target} ${
        typed.status === "pending"
          ? "would be sent now"
          : counted.missing
          ? "would be sent"
          : "would be sent again"
      }`,
    ],
    sentences: [
      ...matched_exact
        ? []
        : [["It sends all of them, however many there are: the count ended early."] as Words],
      paceWords(counted),
      ...leftOutWords(count, is_business),
      ...count.notes.map((note): Words => [`${note}.`]),
    ],
    actions: more,
  };
}

/** The way to the whole count, where this one ended early. */
function moreToCount({ count, typed, depth }: ReplayCounted, { house }: Reader): Action[] {
  if (count.matched_exact || depth === "whole") return [];
  const href = `${house.base}/replays/new?${queryOf(typed)}&count=all`;
  return [link("Count all of them", href)];
}

/** `failed delivery`, as a sentence has it after "no". */
function kindWords({ status }: Typed, is_business: boolean): string {
  const noun = is_business ? "message" : "delivery";
  if (status === "missing") return is_business ? "missing message" : "event that was never owed";
  if (status === "pending") return `${noun} that waits for its next attempt`;
  return `${STATUS_WORDS.get(status) ?? "matching"} ${noun}`;
}

function thingsOf({ status }: Typed, is_business: boolean, count: number): string {
  if (status === "missing") {
    return count === 1 ? "missing event" : "missing events";
  }
  const noun = is_business
    ? count === 1 ? "message" : "messages"
    : count === 1
    ? "delivery"
    : "deliveries";
  const word = is_business && status === "failed" ? "" : STATUS_WORDS.get(status);
  if (status === "delivered") return `${noun} that arrived`;
  const named = word === undefined || word === "" ? noun : `${word} ${noun}`;
  return is_business && status === "failed" ? `${named} that did not arrive` : named;
}

const STATUS_WORDS: ReadonlyMap<string, string> = new Map(Object.entries({
  failed: "failed",
  cancelled: "cancelled",
  "failed,cancelled": "failed or cancelled",
  delivered: "delivered",
  pending: "waiting",
}));

/** How fast, and how long that takes. */
function paceWords({ count: { matched, matched_exact }, typed: { rate } }: ReplayCounted): Words {
  if (rate === "") return ["They go out as fast as the endpoint takes them."];
  const left = aboutWords(matched / parseRate(rate) * 1_000);
  return [`At ${rateWords(rate)}, in about ${left}${matched_exact ? "" : " or more"}.`];
}

/** `50 a second`, of `50/s`. */
export function rateWords(rate: string): string {
  const [amount, unit = ""] = rate.split("/");
  return `${amount} ${{ s: "a second", m: "a minute", h: "an hour" }[unit] ?? `per ${unit}`}`;
}

function leftOutWords({ left_out }: shown.ReplayCount, is_business: boolean): Words[] {
  const { delivered, without_payload } = left_out;
  const noun = is_business ? "arrived" : "were delivered";
  return [
    ...(delivered.value === 0 ? [] : [
      [
        "Leaves out ",
        { strong: `the ${number(delivered.value, delivered.exact)} that ${noun} in the meantime` },
        ".",
      ] as Words,
    ]),
    ...(without_payload.value === 0 ? [] : [
      [
        `${
          many(
            without_payload.value,
            "of them has no payload any more and is",
            "of them have no payload any more and are",
            without_payload.exact,
          )
        } left out as well.`,
      ] as Words,
    ]),
  ];
}

// --- one replay -------------------------------------------------------------------------------------------

/** The first line of a replay's page. */
export function replayVerdict(replay: shown.Replay, names: Names, reader: Reader): Verdict {
  const { house, may_write, now } = reader;
  const is_business = house.audience === "business";
  const at = `${house.base}/replays/${replay.id}`;
  const { state, matched, matched_exact, replayed } = replay;
  const of = `${number(replayed)} of ${number(matched, matched_exact)}`;
  const stateOf = replayState(replay);
  const which = selectionWords(replay, names, reader);
  if (state === "running") {
    const left = matched - replayed - replay.without_payload;
    const cancel = button(
      left > 0 && matched_exact ? `Cancel the remaining ${number(left)}` : "Cancel the rest",
      `${at}/cancel`,
    );
    return {
      tone: "calm",
      state: stateOf,
      headline: [`Replaying: ${of} sent${leftWords(replay, now)}`],
      sentences: [which],
      actions: may_write ? [{ ...cancel, danger: true }] : [],
    };
  }
  const after = replayed === 0 ? [] : [afterwards(replay, reader)];
  if (state === "cancelled") {
    return {
      tone: "calm",
      state: stateOf,
      headline: [`The replay was cancelled after ${of}`],
      sentences: [which, ...leftBehind(replay, is_business)],
      actions: after,
    };
  }
  return {
    tone: "calm",
    state: stateOf,
    headline: [
      replayed === 0
        ? "The replay found nothing to send"
        : `${sentWords(replayed, is_business)} ${
          replay.missing || replay.status.includes("pending") ? "sent" : "sent again"
        }`,
    ],
    sentences: [which, ...leftBehind(replay, is_business)],
    actions: after,
  };
}

function sentWords(count: number, is_business: boolean): string {
  return is_business
    ? many(count, "message was", "messages were")
    : many(count, "delivery was", "deliveries were");
}

function afterwards({ endpoint, since, until, type }: shown.Replay, { house }: Reader): Action {
  const query = new URLSearchParams({
    status: "failed",
    ...(endpoint === null ? {} : { endpoint }),
    ...(type === null ? {} : { type }),
    since,
    until,
  });
  return link("See what failed again", `${house.base}/deliveries?${query}`);
}

function leftBehind({ without_payload, meanwhile }: shown.Replay, is_business: boolean): Words[] {
  return [
    ...((meanwhile ?? 0) === 0 ? [] : [[
      `${
        many(meanwhile ?? 0, "was", "were")
      } left out: delivered, retried or cancelled in the meantime.`,
    ]]),
    ...(without_payload === 0 ? [] : [[
      `${many(without_payload, "was", "were")} left out: ${
        is_business ? "their content is not kept any more." : "the payload is gone."
      }`,
    ]]),
  ];
}

/** `, about 10 seconds left`; nothing while that cannot be told. */
function leftWords(replay: shown.Replay, now: number): string {
  const { matched, matched_exact, replayed, without_payload, rate_per_s, created_at } = replay;
  const left = matched - replayed - without_payload;
  if (!matched_exact || left <= 0) return "";
  const elapsed_s = (now - Date.parse(created_at)) / 1_000;
  const measured = replayed > 0 && elapsed_s > 0 ? replayed / elapsed_s : null;
  const per_s = rate_per_s ?? measured;
  return per_s === null ? "" : `, about ${aboutWords(left / per_s * 1_000)} left`;
}

/** `10 seconds`, `4 minutes`, `2 hours`: as a sentence has it. */
function aboutWords(ms: number): string {
  const seconds = Math.max(1, Math.round(ms / 1_000));
  if (seconds < 100) return many(seconds, "second", "seconds");
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return many(minutes, "minute", "minutes");
  return many(Math.round(minutes / 60), "hour", "hours");
}

/** The state of a replay: shape and word. */
export function replayState({ state }: shown.Replay): StateWords {
  return {
    running: { kind: "sending", word: "Running" },
    done: { kind: "delivered", word: "Done" },
    cancelled: { kind: "cancelled", word: "Cancelled" },
  }[state] as StateWords;
}

/** The selection of a replay as a sentence: `Failed deliveries of crm with 401, from 26 Nov 14:00 to 15:00.` */
export function selectionWords(
  replay: shown.Replay,
  names: Names,
  { house, now }: Pick<Reader, "house" | "now">,
): Words {
  const { endpoint, missing, status, type, reason, code, since, until } = replay;
  const is_business = house.audience === "business";
  const noun = is_business ? "messages" : "deliveries";
  const statuses = status.join(",");
  const what = missing ? "Events that were never owed" : capitalised(
    `${STATUS_WORDS.get(statuses) ?? status.join(" or ")} ${noun}`,
  );
  const to = endpoint === null
    ? is_business ? " to all your systems" : " of all endpoints"
    : ` ${missing || is_business ? "to" : "of"} ${names.get(endpoint) ?? endpoint}`;
  const causes = [code, code === null || reason === null ? reason : null]
    .filter((one) => one !== null);
  const met = causes.length === 0 ? "" : ` with ${causes.join(", ")}`;
  const about = type === null ? "" : ` about ${typeWords(type, house.audience)}`;
  const from: readonly Part[] = Date.parse(since) === 0 ? [] : ["from ", moment(since, now), " "];
  return [`${what}${to}${met}${about}, posted `, ...from, "until ", moment(until, now), "."];
}

// --- all of them ------------------------------------------------------------------------------------------

/** The first line of the list. `replays` are the newest ones. */
export function replaysVerdict(
  replays: readonly shown.Replay[],
  names: Names,
  reader: Reader,
): Verdict {
  const { house, may_write } = reader;
  const running = replays.filter(({ state }) => state === "running");
  const make = may_write ? [link("New replay", `${house.base}/replays/new`)] : [];
  const [first] = running;
  if (first !== undefined && running.length === 1) {
    const verdict = replayVerdict(first, names, reader);
    return { ...verdict, actions: [...verdict.actions, ...make] };
  }
  if (running.length > 1) {
    return {
      tone: "calm",
      state: { kind: "sending", word: "Running" },
      headline: [`${running.length} replays are under way`],
      sentences: [],
      actions: make,
    };
  }
  const [last] = replays;
  if (last === undefined) {
    const is_business = house.audience === "business";
    return {
      tone: "calm",
      state: { kind: "unused", word: "Not used yet" },
      headline: ["No replay has been made yet"],
      sentences: [[
        is_business
          ? "A replay sends again what did not arrive. It counts first, and leaves out what has arrived since."
          : "A replay sends many deliveries again. It counts first, and leaves out what was delivered since.",
      ]],
      actions: make,
    };
  }
  const verdict = replayVerdict(last, names, reader);
  return { ...verdict, actions: [...make, ...verdict.actions] };
}
