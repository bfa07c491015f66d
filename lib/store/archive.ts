import { createHash, type Hash } from "node:crypto";
import {
  CLUSTER_ENTRY,
  DIGEST_ENTRY,
  type Manifest,
  MANIFEST_ENTRY,
  parseManifest,
} from "../core/backup.ts";
import { AppError, messageOf } from "../core/errors.ts";
import { BLOCK, paddingOf, readTarHeader, TAR_END, type TarEntry } from "../core/tar.ts";

/** The file of a backup. */
export interface Archive extends Disposable {
  readonly manifest: Manifest;
  readonly bytes: number;
  /**
   * Reads all of it, and throws an `AppError` unless the digest is right. Puts the database's files into the
   * directory `into`, which exists and is empty, if that is given.
   */
  read(into?: string): Promise<void>;
}

/**
 * Opens the file of a backup and reads its manifest, but does not check its digest yet. Throws an `AppError` if
 * it is no whole backup, or one of a newer form.
 */
export async function openArchive(path: string): Promise<Archive> {
  const file = await Deno.open(path);
  try {
    const { size: bytes } = await file.stat();
    const entries = await entriesOf(file, path, bytes);
    const text = async ({ size, at }: Placed) => {
      await file.seek(at, Deno.SeekMode.Start);
      return new TextDecoder().decode(await readExactly(file, path, new Uint8Array(size)));
    };
    const [manifest, digest] = entries.slice(-2);
    if (manifest?.name !== MANIFEST_ENTRY || digest?.name !== DIGEST_ENTRY) {
      throw unusable(path, `it does not end with ${MANIFEST_ENTRY} and ${DIGEST_ENTRY}`);
    }
    const wanted = (await text(digest)).trim();
    return {
      manifest: parseManifest(await text(manifest)),
      bytes,
      async read(into) {
        const found = await digestOf(file, path, entries.slice(0, -1), into);
        if (found !== wanted) {
          throw unusable(path, `its SHA-256 is ${found} instead of ${wanted}: it was changed`);
        }
      },
      [Symbol.dispose]: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

function unusable(path: string, why: string): AppError {
  return new AppError("conflict", `${path} is no whole backup: ${why}; use another one`);
}

/** An entry, and where its content begins. */
interface Placed extends TarEntry {
  readonly at: number;
}

/** Small files that are read at once: the manifest names each table. */
const MAX_TEXT_BYTES = 1024 * 1024;

async function entriesOf(file: Deno.FsFile, path: string, bytes: number): Promise<Placed[]> {
  const entries: Placed[] = [];
  for (let at = 0;;) {
    await file.seek(at, Deno.SeekMode.Start);
    const block = await readExactly(file, path, new Uint8Array(BLOCK));
    let entry: TarEntry | null;
    try {
      entry = readTarHeader(block);
    } catch (error) {
      throw unusable(path, `at byte ${at}: ${messageOf(error)}`);
    }
    if (entry === null) {
      if (bytes < at + TAR_END.length) throw unusable(path, "it is cut off");
      if (bytes > at + TAR_END.length) throw unusable(path, "something follows its end");
      return entries;
    }
    checkEntry(path, entry);
    at += BLOCK;
    entries.push({ ...entry, at });
    at += entry.size + paddingOf(entry.size);
  }
}

// A name that leads out of the directory would write anywhere.
function checkEntry(path: string, { name, size }: TarEntry): void {
  const parts = name.split("/");
  const is_text = name === MANIFEST_ENTRY || name === DIGEST_ENTRY;
  const is_sound = is_text
    ? size <= MAX_TEXT_BYTES
    : parts[0] === CLUSTER_ENTRY && parts.length > 1 &&
      parts.every((part) => /^[\w.-]*$/.test(part) && part !== ".." && part !== ".");
  if (!is_sound) throw unusable(path, `the entry ${JSON.stringify(name)} does not belong there`);
}

const CHUNK_BYTES = 1024 * 1024;

async function digestOf(
  file: Deno.FsFile,
  path: string,
  entries: readonly Placed[],
  into: string | undefined,
): Promise<string> {
  const hash = createHash("sha256");
  const chunk = new Uint8Array(CHUNK_BYTES);
  await file.seek(0, Deno.SeekMode.Start);
  for (const entry of entries) {
    hash.update(await readExactly(file, path, chunk.subarray(0, BLOCK)));
    const is_kept = into !== undefined && entry.name !== MANIFEST_ENTRY;
    const target = is_kept ? `${into}${entry.name.slice(CLUSTER_ENTRY.length)}` : undefined;
    if (entry.is_directory) {
      if (target !== undefined) await Deno.mkdir(target, { recursive: true, mode: 0o700 });
      continue;
    }
    using copy = target === undefined
      ? undefined
      : await Deno.open(target, { write: true, createNew: true, mode: 0o600 });
    await copyContent(file, path, entry.size, { hash, chunk, copy });
    hash.update(await readExactly(file, path, chunk.subarray(0, paddingOf(entry.size))));
  }
  return hash.digest("hex");
}

async function copyContent(
  file: Deno.FsFile,
  path: string,
  size: number,
  { hash, chunk, copy }: {
    hash: Hash;
    chunk: Uint8Array<ArrayBuffer>;
    copy: Deno.FsFile | undefined;
  },
): Promise<void> {
  for (let left = size; left > 0;) {
    const part = await readExactly(file, path, chunk.subarray(0, Math.min(left, chunk.length)));
    hash.update(part);
    if (copy !== undefined) {
      for (let at = 0; at < part.length;) at += await copy.write(part.subarray(at));
    }
    left -= part.length;
  }
}

async function readExactly(
  file: Deno.FsFile,
  path: string,
  buffer: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  for (let at = 0; at < buffer.length;) {
    const read = await file.read(buffer.subarray(at));
    if (read === null) throw unusable(path, "it is cut off");
    at += read;
  }
  return buffer;
}
