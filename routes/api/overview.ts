import { optional, strictObject } from "valibot";
import { redactConfig } from "../../lib/config/snapshot.ts";
import { summarise } from "../../lib/core/summary.ts";
import { listAudit } from "../../lib/store/reports/audit.ts";
import { getEndpoint } from "../../lib/store/reports/endpoints.ts";
import {
  attemptStats,
  type Counted,
  MAX_PENDING_COUNTED,
  type Owed,
  pendingStats,
} from "../../lib/store/reports/stats.ts";
import { viewAudit } from "../views.ts";
import * as example from "./examples.ts";
import { operation } from "./operation.ts";
import * as s from "./schemas.ts";

const tag = "Operation";
const DAY_MS = 86_400_000;

const StatsQuery = strictObject({
  window: optional(s.duration(60_000, 30 * DAY_MS), "1h"),
  endpoint: optional(s.text(255)),
});

const parseNumber = (text: string) => /^\d{1,18}$/.test(text) ? text : undefined;

const AuditQuery = strictObject({
  actor: optional(s.text(255)),
  action: optional(s.text(255)),
  object: optional(s.text(255)),
  cursor: optional(s.parsed(parseNumber, s.CURSOR_RULE)),
  limit: s.limit,
});

const STATS_EXAMPLE = {
  attempts: 1000,
  delivered: 970,
  failed: { http_5xx: 25, timeout: 5 },
  success_rate: 0.97,
  duration_ms: { p50: 42.3, p95: 180.1, p99: 950.7 },
  pending: 12,
  pending_exact: true,
  sending: 2,
  overdue: 0,
  oldest_pending_ms: 61_000,
};

export const overviewOperations = [
  operation({
    id: "getStats",
    method: "get",
    path: "/api/stats",
    tag,
    summary: "Counts the attempts of the last while, and what is pending",
    description: "A window begins with a whole minute, one of more than 6h with a whole hour. " +
      "Attempts count at the time they were recorded.",
    query: StatsQuery,
    status: 200,
    response: s.Stats,
    refuses: [],
    example: {
      response: {
        since: "2026-11-24T09:00:00.000Z",
        until: "2026-11-24T10:00:12.000Z",
        totals: STATS_EXAMPLE,
        endpoints: [{ endpoint_id: example.ENDPOINT_ID, ...STATS_EXAMPLE }],
      },
    },
    async handle(ctx, { query }) {
      const { admin } = ctx.db;
      const { endpoint } = query;
      const row = endpoint === undefined
        ? undefined
        : await getEndpoint(admin, "everything", endpoint);
      if (endpoint !== undefined && row === undefined) {
        throw s.invalidAt("/endpoint", "There is no such endpoint");
      }
      const [{ since, until, counts }, owed] = await Promise.all([
        attemptStats(admin, "everything", query.window, row?.no),
        pendingStats(admin, "everything", row?.no),
      ]);
      return {
        since: since.toISOString(),
        until: until.toISOString(),
        totals: statsOf(counts, owed),
        endpoints: perEndpoint(counts, owed),
      };
    },
  }),
  operation({
    id: "getConfig",
    method: "get",
    path: "/api/config",
    tag,
    summary: "Shows the configuration in force, without its secrets",
    status: 200,
    response: s.ConfigShown,
    refuses: [],
    example: { response: { environment: "development", endpoints: [] } },
    handle: (ctx) => Promise.resolve(redactConfig(ctx.config())),
  }),
  operation({
    id: "reloadConfig",
    method: "post",
    path: "/api/reload",
    tag,
    summary: "Reads the configuration file again, as SIGHUP does",
    description: "A valid one takes effect without losing a delivery; one with mistakes changes " +
      "nothing and is refused with each of them, in line and column.",
    status: 200,
    response: s.Reloaded,
    refuses: [],
    example: { response: { changed: ["endpoint crm added"], at_next_start: [] } },
    handle: (ctx, { actor }) => ctx.reload(actor),
  }),
  operation({
    id: "listAudit",
    method: "get",
    path: "/api/audit",
    tag,
    summary: "Lists changes, the last one first: who, from where, what, before and after",
    query: AuditQuery,
    status: 200,
    response: s.page(s.AuditEntry),
    refuses: [],
    example: {
      response: {
        data: [{
          id: "42",
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
    async handle(ctx, { query: { cursor, limit, ...filter } }) {
      const page = { ...filter, before: cursor, limit };
      const { rows, next } = await listAudit(ctx.db.admin, "everything", page);
      return { data: rows.map(viewAudit), next_cursor: next };
    },
  }),
];

function perEndpoint(counts: readonly Counted[], owed: readonly Owed[]) {
  const byEndpoint = Map.groupBy(counts, (counted) => counted.endpoint_no);
  return owed.map((one) => ({
    endpoint_id: one.endpoint,
    ...statsOf(byEndpoint.get(one.endpoint_no) ?? [], [one]),
  }));
}

function statsOf(counts: readonly Counted[], owed: readonly Owed[]) {
  const sum = (of: (one: Owed) => number) => owed.reduce((total, one) => total + of(one), 0);
  const ages = owed.map((one) => one.oldest_ms).filter((age) => age !== null);
  const summary = summarise(counts);
  return {
    ...summary,
    failed: { ...summary.failed },
    pending: sum((one) => one.pending),
    pending_exact: owed.every((one) => one.pending < MAX_PENDING_COUNTED),
    sending: sum((one) => one.sending),
    overdue: sum((one) => one.overdue),
    oldest_pending_ms: ages.length === 0 ? null : Math.max(...ages),
  };
}
