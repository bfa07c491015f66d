/**
 * Fills a cache of Deno for a release: `deno run -A deploy/cache.ts DIRECTORY`.
 *
 * An executable contains the times of its packages' files. So the packages that go into it are copied from this
 * user's cache with one time for all. The other packages of deno.lock, which Deno looks for and does not embed,
 * are only linked: they are large.
 */

import { cpSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { runScript } from "./script.ts";
import { info, packagesOf, readGraph } from "./sbom.ts";

/** The time of every file: the same as in deploy/compile.sh. */
const TIME = new Date("2026-01-01T00:00:00Z");

function setTimes(path: string): void {
  if (Deno.lstatSync(path).isDirectory) {
    for (const { name } of Deno.readDirSync(path)) setTimes(join(path, name));
  }
  Deno.utimeSync(path, TIME, TIME);
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function main([directory]: readonly string[]): Promise<void> {
  if (directory === undefined) throw new Error("Usage: deno run -A deploy/cache.ts DIRECTORY");
  const npm = join(directory, "npm");
  if (exists(npm)) Deno.removeSync(npm, { recursive: true });
  const { denoDir } = await info<{ denoDir: string }>();
  const graph = await readGraph();
  const embedded = new Set(packagesOf(graph));
  for (const [id, { localPath }] of Object.entries(graph.npmPackages)) {
    const target = join(directory, relative(denoDir, localPath));
    Deno.mkdirSync(dirname(target), { recursive: true });
    if (embedded.has(id)) {
      if (!exists(target)) cpSync(localPath, target, { recursive: true });
    } else if (exists(localPath) && !exists(target)) Deno.symlinkSync(localPath, target);
  }
  for (const id of embedded) {
    const { localPath } = graph.npmPackages[id] ?? { localPath: "" };
    setTimes(join(directory, relative(denoDir, localPath)));
  }
}

if (import.meta.main) await runScript(main);
