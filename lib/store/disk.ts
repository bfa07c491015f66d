import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import { PLATFORM } from "../core/platform.ts";

/**
 * Free bytes of the file system that holds `directory`, or will hold it, as a process without
 * privileges may use them. Throws what the operating system reports.
 */
export function freeBytes(directory: string): number {
  for (let path = directory;; path = dirname(path)) {
    try {
      const { bavail, bsize } = statfsSync(path);
      return bavail * bsize;
    } catch (error) {
      const missing = (error as { code?: unknown }).code === "ENOENT";
      if (!missing || path === dirname(path)) throw error;
    }
  }
}

/** Makes the entries of a directory durable: files made, renamed or removed in it. */
export async function flushDirectory(path: string): Promise<void> {
  if (!PLATFORM.opens_directories) return;
  using directory = await Deno.open(path);
  await directory.sync();
}
