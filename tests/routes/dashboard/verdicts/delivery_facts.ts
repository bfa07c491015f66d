import type * as shown from "../../../../lib/admin/shown.ts";
import type { DeliveryPageFacts } from "../../../../routes/dashboard/verdicts/delivery.ts";
import { facts } from "./facts.ts";

const POSTED = "2026-11-26T14:02:11.000Z";
/** The default policy. */
export const RETRY_MS = [0, 60_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000];

/** An attempt that met something; `number` from 1. */
export function attempt(
  number: number,
  outcome: shown.Attempt["outcome"] = "http_4xx",
  status: number | null = outcome === "http_4xx" ? 401 : null,
  more: Partial<shown.Attempt> = {},
): shown.Attempt {
  const at = new Date(Date.parse(POSTED) + number * 64_000).toISOString();
  return {
    id: `att_${number}`,
    number,
    outcome,
    status,
    cause: null,
    address: "203.0.113.20:443",
    started_at: at,
    ended_at: at,
    duration_ms: 84,
    phases: { dns_ms: null, connect_ms: null, tls_ms: null, waiting_ms: null, reused: null },
    certificate_ends_at: null,
    request: null,
    response: null,
    payload_hidden: false,
    advice: null,
    ...more,
  };
}

/** A delivery to crm with what its page knows. */
export function deliveryFacts(
  delivery: Partial<shown.DeliveryDetail>,
  endpoint: Partial<shown.Endpoint> = {},
  more: Partial<DeliveryPageFacts> = {},
): DeliveryPageFacts {
  const attempts = delivery.attempts ?? [];
  const last = attempts.at(-1);
  return {
    delivery: {
      id: "dlv_1",
      event_id: "evt_1",
      event_type: "booking.created",
      subject: "apt_1",
      confirmation_number: "BK4T8Q1Z",
      endpoint_id: "crm",
      status: "pending",
      reason: last === undefined || last.outcome === "delivered" ? null : last.outcome,
      cancel_reason: null,
      cancelling: false,
      state: "waiting",
      explanation: "Explained",
      overdue_ms: null,
      test: false,
      sending: false,
      attempt_count: attempts.length,
      counted_attempts: attempts.length,
      max_attempts: 7,
      created_at: POSTED,
      owed_by: null,
      next_attempt_at: null,
      last_attempt_at: last?.ended_at ?? null,
      last_status: last?.status ?? null,
      last_cause: last?.cause ?? null,
      ended_at: null,
      hints: [],
      ...delivery,
      attempts,
    } as shown.DeliveryDetail,
    endpoint: facts("delivering", { retry_ms: RETRY_MS, ...endpoint }).endpoint,
    payload: "kept",
    failed: null,
    failed_since: "2026-11-23T15:31:00.000Z",
    ...more,
  };
}
