/**
 * Gets Prometheus's promtool from Debian's package if it is missing, for the tests of `deploy/monitoring`: a
 * step of `deno task test`. The package is unpacked and not installed: that would start a Prometheus. Says
 * so loudly if promtool cannot be had; with `--required`, as in `.ci/run`, it then fails.
 */

import assert from "node:assert/strict";
import { cached, cachePath } from "./postgres.ts";
import { exists, say } from "./programs.ts";

const INSTALLED = "/usr/bin/promtool";
const NAME = "promtool";
const UNPACKED = `${cachePath(NAME)}/promtool`;

/** The executable; undefined if there is none. Tests that need it are ignored without it. */
export function findPromtool(): string | undefined {
  return [INSTALLED, UNPACKED].find(exists);
}

/** Declares a test that runs promtool; ignored where there is none. */
export function promtoolTest(name: string, test: () => Promise<void>): void {
  const is_there = findPromtool() !== undefined;
  Deno.test({
    name: is_there ? name : `${name} (ignored: no promtool)`,
    ignore: !is_there,
    fn: test,
  });
}

/** Runs promtool in a directory, with `input` to read. Returns what it printed; fails if it does. */
export async function promtool(
  args: readonly string[],
  cwd: string | URL,
  input = "",
): Promise<string> {
  const child = new Deno.Command(findPromtool() ?? INSTALLED, {
    args: [...args],
    cwd,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const fed = new Blob([input]).stream().pipeTo(child.stdin);
  const [{ success, stdout, stderr }] = await Promise.all([child.output(), fed]);
  const output = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.ok(success, output);
  return output;
}

if (import.meta.main && findPromtool() === undefined) {
  try {
    say("Getting promtool for the tests of deploy/monitoring …");
    await cached(NAME, unpack);
  } catch (error) {
    complain(error instanceof Error ? error.message : String(error));
    if (Deno.args.includes("--required")) Deno.exit(1);
  }
}

async function unpack(directory: string): Promise<void> {
  // Others may download only what an earlier update has listed.
  if (Deno.uid() === 0) await run(["apt-get", "-qq", "update"], directory);
  await run(["apt-get", "-qq", "download", "prometheus"], directory);
  const [file] = [...Deno.readDirSync(directory)].filter(({ name }) => name.endsWith(".deb"));
  await run(["dpkg-deb", "--extract", file?.name ?? "", "files"], directory);
  Deno.renameSync(`${directory}/files/usr/bin/promtool`, `${directory}/promtool`);
  Deno.removeSync(`${directory}/${file?.name}`);
  Deno.removeSync(`${directory}/files`, { recursive: true });
}

async function run([program = "", ...args]: string[], cwd: string): Promise<void> {
  const command = new Deno.Command(program, {
    args,
    cwd,
    env: { DEBIAN_FRONTEND: "noninteractive" },
    stdin: "null",
    stdout: "null",
  });
  const { success, stderr } = await command.output();
  if (!success) throw new Error(`${program} failed: ${new TextDecoder().decode(stderr).trim()}`);
}

function complain(why: string): void {
  say(`
****************************************************************
  NO TEST RUNS PROMTOOL: Debian's package prometheus has it, and
  could not be had. The rules in deploy/monitoring are not tested.
  (${why})
****************************************************************
`);
}
