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
