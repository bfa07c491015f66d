import { messageOf } from "../../../lib/core/errors.ts";
import { until } from "../../support/wait.ts";
import { Skip } from "../fault.ts";
import { run } from "../system.ts";

/** A network of machines on this one: namespaces whose cables end in one bridge. */
export interface Network extends AsyncDisposable {
  /** The bridge's address, at which machines find what runs outside of them. */
  readonly hub: string;
  /** All addresses of it. */
  readonly cidr: string;
  machine(name: string): Machine;
}

/** A network namespace with an address. */
export interface Machine {
  readonly name: string;
  readonly address: string;
  /** A command prefix by which root runs something on it. */
  readonly wrap: readonly string[];
  /** Plugs its cable in, or pulls it out. */
  plug(on: boolean): Promise<void>;
}

/** A new machine's name, and the last number of its address. */
export type Plan = Readonly<Record<string, number>>;

// By these names what an earlier run has left is recognised; those of links have at most 15 characters.
const NAMESPACE = /^bookme-(\d+)-\w+/;
const LINK = /^bm(\d+)(?!\d)/;
/** A server that quits at once needs less. */
const QUIT_MS = 2_000;
let is_made = false;

/**
 * Makes this process's network. Removes what earlier processes have left. Throws `Skip` where it cannot be
 * made.
 */
export async function makeNetwork(plan: Plan): Promise<Network> {
  if (Deno.uid() !== 0) throw new Skip("Network namespaces need root");
  const bridge = `bm${Deno.pid}`;
  const machines = new Map<string, Machine>();
  try {
    await removeStale();
    const prefix = freePrefix();
    is_made = true;
    await batch(
      [],
      `link add ${bridge} type bridge`,
      `addr add ${prefix}.254/24 dev ${bridge}`,
      `link set ${bridge} up`,
    );
    for (const [name, number] of Object.entries(plan)) {
      machines.set(name, await makeMachine(name, bridge, `${prefix}.${number}`));
    }
    return {
      hub: `${prefix}.254`,
      cidr: `${prefix}.0/24`,
      machine(name) {
        const machine = machines.get(name);
        if (machine === undefined) throw new Error(`There is no machine ${name}`);
        return machine;
      },
      [Symbol.asyncDispose]: removeNetwork,
    };
  } catch (error) {
    await removeNetwork();
    if (error instanceof Deno.errors.NotFound) {
      throw new Skip("ip is not installed (apt-get install iproute2)");
    }
    throw new Skip(`Network namespaces cannot be made here: ${messageOf(error)}`);
  }
}

async function makeMachine(name: string, bridge: string, address: string): Promise<Machine> {
  const namespace = `bookme-${Deno.pid}-${name}`;
  const cable = `${bridge}${name}`;
  await batch(
    [],
    `netns add ${namespace}`,
    `link add ${cable} type veth peer name eth0 netns ${namespace}`,
    `link set ${cable} master ${bridge} up`,
  );
  await batch(
    ["-n", namespace],
    `addr add ${address}/24 dev eth0`,
    "link set eth0 up",
    "link set lo up",
  );
  return {
    name,
    address,
    wrap: ["ip", "netns", "exec", namespace],
    plug: (on) => batch([], `link set ${cable} ${on ? "up" : "down"}`),
  };
}

/** Removes this process's network, if it has one, with all that runs on it: also for a run that is interrupted. */
export async function removeNetwork(): Promise<void> {
  if (!is_made) return;
  is_made = false;
  await removeAll(Deno.pid);
}

async function batch(options: readonly string[], ...lines: string[]): Promise<void> {
  for (const line of lines) {
    if (!await run("ip", ...options, ...line.split(" "))) throw new Error(`ip ${line} failed`);
  }
}

/** Of 10.213.0.0/16, a part that no link has. */
function freePrefix(): string {
  const taken = lines("-4", "-o", "addr").join("\n");
  for (let number = Deno.pid;; number++) {
    const prefix = `10.213.${number % 256}`;
    if (!taken.includes(` ${prefix}.`)) return prefix;
  }
}

async function removeStale(): Promise<void> {
  const owners = [
    ...lines("netns", "list").map((line) => NAMESPACE.exec(line)?.[1]),
    ...linkNames().map((name) => LINK.exec(name)?.[1]),
  ];
  for (const owner of new Set(owners.map(Number))) {
    if (owner > 0 && !isAlive(owner)) await removeAll(owner);
  }
}

/** Removes the network of a process. */
async function removeAll(owner: number): Promise<void> {
  const namespaces = lines("netns", "list").map((line) => line.split(" ")[0] ?? "")
    .filter((name) => Number(NAMESPACE.exec(name)?.[1]) === owner);
  const pids = () => namespaces.flatMap((name) => lines("netns", "pids", name)).map(Number);
  // A server that is quit leaves no shared memory. What does not end by that is killed.
  for (const pid of pids()) kill(pid, "SIGQUIT");
  await until("all have quit", () => pids().length === 0, QUIT_MS).catch(() => {});
  for (const pid of pids()) kill(pid, "SIGKILL");
  // A machine's end of the cable goes with it.
  for (const name of namespaces) lines("netns", "delete", name);
  for (const name of linkNames()) {
    if (Number(LINK.exec(name)?.[1]) === owner) lines("link", "delete", name);
  }
}

/** Names of this machine's own ends of links. */
function linkNames(): string[] {
  return lines("-o", "link").map((line) => /^\d+: ([^@:]+)/.exec(line)?.[1] ?? "");
}

function kill(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch {
    // It has ended.
  }
}

function isAlive(pid: number): boolean {
  try {
    return Deno.statSync(`/proc/${pid}`).isDirectory;
  } catch {
    return false;
  }
}

function lines(...args: string[]): string[] {
  const { stdout } = new Deno.Command("ip", { args, stderr: "null" }).outputSync();
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "");
}
