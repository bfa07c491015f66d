import { loadConfig } from "../../config/load.ts";
import type { Daemon } from "../../daemon.ts";
import { logConsole, standardLog } from "../../observe/log.ts";
import { makeServiceManager } from "../../service_manager.ts";
import { command, CONFIG } from "../command.ts";
import { bug } from "../fault.ts";
import { onReload, onStop, onUncaught } from "../terminal.ts";

/**
 * How long what was cut off by a second signal has to be recorded. A database that is away must not
 * make it longer: what is not recorded is sent again when its lease has run out.
 */
const AT_ONCE_MS = 2_000;

/** How long the last lines of the log have for being read. */
const LAST_LINES_MS = 1_000;

export const serve = command({
  name: "serve",
  summary: "Runs the daemon (the default command)",
  about: `Accepts events at POST /ingest and delivers them to the configured endpoints. Logs to
standard error: text on a terminal, else one JSON object per line. Waits for a database server for
database.connect_timeout (60s). SIGTERM or Ctrl-C ends a start at once; later it lets attempts under
way finish, then stops, and a second one stops at once.`,
  options: { config: CONFIG },
  logs: true,
  examples: [
    ["cp config.example.yaml config.yaml && bookme-webhooks", "First start, on loopback"],
    ["bookme-webhooks serve --config /etc/bookme-webhooks/config.yaml", "As a service"],
  ],
  async run({ io, values, tracing }) {
    const started = Promise.withResolvers<Daemon>();
    started.promise.catch(() => {});
    // A start that is given up leaves nothing half done that the next one would not clear away.
    const starting = new AbortController();
    const atOnce = Promise.withResolvers<void>();
    let asked = false;
    let daemon: Daemon | undefined;
    const { log, lines } = standardLog();
    const manager = makeServiceManager(io.env, log);
    // From the very beginning: without a listener a signal ends the process, whatever is half done.
    using _stop = onStop(() => {
      manager.stopping();
      daemon?.stop();
      if (daemon === undefined) {
        starting.abort();
        atOnce.resolve();
      } else if (asked) setTimeout(atOnce.resolve, AT_ONCE_MS);
      asked = true;
    });
    // A file with mistakes changes nothing, and the log has said so.
    using _reload = onReload(
      () => void started.promise.then(({ reload }) => manager.reloading(reload)).catch(() => {}),
    );
    using _console = logConsole(log);
    using _uncaught = onUncaught(async (error) => {
      const { message, ...more } = bug(error, io);
      log.error(message, more);
      await lines.flush(LAST_LINES_MS);
      Deno.exit(1);
    });
    const run = async () => {
      const config = loadConfig(values.config, io.env);
      // Only here: the other commands need not wait for them to load.
      const { openDatabase } = await import("../../store/database.ts");
      // The rest is loaded while the database is being opened; `start` meets what it throws.
      const opening = openDatabase(config, log, starting.signal);
      opening.catch(() => {});
      const { start } = await import("../../daemon.ts");
      daemon = await start(config, log, opening, tracing);
      started.resolve(daemon);
      manager.follow(daemon.watched);
      await daemon.stopped;
    };
    try {
      await Promise.race([run(), atOnce.promise]);
      if (starting.signal.aborted) log.info("Stopped before it had started");
    } catch (error) {
      // With no reader, saying why would wait for one.
      if (!await lines.flush(LAST_LINES_MS)) return 1;
      throw error;
    } finally {
      await manager.close();
    }
    await lines.flush(LAST_LINES_MS);
    return 0;
  },
});
