import { loadConfig } from "../../lib/config/load.ts";
import { start } from "../../lib/daemon.ts";
import { makeLog } from "../../lib/observe/log.ts";
import { type CliOptions, type Ended, runHere } from "./cli.ts";
import { type Front, frontOf, type LogLine, type Sections, writeConfig } from "./daemon.ts";
import { freePort } from "./postgres.ts";

/** A daemon and its operator's command line, both with the same configuration file. */
export interface Operated extends Front, AsyncDisposable {
  readonly log: readonly LogLine[];
  /** The configuration file. */
  readonly path: string;
  /** Runs a command with this daemon's `--config`. */
  cli(args: readonly string[], options?: CliOptions): Promise<Ended>;
  stop(): Promise<void>;
}

/** Starts a daemon in this process, at a port that its configuration names; `client` trusts its certificate. */
export async function startOperated(
  sections: Sections,
  client?: Deno.HttpClient,
): Promise<Operated> {
  const { path, remove } = writeConfig({
    server: { listen: `127.0.0.1:${await freePort()}` },
    ...sections,
  });
  const log: LogLine[] = [];
  try {
    const daemon = await start(
      loadConfig(path, (name) => Deno.env.get(name)),
      makeLog((line) => log.push(JSON.parse(line)), "json"),
    );
    return {
      ...frontOf(daemon.url, client),
      log,
      path,
      cli: (args, options) => runHere([...args, "--config", path], options),
      stop: () => daemon.stop(),
      async [Symbol.asyncDispose]() {
        await daemon.stop();
        remove();
      },
    };
  } catch (error) {
    remove();
    throw error;
  }
}
