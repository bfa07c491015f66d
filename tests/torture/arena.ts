import type { Sql } from "postgres";
import { sleep, until } from "../support/wait.ts";
import { type Client, LOOPBACK, originOf, type Place, post, startClient } from "./client.ts";
import { PUBLIC_URL } from "./watch/browser.ts";
import type { Cluster } from "./cluster.ts";
import { type Daemon, endedBy, keepDaemon, type Launch } from "./daemons.ts";
import type { Ledger, Limits, View, Violation } from "./ledger.ts";
import { type Proxy, startProxy } from "./proxy.ts";
import type { Random } from "./random.ts";
import { addressOf, type Manner, type Receiver, startReceiver } from "./receivers.ts";
import {
  changeSchema,
  expireLeases,
  readHistory,
  readRows,
  type Rows,
  WRITE_DOWN,
} from "./rows.ts";
import type { Leaf } from "../support/tls.ts";
import { openWatch, type Watch } from "./watch/watch.ts";

/** The wait before each attempt, as the configuration has it and in milliseconds. */
const RETRY = ["0s", "100ms", "200ms", "500ms", "500ms", "1s", "1s"];
export const RETRY_MS = [0, 100, 200, 500, 500, 1_000, 1_000];
export const TIMEOUT_MS = 2_000;
/** An attempt is sent and recorded by then when all is well. */
const LOST_AFTER_MS = TIMEOUT_MS + 8_000;
export const TOKEN = "admin-token-of-the-torture-0123";
/** Hexadecimal. */
const SEAL_KEY = "5ea1".repeat(16);

/** Who is owed what. `victim` is the one whose receiver a fault may spoil. */
export const ENDPOINTS = [
  { id: "steady", events: ["*"] },
  { id: "moody", events: ["*"] },
  { id: "picky", events: ["booking.created", "booking.confirmed"], businesses: ["bus_1"] },
  { id: "doomed", events: ["booking.cancelled"], businesses: ["bus_2"] },
  { id: "victim", events: ["*"] },
  // It is paused by a 410 now and then.
  { id: "leaver", events: ["booking.created"], businesses: ["bus_2"] },
  // It gets operational events.
  { id: "watcher", events: ["webhooks.*"] },
] as const;

/** By the names that files give them. */
export const SECRETS = {
  main: "secret-of-the-torture-0123456789",
  second: "another-secret-of-the-torture-01",
} as const;

export type EndpointId = typeof ENDPOINTS[number]["id"];

/** Where daemons live if not on loopback: on machines of their own. */
export interface Grounds {
  /** The address of the client and the receivers. */
  readonly hub: string;
  /** The network of them all, as CIDR. */
  readonly cidr: string;
  /** Where a daemon listens, and what it sends from. Its last number is the daemon's. */
  addressOf(daemon: string): string;
  /** As whom daemons connect and to which hosts, as in a URL: `app@10.0.0.1:5432,10.0.0.2:5432`. */
  readonly database: string;
}

/** What a fault asks for before anything is started. */
export interface Setting {
  readonly daemons?: number;
  readonly embedded?: boolean;
  /** A server of its own. */
  readonly cluster?: Cluster;
  readonly grounds?: Grounds;
  /** Where the embedded database lives; a temporary directory unless given. */
  readonly directory?: string;
  /** Free space of its disk below which ingest stops; by default hardly any. */
  readonly min_free?: string;
  readonly launch?: (holder: string) => Partial<Launch>;
  /** Further members of an endpoint's entry in a daemon's file, its URL for instance; null for none. */
  readonly endpoint?: (
    id: EndpointId,
    receiver: Place,
    daemon: string,
  ) => Record<string, unknown> | null;
  /** Limits of endpoints, which are in every daemon's file. */
  readonly limits?: Partial<Record<EndpointId, Limits>>;
  /** How receivers meet requests at first, if not as usual. */
  readonly manners?: Partial<Record<EndpointId, (random: Random) => Manner>>;
  /** Certificates of receivers that speak TLS. */
  readonly certificates?: Partial<Record<EndpointId, Leaf>>;
  /** Whether daemons are started by the fault itself. */
  readonly late?: boolean;
  /** Whether nobody looks on. */
  readonly unwatched?: boolean;
  readonly events_per_s?: number;
}

/** Everything that a fault may lay hands on. */
export interface Arena {
  readonly random: Random;
  readonly cluster: Cluster;
  /** The superuser's view of the database; throws where it is embedded. */
  readonly sql: Sql;
  readonly database: string;
  readonly directory: string;
  readonly daemons: readonly Daemon[];
  readonly receivers: Readonly<Record<EndpointId, Receiver>>;
  readonly client: Client;
  /** The proxies before the database of each daemon, by its name; of a second host, `d1@1`. */
  readonly proxies: ReadonlyMap<string, Proxy>;
  /** Set while the database is away: starts may fail then. */
  away: boolean;
  /** Set when all is whole again: a lease that is old then belongs to nobody any more. */
  draining: boolean;
  /** When something was broken, until all had caught up; undefined where the fault does not say. */
  outages: [from: number, to: number][] | undefined;
  /** What each daemon shows when all is over. */
  views: readonly View[];
  /** Lives whose leases are brought to their end although they have not died: frozen ones. */
  readonly forgotten: Set<string>;
  /** Endpoints that a file may have retired, and from which time on. */
  readonly retirable: Map<EndpointId, number>;
  daemon(name: string): Daemon | undefined;
  /** What goes on besides; undefined if nobody looks on, as at an embedded database, which leaves no room for it. */
  readonly watch: Watch | undefined;
  /** Kills a daemon and counts it. */
  kill(name: string): void;
  readonly kills: number;
  /** How often the fault has struck. */
  strikes: number;
  find(violation: Violation): void;
  startDaemons(): Promise<void>;
  /** Starts to write everything down, once the schema is there. */
  writeDown(): Promise<void>;
  pending(): Promise<number>;
  /** The pending ones by endpoint and what became of them so far, in words. */
  pendingInWords(): Promise<string>;
  ask(daemon: Daemon, path: string): Promise<number | undefined>;
  /** Stops the daemons and reads what has become of everything. */
  finish(healthy: Ledger["healthy"], calm: boolean): Promise<Ledger>;
  close(): Promise<void>;
}

export interface ArenaOptions {
  readonly random: Random;
  readonly cluster: Cluster;
  readonly database: string;
  /** The tree whose `main.ts` is run, unless there is an executable. */
  readonly tree: string;
  readonly executable: string | undefined;
  /** Whether the tree's daemons look for old weeks every few seconds. */
  readonly is_hasty: boolean;
  readonly daemons: number;
  readonly setting: Setting;
}

/** Opens an arena: database, receivers, client, and, unless the fault does it, daemons. */
export async function openArena(options: ArenaOptions): Promise<Arena> {
  const { random, database, setting } = options;
  const cluster = setting.cluster ?? options.cluster;
  const embedded = setting.embedded ?? false;
  const directory = Deno.makeTempDirSync({ prefix: "bookme-torture-" });
  Deno.writeTextFileSync(`${directory}/encryption.key`, SEAL_KEY, { mode: 0o600 });
  const findings: Violation[] = [];
  const receivers = await startReceivers(setting, random.fork("receivers"));
  if (!embedded) await cluster.createDatabase(database);
  const sql = embedded ? undefined : cluster.connect(database);
  const proxies = new Map<string, Proxy>();
  const daemons: Daemon[] = [];
  const names = Array.from(
    { length: embedded ? 1 : setting.daemons ?? options.daemons },
    (_, at) => `d${at + 1}`,
  );
  const places = names.map((name) => placeOf(name, setting.grounds));
  const client = startClient({
    random: random.fork("client"),
    places,
    match: matching,
    events_per_s: setting.events_per_s ?? 100,
  });
  const data = setting.directory ?? `${directory}/data`;
  let written = false;
  let kills = 0;
  const watch = sql === undefined || setting.unwatched ? undefined : await openWatch({
    sql,
    random,
    daemons,
    posted: () => client.acknowledged,
    receiver: receivers.leaver,
    token: TOKEN,
    secrets: [...Object.values(SECRETS), SEAL_KEY],
    is_hasty: options.is_hasty,
    retirable: () => [...arena.retirable.keys()],
    failing: () => arena.retirable.has("doomed") ? [] : ["doomed"],
    find: (violation) => arena.find(violation),
  });
  const reaper = setInterval(() => void reap(), 250);

  async function reap(): Promise<void> {
    if (!written || sql === undefined) return;
    const gone = [...daemons.flatMap(({ dead }) => dead), ...arena.forgotten];
    const age_ms = arena.draining ? LOST_AFTER_MS : null;
    // With the server away it is tried again in a moment.
    await expireLeases(sql, gone, age_ms).catch(() => {});
    await watch?.free(gone, age_ms).catch(() => {});
  }

  function configOf(name: string, { hostname, port }: Place) {
    const { grounds } = setting;
    return (holder: string) => ({
      server: {
        listen: `${hostname}:${port}`,
        ...(grounds === undefined ? {} : { public_url: PUBLIC_URL }),
      },
      ...(grounds === undefined ? {} : { ip_ranges: { development: [grounds.cidr] } }),
      database: embedded ? { directory: data, min_free: setting.min_free ?? "0B" } : {
        url: `postgres://${grounds?.database ?? proxiesBefore(name)}/${database}` +
          `?sslmode=disable&application_name=${holder}`,
      },
      ...watch?.sections,
      secrets: SECRETS,
      admin: { tokens: [{ name: "ops", token: TOKEN, role: "admin" }] },
      delivery: {
        timeout: `${TIMEOUT_MS}ms`,
        retry: RETRY,
        source_address: grounds?.addressOf(name) ?? addressOf(name),
        ...(grounds === undefined ? {} : { allow_networks: [grounds.cidr] }),
      },
      endpoints: ENDPOINTS.flatMap(({ id, ...selection }) => {
        const more = setting.endpoint?.(id, receivers[id], name);
        const url = `${originOf(receivers[id])}/${id}`;
        const usual = {
          id,
          url,
          secret: "main",
          ...selection,
          ...limitsInFile(setting.limits?.[id]),
        };
        return more === null ? [] : [{ ...usual, ...more }];
      }),
    });
  }

  function proxiesBefore(daemon: string): string {
    const hosts = cluster.ports
      .map((_, at) => `127.0.0.1:${proxies.get(proxyName(daemon, at))?.port}`);
    return `app@${hosts.join(",")}`;
  }

  function launchOf(holder: string): Launch {
    const { executable, tree } = options;
    const run = [Deno.execPath(), "run", "-A", "--no-check", "--cached-only", `${tree}/main.ts`];
    return {
      command: executable === undefined ? run : [executable],
      wrap: [],
      env: {},
      ...setting.launch?.(holder),
    };
  }

  async function startOne(name: string, place: Place): Promise<void> {
    const is_direct = embedded || setting.grounds !== undefined;
    for (const [at, server_port] of is_direct ? [] : cluster.ports.entries()) {
      proxies.set(proxyName(name, at), await startProxy(server_port));
    }
    daemons.push(keepDaemon({
      name,
      place,
      directory,
      launch: launchOf,
      config: configOf(name, place),
      mayFail: () => arena.away,
      onDeath: (text) => arena.find({ invariant: "G", text }),
    }));
  }

  const arena: Arena = {
    random: random.fork("fault"),
    cluster,
    get sql() {
      if (sql === undefined) throw new Error("The embedded database cannot be looked into");
      return sql;
    },
    database,
    directory: data,
    daemons,
    receivers,
    client,
    proxies,
    away: false,
    draining: false,
    outages: undefined,
    views: [],
    forgotten: new Set(),
    retirable: new Map(),
    watch,
    daemon: (name) => daemons.find((daemon) => daemon.name === name),
    kill(name) {
      if (arena.daemon(name)?.kill() !== true) return;
      arena.strikes++;
      kills++;
    },
    get kills() {
      return kills;
    },
    strikes: 0,
    find: (violation) => void findings.push(violation),
    async startDaemons() {
      for (const [at, place] of places.entries()) await startOne(names[at] ?? "", place);
      if (setting.late) return;
      await Promise.all(daemons.map((daemon) => daemon.ready()));
      await arena.writeDown();
    },
    async writeDown() {
      if (sql === undefined || written) return;
      await changeSchema(sql, WRITE_DOWN);
      await watch?.prepare();
      written = true;
    },
    pending: () => sql === undefined ? pendingByApi(daemons[0]) : pendingBySql(sql),
    pendingInWords: async () => sql === undefined ? "not looked at" : await pendingInWords(sql),
    ask,
    async finish(healthy, calm) {
      const stops = await Promise.all(daemons.map((daemon) => daemon.stop("SIGTERM")));
      for (const [at, code] of stops.entries()) {
        if (code === 0) continue;
        findings.push({ invariant: "G", text: `d${at + 1} ${endedBy(code)} when stopped` });
      }
      const rows = sql === undefined ? await readEmbedded(data) : await readRows(sql);
      const history = written && sql !== undefined ? await readHistory(sql) : [];
      const watched = written && watch !== undefined ? await watch.read() : null;
      const by_hand = watch?.by_hand ?? new Set<string>();
      const told = { history, healthy, calm, findings, watched, by_hand };
      return toLedger({ rows, client, receivers, arena, setting, ...told });
    },
    async close() {
      clearInterval(reaper);
      await watch?.close();
      await client.stop();
      await Promise.all(daemons.map((daemon) => daemon.stop("SIGKILL")));
      for (const proxy of proxies.values()) await proxy.close();
      for (const receiver of Object.values(receivers)) await receiver.close();
      await sql?.end({ timeout: 2 });
      if (!embedded) await cluster.dropDatabase(database);
      Deno.removeSync(directory, { recursive: true });
    },
  };
  try {
    if (!setting.late) await arena.startDaemons();
  } catch (error) {
    await arena.close();
    throw error;
  }
  return arena;
}

/** The name of the proxy between a daemon and a host of its database. */
export function proxyName(daemon: string, host: number): string {
  return host === 0 ? daemon : `${daemon}@${host}`;
}

async function startReceivers(setting: Setting, random: Random) {
  const entries: [EndpointId, Receiver][] = [];
  for (const { id } of ENDPOINTS) {
    const hostname = setting.grounds?.hub;
    entries.push([id, await startReceiver(setting.certificates?.[id], hostname)]);
  }
  const receivers = Object.fromEntries(entries) as Record<EndpointId, Receiver>;
  receivers.moody.manner = () => ({
    status: random.chance(0.7) ? 200 : random.pick([500, 503, 429, 404, 302]),
  });
  receivers.doomed.manner = () => ({ status: 500 });
  for (const { id } of ENDPOINTS) {
    const manner = setting.manners?.[id];
    if (manner !== undefined) receivers[id].manner = () => manner(random);
  }
  return receivers;
}

function limitsInFile({ rate_per_s, concurrency }: Limits = {}): Record<string, unknown> {
  return {
    ...(rate_per_s === undefined ? {} : { rate_limit: `${rate_per_s}/s` }),
    ...(concurrency === undefined ? {} : { concurrency }),
  };
}

/** Which endpoints an event is owed to, told without asking the program. */
function matching(type: string, business: string): EndpointId[] {
  return ENDPOINTS.filter((endpoint) => {
    const events: readonly string[] = endpoint.events;
    const wanted = events.includes("*") || events.includes(type);
    const businesses: readonly string[] | undefined = "businesses" in endpoint
      ? endpoint.businesses
      : undefined;
    return wanted && (businesses?.includes(business) ?? true);
  }).map(({ id }) => id);
}

async function pendingBySql(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select count(*)::int from pending_deliveries`;
  return row?.count ?? NaN;
}

async function pendingInWords(sql: Sql): Promise<string> {
  const rows = await sql<{ text: string }[]>`
    select format('%s %s%s after %s, %s leased, %s due', count(*), n.id,
      case when n.paused_at is not null then ' (paused)' end, coalesce(p.last_outcome, 'no attempt'),
      count(p.leased_until), count(*) filter (where p.due_at <= now())) as text
    from pending_deliveries p join endpoints n on n.no = p.endpoint_no
    group by n.id, n.paused_at, p.last_outcome order by n.id`;
  return rows.map(({ text }) => text).join("; ");
}

async function pendingByApi(daemon: Daemon | undefined): Promise<number> {
  if (daemon === undefined) return NaN;
  const response = await fetch(
    `${originOf(daemon)}/api/deliveries?status=pending&limit=200`,
    { headers: { authorization: `Bearer ${TOKEN}`, connection: "close" } },
  );
  const { data } = await response.json();
  return data.length;
}

/** The status of a GET, or undefined without an answer. */
async function ask(place: Place, path: string): Promise<number | undefined> {
  const request = `GET ${path} HTTP/1.1\r\nHost: torture\r\nConnection: close\r\n\r\n`;
  return await post(place, request).then(({ status }) => status, () => undefined);
}

async function readEmbedded(directory: string): Promise<Rows> {
  // In a process of its own: what PGlite takes, it keeps.
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      new URL("./embedded.ts", import.meta.url).pathname,
      directory,
    ],
  }).output();
  if (!success) {
    throw new Error(`The embedded database was not read: ${new TextDecoder().decode(stderr)}`);
  }
  return JSON.parse(new TextDecoder().decode(stdout));
}

function toLedger(
  { rows, client, receivers, arena, setting, ...rest }:
    & Pick<Ledger, "history" | "healthy" | "calm" | "findings" | "watched" | "by_hand">
    & {
      rows: Rows;
      client: Client;
      receivers: Record<EndpointId, Receiver>;
      arena: Pick<Arena, "retirable" | "outages" | "views">;
      setting: Setting;
    },
): Ledger {
  const { retirable, outages, views } = arena;
  const limits: Readonly<Record<string, Limits>> = setting.limits ?? {};
  return {
    ...rows,
    ...rest,
    ...(outages === undefined ? {} : { outages }),
    views,
    endpoints: Object.entries(rows.endpoints)
      .map(([id, no]) => ({ no, id, retry_ms: RETRY_MS, limits: limits[id] })),
    acknowledged: client.acknowledged.map((answer) => ({
      ...answer,
      owed_to: answer.owed_to.map((id) => rows.endpoints[id] ?? -1),
    })),
    requests: Object.values(receivers).flatMap(({ requests }) => requests),
    paused: new Set([rows.endpoints["leaver"] ?? -1]),
    retirable: new Map([...retirable].map(([id, at]) => [rows.endpoints[id] ?? -1, at])),
  };
}

function placeOf(daemon: string, grounds: Grounds | undefined): Place {
  if (grounds !== undefined) return { hostname: grounds.addressOf(daemon), port: 8080 };
  return { hostname: LOOPBACK, port: freePort() };
}

function freePort(): number {
  const listener = Deno.listen({ hostname: LOOPBACK, port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}

/** Waits until nothing is pending; answers what is left after `within_ms`. */
export async function drained(arena: Arena, within_ms: number): Promise<number> {
  const end = performance.now() + within_ms;
  let left = NaN;
  do {
    await sleep(100);
    left = await arena.pending().catch(() => NaN);
  } while (left !== 0 && performance.now() < end);
  return left;
}

const READY_MS = 60_000;

/** Waits until every daemon says that it is ready; else it is found, with what the daemon says. */
export async function allReady(arena: Arena, after: string): Promise<void> {
  for (const daemon of arena.daemons) {
    try {
      await until(
        "ready",
        async () => daemon.up && await arena.ask(daemon, "/readyz") === 200,
        READY_MS,
      );
    } catch {
      const status = await arena.ask(daemon, "/readyz");
      const text =
        `${daemon.holder} is not ready ${
          READY_MS / 1000
        } s after ${after}: /readyz ${status}, log ` +
        daemon.tail.slice(-5).join(" | ");
      arena.find({ invariant: "G", text });
    }
  }
}
