import { statfsSync } from "node:fs";
import { dirname } from "node:path";

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
