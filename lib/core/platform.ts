/** The signals that this program listens to. */
type Signal = "SIGINT" | "SIGTERM" | "SIGBREAK" | "SIGHUP";

/** What this program uses of an operating system that not every one has. */
export interface Platform {
  /** Whether files have modes. Windows has access lists, which Deno does not show. */
  readonly has_modes: boolean;
  /** Whether a directory can be opened, to flush its entries. On Windows the file system's journal does that. */
  readonly opens_directories: boolean;
  /** Whether a child that is being started has this process's open files, and with them its locks. */
  readonly forks: boolean;
  /** Whether low ports take a privilege. */
  readonly has_privileged_ports: boolean;
  /** Signals that ask the process to end. */
  readonly stop_signals: readonly Signal[];
  /** Signals that ask it to read the configuration again. */
  readonly reload_signals: readonly Signal[];
}

/** The platform of an operating system, as Deno names it: `linux`, `darwin`, `windows`. */
export function platformOf(os: string): Platform {
  const is_windows = os === "windows";
  return {
    has_modes: !is_windows,
    opens_directories: !is_windows,
    forks: !is_windows,
    has_privileged_ports: !is_windows,
    // Windows sends SIGHUP when the console is closed and SIGTERM when it shuts down, each for a few seconds.
    stop_signals: is_windows ? ["SIGINT", "SIGBREAK", "SIGHUP", "SIGTERM"] : ["SIGINT", "SIGTERM"],
    reload_signals: is_windows ? [] : ["SIGHUP"],
  };
}

/** The platform that this process runs on. */
export const PLATFORM: Platform = platformOf(Deno.build.os);
