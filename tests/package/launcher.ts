/**
 * Stands in for the compiled executable. Deno's base runtime for `deno compile` cannot be downloaded
 * everywhere, and an executable on an older base is one that the daemon refuses to be (see deploy/smoke.ts).
 * The launcher runs the same sources on the Deno that runs this test, with exactly the permissions that
 * deploy/compile.sh compiles in. So the package test proves everything around the executable, and the smoke
 * test the executable.
 */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cached } from "../support/postgres.ts";
import { run } from "./machine.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Where sources, Deno and its packages lie in a root that runs the launcher. */
const HOME = "/opt/launcher";

/** What the program consists of. */
const SOURCES = [
  "main.ts",
  "deno.json",
  "deno.lock",
  "lib",
  "routes",
  "migrations",
  "docs",
  "deploy",
];

/** The options of deploy/compile.sh that grant permissions. */
export function compiledPermissions(): string[] {
  const script = Deno.readTextFileSync(`${ROOT}deploy/compile.sh`);
  const lines = script.split("\n").filter((line) => /^ +--no-prompt .*--allow-net /.test(line));
  assert.equal(lines.length, 1, "deploy/compile.sh grants permissions on one line");
  return lines[0]?.trim().split(" ") ?? [];
}

/** The text of the launcher for a version that `installSources` has installed. */
export function launcher(version: string): string {
  return `#!/bin/sh
# Stands in for the compiled executable: see tests/package/launcher.ts.
export DENO_DIR=${HOME}/cache DENO_NO_UPDATE_CHECK=1
exec ${command(version).join(" ")} "$@"
`;
}

/** The command that the launcher runs. */
export function command(version: string): string[] {
  return [
    ...[`${HOME}/deno`, "run", "--quiet", "--frozen", "--cached-only"],
    ...["--config", `${HOME}/${version}/deno.json`],
    ...[...compiledPermissions(), `${HOME}/${version}/main.ts`],
  ];
}

/** Puts sources of a version into the file system below `root`, with Deno and the packages they import. */
export async function installSources(root: string, version: string): Promise<void> {
  const home = `${root}${HOME}`;
  await Deno.mkdir(`${home}/${version}`, { recursive: true });
  await run("cp", ["-R", ...SOURCES.map((name) => `${ROOT}${name}`), `${home}/${version}`]);
  const config = JSON.parse(await Deno.readTextFile(`${home}/${version}/deno.json`));
  await Deno.writeTextFile(
    `${home}/${version}/deno.json`,
    JSON.stringify({ ...config, version }, null, 2),
  );
  await run("cp", [Deno.execPath(), `${home}/deno`]);
  await run("cp", ["-R", await packages(), `${home}/cache`]);
  // Whatever the umask is: the daemon's user reads them.
  await run("chmod", ["-R", "a+rX", home]);
}

/** Deno's cache with the packages that the program imports, and no others. */
async function packages(): Promise<string> {
  const lock = createHash("sha256").update(await Deno.readFile(`${ROOT}deno.lock`)).digest("hex");
  return await cached(`launcher-${lock.slice(0, 12)}`, async (directory) => {
    await run(Deno.execPath(), ["cache", "--quiet", "--frozen", `${ROOT}main.ts`], {
      DENO_DIR: directory,
    });
  });
}
