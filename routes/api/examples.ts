import type * as shown from "../../lib/admin/shown.ts";

/** Examples of the OpenAPI document. The tests check each against its schema. */

const MADE_AT = "2026-11-24T09:00:00.000Z";
export const ENDPOINT_ID = "ep_4k9x2m7q0c5t8w1z3v6b";
export const EVENT_ID = "evt_06yn3v1m8r5k0000b2c4";
export const DELIVERY_ID = "dlv_06yn3v1m8r5k0000b2c4000003";
export const ERASURE_ID = "era_06yn4b7c2d5f0000e1g3";
export const ALERT_ID = "alr_06yn4b2k7q3e0000d1f2";
export const AUDIT_ID = "aud_0034keav7800171ybw0j6hb7h4";
export const REPLAY_ID = "rpl_06yn4b7c2d5f0000e1g3";
export const PORTAL_LINK_ID = "lnk_06yn4c1f8r2d0000h5j7";
export const PORTAL_TOKEN = "portal_q3nH0vXy7Tz1mB5kLr9WcE2uJd8sAfGp4oYiR6tNeQw";

export const endpoint: shown.Endpoint = {
  id: ENDPOINT_ID,
  source: "api",
  url: "https://crm.example.com/webhooks/bookme",
  description: "Customer relations",
  events: ["booking.*"],
  businesses: ["bus_123"],
  owner: null,
  unsigned: false,
  headers: { "X-Tenant": "[redacted]" },
  tls: {
    ca: [],
    cert: {
      subject: "bookme-webhooks",
      issuer: "Example Partners CA",
      valid_from: "2026-06-01T00:00:00.000Z",
      valid_to: "2027-06-01T00:00:00.000Z",
    },
  },
  timeout_ms: 10_000,
  retry_ms: [0, 60_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000],
  inherited: ["retry_ms"],
  concurrency: null,
  rate_limit: "50/s",
  traceparent: false,
  version: 1,
  state: "active",
  paused: false,
  paused_at: null,
  pause_reason: null,
  paused_by: null,
  next_probe_at: null,
  sendable: true,
  unsendable_reason: null,
  rotation: null,
  check: {
    checked_at: "2026-11-24T09:31:25.040Z",
    ok: true,
    findings: [{
      mark: "✓",
      text:
        "crm.example.com has the address 192.0.2.10, and a certificate that is good for 61 days",
      remedy: null,
    }],
    certificate_ends_at: "2027-01-24T12:00:00.000Z",
    failing_since: null,
  },
  last_success_at: "2026-11-24T09:58:41.120Z",
  failing_since: null,
  expires: null,
  duration_ms: { p50: 42.3, p95: 180.1, p99: 950.7 },
  pending: 12,
  pending_exact: true,
  overdue: 0,
  oldest_overdue_ms: null,
  created_at: MADE_AT,
  updated_at: MADE_AT,
  retired_at: null,
};

export const hint: shown.Hint = {
  kind: "certificate_expired",
  at: "2026-11-23T00:00:00.000Z",
  by: null,
  text: "The receiver's certificate expired 33 hours before the first TLS failure",
};

export const check: shown.EndpointCheck = {
  endpoint_id: ENDPOINT_ID,
  ok: false,
  findings: [{
    mark: "✗",
    text: "crm.example.com:443 is 203.0.113.7; its certificate expired on 2026-11-20",
    remedy: "have its owner renew it",
  }],
  addresses: ["203.0.113.7"],
  certificate: {
    subject: "crm.example.com",
    issuer: "R11",
    names: ["crm.example.com"],
    valid_from: "2026-08-22T00:00:00.000Z",
    valid_to: "2026-11-20T00:00:00.000Z",
    days_left: -5,
  },
  client_certificate: {
    subject: "bookme-webhooks",
    issuer: "Example Partners CA",
    valid_from: "2026-06-01T00:00:00.000Z",
    valid_to: "2027-06-01T00:00:00.000Z",
    days_left: 187,
  },
};

export const delivery: shown.Delivery = {
  id: DELIVERY_ID,
  event_id: EVENT_ID,
  event_type: "booking.created",
  subject: "apt_789",
  confirmation_number: "BK7X9M2P",
  endpoint_id: ENDPOINT_ID,
  status: "pending",
  reason: "tls",
  cancel_reason: null,
  cancelling: false,
  state: "waiting",
  explanation:
    "Attempt 3 follows at 2026-11-24T10:05:00.000Z (in 4 min); attempt 2 ended with tls " +
    "(certificate expired 2026-11-23T00:00:00Z)",
  overdue_ms: null,
  test: false,
  sending: false,
  attempt_count: 2,
  counted_attempts: 2,
  max_attempts: 7,
  created_at: "2026-11-24T09:59:00.000Z",
  owed_by: null,
  next_attempt_at: "2026-11-24T10:05:00.000Z",
  last_attempt_at: "2026-11-24T10:00:00.000Z",
  last_status: null,
  last_cause: "certificate expired 2026-11-23T00:00:00Z",
  ended_at: null,
};

export const attempt: shown.Attempt = {
  id: "att_06yn3v1m8r5k0000b2c4000003001",
  number: 1,
  outcome: "http_5xx",
  status: 503,
  cause: null,
  address: "203.0.113.7:443",
  started_at: "2026-11-24T09:59:00.010Z",
  ended_at: "2026-11-24T09:59:00.130Z",
  duration_ms: 120.4,
  phases: { dns_ms: 3.112, connect_ms: 14.07, tls_ms: 31.518, waiting_ms: 71.204, reused: false },
  certificate_ends_at: "2027-02-01T00:00:00.000Z",
  request: {
    method: "POST",
    url: "https://crm.example.com/webhooks/bookme",
    headers: { "Content-Type": "application/json", "X-BookMe-Event": "booking.created" },
    body: '{"event":"booking.created","timestamp":"2026-11-24T09:59:00Z","data":{}}',
  },
  response: {
    status: 503,
    headers: [["Content-Type", "text/plain"]],
    body: "Down for maintenance",
    body_encoding: "utf-8",
    truncated: false,
  },
  payload_hidden: false,
  advice:
    "The receiver, or a proxy in front of it, is not available; attempts go on by the schedule",
};

export const comparison: shown.Comparison = {
  before: {
    delivery_id: "dlv_06yn3v1m8r5k0000a1b3000003",
    attempt: 1,
    started_at: "2026-11-24T09:58:41.010Z",
    outcome: "delivered",
    status: 200,
    test: false,
  },
  after: {
    delivery_id: DELIVERY_ID,
    attempt: 1,
    started_at: attempt.started_at,
    outcome: "http_4xx",
    status: 401,
    test: false,
  },
  rows: [
    { label: "Status", before: "200", after: "401", note: null, raw: false },
    {
      label: "Signed with",
      before: "secret of version 11",
      after: "secret of version 12",
      note: "rotated by anna, 2026-11-24T09:58:50.000Z",
      raw: false,
    },
  ],
  same: "The same in both: URL, 3 request headers, event type, address, certificate, connection. " +
    "Times differ by less than 25 ms.",
};

export const event: shown.EventSummary = {
  id: EVENT_ID,
  type: "booking.created",
  business: "bus_123",
  subject: "apt_789",
  confirmation_number: "BK7X9M2P",
  payload_hidden: false,
  test: false,
  received_at: "2026-11-24T09:59:00.000Z",
};

export const erasure: shown.Erasure = {
  id: ERASURE_ID,
  state: "running",
  kind: "containing",
  dry_run: false,
  progress: 0.25,
  scanned: 250_000,
  matched: 12,
  waiting: 1,
  attempts: 14,
  cancelled: 1,
  failure: null,
  created_at: "2026-11-24T10:00:00.000Z",
  created_by: "ops",
  ended_at: null,
};

export const replay: shown.Replay = {
  id: REPLAY_ID,
  state: "running",
  matched: 1200,
  matched_exact: true,
  replayed: 300,
  without_payload: 0,
  meanwhile: null,
  endpoint: ENDPOINT_ID,
  missing: false,
  status: ["failed"],
  type: null,
  reason: null,
  code: null,
  since: "2026-11-24T08:00:00.000Z",
  until: "2026-11-24T10:00:00.000Z",
  rate_per_s: 50,
  created_at: "2026-11-24T10:00:00.000Z",
  created_by: "ops",
  ended_at: null,
};

export const alert: shown.Alert = {
  id: ALERT_ID,
  kind: "endpoint_failing",
  status: "open",
  endpoint_id: ENDPOINT_ID,
  business: null,
  summary: "Customer relations has been failing since 2026-11-24T09:47:10.000Z: it answers 401",
  began_at: "2026-11-24T09:47:10.000Z",
  opened_at: "2026-11-24T10:02:20.000Z",
  ended_at: null,
  end_reason: null,
  acknowledged_at: null,
  acknowledged_by: null,
  snoozed_until: null,
  attempts: 340,
  failed: 340,
  share: 1,
  reason: "http_4xx",
  code: 401,
  example_delivery_id: DELIVERY_ID,
  waiting: 214,
  waiting_exact: true,
  next: "The first runs out of attempts on 2026-11-25T21:26:00.000Z",
  notices: [
    {
      what: "began",
      target: "slack",
      at: "2026-11-24T10:02:21.000Z",
      ok: true,
      cause: null,
    },
    {
      what: "began",
      target: "events",
      at: "2026-11-24T10:02:20.000Z",
      ok: true,
      cause: null,
    },
  ],
};

export const portal_link: shown.PortalLink = {
  id: PORTAL_LINK_ID,
  business: "bus_123",
  read_only: false,
  state: "active",
  created_at: "2026-11-24T10:00:00.000Z",
  created_by: "ops",
  expires_at: "2026-12-01T10:00:00.000Z",
  revoked_at: null,
};
