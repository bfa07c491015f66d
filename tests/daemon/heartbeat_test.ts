import assert from "node:assert/strict";
import { parse, stringify } from "yaml";
import { Secret } from "../../lib/core/secret.ts";
import { USER_AGENT } from "../../lib/core/version.ts";
import { startHeartbeat } from "../../lib/heartbeat.ts";
import { type HttpClient, makeHttpClient } from "../../lib/http/client.ts";
import { makeLog } from "../../lib/observe/log.ts";
import { illnessOf } from "../../lib/readiness.ts";
import { booking, endpoint, type LogLine, startDaemon } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { connectTo, freePort, freshDatabase, startPostgres } from "../support/postgres.ts";
import { type Receiver, startReceiver } from "../support/receiver.ts";
import { sleep, until } from "../support/wait.ts";

const ILL = "No heartbeat is sent: this daemon is not well";
const LOST = "A heartbeat did not arrive";
const AGAIN = "Heartbeats arrive again";
/** Beats are looked at once a second. */
const SOME_BEATS_MS = 2_500;

/** What heartbeats have said, `[message, cause]`. */
function saidIn(log: readonly LogLine[]) {
  return log.filter(({ message }) => [ILL, LOST, AGAIN].includes(message))
    .map(({ message, cause }) => [message, cause]);
}

/** Asserts that none comes, and then one as soon as `recover` has been called. */
async function misses(watcher: Receiver, recover: () => Promise<unknown>): Promise<void> {
  const before = watcher.requests.length;
  await sleep(SOME_BEATS_MS);
  assert.equal(watcher.requests.length, before);
  await recover();
  await watcher.received(before + 1);
}

// --- whole daemons ----------------------------------------------------------------------------------------

Deno.test("heartbeats come while a daemon is well, and none while its database or dispatcher is not", async () => {
  await using own = await startPostgres();
  const { url } = await freshDatabase(own);
  await using watcher = await startReceiver();
  await using daemon = await startDaemon({
    database: { url },
    alerts: { heartbeat: { url: `${watcher.url}/KEEPTHIS`, every: "1s" } },
    endpoints: [],
  });
  const [first] = await watcher.received(2);
  assert.deepEqual([first?.method, first?.path], ["GET", "/KEEPTHIS"]);
  assert.equal(first?.headers["user-agent"], USER_AGENT);
  assert.equal(first?.body.length, 0);
  assert.deepEqual(saidIn(daemon.log), []);

  // Statements about deliveries wait for a lock, all others are answered.
  {
    await using sql = connectTo(url);
    await sql.unsafe("begin; lock table pending_deliveries in access exclusive mode").simple();
    await until("the dispatcher is ill", () => saidIn(daemon.log).at(-1)?.[0] === ILL);
    await misses(watcher, () => sql.unsafe("rollback").simple());
  }
  await until("it is well", () => saidIn(daemon.log).at(-1)?.[0] === AGAIN);

  await own.stop();
  await until("it is ill again", () => saidIn(daemon.log).at(-1)?.[0] === ILL);
  await misses(watcher, () => own.start());
  await until("it is well again", () => saidIn(daemon.log).at(-1)?.[0] === AGAIN);
  assert.doesNotMatch(JSON.stringify(daemon.log), /KEEPTHIS/);
});

onServer(
  "illnessOf() names the dispatcher, the disk and statements that fail",
  async (database) => {
    await using db = await database.open();
    const well = { stopping: false, healthy: true };
    const look = (dispatcher = well, problem?: string, failing?: string) =>
      illnessOf(
        { ...db, kind: "embedded" },
        dispatcher,
        { problem: () => problem },
        () => failing,
      );
    assert.equal(await look(), undefined);
    assert.match(
      await look({ ...well, healthy: false }) ?? "",
      /^The dispatcher has had no answer/,
    );
    assert.match(await look({ ...well, stopping: true }) ?? "", /^The daemon is stopping/);
    assert.equal(await look(well, "The disk is full"), "The disk is full");
    assert.equal(await look(well, undefined, "permission denied"), "permission denied");
  },
);

onServer("no heartbeat while a delivery has been due for too long", async (database) => {
  await using watcher = await startReceiver();
  const gate = Promise.withResolvers<{ status: number }>();
  await using slow = await startReceiver(() => gate.promise);
  await using late = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { concurrency: 1 },
    alerts: { heartbeat: { url: watcher.url, every: "1s" } },
    endpoints: [
      endpoint("slow", slow.url, { events: ["booking.created"] }),
      endpoint("late", late.url, { events: ["booking.created"] }),
    ],
  });
  await using db = await database.open();
  // The only slot is taken, until the gate opens.
  await daemon.post(booking("apt_1"));
  await Promise.race([slow.received(1), late.received(1)]);
  await slow.received(1);
  await daemon.post(booking("apt_2"));
  const age = async (minutes: number) =>
    await db.admin`
      update pending_deliveries set due_at = now() - ${minutes} * interval '1 minute'
      where leased_until is null`;
  await age(9);
  const before = watcher.requests.length;
  await watcher.received(before + 2);
  assert.deepEqual(saidIn(daemon.log), []);
  assert.equal(await daemon.watched.standstill(), undefined);
  await age(11);
  await until("it is ill", () => saidIn(daemon.log).length === 1);
  const [, cause] = saidIn(daemon.log)[0] ?? [];
  // A restart may help: the service manager's watchdog is not fed either.
  assert.equal(await daemon.watched.standstill(), cause);
  assert.match(
    String(cause),
    /^Deliveries to (late|slow) have been due for more than ten minutes$/,
  );
  await misses(watcher, () => Promise.resolve(gate.resolve({ status: 200 })));
  await until("it is well", () => saidIn(daemon.log).at(-1)?.[0] === AGAIN);
  assert.equal(saidIn(daemon.log).length, 2);
});

onServer("a reload moves heartbeats to another URL at once, and ends them", async (database) => {
  await using old = await startReceiver();
  await using next = await startReceiver();
  const daemon = await startDaemon({
    database: database.section,
    alerts: { heartbeat: { url: old.url, every: "1d" } },
    endpoints: [],
  });
  await using _ = daemon;
  const reload = async (heartbeat: Record<string, string> | null) => {
    const { body } = await daemon.api("config");
    const file = parse(await Deno.readTextFile(body.path));
    await Deno.writeTextFile(body.path, stringify({ ...file, alerts: { heartbeat } }));
    assert.equal((await daemon.api("reload", undefined, "POST")).status, 200);
  };
  await old.received(1);
  await reload({ url: next.url, every: "1d" });
  await next.received(1);
  await reload({ url: next.url, every: "1s" });
  await next.received(2);
  assert.equal(old.requests.length, 1);
  await reload(null);
  // One may have been under way.
  await sleep(100);
  const count = next.requests.length;
  await sleep(SOME_BEATS_MS);
  assert.equal(next.requests.length, count);
});

// --- what it says ----------------------------------------------------------------------------------------

interface Beating extends AsyncDisposable {
  readonly log: readonly LogLine[];
  readonly client: HttpClient;
  /** Asks that URL from now on. */
  readonly ask: (url: string) => void;
  readonly stop: () => void;
}

/** Heartbeats as fast as they are looked at, with the client of a daemon. */
function startBeating(first: string, illness: () => string | undefined): Beating {
  const log: LogLine[] = [];
  const client = makeHttpClient({
    rules: () => ({ allow_loopback: true, allow_networks: [], own_listener: [] }),
  });
  let heartbeat = { url: new Secret(first), every_ms: 1 };
  const { stop } = startHeartbeat(
    () => ({ alerts: { heartbeat } as never }),
    client,
    () => Promise.resolve(illness()),
    makeLog((line) => log.push(JSON.parse(line)), "json"),
  );
  return {
    log,
    client,
    ask: (url) => heartbeat = { ...heartbeat, url: new Secret(url) },
    stop,
    [Symbol.asyncDispose]() {
      stop();
      client.close();
      return Promise.resolve();
    },
  };
}

Deno.test("each complaint is logged once, and once for each cause", async () => {
  await using watcher = await startReceiver();
  let ill: string | undefined = "The disk is full";
  let asked = 0;
  await using beating = startBeating(`${watcher.url}/KEEPTHIS`, () => (asked++, ill));
  await until("it was asked three times", () => asked === 3);
  ill = "The database is away";
  await until("it was asked again", () => asked === 4);
  ill = "The disk is full";
  await until("it was asked once more", () => asked === 5);
  assert.equal(watcher.requests.length, 0);
  ill = undefined;
  watcher.answer(() => ({ status: 503, body: "SAID-BY-SERVER" }));
  await watcher.received(2);
  watcher.answer(() => ({ status: 204 }));
  await until("it arrives", () => saidIn(beating.log).at(-1)?.[0] === AGAIN);
  await watcher.received(watcher.requests.length + 1);
  assert.deepEqual(saidIn(beating.log), [
    [ILL, "The disk is full"],
    [ILL, "The database is away"],
    [LOST, `${new URL(watcher.url).host} answered 503`],
    [AGAIN, undefined],
  ]);
  assert.doesNotMatch(JSON.stringify(beating.log), /KEEPTHIS|SAID-BY-SERVER/);
});

Deno.test("heartbeats follow no redirect, and name the host alone if nothing answers", async () => {
  await using elsewhere = await startReceiver();
  await using watcher = await startReceiver(() => ({
    status: 302,
    headers: { Location: `${elsewhere.url}/KEEPTHIS` },
  }));
  await using beating = startBeating(`${watcher.url}/KEEPTHIS?KEEPTHIS`, () => undefined);
  await watcher.received(2);
  assert.equal(elsewhere.requests.length, 0);
  const port = await freePort();
  beating.ask(`http://127.0.0.1:${port}/KEEPTHIS`);
  await until("it is refused", () => saidIn(beating.log).length === 2);
  beating.ask("http://169.254.169.254/KEEPTHIS");
  await until("it is forbidden", () => saidIn(beating.log).length === 3);
  const causes = saidIn(beating.log).map(([, cause]) => String(cause));
  assert.equal(causes[0], `${new URL(watcher.url).host} answered 302`);
  assert.equal(causes[1], `No connection to 127.0.0.1:${port} (ECONNREFUSED)`);
  assert.match(causes[2] ?? "", /^169\.254\.169\.254 is not allowed/);
  assert.doesNotMatch(JSON.stringify(beating.log), /KEEPTHIS/);
});

Deno.test("a heartbeat that a stop ends is no complaint", async () => {
  await using watcher = await startReceiver(() => "hang");
  await using beating = startBeating(watcher.url, () => undefined);
  await watcher.received(1);
  beating.stop();
  beating.client.close();
  await sleep(100);
  assert.deepEqual(beating.log, []);
});
