import { readFileSync } from "node:fs";
import process from "node:process";
import type { Config } from "./config/config.ts";
import { certificatesIn, readCertificate } from "./core/certificates.ts";
import { VERSION } from "./core/version.ts";
import type { Context } from "./delivery/context.ts";
import type { Disk } from "./disk.ts";
import type { Engine } from "./engine.ts";
import { type Counted, countSignals } from "./observe/count_signals.ts";
import { type Lag, watchLag } from "./observe/lag.ts";
import { makeMeters, type Meters, type Row } from "./observe/meters.ts";
import type { MetricName } from "./observe/metrics.ts";
import type { Readiness } from "../routes/context.ts";
import type { Backlog } from "./service_manager.ts";
import { within } from "./store/deadline.ts";
import {
  type EndpointMetrics,
  MAX_PENDING,
  readSharedMetrics,
  type SharedMetrics,
} from "./store/reports/metrics.ts";

/** The metrics of this daemon. */
export interface Metrics {
  /** Shows the engine's from now on. */
  follow(running: Running): void;
  /** Notes how a reload ends. Resolves or rejects as it does. */
  watchReload<Result>(reload: Promise<Result>): Promise<Result>;
  /** A scrape's answer, in Prometheus' text format. */
  render(): Promise<string>;
  /** The deliveries of all daemons that have not ended; undefined while the database does not say. */
  backlog(): Promise<Backlog | undefined>;
  stop(): void;
}

/** What a scrape asks. */
interface Running {
  readonly engine: Pick<Engine, "dispatcher" | "intake" | "maintenance">;
  readonly disk: Pick<Disk, "room">;
  readonly readiness: () => Promise<Readiness>;
}

/** How long what the database said is shown again. */
const READ_EVERY_MS = 15_000;
/** How long a scrape waits for the database: then it shows what was read last, if that is not too old. */
const READ_TIMEOUT_MS = 4_000;
const STALE_MS = 60_000;

/** Metrics that count what happens from now on. `types` are the names of the event types in force. */
export function makeMetrics(
  ctx: Pick<Context, "config" | "db" | "clock" | "signals">,
  types: () => readonly string[],
): Metrics {
  const meters = makeMeters();
  const counted = countSignals(ctx.signals, meters, types);
  const lag = watchLag();
  const reading = makeReading(ctx);
  const set = (name: MetricName, value: number) => meters.replace(name, [[[], value]]);
  let running: Running | undefined;

  function reloaded(success: boolean): void {
    set("config_reload_success", Number(success));
    if (success) set("config_reload_timestamp_seconds", Date.now() / 1000);
  }

  meters.replace("build_info", [[[VERSION, ctx.db.kind], 1]]);
  reloaded(true);
  return {
    follow(next) {
      running = next;
      counted.expectJobs(next.engine.maintenance.names);
    },
    async watchReload(reload) {
      try {
        const result = await reload;
        reloaded(true);
        return result;
      } catch (error) {
        reloaded(false);
        throw error;
      }
    },
    async render() {
      if (running === undefined) return meters.render();
      await Promise.all([showReadiness(running, set), reading.refresh()]);
      showEngine(ctx, running, lag, set);
      meters.replace("server_certificate_ends_timestamp_seconds", ownCertificateOf(ctx.config()));
      showProcess(meters, set);
      showShared(meters, set, reading, counted);
      return meters.render();
    },
    async backlog() {
      await reading.refresh();
      return reading.shared === undefined ? undefined : backlogOf(reading.shared);
    },
    stop: lag.stop,
  };
}

function backlogOf({ endpoints }: SharedMetrics): Backlog {
  return {
    pending: endpoints.reduce((total, { pending }) => total + pending, 0),
    is_cut: endpoints.some(({ pending }) => pending >= MAX_PENDING),
    overdue_ms: Math.max(0, ...endpoints.map(({ overdue_ms }) => overdue_ms)),
  };
}

type Setter = (name: MetricName, value: number) => void;

async function showReadiness({ readiness }: Running, set: Setter): Promise<void> {
  const asked_at = performance.now();
  const { ready } = await readiness();
  set("ready", Number(ready));
  set("database_check_seconds", (performance.now() - asked_at) / 1000);
}

function showEngine(
  { config, clock }: Pick<Context, "config" | "clock">,
  { engine: { dispatcher, intake }, disk }: Running,
  lag: Lag,
  set: Setter,
): void {
  set("attempts_under_way", dispatcher.in_flight);
  set("attempts_limit", config().delivery.concurrency);
  set("unrecorded_results", dispatcher.unrecorded);
  set("ingest_queue", intake.waiting);
  set("event_loop_lag_seconds", lag.longest_ms() / 1000);
  set("clock_skew_seconds", (Date.now() - clock.now()) / 1000);
  const room = disk.room();
  if (room === undefined) return;
  set("disk_free_bytes", room.free_bytes);
  set("disk_min_free_bytes", room.min_free_bytes);
}

function ownCertificateOf({ server: { tls } }: Config): Row[] {
  const [own] = tls === null ? [] : certificatesIn(tls.cert);
  return own === undefined ? [] : [[[], readCertificate(own).valid_to / 1000]];
}

function showProcess(meters: Meters, set: Setter): void {
  const { rss, heapUsed } = process.memoryUsage();
  set("heap_bytes", heapUsed);
  set("process_resident_memory_bytes", rss);
  const { user, system } = process.cpuUsage();
  set("process_cpu_seconds_total", (user + system) / 1e6);
  set("process_start_time_seconds", STARTED_AT_S);
  const descriptors = countDescriptors();
  meters.replace("process_open_fds", descriptors === undefined ? [] : [[[], descriptors]]);
  meters.replace("process_max_fds", MAX_DESCRIPTORS === undefined ? [] : [[[], MAX_DESCRIPTORS]]);
}

const STARTED_AT_S = (performance.timeOrigin) / 1000;
const MAX_DESCRIPTORS = readLimit();

// Where the system does not say, or may not be asked, the metric is left out.
function countDescriptors(): number | undefined {
  try {
    return [...Deno.readDirSync("/proc/self/fd")].length;
  } catch {
    return undefined;
  }
}

function readLimit(): number | undefined {
  try {
    const found = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return found === undefined ? undefined : Number(found);
  } catch {
    return undefined;
  }
}

/** What the database says of all daemons, read once for all scrapes of a time. */
interface Reading {
  /** Reads again if it is time, and waits for that. */
  refresh(): Promise<void>;
  /** Undefined if it could not be read for too long. */
  readonly shared: SharedMetrics | undefined;
  /** Whether the last reading succeeded. */
  readonly is_up: boolean;
  /** When it was read, in milliseconds since 1970. */
  readonly read_at: number;
}

function makeReading({ db }: Pick<Context, "db">): Reading {
  let shared: SharedMetrics | undefined;
  let is_up = false;
  let asked_at = -Infinity;
  let read_at = 0;
  let reading: Promise<void> | undefined;

  async function read(): Promise<void> {
    asked_at = performance.now();
    try {
      shared = await readSharedMetrics(db.admin);
      is_up = true;
      read_at = Date.now();
    } catch {
      is_up = false;
    }
  }

  return {
    async refresh() {
      if (performance.now() - asked_at >= READ_EVERY_MS) {
        reading ??= read().finally(() => reading = undefined);
      }
      if (reading !== undefined) await within(reading, READ_TIMEOUT_MS).catch(() => is_up = false);
    },
    get shared() {
      return Date.now() - read_at < STALE_MS ? shared : undefined;
    },
    get is_up() {
      return is_up;
    },
    get read_at() {
      return read_at;
    },
  };
}

function showShared(
  meters: Meters,
  set: Setter,
  { shared, is_up, read_at }: Reading,
  { label }: Counted,
): void {
  set("database_up", Number(is_up));
  if (read_at > 0) set("database_read_timestamp_seconds", read_at / 1000);
  const endpoints = shared?.endpoints ?? [];
  const show = (
    name: MetricName,
    join: (values: readonly number[]) => number,
    of: (endpoint: EndpointMetrics) => number | null,
  ) => meters.replace(name, rowsOf(endpoints, label, join, of));
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  show("pending", sum, ({ pending }) => pending);
  show("overdue_oldest_seconds", (all) => Math.max(...all), ({ overdue_ms }) => overdue_ms / 1000);
  show("paused", sum, ({ paused }) => Number(paused));
  show(
    "certificate_ends_timestamp_seconds",
    (all) => Math.min(...all),
    ({ certificate_ends_at }) => certificate_ends_at === null ? null : certificate_ends_at / 1000,
  );
  const all = shared === undefined ? [] : [shared];
  meters.replace(
    "alerts_open",
    all.flatMap(({ alerts }) => Object.entries(alerts).map(([kind, open]): Row => [[kind], open])),
  );
  meters.replace("daemons", all.map(({ daemons }): Row => [[], daemons]));
  meters.replace("schema_version", all.map(({ schema_version }): Row => [[], schema_version]));
}

/** A row for each label; `join` says what of the endpoints that share one is shown. */
function rowsOf(
  endpoints: readonly EndpointMetrics[],
  label: (endpoint_no: number) => string,
  join: (values: readonly number[]) => number,
  of: (endpoint: EndpointMetrics) => number | null,
): Row[] {
  const values = new Map<string, number[]>();
  for (const endpoint of endpoints) {
    const value = of(endpoint);
    if (value === null) continue;
    const name = label(endpoint.no);
    const found = values.get(name);
    if (found === undefined) values.set(name, [value]);
    else found.push(value);
  }
  return [...values].map(([name, all]) => [[name], join(all)]);
}
