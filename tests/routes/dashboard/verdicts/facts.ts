import type * as shown from "../../../../lib/admin/shown.ts";
import type { EndpointPageFacts } from "../../../../routes/dashboard/verdicts/endpoint.ts";
import type { Health } from "../../../../lib/core/health.ts";
import type { Reader } from "../../../../routes/dashboard/verdicts/health.ts";
import { plain, type Verdict } from "../../../../routes/dashboard/verdicts/verdict.ts";
import { DASHBOARD, PORTAL } from "../../../../routes/dashboard/visit.ts";

/** The time at which verdicts of the tests are given. */
export const NOW = "2026-11-26T15:31:00.000Z";

export const OPERATOR: Reader = { house: DASHBOARD, may_write: true, now: Date.parse(NOW) };
export const BUSINESS: Reader = { ...OPERATOR, house: PORTAL };

/** Words that a business never reads. */
export const OPERATORS_WORDS =
  /deliver(y|ies)|retention\.|webhooks\.|daemon|\bendpoint\b|configuration/;

/** Deliveries of a day of which so many arrived in time. */
export function promptness(within_30s: number, all: number) {
  return { within_30s, begun_in_time: all, all, sent: all };
}

const ENDPOINT: shown.Endpoint = {
  check: null,
  id: "crm",
  source: "api",
  url: "https://crm.example.com/webhooks/bookme",
  description: null,
  events: ["booking.*"],
  businesses: null,
  owner: null,
  unsigned: false,
  headers: {},
  tls: null,
  timeout_ms: 30_000,
  retry_ms: [0, 60_000],
  inherited: ["timeout_ms", "retry_ms"],
  concurrency: null,
  rate_limit: null,
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
  last_success_at: "2026-11-26T14:01:58.000Z",
  failing_since: null,
  expires: null,
  duration_ms: { p50: 78, p95: 93, p99: 120 },
  pending: 0,
  pending_exact: true,
  overdue: 0,
  oldest_overdue_ms: null,
  created_at: "2026-03-12T09:00:00.000Z",
  updated_at: "2026-03-12T09:00:00.000Z",
  retired_at: null,
} as shown.Endpoint;

type Changes = Partial<Omit<EndpointPageFacts, "endpoint" | "health">>;

/** What is known of an endpoint that delivers, besides what differs. */
export function facts(
  health: Health,
  endpoint: Partial<shown.Endpoint> = {},
  more: Changes = {},
): EndpointPageFacts {
  return {
    endpoint: { ...ENDPOINT, ...endpoint },
    health,
    last_failure: null,
    first_exhausted_at: null,
    certificate_ends_at: null,
    hints: [],
    today: promptness(0, 0),
    ...more,
  };
}

/** The headline as text. */
export function headline(verdict: Verdict): string {
  return plain(verdict.headline);
}

/** All of its sentences as text. */
export function sentences(verdict: Verdict): string {
  return verdict.sentences.map(plain).join(" ");
}

/** What its actions are called, the primary one first. */
export function actions(verdict: Verdict): string[] {
  return verdict.actions.map(({ label }) => label);
}
