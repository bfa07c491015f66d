import { cancelWords } from "./cancellation.ts";
import { listed } from "./errors.ts";
import { explainMatch, type Selection } from "./matching.ts";

/** The facts that explain a delivery. Times in milliseconds since 1970. */
export interface DeliveryFacts {
  readonly status: "pending" | "delivered" | "failed" | "cancelled";
  readonly sending: boolean;
  /** When the lease of an attempt under way ends, or null. */
  readonly leased_until: number | null;
  readonly cancel_reason: string | null;
  readonly attempts: number;
  /** Attempts of this round that count, and how many the endpoint's policy allows; null if unknown. */
  readonly counted: number;
  readonly max_attempts: number | null;
  readonly next_attempt_at: number | null;
  readonly last_outcome: string | null;
  readonly last_status: number | null;
  readonly last_cause: string | null;
  /** Whether the last answer mentions a signature, which `verify` examines. */
  readonly mentions_signature: boolean;
  /** Why the endpoint is paused, or null if it is not. */
  readonly pause_reason: string | null;
  /** When that pause is next tried, if it is an automatic one, which ends by itself; else null. */
  readonly probe_at: number | null;
  /** Why this daemon cannot send to it, or null. */
  readonly unsendable_reason: string | null;
  readonly retired: boolean;
  /** Whether its payload is gone, or about to be: no retry or replay brings it back then. */
  readonly is_spent: boolean;
  /** The endpoint's own limits, attempts at once and a rate like `50/s`; null for none. */
  readonly concurrency: number | null;
  readonly rate_limit: string | null;
  /** When the rate limit allows the endpoint's next attempt, or null if none has begun yet. */
  readonly next_send_at: number | null;
  /** The replay that owed it later; null: it was owed when its event was stored. */
  readonly owed_by: string | null;
  /** Why this daemon begins no attempt to the endpoint now, in words; null if it would. */
  readonly holdup: string | null;
}

/** States of a delivery, as shown: those of a pending one say what it waits for. */
export const DELIVERY_STATES = [
  "delivered",
  "failed",
  "cancelled",
  "sending",
  "cancelling",
  "interrupted",
  "ending",
  "paused",
  "unsendable",
  "rate_limited",
  "due",
  "overdue",
  "waiting",
] as const;
/** One of them. */
export type DeliveryState = typeof DELIVERY_STATES[number];

/** A state and its explanation. */
export interface Explanation<State> {
  readonly state: State;
  readonly explanation: string;
}

/** How long a due delivery may wait for a claim before something is wrong, in milliseconds. */
export const OVERDUE_MS = 10_000;

/** The state of a delivery, why, and what follows, at `now` (milliseconds since 1970). */
export function explainDelivery(facts: DeliveryFacts, now: number): Explanation<DeliveryState> {
  const { state, explanation } = explainState(facts, now);
  const { owed_by } = facts;
  return say(
    state,
    owed_by === null ? explanation : `${explanation}; owed by the replay ${owed_by}`,
  );
}

function explainState(facts: DeliveryFacts, now: number): Explanation<DeliveryState> {
  const { status, attempts, cancel_reason, retired } = facts;
  const tries = attempts === 1 ? "1 attempt" : `${attempts} attempts`;
  switch (status) {
    case "delivered":
      return say("delivered", `Delivered after ${tries}${answer(facts)}`);
    case "failed":
      return say(
        "failed",
        `Failed after ${tries}${last(facts, "the last")}${hint(facts)}; ` +
          (retired ? "its endpoint is retired" : wayBack(facts)),
      );
    case "cancelled":
      return say(
        "cancelled",
        `Cancelled after ${tries}: ${cancelWords(cancel_reason ?? "no reason was given")}` +
          (retired || cancel_reason === "erased" ? "" : `; ${wayBack(facts)}`),
      );
    case "pending":
      return facts.sending ? explainSending(facts, now) : explainWaiting(facts, now);
  }
}

function wayBack({ is_spent }: DeliveryFacts): string {
  return is_spent
    ? "its payload is not kept any longer, so nothing sends it again"
    : "only a retry or a replay sends it again";
}

function explainSending(facts: DeliveryFacts, now: number): Explanation<DeliveryState> {
  const { attempts, cancel_reason, leased_until, rate_limit } = facts;
  const next = attempts + 1;
  const is_lost = leased_until !== null && leased_until <= now;
  if (cancel_reason !== null) {
    const why = cancelWords(cancel_reason);
    return say(
      "cancelling",
      is_lost
        ? `Attempt ${next} never reported back; the next sweep cancels the delivery: ${why}`
        : `Attempt ${next} is under way and is the last: unless it delivers, the delivery is ` +
          `cancelled: ${why}`,
    );
  }
  if (is_lost) {
    return say(
      "interrupted",
      `Attempt ${next} never reported back; the next sweep records it as interrupted, and the ` +
        "delivery is due again",
    );
  }
  // A claim reaches ahead of the rate: nobody but the claimer knows whether it has begun.
  if (rate_limit !== null) {
    return say(
      "sending",
      `Attempt ${next} is under way, or begins within the rate of ${rate_limit}`,
    );
  }
  return say("sending", `Attempt ${next} is under way`);
}

function explainWaiting(facts: DeliveryFacts, now: number): Explanation<DeliveryState> {
  const { attempts, counted, max_attempts, next_attempt_at, pause_reason } = facts;
  const next = attempts + 1;
  const so_far = last(facts, `attempt ${attempts}`) + hint(facts);
  if (facts.retired) {
    return say(
      "ending",
      `The endpoint is retired; a sweep cancels the delivery, after a day if its daemon is gone${so_far}`,
    );
  }
  if (facts.cancel_reason !== null) {
    return say(
      "ending",
      `The next sweep cancels the delivery: ${cancelWords(facts.cancel_reason)}${so_far}`,
    );
  }
  if (max_attempts !== null && counted >= max_attempts) {
    const all = max_attempts === 1 ? "The only attempt" : `All ${max_attempts} attempts`;
    return say(
      "ending",
      `${all} of the endpoint's policy ${max_attempts === 1 ? "is" : "are"} used up; the next ` +
        `sweep fails the delivery${so_far}`,
    );
  }
  if (pause_reason !== null) {
    return say("paused", `${explainPause(pause_reason, facts.probe_at, now)}${so_far}`);
  }
  if (facts.unsendable_reason !== null) {
    return say(
      "unsendable",
      `Waits because this daemon cannot send it: ${facts.unsendable_reason}${so_far}`,
    );
  }
  if (next_attempt_at === null || next_attempt_at <= now) {
    const { state, explanation } = turn(facts, now);
    return say(state, `Attempt ${next} ${explanation}${so_far}`);
  }
  return say("waiting", `Attempt ${next} follows at ${moment(next_attempt_at, now)}${so_far}`);
}

function explainPause(reason: string, probe_at: number | null, now: number): string {
  const why = reason === "" ? "" : `: ${reason}`;
  if (probe_at === null) return `Waits until the endpoint is resumed; it is paused${why}`;
  return `Waits because the endpoint is paused automatically${why}; one waiting delivery is tried ` +
    `${probeTime(probe_at, now)}, and all follow once one arrives`;
}

/** When an automatic pause is tried next: `at …Z (in 12 min)`, or soon if that has passed. */
export function probeTime(probe_at: number, now: number): string {
  return probe_at > now ? `at ${moment(probe_at, now)}` : "within a minute";
}

/** What a due delivery waits for, and for how long it has. */
function turn(
  { rate_limit, next_send_at, concurrency, holdup, next_attempt_at }: DeliveryFacts,
  now: number,
): Explanation<DeliveryState> {
  const late_ms = now - (next_attempt_at ?? now);
  const is_late = late_ms >= OVERDUE_MS;
  const due = is_late ? `has been due for ${inWords(late_ms)}` : "is due now";
  if (rate_limit !== null && next_send_at !== null && next_send_at > now) {
    return say(
      "rate_limited",
      `${due} and waits for the endpoint's rate limit of ${rate_limit}, which lets the next one ` +
        `begin at ${moment(next_send_at, now)}`,
    );
  }
  const state = is_late ? "overdue" : "due";
  if (holdup !== null) return say(state, `${due} and waits: ${holdup}`);
  if (concurrency !== null) {
    return say(
      state,
      `${due} and waits for its turn (the endpoint takes ${concurrency} at a time)`,
    );
  }
  if (!is_late) return say(state, `${due} and begins within a second or so`);
  return say(
    state,
    `${due}; those due before it go first, and if nothing moves, \`bookme-webhooks doctor\` looks ` +
      "for the reason",
  );
}

function moment(at: number, now: number): string {
  return `${new Date(at).toISOString()} (in ${inWords(at - now)})`;
}

function say<State>(state: State, explanation: string): Explanation<State> {
  return { state, explanation };
}

function answer({ last_status }: DeliveryFacts): string {
  return last_status === null ? "" : `, with status ${last_status}`;
}

/** How the last attempt ended, which `name` calls it by. */
function last(facts: DeliveryFacts, name: string): string {
  const { last_outcome, last_status, last_cause } = facts;
  // After a delivery only a person starts another attempt.
  if (last_outcome === null || last_outcome === "delivered") return "";
  if (last_outcome === "interrupted") return `; ${name} was interrupted`;
  const more = last_cause ?? (last_status === null ? null : `status ${last_status}`);
  return `; ${name} ended with ${last_outcome}${more === null ? "" : ` (${more})`}`;
}

function hint({ mentions_signature }: DeliveryFacts): string {
  return mentions_signature
    ? "; the answer mentions a signature, which `verify` examines (`delivery` prints the command line)"
    : "";
}

/** A length of time in at most two units: `4 min`, `1 h 5 min`. */
export function inWords(wait_ms: number): string {
  const seconds = Math.ceil(Math.max(0, wait_ms) / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
}

/** The facts that explain why an endpoint was not owed an event. Times in milliseconds since 1970. */
export interface EndpointFacts {
  /** What it selected when the event was stored; null if it was made later. */
  readonly then: Selection | null;
  readonly now: Selection;
  readonly created_at: number;
  /** When it had been retired, if it was retired then. */
  readonly retired_then_at: number | null;
  /** When it first selected something else after that, or null. */
  readonly selection_changed_at: number | null;
  /** Whether a replay could owe it the event: it is in force, and the payload is there. */
  readonly can_be_owed: boolean;
}

/** An event, as far as it explains why an endpoint is not owed it. */
export interface EventFacts {
  readonly type: string;
  readonly business: string | null;
  readonly test: boolean;
}

/** Why an event was never owed to an endpoint. */
export type UnowedState =
  | "test_of_another"
  | "made_later"
  | "retired"
  | "type_not_selected"
  | "other_business"
  | "no_business_known"
  | "changed_later";

/** Explains why an event has no delivery to an endpoint: by what the endpoint was when it was stored. */
export function explainUnowed(
  event: EventFacts,
  { then, now, created_at, retired_then_at, selection_changed_at, can_be_owed }: EndpointFacts,
): Explanation<UnowedState> {
  if (event.test) return say("test_of_another", "Test event for another endpoint");
  const selected = (one: Selection) => explainMatch(one, event.type, event.business) === "matched";
  const remedy = can_be_owed && selected(now)
    ? "; a replay of what is missing owes it the event"
    : "";
  if (then === null) {
    return say("made_later", `The endpoint was made later, at ${iso(created_at)}${remedy}`);
  }
  if (retired_then_at !== null) {
    return say("retired", `The endpoint was retired before, at ${iso(retired_then_at)}${remedy}`);
  }
  if (selected(then)) {
    return say(
      "changed_later",
      `The endpoint was just being changed when the event was stored${remedy}`,
    );
  }
  if (selection_changed_at === null) return explainMismatch(event, then, "is");
  const before = explainMismatch(event, then, "was");
  if (!selected(now)) return before;
  return say(
    "changed_later",
    `${before.explanation}. It selects it now (changed at ${iso(selection_changed_at)}), but did ` +
      `not when the event was stored, so it was never owed it${remedy}`,
  );
}

/** Explains why this selection leaves the event out: as it is, or as it was. */
export function explainMismatch(
  event: EventFacts,
  endpoint: Selection,
  tense: "is" | "was",
): Explanation<"type_not_selected" | "other_business" | "no_business_known"> {
  const [not, selects, wants] = tense === "is"
    ? ["does not select", "selects", "wants"]
    : ["did not select", "selected", "wanted"];
  if (explainMatch(endpoint, event.type, event.business) === "type not selected") {
    return say(
      "type_not_selected",
      `The endpoint ${not} ${event.type}; it ${selects} ${listed(endpoint.events)}`,
    );
  }
  const wanted = `the endpoint ${wants} ${listed(endpoint.businesses ?? [])} only`;
  return event.business === null
    ? say(
      "no_business_known",
      "No business known: the event named none, and none was stored for its subject before; " +
        wanted,
    )
    : say("other_business", `The event is of the business ${event.business}; ${wanted}`);
}

function iso(at_ms: number): string {
  return new Date(at_ms).toISOString();
}
