import { messageOf } from "../../../lib/core/errors.ts";
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
const BRIDGE = /^bm(\d+)$/;
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
    removeStale();
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
      [Symbol.asyncDispose]: () => Promise.resolve(removeNetwork()),
    };
  } catch (error) {
    removeNetwork();
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
export function removeNetwork(): void {
  if (!is_made) return;
  is_made = false;
  removeAll(Deno.pid);
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

function removeStale(): void {
  const pids = [
    ...lines("netns", "list").map((line) => NAMESPACE.exec(line)?.[1]),
    ...lines("-o", "link", "show", "type", "bridge").map((line) =>
      BRIDGE.exec(line.split(": ")[1] ?? "")?.[1]
    ),
  ];
  for (const pid of new Set(pids.map(Number))) {
    if (pid > 0 && !isAlive(pid)) removeAll(pid);
  }
}

/** Removes the networks of a process. */
function removeAll(owner: number): void {
  for (const line of lines("netns", "list")) {
    if (Number(NAMESPACE.exec(line)?.[1]) !== owner) continue;
    const [namespace = ""] = line.split(" ");
    for (const pid of lines("netns", "pids", namespace)) kill(Number(pid));
    // Its end of the cable goes with it, once its processes have ended.
    lines("netns", "delete", namespace);
  }
  const own = new RegExp(`^bm${owner}(\\D|$)`);
  for (const line of lines("-o", "link")) {
    const [name = ""] = (line.split(": ")[1] ?? "").split("@");
    if (own.test(name)) lines("link", "delete", name);
  }
}

function kill(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
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
