import { messageOf } from "../../lib/core/errors.ts";
import { freeBytes } from "../../lib/store/disk.ts";
import { sleep, until } from "../support/wait.ts";
import { testCertificates } from "../support/tls.ts";
import type { Socket } from "node:net";
import { allReady, type Arena, proxyName, type Setting, TIMEOUT_MS } from "./arena.ts";
import type { Daemon } from "./daemons.ts";
import { clockFor, type Fault, pickUp, Skip, terminateOne } from "./fault.ts";
import { connectTo, type Place } from "./client.ts";
import { startDnsServer } from "./dns.ts";
import { MACHINES } from "./machines/faults.ts";
import { type Pair, startPair } from "./pair.ts";
import type { Moment, Proxy, Statement, Verdict, Watch } from "./proxy.ts";
import type { Manner } from "./receivers.ts";
import { rollingFiles } from "./rolling.ts";
import { changeSchema } from "./rows.ts";
import { fillPipe, makeCgroup, makeSmallDisk, mountWrap } from "./system.ts";

// --- daemons that are killed, stopped, frozen

/** Strikes a daemon at the 1st to `most`th time that it gets there, counted anew in each life. */
function makeCountdown(arena: Arena, most: number): (daemon: string) => boolean {
  const left = new Map<string, number>();
  return (daemon) => {
    const holder = arena.daemon(daemon)?.holder ?? daemon;
    const count = left.get(holder) ?? arena.random.int(1, most);
    left.set(holder, count - 1);
    return count === 1;
  };
}

async function killAt(
  arena: Arena,
  seconds: number,
  points: readonly (readonly [Statement, Moment, Verdict])[],
): Promise<void> {
  const strikes = makeCountdown(arena, 12);
  await watchFor(arena, seconds, (name) => (statement, moment) => {
    const here = points.filter(([s, m]) => s === statement && m === moment);
    if (here.length === 0 || !strikes(name)) return "pass";
    arena.kill(name);
    return arena.random.pick(here)[2];
  });
}

/** Decides for so long about each statement that passes a proxy; `watchOf` gets the proxy's name. */
async function watchFor(
  arena: Arena,
  seconds: number,
  watchOf: (name: string) => Watch,
): Promise<void> {
  for (const [name, proxy] of arena.proxies) proxy.watch = watchOf(name);
  await sleep(seconds * 1000);
  for (const proxy of arena.proxies.values()) proxy.watch = undefined;
}

async function killAtReceivers(
  arena: Arena,
  seconds: number,
  moment: "onRead" | "onAnswered",
): Promise<void> {
  const strikes = makeCountdown(arena, 40);
  for (const receiver of Object.values(arena.receivers)) {
    receiver[moment] = ({ daemon }) => {
      if (strikes(daemon)) arena.kill(daemon);
    };
  }
  await sleep(seconds * 1000);
  for (const receiver of Object.values(arena.receivers)) receiver[moment] = undefined;
}

async function killRandom(arena: Arena, seconds: number, pause_ms: [number, number]) {
  for (const goes_on = clockFor(seconds); goes_on();) {
    await sleep(arena.random.int(...pause_ms));
    // Now and then while it is starting, too.
    const daemon = arena.random.chance(0.2) ? arena.random.pick(arena.daemons) : pickUp(arena);
    if (daemon !== undefined) arena.kill(daemon.name);
  }
}

async function terminate(arena: Arena, seconds: number, times: number) {
  for (const goes_on = clockFor(seconds); goes_on();) {
    await sleep(arena.random.int(300, 1_000));
    const daemon = pickUp(arena);
    if (daemon === undefined) continue;
    arena.strikes++;
    await terminateOne(arena, daemon, times);
  }
}

// Thawed just when others are sending what it believes to hold: its answers, which came long ago, must
// not be written any more.
async function freeze(arena: Arena, seconds: number): Promise<void> {
  const { victim } = arena.receivers;
  const usual = victim.manner;
  victim.manner = () => ({ status: 200, delay_ms: TIMEOUT_MS * 0.6 });
  for (const goes_on = clockFor(seconds); goes_on();) {
    await sleep(arena.random.int(300, 900));
    const daemon = pickUp(arena);
    if (daemon === undefined) continue;
    const { holder } = daemon;
    arena.strikes++;
    daemon.freeze();
    await sleep(300);
    arena.forgotten.add(holder);
    // The sweep may miss a delivery for 20 seconds. With nothing under way there is nothing to wait for.
    await until("another daemon has taken over", () => isSentByOthers(arena.sql, holder), 22_000)
      .catch(() => {});
    arena.forgotten.delete(holder);
    daemon.thaw();
  }
  victim.manner = usual;
}

async function isSentByOthers(sql: Arena["sql"], holder: string): Promise<boolean> {
  const rows = await sql`
    select from pending_deliveries p join torture.holders h on h.delivery_id = p.id
    where p.last_outcome = 'interrupted' and p.leased_until > now() and h.holder <> ${holder}`;
  return rows.length > 0;
}

// The pipe is full from outside, so that the first line finds no room. Reloads make lines; the daemon
// may be asked to end meanwhile.
async function stallLogs(arena: Arena, seconds: number): Promise<void> {
  for (const goes_on = clockFor(seconds); goes_on(); await sleep(200)) {
    const daemon = pickUp(arena);
    if (daemon === undefined) continue;
    arena.strikes++;
    daemon.heed(false);
    await fillPipe(`/proc/${daemon.pid}/fd/2`);
    for (let nth = 0; nth < 50 && daemon.up; nth++) {
      daemon.reload();
      await sleep(arena.random.int(1, 40));
    }
    const { holder } = daemon;
    if (await arena.ask(daemon, "/livez") !== 200 && daemon.up && daemon.holder === holder) {
      arena.find({ invariant: "G", text: `${holder}: /livez failed with a stalled log` });
    }
    if (arena.random.chance(0.3)) await terminateOne(arena, daemon, 1);
    daemon.heed(true);
  }
}

// --- a server that is away, slow or against us

/** An outage that lasts long enough must be told by /readyz, while /livez answers. */
async function outage(arena: Arena, wait_ms: number): Promise<void> {
  arena.strikes++;
  arena.away = true;
  const from = performance.now();
  const lives = new Map(arena.daemons.filter(({ up }) => up).map((d) => [d, d.holder]));
  const told = new Set<Daemon>();
  while (performance.now() - from < wait_ms) {
    await sleep(250);
    if (wait_ms < 12_000) continue;
    await Promise.all([...lives.keys()].map(async (daemon) => {
      if (!told.has(daemon) && await arena.ask(daemon, "/readyz") === 503) {
        told.add(daemon);
      }
      if (await arena.ask(daemon, "/livez") !== 200) {
        arena.find({ invariant: "G", text: `${daemon.name}: /livez failed in an outage` });
      }
    }));
  }
  if (wait_ms < 12_000) return;
  for (const [daemon, holder] of lives) {
    if (!told.has(daemon)) {
      arena.find({ invariant: "G", text: `${daemon.name}: /readyz never told of an outage` });
    }
    if (daemon.holder !== holder) {
      arena.find({ invariant: "G", text: `${holder} did not live through an outage` });
    }
  }
}

/** Outages, one of them long where there is the time for it. */
async function outages(
  arena: Arena,
  seconds: number,
  begin: () => Promise<unknown>,
  end: () => Promise<unknown>,
): Promise<void> {
  let long = seconds >= 20;
  for (const goes_on = clockFor(seconds); goes_on();) {
    await begin();
    await outage(arena, long ? 13_000 : arena.random.int(200, 2_000));
    long = false;
    await end();
    arena.away = false;
    await sleep(arena.random.int(1_000, 2_500));
  }
}

function blackhole(arena: Arena, on: boolean): Promise<void> {
  for (const proxy of arena.proxies.values()) proxy.blackhole = on;
  return Promise.resolve();
}

/** The daemons' proxies before one host. */
function proxiesOf(arena: Arena, host: number) {
  return arena.daemons.map(({ name }) => arena.proxies.get(proxyName(name, host)))
    .filter((proxy) => proxy !== undefined);
}

// The primary is killed, stopped, or cut off without a word while it still runs; its synchronous standby
// takes over, and gets a new standby in the place of the old primary.
async function failOver(arena: Arena, pair: Pair, seconds: number): Promise<void> {
  const { random } = arena;
  for (const goes_on = clockFor(seconds); goes_on();) {
    arena.strikes++;
    arena.away = true;
    const old = proxiesOf(arena, pair.primary);
    const how = random.pick(["kill", "stop", "silence"] as const);
    if (how === "silence") old.forEach((proxy) => proxy.blackhole = true);
    else await pair[how]();
    await sleep(random.int(0, 2_000));
    await pair.failOver();
    // Before that, nothing is acknowledged: the new primary waits for a standby of its own.
    await pair.rebuild();
    arena.away = false;
    await allReady(arena, `a failover (${how})`);
    old.forEach((proxy) => proxy.blackhole = false);
    await sleep(random.int(1_000, 2_500));
  }
}

/** What stands before a database that is away, as daemons see it. */
const BALANCERS: readonly ((client: Socket) => void)[] = [
  (client) => client.destroy(),
  (client) => client.once("data", () => client.end()),
  (client) => client.once("data", () => client.end("HTTP/1.1 503 Service Unavailable\r\n\r\n")),
  (client) => client.resume(), // and says nothing
];
/** Connections that a daemon may open in an outage: some at once, then one or two a second. */
const MOST_AT_ONCE = 20;
const MOST_PER_S = 5;

// A balancer whose only backend goes and comes back.
async function balance(arena: Arena, seconds: number): Promise<void> {
  const proxies = proxiesOf(arena, 0);
  const counts = new Map<Proxy, number>();
  let from = 0;
  await outages(arena, seconds, () => {
    const play = arena.random.pick(BALANCERS);
    for (const proxy of proxies) {
      proxy.play = play;
      proxy.cut();
      counts.set(proxy, proxy.accepted);
    }
    from = performance.now();
    return Promise.resolve();
  }, () => {
    const most = MOST_AT_ONCE + MOST_PER_S * (performance.now() - from) / 1000;
    for (const proxy of proxies) {
      const count = proxy.accepted - (counts.get(proxy) ?? 0);
      if (count > most) {
        arena.find({ invariant: "G", text: `${count} connections to a database that is away` });
      }
      proxy.play = undefined;
    }
    return Promise.resolve();
  });
}

const SHUT_OUT = `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'`;

async function resetAtCommit(arena: Arena, seconds: number): Promise<void> {
  const { random } = arena;
  await watchFor(arena, seconds, () => (statement, moment) => {
    if (statement === "other" || !random.chance(moment === "answered" ? 0.08 : 0.04)) return "pass";
    arena.strikes++;
    return moment === "answered" ? "reset" : random.pick(["reset", "lose"]);
  });
}

// In each daemon, one session that stores, one that claims and one that records goes silent for good, in the middle
// of its statement. The pulse goes on.
async function muteSessions(arena: Arena, seconds: number): Promise<void> {
  const { random } = arena;
  arena.away = true;
  await watchFor(arena, seconds, () => {
    const left = new Map<Statement, Moment>();
    for (const one of ["ingest", "claim", "record"] as const) {
      left.set(one, random.pick(["sent", "answered"]));
    }
    return (statement, moment) => {
      if (left.get(statement) !== moment) return "pass";
      left.delete(statement);
      arena.strikes++;
      return "mute";
    };
  });
  arena.away = false;
}

// Somebody who locks rows in the other order, and a trigger that refuses as a conflict would.
async function deadlock(arena: Arena, seconds: number): Promise<void> {
  const { sql, random } = arena;
  await changeSchema(
    sql,
    `create function torture.conflict() returns trigger language plpgsql as $$ begin
      if random() < 0.02 then
        raise exception 'could not serialize access' using errcode = '40001';
      end if;
      return new;
    end $$;
    create trigger torture_conflict before insert or update on pending_deliveries
      for each row execute function torture.conflict()`,
  );
  for (const goes_on = clockFor(seconds); goes_on();) {
    arena.strikes++;
    await sql.begin(async (tx) => {
      for (const order of ["id desc", "id"]) {
        await tx.unsafe(
          `select id from pending_deliveries order by ${order} limit 40 for update`,
        );
        await sleep(random.int(50, 300));
      }
    }).catch(() => {}); // it may well be the victim
  }
  await changeSchema(sql, "drop trigger if exists torture_conflict on pending_deliveries");
}

async function lockTable(arena: Arena, seconds: number): Promise<void> {
  arena.strikes++;
  await arena.sql.begin(async (tx) => {
    await tx.unsafe("lock table pending_deliveries in access exclusive mode");
    await sleep(Math.min(20, seconds) * 1000);
  });
}

// --- receivers

async function spoil(arena: Arena, seconds: number, manner: Manner): Promise<void> {
  const { victim } = arena.receivers;
  const usual = victim.manner;
  victim.manner = () => {
    arena.strikes++;
    return manner;
  };
  await sleep(seconds * 1000);
  victim.manner = usual;
}

async function refuse(arena: Arena, seconds: number): Promise<void> {
  for (const goes_on = clockFor(seconds); goes_on();) {
    arena.strikes++;
    await arena.receivers.victim.listening(false);
    await sleep(arena.random.int(200, 3_000));
    await arena.receivers.victim.listening(true);
    await sleep(arena.random.int(200, 1_000));
  }
}

// --- names, certificates, limits, clocks

async function namedSetting(): Promise<Setting & AsyncDisposable & { dns: DnsServer }> {
  const dns = await startDnsServer();
  const wrap = await mountWrap(
    "/etc/resolv.conf",
    `nameserver ${dns.address}\noptions timeout:5\n`,
  );
  return {
    dns,
    launch: () => ({ wrap: wrap.command }),
    endpoint: (id, { port }) =>
      id === "victim" ? { url: `http://victim.torture.test:${port}/victim` } : {},
    async [Symbol.asyncDispose]() {
      await dns.close();
      wrap.remove();
    },
  };
}
type DnsServer = Awaited<ReturnType<typeof startDnsServer>>;

function dnsFault(name: string, mode: DnsServer["mode"]): Fault {
  let dns: DnsServer | undefined;
  return {
    name,
    seconds: 12,
    async setting() {
      const setting = await namedSetting();
      dns = setting.dns;
      return setting;
    },
    async inject(arena, seconds) {
      if (dns === undefined) throw new Error("There is no DNS server");
      // Connections that are kept need no name.
      const { victim } = arena.receivers;
      for (const goes_on = clockFor(seconds); goes_on();) {
        arena.strikes++;
        dns.mode = mode;
        await victim.listening(false);
        await victim.listening(true);
        await sleep(arena.random.int(1_500, 4_000));
        dns.mode = "answers";
        await sleep(arena.random.int(200, 1_000));
      }
    },
  };
}

function tlsFault(name: string, which: "expired" | "wrong_name"): Fault {
  return {
    name,
    seconds: 10,
    async setting() {
      const { good, files } = await testCertificates();
      return {
        certificates: { victim: good },
        endpoint: (id, { port }) =>
          id === "victim"
            ? { url: `https://localhost:${port}/victim`, tls: { ca: `file:${files.ca}` } }
            : {},
      };
    },
    async inject(arena, seconds) {
      const { victim } = arena.receivers;
      const certificates = await testCertificates();
      arena.strikes++;
      await victim.certificate(certificates[which]);
      await sleep(seconds * 1000);
      await victim.certificate(certificates.good);
    },
  };
}

function makeFailover(): Fault {
  let pair: Pair | undefined;
  return {
    name: "pg-failover",
    seconds: 40,
    async setting() {
      const cluster = pair = await startPair();
      return { cluster, [Symbol.asyncDispose]: () => cluster.close() };
    },
    async inject(arena, seconds) {
      if (pair === undefined) throw new Error("There is no pair of servers");
      await failOver(arena, pair, seconds);
    },
  };
}

const FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

function clockSetting(random: Arena["random"]): Promise<Setting> {
  try {
    Deno.statSync(FAKETIME);
  } catch {
    throw new Skip("libfaketime is not installed (apt-get install libfaketime)");
  }
  // Each life of each daemon has a wall clock of its own.
  const launch = () => ({
    env: {
      LD_PRELOAD: FAKETIME,
      FAKETIME: `${random.chance(0.5) ? "+" : "-"}${random.int(1, 100)}h`,
      DONT_FAKE_MONOTONIC: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    },
  });
  return Promise.resolve({ launch });
}

/** Connections that say half of a request and keep quiet. Answers how to leave. */
async function crowd(place: Place, count: number): Promise<() => void> {
  const half = new TextEncoder().encode("POST /ingest HTTP/1.1\r\nHost: x\r\n");
  const connections = await Promise.all(Array.from({ length: count }, async () => {
    const connection = await connectTo(place).catch(() => undefined);
    await connection?.write(half).catch(() => {});
    return connection;
  }));
  return () => connections.forEach((connection) => connection?.close());
}

async function exhaustDescriptors(arena: Arena, seconds: number): Promise<void> {
  const [daemon] = arena.daemons;
  if (daemon === undefined) return;
  arena.receivers.victim.manner = () => "hang";
  for (const goes_on = clockFor(seconds); goes_on();) {
    arena.strikes++;
    const leave = await crowd(daemon, 200);
    await sleep(2_000);
    leave();
    await sleep(500);
  }
  arena.receivers.victim.manner = () => ({ status: 200 });
}

/** Until what was posted is stored and sent, connections are closed and garbage is collected. */
const CALM_MS = 8_000;

// More than it may hold, while nothing can be stored; twice, since what the first flood has left must
// be enough for the second.
async function exhaustMemory(arena: Arena, seconds: number): Promise<void> {
  arena.receivers.victim.manner = () => "endless";
  const [daemon] = arena.daemons;
  if (daemon === undefined) return;
  const filler = "m".repeat(900_000);
  const body =
    `{"event":"booking.created","timestamp":"2026-11-24T10:00:00Z","data":{"appointment":` +
    `{"id":"apt_memory","business":{"id":"bus_2"},"filler":"${filler}"}}}`;
  const request = new TextEncoder().encode(
    "POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n" +
      `Content-Length: ${body.length}\r\n\r\n${body}`,
  );
  for (const again of [false, true]) {
    arena.away = true;
    await blackhole(arena, true);
    const goes_on = clockFor(seconds / 2);
    await Promise.all(Array.from({ length: 150 }, async () => {
      while (goes_on()) {
        arena.strikes++;
        await postRaw(daemon, request).catch(() => sleep(50));
      }
    }));
    await blackhole(arena, false);
    if (!again) await sleep(CALM_MS);
  }
  arena.receivers.victim.manner = () => ({ status: 200 });
}

async function postRaw(place: Place, request: Uint8Array): Promise<void> {
  using connection = await connectTo(place);
  for (let at = 0; at < request.length;) at += await connection.write(request.subarray(at));
  const buffer = new Uint8Array(65_536);
  while (await connection.read(buffer) !== null);
}

// --- the embedded database

async function smallDisk(size: string, more: Setting): Promise<Setting & AsyncDisposable> {
  const disk = await makeSmallDisk(size);
  if (disk === undefined) throw new Skip("A tmpfs cannot be mounted here (needs root)");
  return {
    embedded: true,
    directory: disk.directory,
    events_per_s: 50,
    ...more,
    [Symbol.asyncDispose]: disk.remove,
  };
}

async function fillDisk(arena: Arena, seconds: number): Promise<void> {
  const path = `${arena.directory}/filler`;
  const block = new Uint8Array(1 << 20).fill(1);
  for (const goes_on = clockFor(seconds); goes_on();) {
    arena.strikes++;
    arena.away = true;
    using file = await Deno.open(path, { create: true, write: true });
    try {
      for (;;) await file.write(block);
    } catch {
      // There is no room left.
    }
    await sleep(arena.random.int(3_000, 5_000));
    await Deno.remove(path);
    await sleep(3_000);
    arena.away = false;
  }
}

/** What the disk of `disk-low` has left while it is low: less than its limit, more than a full one. */
const LOW_MIB = 48;

// Another program takes the room, and gives it back.
async function lowerDisk(arena: Arena, seconds: number): Promise<void> {
  const path = `${arena.directory}/filler`;
  const [daemon] = arena.daemons;
  const block = new Uint8Array(1 << 20).fill(1);
  const disk = (ready: boolean) =>
    until(
      ready ? "/readyz is ready again" : "/readyz says that the disk is low",
      async () => daemon !== undefined && (await arena.ask(daemon, "/readyz") === 200) === ready,
    ).catch((error) => arena.find({ invariant: "G", text: messageOf(error) }));
  for (const goes_on = clockFor(seconds); goes_on();) {
    arena.strikes++;
    arena.away = true;
    const refused = arena.client.refused;
    {
      using file = await Deno.open(path, { create: true, write: true });
      while (freeBytes(arena.directory) > LOW_MIB << 20) await file.write(block);
    }
    await disk(false);
    await until("posts are refused", () => arena.client.refused > refused)
      .catch((error) => arena.find({ invariant: "G", text: messageOf(error) }));
    await sleep(arena.random.int(500, 2_000));
    await Deno.remove(path);
    await disk(true);
    arena.away = false;
    await sleep(arena.random.int(500, 2_000));
  }
}

async function killFirstStart(arena: Arena, seconds: number): Promise<void> {
  await arena.startDaemons();
  for (const goes_on = clockFor(seconds); goes_on();) {
    await sleep(arena.random.int(200, 4_000));
    if (arena.daemons[0]?.up === true) return; // it was faster
    arena.kill("d1");
  }
}

async function killMigration(arena: Arena): Promise<void> {
  await arena.startDaemons();
  let left = 15;
  for (const [name, proxy] of arena.proxies) {
    proxy.watch = (statement, moment) => {
      if (statement !== "migration" || left === 0 || !arena.random.chance(0.7)) return "pass";
      left--;
      arena.kill(name);
      return moment === "answered" ? "reset" : arena.random.pick(["reset", "lose"]);
    };
  }
  await until("the schema is there", () => arena.daemons.every((daemon) => daemon.up));
  await arena.writeDown();
}

const MANNERS: Readonly<Record<string, Manner>> = {
  reset: "reset",
  hang: "hang",
  trickle: "trickle",
  endless: "endless",
  garbage: "garbage",
  "1xx": "continues",
  "half-close": { status: 200, then: "half-close" },
};

const EVERYTHING: readonly Fault[] = [
  {
    name: "none",
    seconds: 15,
    calm: true,
    inject: (_, seconds) => sleep(seconds * 1000),
  },
  {
    name: "kill-random",
    seconds: 30,
    inject: (arena, seconds) => killRandom(arena, seconds, [100, 500]),
  },
  {
    name: "kill-after-ingest-commit",
    seconds: 15,
    inject: (arena, seconds) => killAt(arena, seconds, [["ingest", "answered", "reset"]]),
  },
  {
    name: "kill-after-claim",
    seconds: 15,
    inject: (arena, seconds) => killAt(arena, seconds, [["claim", "answered", "reset"]]),
  },
  {
    name: "kill-after-send",
    seconds: 15,
    inject: (arena, seconds) => killAtReceivers(arena, seconds, "onRead"),
  },
  {
    name: "kill-after-response",
    seconds: 15,
    inject: (arena, seconds) => killAtReceivers(arena, seconds, "onAnswered"),
  },
  {
    name: "kill-during-record",
    seconds: 15,
    inject: (arena, seconds) =>
      killAt(arena, seconds, [
        ["record", "sent", "lose"],
        ["record", "sent", "reset"],
        ["record", "answered", "reset"],
      ]),
  },
  {
    name: "kill-during-migration",
    seconds: 10,
    setting: () => Promise.resolve({ late: true }),
    inject: killMigration,
  },
  {
    name: "kill-first-start-embedded",
    seconds: 25,
    setting: () => Promise.resolve({ late: true, embedded: true }),
    inject: killFirstStart,
  },
  {
    name: "kill-random-embedded",
    seconds: 25,
    setting: () => Promise.resolve({ embedded: true }),
    inject: (arena, seconds) => killRandom(arena, seconds, [500, 4_000]),
  },
  {
    name: "sigterm",
    seconds: 12,
    inject: (arena, seconds) => terminate(arena, seconds, 1),
  },
  {
    name: "sigterm-twice",
    seconds: 12,
    inject: (arena, seconds) => terminate(arena, seconds, 2),
  },
  rollingFiles,
  { name: "log-stalled", seconds: 20, inject: stallLogs },
  {
    name: "sigstop-past-lease",
    seconds: 20,
    setting: () => Promise.resolve({ daemons: 2 }),
    inject: freeze,
  },
  {
    name: "pg-restart",
    seconds: 25,
    inject: (arena, seconds) => outages(arena, seconds, arena.cluster.stop, arena.cluster.start),
  },
  {
    name: "pg-kill9",
    seconds: 25,
    inject: (arena, seconds) => outages(arena, seconds, arena.cluster.kill, arena.cluster.start),
  },
  {
    name: "pg-readonly",
    seconds: 15,
    inject: (arena, seconds) =>
      outages(
        arena,
        seconds,
        // Settings would change nothing; a standby accepts no writes.
        arena.cluster.demote,
        arena.cluster.promote,
      ),
  },
  makeFailover(),
  { name: "pg-balancer", seconds: 40, inject: balance },
  {
    name: "pg-no-connections",
    seconds: 25,
    inject: (arena, seconds) =>
      outages(
        arena,
        seconds,
        () => arena.cluster.run(`alter role app connection limit 0; ${SHUT_OUT}`),
        () => arena.cluster.run("alter role app connection limit -1"),
      ),
  },
  {
    name: "pg-blackhole",
    seconds: 25,
    inject: (arena, seconds) =>
      outages(arena, seconds, () => blackhole(arena, true), () => blackhole(arena, false)),
  },
  { name: "pg-reset-at-commit", seconds: 15, inject: resetAtCommit },
  // Long enough for the daemons to close all of these sessions.
  { name: "pg-session-silent", seconds: 75, inject: muteSessions },
  {
    name: "pg-slow",
    seconds: 10,
    async inject(arena, seconds) {
      arena.strikes++;
      for (const proxy of arena.proxies.values()) proxy.delay_ms = arena.random.int(50, 200);
      await sleep(seconds * 1000);
      for (const proxy of arena.proxies.values()) proxy.delay_ms = 0;
    },
  },
  { name: "pg-deadlock", seconds: 15, inject: deadlock },
  { name: "pg-table-locked-20s", seconds: 20, inject: lockTable },
  {
    name: "disk-full-embedded",
    seconds: 20,
    setting: () => smallDisk("160m", {}),
    inject: fillDisk,
  },
  {
    name: "disk-low",
    seconds: 20,
    setting: () => smallDisk("320m", { min_free: "96MiB" }),
    inject: lowerDisk,
  },
  {
    name: "clock-moved",
    seconds: 12,
    setting: clockSetting,
    inject: (arena, seconds) => killRandom(arena, seconds, [1_500, 3_000]),
  },
  ...Object.entries(MANNERS).map(([name, manner]): Fault => ({
    name: `receiver-${name}`,
    seconds: 10,
    inject: (arena, seconds) => spoil(arena, seconds, manner),
  })),
  { name: "receiver-refuse", seconds: 10, inject: refuse },
  dnsFault("dns-fail", "fails"),
  dnsFault("dns-silent", "silent"),
  dnsFault("dns-flaps", "flaps"),
  tlsFault("tls-expired", "expired"),
  tlsFault("tls-wrong-name", "wrong_name"),
  {
    name: "fd-limit",
    seconds: 12,
    setting: () =>
      Promise.resolve({
        daemons: 1,
        launch: () => ({ wrap: ["sh", "-c", 'ulimit -n 128; exec "$@"', "sh"] }),
      }),
    inject: exhaustDescriptors,
  },
  {
    name: "memory-limit",
    seconds: 12,
    async setting() {
      const group = await makeCgroup(1 << 30);
      if (group === undefined) throw new Skip("There is no memory cgroup that may be written to");
      return {
        daemons: 1,
        // Pages load code when they are first shown. Only the flood's own memory is to be measured.
        unwatched: true,
        launch: () => ({ wrap: group.command }),
        [Symbol.asyncDispose]: group.remove,
      };
    },
    inject: exhaustMemory,
  },
  ...MACHINES,
];

// What is struck on the way of any set of daemons on a server; the short run, and a part of the long.
const MIXED = [
  "kill-random",
  "kill-after-ingest-commit",
  "kill-after-claim",
  "kill-after-send",
  "kill-after-response",
  "kill-during-record",
  "sigterm",
  "sigstop-past-lease",
  "pg-restart",
  "pg-kill9",
  "pg-readonly",
  "pg-no-connections",
  "pg-blackhole",
  "pg-reset-at-commit",
  "pg-deadlock",
  "receiver-reset",
  "receiver-half-close",
  "receiver-garbage",
  "receiver-refuse",
];

const mixed: Fault = {
  name: "mixed",
  seconds: 75,
  setting: () => Promise.resolve({ daemons: 2 }),
  async inject(arena, seconds) {
    const each = seconds / MIXED.length;
    for (const name of MIXED) {
      const fault = FAULTS.find((one) => one.name === name);
      await fault?.inject(arena, each);
      arena.away = false;
      await allReady(arena, name);
    }
  },
};

export const FAULTS: readonly Fault[] = [...EVERYTHING, mixed];
