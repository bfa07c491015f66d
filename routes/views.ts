import { Buffer } from "node:buffer";
import { attemptId, deliveryId, eventId } from "../lib/core/ids.ts";
import { requestHeaders } from "../lib/core/request_headers.ts";
import { USER_AGENT } from "../lib/core/version.ts";
import type { AttemptRow, DeliveryRow, EventRow } from "../lib/store/reports.ts";

/** A delivery as the API shows it. */
export function viewDelivery(row: DeliveryRow) {
  return {
    id: deliveryId(row.uuid),
    event_id: eventId(row.event_uuid),
    event_type: row.type,
    endpoint_id: row.endpoint,
    status: row.status,
    reason: row.last_outcome === "delivered" ? null : row.last_outcome,
    cancel_reason: row.reason,
    test: row.test,
    sending: row.sending,
    attempt_count: row.attempts,
    created_at: row.created_at,
    next_attempt_at: row.next_attempt_at,
    last_attempt_at: row.last_attempt_at,
    last_status: row.last_status,
    ended_at: row.ended_at,
  };
}

/** An attempt of a delivery, with its request as it was sent and what came back. */
export function viewAttempt(row: AttemptRow, delivery: DeliveryRow, event: EventRow) {
  return {
    id: attemptId(delivery.uuid, row.number),
    number: row.number,
    outcome: row.outcome,
    status: row.status,
    cause: row.cause,
    address: row.address,
    started_at: row.started_at,
    ended_at: row.ended_at,
    duration_ms: row.duration_ms,
    request: row.request_timestamp === null ? null : {
      method: "POST",
      url: row.url,
      headers: headersOf(row, delivery),
      body: event.payload,
    },
    response: row.response_head === null ? null : viewResponse(row),
  };
}

function headersOf(row: AttemptRow, delivery: DeliveryRow): Record<string, string> {
  return Object.fromEntries([
    ["Content-Type", "application/json"],
    ["User-Agent", USER_AGENT],
    // Their values may be credentials and are not kept.
    ...row.header_names.map((name) => [name, "[redacted]"]),
    ...requestHeaders({
      type: delivery.type,
      event_id: eventId(delivery.event_uuid),
      delivery_id: deliveryId(delivery.uuid),
      attempt: row.number,
      test: delivery.test,
      timestamp_s: Number(row.request_timestamp),
      signature: row.request_signature ?? "",
      webhook_signature: row.request_webhook_signature ?? "",
    }),
  ]);
}

function viewResponse(row: AttemptRow) {
  const [, ...lines] = (row.response_head ?? "").split("\r\n");
  const headers = lines.filter((line) => line.includes(":")).map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  return {
    status: row.status,
    headers,
    ...viewBody(row.response_body ?? new Uint8Array(), row.response_truncated),
    truncated: row.response_truncated,
  };
}

function viewBody(
  bytes: Uint8Array,
  truncated: boolean,
): { body: string; body_encoding: "utf-8" | "base64" } {
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    // Where it was cut, a character may have been cut in two: its first part is left out.
    const body = decoder.decode(bytes, { stream: truncated });
    return { body, body_encoding: "utf-8" };
  } catch {
    return { body: Buffer.from(bytes).toString("base64"), body_encoding: "base64" };
  }
}

/** An event as the API shows it; its payload is text, because its bytes matter. */
export function viewEvent(row: EventRow) {
  return {
    id: eventId(row.uuid),
    type: row.type,
    business: row.business,
    subject: row.subject,
    confirmation_number: row.confirmation,
    test: row.test,
    received_at: row.received_at,
    payload: row.payload,
  };
}
