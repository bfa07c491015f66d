import { parseArgs } from "node:util";
import { ConfigError } from "../config/error.ts";
import { AppError } from "../core/errors.ts";
import { serve } from "./serve.ts";

/** Runs a command line and answers its exit code: 0 done, 1 failed, 2 wrong usage or configuration. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    const { values } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { config: { type: "string", default: "config.yaml" } },
    });
    return await serve(values.config);
  } catch (error) {
    if (error instanceof ConfigError) {
      console.error(error.message);
      return 2;
    }
    if (error instanceof AppError) {
      console.error(error.message);
      return 1;
    }
    throw error;
  }
}
