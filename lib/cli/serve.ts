import { loadConfig } from "../config/load.ts";
import { start } from "../daemon.ts";
import { standardLog } from "../observe/log.ts";

/** Runs the daemon until it is told to stop. Answers the exit code. */
export async function serve(config_path: string): Promise<number> {
  const log = standardLog();
  const daemon = await start(loadConfig(config_path, (name) => Deno.env.get(name)), log);
  const stop = () => void daemon.stop();
  Deno.addSignalListener("SIGTERM", stop);
  Deno.addSignalListener("SIGINT", stop);
  await daemon.stopped;
  Deno.removeSignalListener("SIGTERM", stop);
  Deno.removeSignalListener("SIGINT", stop);
  return 0;
}
