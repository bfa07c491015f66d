import assert from "node:assert/strict";
import { startCli } from "../support/cli.ts";

Deno.test("no command runs on a Deno before 2.9, and the message says why", async () => {
  const old = 'Object.defineProperty(Deno, "version", { value: { deno: "2.6.8" } })';
  const preload = ["--preload", `data:text/javascript,${encodeURIComponent(old)}`];
  const run = (...args: string[]) => startCli(args, { permissions: ["-A", ...preload] }).ended;
  const { code, out, err } = await run("serve", "--config", "none.yaml");
  assert.deepEqual({ code, out }, { code: 1, out: "" });
  assert.match(
    JSON.parse(err).message,
    /^Deno 2\.6\.8 is too old: .*accepting connections.*; use Deno 2\.9 or later$/,
  );
  assert.equal((await run("--help")).code, 0);
});
