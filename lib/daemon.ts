import { getRequestListener } from "@hono/node-server";
import { makePace } from "./admin/pace.ts";
import type { Reloaded } from "./admin/shown.ts";
import { makeStreams } from "./admin/stream.ts";
import { cidrContains } from "./core/address.ts";
import { AppError } from "./core/errors.ts";
import type { Secret } from "./core/secret.ts";
import { VERSION } from "./core/version.ts";
import type { Config } from "./config/config.ts";
import { sharedOf } from "./config/shared.ts";
import { adminTokens, sealKeys } from "./config/first_start.ts";
import { type Context, makeClock } from "./delivery/context.ts";
import { fileOf } from "./delivery/fleet.ts";
import { makeHttpClient } from "./http/client.ts";
import { examineTarget } from "./http/examine.ts";
import { type HttpServer, listen } from "./http/server.ts";
import { watchDisk } from "./disk.ts";
import { engineForRoutes, hear, startEngine } from "./engine.ts";
import { listenersOf, makeInForce } from "./in_force.ts";
import { holderOf, meetNeighbours } from "./neighbours.ts";
import type { Log } from "./observe/log.ts";
import { logSignals } from "./observe/log_signals.ts";
import { makeSignals } from "./observe/signals.ts";
import { watchStatements } from "./readiness.ts";
import { makeReloader } from "./reload.ts";
import { makeStop } from "./shutdown.ts";
import { type Actor, DAEMONS } from "./store/changes.ts";
import type { Listener } from "./store/daemons.ts";
import { type Database, openDatabase } from "./store/database.ts";
import { makeApp } from "../routes/app.ts";
import type { RouteContext } from "../routes/context.ts";
import { toProblem } from "../routes/middleware/problem.ts";

/** A running daemon. */
export interface Daemon {
  /** Its address, `http://127.0.0.1:8080`. */
  readonly url: string;
  /** A token of the role `admin`: the first configured one, or the one made at the first start. */
  readonly admin_token: Secret | undefined;
  /**
   * Reads the configuration file again. A valid one takes effect without losing a delivery. One with
   * mistakes changes nothing: it rejects with an `AppError` that lists each of them.
   */
  reload(): Promise<Reloaded>;
  /**
   * Stops: claims nothing more, finishes the attempts under way (at most the longest timeout and five
   * seconds) while it goes on storing events, gives back the rest. Called again, it cuts the attempts off
   * at once.
   */
  stop(): Promise<void>;
  /** Resolves once it has stopped. */
  readonly stopped: Promise<void>;
}

/**
 * Starts everything: database, endpoints of the file, engine, HTTP. Once it resolves, events are
 * accepted. If anything is missing it throws and leaves nothing running. `opening` is the
 * configuration's database, in case it is being opened already.
 */
export async function start(
  config: Config,
  log: Log,
  opening: Promise<Database> = openDatabase(config, log),
): Promise<Daemon> {
  const stack = new AsyncDisposableStack();
  try {
    const db = await opening;
    stack.defer(() => db.close());
    return await startOn(stack, db, config, log);
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

async function startOn(
  stack: AsyncDisposableStack,
  db: Database,
  config: Config,
  log: Log,
): Promise<Daemon> {
  if (db.migrated.length > 0) log.info("Database migrated", { migrations: db.migrated.join(" ") });
  const { keys, ...made_key } = sealKeys(config);
  logMade("Encryption key", made_key, log);
  let shared = await sharedOf(config);

  const signals = makeSignals();
  const http = await listen(config.server.listen, signals, log);
  stack.defer(() => http.close());
  checkSourceAddress(config, log);
  const { tokens, ...made_token } = adminTokens(config);
  let neighbouring: readonly Listener[] = [];
  let in_force = makeInForce(config, tokens, http);
  const ctx: Context = {
    config: () => in_force.config,
    shared: () => shared,
    db,
    log,
    signals,
    clock: makeClock(),
    random: Math.random,
    holder: await holderOf(db, http),
  };
  const addresses = {
    rules: () => in_force.rules,
    ...(config.delivery.source_address === null
      ? {}
      : { source_address: config.delivery.source_address }),
  };
  const client = makeHttpClient(addresses);
  stack.defer(() => client.close());
  logSignals(signals, log, ctx.clock.now);
  const failing = watchStatements(signals);
  const reloader = makeReloader(ctx, (next, digests) => {
    in_force = makeInForce(next, adminTokens(next).tokens, http, neighbouring);
    shared = digests;
  });
  const file = { stored: fileOf(config, shared), shared };
  const neighbours = await meetNeighbours(db, log, listenersOf(http), file, (others) => {
    neighbouring = others;
    in_force = makeInForce(in_force.config, in_force.tokens, http, neighbouring);
  });
  stack.defer(() => neighbours.stop());
  const disk = watchDisk(ctx.config, log);
  stack.defer(() => disk.stop());
  const engine = await startEngine(ctx, client, keys, reloader.settled);
  stack.defer(() => engine.dispatcher.stop(0));
  const streams = makeStreams(
    db,
    (cause) => log.warn("Streams wait for the database", { cause }),
  );
  const reload = async (actor: Actor) => {
    const reloaded = await reloader.reload(actor, neighbours, engine.fleet.reload);
    void engine.cancelUnowed();
    return reloaded;
  };
  serve(http, log, {
    ...ctx,
    ...engineForRoutes(ctx, engine, disk, failing),
    in_force: () => in_force,
    now: ctx.clock.now,
    seal_keys: keys,
    pace: makePace(() => performance.now()),
    streams,
    examine: (target) => examineTarget(target, addresses),
    reload,
    plan_reload: reloader.plan,
  });
  db.listen(
    (payload) => payload === DAEMONS ? void neighbours.look() : hear(engine, payload),
    () => engine.dispatcher.wake("all"),
  );

  log.info("Listening", {
    url: http.url,
    version: VERSION,
    database: db.kind,
    daemon: neighbours.id,
    file: shared.digest,
  });
  logMade("Admin token", made_token, log);
  stack.move();
  return {
    url: http.url,
    admin_token: tokens.find((token) => token.role === "admin")?.token,
    reload: () => reload({ name: "SIGHUP", address: null }),
    ...makeStop({ http, client, db, disk, neighbours, streams, log, ...engine }),
  };
}

function logMade(what: string, { made_at }: { readonly made_at?: string }, log: Log): void {
  if (made_at !== undefined) log.info(`${what} made, as none is configured`, { file: made_at });
}

function serve(http: HttpServer, log: Log, ctx: RouteContext): void {
  http.serve(getRequestListener(makeApp(ctx).fetch, {
    errorHandler: () => toProblem(new AppError("malformed", "Target and Host make no URL"), log),
  }));
}

// Receivers that allow the networks of /ip-ranges only would refuse what comes from elsewhere.
function checkSourceAddress({ delivery, environment, ip_ranges }: Config, log: Log): void {
  const { source_address } = delivery;
  if (source_address === null) return;
  const inside = ip_ranges[environment].some((cidr) => cidrContains(cidr, source_address));
  const fields = { source_address, environment };
  if (inside) log.info("delivery.source_address lies in the ip_ranges in force", fields);
  else log.warn("delivery.source_address lies in none of the ip_ranges in force", fields);
}
