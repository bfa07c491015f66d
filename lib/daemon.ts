import { randomBytes } from "node:crypto";
import { getRequestListener } from "@hono/node-server";
import { type AddressRules, cidrContains, isWildcard } from "./core/address.ts";
import { AppError, messageOf } from "./core/errors.ts";
import { makeEventTypes } from "./core/event_types.ts";
import { makeEventIds } from "./core/ids.ts";
import { parseSealKey, type SealKey } from "./core/seal.ts";
import { Secret } from "./core/secret.ts";
import { VERSION } from "./core/version.ts";
import { addressRules, type AdminToken, type Config } from "./config/config.ts";
import { type Context, makeClock, random32 } from "./delivery/context.ts";
import { type Dispatcher, makeDispatcher } from "./delivery/dispatcher.ts";
import { type Fleet, makeFleet, toStored } from "./delivery/fleet.ts";
import { type HttpClient, makeHttpClient } from "./http/client.ts";
import { type Intake, makeIntake } from "./delivery/intake.ts";
import { type Replayer, startReplayer } from "./maintenance/replayer.ts";
import { startSweeper, type Sweeper } from "./maintenance/sweeper.ts";
import { type HttpServer, listen } from "./http/server.ts";
import { makeCounters } from "./observe/counters.ts";
import type { Log } from "./observe/log.ts";
import { makeSignals } from "./observe/signals.ts";
import { makeReloader, type Reloaded, type Reloader } from "./reload.ts";
import { type Database, isSilence, openDatabase, within } from "./store/database.ts";
import { loadFleet, syncFile } from "./store/endpoints.ts";
import { makeApp } from "../routes/app.ts";
import { toProblem } from "../routes/middleware/problem.ts";

/** A running daemon. */
export interface Daemon {
  /** Where it listens, `http://127.0.0.1:8080`. */
  readonly url: string;
  /** A token of the role `admin`: the first configured, or the one that was made. */
  readonly admin_token: Secret | undefined;
  /**
   * Reads the configuration file again. A valid one takes effect without losing a delivery; one with
   * mistakes changes nothing: then it rejects with an `AppError` that has each of them.
   */
  reload(): Promise<Reloaded>;
  /**
   * Stops: claims nothing more, finishes what is under way (at most the longest timeout and five
   * seconds), gives back the rest. Called again, it cuts off at once.
   */
  stop(): Promise<void>;
  /** Resolves when it has stopped. */
  readonly stopped: Promise<void>;
}

/** What recording and, behind it, closing may take beside the longest timeout: 5 seconds together. */
const RECORD_GRACE_MS = 3_000;
const CLOSE_GRACE_MS = 500;
const PING_TIMEOUT_MS = 4_000;

/**
 * Starts everything: database, endpoints of the file, engine, HTTP. When it resolves, events are
 * accepted. Throws where anything is missing, and leaves nothing running then. `opening` is the
 * configuration's database, where it is being opened already.
 */
export async function start(
  config: Config,
  log: Log,
  opening: Promise<Database> = openDatabase(config),
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

  let inForce = config;
  const ctx: Context = {
    config: () => inForce,
    db,
    log,
    signals: makeSignals(),
    clock: makeClock(),
    random: Math.random,
  };
  const seal_keys = sealKeys(config, log);
  const synced = await syncFile(db.admin, config.endpoints.map(toStored));
  for (const id of synced.changed) log.info("Endpoint of the file stored", { endpoint: id });
  for (const id of synced.retired) log.info("Endpoint retired: not in the file", { endpoint: id });

  const counters = makeCounters();
  const http = await listen(config.server.listen, counters, log);
  stack.defer(() => http.close());
  checkSourceAddress(config, log);
  let rules = rulesFor(config, http);
  const client = makeHttpClient({
    rules: () => rules,
    ...(config.delivery.source_address === null
      ? {}
      : { source_address: config.delivery.source_address }),
  });
  stack.defer(() => client.close());

  const reloader = makeReloader(ctx, (next) => {
    inForce = next;
    rules = rulesFor(next, http);
    event_types = makeEventTypes(next.event_types);
    tokens = adminTokens(next).tokens;
  });
  const engine = await startEngine(ctx, client, reloader, seal_keys);
  stack.defer(() => engine.dispatcher.stop(0));
  const made = adminTokens(config);
  let tokens = made.tokens;
  let event_types = makeEventTypes(config.event_types);
  const ids = makeEventIds(() => random32(ctx.random));
  const app = makeApp({
    config: ctx.config,
    event_types: () => event_types,
    db,
    log,
    now: ctx.clock.now,
    counters,
    tokens: () => tokens,
    accept: engine.intake.accept,
    rules: () => rules,
    seal_keys,
    newUuid: () => ids.next(ctx.clock.now()),
    endpoint: (no) => engine.dispatcher.fleet.endpoints.get(no),
    wake: engine.dispatcher.wake,
    endpoints_changed: engine.reload,
    replays_changed: engine.replayer.wake,
    reload: (actor) => reloader.reload(actor, engine.reload),
    readiness: () => readiness(db, engine.dispatcher),
  });
  http.serve(getRequestListener(app.fetch, {
    errorHandler: () => toProblem(new AppError("malformed", "Target and Host make no URL"), log),
  }));
  await db.listen(engine.heard, () => engine.heard("all"));

  log.info("Listening", { url: http.url, version: VERSION, database: db.kind });
  if (made.made_at !== undefined) {
    log.info("Admin token made, as none is configured", { file: made.made_at });
  }
  stack.move();
  return {
    url: http.url,
    admin_token: tokens.find((token) => token.role === "admin")?.token,
    reload: () => reloader.reload({ name: "SIGHUP", address: null }, engine.reload),
    ...makeStop({ http, client, db, log, ...engine }),
  };
}

interface Engine {
  readonly dispatcher: Dispatcher;
  readonly intake: Intake;
  readonly sweeper: Sweeper;
  readonly replayer: Replayer;
  /** Reads the endpoints again; resolves when they are in force. */
  reload(): Promise<void>;
  /** What another process said: endpoint numbers with something due, `all`, or `fleet`. */
  heard(payload: string): void;
}

async function startEngine(
  ctx: Context,
  client: HttpClient,
  reloader: Pick<Reloader, "settled">,
  seal_keys: readonly SealKey[],
): Promise<Engine> {
  const unsendable = new Set<string>();
  const load = async () => {
    // Rows of a new file must not meet the secrets of the old one, nor the other way round: read again
    // where a reload came in between.
    for (;;) {
      const settled = reloader.settled();
      await settled;
      // Ingest waits for it, so it must not wait behind a list or a purge.
      const stored = await loadFleet(ctx.db.ingest);
      if (reloader.settled() !== settled) continue;
      const fleet = makeFleet(stored, ctx.config(), seal_keys);
      logUnsendable(fleet, unsendable, ctx.log);
      return fleet;
    }
  };
  // Once at a time, and once more for whoever asked meanwhile: what they saw may be newer.
  let running: Promise<void> | undefined;
  let next: Promise<void> | undefined;
  const reload = (): Promise<void> => {
    const run = async () => dispatcher.setFleet(await load());
    if (running === undefined) return running = run().finally(() => running = undefined);
    next ??= running.catch(() => {}).then(() => {
      next = undefined;
      return reload();
    });
    return next;
  };
  const tryReload = () =>
    void reload().catch((error) =>
      ctx.log.error("The endpoints could not be read again", { cause: messageOf(error) })
    );
  const dispatcher = makeDispatcher(ctx, client, await load(), tryReload);
  const intake = makeIntake(ctx, dispatcher, reload);
  const sweeper = startSweeper(ctx, dispatcher, seal_keys);
  const replayer = startReplayer(ctx, dispatcher.wake);
  return {
    dispatcher,
    intake,
    sweeper,
    replayer,
    reload,
    heard(payload) {
      if (payload === "fleet") tryReload();
      else dispatcher.wake(payload === "all" ? "all" : payload.split(",").map(Number));
    },
  };
}

// Each once, and again after it could be sent to meanwhile.
function logUnsendable(fleet: Fleet, known: Set<string>, log: Log): void {
  for (const { id, sendable, unsendable_reason } of fleet.endpoints.values()) {
    if (sendable) known.delete(id);
    else if (!known.has(id)) {
      known.add(id);
      log.error("An endpoint cannot be sent to; its deliveries wait", {
        endpoint: id,
        reason: unsendable_reason,
      });
    }
  }
}

async function readiness(db: Database, dispatcher: Dispatcher) {
  const database = await db.ping(PING_TIMEOUT_MS).then(() => "ok", messageOf);
  const engine = dispatcher.healthy ? "ok" : "The dispatcher has had no answer for 8 seconds";
  return {
    ready: database === "ok" && engine === "ok",
    checks: { database, dispatcher: engine },
  };
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

// What is bound counts, not what the file says: that may be a name, or any free port.
function rulesFor(
  config: Config,
  { address, port }: Pick<HttpServer, "address" | "port">,
): AddressRules {
  const addresses = isWildcard(address) ? [address, ...ownAddresses()] : [address];
  return {
    ...addressRules(config),
    own_listener: addresses.map((address) => ({ address, port })),
  };
}

function ownAddresses(): string[] {
  return Deno.networkInterfaces().map(({ address }) => address);
}

// Without a token nobody could look: the embedded default makes one, beside the database.
function adminTokens(config: Config): { tokens: readonly AdminToken[]; made_at?: string } {
  const { tokens } = config.admin;
  if (tokens.length > 0 || config.database.kind === "server") return { tokens };
  const path = `${config.database.directory}/admin.token`;
  const admin = (token: string) =>
    [{ name: "admin", token: new Secret(token), role: "admin" }] as const;
  try {
    return { tokens: admin(Deno.readTextFileSync(path).trim()) };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const token = randomBytes(24).toString("base64url");
  Deno.writeTextFileSync(path, token + "\n", { mode: 0o600, createNew: true });
  return { tokens: admin(token), made_at: path };
}

// Beside the embedded database and not in it: whoever copies the one has not copied the other.
function sealKeys(config: Config, log: Log): readonly SealKey[] {
  const { database, encryption_keys } = config;
  if (encryption_keys.length > 0) {
    return encryption_keys.map((key) => parseSealKey(key.reveal()));
  }
  if (database.kind === "server") return [];
  const path = `${database.directory}/encryption.key`;
  try {
    return [parseSealKey(Deno.readTextFileSync(path).trim())];
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const key = randomBytes(32).toString("base64");
  Deno.writeTextFileSync(path, key + "\n", { mode: 0o600, createNew: true });
  log.info("Encryption key made, as none is configured", { file: path });
  return [parseSealKey(key)];
}

// A database that gives no answer must not make it longer: whoever waits for it is left behind.
async function atMost(wait_ms: number, work: Promise<unknown>): Promise<void> {
  await within(work, wait_ms).catch((error) => {
    if (!isSilence(error)) throw error;
  });
}

function makeStop(
  parts: Engine & { http: HttpServer; client: HttpClient; db: Database; log: Log },
): Pick<Daemon, "stop" | "stopped"> {
  const { http, client, db, log, dispatcher, intake, sweeper, replayer } = parts;
  const done = Promise.withResolvers<void>();
  let asked = false;
  async function stop(): Promise<void> {
    log.info("Stopping", { in_flight: dispatcher.in_flight });
    const grace_ms = dispatcher.fleet.max_timeout_ms + RECORD_GRACE_MS;
    dispatcher.quiesce();
    const finished = atMost(
      grace_ms,
      Promise.all([
        sweeper.stop(),
        replayer.stop(),
        intake.settle().then(() => dispatcher.stop(grace_ms)),
      ]),
    );
    await Promise.all([finished, http.close(finished)]);
    // What was posted on connections that were open.
    await atMost(CLOSE_GRACE_MS, intake.settle());
    client.close();
    await db.close();
    log.info("Stopped");
  }
  return {
    stopped: done.promise,
    stop() {
      if (asked) client.close();
      else {
        asked = true;
        stop().then(done.resolve, done.reject);
      }
      return done.promise;
    },
  };
}
