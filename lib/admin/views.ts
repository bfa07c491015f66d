import { Buffer } from "node:buffer";
import { type Audience, headline, nextSteps, type Spoken } from "../core/alerting/words.ts";
import { adviseOn } from "../core/advice.ts";
import { explainDelivery } from "../core/explain.ts";
import {
  alertId,
  attemptId,
  auditId,
  deliveryId,
  erasureId,
  eventId,
  replayId,
  timeOfUuid,
} from "../core/ids.ts";
import { requestLines } from "../core/request_headers.ts";
import { overlapAt } from "../core/rotation.ts";
import { REDACTED } from "../core/secret.ts";
import { bookmeValue, standardValue } from "../core/signature.ts";
import { formatRate } from "../core/units.ts";
import { decodeUtf8 } from "../core/utf8.ts";
import { USER_AGENT } from "../core/version.ts";
import type { Endpoint } from "../delivery/fleet.ts";
import type { StoredEndpoint } from "../store/endpoints.ts";
import type { PortalLinkRow } from "../store/portal_links.ts";
import type { AlertRow, ToldAlert } from "../store/reports/alerts.ts";
import type { AuditRow } from "../store/reports/audit.ts";
import type { AttemptRow, DeliveryRow } from "../store/reports/deliveries.ts";
import type { EventRow, EventSummary } from "../store/reports/events.ts";
import type { ErasureRow } from "../store/reports/erasures.ts";
import type { ReplayRow } from "../store/reports/replays.ts";
import type { AdminContext, Asker } from "./context.ts";
import type { Activity } from "./statistics.ts";
import type * as shown from "./shown.ts";

/** The daemon, as far as views read it. */
type ViewContext = Pick<AdminContext, "now" | "policy" | "endpoint" | "holdup">;

/** Who asks, as far as that decides what is shown of a row that they may see. */
type Reader = Pick<Asker, "payloads">;

function iso(at: Date): string;
function iso(at: Date | null): string | null;
function iso(at: Date | null): string | null {
  return at === null ? null : at.toISOString();
}

/** An endpoint as shown: no secret, no header value. */
export function viewEndpoint(
  row: StoredEndpoint,
  activity: Activity,
  ctx: ViewContext,
): shown.Endpoint {
  const { settings } = row;
  const policy = ctx.policy();
  const known = row.retired_at === null ? ctx.endpoint(row.no) : undefined;
  const inherited: ("timeout_ms" | "retry_ms")[] = [];
  if (settings.timeout_ms === null) inherited.push("timeout_ms");
  if (settings.retry_ms === null) inherited.push("retry_ms");
  return {
    id: row.id,
    source: row.source,
    url: row.url,
    description: settings.description,
    events: [...row.events],
    businesses: row.businesses === null ? null : [...row.businesses],
    owner: row.owner,
    unsigned: settings.unsigned,
    headers: Object.fromEntries(settings.headers.map((name) => [name, REDACTED])),
    tls: settings.tls === null ? null : { ...settings.tls, ca: [...settings.tls.ca] },
    timeout_ms: settings.timeout_ms ?? policy.timeout_ms,
    retry_ms: [...(settings.retry_ms ?? policy.retry_ms)],
    inherited,
    concurrency: settings.concurrency,
    rate_limit: formatRate(settings.rate_limit_per_s),
    traceparent: settings.traceparent,
    version: row.version,
    state: stateOf(row, known),
    paused: row.paused_at !== null,
    paused_at: iso(row.paused_at),
    pause_reason: row.pause_reason,
    paused_by: row.paused_by,
    next_probe_at: row.retired_at === null ? iso(row.probe_at) : null,
    sendable: row.retired_at === null && (known?.sendable ?? true),
    unsendable_reason: row.retired_at === null
      ? known?.unsendable_reason ?? null
      : "The endpoint is retired",
    rotation: known === undefined ? null : viewRotation(known, row.source, ctx.now()),
    ...activity,
    created_at: iso(row.created_at),
    updated_at: iso(row.updated_at),
    retired_at: iso(row.retired_at),
  };
}

function stateOf(row: StoredEndpoint, known: Endpoint | undefined): shown.Endpoint["state"] {
  if (row.retired_at !== null) return "retired";
  if (row.paused_at !== null) return "paused";
  return known?.sendable ?? true ? "active" : "unsendable";
}

function viewRotation(
  { signers }: Endpoint,
  source: StoredEndpoint["source"],
  now: number,
): shown.Endpoint["rotation"] {
  const overlap = overlapAt(signers, now);
  if (overlap === null) return null;
  if (source === "file") return { activates_at: null, overlap_ends_at: null };
  return {
    activates_at: new Date(overlap.activates_at).toISOString(),
    overlap_ends_at: new Date(overlap.ends_at).toISOString(),
  };
}

/** A delivery as shown. */
export function viewDelivery(row: DeliveryRow, by: Reader, ctx: ViewContext): shown.Delivery {
  return {
    id: deliveryId(row.uuid),
    event_id: eventId(row.event_uuid),
    event_type: row.type,
    subject: row.subject,
    confirmation_number: by.payloads ? row.confirmation : null,
    endpoint_id: row.endpoint,
    status: row.status,
    reason: row.last_outcome === "delivered" ? null : row.last_outcome,
    cancel_reason: row.reason,
    cancelling: row.status === "pending" && row.reason !== null,
    ...explain(row, by, ctx),
    overdue_ms: overdueOf(row, ctx.now()),
    test: row.test,
    sending: row.sending,
    attempt_count: row.attempts,
    counted_attempts: row.status === "pending" ? row.counted : null,
    max_attempts: ctx.endpoint(row.endpoint_no)?.retry_ms.length ?? null,
    created_at: iso(row.created_at),
    owed_by: owedBy(row),
    next_attempt_at: iso(row.next_attempt_at),
    last_attempt_at: iso(row.last_attempt_at),
    last_status: row.last_status,
    // It may quote what the receiver sent.
    last_cause: by.payloads ? row.last_cause : null,
    ended_at: iso(row.ended_at),
  };
}

function owedBy({ owed_by }: DeliveryRow): string | null {
  return owed_by === null ? null : replayId(owed_by);
}

function overdueOf({ next_attempt_at }: DeliveryRow, now: number): number | null {
  const late_ms = now - (next_attempt_at?.getTime() ?? now);
  return late_ms > 0 ? late_ms : null;
}

/** Why a delivery is where it is. */
export function explain(row: DeliveryRow, by: Reader, ctx: ViewContext) {
  const known = ctx.endpoint(row.endpoint_no);
  return explainDelivery({
    status: row.status,
    sending: row.sending,
    leased_until: row.leased_until?.getTime() ?? null,
    cancel_reason: row.reason,
    attempts: row.attempts,
    counted: row.counted,
    max_attempts: known?.retry_ms.length ?? null,
    next_attempt_at: row.next_attempt_at?.getTime() ?? null,
    last_outcome: row.last_outcome,
    last_status: row.last_status,
    // It may quote what the receiver sent.
    last_cause: by.payloads ? row.last_cause : null,
    mentions_signature: by.payloads && row.mentions_signature,
    pause_reason: row.paused ? row.pause_reason ?? "" : null,
    probe_at: row.probe_at?.getTime() ?? null,
    unsendable_reason: known?.unsendable_reason ?? null,
    retired: row.retired,
    is_spent: row.is_spent,
    concurrency: known?.concurrency ?? null,
    rate_limit: formatRate(known?.rate_limit_per_s ?? null),
    next_send_at: row.next_send_at?.getTime() ?? null,
    owed_by: owedBy(row),
    holdup: ctx.holdup(row.endpoint_no),
  }, ctx.now());
}

/** An attempt as shown, with its request as it was sent and the response. */
export function viewAttempt(
  row: AttemptRow,
  delivery: Pick<DeliveryRow, "uuid" | "event_uuid" | "type" | "test" | "endpoint_no">,
  event: Pick<EventRow, "payload">,
  by: Reader,
  ctx: ViewContext,
): shown.Attempt {
  const attempt = {
    id: attemptId(delivery.uuid, row.number),
    number: row.number,
    outcome: row.outcome,
    status: row.status,
    cause: by.payloads ? row.cause : null,
    address: row.address,
    started_at: iso(row.started_at),
    ended_at: iso(row.ended_at),
    duration_ms: row.duration_ms,
    phases: {
      dns_ms: row.dns_ms,
      connect_ms: row.connect_ms,
      tls_ms: row.tls_ms,
      waiting_ms: row.waiting_ms,
      reused: row.connection_reused,
    },
    certificate_ends_at: iso(row.certificate_ends_at),
    request: row.request_timestamp === null ? null : {
      method: "POST" as const,
      url: row.url,
      headers: headersOf(row, delivery),
      body: by.payloads ? event.payload : null,
    },
    // Of a protocol failure there are bytes without a head.
    response: !by.payloads || (row.response_head === null && row.response_body === null)
      ? null
      : viewResponse(row),
    payload_hidden: !by.payloads,
  };
  // Advice reads the answer, and quotes it.
  if (attempt.payload_hidden) return { ...attempt, advice: null };
  const { response } = attempt;
  const advice = adviseOn({
    ...attempt,
    timeout_ms: ctx.endpoint(delivery.endpoint_no)?.timeout_ms ?? null,
    url: row.url,
    signed: row.request_signature !== null,
    sent_bytes: event.payload === null ? null : Buffer.byteLength(event.payload),
    headers: response?.headers ?? [],
    body: response?.body_encoding === "utf-8" ? response.body : "",
  });
  return { ...attempt, advice };
}

function headersOf(
  row: AttemptRow,
  delivery: Pick<DeliveryRow, "uuid" | "event_uuid" | "type" | "test">,
): Record<string, string> {
  return Object.fromEntries([
    ["Content-Type", "application/json"],
    ["User-Agent", USER_AGENT],
    // Their values may be credentials and are not kept.
    ...row.header_names.map((name) => [name, REDACTED]),
    ...fieldsOf(
      requestLines({
        type: delivery.type,
        event_id: eventId(delivery.event_uuid),
        delivery_id: deliveryId(delivery.uuid),
        attempt: row.number,
        test: delivery.test,
        timestamp_s: Number(row.request_timestamp),
        signature: bookmeValue(row.request_signature),
        webhook_signature: standardValue(row.request_webhook_signature),
        traceparent: null, // not kept
      }).split("\r\n"),
    ),
  ]);
}

/** Names and values of header lines. */
function fieldsOf(lines: readonly string[]): [name: string, value: string][] {
  return lines.filter((line) => line.includes(":")).map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
}

function viewResponse(row: AttemptRow): NonNullable<shown.Attempt["response"]> {
  const [, ...lines] = (row.response_head ?? "").split("\r\n");
  return {
    status: row.status,
    headers: fieldsOf(lines),
    ...viewBody(row.response_body ?? new Uint8Array(), row.response_truncated),
    truncated: row.response_truncated,
  };
}

function viewBody(
  bytes: Uint8Array,
  truncated: boolean,
): { body: string; body_encoding: "utf-8" | "base64" } {
  // The cut may have split a character: its first part is left out.
  const body = decodeUtf8(bytes, { cut: truncated });
  return body === undefined
    ? { body: Buffer.from(bytes).toString("base64"), body_encoding: "base64" }
    : { body, body_encoding: "utf-8" };
}

/** An event as the lists show it. */
export function viewEvent(row: EventSummary, { payloads }: Reader): shown.EventSummary {
  return {
    id: eventId(row.uuid),
    type: row.type,
    business: row.business,
    subject: row.subject,
    confirmation_number: payloads ? row.confirmation : null,
    payload_hidden: !payloads,
    test: row.test,
    received_at: iso(row.received_at),
  };
}

/** A replay as shown. */
export function viewReplay(row: ReplayRow): shown.Replay {
  return {
    id: replayId(row.uuid),
    state: row.state,
    matched: row.matched,
    matched_exact: row.matched_exact,
    replayed: Number(row.replayed),
    without_payload: Number(row.without_payload),
    meanwhile: row.state === "done" && row.matched_exact
      ? Math.max(0, row.matched - Number(row.replayed) - Number(row.without_payload))
      : null,
    endpoint: row.endpoint,
    missing: row.missing,
    status: [...row.statuses],
    type: row.type,
    reason: row.reason,
    code: row.code,
    since: iso(row.since),
    until: iso(row.until),
    rate_per_s: row.rate_per_s,
    created_at: iso(row.created_at),
    created_by: row.created_by,
    ended_at: iso(row.ended_at),
  };
}

/** An alert as sentences about it are made of. */
export function spokenOf(
  row: Omit<AlertRow, "business" | "acknowledged_at" | "acknowledged_by" | "snoozed_until">,
): Spoken {
  const { kind, subject, endpoint, description, end_reason, details } = row;
  return {
    id: alertId(row.uuid),
    kind,
    subject,
    endpoint: endpoint === null ? null : { id: endpoint, description },
    began_at: row.began_at.getTime(),
    opened_at: row.opened_at.getTime(),
    ended_at: row.ended_at?.getTime() ?? null,
    end_reason,
    details,
  };
}

/** An alert with what was sent about it, in the words of the audience. */
export function viewAlert(row: ToldAlert, audience: Audience): shown.Alert {
  const spoken = spokenOf(row);
  const { attempts = null, failed = null, reason, code, example_delivery_id, ...details } =
    row.details;
  const steps = nextSteps(spoken, audience);
  return {
    id: spoken.id,
    kind: row.kind,
    status: row.ended_at === null ? "open" : "ended",
    endpoint_id: row.endpoint,
    business: row.business,
    summary: headline(spoken, audience),
    began_at: iso(row.began_at),
    opened_at: iso(row.opened_at),
    ended_at: iso(row.ended_at),
    end_reason: row.end_reason,
    acknowledged_at: iso(row.acknowledged_at),
    acknowledged_by: row.acknowledged_by,
    snoozed_until: iso(row.snoozed_until),
    attempts,
    failed,
    share: attempts === null || failed === null || attempts === 0
      ? null
      : Math.round(10_000 * failed / attempts) / 10_000,
    reason: reason ?? null,
    code: code ?? null,
    example_delivery_id: example_delivery_id ?? null,
    waiting: details.waiting ?? null,
    waiting_exact: details.waiting_exact ?? true,
    next: steps.length === 0 ? null : steps.join(". "),
    notices: row.notices.map(({ at_ms, ...notice }) => ({
      ...notice,
      at: new Date(at_ms).toISOString(),
    })),
  };
}

/** A portal link as shown: no token. */
export function viewPortalLink(row: PortalLinkRow): shown.PortalLink {
  return {
    ...row,
    created_at: iso(row.created_at),
    expires_at: iso(row.expires_at),
    revoked_at: iso(row.revoked_at),
  };
}

/** An erasure as shown. */
export function viewErasure(row: ErasureRow): shown.Erasure {
  return {
    id: erasureId(row.uuid),
    state: row.state,
    kind: row.kind,
    dry_run: row.dry_run,
    progress: progressOf(row),
    scanned: Number(row.scanned),
    matched: Number(row.matched),
    waiting: row.waiting,
    attempts: Number(row.attempts),
    cancelled: Number(row.cancelled),
    failure: row.state === "failed"
      ? "No daemon had the key under which it was sealed; start it again"
      : null,
    created_at: iso(row.created_at),
    created_by: row.created_by,
    ended_at: iso(row.ended_at),
  };
}

function progressOf({ state, phase, position, first_uuid, last_uuid }: ErasureRow): number {
  if (state !== "running" || phase !== "events") return 1;
  const [first = 0, last = 0, at = 0] = [first_uuid, last_uuid, position].map(timeOfUuid);
  return last > first ? Math.round(1_000 * (at - first) / (last - first)) / 1_000 : 0;
}

/** An entry of the audit log as shown. */
export function viewAudit(row: AuditRow): shown.AuditEntry {
  const { uuid, ...entry } = row;
  return { id: auditId(uuid), ...entry, at: iso(row.at) };
}
