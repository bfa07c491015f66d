import assert from "node:assert/strict";
import { messageOf } from "../../lib/core/errors.ts";
import { openSession } from "../../lib/store/connect.ts";
import { hasEmbedded, openEmbedded } from "../../lib/store/embedded.ts";
import { booking, endpoint, spawnDaemon, startDaemon } from "../support/daemon.ts";
import { embeddedDatabase, initialise } from "../support/databases.ts";
import { startReceiver } from "../support/receiver.ts";
import { onSmallDisk } from "../support/small_disk.ts";
import { until } from "../support/wait.ts";

Deno.test("an embedded database is made in a directory that is closed to others", async () => {
  const parent = Deno.makeTempDirSync({ prefix: "bookme-embedded-" });
  const directory = `${parent}/a/b`;
  await using receiver = await startReceiver();
  const sections = { database: { directory }, endpoints: [endpoint("all", receiver.url)] };
  {
    await using daemon = await startDaemon(sections);
    const { status } = await daemon.post(booking("apt_1"));
    assert.equal(status, 202);
    await receiver.received(1);
    assert.equal((Deno.statSync(directory).mode ?? 0) & 0o777, 0o700);
    // Found open, it is closed again.
    Deno.chmodSync(directory, 0o755);
  }
  await using daemon = await startDaemon(sections);
  assert.equal((Deno.statSync(directory).mode ?? 0) & 0o777, 0o700);
  const { body } = await daemon.api("deliveries");
  assert.equal(body.data.length, 1);
  await daemon.stop();
  Deno.removeSync(parent, { recursive: true });
});

Deno.test("an embedded database is not opened by two processes", async () => {
  await using database = await embeddedDatabase();
  await using holder = await spawnDaemon({ database: database.section });
  const told = new RegExp(`in use by process ${holder.pid}; stop that one first`);
  await assert.rejects(() => startDaemon({ database: database.section }), told);
  await assert.rejects(() => spawnDaemon({ database: database.section }), told);
  assert.equal((await holder.post(booking("apt_1"))).status, 202, "the holder does not mind");
  // And the lock goes with the process, however it ends.
  holder.kill("SIGKILL");
  await holder.status;
  await using next = await startDaemon({ database: database.section });
  assert.equal((await next.api("deliveries")).status, 200);
});

Deno.test("kill -9 under load loses no event that was answered", async () => {
  await using database = await embeddedDatabase();
  await using receiver = await startReceiver();
  const sections = { database: database.section, endpoints: [endpoint("all", receiver.url)] };
  const answered = new Set<string>();
  for (let round = 0; round < 2; round++) {
    await using daemon = await spawnDaemon(sections);
    const target = answered.size + 200;
    const post = async () => {
      for (;;) {
        const { status, body } = await daemon.post([booking("apt_1"), booking("apt_2")]);
        if (status !== 202) throw new Error(`Answered ${status}`);
        for (const { id } of body) answered.add(id);
      }
    };
    const posting = Array.from({ length: 8 }, () => post().catch(() => {}));
    await until("enough is answered", () => answered.size >= target);
    daemon.kill("SIGKILL");
    await Promise.all(posting);
  }
  await using daemon = await startDaemon(sections);
  await until("all that was answered is received", () => {
    const received = new Set(receiver.requests.map((r) => r.headers["x-bookme-event-id"]));
    return [...answered].every((id) => received.has(id));
  });
  await until(
    "nothing is pending",
    async () => (await daemon.api("deliveries?status=pending")).body.data.length === 0,
  );
  const again = receiver.requests.length - answered.size;
  // In flight and two unrecorded batches, in each round; not everything.
  assert.ok(again < 400, `${again} of ${answered.size} were sent again`);
});

Deno.test("openEmbedded() says that it makes a database before it does", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-embedded-" });
  const said: string[] = [];
  const say = (message: string) => void said.push(`${message}: ${hasEmbedded(directory)}`);
  const embedded = await openEmbedded(directory, {}, { info: say, error: say });
  await embedded.close();
  assert.deepEqual(said, [
    "Creating the embedded database, which takes some seconds: false",
    "Embedded database created: true",
  ]);
  Deno.removeSync(directory, { recursive: true });
});

onSmallDisk("a first start with too little room says what it needs", "size=20m", async (disk) => {
  const directory = `${disk.directory}/data`;
  await assert.rejects(
    () => openEmbedded(directory, {}),
    (error: Error) =>
      error.message === `A new database needs 64 MiB, and ${directory} has ` +
          `${error.message.match(/has (\S+ \w+) free/)?.[1]} free; free some space, or set ` +
          "database.directory to a larger disk",
  );
});

onSmallDisk("a database that cannot be made says why", "size=200m,nr_inodes=200", async (disk) => {
  const directory = `${disk.directory}/data`;
  await assert.rejects(
    () => openEmbedded(directory, {}),
    /The database in \S+\/data cannot be created: no space left on the disk \([\d.]+ MiB free\)/,
  );
  // The unfinished database is removed, and its space is free again.
  assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), ["lock"]);
});

// The last test of the file: a PostgreSQL that stopped leaves a timer of its own behind, of ten seconds.
Deno.test("an embedded database that stopped opens again, with all that was committed", {
  sanitizeOps: false,
  sanitizeResources: false,
}, async () => {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-embedded-" });
  await initialise(directory);
  const { sql, close } = openSession(await openEmbedded(directory, {}));
  await sql`create table kept (id int)`;
  await sql`insert into kept values (1)`;
  // A directory in the place of the log's next file: PostgreSQL cannot go on, as on a full disk.
  const obstacle = `${directory}/postgres/pg_wal/xlogtemp.42`;
  Deno.mkdirSync(`${obstacle}/full`, { recursive: true });
  const log = () => sql`select pg_logical_emit_message(true, 'test', repeat('x', 6000000))`;
  const stopped = until("it stops", () => log().then(() => undefined, messageOf));
  assert.match(await stopped, /^The embedded database stopped: could not .*xlogtemp/);
  Deno.removeSync(obstacle, { recursive: true });
  const [row] = await until("it is open", () => sql`select count(*)::int as count from kept`);
  assert.deepEqual({ ...row }, { count: 1 });
  await log();
  await close();
  Deno.removeSync(directory, { recursive: true });
});
