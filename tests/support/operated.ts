import { loadConfig } from "../../lib/config/load.ts";
import { start } from "../../lib/daemon.ts";
import { makeLog } from "../../lib/observe/log.ts";
import { type CliOptions, type Ended, runHere } from "./cli.ts";
import { type Front, frontOf, type Sections, writeConfig } from "./daemon.ts";
import { freePort } from "./postgres.ts";

/** A daemon and its operator's command line, both with the same configuration file. */
export interface Operated extends Front, AsyncDisposable {
  /** The configuration file. */
  readonly path: string;
  /** Runs a command with this daemon's `--config`. */
  cli(args: readonly string[], options?: CliOptions): Promise<Ended>;
  stop(): Promise<void>;
}

/** Starts a daemon in this process, at a port that its configuration names. */
export async function startOperated(sections: Sections): Promise<Operated> {
  const { path, remove } = writeConfig({
    server: { listen: `127.0.0.1:${await freePort()}` },
    ...sections,
  });
  try {
    const daemon = await start(
      loadConfig(path, (name) => Deno.env.get(name)),
      makeLog(() => {}, "json"),
    );
    return {
      ...frontOf(daemon.url),
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
