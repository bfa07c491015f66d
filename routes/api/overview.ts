import { optional, strictObject } from "valibot";
import { listAudit } from "../../lib/admin/audit.ts";
import { getConfig, reloadConfig } from "../../lib/admin/configuration.ts";
import { listDaemons } from "../../lib/admin/daemons.ts";
import * as field from "../../lib/admin/fields.ts";
import { ReloadInput } from "../../lib/admin/inputs.ts";
import { CURSOR_RULE } from "../../lib/admin/lists.ts";
import * as shown from "../../lib/admin/shown.ts";
import { getStats } from "../../lib/admin/statistics.ts";
import { parseAuditId } from "../../lib/core/ids.ts";
import * as example from "./examples.ts";
import { operation } from "./operation.ts";
import * as query from "./queries.ts";

const tag = "Operation";
const DAY_MS = 86_400_000;

const StatsQuery = strictObject({
  window: optional(field.duration(60_000, 30 * DAY_MS), "1h"),
  endpoint: optional(field.identifier),
});

const DaemonsQuery = strictObject({
  cursor: optional(field.identifier),
  limit: query.limit,
});

const AuditQuery = strictObject({
  actor: optional(field.identifier),
  action: optional(field.identifier),
  object: optional(field.identifier),
  since: optional(field.moment),
  until: optional(field.moment),
  cursor: optional(query.parsed(parseAuditId, CURSOR_RULE)),
  limit: query.limit,
});

const STATS_EXAMPLE = {
  attempts: 1000,
  delivered: 970,
  failed: { http_5xx: 25, timeout: 5 },
  success_rate: 0.97,
  duration_ms: { p50: 42.3, p95: 180.1, p99: 950.7 },
  first_attempts: 985,
  first_attempts_within_30s: 985,
  first_attempt_ms: { p50: 2.1, p95: 9.3, p99: 40.2 },
  delivered_within_30s: 961,
  delivered_ms: { p50: 44.6, p95: 205.8, p99: 61_000.3 },
  promise: { deliveries: 980, begun_in_time: 980, delivered_in_time: 958 },
  pending: 12,
  pending_exact: true,
  sending: 2,
  overdue: 0,
  oldest_pending_ms: 61_000,
  oldest_overdue_ms: null,
};

export const overviewOperations = [
  operation({
    id: "getStats",
    method: "get",
    path: "/api/stats",
    tag,
    portal: true,
    summary:
      "Counts the attempts of the last while, events without a business, and what is pending",
    description:
      "A window begins with a whole minute, one of more than 6h with a whole hour, one of more than " +
      "7d with a whole day (UTC). Attempts count at the time they were recorded.",
    query: StatsQuery,
    status: 200,
    response: shown.Stats,
    refuses: [],
    example: {
      response: {
        since: "2026-11-24T09:00:00.000Z",
        until: "2026-11-24T10:00:12.000Z",
        totals: STATS_EXAMPLE,
        events_without_business: 0,
        events_without_business_exact: true,
        posts: [{ type: "booking.created", answer: "stored", posts: 500 }],
        refused: [{
          refusal: "signature_missing",
          status: 401,
          posts: 12,
          last_at: "2026-11-24T09:58:00.000Z",
          last_address: "192.168.1.20",
        }],
        endpoints: [{ endpoint_id: example.ENDPOINT_ID, ...STATS_EXAMPLE }],
      },
    },
    handle: (ctx, { by, query: { window, endpoint } }) =>
      getStats(ctx, by, { window_ms: window, endpoint }),
  }),
  operation({
    id: "getConfig",
    method: "get",
    path: "/api/config",
    tag,
    summary: "Shows this daemon's configuration, without its secrets",
    status: 200,
    response: shown.ConfigShown,
    refuses: [],
    example: { response: { environment: "development", endpoints: [] } },
    handle: (ctx, { by }) => getConfig(ctx, by),
  }),
  operation({
    id: "listDaemons",
    method: "get",
    path: "/api/daemons",
    tag,
    summary: "Lists the daemons that share the database, and whose file is in force",
    description:
      "The file seen first most recently is in force, among those of daemons seen within " +
      "a minute; a reload counts as seeing it first.",
    query: DaemonsQuery,
    status: 200,
    response: shown.page(shown.Daemon),
    refuses: [],
    example: {
      response: {
        data: [{
          id: "dmn_4k9x2m7q0c",
          version: "1.0.0",
          listeners: ["10.0.0.5:8080"],
          started_at: "2026-11-24T09:00:00.000Z",
          last_seen_at: "2026-11-24T10:00:00.000Z",
          file: "9f86d081884c7d65",
          in_force: false,
          differences: ["endpoint crm differs in secret, url", "endpoint shop is missing"],
        }],
        next_cursor: null,
      },
    },
    handle: (ctx, { by, query }) => listDaemons(ctx, by, query),
  }),
  operation({
    id: "reloadConfig",
    method: "post",
    path: "/api/reload",
    tag,
    summary: "Reads the configuration file again, as SIGHUP does",
    description:
      "A valid one takes effect without losing a delivery, for all daemons; one with mistakes changes " +
      "nothing and is refused with each of them, in line and column. With `dry_run` it changes " +
      "nothing either, and answers what it would change.",
    body: ReloadInput,
    body_optional: true,
    status: 200,
    response: shown.Reloaded,
    refuses: [],
    example: {
      body: { dry_run: true },
      response: {
        file: { path: "/etc/bookme-webhooks/config.yaml", sha256: "0".repeat(64) },
        changed: ["endpoints.crm.events changed"],
        at_next_start: [],
        endpoints: {
          added: [],
          changed: [{
            id: "crm",
            fields: [{ field: "events", from: ["*"], to: ["booking.*"] }],
            cancels: 12,
            cancels_exact: true,
          }],
          retired: [],
        },
      },
    },
    handle: (ctx, { by, body }) => reloadConfig(ctx, by, body),
  }),
  operation({
    id: "listAudit",
    method: "get",
    path: "/api/audit",
    tag,
    portal: true,
    summary: "Lists changes, the last one first: who, from where, what, before and after",
    query: AuditQuery,
    status: 200,
    response: shown.page(shown.AuditEntry),
    refuses: [],
    example: {
      response: {
        data: [{
          id: example.AUDIT_ID,
          at: "2026-11-24T10:00:00.000Z",
          actor: "ops",
          address: "127.0.0.1",
          action: "endpoint.paused",
          object: example.ENDPOINT_ID,
          before: null,
          after: { reason: "Maintenance until noon" },
        }],
        next_cursor: null,
      },
    },
    handle: (ctx, { by, query }) => listAudit(ctx, by, query),
  }),
];
