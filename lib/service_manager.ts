import { messageOf } from "./core/errors.ts";
import { inWords } from "./core/explain.ts";
import { counted } from "./core/units.ts";
import type { Log } from "./observe/log.ts";
import { within } from "./store/deadline.ts";
import type { Readiness } from "../routes/context.ts";

/** How a daemon is, asked again and again. */
export interface Watched {
  /** What `/readyz` would answer. */
  readiness(): Promise<Readiness>;
  /** Why a restart might help, or undefined. */
  standstill(): Promise<string | undefined>;
  /** Deliveries that have not ended; undefined while that is unknown. */
  backlog(): Promise<Backlog | undefined>;
  /** Attempts under way. */
  in_flight(): number;
}

/** Deliveries that have not ended, of all endpoints together. */
export interface Backlog {
  readonly pending: number;
  /** Whether there are more than that. */
  readonly is_cut: boolean;
  /** For how long the first due delivery that nobody sends has been due; 0 without one. */
  readonly overdue_ms: number;
}

/** Keeps the service manager posted (`sd_notify(3)`). Without one, its functions do nothing. */
export interface ServiceManager {
  /** Reports that the daemon is ready once `/readyz` answers 200. From then on feeds the watchdog. */
  follow(watched: Watched): void;
  /** Reports that a reload is under way until `reload` ends. Resolves or rejects as it does. */
  reloading<Result>(reload: () => Promise<Result>): Promise<Result>;
  /** Reports that the daemon is stopping. Nothing is reported after that. */
  stopping(): void;
  /** Waits a second at most for the reports to leave. */
  close(): Promise<void>;
}

/** How often the status is reported if no watchdog asks for more. */
const STATUS_EVERY_MS = 10_000;
const NOT_READY_EVERY_MS = 500;
/** A feed may take two timeouts of the database and still must come in time. */
const FEEDS_PER_PERIOD = 4;
const CLOSE_GRACE_MS = 1_000;
const MAX_STATUS = 500;

/**
 * The service manager that the environment names: `NOTIFY_SOCKET`, and `WATCHDOG_USEC` with `WATCHDOG_PID` if it
 * wants to be fed. One that cannot be reached is logged, and is no reason to stop.
 */
export function makeServiceManager(
  env: (name: string) => string | undefined,
  log: Log,
): ServiceManager {
  const socket = readIfAllowed(env, "NOTIFY_SOCKET");
  if (socket === undefined || socket === "") {
    const nothing = () => {};
    const close = () => Promise.resolve();
    return { follow: nothing, reloading: (reload) => reload(), stopping: nothing, close };
  }
  const channel = openChannel(socket, log);
  const watchdog_ms = watchdogPeriod(env);
  const every_ms = Math.min(STATUS_EVERY_MS, watchdog_ms / FEEDS_PER_PERIOD);
  const feed = Number.isFinite(watchdog_ms) ? ["WATCHDOG=1"] : [];
  let is_ready = false;
  let is_over = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  channel.send(["STATUS=Starting"]);

  /** Reports how the daemon is; resolves to when it is to be asked again. */
  async function look(watched: Watched): Promise<number> {
    const [{ ready, checks }, standstill, backlog] = await Promise.all([
      watched.readiness(),
      watched.standstill(),
      watched.backlog(),
    ]);
    if (is_over) return every_ms;
    const begins = ready && !is_ready;
    is_ready ||= ready;
    channel.send([
      ...(begins ? ["READY=1"] : []),
      ...(is_ready && standstill === undefined ? feed : []),
      statusLine(statusOf(checks, standstill, backlog, watched.in_flight())),
    ]);
    return is_ready ? every_ms : NOT_READY_EVERY_MS;
  }

  return {
    follow(watched) {
      const again = async () => {
        const wait_ms = await look(watched).catch((error) => {
          // Not fed, so that it notices. A stop closes the database under the last look.
          if (!is_over) log.error("No status for the service manager", { cause: messageOf(error) });
          return every_ms;
        });
        if (!is_over) timer = setTimeout(again, wait_ms);
      };
      void again();
    },
    async reloading(reload) {
      // Before the first READY=1, a second one would pass for it.
      if (!is_ready || is_over) return await reload();
      // Without MONOTONIC_USEC: it is for Type=notify-reload, and Deno does not give away that clock.
      channel.send(["RELOADING=1", "STATUS=Reading the configuration again"]);
      try {
        return await reload();
      } finally {
        if (!is_over) channel.send(["READY=1"]);
      }
    },
    stopping() {
      if (is_over) return;
      is_over = true;
      clearTimeout(timer);
      channel.send(["STOPPING=1", "STATUS=Stopping: finishing the attempts under way"]);
    },
    async close() {
      is_over = true;
      clearTimeout(timer);
      await channel.close();
    },
  };
}

// A run line may list the variables that the program reads, and need not name these.
function readIfAllowed(env: (name: string) => string | undefined, name: string) {
  try {
    return env(name);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}

/** How long the watchdog waits; infinite without one, or if it watches another process. */
function watchdogPeriod(env: (name: string) => string | undefined): number {
  const period_ms = Number(readIfAllowed(env, "WATCHDOG_USEC") || NaN) / 1_000;
  const pid = readIfAllowed(env, "WATCHDOG_PID") || undefined;
  const is_for_us = pid === undefined || Number(pid) === Deno.pid;
  return period_ms > 0 && is_for_us ? period_ms : Infinity;
}

function statusOf(
  checks: Readiness["checks"],
  standstill: string | undefined,
  backlog: Backlog | undefined,
  in_flight: number,
): string {
  const failing = Object.entries(checks).filter(([, cause]) => cause !== "ok");
  if (failing.length > 0) {
    return `Not ready: ${failing.map(([check, cause]) => `${check}: ${cause}`).join("; ")}`;
  }
  if (standstill !== undefined) return `Not well: ${standstill}`;
  const under_way = `${counted(in_flight, "attempt")} under way`;
  if (backlog === undefined) return `Ready: ${under_way}`;
  const { pending, is_cut, overdue_ms } = backlog;
  const late = overdue_ms < 1_000 ? "" : `, overdue for ${inWords(overdue_ms)}`;
  const waiting = counted(pending, "delivery", "deliveries");
  return `Ready: ${under_way}, ${is_cut ? "more than " : ""}${waiting} pending${late}`;
}

// A line break would begin another field.
function statusLine(text: string): string {
  return `STATUS=${text.replace(/\s+/g, " ").slice(0, MAX_STATUS)}`;
}

/** A way to the manager's socket. Messages arrive in the order of `send`. */
interface Channel {
  send(fields: readonly string[]): void;
  close(): Promise<void>;
}

function openChannel(socket: string, log: Log): Channel {
  const encoder = new TextEncoder();
  const path = socket.replace(/^@/, "\0");
  let own: Deno.DatagramConn | undefined;
  let last: Promise<void> = Promise.resolve();
  let is_closed = false;
  const said = new Set<string>();

  async function deliver(message: string): Promise<void> {
    if (is_closed) return;
    try {
      // A name in the abstract namespace is no file that would be left behind.
      own ??= Deno.listenDatagram({
        transport: "unixpacket",
        path: `\0bookme-webhooks-${crypto.randomUUID()}`,
      });
      await own.send(encoder.encode(message), { transport: "unixpacket", path });
    } catch (error) {
      const cause = messageOf(error);
      if (is_closed || said.has(cause)) return;
      said.add(cause);
      log.warn("The service manager cannot be notified", { socket, cause });
    }
  }

  return {
    send(fields) {
      const message = fields.join("\n");
      last = last.then(() => deliver(message));
    },
    async close() {
      await within(last, CLOSE_GRACE_MS).catch(() => {});
      is_closed = true;
      own?.close();
    },
  };
}
