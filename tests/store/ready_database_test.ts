import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { zstdDecompressSync } from "node:zlib";
import { openSession } from "../../lib/store/connect.ts";
import { openDatabase } from "../../lib/store/database.ts";
import { openEmbedded } from "../../lib/store/embedded.ts";
import { readyFiles, unpackReady } from "../../lib/store/ready_database.ts";
import { PLATFORM } from "../../lib/core/platform.ts";
import { inTemporary } from "../support/cli.ts";

const ROOT = new URL("../../", import.meta.url);

Deno.test("the ready-made database is what this PGlite and the migrations make, byte by byte", async () => {
  await inTemporary(async (directory) => {
    const path = `${directory}/cluster.tar`;
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--frozen", "-A", "deploy/ready_database.ts", path],
      cwd: ROOT,
      // Of another place and language.
      env: { TZ: "Asia/Tokyo", LANG: "de_DE.UTF-8" },
      stdin: "null",
      stdout: "null",
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    const archive = Deno.readFileSync(new URL("lib/store/ready_database.tar.zst", ROOT));
    assert.ok(
      Buffer.from(zstdDecompressSync(archive)).equals(Deno.readFileSync(path)),
      "run npx -y deno@2.9.6 task ready-database",
    );
  });
});

/** What PostgreSQL says about the cluster in `directory`. */
async function identifierOf(directory: string): Promise<bigint> {
  const { sql, close } = openSession(await openEmbedded(directory, {}));
  try {
    // Its log goes on, too.
    await sql`create table if not exists kept ()`;
    const [row] = await sql<{ id: string }[]>`
      select system_identifier::text as id from pg_control_system()`;
    return BigInt(row?.id ?? 0);
  } finally {
    await close();
  }
}

Deno.test("unpackReady() makes a whole database with the given identifier, for its owner only", async () => {
  await inTemporary(async (directory) => {
    unpackReady(`${directory}/postgres`, 0x1234_5678_9abc_def1n);
    for (const { name, content } of readyFiles()) {
      const { isFile, mode, size } = Deno.statSync(`${directory}/postgres/${name}`);
      assert.equal(isFile, content !== null, name);
      if (content !== null) assert.equal(size, content.length, name);
      if (PLATFORM.has_modes) assert.equal((mode ?? 0) & 0o777, isFile ? 0o600 : 0o700, name);
    }
    assert.equal(await identifierOf(directory), 0x1234_5678_9abc_def1n);
    // And again: what it has written there says the same.
    assert.equal(await identifierOf(directory), 0x1234_5678_9abc_def1n);
  });
});

Deno.test("a new database is migrated when it is made, and not again", async () => {
  await inTemporary(async (directory) => {
    const open = () => openDatabase({ database: { kind: "embedded", directory } });
    const began_at = Date.now();
    const made = await open();
    assert.deepEqual(made.migrated, ["0001_init"]);
    const [row] = await made.admin<{ applied_at: Date }[]>`
      select applied_at from migrations where name = '0001_init'`;
    assert.ok(row !== undefined && row.applied_at.getTime() >= began_at, `${row?.applied_at}`);
    await made.close();
    const opened = await open();
    assert.deepEqual(opened.migrated, []);
    await opened.close();
  });
});

Deno.test("each new database has an identifier of its own, and nothing of one left half-made", async () => {
  const made = async () =>
    await inTemporary(async (directory) => {
      // Killed while it unpacked.
      const left = `${directory}/postgres.new`;
      unpackReady(left);
      Deno.removeSync(`${left}/global`, { recursive: true });
      Deno.writeTextFileSync(`${left}/stray`, "");
      const identifier = await identifierOf(directory);
      const names = [...Deno.readDirSync(directory)].map(({ name }) => name).toSorted();
      assert.deepEqual(names, ["lock", "postgres"]);
      assert.throws(() => Deno.statSync(`${directory}/postgres/stray`), Deno.errors.NotFound);
      return identifier;
    });
  const [one, other] = [await made(), await made()];
  assert.notEqual(one, other);
  assert.ok(one > 0n && other > 0n);
});
