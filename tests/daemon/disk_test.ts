import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { watchDisk } from "../../lib/disk.ts";
import { booking, endpoint, type Front, spawnDaemon, startDaemon } from "../support/daemon.ts";
import { embeddedDatabase, initialise, serverDatabase } from "../support/databases.ts";
import { startReceiver } from "../support/receiver.ts";
import { onSmallDisk } from "../support/small_disk.ts";
import { until } from "../support/wait.ts";

const MIB = 1024 * 1024;

async function readiness({ url }: Front) {
  const response = await fetch(`${url}/readyz`);
  return { status: response.status, ...await response.json() };
}

Deno.test("watchDisk() logs low and sufficient room once each", async () => {
  const told: string[] = [];
  const tell = (level: string) => (message: string, fields = {}) =>
    void told.push(`${level} ${message} ${JSON.stringify(fields)}`);
  let free = 512 * MIB;
  const database = { kind: "embedded", directory: "/data", min_free_bytes: 512 * MIB } as const;
  const disk = watchDisk(
    () => ({ database }),
    { info: tell("info"), warn: tell("warn"), error: tell("error") },
    () => free,
  );
  try {
    disk.requireRoom();
    assert.equal(disk.problem(), undefined);
    assert.deepEqual(told, []);
    free -= 1;
    const low = "Disk low: /data has 511.9 MiB free, and ingest stops below 512 MiB " +
      "(database.min_free)";
    assert.equal(await until("it is low", () => disk.problem()), low);
    assert.throws(
      () => disk.requireRoom(),
      { code: "unavailable", message: `${low}; nothing was stored, send it again later` },
    );
    free = 2048 * MIB;
    await until("there is room", () => disk.problem() === undefined);
    disk.requireRoom();
    assert.deepEqual(told, [
      'error Disk low: events are refused {"directory":"/data","free":"511.9 MiB","min_free":"512 MiB"}',
      'info Disk has room: events are accepted {"directory":"/data","free":"2 GiB","min_free":"512 MiB"}',
    ]);
  } finally {
    disk.stop();
  }
});

Deno.test("watchDisk() applies a reloaded limit at once", () => {
  let min_free_bytes = 512 * MIB;
  const ignore = () => {};
  const disk = watchDisk(
    () => ({ database: { kind: "embedded", directory: "/data", min_free_bytes } }),
    { info: ignore, warn: ignore, error: ignore },
    () => 512 * MIB,
  );
  try {
    assert.equal(disk.problem(), undefined);
    min_free_bytes += 1;
    assert.match(disk.problem() ?? "", /512 MiB free/);
    min_free_bytes -= 1;
    assert.equal(disk.problem(), undefined);
  } finally {
    disk.stop();
  }
});

Deno.test("a low disk refuses events with the free space and the limit", async () => {
  await using database = await embeddedDatabase();
  assert.ok("directory" in database.section);
  const { directory } = database.section;
  // More than any machine has: so the disk is low wherever this runs.
  const section = { directory, min_free: "999999999GiB" };
  await using daemon = await startDaemon({ database: section });
  const { status, headers, body } = await daemon.post(booking("apt_1"));
  assert.equal(status, 503);
  assert.equal(headers.get("retry-after"), "5");
  assert.equal(headers.get("content-type"), "application/problem+json");
  assert.equal(body.code, "unavailable");
  const said = new RegExp(
    `^Disk low: ${directory} has [\\d.]+ \\wiB free, and ingest stops below \\S+ TiB ` +
      "\\(database\\.min_free\\)",
  );
  assert.match(body.detail, said);
  const ready = await readiness(daemon);
  assert.equal(ready.status, "unavailable");
  assert.match(ready.checks.disk, said);
  assert.equal(ready.checks.database, "ok");
  const lines = daemon.log.filter(({ message }) => /^Disk low/.test(message));
  assert.equal(lines.length, 1);
  assert.match(String(lines[0]?.["free"]), /^[\d.]+ \wiB$/);
  assert.equal((await daemon.api("deliveries")).body.data.length, 0, "nothing is stored");
});

Deno.test("/readyz says nothing of a server's disk, which cannot be seen from here", async () => {
  await using database = await serverDatabase();
  await using daemon = await startDaemon({ database: database.section });
  const { checks } = await readiness(daemon);
  assert.deepEqual(checks, { database: "ok", dispatcher: "ok" });
});

onSmallDisk(
  "ingest stops before the disk is full, delivers what is pending, and resumes by itself",
  "size=192m",
  async (disk) => {
    const directory = `${disk.directory}/data`;
    await initialise(directory);
    const gate = Promise.withResolvers<{ status: number }>();
    await using receiver = await startReceiver(() => gate.promise);
    await using daemon = await spawnDaemon({
      database: { directory, min_free: "64MiB" },
      endpoints: [endpoint("all", receiver.url)],
    });
    const first = await daemon.post(booking("apt_1"));
    assert.equal(first.status, 202);
    await receiver.received(1);
    disk.fill(32 * MIB);
    const refused = await until("posts are refused", async () => {
      const answer = await daemon.post(booking("apt_2"));
      return answer.status === 503 ? answer : undefined;
    });
    assert.match(refused.body.detail, /has 3\d(\.\d)? MiB free, and ingest stops below 64 MiB/);
    assert.equal((await readiness(daemon)).status, "unavailable");
    gate.resolve({ status: 200 });
    const delivery = await daemon.delivery(await daemon.deliveryId(first.body.id));
    assert.equal(delivery.status, "delivered");
    disk.clear();
    await until(
      "posts are accepted",
      async () => (await daemon.post(booking("apt_3"))).status === 202,
    );
    assert.equal((await readiness(daemon)).status, "ok");
    await until("both are received", () => receiver.requests.length >= 2);
  },
);

onSmallDisk(
  "a daemon whose disk is really full says so, records what it sent, and goes on by itself",
  "size=128m",
  async (disk) => {
    const directory = `${disk.directory}/data`;
    await initialise(directory);
    const gate = Promise.withResolvers<{ status: number }>();
    await using receiver = await startReceiver(() => gate.promise);
    await using daemon = await spawnDaemon({
      database: { directory, min_free: "0B" },
      endpoints: [endpoint("all", receiver.url)],
    });
    const first = await daemon.post(booking("apt_1"));
    await receiver.received(1);
    disk.fill(0);
    await until("/readyz says that the disk is full", async () => {
      const { status, checks } = await readiness(daemon);
      return status === "unavailable" &&
        /^Disk low: .* has \S+ \w+ free, and ingest stops below 16 MiB/.test(checks.disk);
    });
    assert.match((await daemon.post(booking("apt_2"))).body.detail, /^Disk low/);
    gate.resolve({ status: 200 });
    disk.clear();
    await until(
      "posts are accepted",
      async () => (await daemon.post(booking("apt_3"))).status === 202,
    );
    const delivery = await daemon.delivery(await daemon.deliveryId(first.body.id));
    assert.deepEqual([delivery.status, delivery.attempt_count], ["delivered", 1]);
    daemon.kill("SIGTERM");
    assert.equal((await daemon.status).code, 0);
  },
);

Deno.test("a daemon whose embedded database stops opens it again and loses nothing", async () => {
  await using database = await embeddedDatabase();
  assert.ok("directory" in database.section);
  await using receiver = await startReceiver();
  await using daemon = await spawnDaemon({
    database: database.section,
    endpoints: [endpoint("all", receiver.url)],
  });
  const accepted = new Set<string>();
  const post = async () => {
    // Random, because PostgreSQL compresses.
    const filler = randomBytes(300_000).toString("base64");
    const { status, body } = await daemon.post(booking("apt_1", "bus_1", { filler }));
    if (status === 202) accepted.add(body.id);
    else assert.equal(status, 503);
    return status === 202;
  };
  const logged = (message: string) => daemon.log.some((line) => line.message === message);
  // In the place of the log's next file, so that PostgreSQL ends itself as it does on a full disk.
  const obstacle = `${database.section.directory}/postgres/pg_wal/xlogtemp.42`;
  Deno.mkdirSync(`${obstacle}/full`, { recursive: true });
  await until("the database stops", async () => {
    await post();
    return logged("The embedded database stopped");
  });
  const alive = await fetch(`${daemon.url}/livez`);
  assert.equal((await alive.json()).status, "ok");
  Deno.removeSync(obstacle, { recursive: true });
  await until("posts are accepted", post);
  assert.ok(logged("The embedded database is open again"));
  assert.ok(accepted.size > 1);
  await until("all that was accepted is received", () => {
    const received = new Set(receiver.requests.map((r) => r.headers["x-bookme-event-id"]));
    return [...accepted].every((id) => received.has(id));
  });
  daemon.kill("SIGTERM");
  assert.equal((await daemon.status).code, 0);
});
