/** Every metric of the program: docs/metrics.md shows this table, and a test holds both against a scrape. */

/** Begins the name of every metric but those of the process, which have the names that all programs give them. */
const PREFIX = "bookme_webhooks_";

/** What a metric is. */
export interface Metric {
  readonly type: "counter" | "gauge" | "histogram";
  /** Names of its labels. */
  readonly labels: readonly string[];
  readonly help: string;
  /** Whether every daemon reads the same from the database: `max` over daemons, where others are summed. */
  readonly shared?: true;
}

/** The bounds of histograms, in seconds: 30 s is the promise, and exact. */
export const BOUNDS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
/** Those of a histogram for each endpoint, of which there may be hundreds. */
export const RESPONSE_BOUNDS_S = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

const counter = (labels: readonly string[], help: string) =>
  ({ type: "counter", labels, help }) as const satisfies Metric;
const gauge = (labels: readonly string[], help: string) =>
  ({ type: "gauge", labels, help }) as const satisfies Metric;
const histogram = (labels: readonly string[], help: string) =>
  ({ type: "histogram", labels, help }) as const satisfies Metric;
const shared = (labels: readonly string[], help: string) =>
  ({
    type: "gauge",
    labels,
    help: `${help}. Read from the database, the same at every daemon: max, not sum`,
    shared: true,
  }) as const satisfies Metric;

const OWN = {
  events_total: counter(
    ["type", "answer"],
    "Events posted: stored or duplicate; and posts refused, with the reason and an empty type",
  ),
  attempts_total: counter(["endpoint", "outcome"], "Attempts, once recorded"),
  deliveries_ended_total: counter(
    ["endpoint", "status"],
    "Deliveries that ended: delivered, failed or cancelled",
  ),
  promise_deliveries_total: counter(
    ["endpoint"],
    "Deliveries that the 30-second promise covers, at their first attempt",
  ),
  promise_begun_total: counter(
    ["endpoint"],
    "Those of which the first attempt began within 30 s of the 202",
  ),
  promise_delivered_total: counter(["endpoint"], "Those delivered within 30 s of the 202"),
  ingest_seconds: histogram([], "Time to answer a post, refused ones included"),
  event_age_seconds: histogram([], "From an event's timestamp to its 202"),
  first_attempt_seconds: histogram(
    [],
    "From an event's 202, or the replay that owes it, to the beginning of the first attempt",
  ),
  delivered_seconds: histogram(
    [],
    "From an event's 202, or the retry or replay that brought the delivery back, to its delivery",
  ),
  response_seconds: histogram(["endpoint"], "Duration of attempts"),
  leases_lost_total: counter([], "Results that came after their lease was given to another claim"),
  leases_expired_total: counter(
    [],
    "Leases that ran out, of any daemon, and were freed by this one",
  ),
  statement_failures_total: counter(["part"], "Statements that the database failed"),
  maintenance_runs_total: counter(["sweep", "result"], "Runs of maintenance jobs: ok or failed"),
  maintenance_seconds_total: counter(["sweep"], "Time spent in maintenance jobs"),
  maintenance_last_success_timestamp_seconds: gauge(
    ["sweep"],
    "When a maintenance job last succeeded here; 0 before the first time",
  ),
  attempts_under_way: gauge([], "Attempts under way, each under a lease"),
  attempts_limit: gauge([], "delivery.concurrency"),
  unrecorded_results: gauge([], "Results of attempts that wait to be recorded"),
  ingest_queue: gauge([], "Posts that wait to be stored"),
  event_loop_lag_seconds: gauge(
    [],
    "The longest delay of a timer within the last 15 to 30 s",
  ),
  heap_bytes: gauge([], "JavaScript heap in use"),
  build_info: gauge(["version", "database"], "1; the database is embedded or server"),
  schema_version: gauge([], "Number of the newest migration applied"),
  config_reload_success: gauge([], "1 if the last reload succeeded, 0 if it was refused"),
  config_reload_timestamp_seconds: gauge([], "When the configuration in force was read"),
  server_certificate_ends_timestamp_seconds: gauge(
    [],
    "When the certificate of server.tls ends; absent without one",
  ),
  ready: gauge([], "1 if /readyz answers 200"),
  database_check_seconds: gauge(
    [],
    "How long the check of /readyz waited for a connection of each pool",
  ),
  clock_skew_seconds: gauge([], "This machine's clock minus the database's"),
  disk_free_bytes: gauge([], "Free space of the embedded database's disk"),
  disk_min_free_bytes: gauge([], "Free space below which ingest answers 503"),
  database_up: gauge([], "1 if the last reading for the metrics below succeeded"),
  database_read_timestamp_seconds: gauge([], "When they were read, at most every 15 s"),
  pending: shared(["endpoint"], "Pending deliveries, counted up to 10,000 for each endpoint"),
  overdue_oldest_seconds: shared(
    ["endpoint"],
    "For how long the first due delivery that nobody sends has been due; 0 without one, and while paused",
  ),
  paused: shared(["endpoint"], "1 while the endpoint is paused"),
  certificate_ends_timestamp_seconds: shared(
    ["endpoint"],
    "When the receiver's certificate ends, where a check saw one",
  ),
  alerts_open: shared(["kind"], "Open alerts"),
  daemons: shared([], "Daemons that live, by their heartbeats"),
} as const;

const PROCESS = {
  process_cpu_seconds_total: counter([], "CPU time of this process"),
  process_resident_memory_bytes: gauge([], "Memory of this process"),
  process_start_time_seconds: gauge([], "When this process started"),
  process_open_fds: gauge([], "Open file descriptors"),
  process_max_fds: gauge([], "Most file descriptors that may be open"),
} as const;

/** The name of a metric of this program, without the prefix, or of the process. */
export type MetricName = keyof typeof OWN | keyof typeof PROCESS;

/** Every metric by its name. */
export const METRICS: Readonly<Record<MetricName, Metric>> = { ...OWN, ...PROCESS };

/** The full name of a metric. */
export function fullName(name: MetricName): string {
  return name in PROCESS ? name : PREFIX + name;
}
