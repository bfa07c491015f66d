import { createHash, randomBytes } from "node:crypto";
import { differencesAmong, type SharedFile } from "./config/shared.ts";
import { isLoopback, isWildcard } from "./core/address.ts";
import type { Trouble } from "./core/alerting/kinds.ts";
import { listed, messageOf } from "./core/errors.ts";
import { daemonId } from "./core/ids.ts";
import { VERSION } from "./core/version.ts";
import type { Log } from "./observe/log.ts";
import type { Actor } from "./store/changes.ts";
import {
  announce,
  clientAddress,
  type Company,
  type Daemon,
  type Listener,
  type Occasion,
  readCompany,
  withdraw,
} from "./store/daemons.ts";
import type { Database } from "./store/database.ts";
import { within } from "./store/deadline.ts";
import { type StoredFile, type Synced, syncFile } from "./store/endpoints.ts";

/**
 * The daemons on the database, this one among them: nothing is delivered to the listeners of any, and one
 * of their configuration files is in force for all (contract, section 3).
 */
export interface Neighbours {
  /** This daemon's id, `dmn_…`. */
  readonly id: string;
  /** Announces this daemon again, and looks who else is there. Puts its file in force if that is its turn. */
  look(): Promise<void>;
  /**
   * Has another file from now on, and puts it in force: an operator asked for that. Resolves with the
   * endpoints that this changed.
   */
  reload(file: HeldFile, actor: Actor): Promise<readonly Synced[]>;
  /** Withdraws this daemon. */
  stop(): Promise<void>;
}

/** A daemon's configuration file, with the digests that all daemons compare. */
export interface HeldFile {
  readonly stored: StoredFile;
  readonly shared: SharedFile;
}

const HEARTBEAT_MS = 10_000;
/** How long a heartbeat waits for the database, and how long a start or a reload does. */
const BEAT_TIMEOUT_MS = 5_000;
const ANSWER_TIMEOUT_MS = 35_000;

/**
 * After an outage, or a step of the database's clock, all other daemons seem to be gone until they announce
 * themselves again. So a daemon that could not do that itself for a while judges nobody for a bit longer
 * than a heartbeat.
 */
const MAX_GAP_MS = 30_000;
const BLIND_MS = 12_000;

/**
 * Announces this daemon on the database, now and from time to time, and puts its file in force unless
 * another daemon has a newer one. Calls `changed` with the listeners of others, as far as they can be
 * reached from here.
 */
export async function meetNeighbours(
  db: Pick<Database, "kind" | "admin">,
  log: Log,
  listeners: readonly Listener[],
  file: HeldFile,
  troubles: () => readonly Trouble[],
  changed: (others: readonly Listener[]) => void,
): Promise<Neighbours> {
  const id = daemonId(randomBytes(10));
  const me = { id, machine: machineKey(), listeners, version: VERSION };
  const tell = makeTeller(log, id);
  let held = file;
  let known = "[]";
  let blind_until = -Infinity;
  let last: Promise<unknown> = Promise.resolve();
  let looking: Promise<void> | undefined;
  let stopping = false;

  async function meet(
    occasion: Occasion,
    file: HeldFile,
    actor?: Actor,
  ): Promise<readonly Synced[]> {
    const { digest } = file.stored;
    const own: Daemon = { ...me, file: digest, troubles: troubles() };
    const alone = db.kind === "embedded";
    const wait_ms = occasion === "beat" ? BEAT_TIMEOUT_MS : ANSWER_TIMEOUT_MS;
    const answer = <T>(work: Promise<T>) => within(work, wait_ms);
    const gap_ms = await answer(announce(db.admin, own, file.shared, occasion, alone));
    // Null: it was forgotten.
    const was_away = Math.abs(gap_ms ?? Infinity) > MAX_GAP_MS;
    if (occasion === "beat" && was_away) blind_until = performance.now() + BLIND_MS;
    const company = await answer(readCompany(db.admin));
    hearListeners(company);
    const may_wait = occasion === "beat" &&
      (company.in_force === digest || performance.now() < blind_until);
    if (company.newest !== digest || may_wait) {
      tell(file.shared, company);
      return [];
    }
    const deferred = occasion === "beat" && isVanished(company);
    const by = deferred ? "deferred" : occasion === "reload" ? "reload" : null;
    const synced = await within(syncFile(db.admin, file.stored, actor, by), ANSWER_TIMEOUT_MS);
    // If it is outdated, a newer one came in between.
    const changed = synced === "outdated" ? [] : synced;
    for (const one of changed) logSynced(one, log, deferred);
    tell(file.shared, await answer(readCompany(db.admin)));
    return changed;
  }

  function hearListeners({ daemons }: Company): void {
    const others = reachable(me, daemons.filter((other) => other.lives && other.id !== id));
    const now = JSON.stringify(others);
    if (now !== known) changed(others);
    known = now;
  }

  // One after the other: each acts on what the last one left.
  function next<T>(run: () => Promise<T>): Promise<T> {
    const mine = last.then(run);
    last = mine.catch(() => {});
    return mine;
  }

  function look(): Promise<void> {
    if (stopping) return Promise.resolve();
    return looking ??= next(async () => {
      looking = undefined;
      await meet("beat", held);
    }).catch((error) =>
      // While the database is away, the last answer stays in force.
      log.warn("The other daemons could not be read", { cause: messageOf(error) })
    );
  }

  async function stop(): Promise<void> {
    stopping = true;
    clearInterval(ticker);
    // If that is not heard, it is gone in a minute.
    await within(next(() => withdraw(db.admin, id)), BEAT_TIMEOUT_MS).catch(() => {});
  }

  const ticker = setInterval(() => void look(), HEARTBEAT_MS);
  try {
    await next(() => meet("start", held));
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    id,
    look,
    reload: (file, actor) =>
      next(async () => {
        const changed = await meet("reload", file, actor);
        held = file;
        return changed;
      }),
    stop,
  };
}

/** Whether the last daemon that held the file in force is gone without having stopped: it may come back. */
function isVanished({ daemons, in_force }: Company): boolean {
  const [last] = daemons.filter(({ file }) => file === in_force)
    .toSorted((a, b) => b.seen_at.getTime() - a.seen_at.getTime());
  return last !== undefined && !last.lives && last.stopped_at === null;
}

/**
 * Logs what became of an endpoint of the file, and how many pending deliveries that cancels: a warning if
 * that is deferred, since nobody asked for it.
 */
function logSynced(
  { id, what, cancels, cancels_exact }: Synced,
  log: Log,
  deferred: boolean,
): void {
  const cancelled = cancels === 0 && cancels_exact
    ? {}
    : { cancels: cancels_exact ? cancels : `at least ${cancels}` };
  const message = what === "retired"
    ? "Endpoint retired: not in the file"
    : "Endpoint of the file stored";
  if (deferred && "cancels" in cancelled) {
    const when = "in 24 h, unless the file that was in force before is back";
    log.warn(message, { endpoint: id, ...cancelled, when });
  } else log.info(message, { endpoint: id, ...cancelled });
}

/**
 * Logs with which other daemons this one disagrees about the file, and in what: in the daemon whose file is
 * in force and in those that have another one, each disagreement once.
 */
function makeTeller(log: Log, id: string): (shared: SharedFile, company: Company) => void {
  let told: readonly string[] = [];
  return (shared, company) => {
    // A daemon is putting its file in force just now, and says so when it has.
    if (company.newest !== company.in_force) return;
    const lines = disagreements(id, shared, company);
    const texts = lines.map((line) => JSON.stringify(line));
    lines.forEach(({ message, ...fields }, index) => {
      if (!told.includes(texts[index] ?? "")) log.warn(message, fields);
    });
    if (lines.length === 0 && told.length > 0) {
      log.info("All daemons have the same file", { file: shared.digest });
    }
    told = texts;
  };
}

function disagreements(id: string, shared: SharedFile, { daemons, files, in_force }: Company) {
  const others = daemons.filter((other) => other.lives && other.id !== id);
  const describe = (file: string) => ({
    file,
    in_force,
    differences: listed(differencesAmong(files, file, in_force)),
  });
  if (in_force === shared.digest) {
    return others.filter(({ file }) => file !== in_force).map((other) => ({
      message: "Another daemon's file is older than this daemon's, which is in force",
      daemon: other.id,
      ...describe(other.file),
    }));
  }
  return [{
    message: "Another daemon's file is in force: this daemon's is older and changes nothing",
    daemons: others.filter(({ file }) => file === in_force).map((other) => other.id).join(" "),
    ...describe(shared.digest),
  }];
}

/**
 * The number under which a daemon with this listener leases, 32 bits. The next one there has the same,
 * and cannot start before this one has ended: what it finds leased under its number was left by a kill.
 * The machine's name and the address that the database sees belong to the place, because containers of
 * different hosts may have the same interfaces.
 */
export async function holderOf(
  { kind, admin }: Pick<Database, "kind" | "admin">,
  { address, port }: Listener,
): Promise<number> {
  if (kind === "embedded") return 0; // opening it has ended all leases
  const place = [machineKey(), machineName(), await clientAddress(admin), address, port];
  return createHash("sha256").update(place.join("\n")).digest().readInt32BE(0);
}

function machineName(): string {
  try {
    return Deno.readTextFileSync("/etc/hostname");
  } catch {
    return "";
  }
}

/** The listeners of other daemons that addresses on this machine may lead to. Pure. */
export function reachable(
  own: Pick<Daemon, "machine" | "listeners">,
  others: readonly Pick<Daemon, "machine" | "listeners">[],
): Listener[] {
  const mine = new Set(own.listeners.map(({ address }) => address));
  return others
    .flatMap(({ machine, listeners }) =>
      listeners.filter(({ address }) =>
        machine === own.machine ||
        !(isWildcard(address) || isLoopback(address) || mine.has(address))
      )
    )
    .toSorted((a, b) => a.address < b.address ? -1 : a.address > b.address ? 1 : a.port - b.port);
}

// The machine as its network interfaces show it: no two have the same.
function machineKey(): string {
  const interfaces = Deno.networkInterfaces().map(({ name, mac, address }) =>
    `${name} ${mac} ${address}`
  );
  return createHash("sha256").update(interfaces.toSorted().join("\n")).digest("hex").slice(0, 16);
}
