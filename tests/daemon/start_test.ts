import assert from "node:assert/strict";
import { closes, type Play, refuses, saysNothing, startPeer } from "../store/connection/peers.ts";
import {
  frontOf,
  linesOf,
  type LogLine,
  spawnServe,
  startDaemon,
  writeConfig,
} from "../support/daemon.ts";
import { freePort, freshDatabase, startPostgres } from "../support/postgres.ts";
import { until, within } from "../support/wait.ts";

/** A daemon's process that may never come to listen. */
function spawnStart(database: Record<string, unknown>) {
  const { path, remove } = writeConfig({ database });
  const child = spawnServe(path);
  const lines: string[] = [];
  const reading = (async () => {
    for await (const line of linesOf(child.stderr)) lines.push(line);
  })();
  return {
    lines,
    log: () =>
      lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as LogLine),
    kill: (signal: Deno.Signal) => child.kill(signal),
    /** Its exit code and signal, once all of its output is read. */
    async ended() {
      const { code, signal } = await within("it ends", child.status);
      await reading;
      return { code, signal };
    },
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended.
      }
      await child.status;
      await reading;
      remove();
    },
  };
}

type Start = ReturnType<typeof spawnStart>;

function waits({ log }: Start): Promise<LogLine> {
  return until(
    "it says what it waits for",
    () => log().find(({ message }) => message === "Waiting for the database"),
  );
}

const PARTS: readonly (readonly [string, Play, RegExp])[] = [
  ["closes connections", closes, /^127\.0\.0\.1:\d+ closes connections before they are ready$/],
  ["says nothing", saysNothing, /^127\.0\.0\.1:\d+ gives no answer (yet|within 5 s)$/],
  ["starts up", refuses("57P03", "the database system is starting up"), /is starting up$/],
];
for (const [name, play, cause] of PARTS) {
  Deno.test(`a start before a server that ${name} says so, and ends by SIGTERM, not by SIGHUP`, async () => {
    await using peer = await startPeer(play);
    await using start = spawnStart({ url: `postgres://app:hunter2@127.0.0.1:${peer.port}/app` });
    const waiting = await waits(start);
    assert.match(String(waiting.cause), cause);
    start.kill("SIGHUP");
    start.kill("SIGTERM");
    assert.deepEqual(await start.ended(), { code: 0, signal: null });
    assert.doesNotMatch(start.lines.join("\n"), /hunter2/);
    assert.equal(start.log().at(-1)?.message, "Stopped before it had started");
  });
}

Deno.test("SIGINT ends a start too, and SIGHUP does not", async () => {
  const port = await freePort();
  await using start = spawnStart({ url: `postgres://app@127.0.0.1:${port}/app` });
  await waits(start);
  start.kill("SIGHUP");
  start.kill("SIGHUP");
  const { length } = start.lines;
  await until("it goes on waiting", () => start.lines.length > length);
  start.kill("SIGINT");
  assert.deepEqual(await start.ended(), { code: 0, signal: null });
});

Deno.test("a start that waits goes on when the server is there", async () => {
  await using own = await startPostgres();
  const { url } = await freshDatabase(own);
  await own.stop();
  await using start = spawnStart({ url });
  await waits(start);
  await own.start();
  const listening = await until(
    "it listens",
    () => start.log().find(({ message }) => message === "Listening"),
  );
  const ready = await fetch(`${listening.url}/readyz`);
  assert.equal(ready.status, 200, await ready.text());
  start.kill("SIGTERM");
  assert.equal((await start.ended()).code, 0);
});

Deno.test("a start gives up after connect_timeout, with reason and exit 1", async () => {
  await using peer = await startPeer(saysNothing);
  const free = await freePort();
  const hosts = `127.0.0.1:${peer.port},127.0.0.1:${free}`;
  await using start = spawnStart({
    url: `postgres://app:hunter2@${hosts}/app`,
    connect_timeout: "1s",
  });
  assert.deepEqual(await start.ended(), { code: 1, signal: null });
  const said = start.lines.join("\n");
  assert.match(said, /The database does not answer within 1 s: 127\.0\.0\.1:\d+(, | )/);
  assert.match(said, /check database\.url or database\.host, and that it is running/);
  assert.doesNotMatch(said, /hunter2/);
});

Deno.test("a start fails at once for errors that waiting does not cure", async () => {
  await using peer = await startPeer(
    refuses("28P01", 'password authentication failed for user "app"'),
  );
  await assert.rejects(
    startDaemon({ database: { url: `postgres://app:hunter2@127.0.0.1:${peer.port}/app` } }),
    (error: Error) => {
      assert.match(
        error.message,
        /^The database cannot be used: 127\.0\.0\.1:\d+ answers FATAL: password/,
      );
      assert.match(error.message, /check database\.user and database\.password/);
      assert.doesNotMatch(error.message, /hunter2/);
      return true;
    },
  );
  assert.equal(peer.accepted, 1);
});

Deno.test("a server that stays away gets few connections, and posts get 503", async () => {
  await using own = await startPostgres();
  const { url } = await freshDatabase(own);
  await using daemon = await startDaemon({ database: { url } });
  await own.stop();
  await using peer = await startPeer(closes, Number(new URL(url).port));
  await until("twenty posts were refused", async () => {
    for (let posts = 0; posts < 20; posts++) {
      const { status } = await within(
        "a post is answered",
        frontOf(daemon.url).post({
          event: "booking.created",
          timestamp: "2026-11-28T10:00:00Z",
          data: { appointment: { id: "apt_1" } },
        }),
      );
      assert.equal(status, 503);
    }
    return true;
  });
  await until("the daemon tried", () => peer.accepted > 0);
  assert.ok(peer.accepted < 40, `${peer.accepted} connections`);
});
