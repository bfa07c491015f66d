import { createHash } from "node:crypto";
import { isLoopback, isWildcard } from "./core/address.ts";
import { messageOf } from "./core/errors.ts";
import type { Log } from "./observe/log.ts";
import { announce, type Daemon, type Listener, withdraw } from "./store/daemons.ts";
import type { Database } from "./store/database.ts";
import { within } from "./store/deadline.ts";

/** The other daemons on the database: nothing is delivered to their listeners. */
export interface Neighbours {
  /** Announces this daemon again, and looks who else is there. */
  look(): Promise<void>;
  /** Withdraws this daemon. */
  stop(): Promise<void>;
}

const HEARTBEAT_MS = 10_000;
const ANSWER_TIMEOUT_MS = 5_000;

/**
 * Announces this daemon's listeners on the database, now and from time to time, and calls `changed` with
 * those of others, as far as they can be reached from here. An embedded database has no others.
 */
export async function meetNeighbours(
  db: Pick<Database, "kind" | "admin">,
  log: Log,
  listeners: readonly Listener[],
  changed: (others: readonly Listener[]) => void,
): Promise<Neighbours> {
  if (db.kind === "embedded") return { look: async () => {}, stop: async () => {} };
  const id = crypto.randomUUID();
  let known = "[]";

  async function look(): Promise<void> {
    const own: Daemon = { id, machine: machineKey(), listeners };
    const others = reachable(own, await within(announce(db.admin, own), ANSWER_TIMEOUT_MS));
    const now = JSON.stringify(others);
    if (now !== known) changed(others);
    known = now;
  }

  // While the database is away, the last answer stays in force.
  const tryLook = () =>
    look().catch((error) =>
      log.warn("The other daemons could not be read", { cause: messageOf(error) })
    );

  await look();
  const ticker = setInterval(() => void tryLook(), HEARTBEAT_MS);
  return {
    look: tryLook,
    async stop() {
      clearInterval(ticker);
      await within(withdraw(db.admin, id), ANSWER_TIMEOUT_MS).catch(() => {}); // forgotten in a minute
    },
  };
}

/** The listeners of other daemons that addresses on this machine may lead to. Pure. */
export function reachable(own: Daemon, others: readonly Daemon[]): Listener[] {
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
