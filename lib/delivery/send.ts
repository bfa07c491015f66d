import { deliveryId, eventId } from "../core/ids.ts";
import { type Outcome, outcomeOfStatus, parseRetryAfter } from "../core/outcome.ts";
import { requestLines } from "../core/request_headers.ts";
import { signingAt } from "../core/rotation.ts";
import { borrowUtf8 } from "../core/utf8.ts";
import type { Claimed } from "../store/claims.ts";
import type { SentRecord } from "../store/results.ts";
import type { Endpoint } from "./fleet.ts";
import type { Exchange } from "../http/client.ts";

/** A request, ready to be sent. */
export interface SignedRequest {
  readonly headers: string;
  readonly body: string;
  readonly sent: SentRecord;
}

/** Makes the request of a claimed delivery (contract, section 5). Pure. */
export function sign(claimed: Claimed, endpoint: Endpoint, now_ms: number): SignedRequest {
  const body = borrowUtf8(claimed.payload);
  const event_id = eventId(claimed.event_uuid);
  const timestamp_s = Math.floor(now_ms / 1000);
  const signers = signingAt(endpoint.signers, now_ms);
  const signature = signers[0]?.bookme(body) ?? "";
  const webhook_signature = signers
    .map((signer) => signer.standard(event_id, timestamp_s, body)).join(" ");
  const lines = requestLines({
    type: claimed.type,
    event_id,
    delivery_id: deliveryId(claimed.uuid),
    attempt: claimed.attempts + 1,
    test: claimed.test,
    timestamp_s,
    signature,
    webhook_signature,
  });
  return {
    headers: endpoint.headers + lines,
    body: claimed.payload,
    sent: { timestamp_s, signature, webhook_signature },
  };
}

/** What came of the request. `now_ms` is the time, in milliseconds since 1970. */
export function toOutcome(exchange: Exchange, now_ms: number): Outcome {
  const { duration_ms, address } = exchange;
  if (!exchange.answered) {
    return {
      outcome: exchange.reason,
      status: null,
      cause: exchange.cause,
      duration_ms,
      retry_after_ms: null,
      address,
      response: null,
    };
  }
  return {
    outcome: outcomeOfStatus(exchange.status),
    status: exchange.status,
    cause: null,
    duration_ms,
    retry_after_ms: parseRetryAfter(exchange.retry_after, now_ms),
    address,
    response: { head: exchange.head, body: exchange.body, truncated: exchange.truncated },
  };
}
