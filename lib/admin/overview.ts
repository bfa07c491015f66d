import { firstExhausted, type Health, HEALTHS, judgeHealth } from "../core/health.ts";
import type { Outcome } from "../core/outcome.ts";
import type { StoredEndpoint } from "../store/endpoints.ts";
import { listEndpoints } from "../store/reports/endpoints.ts";
import { attemptsByHour, hasEvents, type HourRow, latestOf } from "../store/reports/health.ts";
import {
  type AttemptCount,
  attemptCounts,
  type EndpointRun,
  endpointRuns,
  MAX_PENDING_COUNTED,
  type Owed,
  pendingStats,
} from "../store/reports/stats.ts";
import { listAudit } from "./audit.ts";
import type { AdminContext, Asker } from "./context.ts";
import { barsOf, type HealthBar } from "./health.ts";
import { endpointHints } from "./hints.ts";
import { findEndpoint } from "./lookup.ts";
import type * as shown from "./shown.ts";
import { readActivity } from "./statistics.ts";
import { viewEndpoint } from "./views.ts";

/** The latest attempt of an endpoint that failed. */
export interface LastFailure {
  readonly outcome: shown.Attempt["outcome"];
  readonly status: number | null;
  /** Null if it is hidden. */
  readonly cause: string | null;
}

/** An endpoint with how it is doing. Times are ISO 8601. */
export interface EndpointHealth {
  readonly endpoint: shown.Endpoint;
  readonly health: Health;
  readonly last_failure: LastFailure | null;
  /** Why it may be failing. In an overview, of the worst few only. */
  readonly hints: readonly shown.Hint[];
  /** The earliest time at which a pending delivery runs out of attempts; null if none waits for one. */
  readonly first_exhausted_at: string | null;
  /** End of the receiver's certificate, as a handshake of the latest deliveries showed it. */
  readonly certificate_ends_at: string | null;
}

/** Deliveries of the last 24 hours, and those that the 30-second promise covers: see `core/promise.ts`. */
export interface Promptness {
  /** First attempts, of all. */
  readonly sent: number;
  /** Deliveries that the promise covers, at their first attempt. */
  readonly all: number;
  /** Those that arrived within 30 s of their event's acceptance. */
  readonly within_30s: number;
  /** Those of which the first attempt began within 30 s. */
  readonly begun_in_time: number;
}

/** The same in the overview, with its last 24 hours. */
export interface OverviewEndpoint extends EndpointHealth {
  readonly bars: readonly HealthBar[];
  readonly today: Promptness;
}

/** An overview of the endpoints within a scope. */
export interface Overview {
  /** The worst ones, worst first. */
  readonly endpoints: readonly OverviewEndpoint[];
  /** All endpoints in force, by how they are doing. */
  readonly counts: Readonly<Record<Health, number>>;
  readonly today: Promptness;
  /** Attempts of the last hour. */
  readonly hour: { readonly delivered: number; readonly all: number };
  /** The last 24 hours, the oldest first. */
  readonly bars: readonly HealthBar[];
  readonly waiting: { readonly value: number; readonly exact: boolean };
  readonly overdue: {
    readonly value: number;
    readonly exact: boolean;
    readonly oldest_ms: number | null;
  };
  /** Whether any event has been stored. */
  readonly posted: boolean;
  /** The latest changes of how events are sent. */
  readonly changes: readonly shown.AuditEntry[];
}

/** Endpoints in force that an overview looks at. */
const MAX_ENDPOINTS = 10_000;
/** Those of them that it shows. */
const MAX_SHOWN = 50;
/** Those of them whose failures are set against what changed. */
const MAX_EXPLAINED = 5;
const MAX_CHANGES = 5;
/** Entries of the audit log among which these are looked for. */
const MAX_CHANGES_READ = 50;
/** Changes of how events are sent: tests and replays change nothing about that. */
const CHANGES = /^(endpoint\.(?!tested)|endpoints\.|config\.|database\.)/;
const HOURS = 24;
/** 24 hours before now begin within an hour, which is read whole: the bars leave it out. */
const HOURS_READ = HOURS + 1;
const HOUR_MS = 3_600_000;

/** An overview of the endpoints within the asker's scope. */
export async function getOverview(ctx: AdminContext, by: Asker): Promise<Overview> {
  const { scope } = by;
  const sql = ctx.db.admin;
  const { rows } = await listEndpoints(sql, scope, { retired: false, limit: MAX_ENDPOINTS });
  const nos = rows.map(({ no }) => no);
  const [day, hour, owed, runs, posted, changes] = await Promise.all([
    attemptsByHour(sql, scope, HOURS_READ, "together"),
    attemptCounts(sql, scope, HOUR_MS, undefined),
    pendingStats(sql, scope, undefined),
    endpointRuns(sql, nos),
    hasEvents(sql, scope),
    listAudit(ctx, by, { limit: MAX_CHANGES_READ }),
  ]);
  const judged = judge(ctx, rows, { hour, owed, runs });
  const sorted = judged.toSorted((a, b) => rank(a) - rank(b) || b.pending - a.pending);
  const first = sorted.slice(0, MAX_SHOWN);
  const [worst, each] = await Promise.all([
    lookAt(ctx, by, first),
    attemptsByHour(sql, scope, HOURS_READ, first.map(({ row }) => row.no)),
  ]);
  const dayOf = Map.groupBy(each, ({ endpoint_no }) => endpoint_no);
  return {
    endpoints: worst.map(({ no, ...one }) => ({
      ...one,
      bars: bars(ctx, dayOf.get(no) ?? []),
      today: promptness(dayOf.get(no) ?? []),
    })),
    counts: countHealths(judged),
    today: promptness(day),
    hour: attemptsOf(hour),
    bars: bars(ctx, day),
    ...totals(owed, judged),
    posted,
    changes: changes.data.filter(({ action }) => CHANGES.test(action)).slice(0, MAX_CHANGES),
  };
}

/** How an endpoint is doing, retired ones included. */
export async function getEndpointHealth(
  ctx: AdminContext,
  by: Asker,
  id: string,
): Promise<EndpointHealth & { readonly today: Promptness }> {
  const row = await findEndpoint(ctx, by, id);
  const sql = ctx.db.admin;
  const [day, hour, owed, runs] = await Promise.all([
    attemptsByHour(sql, by.scope, HOURS_READ, [row.no]),
    attemptCounts(sql, by.scope, HOUR_MS, [row.no]),
    pendingStats(sql, by.scope, [row.no]),
    endpointRuns(sql, [row.no]),
  ]);
  const [one] = await lookAt(ctx, by, judge(ctx, [row], { hour, owed, runs }));
  if (one === undefined) throw new Error(`The endpoint ${id} was not looked at`);
  const { no: _no, ...health } = one;
  return { ...health, today: promptness(day) };
}

interface Judged {
  readonly row: StoredEndpoint;
  readonly health: Health;
  readonly pending: number;
}

function rank({ health }: Judged): number {
  return HEALTHS.indexOf(health);
}

function judge(
  ctx: AdminContext,
  rows: readonly StoredEndpoint[],
  { hour, owed, runs }: {
    readonly hour: readonly AttemptCount[];
    readonly owed: readonly Owed[];
    readonly runs: readonly EndpointRun[];
  },
): Judged[] {
  const hourOf = Map.groupBy(hour, ({ endpoint_no }) => endpoint_no);
  const owedOf = new Map(owed.map((one) => [one.endpoint_no, one.pending]));
  const runOf = new Map(runs.map((run) => [run.endpoint_no, run]));
  const now = ctx.now();
  return rows.map((row) => {
    const { delivered, all } = attemptsOf(hourOf.get(row.no) ?? []);
    const run = runOf.get(row.no);
    const pending = owedOf.get(row.no) ?? 0;
    const health = judgeHealth({
      paused: row.paused_at !== null,
      sendable: ctx.endpoint(row.no)?.sendable ?? true,
      last_success_at: run?.last_success_at?.getTime() ?? null,
      failing_since: run?.failing_since?.getTime() ?? null,
      delivered,
      failed: all - delivered,
      pending,
    }, now);
    return { row, health, pending };
  });
}

/** Adds what only a look at single deliveries shows. */
async function lookAt(
  ctx: AdminContext,
  by: Asker,
  judged: readonly Judged[],
): Promise<(EndpointHealth & { readonly no: number })[]> {
  const nos = judged.map(({ row }) => row.no);
  const failing = judged.filter(({ health }) => health === "failing" || health === "retrying");
  const [activityOf, latest, hints] = await Promise.all([
    readActivity(ctx, nos),
    latestOf(ctx.db.admin, nos),
    endpointHints(ctx, by, failing.slice(0, MAX_EXPLAINED).map(({ row }) => row)),
  ]);
  const latestByNo = new Map(latest.map((one) => [one.endpoint_no, one]));
  return judged.map(({ row, health }) => {
    const endpoint = viewEndpoint(row, activityOf(row.no), ctx);
    const found = latestByNo.get(row.no);
    const is_sent = health !== "paused" && health !== "unsendable";
    const end = is_sent ? firstExhausted(found?.remaining ?? [], endpoint.retry_ms) : null;
    return {
      no: row.no,
      endpoint,
      health,
      last_failure: found === undefined || found.outcome === null ? null : {
        outcome: found.outcome as Outcome["outcome"],
        status: found.status,
        cause: by.payloads ? found.cause : null,
      },
      hints: hints.get(row.no) ?? [],
      first_exhausted_at: end === null ? null : new Date(end).toISOString(),
      certificate_ends_at: endpoint.check?.certificate_ends_at ??
        found?.certificate_ends_at?.toISOString() ?? null,
    };
  });
}

function bars(ctx: AdminContext, rows: readonly HourRow[]): HealthBar[] {
  return barsOf(rows, HOURS, ctx.now());
}

// At the edges of the window, an attempt may lie within it, and the first one of its delivery before.
function promptness(counts: readonly HourRow[]): Promptness {
  const sum = (of: (count: HourRow) => number) =>
    counts.reduce((total, count) => total + of(count), 0);
  const all = sum(({ promised }) => promised);
  return {
    sent: sum(({ first_attempts }) => first_attempts),
    all,
    within_30s: Math.min(sum(({ promised_delivered }) => promised_delivered), all),
    begun_in_time: sum(({ promised_begun }) => promised_begun),
  };
}

function attemptsOf(counts: readonly AttemptCount[]): Overview["hour"] {
  const sum = (of: (count: AttemptCount) => number) =>
    counts.reduce((total, count) => total + of(count), 0);
  return {
    delivered: sum(({ delivered }) => delivered),
    all: sum(({ delivered, failed }) => delivered + failed),
  };
}

function countHealths(judged: readonly Judged[]): Overview["counts"] {
  const counts = Object.fromEntries(HEALTHS.map((health) => [health, 0])) as Record<Health, number>;
  for (const { health } of judged) counts[health]++;
  return counts;
}

function totals(
  owed: readonly Owed[],
  judged: readonly Judged[],
): Pick<Overview, "waiting" | "overdue"> {
  const sum = (those: readonly Owed[], of: (one: Owed) => number) =>
    those.reduce((total, one) => total + of(one), 0);
  const isExact = (those: readonly Owed[]) =>
    those.every(({ pending }) => pending < MAX_PENDING_COUNTED);
  // At a paused endpoint, and at one that nothing can be sent to, deliveries wait: they are not late.
  const held = new Set(
    judged.filter(({ health }) => health === "paused" || health === "unsendable")
      .map(({ row }) => row.no),
  );
  const late = owed.filter(({ endpoint_no }) => !held.has(endpoint_no));
  const ages = late.map((one) => one.oldest_overdue_ms).filter((age) => age !== null);
  return {
    waiting: { value: sum(owed, (one) => one.pending), exact: isExact(owed) },
    overdue: {
      value: sum(late, (one) => one.overdue),
      exact: isExact(late),
      oldest_ms: ages.length === 0 ? null : Math.max(...ages),
    },
  };
}
