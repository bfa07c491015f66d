/** Checksums and signature of a release: what docs/releases.md tells people to run finds what was changed. */

import assert from "node:assert/strict";
import project from "../../deno.json" with { type: "json" };
import { inTemporary } from "../support/cli.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const NAME = `bookme-webhooks-${project.version}-linux-x64`;
const COMMENT = `bookme-webhooks ${project.version}`;

const has_minisign = isInstalled("minisign");
if (!has_minisign) {
  Deno.stderr.writeSync(
    new TextEncoder().encode("SKIPPED: signatures, because minisign is not installed\n"),
  );
}

function isInstalled(command: string): boolean {
  try {
    new Deno.Command(command, { args: ["-v"] }).outputSync();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

interface Ran {
  readonly success: boolean;
  readonly out: string;
  readonly err: string;
}

async function run(
  command: string,
  args: readonly string[],
  cwd: string,
  env: Record<string, string> = {},
): Promise<Ran> {
  const { success, stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    cwd,
    env: { MINISIGN_KEY: "", MINISIGN_PASSWORD: "", ...env },
    stdin: "null",
  }).output();
  const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { success, out: out ?? "", err: err ?? "" };
}

/** Runs with a copy of the scripts, and files that stand for a release's. */
function withRelease(work: (directory: string) => Promise<void>): Promise<void> {
  return inTemporary(async (directory) => {
    await Deno.mkdir(`${directory}/deploy`);
    await Deno.mkdir(`${directory}/dist`);
    for (const file of ["deno.json", "deploy/source.sh", "deploy/checksums.sh"]) {
      await Deno.copyFile(ROOT + file, `${directory}/${file}`);
    }
    await Deno.writeTextFile(`${directory}/dist/${NAME}`, "an executable");
    await Deno.writeTextFile(
      `${directory}/dist/bookme-webhooks_${project.version}_amd64.deb`,
      "a package",
    );
    await Deno.writeTextFile(`${directory}/dist/bookme-webhooks-0.0.9-linux-x64`, "an older one");
    await work(directory);
  });
}

const checksums = (directory: string, env: Record<string, string> = {}) =>
  run("bash", ["deploy/checksums.sh"], directory, env);

const verify = (directory: string) =>
  run("minisign", ["-V", "-Q", "-p", "../key.pub", "-m", "SHA256SUMS"], `${directory}/dist`);

Deno.test("checksums.sh lists this version's files, and sha256sum finds a changed one", async () => {
  await withRelease(async (directory) => {
    const { success, err } = await checksums(directory);
    assert.ok(success, err);
    assert.match(err, /^WARNING: not signed: MINISIGN_KEY names no key$/m);
    const dist = `${directory}/dist`;
    const names = (await Deno.readTextFile(`${dist}/SHA256SUMS`)).trimEnd().split("\n")
      .map((line) => /^[0-9a-f]{64} {2}(\S+)$/.exec(line)?.[1]);
    assert.deepEqual(names, [NAME, `bookme-webhooks_${project.version}_amd64.deb`]);
    assert.ok((await run("sha256sum", ["-c", "SHA256SUMS"], dist)).success);
    await Deno.writeTextFile(`${dist}/${NAME}`, "another executable");
    const changed = await run("sha256sum", ["-c", "SHA256SUMS"], dist);
    assert.ok(!changed.success);
    assert.match(changed.out, new RegExp(`^${RegExp.escape(NAME)}: FAILED$`, "m"));
  });
});

Deno.test("checksums.sh refuses an empty dist", async () => {
  await withRelease(async (directory) => {
    await Deno.remove(`${directory}/dist`, { recursive: true });
    await Deno.mkdir(`${directory}/dist`);
    const { success, err } = await checksums(directory);
    assert.ok(!success);
    assert.match(err, /dist\/ has nothing of version .*; run deploy\/release\.sh first/);
  });
});

/** Makes a key, signs with it, and verifies. Without a password, whose derivation takes a gigabyte. */
async function sign(directory: string): Promise<Record<string, string>> {
  const args = ["-G", "-W", "-p", "key.pub", "-s", "secret.key"];
  const generated = await run("minisign", args, directory);
  assert.ok(generated.success, generated.err);
  const env = { MINISIGN_KEY: "secret.key" };
  const signed = await checksums(directory, env);
  assert.ok(signed.success, signed.err);
  assert.doesNotMatch(signed.out + signed.err, /WARNING/);
  const verified = await verify(directory);
  assert.ok(verified.success, verified.err);
  assert.equal(verified.out.trim(), COMMENT);
  return env;
}

Deno.test({
  name: "minisign verifies what checksums.sh signs, and finds what was changed",
  ignore: !has_minisign,
  async fn() {
    await withRelease(async (directory) => {
      const env = await sign(directory);
      const signature = `${directory}/dist/SHA256SUMS.minisig`;
      const first = await Deno.readTextFile(signature);
      await Deno.copyFile(`${directory}/key.pub`, `${directory}/deploy/minisign.pub`);
      assert.ok((await checksums(directory, env)).success, "the published key is this one");
      assert.equal(await Deno.readTextFile(signature), first, "nothing depends on the time");

      await Deno.writeTextFile(signature, first.replace(COMMENT, "bookme-webhooks 9.9.9"));
      assert.ok(!(await verify(directory)).success, "another comment");
      await Deno.writeTextFile(signature, first);
      await Deno.writeTextFile(`${directory}/dist/SHA256SUMS`, "0  evil\n", { append: true });
      assert.ok(!(await verify(directory)).success, "another list");
    });
  },
});

Deno.test({
  name: "checksums.sh refuses a key that is not the published one",
  ignore: !has_minisign,
  async fn() {
    await withRelease(async (directory) => {
      for (const name of ["one", "two"]) {
        const args = ["-G", "-W", "-p", `${name}.pub`, "-s", `${name}.key`];
        assert.ok((await run("minisign", args, directory)).success);
      }
      await Deno.rename(`${directory}/one.pub`, `${directory}/deploy/minisign.pub`);
      assert.ok((await checksums(directory, { MINISIGN_KEY: "one.key" })).success);
      assert.ok(!(await checksums(directory, { MINISIGN_KEY: "two.key" })).success);
    });
  },
});

Deno.test({
  name: "checksums.sh leaves no signature of other bytes if signing fails",
  ignore: !has_minisign,
  async fn() {
    await withRelease(async (directory) => {
      await Deno.writeTextFile(`${directory}/dist/SHA256SUMS.minisig`, "of other bytes");
      const { success, err } = await checksums(directory, { MINISIGN_KEY: "missing.key" });
      assert.ok(!success);
      assert.match(err, /missing\.key/);
      assert.ok(![...Deno.readDirSync(`${directory}/dist`)].some(({ name }) => /sig$/.test(name)));
    });
  },
});

/** The commands of docs/releases.md for verifying a download, step by step, for this version. */
function pageSteps(): string[] {
  const page = Deno.readTextFileSync(`${ROOT}docs/releases.md`);
  const section = page.split(/^## /m).find((one) => one.startsWith("Verifying a download\n"));
  return [...(section ?? "").matchAll(/^ +```bash\n([^]*?)^ +```$/gm)].map(([, text = ""]) =>
    text.trim().replaceAll("0.1.0", project.version)
  );
}

Deno.test({
  name: "docs/releases.md verifies a download, and finds a changed one",
  ignore: !has_minisign,
  async fn() {
    await withRelease(async (directory) => {
      const dist = `${directory}/dist`;
      // It stands for the executable, whose runtime not every machine can download: .ci/run runs a real one.
      const launcher =
        `#!/bin/sh\nexec "${Deno.execPath()}" run --frozen -A "${ROOT}main.ts" "$@"\n`;
      await Deno.writeTextFile(`${dist}/${NAME}`, launcher);
      await sign(directory);
      // A download has one executable.
      await Deno.remove(`${dist}/bookme-webhooks_${project.version}_amd64.deb`);
      await Deno.copyFile(`${directory}/key.pub`, `${dist}/minisign.pub`);
      const [list = "", file = "", ask = "", ...more] = pageSteps();
      assert.deepEqual(more, []);
      const step = (text: string) => run("bash", ["-ec", text], dist);

      const listed = await step(list);
      assert.ok(listed.success, listed.err);
      assert.match(listed.out + listed.err, /Signature and comment signature verified/);
      assert.ok(listed.out.includes(`Trusted comment: ${COMMENT}`));
      assert.equal((await step(file)).out, `${NAME}: OK\n`);
      const asked = await step(ask);
      assert.ok(asked.success, asked.err);
      assert.equal(JSON.parse(asked.out).version, project.version);

      await Deno.writeTextFile(`${dist}/${NAME}`, "# changed\n", { append: true });
      assert.ok(!(await step(file)).success, "a changed executable");
      await Deno.writeTextFile(`${dist}/SHA256SUMS`, "\n", { append: true });
      assert.ok(!(await step(list)).success, "a changed list");
    });
  },
});
