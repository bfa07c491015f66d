/**
 * Makes lib/store/blank_cluster.tar.zst, from which an embedded database is made: `deno task blank-cluster`, after each
 * upgrade of PGlite. With a FILE it writes the archive there, and not compressed.
 *
 * initdb's clock and random numbers are replaced by fixed ones, so that everybody gets the same archive:
 * `tests/store/blank_cluster_test.ts` makes it again and compares. What must not be the same everywhere,
 * `lib/store/blank_cluster.ts` replaces.
 */

import { Buffer } from "node:buffer";
import crypto from "node:crypto";
import { join } from "node:path";
import { constants, zstdCompressSync } from "node:zlib";
import { PGlite } from "@electric-sql/pglite";
import { paddingOf, TAR_END, tarHeader } from "../lib/core/tar.ts";
import { runScript, say } from "./script.ts";

const BLANK = new URL("../lib/store/blank_cluster.tar.zst", import.meta.url).pathname;
const TIME_MS = Date.UTC(2026, 0, 1);
/** The strongest. It takes half a minute, and the archive is a third smaller than by the strongest usual one. */
const LEVEL = 22;

function stopTime(): void {
  const { Date: RealDate } = globalThis;
  globalThis.Date = new Proxy(RealDate, {
    construct: (real, args) =>
      args.length === 0 ? new real(TIME_MS) : Reflect.construct(real, args),
    get: (real, name) => name === "now" ? () => TIME_MS : Reflect.get(real, name),
  });
  let now_ms = 0;
  performance.now = () => now_ms += 0.001;
  Object.assign(crypto, { randomFillSync: (bytes: Uint8Array) => bytes.fill(7) });
}

function* entriesOf(directory: string, prefix = ""): Generator<Uint8Array> {
  const entries = [...Deno.readDirSync(join(directory, prefix))];
  for (const { name, isDirectory } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    const path = `${prefix}${name}`;
    const content = isDirectory ? Buffer.alloc(0) : Deno.readFileSync(join(directory, path));
    const size = content.length;
    yield tarHeader({ name: path, is_directory: isDirectory, size }, TIME_MS / 1000);
    yield content;
    yield new Uint8Array(paddingOf(size));
    if (isDirectory) yield* entriesOf(directory, `${path}/`);
  }
}

async function main([path]: readonly string[]): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "bookme-blank-" });
  stopTime();
  try {
    const db = await PGlite.create({ dataDir: join(directory, "cluster") });
    await db.close();
    const tar = Buffer.concat([...entriesOf(join(directory, "cluster")), TAR_END]);
    const params = { [constants.ZSTD_c_compressionLevel]: LEVEL };
    await Deno.writeFile(
      path ?? BLANK,
      path === undefined ? zstdCompressSync(tar, { params }) : tar,
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
  say(`Wrote ${path ?? BLANK}`);
}

if (import.meta.main) await runScript(main);
