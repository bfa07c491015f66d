import { judge } from "../core/alerting/judge.ts";
import {
  type Attempts,
  type Change,
  countedTimes,
  type Details,
  type EndpointFacts,
  type Facts,
  type Kind,
  type PostFacts,
  type TargetFacts,
} from "../core/alerting/kinds.ts";
import { pastWeeks, silentFrom } from "../core/alerting/house_rules.ts";
import { headline } from "../core/alerting/words.ts";
import { firstExhausted } from "../core/health.ts";
import { alertId, deliveryId, makeEventIds } from "../core/ids.ts";
import { type Reason, REASONS } from "../core/outcome.ts";
import { type Refusal, REFUSALS } from "../core/refusals.ts";
import { type Context, random32 } from "../delivery/context.ts";
import type { Fleet } from "../delivery/fleet.ts";
import {
  applyChanges,
  type Changed,
  examplesOf,
  type JudgedEndpoint,
  judgedEndpoints,
  livingDaemons,
  purgeAlerts,
  storedByHour,
  storedTimes,
  takeTurn,
  triedTargets,
  type Turn,
} from "../store/alerts.ts";
import { type AlertContact, contactsOf } from "../store/alert_contacts.ts";
import type { AlertPolicy } from "../store/endpoints.ts";
import { type Latest, latestOf } from "../store/reports/health.ts";
import {
  type EndpointRun,
  endpointRuns,
  MAX_PENDING_COUNTED,
  type OutcomeCounts,
  outcomeCounts,
  pendingStats,
  type PostsRow,
  postsSince,
} from "../store/reports/stats.ts";
import { BATCH, inBatches } from "./batches.ts";
import { eventReceivers } from "./event_receivers.ts";
import type { Job } from "./schedule.ts";

/** The endpoints in force, and what alerts are judged by: of the file in force, which may be another daemon's. */
type Judging = Pick<Fleet, "endpoints" | "match" | "policy">;

/**
 * Judges every ten seconds what is true: alerts begin, are reminded of, and end. Whichever daemon has the turn does
 * it for all. `announced` hears that there are notices to be sent.
 */
export function alerts(fleet: () => Judging, announced: () => void): Job {
  return {
    name: "alerts",
    pattern: "*/10 * * * * *",
    async run(ctx) {
      const turn = await takeTurn(ctx.db.admin);
      if (turn === undefined) return 0;
      const judging = fleet();
      const { endpoints, policy } = judging;
      const facts = await readFacts(ctx, turn, policy.alerts);
      const changes = judge(facts, turn.open, policy.alerts);
      if (changes.length === 0) return 0;
      const detailed = await withParticulars(ctx, changes, endpoints);
      const changed = await announce(ctx, detailed, judging);
      if (changed.length > 0) announced();
      log(ctx, changed);
      return changed.length;
    },
  };
}

/** Forgets alerts that ended more than a year ago. */
export const oldAlerts: Job = {
  name: "old alerts",
  pattern: "50 41 * * * *",
  run: ({ db }, stopping) => inBatches(stopping, () => purgeAlerts(db.admin, BATCH)),
};

// --- facts -----------------------------------------------------------------------------------------------

async function readFacts(
  ctx: Context,
  { now, open, egress_ended_at }: Turn,
  settings: AlertPolicy,
): Promise<Facts> {
  const sql = ctx.db.admin;
  const { window_ms, last_third_ms, recent_ms } = countedTimes(settings, egress_ended_at, now);
  const others = open.flatMap(({ endpoint_no }) => endpoint_no ?? []);
  const [window, last_third, recent, endpoints, posts, third_posts, stored, living, targets] =
    await Promise.all([
      outcomeCounts(sql, window_ms),
      outcomeCounts(sql, last_third_ms),
      outcomeCounts(sql, recent_ms),
      judgedEndpoints(sql, others),
      postsSince(sql, "everything", window_ms, new Date(now - window_ms)),
      postsSince(sql, "everything", last_third_ms, new Date(now - last_third_ms)),
      storedTimes(sql),
      livingDaemons(sql),
      triedTargets(sql, settings.to),
    ]);
  const read = await endpointRuns(sql, endpoints.map(({ no }) => no));
  const runs = new Map(read.map((run) => [run.endpoint_no, run]));
  const ingest = {
    ...stored,
    open_since: living.daemons.length === 0
      ? null
      : Math.min(...living.daemons.map(({ started_at }) => started_at)),
  };
  const silent = silentFrom({ now, ingest: { ...ingest, hours: [] } });
  const hours = silent === undefined ? [] : await storedByHour(sql, pastWeeks(silent, now));
  const counts = [window, last_third, recent].map(byEndpoint) as [Counts, Counts, Counts];
  return {
    now,
    since: { window: window.since, last_third: last_third.since, recent: recent.since },
    endpoints: endpoints.map((endpoint) => endpointFacts(endpoint, counts, runs)),
    posts: { window: postFacts(posts), last_third: postFacts(third_posts) },
    ingest: { ...ingest, hours },
    ...living,
    targets: await presentTargets(ctx, targets, open, settings),
    egress_ended_at,
  };
}

const BUSINESS_MAIL = "business-mail:";

/** All who get alerts at present, and how they were reached last. */
async function presentTargets(
  { db }: Context,
  tried: readonly TargetFacts[],
  open: Turn["open"],
  { chat, mail, to }: AlertPolicy,
): Promise<readonly TargetFacts[]> {
  const businesses = open.filter(({ subject }) => subject.startsWith(BUSINESS_MAIL))
    .map(({ subject }) => subject.slice(BUSINESS_MAIL.length));
  const contacts = businesses.length === 0 || !mail ? [] : await contactsOf(db.admin, businesses);
  const present = [
    ...chat,
    ...(mail ? ["mail"] : []),
    ...to.map((id) => `events:${id}`),
    ...[...contacts].filter(([, contact]) => contact.mail !== null)
      .map(([business]) => BUSINESS_MAIL + business),
  ];
  const untried = present.filter((target) => !tried.some((one) => one.target === target))
    .map((target) => ({
      target,
      endpoint_no: null,
      failures: 0,
      failing_since: null,
      reached_at: null,
      given_up: false,
    }));
  const isPresent = ({ target }: TargetFacts) =>
    present.includes(target) || (mail && target.startsWith(BUSINESS_MAIL));
  return [...tried.filter(isPresent), ...untried];
}

type Counts = ReadonlyMap<number, Attempts>;

function byEndpoint({ counts }: OutcomeCounts): Counts {
  const found = new Map<number, Record<string, number>>();
  for (const [no, outcome, attempts] of counts) {
    const one = found.get(no) ?? {};
    one[outcome] = attempts;
    found.set(no, one);
  }
  return found;
}

function endpointFacts(
  endpoint: JudgedEndpoint,
  [window, last_third, recent]: readonly [Counts, Counts, Counts],
  runs: ReadonlyMap<number, EndpointRun>,
): EndpointFacts {
  const run = runs.get(endpoint.no);
  return {
    ...endpoint,
    window: window.get(endpoint.no) ?? {},
    last_third: last_third.get(endpoint.no) ?? {},
    recent: recent.get(endpoint.no) ?? {},
    run: {
      success_at: run?.last_success_at?.getTime() ?? null,
      failing_since: run?.failing_since?.getTime() ?? null,
      failure_at: run?.last_failure_at?.getTime() ?? null,
      failures: run?.failures ?? 0,
    },
  };
}

function postFacts(rows: readonly PostsRow[]): PostFacts {
  const refused: Partial<Record<Refusal, number>> = {};
  let accepted = 0;
  for (const { answer, posts } of rows) {
    const refusal = REFUSALS.find((one) => one === answer);
    if (refusal === undefined) accepted += posts;
    else refused[refusal] = (refused[refusal] ?? 0) + posts;
  }
  return { accepted, refused };
}

// --- particulars -----------------------------------------------------------------------------------------

/** Kinds that count every failure since the last success, of which the window may have none. */
const OF_RUNS: readonly Kind[] = ["endpoint_failing", "endpoint_pausing"];

/** Adds what waits, when it runs out of attempts, why, and an example, to changes that are about endpoints. */
async function withParticulars(
  { db }: Context,
  changes: readonly Change[],
  endpoints: Judging["endpoints"],
): Promise<Change[]> {
  const lasting = changes.filter(({ what, endpoint_no }) =>
    what !== "ended" && endpoint_no !== null
  );
  if (lasting.length === 0) return [...changes];
  const nos = [...new Set(lasting.flatMap(({ endpoint_no }) => endpoint_no ?? []))];
  const [owed, latest] = await Promise.all([
    pendingStats(db.admin, "everything", nos),
    latestOf(db.admin, nos),
  ]);
  const explained = changes.map((change) =>
    lasting.includes(change) ? withReason(change, latest) : change
  );
  const failing = explained.flatMap(({ what, endpoint_no, details: { reason } }) =>
    what !== "ended" && endpoint_no !== null && isReason(reason) ? [{ endpoint_no, reason }] : []
  );
  const examples = failing.length === 0 ? [] : await examplesOf(db.admin, failing);
  return explained.map((change) => {
    const { endpoint_no: no, what } = change;
    if (no === null || what === "ended") return change;
    const waiting = owed.find(({ endpoint_no }) => endpoint_no === no)?.pending ?? 0;
    const remaining = latest.find(({ endpoint_no }) => endpoint_no === no)?.remaining ?? [];
    const exhausted_at = firstExhausted(remaining, endpoints.get(no)?.retry_ms ?? [0]);
    const example = examples.find(({ endpoint_no, reason }) =>
      endpoint_no === no && reason === change.details.reason
    );
    // Those of the last announcement may not be so any more.
    const { waiting: _, waiting_exact: __, exhausted_at: ___, ...figures } = change.details;
    const details: Details = {
      ...figures,
      ...(waiting === 0 ? {} : { waiting, waiting_exact: waiting < MAX_PENDING_COUNTED }),
      ...(exhausted_at === null ? {} : { exhausted_at }),
      ...(example === undefined ? {} : { example_delivery_id: deliveryId(example.delivery_uuid) }),
      ...(example?.code == null ? {} : { code: example.code }),
    };
    return { ...change, details };
  });
}

/** Gives the reason of the latest failure if none was counted. */
function withReason(change: Change, latest: readonly Latest[]): Change {
  const { kind, endpoint_no: no, details } = change;
  const found = latest.find(({ endpoint_no }) => endpoint_no === no);
  const reason = REASONS.find((one) => one === found?.outcome);
  if (!OF_RUNS.includes(kind) || details.reason !== undefined || reason === undefined) {
    return change;
  }
  const code = found?.status ?? undefined;
  return { ...change, details: { ...details, reason, ...(code === undefined ? {} : { code }) } };
}

function isReason(reason: Details["reason"]): reason is Reason {
  return REASONS.some((one) => one === reason);
}

// --- announcing ------------------------------------------------------------------------------------------

async function announce(
  ctx: Context,
  changes: readonly Change[],
  judging: Judging,
): Promise<Changed[]> {
  const businesses = changes.flatMap(({ business }) => business ?? []);
  const contacts = businesses.length === 0 ? null : await contactsOf(ctx.db.admin, businesses);
  const ids = makeEventIds(() => random32(ctx.random));
  return await applyChanges(
    ctx.db.admin,
    changes.map((change) => ({
      ...change,
      id: ids.next(ctx.clock.now()),
      targets: targetsOf(change, contacts?.get(change.business ?? ""), judging),
    })),
  );
}

/** Who hears of a change. Nobody hears of themselves by the way that does not work. */
function targetsOf(
  change: Change,
  contact: AlertContact | undefined,
  judging: Judging,
): string[] {
  const { chat, mail } = judging.policy.alerts;
  const ways = [
    ...chat,
    ...(mail ? ["mail"] : []),
    ...(mail && (contact?.mail ?? null) !== null ? ["business-mail"] : []),
  ];
  const is_heard = eventReceivers(judging, change, contact?.endpoint ?? null).length > 0;
  return [
    ...(is_heard ? ["events"] : []),
    ...ways.filter((way) =>
      change.kind !== "target_failing" || way !== change.subject.split(":")[0]
    ),
  ];
}

function log({ log }: Context, changed: readonly Changed[]): void {
  for (const { what, kind, details, ...alert } of changed) {
    const id = alertId(alert.id);
    const { attempts, failed, reason, waiting } = details;
    const fields = {
      alert: id,
      kind,
      endpoint: alert.endpoint?.id,
      description: alert.endpoint?.description ?? undefined,
      says: headline({ ...alert, id, kind, details }, "operator"),
      ...(what === "ended" ? {} : { attempts, failed, reason, waiting }),
    };
    if (what === "ended") log.info("Alert ended", fields);
    else log.warn(what === "began" ? "Alert began" : "Alert goes on", fields);
  }
}
