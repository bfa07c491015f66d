/**
 * Runs the steps of deploy/Containerfile without an engine: RUN in a minimal Debian, COPY by hand, and the
 * result as the engine would run it with a read-only root: the daemon as process 1 and as the image's user,
 * in namespaces of its own, without a shell, with one directory to write in. Of distroless/cc it has what
 * the program uses: glibc, libgcc and their loader.
 */

import assert from "node:assert/strict";
import { until } from "../support/wait.ts";
import { command, installSources } from "./launcher.ts";
import { openChroot, run } from "./machine.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const PROGRAM = "/usr/bin/bookme-webhooks";
const VERSION = "0.1.0";
const START_MS = 120_000;
const POST = `const answer = await fetch("http://127.0.0.1:8080/ingest", {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: '{"event":"booking.created","timestamp":"2025-10-31T16:00:00Z","data":{"appointment":{"id":"apt_1"}}}',
});
console.log(answer.status, (await answer.json()).duplicate);`;

/** An instruction of a Containerfile, with its words as they are written. */
interface Instruction {
  readonly name: string;
  readonly rest: string;
}

/** Builds the image's files, runs it, posts an event, and stops it as an engine would. */
export async function tryContainer(say: (step: string) => void): Promise<void> {
  const [files = [], image = []] = stagesOf(Deno.readTextFileSync(`${ROOT}deploy/Containerfile`));
  const work = await Deno.makeTempDir({ dir: "/var/cache/bookme-webhooks", prefix: "image-" });
  try {
    await Deno.chmod(work, 0o755);
    await makeFiles(files, image, work);
    say("the files of the image, by the steps of deploy/Containerfile");
    await runImage(image, work, say);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** The instructions of each stage. */
function stagesOf(text: string): Instruction[][] {
  const lines = text.replaceAll(/^#.*\n/gm, "").replaceAll(/\\\n/g, " ").split("\n")
    .filter((line) => line.trim() !== "");
  const stages: Instruction[][] = [];
  for (const line of lines) {
    const [, name = "", rest = ""] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
    if (name === "FROM") stages.push([]);
    else stages.at(-1)?.push({ name, rest });
  }
  assert.equal(stages.length, 2);
  return stages;
}

async function makeFiles(
  files: readonly Instruction[],
  image: readonly Instruction[],
  work: string,
): Promise<void> {
  await using builder = await openChroot(() => Promise.resolve());
  for (const { name, rest } of files) {
    if (name === "RUN") await builder.run(rest);
    else {
      assert.equal(name, "COPY");
      const [from = "", to = ""] = rest.split(" ");
      await builder.run(`mkdir -p "$(dirname ${to})"`);
      await Deno.copyFile(`${ROOT}${from}`, `${builder.root}${to}`);
    }
  }
  for (const directory of ["proc", "dev", "etc", "var/lib", "usr/bin", "tmp"]) {
    await Deno.mkdir(`${work}/${directory}`, { recursive: true });
  }
  for (const { rest } of image.filter(({ name }) => name === "COPY")) {
    const words = rest.split(" ");
    const [from = "", to = ""] = words.filter((word) => !word.startsWith("--"));
    // In the place of the executable, the launcher's command is run.
    if (from === "dist/bookme-webhooks") continue;
    const [, owner = "0:0"] = /--chown=(\S+)/.exec(rest) ?? [];
    assert.ok(words.includes("--from=files"), rest);
    await run("cp", ["-a", "-T", `${builder.root}${from}`, `${work}${to}`]);
    if (owner !== "0:0") await run("chown", ["-R", owner, `${work}${to}`]);
  }
  await installSources(work, VERSION);
  const { out } = await builder.run("ldd /proc/self/exe >/dev/null; ls -d /lib/x86_64-linux-gnu");
  for (const library of ["libc", "libm", "libdl", "libpthread", "libgcc_s", "librt"]) {
    const [path] = [...Deno.readDirSync(`${builder.root}${out.trim()}`)]
      .filter(({ name }) => name.startsWith(`${library}.so`)).map(({ name }) => name);
    await run("install", [
      "-D",
      "-t",
      `${work}/lib/x86_64-linux-gnu`,
      `${builder.root}/lib/x86_64-linux-gnu/${path}`,
    ]);
  }
  await run("install", ["-D", "-t", `${work}/lib64`, `${builder.root}/lib64/ld-linux-x86-64.so.2`]);
}

/** The words of an instruction in the form of a list. */
function listOf(image: readonly Instruction[], name: string): string[] {
  const { rest } = image.find((instruction) => instruction.name === name) ?? assert.fail(name);
  return JSON.parse(rest.slice(rest.indexOf("[")));
}

/** A word of an instruction. */
function wordOf(image: readonly Instruction[], name: string): string {
  return image.find((instruction) => instruction.name === name)?.rest ?? assert.fail(name);
}

/** The launcher's command in the place of the executable. */
function launched(words: readonly string[]): string[] {
  assert.equal(words[0], PROGRAM);
  return [...command(VERSION), ...words.slice(1)];
}

async function runImage(
  image: readonly Instruction[],
  work: string,
  say: (step: string) => void,
): Promise<void> {
  const user = wordOf(image, "USER");
  const volume = wordOf(image, "VOLUME");
  const child = new Deno.Command("setpriv", {
    args: [
      ...[
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "--pid",
        "--net",
        "--ipc",
        "--uts",
        "--fork",
      ],
      ...["--kill-child", "sh", "-ec", MOUNT, "sh", work, volume, user],
      ...launched([...listOf(image, "ENTRYPOINT"), ...listOf(image, "CMD")]),
    ],
    clearEnv: true,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", DENO_DIR: "/opt/launcher/cache" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const ended = child.output();
  try {
    const pid = await until("the daemon is process 1", () => daemonBelow(child.pid));
    const [uid = "", gid = ""] = user.split(":");
    const enter = ["-t", String(pid), "-m", "-p", "-n", "-r", "-w", "-S", uid, "-G", gid, "--"];
    const inside = (words: readonly string[]) =>
      new Deno.Command("nsenter", {
        args: [...enter, ...words],
        clearEnv: true,
        env: { DENO_DIR: "/opt/launcher/cache", NO_COLOR: "1" },
      }).output();
    const healthcheck = launched(listOf(image, "HEALTHCHECK"));
    await until("it is healthy", async () => (await inside(healthcheck)).success, START_MS);
    say(`the daemon is process 1, user ${user}, on a read-only root, and healthy`);
    const posted = await inside(["/opt/launcher/deno", "eval", POST]);
    assert.equal(new TextDecoder().decode(posted.stdout), "202 false\n");
    const status = await Deno.readTextFile(`/proc/${pid}/status`);
    assert.match(status, new RegExp(`^Uid:\t${uid}\t`, "m"));
    assert.match(status, /^CapEff:\t0+$/m);
    say("it accepts an event");
    Deno.kill(pid, wordOf(image, "STOPSIGNAL") as Deno.Signal);
    const { code, stderr } = await ended;
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    const { uid: owner } = await Deno.stat(`${work}${volume}/admin.token`);
    assert.equal(String(owner), uid);
    say("it stops at the image's signal with 0, and leaves its data in the volume");
  } finally {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await ended;
  }
}

/** Mounts the root read-only and the volume for writing, and becomes the image's user. */
const MOUNT = `root=$1 volume=$2 user=$3; shift 3
mount --bind "$root" "$root"
mount --bind "$root$volume" "$root$volume"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o size=64k tmpfs "$root/dev"
for device in null zero urandom random; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
ip link set lo up
cd "$root"
exec chroot --userspec="$user" --groups= . "$@"`;

async function daemonBelow(pid: number): Promise<number | undefined> {
  const children = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`);
  const child = children.trim().split(" ")[0];
  const line = await Deno.readTextFile(`/proc/${child}/cmdline`);
  return line.startsWith("/opt/launcher/deno") ? Number(child) : undefined;
}
