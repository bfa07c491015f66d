import { deliveryId, eventId } from "../core/ids.ts";
import { INTERRUPTED, type Outcome, outcomeOfStatus, parseRetryAfter } from "../core/outcome.ts";
import { isPromised, keptBy } from "../core/promise.ts";
import { requestLines } from "../core/request_headers.ts";
import { decide } from "../core/retry.ts";
import { signingAt } from "../core/rotation.ts";
import { borrowUtf8 } from "../core/utf8.ts";
import type { Exchange, HttpClient } from "../http/client.ts";
import { MAX_RECEIVED_BYTES } from "../http/response_parser.ts";
import type { Claimed, Lease } from "../store/claims.ts";
import type { SentRecord } from "../store/results.ts";
import type { Context } from "./context.ts";
import type { Endpoint } from "./fleet.ts";
import type { Unrecorded } from "./recorder.ts";

/** A claimed delivery and its lease, in milliseconds of `performance.now()`. */
export interface Leased {
  readonly claimed: Claimed;
  readonly leased_at: number;
  readonly lease_ends_at: number;
}

/** What attempts need of their surroundings. Aborting `signal` ends them as `interrupted`. */
export interface AttemptContext extends Pick<Context, "clock" | "random" | "tracing"> {
  readonly client: Pick<HttpClient, "post">;
  readonly signal: AbortSignal;
}

/** One attempt of a delivery: sign, send, outcome, decision. Never rejects. */
export async function attempt(
  { client, clock, random, signal, tracing }: AttemptContext,
  { claimed, lease_ends_at }: Leased,
  endpoint: Endpoint,
): Promise<Unrecorded> {
  const recording = tracing?.attempt(claimed.trace, claimed.attempts === 0);
  const traceparent = endpoint.traceparent ? recording?.traceparent ?? claimed.trace : null;
  const request = sign(claimed, endpoint, traceparent, clock.now());
  // Attempts begun in one turn are all signed before the first is sent: a receiver that gets many
  // requests at once is woken once, and a wake costs more than a signature.
  await null;
  const exchange = await client.post(endpoint.target, {
    headers: request.headers,
    body: request.body,
    timeout_ms: endpoint.timeout_ms,
    signal,
  });
  const now_ms = clock.now();
  const outcome = toOutcome(exchange, now_ms);
  recording?.end({
    type: claimed.type,
    event_id: request.event_id,
    delivery_id: request.delivery_id,
    endpoint_id: endpoint.id,
    attempt: claimed.attempts + 1,
    host: endpoint.target.url.hostname,
    outcome: outcome.outcome,
    status: outcome.status,
  });
  return {
    lease: claimed,
    endpoint_version: endpoint.version,
    outcome,
    decision: decide(outcome, claimed, endpoint.retry_ms, random),
    sent: request.sent,
    ended_at: performance.now(),
    ...agesOf(claimed, endpoint, outcome, now_ms),
    lease_ends_at,
  };
}

/** How old a delivery is at the end of an attempt, and what that says about the promise. */
function agesOf(
  lease: Lease,
  endpoint: Endpoint | undefined,
  { outcome, duration_ms }: Outcome,
  now_ms: number,
): Pick<Unrecorded, "age_ms" | "promise"> {
  const age_ms = Math.max(0, now_ms - lease.owed_ms);
  const began_ms = age_ms - duration_ms;
  const promise = isPromised(lease, endpoint)
    ? keptBy({ number: lease.attempts + 1, outcome, began_ms, ended_ms: age_ms })
    : 0;
  return { age_ms, promise };
}

/**
 * The result of an attempt that never reported back, for recording until `lease_ends_at`. `endpoint` is
 * undefined if it was retired meanwhile.
 */
export function interrupted(
  lease: Lease,
  endpoint: Endpoint | undefined,
  { clock, random }: Pick<Context, "clock" | "random">,
  lease_ends_at: number,
): Unrecorded {
  return {
    lease,
    endpoint_version: endpoint?.version ?? 1,
    outcome: INTERRUPTED,
    decision: decide(INTERRUPTED, lease, endpoint?.retry_ms ?? [0], random),
    sent: null,
    ended_at: performance.now(),
    ...agesOf(lease, endpoint, INTERRUPTED, clock.now()),
    lease_ends_at,
  };
}

/** A request, ready to be sent. */
interface SignedRequest {
  readonly event_id: string;
  readonly delivery_id: string;
  readonly headers: string;
  readonly body: string;
  readonly sent: SentRecord;
}

/** The request of a claimed delivery (contract, section 5). Pure; `now_ms` is since 1970. */
function sign(
  claimed: Claimed,
  endpoint: Endpoint,
  traceparent: string | null,
  now_ms: number,
): SignedRequest {
  const body = borrowUtf8(claimed.payload);
  const event_id = eventId(claimed.event_uuid);
  const delivery_id = deliveryId(claimed.uuid);
  const timestamp_s = Math.floor(now_ms / 1000);
  const signers = signingAt(endpoint.signers, now_ms);
  const signature = signers[0]?.bookme(body) ?? "";
  const webhook_signature = signers
    .map((signer) => signer.standard(event_id, timestamp_s, body)).join(" ");
  const lines = requestLines({
    type: claimed.type,
    event_id,
    delivery_id,
    attempt: claimed.attempts + 1,
    test: claimed.test,
    timestamp_s,
    signature,
    webhook_signature,
    traceparent,
  });
  return {
    event_id,
    delivery_id,
    headers: endpoint.headers + lines,
    body: claimed.payload,
    sent: { timestamp_s, signature, webhook_signature },
  };
}

/** The outcome of an exchange. Pure; `now_ms` is since 1970. */
function toOutcome(exchange: Exchange, now_ms: number): Outcome {
  const { duration_ms, phases, certificate_ends_at, address } = exchange;
  if (!exchange.answered) {
    const { received } = exchange;
    return {
      outcome: exchange.reason,
      status: null,
      cause: exchange.cause,
      duration_ms,
      phases,
      certificate_ends_at,
      retry_after_ms: null,
      address,
      response: received === undefined
        ? null
        : { head: "", body: received, truncated: received.length === MAX_RECEIVED_BYTES },
    };
  }
  return {
    outcome: outcomeOfStatus(exchange.status),
    status: exchange.status,
    cause: null,
    duration_ms,
    phases,
    certificate_ends_at,
    retry_after_ms: parseRetryAfter(exchange.retry_after, now_ms),
    address,
    response: { head: exchange.head, body: exchange.body, truncated: exchange.truncated },
  };
}
