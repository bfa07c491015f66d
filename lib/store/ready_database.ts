import { Buffer } from "node:buffer";
import { zstdDecompressSync } from "node:zlib";
import { crc32c } from "../core/crc32c.ts";
import { BLOCK, paddingOf, readTarHeader } from "../core/tar.ts";

/**
 * A database as initdb and the migrations leave it, which takes some seconds to make. `deploy/ready_database.ts` makes
 * the file, the same bytes each time: again for each version of PGlite and each migration.
 */
const READY = new URL("./ready_database.tar.zst", import.meta.url);

/** The files of the ready-made database, each directory before what is in it; contents are read-only. */
export function* readyFiles(): Generator<{ name: string; content: Uint8Array | null }> {
  const tar = zstdDecompressSync(Deno.readFileSync(READY));
  for (let at = 0;;) {
    const entry = readTarHeader(tar.subarray(at, at + BLOCK));
    if (entry === null) return;
    const { name, is_directory, size } = entry;
    at += BLOCK;
    yield { name, content: is_directory ? null : tar.subarray(at, at + size) };
    at += size + paddingOf(size);
  }
}

/**
 * Puts a new database into a directory that does not exist, for this user only, and does not flush it. It gets an
 * identity of its own, `identifier`: backups name it.
 */
export function unpackReady(
  directory: string,
  identifier: bigint = newIdentifier(),
): void {
  Deno.mkdirSync(directory, { mode: 0o700 });
  for (const { name, content } of readyFiles()) {
    const path = `${directory}/${name}`;
    if (content === null) Deno.mkdirSync(path, { mode: 0o700 });
    else {
      const own = identified(name, content, identifier);
      Deno.writeFileSync(path, own, { createNew: true, mode: 0o600 });
    }
  }
}

function newIdentifier(): bigint {
  const [random = 0n] = crypto.getRandomValues(new BigUint64Array(1));
  // PostgreSQL reads it as a signed number here and there, and takes none for zero.
  return BigInt.asUintN(63, random) | 1n;
}

const CONTROL = "global/pg_control";
const LOG = /^pg_wal\/[0-9A-F]{24}$/;
/** Where the control file has the identifier, and the first page of each file of the log. */
const CONTROL_PLACE = 0;
const LOG_PLACE = 24;

/** The content of a cluster's file, with another identifier if it has one. */
function identified(name: string, content: Uint8Array, identifier: bigint): Uint8Array {
  if (name !== CONTROL && !LOG.test(name)) return content;
  const bytes = Buffer.from(content);
  if (name === CONTROL) {
    const end = checksumPlace(bytes);
    bytes.writeBigUInt64LE(identifier, CONTROL_PLACE);
    bytes.writeUInt32LE(crc32c(bytes.subarray(0, end)), end);
  } else bytes.writeBigUInt64LE(identifier, LOG_PLACE);
  return bytes;
}

/** The control file ends with the checksum of what is before it, and then with zeros. */
function checksumPlace(control: Buffer): number {
  let crc = 0;
  for (let at = 0; at + 4 <= control.length; at += 4) {
    if (at > 0 && crc === control.readUInt32LE(at)) return at;
    crc = crc32c(control.subarray(at, at + 4), crc);
  }
  throw new Error("The ready-made database's control file has no checksum");
}
