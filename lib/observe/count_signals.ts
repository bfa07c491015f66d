import { OUTCOMES } from "../core/outcome.ts";
import { PROMISE } from "../core/promise.ts";
import { answerToEvent, refusalOf, REFUSALS } from "../core/refusals.ts";
import type { HistogramSeries, Meters, Series } from "./meters.ts";
import type { MetricName } from "./metrics.ts";
import type { Signals, SignalValues } from "./signals.ts";

/** Endpoints that have series of their own: more would make a scrape long, and Prometheus' memory large. */
export const MAX_ENDPOINTS = 500;
/** The label of all other endpoints together, and of attempts that end after their endpoint was retired. */
export const OTHER = "_other";

/** What counts the signals. */
export interface Counted {
  /** The label of an endpoint: its id or `_other`. */
  label(endpoint_no: number): string;
  /** Has series for these maintenance jobs from now on. */
  expectJobs(names: readonly string[]): void;
}

/** The series of one endpoint. */
interface EndpointSeries {
  readonly id: string;
  readonly attempts: ReadonlyMap<string, Series>;
  readonly ended: Readonly<Record<"delivered" | "failed" | "cancelled", Series>>;
  readonly response: HistogramSeries;
  readonly promise: readonly (readonly [bit: number, series: Series])[];
  /** Ends all of them. */
  drop(): void;
}

/**
 * Counts what the signals say, from now on. Every series there can be exists from the start, so that a rate sees
 * the first failure. `types` are the names of the event types in force.
 */
export function countSignals(
  signals: Signals,
  meters: Meters,
  types: () => readonly string[],
): Counted {
  countStatements(signals, meters);
  countPosts(signals, meters, types);
  return { ...countMaintenance(signals, meters), ...countDeliveries(signals, meters) };
}

function countStatements({ statement_failed, lease_lost }: Signals, meters: Meters): void {
  const series = (part: string) => meters.series("statement_failures_total", part);
  const failures = { ingest: series("ingest"), engine: series("engine"), api: series("api") };
  statement_failed.on(({ part }) => failures[part].value++);
  const lost = meters.series("leases_lost_total");
  lease_lost.on(() => lost.value++);
}

function countPosts(
  { ingested, refused, posted, endpoints_changed }: Signals,
  meters: Meters,
  types: () => readonly string[],
): void {
  const events = makeFamily(meters, "events_total");
  for (const refusal of REFUSALS) events("", refusal);
  // A reload, which may add types, has the endpoints read again.
  endpoints_changed.on(() => {
    for (const type of types()) for (const answer of ["stored", "duplicate"]) events(type, answer);
  });
  ingested.on((event) => {
    const answer = answerToEvent(event);
    if (answer !== undefined) events(event.type, answer).value++;
  });
  refused.on((value) => {
    const refusal = value.by === "ingest" ? refusalOf(value.code, value.signed) : undefined;
    if (refusal !== undefined) events("", refusal).value++;
  });
  const times = meters.histogram("ingest_seconds");
  const ages = meters.histogram("event_age_seconds");
  posted.on(({ duration_ms, ages_ms }) => {
    times.observe(duration_ms / 1000);
    for (const age_ms of ages_ms) ages.observe(Math.max(0, age_ms) / 1000);
  });
}

function countMaintenance(
  { maintained }: Signals,
  meters: Meters,
): Pick<Counted, "expectJobs"> {
  const runs = makeFamily(meters, "maintenance_runs_total");
  const seconds = makeFamily(meters, "maintenance_seconds_total");
  const succeeded = makeFamily(meters, "maintenance_last_success_timestamp_seconds");
  const expired = meters.series("leases_expired_total");
  maintained.on(({ job, count, duration_ms, failure }) => {
    runs(job, failure === null ? "ok" : "failed").value++;
    seconds(job).value += duration_ms / 1000;
    if (failure === null) succeeded(job).value = Date.now() / 1000;
    if (job === "leases") expired.value += count;
  });
  return {
    expectJobs(names) {
      for (const name of names) {
        runs(name, "ok");
        runs(name, "failed");
        seconds(name);
        succeeded(name);
      }
    },
  };
}

/** The series of a metric by the values of its labels, made when they are first asked for. */
function makeFamily(meters: Meters, name: MetricName): (...values: string[]) => Series {
  const found = new Map<string, Series>();
  return (...values) => {
    const key = values.join("\n");
    let series = found.get(key);
    if (series === undefined) found.set(key, series = meters.series(name, ...values));
    return series;
  };
}

function countDeliveries(
  { recorded, ended, endpoints_changed }: Signals,
  meters: Meters,
): Pick<Counted, "label"> {
  const other = makeEndpointSeries(meters, OTHER);
  const own = new Map<number, EndpointSeries>();
  const of = (endpoint_no: number) => own.get(endpoint_no) ?? other;
  const first = meters.histogram("first_attempt_seconds");
  const delivered = meters.histogram("delivered_seconds");

  endpoints_changed.on(({ endpoints }) => {
    const used = new Set(endpoints.map(({ no }) => no));
    for (const [no, series] of own) {
      if (used.has(no)) continue;
      series.drop();
      own.delete(no);
    }
    for (const { no, id } of endpoints) {
      if (own.size >= MAX_ENDPOINTS) break;
      if (!own.has(no)) own.set(no, makeEndpointSeries(meters, id));
    }
  });
  recorded.on((result) => {
    const endpoint = of(result.endpoint_no);
    if (result.status !== null) endpoint.ended[result.status].value++;
    if (result.operational) return;
    count(endpoint, result);
    const { attempt, outcome, duration_ms, age_ms } = result;
    if (attempt === 1) first.observe(Math.max(0, age_ms - duration_ms) / 1000);
    if (outcome === "delivered") delivered.observe(age_ms / 1000);
  });
  ended.on(({ endpoint_no, status, count }) => {
    of(endpoint_no).ended[status].value += count;
  });
  return { label: (endpoint_no) => of(endpoint_no).id };
}

function count(
  { attempts, response, promise }: EndpointSeries,
  result: SignalValues["recorded"],
): void {
  const outcome = attempts.get(result.outcome);
  if (outcome !== undefined) outcome.value++;
  response.observe(result.duration_ms / 1000);
  if (result.promise === 0) return;
  for (const [bit, series] of promise) if ((result.promise & bit) !== 0) series.value++;
}

function makeEndpointSeries(meters: Meters, id: string): EndpointSeries {
  const made: [MetricName, Series | HistogramSeries][] = [];
  const series = (name: MetricName, ...more: string[]) => {
    const one = meters.series(name, id, ...more);
    made.push([name, one]);
    return one;
  };
  const status = (name: string) => series("deliveries_ended_total", name);
  const response = meters.histogram("response_seconds", id);
  made.push(["response_seconds", response]);
  return {
    id,
    attempts: new Map(OUTCOMES.map((outcome) => [outcome, series("attempts_total", outcome)])),
    ended: {
      delivered: status("delivered"),
      failed: status("failed"),
      cancelled: status("cancelled"),
    },
    response,
    promise: [
      [PROMISE.covered, series("promise_deliveries_total")],
      [PROMISE.begun, series("promise_begun_total")],
      [PROMISE.delivered, series("promise_delivered_total")],
    ],
    drop() {
      for (const [name, one] of made) meters.drop(name, one);
    },
  };
}
