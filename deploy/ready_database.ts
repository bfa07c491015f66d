/**
 * Makes lib/store/ready_database.tar.zst, from which an embedded database is made: `deno task ready-database`, after
 * each upgrade of PGlite and each change of the migrations. With a FILE it writes the archive there, and not compressed.
 *
 * PostgreSQL's clock and random numbers are replaced by fixed ones, so that everybody gets the same archive:
 * `tests/store/ready_database_test.ts` makes it again and compares. What must not be the same everywhere,
 * `lib/store/ready_database.ts` replaces.
 */

import { Buffer } from "node:buffer";
import crypto from "node:crypto";
import { join } from "node:path";
import { constants, zstdCompressSync } from "node:zlib";
import { PGlite } from "@electric-sql/pglite";
import type { Sql } from "postgres";
import { paddingOf, TAR_END, tarHeader } from "../lib/core/tar.ts";
import { openSession } from "../lib/store/connect.ts";
import { openEmbedded } from "../lib/store/embedded.ts";
import { migrate } from "../lib/store/migrations.ts";
import { runScript, say } from "./script.ts";

const READY = new URL("../lib/store/ready_database.tar.zst", import.meta.url).pathname;
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

// No other database is ever made in it, and they are two thirds of its files.
async function dropTemplates(sql: Sql): Promise<void> {
  for (const name of ["template0", "template1"]) {
    await sql`update pg_database set datistemplate = false where datname = ${name}`;
    await sql.unsafe(`drop database ${name}`);
  }
}

async function main([path]: readonly string[]): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "bookme-ready-" });
  const cluster = join(directory, "postgres");
  stopTime();
  try {
    const made = await PGlite.create({ dataDir: cluster });
    await made.close();
    const { sql, close } = openSession(await openEmbedded(directory, {}));
    await migrate(sql);
    await dropTemplates(sql);
    await close();
    const tar = Buffer.concat([...entriesOf(cluster), TAR_END]);
    const params = { [constants.ZSTD_c_compressionLevel]: LEVEL };
    await Deno.writeFile(
      path ?? READY,
      path === undefined ? zstdCompressSync(tar, { params }) : tar,
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
  say(`Wrote ${path ?? READY}`);
}

if (import.meta.main) await runScript(main);
