import type { Match } from "./matching.ts";

/** The facts that explain a delivery. Times in milliseconds since 1970. */
export interface DeliveryFacts {
  readonly status: "pending" | "delivered" | "failed" | "cancelled";
  readonly sending: boolean;
  readonly cancel_reason: string | null;
  readonly attempts: number;
  readonly next_attempt_at: number | null;
  readonly last_outcome: string | null;
  readonly last_status: number | null;
  readonly last_cause: string | null;
  /** Why the endpoint is paused, or null if it is not. */
  readonly pause_reason: string | null;
  /** Why this daemon cannot send to it, or null. */
  readonly unsendable_reason: string | null;
  /** The endpoint's own limits, attempts at once and a rate like `50/s`; null for none. */
  readonly concurrency: number | null;
  readonly rate_limit: string | null;
  /** When the rate limit allows the endpoint's next attempt, or null if none has begun yet. */
  readonly next_send_at: number | null;
}

/** The state of a delivery, as shown. */
export type DeliveryState =
  | "delivered"
  | "failed"
  | "cancelled"
  | "sending"
  | "cancelling"
  | "paused"
  | "unsendable"
  | "due"
  | "waiting";

/** A state and its explanation. */
export interface Explanation<State> {
  readonly state: State;
  readonly explanation: string;
}

/** The state of a delivery, and why, at `now` (milliseconds since 1970). */
export function explainDelivery(facts: DeliveryFacts, now: number): Explanation<DeliveryState> {
  const { status, attempts, cancel_reason } = facts;
  const tries = attempts === 1 ? "1 attempt" : `${attempts} attempts`;
  switch (status) {
    case "delivered":
      return say("delivered", `Delivered after ${tries}${answer(facts)}`);
    case "failed":
      return say("failed", `Failed after ${tries}${because(facts, "; the last met")}`);
    case "cancelled":
      return say(
        "cancelled",
        `Cancelled after ${tries}: ${cancel_reason ?? "no reason was given"}`,
      );
    case "pending":
      return explainPending(facts, now);
  }
}

function explainPending(facts: DeliveryFacts, now: number): Explanation<DeliveryState> {
  const { sending, cancel_reason, attempts, next_attempt_at } = facts;
  if (cancel_reason !== null) {
    return say(
      "cancelling",
      `Attempt ${attempts + 1} is under way; it is the last unless it delivers: ` +
        cancel_reason,
    );
  }
  if (sending) return say("sending", `Attempt ${attempts + 1} is under way`);
  if (facts.pause_reason !== null) {
    return say("paused", `Waits while the endpoint is paused: ${facts.pause_reason}`);
  }
  if (facts.unsendable_reason !== null) {
    return say("unsendable", `Waits because it cannot be sent: ${facts.unsendable_reason}`);
  }
  const after = because(facts, " because the last met");
  if (next_attempt_at === null || next_attempt_at <= now) {
    return say(
      "due",
      `Attempt ${attempts + 1} is due now and waits for ${turn(facts, now)}${after}`,
    );
  }
  return say("waiting", `Next attempt at ${moment(next_attempt_at, now)}${after}`);
}

/** The reason why a delivery that is due still waits. */
function turn({ concurrency, rate_limit, next_send_at }: DeliveryFacts, now: number): string {
  if (rate_limit !== null && next_send_at !== null && next_send_at > now) {
    const next = moment(next_send_at, now);
    return `the endpoint's rate limit of ${rate_limit}, which lets the next one begin at ${next}`;
  }
  if (concurrency !== null) return `its turn (the endpoint takes ${concurrency} at a time)`;
  return "its turn";
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

function because(facts: DeliveryFacts, words: string): string {
  const { last_outcome, last_status, last_cause } = facts;
  // After a delivery only a person starts another attempt.
  if (last_outcome === null || last_outcome === "delivered") return "";
  const more = last_cause ?? (last_status === null ? null : `status ${last_status}`);
  return `${words} ${last_outcome}${more === null ? "" : ` (${more})`}`;
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
  readonly match: Match;
  readonly events: readonly string[];
  readonly businesses: readonly string[] | null;
  readonly created_at: number;
  readonly updated_at: number;
}

/** An event, as far as it explains why an endpoint is not owed it. */
export interface EventFacts {
  readonly type: string;
  readonly business: string | null;
  readonly test: boolean;
  readonly received_at: number;
}

/** Why an event was never owed to an endpoint. */
export type UnowedState =
  | "test_of_another"
  | "made_later"
  | "type_not_selected"
  | "other_business"
  | "no_business_known"
  | "changed_later";

/** Explains why an event has no delivery to an endpoint. */
export function explainUnowed(
  event: EventFacts,
  endpoint: EndpointFacts,
): Explanation<UnowedState> {
  if (event.test) return say("test_of_another", "Test event for another endpoint");
  if (endpoint.created_at > event.received_at) {
    const at = new Date(endpoint.created_at).toISOString();
    return say("made_later", `The endpoint was made later, at ${at}`);
  }
  if (endpoint.match === "type not selected") {
    return say(
      "type_not_selected",
      `The endpoint does not select ${event.type}; it selects ${endpoint.events.join(", ")}`,
    );
  }
  if (endpoint.match === "other business") {
    const wanted = `the endpoint wants ${endpoint.businesses?.join(", ")} only`;
    return event.business === null
      ? say(
        "no_business_known",
        "No business known: the event named none, and none was stored for its subject before; " +
          wanted,
      )
      : say("other_business", `The event is of the business ${event.business}; ${wanted}`);
  }
  const at = new Date(endpoint.updated_at).toISOString();
  return say(
    "changed_later",
    `The endpoint selects it as it is now (changed at ${at}), but did not when the event arrived`,
  );
}
