/** The facts in the headers of one request. */
export interface RequestFacts {
  readonly type: string;
  /** `evt_…` and `dlv_…`. */
  readonly event_id: string;
  readonly delivery_id: string;
  /** From 1. */
  readonly attempt: number;
  readonly test: boolean;
  readonly timestamp_s: number;
  /** Both empty for an unsigned endpoint. */
  readonly signature: string;
  readonly webhook_signature: string;
  /** For an endpoint that asks for it, else null. */
  readonly traceparent: string | null;
}

/**
 * The header lines that differ between requests (contract, section 5), in their order. As text, because
 * every attempt makes them.
 */
export function requestLines(facts: RequestFacts): string {
  const { type, event_id, delivery_id, attempt, test, timestamp_s, signature, traceparent } = facts;
  return `X-BookMe-Event: ${type}\r\nX-BookMe-Event-Id: ${event_id}\r\n` +
    `X-BookMe-Delivery-Id: ${delivery_id}\r\nX-BookMe-Attempt: ${attempt}\r\n` +
    (test ? "X-BookMe-Test: true\r\n" : "") +
    `webhook-id: ${event_id}\r\nwebhook-timestamp: ${timestamp_s}\r\n` +
    (traceparent === null ? "" : `traceparent: ${traceparent}\r\n`) +
    (signature === ""
      ? ""
      : `X-BookMe-Signature: ${signature}\r\nwebhook-signature: ${facts.webhook_signature}\r\n`);
}
