import assert from "node:assert/strict";
import { BLOCK, paddingOf, readTarHeader, TAR_END, tarHeader } from "../../lib/core/tar.ts";

Deno.test("readTarHeader() reads what tarHeader() writes", () => {
  for (
    const entry of [
      { name: "postgres/base/1/2619", is_directory: false, size: 1024 ** 3 },
      { name: "postgres/pg_wal/", is_directory: true, size: 0 },
    ]
  ) {
    const header = tarHeader(entry, 1_790_000_000);
    assert.equal(header.length, BLOCK);
    assert.deepEqual(readTarHeader(header), entry);
  }
  assert.equal(readTarHeader(TAR_END.subarray(0, BLOCK)), null);
});

Deno.test("readTarHeader() refuses a header with any byte changed", () => {
  const header = tarHeader({ name: "postgres/PG_VERSION", is_directory: false, size: 3 }, 0);
  for (let at = 0; at < BLOCK; at++) {
    const changed = Uint8Array.from(header);
    changed[at] = (changed[at] ?? 0) ^ 1;
    // The checksum's own end is not summed, and says nothing.
    if (at >= 154 && at < 156) continue;
    assert.throws(() => readTarHeader(changed), /damaged, or of another kind/, `byte ${at}`);
  }
});

Deno.test("tarHeader() is read by tar", async () => {
  const text = new TextEncoder().encode("18\n");
  const header = tarHeader({ name: "postgres/PG_VERSION", is_directory: false, size: 3 }, 0);
  const archive = new Blob([header, text, new Uint8Array(paddingOf(3)), TAR_END] as BlobPart[]);
  const tar = new Deno.Command("tar", { args: ["xOf", "-"], stdin: "piped", stdout: "piped" })
    .spawn();
  const [output] = await Promise.all([tar.output(), archive.stream().pipeTo(tar.stdin)]);
  assert.equal(new TextDecoder().decode(output.stdout), "18\n");
});

Deno.test("tarHeader() refuses a name that does not fit", () => {
  for (const name of ["", "a b", "a".repeat(101), "é"]) {
    assert.throws(() => tarHeader({ name, is_directory: false, size: 0 }, 0), /No name/);
  }
});
