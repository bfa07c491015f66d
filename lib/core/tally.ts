import { packHistogram, sumHistograms } from "./histogram.ts";
import { OUTCOMES } from "./outcome.ts";
import { PROMISE } from "./promise.ts";
import type { Counted } from "./summary.ts";

/** One attempt of those that are not counted yet. Times in milliseconds. */
export interface Uncounted {
  readonly endpoint_no: number;
  readonly outcome: typeof OUTCOMES[number];
  /** Of the delivery, from 1. */
  readonly number: number;
  readonly duration_ms: number;
  /** From the event's acceptance, or what brought the delivery back, to the attempt's end. */
  readonly age_ms: number;
  /** A sum of `PROMISE`. */
  readonly promise: number;
  /** Since 1970. */
  readonly recorded_at: number;
  readonly ended_at: number;
}

/** Attempts of one endpoint with one outcome, in one group. */
export interface Tallied<Group> extends Counted {
  readonly group: Group;
  readonly endpoint_no: number;
}

/** Counts attempts by group, endpoint and outcome. */
export function tally<Group extends string | number>(
  attempts: Iterable<Uncounted>,
  groupOf: (attempt: Uncounted) => Group,
): Tallied<Group>[] {
  const sums = makeSums<Group>();
  for (const attempt of attempts) addAttempt(sums.of(groupOf(attempt), attempt), attempt);
  return sums.packed();
}

/** The same counts in larger groups: `groupOf` says which group each of the present ones is part of. */
export function regroup<From, Group extends string | number>(
  counts: readonly Tallied<From>[],
  groupOf: (group: From) => Group,
): Tallied<Group>[] {
  const sums = makeSums<Group>();
  for (const count of counts) addCounts(sums.of(groupOf(count.group), count), count);
  return sums.packed();
}

/** Sums by group, endpoint and outcome. */
function makeSums<Group extends string | number>() {
  const found = new Map<string, ReturnType<typeof begin<Group>>>();
  return {
    of(group: Group, { endpoint_no, outcome }: Pick<Tallied<Group>, "endpoint_no" | "outcome">) {
      const key = `${group} ${endpoint_no} ${outcome}`;
      let one = found.get(key);
      if (one === undefined) found.set(key, one = begin(group, endpoint_no, outcome));
      return one;
    },
    packed: () =>
      [...found.values()].map(({ response, first_attempt, delivered, ...counted }) => ({
        ...counted,
        response: packHistogram(response.counts),
        first_attempt: packHistogram(first_attempt.counts),
        delivered: packHistogram(delivered.counts),
      })),
  };
}

function begin<Group>(group: Group, endpoint_no: number, outcome: string) {
  return {
    group,
    endpoint_no,
    outcome,
    attempts: 0,
    response: sumHistograms(),
    first_attempt: sumHistograms(),
    delivered: sumHistograms(),
    promised: 0,
    promised_begun: 0,
    promised_delivered: 0,
  };
}

type Sum = ReturnType<typeof begin>;

function addAttempt(
  sum: Sum,
  { outcome, number, duration_ms, age_ms, promise }: Uncounted,
): void {
  sum.attempts++;
  sum.response.add(duration_ms);
  if (number === 1) sum.first_attempt.add(Math.max(0, age_ms - duration_ms));
  if (outcome === "delivered") sum.delivered.add(age_ms);
  if ((promise & PROMISE.covered) !== 0) sum.promised++;
  if ((promise & PROMISE.begun) !== 0) sum.promised_begun++;
  if ((promise & PROMISE.delivered) !== 0) sum.promised_delivered++;
}

function addCounts(sum: Sum, counts: Counted): void {
  sum.attempts += counts.attempts;
  sum.response.addPacked(counts.response);
  sum.first_attempt.addPacked(counts.first_attempt);
  sum.delivered.addPacked(counts.delivered);
  sum.promised += counts.promised;
  sum.promised_begun += counts.promised_begun;
  sum.promised_delivered += counts.promised_delivered;
}

/** How the attempts of an endpoint have been ending. Times in milliseconds since 1970, or null. */
export interface Run {
  readonly success_at: number | null;
  /** End of the first attempt that failed after that. */
  readonly failing_since: number | null;
  readonly failure_at: number | null;
  /** How many have failed since the last success, as they were recorded. */
  readonly failures: number;
}

/** How each endpoint's attempts have been ending. One that a daemon interrupted says nothing. */
export function runsOf(attempts: readonly Uncounted[]): Map<number, Run> {
  const runs = new Map<number, Run>();
  // Of those that ended at once, one that delivered is the last.
  const order = (a: Uncounted, b: Uncounted) =>
    a.ended_at - b.ended_at ||
    Number(a.outcome === "delivered") - Number(b.outcome === "delivered");
  for (const { endpoint_no, outcome, ended_at } of attempts.toSorted(order)) {
    if (outcome === "interrupted") continue;
    const before = runs.get(endpoint_no);
    runs.set(
      endpoint_no,
      outcome === "delivered"
        ? {
          success_at: ended_at,
          failing_since: null,
          failure_at: before?.failure_at ?? null,
          failures: 0,
        }
        : {
          success_at: before?.success_at ?? null,
          failing_since: before?.failing_since ?? ended_at,
          failure_at: ended_at,
          failures: (before?.failures ?? 0) + 1,
        },
    );
  }
  return runs;
}

/**
 * The run of both, `a` recorded before `b`. Attempts of one may lie between those of the other, because daemons
 * record them in any order: then it may fail only from the other's last failure on.
 */
export function joinRuns(a: Run, b: Run): Run {
  const success_at = latest([a.success_at, b.success_at]);
  const failures = [a.failing_since, a.failure_at, b.failing_since, b.failure_at]
    .filter((at) => at !== null && (success_at === null || at > success_at));
  return {
    success_at,
    failing_since: failures.length === 0 ? null : Math.min(...failures as number[]),
    failure_at: latest([a.failure_at, b.failure_at]),
    failures: failures.length === 0
      ? 0
      : (b.success_at !== null && success_at === b.success_at ? 0 : a.failures) + b.failures,
  };
}

function latest(times: readonly (number | null)[]): number | null {
  const known = times.filter((at) => at !== null);
  return known.length === 0 ? null : Math.max(...known);
}
