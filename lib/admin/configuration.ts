import { redactConfig } from "../config/snapshot.ts";
import type { AdminContext, Asker } from "./context.ts";
import type { ReloadInput } from "./inputs.ts";
import { requireEverything } from "./lookup.ts";
import type * as shown from "./shown.ts";

/** The configuration in force, without its secrets. */
export function getConfig(ctx: AdminContext, by: Asker): shown.ConfigShown {
  requireEverything(by);
  return redactConfig(ctx.in_force().config);
}

/** A place in the configuration file of this daemon. */
export interface FilePlace {
  /** The file's name without its directories. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

/** Where the file has an endpoint; null if it is in another daemon's file only. */
export function findInFile(ctx: AdminContext, by: Asker, endpoint_id: string): FilePlace | null {
  requireEverything(by);
  const { path, endpoint_lines } = ctx.in_force().config;
  const line = endpoint_lines.get(endpoint_id);
  return line === undefined ? null : { file: path.split(/[\\/]/).at(-1) ?? path, line };
}

/**
 * Puts the configuration file as it is now in force, or with `dry_run` only says what that would change.
 * Throws an `AppError` with its mistakes.
 */
export async function reloadConfig(
  ctx: AdminContext,
  by: Asker,
  { dry_run }: ReloadInput,
): Promise<shown.Reloaded> {
  requireEverything(by);
  return dry_run ? await ctx.plan_reload() : await ctx.reload(by.actor);
}
