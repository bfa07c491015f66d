/** What the headers of one request are made of. */
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
}

/** The headers that differ from one request to the next (contract, section 5), in their order. */
export function requestHeaders(facts: RequestFacts): [name: string, value: string][] {
  const headers: [string, string][] = [
    ["X-BookMe-Event", facts.type],
    ["X-BookMe-Event-Id", facts.event_id],
    ["X-BookMe-Delivery-Id", facts.delivery_id],
    ["X-BookMe-Attempt", String(facts.attempt)],
  ];
  if (facts.test) headers.push(["X-BookMe-Test", "true"]);
  headers.push(["webhook-id", facts.event_id], ["webhook-timestamp", String(facts.timestamp_s)]);
  if (facts.signature !== "") {
    headers.push(
      ["X-BookMe-Signature", facts.signature],
      ["webhook-signature", facts.webhook_signature],
    );
  }
  return headers;
}
