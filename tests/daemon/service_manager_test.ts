import assert from "node:assert/strict";
import { parse, stringify } from "yaml";
import { makeLog } from "../../lib/observe/log.ts";
import { makeServiceManager, type Watched } from "../../lib/service_manager.ts";
import { type Running, startCli, TASK_PERMISSIONS } from "../support/cli.ts";
import { booking, endpoint, startDaemon, writeConfig } from "../support/daemon.ts";
import { embeddedDatabase, serverDatabase } from "../support/databases.ts";
import { freshDatabase, startPostgres } from "../support/postgres.ts";
import { startReceiver } from "../support/receiver.ts";
import { listenAsManager, type NotifySocket } from "../support/service_manager.ts";
import { until } from "../support/wait.ts";

/** The environment of a service, as a function of names. */
function environment(variables: Record<string, string>): (name: string) => string | undefined {
  return (name) => variables[name];
}

function has(message: readonly string[], field: string): boolean {
  return message.includes(field);
}

function statusOf(message: readonly string[] | undefined): string | undefined {
  return message?.find((field) => field.startsWith("STATUS="))?.slice("STATUS=".length);
}

/** Waits for a message with that field after the first `from`, and returns its index. */
async function sent({ messages }: NotifySocket, field: string, from = 0): Promise<number> {
  await until(field, () => messages.slice(from).some((message) => has(message, field)));
  return messages.findIndex((message, index) => index >= from && has(message, field));
}

/** A daemon without anything to do. */
function idle(more: Partial<Watched> = {}): Watched {
  return {
    readiness: () => Promise.resolve({ ready: true, checks: { database: "ok" } }),
    standstill: () => Promise.resolve(undefined),
    backlog: () => Promise.resolve({ pending: 0, is_cut: false, overdue_ms: 0 }),
    in_flight: () => 0,
    ...more,
  };
}

async function end({ kill, ended }: Running): Promise<void> {
  try {
    kill("SIGKILL");
  } catch {
    // It has already ended.
  }
  await ended;
}

for (const kind of ["file", "abstract"] as const) {
  Deno.test(`a daemon reports its start, reloads and stop to a socket of the kind ${kind}`, async () => {
    await using database = await serverDatabase();
    await using socket = await listenAsManager(kind);
    const { path, remove } = writeConfig({ database: database.section });
    // The executable has no other permissions.
    const daemon = startCli(["serve", "--config", path], {
      permissions: TASK_PERMISSIONS,
      env: { NOTIFY_SOCKET: socket.name },
    });
    try {
      const ready = await sent(socket, "READY=1");
      assert.deepEqual(socket.messages[0], ["STATUS=Starting"]);
      assert.equal(
        statusOf(socket.messages[ready]),
        "Ready: 0 attempts under way, 0 deliveries pending",
      );
      daemon.kill("SIGHUP");
      const reloading = await sent(socket, "RELOADING=1");
      assert.deepEqual(socket.messages[await sent(socket, "READY=1", reloading)], ["READY=1"]);
      await daemon.until(/Configuration reloaded/);

      // A file with mistakes changes nothing: the reload is over, and the daemon as ready as before.
      await Deno.writeTextFile(path, "unknown: 1\n");
      daemon.kill("SIGHUP");
      const again = await sent(socket, "RELOADING=1", reloading + 1);
      assert.deepEqual(socket.messages[await sent(socket, "READY=1", again)], ["READY=1"]);
      await daemon.until(/nothing was changed/);

      daemon.kill("SIGTERM");
      const stopping = await sent(socket, "STOPPING=1");
      const { code, err } = await daemon.ended;
      assert.equal(code, 0, err);
      assert.equal(socket.messages.length, stopping + 1, "nothing follows");
      assert.ok(socket.messages.every((message) => !has(message, "WATCHDOG=1")), "not asked for");
      assert.doesNotMatch(err, /service manager/);
    } finally {
      await end(daemon);
      remove();
    }
  });
}

Deno.test("READY=1 waits until /readyz answers 200", async () => {
  await using database = await embeddedDatabase();
  await using socket = await listenAsManager("file");
  const { path, remove } = writeConfig({
    database: { ...database.section, min_free: "999999999GiB" },
  });
  const daemon = startCli(["serve", "--config", path], { env: { NOTIFY_SOCKET: socket.name } });
  try {
    const [, url] = await daemon.until(/"url":"([^"]+)"/);
    assert.equal((await fetch(`${url}/readyz`).then(discard)).status, 503);
    await until(
      "it says why it is not ready",
      () => socket.messages.some((message) => /^Not ready: disk: /.test(statusOf(message) ?? "")),
    );
    const file = parse(await Deno.readTextFile(path));
    file.database.min_free = "0B";
    await Deno.writeTextFile(path, stringify(file));
    daemon.kill("SIGHUP");
    const ready = await sent(socket, "READY=1");
    assert.equal((await fetch(`${url}/readyz`).then(discard)).status, 200);
    // The READY=1 at the end of a reload would have passed for the start's.
    assert.ok(socket.messages.every((message) => !has(message, "RELOADING=1")));
    assert.match(statusOf(socket.messages[ready]) ?? "", /^Ready: /);
    daemon.kill("SIGTERM");
    assert.equal((await daemon.ended).code, 0);
  } finally {
    await end(daemon);
    remove();
  }
});

async function discard(response: Response): Promise<Response> {
  await response.body?.cancel();
  return response;
}

Deno.test("the watchdog is fed only while the database answers", async () => {
  await using server = await startPostgres();
  const { url } = await freshDatabase(server);
  await using daemon = await startDaemon({ database: { url } });
  await using socket = await listenAsManager("file");
  const env = environment({ NOTIFY_SOCKET: socket.name, WATCHDOG_USEC: "400000" });
  const manager = makeServiceManager(env, makeLog(() => {}, "json"));
  try {
    manager.follow(daemon.watched);
    const first = await sent(socket, "WATCHDOG=1");
    await sent(socket, "WATCHDOG=1", first + 1);
    await server.stop();
    const starved = await until("it is not fed", () => {
      const at = socket.messages.findIndex((message, index) =>
        index > 0 && !has(message, "WATCHDOG=1")
      );
      return at > 0 ? at : undefined;
    });
    await until("it says why, again", () => socket.messages.length > starved + 3);
    const hungry = socket.messages.slice(starved, starved + 4);
    assert.ok(hungry.every((message) => !has(message, "WATCHDOG=1")), Deno.inspect(hungry));
    assert.match(statusOf(hungry.at(-1)) ?? "", /^Not ready: database: /);
    await server.start();
    await sent(socket, "WATCHDOG=1", starved);
  } finally {
    await manager.close();
  }
});

Deno.test("the watchdog is not fed while the dispatcher stands still, and is on a full disk", async () => {
  await using socket = await listenAsManager("abstract");
  const env = environment({ NOTIFY_SOCKET: socket.name, WATCHDOG_USEC: "40000" });
  const manager = makeServiceManager(env, makeLog(() => {}, "json"));
  let standstill: string | undefined;
  let disk = "ok";
  manager.follow(idle({
    readiness: () => Promise.resolve({ ready: disk === "ok", checks: { disk } }),
    standstill: () => Promise.resolve(standstill),
  }));
  try {
    await sent(socket, "WATCHDOG=1");
    disk = "3 MiB are free";
    const full = await sent(socket, "STATUS=Not ready: disk: 3 MiB are free");
    assert.ok(has(socket.messages[full] ?? [], "WATCHDOG=1"), "a restart frees nothing");
    disk = "ok";
    standstill = "Deliveries to crm\nhave been due";
    const stuck = await sent(socket, "STATUS=Not well: Deliveries to crm have been due");
    assert.ok(!has(socket.messages[stuck] ?? [], "WATCHDOG=1"));
    standstill = undefined;
    await sent(socket, "WATCHDOG=1", stuck);
    assert.equal(socket.messages.filter((message) => has(message, "READY=1")).length, 1);
  } finally {
    await manager.close();
  }
});

Deno.test("the watchdog of another process is not fed", async () => {
  for (const [pid, is_fed] of [[String(Deno.pid), true], ["1", false]] as const) {
    await using socket = await listenAsManager("abstract");
    const env = environment({
      NOTIFY_SOCKET: socket.name,
      WATCHDOG_USEC: "40000",
      WATCHDOG_PID: pid,
    });
    const manager = makeServiceManager(env, makeLog(() => {}, "json"));
    manager.follow(idle());
    const ready = await sent(socket, "READY=1");
    assert.equal(has(socket.messages[ready] ?? [], "WATCHDOG=1"), is_fed);
    await manager.close();
  }
});

Deno.test("the status names the backlog", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver(() => ({ status: 500 }));
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s", "1h"] },
    endpoints: [endpoint("crm", receiver.url)],
  });
  const { body } = await daemon.post(booking("apt_1"));
  await daemon.delivery(await daemon.deliveryId(body.id), ({ attempts }) => attempts.length === 1);
  await using socket = await listenAsManager("file");
  const log = makeLog(() => {}, "json");
  const manager = makeServiceManager(environment({ NOTIFY_SOCKET: socket.name }), log);
  manager.follow(daemon.watched);
  const ready = await sent(socket, "READY=1");
  assert.equal(
    statusOf(socket.messages[ready]),
    "Ready: 0 attempts under way, 1 delivery pending",
  );
  await manager.close();
  for (
    const [backlog, expected] of [
      [undefined, "Ready: 2 attempts under way"],
      [
        { pending: 10_000, is_cut: true, overdue_ms: 240_000 },
        "Ready: 2 attempts under way, more than 10000 deliveries pending, overdue for 4 min",
      ],
    ] as const
  ) {
    const other = makeServiceManager(environment({ NOTIFY_SOCKET: socket.name }), log);
    other.follow(idle({ backlog: () => Promise.resolve(backlog), in_flight: () => 2 }));
    await sent(socket, `STATUS=${expected}`);
    await other.close();
  }
});

Deno.test("without a service manager nothing is asked and nothing opened", async () => {
  const never = () => assert.fail("It is not watched");
  const manager = makeServiceManager((name) => {
    // As with --allow-env=OTHER.
    throw new Deno.errors.NotCapable(`Requires env access to ${name}`);
  }, makeLog(never, "json"));
  manager.follow({ readiness: never, standstill: never, backlog: never, in_flight: never });
  assert.equal(await manager.reloading(() => Promise.resolve("done")), "done");
  manager.stopping();
  await manager.close();
});

Deno.test("a service manager that cannot be reached is logged once", async () => {
  const lines: string[] = [];
  const socket = "/nowhere/notify";
  const env = environment({ NOTIFY_SOCKET: socket, WATCHDOG_USEC: "40000" });
  const manager = makeServiceManager(env, makeLog((line) => lines.push(line), "json"));
  let looks = 0;
  manager.follow(idle({ in_flight: () => looks++ }));
  await until("it goes on", () => looks > 3);
  await manager.close();
  assert.equal(lines.length, 1, lines.join());
  const { level, message, ...more } = JSON.parse(lines[0] ?? "");
  assert.deepEqual([level, message, more.socket], [
    "warn",
    "The service manager cannot be notified",
    socket,
  ]);
});
