/** What deploy/release.sh refuses before it builds anything. What it builds, .ci/run builds twice and compares. */

import assert from "node:assert/strict";

const ROOT = new URL("../../", import.meta.url);

async function release(targets: readonly string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command("bash", {
    args: ["deploy/release.sh", ...targets],
    cwd: ROOT,
    env: { DENO: "/nowhere/deno", DENORT_BIN: "", ...env },
    stdin: "null",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

Deno.test("release.sh refuses targets that it does not know, and names those it does", async () => {
  const { code, out, err } = await release(["linux-x64", "beos"]);
  assert.deepEqual([code, out], [2, ""]);
  assert.match(err, /^Unknown target beos; choose from linux-x64 linux-arm64 .* windows-x64\n$/);
});

Deno.test("release.sh refuses one base runtime for several targets", async () => {
  for (const [targets, count] of [[[], 5], [["linux-x64", "macos-x64"], 2]] as const) {
    const { code, err } = await release(targets, { DENORT_BIN: "/bin/true" });
    assert.equal(code, 2);
    assert.match(err, new RegExp(`^DENORT_BIN is the base .*, and ${count} are to be built; name`));
  }
});

Deno.test("release.sh refuses a commit and a time that are none", async () => {
  for (const COMMIT of ["main", "0123456", `${"0".repeat(40)}"; rm`]) {
    const { code, err } = await release(["linux-x64"], { COMMIT });
    assert.equal(code, 2);
    assert.match(err, /^COMMIT must be 40 hexadecimal digits, not /);
  }
  const { code, err } = await release(["linux-x64"], { SOURCE_DATE_EPOCH: "today" });
  assert.equal(code, 2);
  assert.match(err, /^SOURCE_DATE_EPOCH must be seconds since 1970, not today\n$/);
});
