/** What only root can do to a process or a directory: namespaces, mounts, limits. */

/** A command prefix under which a file has other content, in a mount namespace of its own. */
export async function mountWrap(
  path: string,
  content: string,
): Promise<{ command: readonly string[]; remove(): void }> {
  const file = await Deno.makeTempFile({ prefix: "bookme-mount-" });
  await Deno.writeTextFile(file, content);
  await Deno.chmod(file, 0o644);
  return {
    command: ["unshare", "-m", "sh", "-c", `mount --bind ${file} ${path} && exec "$@"`, "sh"],
    remove: () => Deno.removeSync(file),
  };
}

/** A small file system in memory, or undefined where it cannot be made. */
export async function makeSmallDisk(
  size: string,
): Promise<{ directory: string; remove(): Promise<void> } | undefined> {
  const directory = await Deno.makeTempDir({ prefix: "bookme-disk-" });
  if (!await run("mount", "-t", "tmpfs", "-o", `size=${size}`, "bookme-torture", directory)) {
    await Deno.remove(directory);
    return undefined;
  }
  return {
    directory,
    async remove() {
      await run("umount", directory);
      await Deno.remove(directory);
    },
  };
}

const MEMORY = "/sys/fs/cgroup/memory";

/** A command prefix for processes that together may use so many bytes, or undefined. */
export async function makeCgroup(
  bytes: number,
): Promise<{ command: readonly string[]; remove(): Promise<void> } | undefined> {
  const group = `${MEMORY}/bookme-torture-${Deno.pid}`;
  try {
    await Deno.mkdir(group);
    await Deno.writeTextFile(`${group}/memory.limit_in_bytes`, String(bytes));
  } catch {
    return undefined;
  }
  return {
    command: ["sh", "-c", `echo $$ > ${group}/cgroup.procs; exec "$@"`, "sh"],
    remove: () => Deno.remove(group),
  };
}

/** Runs a program to its end. Whether it succeeded. */
export async function run(program: string, ...args: string[]): Promise<boolean> {
  const { success } = await new Deno.Command(program, { args, stderr: "null" }).output();
  return success;
}

/** Fills the pipe at this path with newlines until it takes no more. */
export async function fillPipe(path: string): Promise<void> {
  await run("sh", "-c", `yes "" | dd of=${path} bs=4096 oflag=nonblock`);
}
