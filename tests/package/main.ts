/**
 * Installs, upgrades, removes and purges the Debian package in an empty Debian in which systemd runs, and
 * follows docs/install.md to the letter: `deno task package-test`, as root. Not a part of `deno task test`,
 * because it needs a mirror of Debian and some minutes.
 *
 *   deno task package-test              everything
 *   deno task package-test scenarios    install, upgrade, remove, purge
 *   deno task package-test walk         docs/install.md
 *   deno task package-test container    the steps of deploy/Containerfile
 *
 * Exits with 1 if anything is not as it must be.
 */

import { buildPackage } from "../../deploy/deb/build.ts";
import { tryContainer } from "./container.ts";
import { installSources, launcher } from "./launcher.ts";
import { type Machine, openChroot, openMachine, run } from "./machine.ts";
import { makeReader } from "./page.ts";
import { IN_CHROOT, type Scenario, SCENARIOS } from "./scenarios.ts";
import { assertWalked, walkExecutable, walkPackage } from "./walk.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const VERSIONS = ["0.1.0", "0.2.0", "0.3.0"];
const JOURNAL = "journalctl --no-pager --lines=40 --unit=bookme-webhooks";
const PROGRAMS = ["debootstrap", "unshare", "nsenter", "setpriv", "dpkg-deb", "ip"];

const PARTS: Readonly<Record<string, (work: string) => Promise<void>>> = {
  scenarios,
  walk,
  container,
};

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main(asked: readonly string[]): Promise<number> {
  const unknown = asked.find((name) => !Object.hasOwn(PARTS, name));
  if (unknown !== undefined) {
    say(`Unknown part ${unknown}; choose from ${Object.keys(PARTS).join(", ")}`);
    return 2;
  }
  if (Deno.uid() !== 0 || Deno.build.arch !== "x86_64") {
    complain("Only root may make machines, which are amd64.");
    return 0;
  }
  await installPrograms();
  const work = await Deno.makeTempDir({ prefix: "bookme-package-" });
  try {
    for (const version of VERSIONS) await buildFor(work, version);
    for (const name of asked.length === 0 ? Object.keys(PARTS) : asked) await PARTS[name]?.(work);
    say("All is as it must be");
    return 0;
  } catch (error) {
    say(Deno.inspect(error));
    return 1;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** Builds the package of a version around the launcher. Later ones have another default configuration. */
async function buildFor(work: string, version: string): Promise<void> {
  await Deno.writeTextFile(`${work}/launcher-${version}`, launcher(version));
  const path = await buildPackage({
    executable: `${work}/launcher-${version}`,
    architecture: "amd64",
    version,
    output: work,
    compression: "gzip",
  });
  if (version === VERSIONS[0]) return;
  await run("dpkg-deb", ["--raw-extract", path, `${work}/tree`]);
  const config = `${work}/tree/etc/bookme-webhooks/config.yaml`;
  await Deno.writeTextFile(config, `# New in ${version}\n`, { append: true });
  await run("dpkg-deb", ["--root-owner-group", "-Zgzip", "--build", `${work}/tree`, path]);
  await Deno.remove(`${work}/tree`, { recursive: true });
}

/** Puts packages and the sources that their launchers run into the files of a machine. */
function withPackages(work: string): (files: string) => Promise<void> {
  return async (files) => {
    await Deno.mkdir(`${files}/root`, { mode: 0o700 });
    for (const version of VERSIONS) {
      const name = `bookme-webhooks_${version}_amd64.deb`;
      await Deno.copyFile(`${work}/${name}`, `${files}/root/${name}`);
      await installSources(files, version);
    }
  };
}

async function scenarios(work: string): Promise<void> {
  {
    await using machine = await openChroot(withPackages(work));
    for (const scenario of IN_CHROOT) await play(scenario, machine);
  }
  await using machine = await openMachine(withPackages(work));
  for (const scenario of SCENARIOS) await play(scenario, machine);
}

async function play([name, run]: Scenario, machine: Machine): Promise<void> {
  const begun_ms = performance.now();
  await withLog(machine, name, () => run(machine));
  say(`${seconds(performance.now() - begun_ms)}  ${name}`);
}

/** Adds the daemon's log to whatever `work` throws. */
async function withLog(machine: Machine, name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const { out } = await machine.run(JOURNAL, { may_fail: true });
    throw new Error(`Not so: ${name}\n${out}`, { cause: error });
  }
}

// In the order of the page, but for the second half, which is a machine of its own.
async function walk(work: string): Promise<void> {
  const page = makeReader("docs/install.md");
  const timed = (place: string, took_ms: number) => say(`${seconds(took_ms)}  ${place}`);
  {
    await using machine = await openMachine(withPackages(work));
    await withLog(machine, "the walk", () => walkPackage(machine, page, timed));
  }
  {
    await using machine = await openMachine(withCheckout(work));
    await withLog(machine, "the walk", () => walkExecutable(machine, page, timed));
  }
  assertWalked(page);
}

async function container(): Promise<void> {
  await tryContainer((step) => say(`          ${step}`));
}

/** A checkout with a built executable, of which a launcher takes the place. */
function withCheckout(work: string): (files: string) => Promise<void> {
  return async (files) => {
    const checkout = `${files}/root/checkout`;
    await Deno.mkdir(`${checkout}/dist`, { recursive: true });
    await run("cp", ["-R", `${ROOT}deploy`, `${ROOT}config.example.yaml`, checkout]);
    await run("install", [
      "-m",
      "755",
      `${work}/launcher-0.1.0`,
      `${checkout}/dist/bookme-webhooks`,
    ]);
    await installSources(files, "0.1.0");
  };
}

async function installPrograms(): Promise<void> {
  for (const program of PROGRAMS) {
    const { success } = await new Deno.Command("sh", { args: ["-c", `command -v ${program}`] })
      .output();
    if (success) continue;
    const names = ["debootstrap", "iproute2"];
    await run("apt-get", ["-qq", "update"]);
    await run("apt-get", ["-qq", "-y", "install", "--no-install-recommends", ...names], {
      DEBIAN_FRONTEND: "noninteractive",
    });
    return;
  }
}

function seconds(took_ms: number): string {
  return `${(took_ms / 1000).toFixed(1).padStart(6)} s`;
}

function complain(why: string): void {
  say(`
****************************************************************
  THE PACKAGE IS NOT TESTED. ${why}
****************************************************************
`);
}

function say(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}
