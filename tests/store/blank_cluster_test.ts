import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { zstdDecompressSync } from "node:zlib";
import { blankFiles, unpackBlank } from "../../lib/store/blank_cluster.ts";
import { openSession } from "../../lib/store/connect.ts";
import { openEmbedded } from "../../lib/store/embedded.ts";
import { PLATFORM } from "../../lib/core/platform.ts";
import { inTemporary } from "../support/cli.ts";

const ROOT = new URL("../../", import.meta.url);

Deno.test("the blank cluster is what initdb of this PGlite makes, byte by byte", async () => {
  await inTemporary(async (directory) => {
    const path = `${directory}/cluster.tar`;
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--frozen", "-A", "deploy/blank_cluster.ts", path],
      cwd: ROOT,
      // Of another place and language.
      env: { TZ: "Asia/Tokyo", LANG: "de_DE.UTF-8" },
      stdin: "null",
      stdout: "null",
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
    const archive = Deno.readFileSync(new URL("lib/store/blank_cluster.tar.zst", ROOT));
    assert.ok(
      Buffer.from(zstdDecompressSync(archive)).equals(Deno.readFileSync(path)),
      "run npx -y deno@2.9.6 task blank-cluster",
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

Deno.test("unpackBlank() makes a whole cluster with the given identifier, for its owner only", async () => {
  await inTemporary(async (directory) => {
    unpackBlank(`${directory}/postgres`, 0x1234_5678_9abc_def1n);
    for (const { name, content } of blankFiles()) {
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

Deno.test("each new database has an identifier of its own, and nothing of one left half-made", async () => {
  const made = async () =>
    await inTemporary(async (directory) => {
      // Killed while it unpacked.
      const left = `${directory}/postgres.new`;
      unpackBlank(left);
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
