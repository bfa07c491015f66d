import type { Reloaded } from "./admin/shown.ts";
import type { Config } from "./config/config.ts";
import { ConfigError, formatMistake } from "./config/error.ts";
import { loadConfig } from "./config/load.ts";
import { type SharedFile, sharedOf } from "./config/shared.ts";
import { AppError } from "./core/errors.ts";
import type { Context } from "./delivery/context.ts";
import { fileOf } from "./delivery/fleet.ts";
import type { Neighbours } from "./neighbours.ts";
import { planReload, type ReadAgain } from "./reload_plan.ts";
import { writeAudit } from "./store/audit.ts";
import type { Actor } from "./store/changes.ts";

/** Reads the configuration file again. */
export interface Reloader {
  /**
   * Puts the file in force, all of it or nothing, for all daemons, and then has the endpoints read again.
   * Throws an `AppError` with each of its mistakes.
   */
  reload(
    actor: Actor,
    neighbours: Pick<Neighbours, "reload">,
    endpoints_changed: () => Promise<void>,
  ): Promise<Reloaded>;
  /** What that would change. Throws the same. */
  plan(): Promise<Reloaded>;
  /** Resolves while the stored endpoints of the file and the configuration in force are of one kind. */
  settled(): Promise<void>;
}

/** A reloader that gives the new configuration and its digests to `apply`. */
export function makeReloader(
  ctx: Pick<Context, "config" | "db" | "log">,
  apply: (config: Config, shared: SharedFile) => void,
): Reloader {
  let last: Promise<unknown> = Promise.resolve();
  let syncing: Promise<void> = Promise.resolve();

  async function putInForce(
    actor: Actor,
    neighbours: Pick<Neighbours, "reload">,
    endpoints_changed: () => Promise<void>,
  ) {
    const before = ctx.config();
    const file = readAgain(before, ctx.log);
    const { next } = file;
    const shared = await sharedOf(next);
    const reloaded = await planReload(ctx.db, before, file, shared);
    const synced = neighbours.reload({ stored: fileOf(next, shared), shared }, actor)
      .then(() => apply(next, shared));
    syncing = synced.catch(() => {});
    await synced;
    await endpoints_changed();
    log(reloaded, shared);
    await writeAudit(ctx.db.admin, {
      actor,
      action: "config.reloaded",
      object: "config",
      after: reloaded,
    });
    return reloaded;
  }

  function log({ changed, at_next_start, endpoints }: Reloaded, { digest }: SharedFile): void {
    ctx.log.info("Configuration reloaded", { changes: changed.length, file: digest });
    for (const change of changed.slice(0, MAX_LOGGED)) {
      ctx.log.info("Configuration changed", {
        change,
        ...(at_next_start.includes(change) ? { takes_effect: "at the next start" } : {}),
      });
    }
    for (const { id, fields } of endpoints.changed.slice(0, MAX_LOGGED)) {
      for (const { field, from, to } of fields) {
        const text = (value: unknown) => field === "url" ? originOf(value) : JSON.stringify(value);
        ctx.log.info("Endpoint changed", { endpoint: id, field, from: text(from), to: text(to) });
      }
    }
  }

  return {
    reload(actor, neighbours, endpoints_changed) {
      // One after the other: the second sees what the first has changed.
      const mine = last.then(() => putInForce(actor, neighbours, endpoints_changed));
      last = mine.catch(() => {});
      return mine;
    },
    async plan() {
      const before = ctx.config();
      const file = readAgain(before, ctx.log);
      return await planReload(ctx.db, before, file, await sharedOf(file.next));
    },
    settled: () => syncing,
  };
}

const MAX_LOGGED = 100;

// A path or a query may hold what lets one in.
function originOf(url: unknown): string {
  return URL.parse(String(url))?.origin ?? "";
}

function readAgain(before: Config, log: Context["log"]): ReadAgain {
  const read = readFile(before, log);
  return { read, next: reloadable(before, read) };
}

/** What of a file that was read again can be put in force while running: the rest is as before. */
export function reloadable(before: Config, read: Config): Config {
  return {
    ...read,
    server: { ...read.server, listen: before.server.listen, tls: tlsOf(before, read) },
    database: databaseOf(before, read),
    encryption_keys: before.encryption_keys,
    delivery: { ...read.delivery, source_address: before.delivery.source_address },
  };
}

// The socket speaks TLS or not for good. Only its certificate can be replaced.
function tlsOf({ server: before }: Config, { server: read }: Config): Config["server"]["tls"] {
  return before.tls === null || read.tls === null ? before.tls : read.tls;
}

// Another database would need another start. The limit to its disk does not.
function databaseOf({ database: before }: Config, { database: read }: Config): Config["database"] {
  if (before.kind !== "embedded" || read.kind !== "embedded") return before;
  return { ...before, min_free_bytes: read.min_free_bytes };
}

function readFile({ path }: Config, log: Context["log"]): Config {
  try {
    return loadConfig(path, (name) => Deno.env.get(name));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const { mistakes } = error;
    log.error("The configuration file has mistakes; nothing was changed", {
      mistakes: mistakes.length,
      first: mistakes[0] === undefined ? null : formatMistake(path, mistakes[0]),
    });
    throw new AppError("invalid", "The configuration file has mistakes; nothing was changed", {
      errors: mistakes.map((mistake) => ({
        pointer: pointerOf(mistake.path),
        message: formatMistake(path, mistake),
      })),
    });
  }
}

// `endpoints[0].url` as a JSON pointer.
function pointerOf(path: string): string {
  return path === "" ? "" : "/" + path.replace(/\[(\d+)\]/g, ".$1").replaceAll(".", "/");
}
