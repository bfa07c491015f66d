import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash, createHmac } from "node:crypto";
import { inTemporary, runCli, runHere, startCli, TASK_PERMISSIONS } from "../support/cli.ts";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import {
  ADMIN,
  booking,
  endpoint,
  type Front,
  spawnDaemon,
  startDaemon,
  writeConfig,
} from "../support/daemon.ts";
import { embeddedDatabase, serverDatabase } from "../support/databases.ts";
import { startOperated } from "../support/operated.ts";
import { type Receiver, startReceiver, statuses } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

/** Posts one event after another until `stop`, which returns their ids in the order of their acceptance. */
function keepPosting(daemon: Front) {
  const ids: string[] = [];
  let stopping = false;
  const posting = (async () => {
    for (let n = 0; !stopping; n++) {
      const { status, body } = await daemon.post(booking(`apt_${n}`, "bus_1"));
      assert.equal(status, 202);
      ids.push(body.id);
    }
  })();
  return {
    ids,
    async stop() {
      stopping = true;
      await posting;
      return ids;
    },
  };
}

const idsAt = ({ requests }: Receiver) =>
  requests.map(({ headers }) => headers["x-bookme-event-id"] ?? "");

Deno.test("a backup taken while events come and go is restored elsewhere, and delivers after resume", async () => {
  await using database = await embeddedDatabase();
  await using good = await startReceiver();
  await using bad = await startReceiver(statuses(500));
  const sections = {
    encryption_key: ENCRYPTION_KEY,
    delivery: { retry: ["0s", "1h"] },
    endpoints: [endpoint("good", good.url), endpoint("bad", bad.url)],
  };
  await using daemon = await startOperated({ ...sections, database: database.section });
  const made = await daemon.cli(["portal-link", "bus_1", "--json"]);
  const { token } = JSON.parse(made.out);
  const api = await fetch(`${daemon.url}/api/endpoints`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify({ url: good.url, events: ["booking.*"] }),
  });
  const { id: sealed, secret } = await api.json();
  const posting = keepPosting(daemon);
  await until("some are delivered", () => good.requests.length > 20);
  await inTemporary(async (directory) => {
    const file = `${directory}/bookme.tar`;
    const before = [...posting.ids];
    const taken = await daemon.cli(["backup", "--to", file]);
    assert.deepEqual([taken.code, taken.err], [0, ""], taken.out);
    assert.match(taken.out, /Not in it: the encryption key/);
    assert.equal(((await Deno.stat(file)).mode ?? 0) & 0o777, 0o600);
    await posting.stop();
    await daemon.stop();

    const again = await daemon.cli(["backup", "--to", file]);
    assert.equal(again.code, 1);
    assert.match(again.err, /exists; name another file, or pass --force/);
    assert.deepEqual(names(directory), ["bookme.tar"]);

    const target = `${directory}/restored`;
    const config = { ...sections, database: { directory: target } };
    const restored = await restore(file, config);
    assert.deepEqual([restored.code, restored.err], [0, ""], restored.out);
    assert.match(restored.out, /digest, manifest and rows are right/);
    assert.match(restored.out, /The encryption key opens the secrets of 1 endpoint$/m);
    assert.match(restored.out, /0 sessions ended, 1 portal links revoked/);
    assert.match(restored.out, /Delivery is off: 3 endpoints paused/);
    assert.match(restored.out, /may be sent twice.*\n.*are lost.*\n.*Repeat the erasures/);
    assert.deepEqual(names(target), ["lock", "postgres"]);

    const sent = good.requests.length;
    await using second = await startOperated(config);
    for (const id of before) assert.equal((await second.api(`events/${id}`)).status, 200, id);
    assert.equal((await second.api("endpoints", token)).status, 401, "the portal link has ended");
    const { body: later } = await second.post(booking("apt_later"));
    await until("it is owed, and waits", async () => {
      const { body } = await second.api("deliveries?status=pending&endpoint=good");
      return body.data.some(({ event_id }: { event_id: string }) => event_id === later.id);
    });
    assert.equal(good.requests.length, sent, "nothing is delivered");
    const resumed = await second.cli(["resume", "--all"]);
    assert.equal(resumed.code, 0, resumed.err);
    assert.match(resumed.out, /good: resumed; .*Restored from the backup of/);
    await until("it is delivered", () => idsAt(good).includes(later.id));
    // Signed with what only the key opens.
    const test = await second.cli(["send", "booking.created", "--endpoint", sealed, "--json"]);
    assert.equal(test.code, 0, test.err);
    const { body, headers } = good.requests.at(-1) ?? assert.fail();
    const signature = createHmac("sha256", secret).update(body).digest("hex");
    assert.equal(headers["x-bookme-signature"], `sha256=${signature}`);
    const { body: log } = await second.api("audit?action=database.restored");
    assert.equal(log.data.length, 1);
  });
});

function names(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name).toSorted();
}

async function restore(file: string, sections: Parameters<typeof writeConfig>[0]) {
  const { path, remove } = writeConfig(sections);
  try {
    return await runHere(["restore", file, "--config", path], {
      env: { TEST_ENCRYPTION_KEY: Deno.env.get("TEST_ENCRYPTION_KEY") ?? "" },
    });
  } finally {
    remove();
  }
}

/** A backup of a new database with one event, in a directory that exists meanwhile. */
async function withBackup(work: (directory: string, file: string) => Promise<void>) {
  await using database = await embeddedDatabase();
  await inTemporary(async (directory) => {
    const file = `${directory}/bookme.tar`;
    {
      await using daemon = await startOperated({ database: database.section });
      await daemon.post(booking("apt_1"));
      const { code, err } = await daemon.cli(["backup", "--to", file]);
      assert.equal(code, 0, err);
    }
    await work(directory, file);
  });
}

/** An archive with another manifest, and the digest that belongs to it. */
function withManifest(
  archive: Uint8Array,
  change: (manifest: Record<string, unknown>) => void,
): Uint8Array {
  const bytes = Buffer.from(archive);
  const at = bytes.lastIndexOf("manifest.json\0");
  const size = parseInt(bytes.toString("latin1", at + 124, at + 135), 8);
  const manifest = JSON.parse(bytes.toString("utf8", at + 512, at + 512 + size));
  change(manifest);
  // Of the same length, so that the header stays right.
  bytes.write(JSON.stringify(manifest).padEnd(size), at + 512, "utf8");
  const end = bytes.lastIndexOf("digest.sha256\0");
  bytes.write(createHash("sha256").update(bytes.subarray(0, end)).digest("hex"), end + 512);
  return bytes;
}

Deno.test("restore refuses what is cut off, changed, newer or incomplete, and leaves nothing", async () => {
  await withBackup(async (directory, file) => {
    const whole = await Deno.readFile(file);
    const target = `${directory}/restored`;
    const sections = { database: { directory: target } };
    const changed = whole.slice();
    const at = Buffer.from(whole).indexOf("postgres/pg_wal/0") + 600;
    changed[at] = (changed[at] ?? 0) ^ 1;
    const elsewhere = Buffer.from(whole);
    elsewhere.write("../../x", 0, "latin1");
    for (
      const [bytes, why] of [
        [whole.subarray(0, whole.length - 1), /is no whole backup: it is cut off/],
        [whole.subarray(0, whole.length - 4096), /is no whole backup: it is cut off/],
        [whole.subarray(0, 512 * 20), /is no whole backup: it is cut off/],
        [new Uint8Array(), /is no whole backup: it is cut off/],
        [changed, /is no whole backup: its SHA-256 is \w{64} instead of \w{64}: it was changed/],
        [elsewhere, /is no whole backup: at byte 0: It has a header that is damaged/],
        [
          withManifest(whole, (manifest) => manifest.schema_version = 999),
          /has schema version 999, and this program knows versions up to \d+; restore it with/,
        ],
        [withManifest(whole, (manifest) => manifest.format = 9), /has the format 9/],
        [
          withManifest(whole, ({ tables }) => {
            (tables as Record<string, unknown>).events = { at_least: 2, at_most: 2 };
          }),
          /The backup is not complete: events has 1 rows instead of 2/,
        ],
      ] as const
    ) {
      const other = `${directory}/other.tar`;
      await Deno.writeFile(other, bytes);
      const { code, err } = await restore(other, sections);
      assert.equal(code, 1, `${why}: ${err}`);
      assert.match(err, why);
      const left = await Deno.stat(target).then(() => names(target), () => []);
      assert.deepEqual(left.filter((name) => name !== "lock"), [], `${why}`);
    }
    const { code, err } = await restore(file, sections);
    assert.deepEqual([code, err], [0, ""]);
    const again = await restore(file, sections);
    assert.equal(again.code, 1);
    assert.match(
      again.err,
      /is not empty: it has postgres; move that away, or set database.directory/,
    );
    const server = await restore(file, { database: { url: "postgres://localhost/bookme" } });
    assert.equal(server.code, 2);
    assert.match(server.err, /names a server; restore is for the embedded database/);
  });
});

Deno.test("restore says which secrets no key opens, and keeps key and token that are there", async () => {
  await using database = await embeddedDatabase();
  await inTemporary(async (directory) => {
    const file = `${directory}/bookme.tar`;
    const target = `${directory}/restored`;
    {
      await using daemon = await startOperated({ database: database.section });
      const made = await fetch(`${daemon.url}/api/endpoints`, {
        method: "POST",
        headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
        body: JSON.stringify({ url: "http://127.0.0.1:1/", events: ["*"] }),
      });
      assert.equal(made.status, 201, await made.text());
      assert.equal((await daemon.cli(["backup", "--to", file])).code, 0);
    }
    const sections = { database: { directory: target } };
    const without = await restore(file, sections);
    assert.equal(without.code, 0, without.err);
    assert.match(without.out, /✗ No encryption key opens the secrets of ep_\w+: before the daemon/);
    Deno.removeSync(target, { recursive: true });
    Deno.mkdirSync(target);
    const { directory: source } = database.section as { directory: string };
    Deno.copyFileSync(`${source}/encryption.key`, `${target}/encryption.key`);
    const having = await restore(file, sections);
    assert.equal(having.code, 0, having.err);
    assert.match(having.out, /✓ The encryption key opens the secrets of 1 endpoint/);
    assert.deepEqual(names(target), ["encryption.key", "lock", "postgres"]);
  });
});

Deno.test("a backup or a restore that is killed leaves its source usable, and no half of anything", async () => {
  await using database = await embeddedDatabase();
  await inTemporary(async (directory) => {
    const file = `${directory}/bookme.tar`;
    await using daemon = await startOperated({ database: database.section });
    await daemon.post(booking("apt_1"));
    const killed = startCli(["backup", "--to", file, "--config", daemon.path]);
    await until("it has begun", () => names(directory).includes("bookme.tar.part"));
    killed.kill("SIGKILL");
    await killed.ended;
    assert.ok(!names(directory).includes("bookme.tar"));
    await until("the daemon takes another", async () => {
      const { code } = await daemon.cli(["backup", "--to", file]);
      return code === 0;
    });
    assert.deepEqual(names(directory), ["bookme.tar"]);
    assert.equal((await daemon.post(booking("apt_2"))).status, 202);

    const target = `${directory}/restored`;
    const { path, remove } = writeConfig({ database: { directory: target } });
    try {
      // At different moments: while it unpacks, and while it opens.
      for (const sign of ["PG_VERSION", "pg_wal/000000010000000000000002", "postmaster.pid"]) {
        const restoring = startCli(["restore", file, "--config", path]);
        await until(`there is ${sign}, or it has ended`, async () => {
          const found = await Deno.stat(`${target}/postgres.new/${sign}`).then(
            () => true,
            () => false,
          );
          return found || names(directory).includes("restored") &&
              names(target).includes("postgres");
        });
        restoring.kill("SIGKILL");
        await restoring.ended;
        if (names(target).includes("postgres")) Deno.removeSync(target, { recursive: true });
      }
      const permissions = TASK_PERMISSIONS;
      const { code, err } = await runCli(["restore", file, "--config", path], { permissions });
      assert.deepEqual([code, err], [0, ""]);
      assert.deepEqual(names(target), ["lock", "postgres"]);
    } finally {
      remove();
    }
    await using restored = await startDaemon({ database: { directory: target } });
    const { body } = await restored.api("events");
    assert.equal(body.data.length, 1);
  });
});

Deno.test("a daemon killed under a backup has everything at its next start, and the backup none", async () => {
  await using database = await embeddedDatabase();
  await inTemporary(async (directory) => {
    const file = `${directory}/bookme.tar`;
    const env = { TOKEN: ADMIN };
    const ids: string[] = [];
    {
      await using daemon = await spawnDaemon({ database: database.section });
      for (let n = 0; n < 20; n++) ids.push((await daemon.post(booking(`apt_${n}`))).body.id);
      const args = ["backup", "--to", file, "--url", daemon.url, "--token", "env:TOKEN"];
      const cli = startCli(args, { env });
      await until("some of it has come", async () => (await Deno.stat(`${file}.part`)).size > 0);
      // It reads no more, so that the daemon is in the middle of it.
      cli.kill("SIGSTOP");
      ids.push((await daemon.post(booking("apt_meanwhile"))).body.id);
      daemon.kill("SIGKILL");
      await daemon.status;
      cli.kill("SIGCONT");
      const { code, out, err } = await cli.ended;
      assert.equal(code, 1, out);
      assert.match(err, /^The answer of http:\/\/\S+ broke off: /);
      assert.deepEqual(names(directory), []);
    }
    await using daemon = await startDaemon({ database: database.section });
    for (const id of ids) assert.equal((await daemon.api(`events/${id}`)).status, 200, id);
  });
});

Deno.test("backup --to - writes the archive to standard output", async () => {
  await using database = await embeddedDatabase();
  await using daemon = await startOperated({ database: database.section });
  const { stdout, stderr, code } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      ...TASK_PERMISSIONS,
      "--quiet",
      "--no-check",
      MAIN,
      "backup",
      "--to",
      "-",
      "--config",
      daemon.path,
    ],
  }).output();
  const said = new TextDecoder().decode(stderr);
  assert.equal(code, 0, said);
  assert.match(said, /Not in the backup: the encryption key/);
  assert.match(new TextDecoder().decode(stdout.subarray(-2048)), /^digest\.sha256\0/);
});

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

Deno.test("backup says why there is none", async () => {
  await using database = await serverDatabase();
  await using daemon = await startOperated({ database: database.section });
  await inTemporary(async (directory) => {
    const file = `${directory}/bookme.tar`;
    const server = await daemon.cli(["backup", "--to", file]);
    assert.equal(server.code, 1);
    assert.match(server.err, /pg_basebackup and WAL archiving/);
    await daemon.stop();
    const stopped = await daemon.cli(["backup", "--to", file, "--force"]);
    assert.equal(stopped.code, 1);
    assert.match(stopped.err, /is the daemon running\?/);
    const nowhere = await daemon.cli(["backup"]);
    assert.deepEqual([nowhere.code, /--to is missing/.test(nowhere.err)], [2, true]);
    assert.deepEqual(names(directory), []);
  });
});
