import type { Grounds, Setting } from "../arena.ts";
import type { Launch } from "../daemons.ts";
import { type Pair, startPair } from "../pair.ts";
import { BALANCER_PORT, startBalancer } from "./balancer.ts";
import { debianPrograms } from "./debian.ts";
import { makeNetwork, type Network, type Plan } from "./network.ts";
import {
  APP_PASSWORD,
  type Patroni,
  type PatroniOptions,
  POSTGRES_PORT,
  type Start,
  startPatroni,
} from "./patroni.ts";
import { becoming } from "../../support/postgres.ts";

/** Machines of three daemons, and those of others. */
export interface Ground extends Setting, AsyncDisposable {
  readonly network: Network;
}

/** A ground with a primary and its synchronous standby, `p1` and `p2`. */
export interface PairGround extends Ground {
  readonly pair: Pair;
}

/** A ground with a cluster that fails over by itself, on `p1` and `p2`. */
export interface PatroniGround extends Ground {
  readonly patroni: Patroni;
}

const DAEMONS: Plan = { d1: 1, d2: 2, d3: 3 };
/** Daemons, servers and the client share what may be two cores; no limit is reached but after a pause. */
const EVENTS_PER_S = 40;

/** A network with the daemons' machines and these. */
export function makeNetworkWith(others: Plan): Promise<Network> {
  return makeNetwork({ ...DAEMONS, ...others });
}

/** What daemons on the machines of a network need to know. `database`: as whom and where, as in a URL. */
export function settingOn(network: Network, database: string): Setting {
  const grounds: Grounds = {
    hub: network.hub,
    cidr: network.cidr,
    addressOf: (daemon) => network.machine(daemon).address,
    database,
  };
  const launch = (holder: string): Partial<Launch> => ({
    wrap: network.machine(holder.split(".")[0] ?? "").wrap,
  });
  return {
    daemons: 3,
    grounds,
    launch,
    events_per_s: EVENTS_PER_S,
    limits: { picky: { concurrency: 2 }, victim: { rate_per_s: 80 } },
    manners: { picky: (random) => ({ status: 200, delay_ms: random.int(10, 80) }) },
  };
}

/** Makes a ground whose daemons know both servers of a pair. */
export async function makePairGround(): Promise<PairGround> {
  await using stack = new AsyncDisposableStack();
  const network = stack.use(await makeNetworkWith({ p1: 11, p2: 12 }));
  const machines = [network.machine("p1"), network.machine("p2")] as const;
  const pair = await startPair(machines);
  stack.defer(() => pair.close());
  const hosts = machines.map(({ address }, at) => `${address}:${pair.ports[at]?.()}`);
  const setting = settingOn(network, `app@${hosts.join(",")}`);
  const everything = stack.move();
  return {
    ...setting,
    cluster: pair,
    network,
    pair,
    [Symbol.asyncDispose]: () => everything.disposeAsync(),
  };
}

/**
 * Makes a ground whose daemons know both servers of Patroni's cluster; if it is balanced, they know only a HAProxy
 * on a machine of its own, before a PgBouncer on each server's.
 */
export async function makePatroniGround(balanced: boolean): Promise<PatroniGround> {
  const programs = await debianPrograms();
  await using stack = new AsyncDisposableStack();
  const directory = Deno.makeTempDirSync({ prefix: "bookme-patroni-" });
  Deno.chmodSync(directory, 0o755);
  stack.defer(() => Deno.removeSync(directory, { recursive: true }));
  const children: Deno.ChildProcess[] = [];
  stack.defer(async () => void await Promise.all(children.map(({ status }) => status)));
  const network = stack.use(await makeNetworkWith({ p1: 11, p2: 12, etcd: 21, lb: 22 }));
  const start: Start = (machine, name, command, user) => {
    const log = `>>${directory}/${machine.name}-${name}.log 2>&1`;
    const [program = "", ...args] = [
      ...machine.wrap,
      ...["sh", "-c", `exec "$@" ${log}`, "sh", ...becoming(user), ...command],
    ];
    const env = { ...programs.env };
    const child = new Deno.Command(program, { args, env, clearEnv: true, cwd: "/", stdin: "null" });
    children.push(child.spawn());
  };
  const servers = [network.machine("p1"), network.machine("p2")] as const;
  const options: PatroniOptions = {
    programs,
    servers,
    etcd: network.machine("etcd"),
    directory,
    start,
  };
  const patroni = await startPatroni(options);
  stack.defer(() => patroni.close());
  const hosts = servers.map(({ address }) => `${address}:${POSTGRES_PORT}`);
  if (balanced) {
    const balancer = network.machine("lb");
    await startBalancer(options, balancer, patroni.connect("postgres"));
    hosts.splice(0, hosts.length, `${balancer.address}:${BALANCER_PORT}`);
  }
  const everything = stack.move();
  return {
    ...settingOn(network, `app:${APP_PASSWORD}@${hosts.join(",")}`),
    cluster: patroni,
    network,
    patroni,
    [Symbol.asyncDispose]: () => everything.disposeAsync(),
  };
}
