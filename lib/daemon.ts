import { makePace } from "./admin/pace.ts";
import type { Reloaded } from "./admin/shown.ts";
import { makeStreams } from "./admin/stream.ts";
import type { Secret } from "./core/secret.ts";
import { VERSION } from "./core/version.ts";
import type { Config } from "./config/config.ts";
import { type SharedFile, sharedOf } from "./config/shared.ts";
import { adminTokens, sealKeys } from "./config/first_start.ts";
import { type Context, makeClock } from "./delivery/context.ts";
import { fileOf } from "./delivery/fleet.ts";
import { makeHttpClient } from "./http/client.ts";
import { examineTarget } from "./http/examine.ts";
import { listen } from "./http/server.ts";
import { watchDisk } from "./disk.ts";
import { engineForRoutes, hear, startEngine, watchedOf } from "./engine.ts";
import { listenersOf, makeInForce } from "./in_force.ts";
import { holderOf, meetNeighbours } from "./neighbours.ts";
import { makeMailer } from "./notify/mail.ts";
import { makeMetrics } from "./metrics.ts";
import type { Log } from "./observe/log.ts";
import { logSignals } from "./observe/log_signals.ts";
import { makeSignals } from "./observe/signals.ts";
import type { Tracing } from "./observe/traces.ts";
import { renewCertificate, warnOfCertificate } from "./own_certificate.ts";
import { watchStatements } from "./readiness.ts";
import { watchTroubles } from "./troubles.ts";
import { makeReloader } from "./reload.ts";
import type { Watched } from "./service_manager.ts";
import { makeStop } from "./shutdown.ts";
import { sourceAddress } from "./source_address.ts";
import { type Actor, DAEMONS } from "./store/changes.ts";
import type { Listener } from "./store/daemons.ts";
import { type Database, openDatabase } from "./store/database.ts";
import { makeListener } from "../routes/listener.ts";

/** A running daemon. */
export interface Daemon {
  /** Its address, `http://127.0.0.1:8080`, or `https:` with TLS. */
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
  /** How it is, for a service manager. */
  readonly watched: Watched;
}

/**
 * Starts everything: database, endpoints of the file, engine, HTTP. Once it resolves, events are
 * accepted. If anything is missing it throws and leaves nothing running. `opening` is the
 * configuration's database, in case it is being opened already; `tracing` is what `startTracing` answered.
 */
export async function start(
  config: Config,
  log: Log,
  opening: Promise<Database> = openDatabase(config, log),
  tracing?: Tracing,
): Promise<Daemon> {
  const stack = new AsyncDisposableStack();
  warnOfCertificate(config, log);
  // On other threads, while the database is being opened.
  const sharing = sharedOf(config);
  sharing.catch(() => {});
  try {
    const db = await opening;
    stack.defer(() => db.close());
    return await startOn(stack, db, config, await sharing, log, tracing);
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

async function startOn(
  stack: AsyncDisposableStack,
  db: Database,
  config: Config,
  shared: SharedFile,
  log: Log,
  tracing: Tracing | undefined,
): Promise<Daemon> {
  if (db.migrated.length > 0) log.info("Database migrated", { migrations: db.migrated.join(" ") });
  const { keys, ...made_key } = sealKeys(config);
  logMade("Encryption key", made_key, log);

  const signals = makeSignals();
  const http = await listen({ ...config.server.listen, tls: config.server.tls }, signals, log);
  stack.defer(() => http.close());
  const { tokens, ...made_token } = adminTokens(config);
  let neighbouring: readonly Listener[] = [];
  let in_force = makeInForce(config, tokens, http);
  const ctx: Context = {
    config: () => in_force.config,
    shared: () => shared,
    db,
    log,
    signals,
    tracing,
    clock: makeClock(),
    random: Math.random,
    holder: await holderOf(db, http),
  };
  const addresses = { rules: () => in_force.rules, ...sourceAddress(config, log) };
  const client = makeHttpClient(addresses);
  stack.defer(() => client.close());
  logSignals(signals, log, ctx.clock.now);
  const metrics = makeMetrics(ctx, () => in_force.event_types.names);
  stack.defer(() => metrics.stop());
  const failing = watchStatements(signals);
  const reloader = makeReloader(ctx, (next, digests) => {
    in_force = makeInForce(next, adminTokens(next).tokens, http, neighbouring);
    renewCertificate(http, next, log);
    shared = digests;
  });
  const file = { stored: fileOf(config, shared), shared };
  const disk = watchDisk(ctx.config, log);
  stack.defer(() => disk.stop());
  const troubles = watchTroubles(disk, signals);
  const neighbours = await meetNeighbours(db, log, listenersOf(http), file, troubles, (others) => {
    neighbouring = others;
    in_force = makeInForce(in_force.config, in_force.tokens, http, neighbouring);
  });
  stack.defer(() => neighbours.stop());
  const engine = await startEngine(ctx, client, keys, reloader.settled, {
    examine: (target) => examineTarget(target, addresses),
    mailer: makeMailer(addresses),
    base_url: () => in_force.base_url,
    disk,
    failing,
  });
  stack.defer(() => engine.heartbeat.stop());
  stack.defer(() => engine.dispatcher.stop(0));
  const streams = makeStreams(
    db,
    (cause) => log.warn("Streams wait for the database", { cause }),
  );
  const reload = async (actor: Actor) => {
    const reloaded = await metrics.watchReload(
      reloader.reload(actor, neighbours, engine.fleet.reload),
    );
    void engine.cancelUnowed();
    return reloaded;
  };
  const routing = engineForRoutes(ctx, engine, disk, failing);
  metrics.follow({ engine, disk, readiness: routing.readiness });
  http.serve(makeListener({
    ...ctx,
    ...routing,
    metrics: metrics.render,
    in_force: () => in_force,
    now: ctx.clock.now,
    seal_keys: keys,
    pace: makePace(() => performance.now()),
    streams,
    reload,
    plan_reload: reloader.plan,
  }));
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
    watched: watchedOf(db, engine, routing, metrics),
    ...makeStop({ http, client, db, disk, metrics, neighbours, streams, log, ...engine }),
  };
}

function logMade(what: string, { made_at }: { readonly made_at?: string }, log: Log): void {
  if (made_at !== undefined) log.info(`${what} made, as none is configured`, { file: made_at });
}
