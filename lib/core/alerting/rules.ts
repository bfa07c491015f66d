import type {
  Details,
  EndpointFacts,
  EndReason,
  Facts,
  Kind,
  OpenAlert,
  Settings,
} from "./kinds.ts";

/** The facts, made easy to look into. */
export interface Judged {
  readonly facts: Facts;
  readonly settings: Settings;
  /** The endpoint with this id; undefined if nobody knows it any more. */
  endpoint(id: string): EndpointFacts | undefined;
  /** Whether an alert of this kind is open, about this subject or about any. */
  isOpen(kind: Kind, subject?: string): boolean;
  /** Everything fails at once, so that failures say nothing about endpoints. */
  readonly is_egress_broken: boolean;
}

/** Something that is so, and may be new. */
export type Found = Pick<
  OpenAlert,
  "subject" | "endpoint_no" | "business" | "began_at" | "details"
>;

/** How one kind of alerts is judged. */
export interface Rule {
  readonly kind: Kind;
  /** Whether reminders come by the clock. */
  readonly is_reminded: boolean;
  /** Whether something else explains it at present: then none begins. */
  isExplained(judged: Judged): boolean;
  /** Where it is so. */
  finds(judged: Judged): readonly Found[];
  /** Why an alert is over; null while it is not. */
  endOf(alert: Found & Pick<OpenAlert, "opened_at">, judged: Judged): EndReason | null;
  /** The figures of an open alert as of now. */
  figures(alert: Found, judged: Judged): Details;
}

/** For what is found by sending: it says nothing about receivers while everything fails. */
export function isEgressBroken({ is_egress_broken }: Judged): boolean {
  return is_egress_broken;
}

/** For what nothing else explains. */
export function never(): boolean {
  return false;
}
