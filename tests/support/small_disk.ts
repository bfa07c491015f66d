import { statfsSync } from "node:fs";

/** A file system in memory with little room. */
export interface SmallDisk extends AsyncDisposable {
  readonly directory: string;
  /** Leaves so many bytes free. */
  fill(free_bytes: number): void;
  /** Gives back what `fill` took. */
  clear(): void;
}

/** Mounts one with these options, `size=64m`; undefined if this user may not mount. */
export async function mountSmallDisk(options: string): Promise<SmallDisk | undefined> {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-disk-" });
  if (!await run("mount", "-t", "tmpfs", "-o", options, "bookme-test", directory)) {
    Deno.removeSync(directory);
    return undefined;
  }
  const filler = `${directory}/filler`;
  return {
    directory,
    fill(free_bytes) {
      const { bavail, bsize } = statfsSync(directory);
      using file = Deno.openSync(filler, { create: true, append: true });
      const block = new Uint8Array(1 << 16).fill(1);
      for (let left = bavail * bsize - free_bytes; left > 0;) {
        try {
          left -= file.writeSync(block.subarray(0, Math.min(left, block.length)));
        } catch {
          return; // somebody else was faster: it is full
        }
      }
    },
    clear: () => Deno.removeSync(filler),
    async [Symbol.asyncDispose]() {
      await run("umount", directory);
      Deno.removeSync(directory);
    },
  };
}

/**
 * Declares a test on such a disk. Where mounting is not permitted it is reported as ignored, under a name
 * that says what it needs.
 */
export function onSmallDisk(
  name: string,
  options: string,
  test: (disk: SmallDisk) => Promise<void>,
): void {
  Deno.test({
    name: `${name} (needs to mount a tmpfs)`,
    ignore: !may_mount,
    async fn() {
      await using disk = await mountSmallDisk(options);
      if (disk === undefined) throw new Error("The tmpfs could not be mounted");
      await test(disk);
    },
  });
}

async function run(program: string, ...args: string[]): Promise<boolean> {
  const { success } = await new Deno.Command(program, { args, stderr: "null" }).output();
  return success;
}

const may_mount = await mayMount();

async function mayMount(): Promise<boolean> {
  await using disk = await mountSmallDisk("size=1m");
  return disk !== undefined;
}
