/**
 * Debian machines for the package test: an empty bookworm in which the real systemd runs, with a network of
 * its own that has loopback only. Needs root, debootstrap and a mirror of Debian, of which it keeps what it
 * once got: the first run takes minutes, later ones seconds.
 */

import assert from "node:assert/strict";
import { cached, cachePath } from "../support/postgres.ts";
import { until } from "../support/wait.ts";

const BOOT = new URL("boot.sh", import.meta.url).pathname;
const MIRROR = "http://deb.debian.org/debian";
const IMAGE = "debian-bookworm-1";
/** What any Debian server has, but a minimal one does not. */
const SERVER = ["systemd-sysv", "dbus", "libpam-systemd", "curl", "ca-certificates", "man-db"];
/** What is installed later, without a network. */
const LATER = ["postgresql", "systemd-standalone-sysusers"];
const BOOT_MS = 120_000;
const ENVIRONMENT = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/root",
  LANG: "C.UTF-8",
};

/** Exit code and output of a command. */
export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** How a command runs. */
export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Whether it may fail (default: that throws). */
  readonly may_fail?: boolean;
}

/** A command that goes on while others run. */
export interface Background {
  output(): string;
  /** Ends it by SIGTERM, and waits for that. */
  stop(): Promise<void>;
}

/** A machine. Everything that ran in it ends with it. */
export interface Machine extends AsyncDisposable {
  /** Its files, seen from here. */
  readonly root: string;
  /** Runs lines of bash as root, to the first that fails. */
  run(command: string, options?: RunOptions): Promise<Ended>;
  start(command: string): Promise<Background>;
}

/** Which layers a machine has: a minimal Debian, or one with systemd. */
export type Kind = "minimal" | "server";

/** Makes an empty machine. `prepare` puts files below a directory, before it starts. */
export async function openMachine(
  prepare: (files: string) => Promise<void>,
): Promise<Machine> {
  const base = await makeBase(prepare);
  const child = new Deno.Command("setpriv", {
    args: [
      ...["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--net", "--uts", "--ipc"],
      ...["--cgroup", "--fork", "--kill-child", "sh", BOOT, base, await layers("server")],
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const log = collect(child);
  const close = async () => {
    child.kill("SIGKILL");
    await child.status;
    await log.ended;
    await Deno.remove(base, { recursive: true });
  };
  try {
    const pid = await until("systemd is process 1", () => systemdBelow(child.pid), BOOT_MS);
    const enter = ["-t", String(pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"];
    const machine = commandsIn(["nsenter", ...enter], `/proc/${pid}/root`);
    await until("systemd has started", async () => {
      const { out } = await machine.run("systemctl is-system-running", { may_fail: true });
      return /^(running|degraded)$/m.test(out);
    }, BOOT_MS);
    return { ...machine, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw new Error(`systemd did not start: ${log.text()}`, { cause: error });
  }
}

/** A minimal Debian in which nothing runs but the commands: how images of containers are made. */
export async function openChroot(prepare: (files: string) => Promise<void>): Promise<Machine> {
  const base = await makeBase(prepare);
  const lower = await layers("minimal");
  const options = `lowerdir=${lower},upperdir=${base}/upper,workdir=${base}/work`;
  // A shell that holds the mounts; they go with it.
  const holder = new Deno.Command("setpriv", {
    args: [
      ...["--pdeathsig", "KILL", "unshare", "--mount", "--net", "sh", "-c"],
      `mount -t overlay overlay -o "$1" "$2/root" && mount -t proc proc "$2/root/proc" &&
       ip link set lo up && echo ready && exec sleep infinity`,
      ...["sh", options, base],
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const log = collect(holder);
  await until("it is mounted", () => log.text().includes("ready"));
  const enter = ["-t", String(holder.pid), "-m", "-n", "--", "chroot", `${base}/root`];
  return {
    ...commandsIn(["nsenter", ...enter], `/proc/${holder.pid}/root${base}/root`),
    async [Symbol.asyncDispose]() {
      holder.kill("SIGKILL");
      await holder.status;
      await log.ended;
      await Deno.remove(base, { recursive: true });
    },
  };
}

async function makeBase(prepare: (files: string) => Promise<void>): Promise<string> {
  // Not in the temporary directory, which may be in memory.
  const base = await Deno.makeTempDir({ dir: cachePath("."), prefix: "machine-" });
  for (const name of ["upper", "work", "root"]) await Deno.mkdir(`${base}/${name}`);
  await Deno.chmod(`${base}/upper`, 0o755);
  await prepare(`${base}/upper`);
  return base;
}

/** The process 1 that a process has started, once it is systemd. */
async function systemdBelow(pid: number): Promise<number | undefined> {
  const children = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`);
  const child = children.trim().split(" ")[0];
  const name = await Deno.readTextFile(`/proc/${child}/comm`);
  return name === "systemd\n" ? Number(child) : undefined;
}

function commandsIn(enter: readonly string[], root: string): Omit<Machine, symbol> {
  const [program = "", ...first] = enter;
  const make = (command: string, { cwd = "/", env = {} }: RunOptions = {}) =>
    new Deno.Command(program, {
      args: [...first, "bash", "-e", "-o", "pipefail", "-c", `cd ${cwd}\n${command}`],
      clearEnv: true,
      env: { ...ENVIRONMENT, ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
  return {
    root,
    async run(command, options = {}) {
      const { code, stdout, stderr } = await make(command, options).output();
      // dpkg writes for a terminal.
      const [out = "", err = ""] = [stdout, stderr].map((bytes) =>
        new TextDecoder().decode(bytes).replaceAll("\r", "")
      );
      if (code !== 0 && options.may_fail !== true) {
        throw new Error(`Ended with ${code}: ${command}\n${out}${err}`);
      }
      return { code, out, err };
    },
    async start(command) {
      const file = `/run/started-${crypto.randomUUID()}`;
      const log = collect(make(`echo $$ >${file}\nexec ${command}`).spawn());
      const pid = await until(
        "it runs",
        async () => (await Deno.readTextFile(`${root}${file}`)).trim(),
      );
      return {
        output: log.text,
        stop: async () => {
          await make(`kill ${pid}`).output();
          await log.ended;
        },
      };
    },
  };
}

function collect(child: Deno.ChildProcess) {
  let text = "";
  const read = async (stream: ReadableStream<Uint8Array>) => {
    for await (const part of stream.pipeThrough(new TextDecoderStream())) text += part;
  };
  const ended = Promise.all([read(child.stdout), read(child.stderr), child.status]);
  return { text: () => text, ended };
}

async function layers(kind: Kind): Promise<string> {
  const image = await cached(IMAGE, makeImage);
  return kind === "minimal" ? `${image}/minimal` : `${image}/server:${image}/minimal`;
}

async function makeImage(directory: string): Promise<void> {
  const minimal = `${directory}/minimal`;
  await run("debootstrap", ["--variant=minbase", "bookworm", minimal, MIRROR]);
  await run("cp", ["/etc/resolv.conf", `${minimal}/etc/resolv.conf`]);
  const apt = (root: string, words: readonly string[]) =>
    run("chroot", [root, "apt-get", "-qq", "-y", ...words], { DEBIAN_FRONTEND: "noninteractive" });
  await apt(minimal, ["update"]);
  // Each as it will be installed, because some exclude others.
  for (const names of [SERVER, [...SERVER, LATER[0] ?? ""], [LATER[1] ?? ""], ["systemd"]]) {
    await apt(minimal, ["install", "--download-only", ...names]);
  }
  for (const name of ["server", "work", "root"]) await Deno.mkdir(`${directory}/${name}`);
  await Deno.chmod(`${directory}/server`, 0o755);
  const options = `lowerdir=${minimal},upperdir=${directory}/server,workdir=${directory}/work`;
  await run("mount", ["-t", "overlay", "overlay", "-o", options, `${directory}/root`]);
  try {
    await apt(`${directory}/root`, ["install", ...SERVER]);
  } finally {
    await run("umount", [`${directory}/root`]);
  }
}

/** Runs a program of the machine that makes the others; `env` adds to the environment. Throws with its output if it fails. */
export async function run(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args: [...args],
    env: { ...env },
    stdin: "null",
  }).output();
  const text = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("");
  assert.ok(success, `${program} ${args.join(" ")} failed:\n${text}`);
}
