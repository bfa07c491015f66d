import { REASONS } from "./outcome.ts";

/** Why a delivery was cancelled, besides by hand: as stored, and as a sentence goes on. */
const WORDS: Readonly<Record<string, string>> = {
  deselected: "the endpoint no longer selects it",
  endpoint_retired: "the endpoint was retired",
  erased: "it was erased",
  expired: "it waited longer than retention.events",
};

/** Selects cancelled deliveries: those cancelled by hand, `Cancelled by ops`, or for a stored reason. */
export const CANCEL_REASONS = [
  "cancelled",
  "deselected",
  "endpoint_retired",
  "erased",
  "expired",
] as const;
/** One of them. */
export type CancelReason = typeof CANCEL_REASONS[number];

/** Reasons that select deliveries: of a failed attempt, `any` of these, or of a cancellation. */
export const DELIVERY_REASONS = [...REASONS, "any", ...CANCEL_REASONS] as const;
/** One of them. */
export type DeliveryReason = typeof DELIVERY_REASONS[number];

/** What a stored reason says to people. */
export function cancelWords(reason: string): string {
  return WORDS[reason] ?? reason;
}

/** The reason that is stored for a cancellation by hand. */
export function cancelledBy(name: string): string {
  return `${CANCELLED_BY}${name}`;
}

/** How reasons begin that are the words of a cancellation by hand. */
export const CANCELLED_BY = "Cancelled by ";
