import { type Refusal, refusalStatus } from "../core/refusals.ts";
import { type Counted, summarise } from "../core/summary.ts";
import { countWithoutBusiness, MAX_EVENTS_COUNTED } from "../store/reports/events.ts";
import {
  attemptStats,
  type EndpointCounted,
  endpointRuns,
  MAX_PENDING_COUNTED,
  type Owed,
  pendingStats,
  type PostsRow,
  postsSince,
} from "../store/reports/stats.ts";
import { readChecks, type StoredCheck } from "../store/checks.ts";
import { type Expiring, listExpiring } from "../store/expiry.ts";
import type { AdminContext, Asker } from "./context.ts";
import { periodOf } from "./lists.ts";
import { filterEndpoint } from "./lookup.ts";
import type * as shown from "./shown.ts";

/** The time before now that statistics cover, and the id of their only endpoint. */
export interface StatsQuery {
  readonly window_ms: number;
  readonly endpoint?: string | undefined;
}

/** Counts the attempts of a window, its events without a business, and the deliveries pending now. */
export async function getStats(
  ctx: AdminContext,
  by: Asker,
  { window_ms, endpoint }: StatsQuery,
): Promise<shown.Stats> {
  const { scope } = by;
  const { admin } = ctx.db;
  await ctx.count_posts();
  const row = await filterEndpoint(ctx, by, endpoint);
  const only = row === undefined ? undefined : [row.no];
  const [{ since, until, counts }, owed] = await Promise.all([
    attemptStats(admin, scope, window_ms, only),
    pendingStats(admin, scope, only),
  ]);
  const period = periodOf({ since: since.toISOString() });
  const without_business = await countWithoutBusiness(admin, scope, period);
  const posts = await postsSince(admin, scope, window_ms, since);
  return {
    since: since.toISOString(),
    until: until.toISOString(),
    totals: statsOf(counts, owed),
    events_without_business: without_business,
    events_without_business_exact: without_business < MAX_EVENTS_COUNTED,
    posts: posts.flatMap(({ type, answer, posts }) =>
      isRefusal(answer) ? [] : [{ type, answer, posts }]
    ),
    refused: posts.flatMap(showRefused),
    endpoints: perEndpoint(counts, owed),
  };
}

function isRefusal(answer: PostsRow["answer"]): answer is Refusal {
  return answer !== "stored" && answer !== "duplicate";
}

function showRefused({ answer, posts, last_at, last_address }: PostsRow): shown.Stats["refused"] {
  return isRefusal(answer)
    ? [{
      refusal: answer,
      status: refusalStatus(answer),
      posts,
      last_at: last_at.toISOString(),
      last_address,
    }]
    : [];
}

function perEndpoint(
  counts: readonly EndpointCounted[],
  owed: readonly Owed[],
): shown.EndpointStats[] {
  const byEndpoint = Map.groupBy(counts, (counted) => counted.endpoint_no);
  return owed.map((one) => ({
    endpoint_id: one.endpoint,
    ...statsOf(byEndpoint.get(one.endpoint_no) ?? [], [one]),
  }));
}

function statsOf(counts: readonly Counted[], owed: readonly Owed[]): shown.Stats["totals"] {
  const sum = (of: (one: Owed) => number) => owed.reduce((total, one) => total + of(one), 0);
  const summary = summarise(counts);
  return {
    ...summary,
    failed: { ...summary.failed },
    pending: sum((one) => one.pending),
    pending_exact: owed.every((one) => one.pending < MAX_PENDING_COUNTED),
    sending: sum((one) => one.sending),
    overdue: sum((one) => one.overdue),
    oldest_pending_ms: greatest(owed.map((one) => one.oldest_ms)),
    oldest_overdue_ms: greatest(owed.map((one) => one.oldest_overdue_ms)),
  };
}

function greatest(ages: readonly (number | null)[]): number | null {
  const known = ages.filter((age) => age !== null);
  return known.length === 0 ? null : Math.max(...known);
}

/** What an endpoint has been doing, as shown. */
export type Activity = Pick<
  shown.Endpoint,
  | "check"
  | "last_success_at"
  | "failing_since"
  | "expires"
  | "duration_ms"
  | "pending"
  | "pending_exact"
  | "overdue"
  | "oldest_overdue_ms"
>;

const ACTIVITY_WINDOW_MS = 3_600_000;

/** Reads what these endpoints have been doing; the answer finds each by its number. */
export async function readActivity(
  ctx: Pick<AdminContext, "db" | "policy" | "endpoint">,
  endpoint_nos: readonly number[],
): Promise<(endpoint_no: number) => Activity> {
  const { admin } = ctx.db;
  const { events_ms } = ctx.policy().retention;
  const unsendable = endpoint_nos.filter((no) => ctx.endpoint(no)?.sendable === false);
  const [{ counts }, owed, runs, expiring, checks] = await Promise.all([
    attemptStats(admin, "everything", ACTIVITY_WINDOW_MS, endpoint_nos),
    pendingStats(admin, "everything", endpoint_nos),
    endpointRuns(admin, endpoint_nos),
    listExpiring(admin, events_ms, unsendable, endpoint_nos),
    readChecks(admin, endpoint_nos),
  ]);
  const checkOf = new Map(checks.map((check) => [check.endpoint_no, check]));
  const byEndpoint = Map.groupBy(counts, (counted) => counted.endpoint_no);
  return (endpoint_no) => {
    const { duration_ms, pending, pending_exact, overdue, oldest_overdue_ms } = statsOf(
      byEndpoint.get(endpoint_no) ?? [],
      owed.filter((one) => one.endpoint_no === endpoint_no),
    );
    const run = runs.find((one) => one.endpoint_no === endpoint_no);
    return {
      check: viewCheck(checkOf.get(endpoint_no)),
      last_success_at: run?.last_success_at?.toISOString() ?? null,
      failing_since: run?.failing_since?.toISOString() ?? null,
      expires: viewExpiring(expiring.find((one) => one.endpoint_no === endpoint_no)),
      ...{ duration_ms, pending, pending_exact, overdue, oldest_overdue_ms },
    };
  };
}

function viewCheck(check: StoredCheck | undefined): shown.Endpoint["check"] {
  if (check === undefined) return null;
  const { checked_at, ok, findings, certificate_ends_at, failing_since } = check;
  return {
    checked_at: checked_at.toISOString(),
    ok,
    findings: [...findings],
    certificate_ends_at: certificate_ends_at?.toISOString() ?? null,
    failing_since: failing_since?.toISOString() ?? null,
  };
}

function viewExpiring(found: Expiring | undefined): shown.Endpoint["expires"] {
  if (found === undefined) return null;
  const { deliveries, deliveries_exact, first_at } = found;
  return { deliveries, deliveries_exact, first_at: first_at.toISOString() };
}
