/** The Debian package: its files, owners and scripts. `deno task package-test` installs it. */

import assert from "node:assert/strict";
import { loadCommands } from "../../lib/cli/cli.ts";
import { buildPackage } from "../../deploy/deb/build.ts";
import { inTemporary, runHere } from "../support/cli.ts";
import { launcher } from "../package/launcher.ts";

const COMMANDS = await loadCommands();

const VERSION = "0.1.0";

async function run(program: string, args: readonly string[], env: Record<string, string> = {}) {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args: [...args],
    env: { LC_ALL: "C.UTF-8", ...env },
    stdin: "null",
  }).output();
  const [out = "", err = ""] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { success, out, err };
}

const has = (program: string) =>
  run(program, ["--version"]).then(({ success }) => success, () => false);
const has_dpkg = await has("dpkg-deb");
const has_lintian = has_dpkg && await has("lintian");
const has_man = has_dpkg && await has("man");

/** Declares a test of the package; ignored without a program that it needs. */
function packageTest(name: string, present: boolean, test: () => Promise<void>): void {
  Deno.test({
    name: present ? name : `${name} (ignored: A PROGRAM IS MISSING, THE PACKAGE IS NOT TESTED)`,
    ignore: !present,
    fn: test,
  });
}

/** Builds the package around the launcher, into a directory of its own below `directory`. */
async function build(
  directory: string,
  change: { executable?: string; output?: string; architecture?: string } = {},
) {
  const executable = `${directory}/launcher`;
  await Deno.writeTextFile(executable, launcher(VERSION));
  return await buildPackage({
    executable,
    architecture: "amd64",
    version: VERSION,
    output: `${directory}/dist`,
    compression: "gzip",
    ...change,
  });
}

packageTest("the package has its files with their owners and modes", has_dpkg, async () => {
  await inTemporary(async (directory) => {
    const path = await build(directory);
    assert.equal(path, `${directory}/dist/bookme-webhooks_${VERSION}_amd64.deb`);
    const { out } = await run("dpkg-deb", ["--contents", path]);
    const modes = new Map(
      out.trim().split("\n").map((line) => {
        const [mode = "", owner = "", , , , name = ""] = line.split(/\s+/);
        return [name.slice(1), `${mode} ${owner}`] as const;
      }),
    );
    const file = (mode = "-rw-r--r--") => `${mode} root/root`;
    for (
      const [name, expected] of [
        ["/usr/bin/bookme-webhooks", file("-rwxr-xr-x")],
        ["/etc/bookme-webhooks/config.yaml", file("-rw-r-----")],
        ["/usr/lib/systemd/system/bookme-webhooks.service", file()],
        ["/usr/lib/systemd/system/bookme-webhooks-backup.service", file()],
        ["/usr/lib/systemd/system/bookme-webhooks-backup.timer", file()],
        ["/usr/lib/sysusers.d/bookme-webhooks.conf", file()],
        ["/usr/share/man/man1/bookme-webhooks.1.gz", file()],
        ["/usr/share/bash-completion/completions/bookme-webhooks", file()],
        ["/usr/share/zsh/vendor-completions/_bookme-webhooks", file()],
        ["/usr/share/fish/vendor_completions.d/bookme-webhooks.fish", file()],
        ["/usr/share/doc/bookme-webhooks/copyright", file()],
        ["/usr/share/doc/bookme-webhooks/changelog.gz", file()],
        ["/usr/share/doc/bookme-webhooks/docs/install.md", file()],
      ] as const
    ) {
      assert.equal(modes.get(name), expected, name);
    }
    const conffiles = await run("dpkg-deb", ["--info", path, "conffiles"]);
    assert.equal(conffiles.out, "/etc/bookme-webhooks/config.yaml\n");
  });
});

packageTest("the package has the licences of what the executable contains", has_dpkg, async () => {
  await inTemporary(async (directory) => {
    await run("dpkg-deb", ["--extract", await build(directory), `${directory}/files`]);
    const path = `${directory}/files/usr/share/doc/bookme-webhooks/licenses.gz`;
    const { out } = await run("gzip", ["--decompress", "--stdout", path]);
    for (const name of ["hono", "postgres", "@electric-sql/pglite", "nodemailer"]) {
      assert.match(out, new RegExp(`^${name} \\d+\\.\\d+\\.\\d+$`, "m"));
    }
    assert.doesNotMatch(out, /playwright|fast-check/);
    const copyright = await Deno.readTextFile(path.replace("licenses.gz", "copyright"));
    assert.match(copyright, /^License: Expat\n Permission is hereby granted/m);
  });
});

packageTest("the same sources make the same package", has_dpkg, async () => {
  await inTemporary(async (directory) => {
    const first = await Deno.readFile(await build(directory));
    const second = await Deno.readFile(await build(directory, { output: `${directory}/again` }));
    assert.deepEqual(first, second);
  });
});

packageTest("no package is made of an executable for another machine", has_dpkg, async () => {
  await inTemporary(async (directory) => {
    const executable = `${directory}/program`;
    await Deno.writeTextFile(executable, "MZ");
    await assert.rejects(build(directory, { executable }), /is no executable for Linux/);
    const elf = new Uint8Array(64);
    elf.set([0x7f, 0x45, 0x4c, 0x46]);
    elf[18] = 183;
    await Deno.writeFile(executable, elf);
    await assert.rejects(build(directory, { executable }), /is not for amd64/);
    const path = await build(directory, { executable, architecture: "arm64" });
    assert.equal((await run("dpkg-deb", ["--field", path, "Architecture"])).out, "arm64\n");
    await assert.rejects(build(directory, { architecture: "riscv64" }), /choose amd64 or arm64/);
    await assert.rejects(build(directory, { executable: `${directory}/none` }), /There is no /);
  });
});

packageTest("lintian finds nothing to complain about", has_lintian, async () => {
  await inTemporary(async (directory) => {
    const path = await build(directory);
    const lintian = (file: string) =>
      run("lintian", ["--allow-root", "--no-cfg", "--fail-on", "error,warning", file]);
    const { success, out, err } = await lintian(path);
    assert.ok(success, out + err);
  });
});

packageTest("the man page has every command and option of --help", has_man, async () => {
  await inTemporary(async (directory) => {
    const path = await build(directory);
    await run("dpkg-deb", ["--extract", path, `${directory}/files`]);
    const page = `${directory}/files/usr/share/man/man1/bookme-webhooks.1.gz`;
    const { success, out, err } = await run("man", ["--warnings", "--local-file", page], {
      MANWIDTH: "200",
    });
    assert.ok(success, err);
    assert.equal(err, "");
    const words = out.split(/\s+/);
    for (const { name } of COMMANDS) {
      assert.ok(words.includes(name), name);
      const help = await runHere([name, "--help"]);
      for (const [option] of help.out.matchAll(/^ +(?:-\w, )?--[a-z-]+/gm)) {
        const long = option.trim().split(" ").at(-1) ?? "";
        assert.ok(words.includes(long), `${name} ${long}`);
      }
    }
  });
});

packageTest("the scripts are understood by sh", has_dpkg, async () => {
  for (const name of ["postinst", "prerm", "postrm"]) {
    const path = new URL(`../../deploy/deb/${name}`, import.meta.url).pathname;
    const { success, err } = await run("sh", ["-n", path]);
    assert.ok(success, err);
  }
});
