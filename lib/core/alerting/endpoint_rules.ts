import type { Reason } from "../outcome.ts";
import {
  commonest,
  countOf,
  type Details,
  type EndpointFacts,
  type EndReason,
  GRACE_MS,
  type Kind,
  type OpenAlert,
  type PausingStage,
} from "./kinds.ts";
import { type Found, isEgressBroken, type Judged, never, type Rule } from "./rules.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** One kind of alerts about endpoints. */
interface EndpointRule {
  readonly kind: Kind;
  readonly is_reminded?: false;
  readonly isExplained: Rule["isExplained"];
  /** Since when it is so, in milliseconds since 1970; null: it is not. Never asked of a retired one. */
  since(endpoint: EndpointFacts, judged: Judged): number | null;
  endOf(
    endpoint: EndpointFacts,
    alert: Pick<OpenAlert, "began_at" | "opened_at" | "details">,
    judged: Judged,
  ): EndReason | null;
  figures(endpoint: EndpointFacts, judged: Judged): Details;
}

function ofEndpoints(rule: EndpointRule): Rule {
  const { kind, is_reminded = true, isExplained } = rule;
  return {
    kind,
    is_reminded,
    isExplained,
    finds: (judged) =>
      judged.facts.endpoints.flatMap((endpoint): Found[] => {
        const { id, no, owner, retired_at } = endpoint;
        const began_at = retired_at === null ? rule.since(endpoint, judged) : null;
        if (began_at === null) return [];
        const details = rule.figures(endpoint, judged);
        return [{ subject: id, endpoint_no: no, business: owner, began_at, details }];
      }),
    endOf(alert, judged) {
      const endpoint = judged.endpoint(alert.subject);
      if (endpoint === undefined || endpoint.retired_at !== null) return "retired";
      return rule.endOf(endpoint, alert, judged);
    },
    figures(alert, judged) {
      const endpoint = judged.endpoint(alert.subject);
      return endpoint === undefined ? {} : rule.figures(endpoint, judged);
    },
  };
}

/** Why nothing is sent to it by somebody's wish; null if it is. */
function stopOf({ paused_by }: EndpointFacts): EndReason | null {
  return paused_by === "hand" ? "paused" : paused_by === "gone" ? "gone" : null;
}

/** Nothing that failed before counts: it was resumed, or everything failed. */
function judgedFrom({ resumed_at }: EndpointFacts, { facts }: Judged): number {
  const { egress_ended_at } = facts;
  return Math.max(
    resumed_at ?? -Infinity,
    egress_ended_at === null ? -Infinity : egress_ended_at + GRACE_MS,
  );
}

/** Since when nothing but failures came, in milliseconds since 1970; null if the last attempt delivered. */
function failingFrom(endpoint: EndpointFacts, judged: Judged): number | null {
  const { failing_since } = endpoint.run;
  return failing_since === null ? null : Math.max(failing_since, judgedFrom(endpoint, judged));
}

// --- endpoint_failing ----------------------------------------------------------------------------------

/** The share from which on an endpoint that fails has recovered, in the failure rate that alerts. */
const RECOVERED = 0.5;

function shareOf({ delivered, failed }: ReturnType<typeof countOf>): number {
  return delivered + failed === 0 ? 0 : failed / (delivered + failed);
}

/** Whether too many attempts of the window failed, and it has not become better towards its end. */
function failsOften(endpoint: EndpointFacts, judged: Judged): boolean {
  const { settings: { failure_rate, min_attempts }, facts } = judged;
  const [window, third] = [countOf(endpoint.window), countOf(endpoint.last_third)];
  return facts.since.window >= judgedFrom(endpoint, judged) &&
    window.failed > 0 && window.delivered + window.failed >= min_attempts &&
    shareOf(window) >= failure_rate &&
    (third.delivered + third.failed === 0 || shareOf(third) >= failure_rate);
}

/** Whether it has failed only, for longer than the window and often enough: even if it gets little. */
function failsAlways(endpoint: EndpointFacts, judged: Judged): boolean {
  const { settings: { window_ms, min_attempts }, facts: { now } } = judged;
  const { failures, failure_at } = endpoint.run;
  const from = failingFrom(endpoint, judged);
  return from !== null && now - from > window_ms && failures >= min_attempts &&
    failure_at !== null && failure_at >= from && now - failure_at <= DAY_MS;
}

const failing = ofEndpoints({
  kind: "endpoint_failing",
  isExplained: isEgressBroken,
  since(endpoint, judged) {
    if (endpoint.paused_by !== null) return null;
    const often = failsOften(endpoint, judged);
    if (!often && !failsAlways(endpoint, judged)) return null;
    const { failing_since } = endpoint.run;
    return hasOnlyFailed(endpoint) && failing_since !== null
      ? failing_since
      : judged.facts.since.window;
  },
  endOf(endpoint, _alert, judged) {
    const stop = stopOf(endpoint);
    if (stop !== null || judged.is_egress_broken) return stop;
    return hasRecovered(endpoint, judged) ? "delivered" : null;
  },
  figures(endpoint, { facts }) {
    const { window, run } = endpoint;
    const { delivered, failed } = countOf(window);
    if (failed === 0 || (delivered === 0 && run.failures > failed)) {
      return { attempts: run.failures, failed: run.failures };
    }
    return {
      window_ms: facts.now - facts.since.window,
      attempts: delivered + failed,
      failed,
      ...reasonOf(window),
    };
  },
});

function hasOnlyFailed({ window }: EndpointFacts): boolean {
  return countOf(window).delivered === 0;
}

function reasonOf(attempts: EndpointFacts["window"]): Pick<Details, "reason"> {
  const { delivered: _, interrupted: __, ...failures } = attempts;
  const reason = commonest<Reason>(failures);
  return reason === undefined ? {} : { reason };
}

// A few attempts that happen to deliver are no recovery while many of the window failed.
function hasRecovered(endpoint: EndpointFacts, { settings }: Judged): boolean {
  const { min_attempts, failure_rate } = settings;
  const { run: { success_at, failing_since } } = endpoint;
  const [window, third] = [countOf(endpoint.window), countOf(endpoint.last_third)];
  const attempts = third.delivered + third.failed;
  if (attempts === 0) return success_at !== null && failing_since === null;
  const isLow = (count: typeof third) => shareOf(count) <= failure_rate * RECOVERED;
  return third.delivered > 0 && isLow(third) && (attempts >= min_attempts || isLow(window));
}

// --- endpoint_gone -------------------------------------------------------------------------------------

const gone = ofEndpoints({
  kind: "endpoint_gone",
  isExplained: never,
  since: ({ paused_by, paused_at }, { facts }) =>
    paused_by === "gone" ? paused_at ?? facts.now : null,
  endOf: ({ paused_by }) => paused_by === "gone" ? null : paused_by === null ? "resumed" : "paused",
  figures: () => ({ reason: "gone", code: 410 }),
});

// --- endpoint_pausing ----------------------------------------------------------------------------------

/** Failures must be so far apart that they are no single incident; for the pause itself twice that. */
const APART_MS = 6 * HOUR_MS;

/** How far its automatic pause has come; undefined before half of the time. */
function stageOf(endpoint: EndpointFacts, judged: Judged): PausingStage | undefined {
  if (endpoint.paused_by === "automatic") return 100;
  const { settings: { auto_pause_ms }, facts: { now } } = judged;
  const { failure_at } = endpoint.run;
  const from = failingFrom(endpoint, judged);
  if (auto_pause_ms === null || from === null || failure_at === null) return undefined;
  if (failure_at - from < Math.min(APART_MS, auto_pause_ms / 2)) return undefined;
  const share = (now - from) / auto_pause_ms;
  return share >= 0.9 ? 90 : share >= 0.5 ? 50 : undefined;
}

const pausing = ofEndpoints({
  kind: "endpoint_pausing",
  isExplained: isEgressBroken,
  // Each stage is announced instead.
  is_reminded: false,
  since(endpoint, judged) {
    if (stopOf(endpoint) !== null || stageOf(endpoint, judged) === undefined) return null;
    return failingFrom(endpoint, judged) ?? endpoint.paused_at ?? judged.facts.now;
  },
  endOf(endpoint, { opened_at }, judged) {
    const stop = stopOf(endpoint);
    if (stop !== null || judged.is_egress_broken) return stop;
    if (stageOf(endpoint, judged) !== undefined) return null;
    if (endpoint.run.failing_since === null) return "delivered";
    return (endpoint.resumed_at ?? -Infinity) >= opened_at ? "resumed" : "switched_off";
  },
  figures(endpoint, judged) {
    const { settings: { auto_pause_ms } } = judged;
    const stage = stageOf(endpoint, judged);
    const from = failingFrom(endpoint, judged);
    const pauses_at = stage === 100
      ? endpoint.paused_at
      : from === null || auto_pause_ms === null
      ? null
      : from + auto_pause_ms;
    return {
      attempts: endpoint.run.failures,
      failed: endpoint.run.failures,
      ...(stage === undefined ? {} : { stage }),
      ...(pauses_at === null ? {} : { pauses_at }),
    };
  },
});

// --- deliveries_overdue ----------------------------------------------------------------------------------

const OVERDUE_MS = 5 * MINUTE_MS;
const PROMPT_MS = MINUTE_MS;

const overdue = ofEndpoints({
  kind: "deliveries_overdue",
  isExplained: isEgressBroken,
  since: ({ paused_by, overdue_ms }, { facts }) =>
    paused_by === null && overdue_ms !== null && overdue_ms > OVERDUE_MS
      ? facts.now - overdue_ms
      : null,
  endOf(endpoint) {
    if (endpoint.paused_by !== null) return stopOf(endpoint) ?? "paused";
    return (endpoint.overdue_ms ?? 0) < PROMPT_MS ? "cleared" : null;
  },
  figures: ({ overdue_ms }) => overdue_ms === null ? {} : { overdue_ms },
});

// --- check_failing, certificate_ending --------------------------------------------------------------------

const checkFailing = ofEndpoints({
  kind: "check_failing",
  isExplained: isEgressBroken,
  since({ paused_by, check, run: { success_at } }) {
    const since = check?.failing_since ?? null;
    // Two in a row.
    if (paused_by !== null || check === null || since === null || since >= check.checked_at) {
      return null;
    }
    return success_at !== null && success_at >= since ? null : since;
  },
  endOf(endpoint) {
    const { check, run: { success_at } } = endpoint;
    const stop = stopOf(endpoint);
    if (stop !== null) return stop;
    if (check === null || check.failing_since === null) return "cleared";
    return success_at !== null && success_at >= check.failing_since ? "delivered" : null;
  },
  figures: () => ({}),
});

/** Certificates are renewed a month before they end, as a rule: two weeks before, somebody has to look. */
const FEW_DAYS_MS = 14 * DAY_MS;

const certificateEnding = ofEndpoints({
  kind: "certificate_ending",
  isExplained: never,
  since: ({ check }, { facts: { now } }) => isEnding(check, now) ? check?.checked_at ?? now : null,
  endOf: ({ check }, _alert, { facts: { now } }) =>
    check !== null && check.certificate_ends_at !== null && !isEnding(check, now)
      ? "cleared"
      : null,
  figures: ({ check }) =>
    check === null || check.certificate_ends_at === null
      ? {}
      : { certificate_ends_at: check.certificate_ends_at },
});

function isEnding(check: EndpointFacts["check"], now: number): boolean {
  return check !== null && check.certificate_ends_at !== null &&
    check.certificate_ends_at - now <= FEW_DAYS_MS;
}

/** All kinds of alerts about endpoints. */
export const ENDPOINT_RULES: readonly Rule[] = [
  gone,
  failing,
  overdue,
  pausing,
  checkFailing,
  certificateEnding,
];
